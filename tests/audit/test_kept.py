"""What a judge said is computed once on a machine; the cache is never needed, and never believed blindly."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from musclelora.audit import kept
from musclelora.audit.kept import Kept, shared_array
from musclelora.data.assembled import CACHE


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "judged"


def counted(size: int = 3) -> tuple[list[int], Callable[[], np.ndarray]]:
    calls: list[int] = []

    def make() -> np.ndarray:
        calls.append(size)
        return np.arange(size, dtype=np.float32)

    return calls, make


def test_an_array_is_made_once_for_the_same_inputs(cache: Path, tmp_path: Path) -> None:
    calls, make = counted()
    for folder in (None, tmp_path / "one" / "evidence", tmp_path / "two" / "evidence"):
        found = Kept(folder, {"train": folder and folder.parent.name}).get(
            "vectors", (3,), None, make, shared={"judge": "a"}
        )
        np.testing.assert_array_equal(found, [0, 1, 2])
    assert calls == [3]
    shared_array("vectors", (3,), {"judge": "b"}, make)
    assert calls == [3, 3]
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_a_damaged_file_is_made_again(content: bytes, cache: Path) -> None:
    calls, make = counted()
    shared_array("vectors", (None,), {}, make)
    (file,) = cache.iterdir()
    file.write_bytes(content)
    for _ in range(2):
        np.testing.assert_array_equal(shared_array("vectors", (None,), {}, make), [0, 1, 2])
    assert calls == [3, 3]
    shared_array("vectors", (4,), {}, counted(4)[1])  # an array of another shape is none either
    assert shared_array("vectors", (4,), {}, make).shape == (4,)


def test_nothing_is_kept_where_nothing_can_be_written(cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("a file where the folder would be")
    calls, make = counted()
    for _ in range(2):
        np.testing.assert_array_equal(shared_array("vectors", (3,), {}, make), [0, 1, 2])
    assert calls == [3, 3]
    assert cache.read_text() == "a file where the folder would be"


def test_what_was_not_used_for_longest_goes(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST_SHARED", 4 * (128 + 400))
    for number in range(4):
        shared_array(str(number), (100,), {}, counted(100)[1])
        os.utime(next(cache.glob(f"{number}-*")), (number, number))
    shared_array("0", (100,), {}, counted(100)[1])  # it is used again
    shared_array("4", (100,), {}, counted(100)[1])
    assert {file.name[0] for file in cache.iterdir()} == {"0", "2", "3", "4"}
    assert shared_array("large", (1000,), {}, counted(1000)[1]).shape == (1000,)
    assert {file.name[0] for file in cache.iterdir()} == {"0", "2", "3", "4"}


def test_what_another_user_keeps_is_read(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, make = counted()
    shared_array("vectors", (3,), {}, make)

    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "utime", refused)
    np.testing.assert_array_equal(shared_array("vectors", (3,), {}, make), [0, 1, 2])
    assert calls == [3]
