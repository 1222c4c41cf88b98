"""Files are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from musclelora.errors import OutputError
from musclelora.files import atomic_file, atomic_folder, write_json


def test_a_file_appears_when_the_block_ends_and_not_before(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.txt"
    with atomic_file(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]


def test_an_error_leaves_the_earlier_file(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("earlier")
    with pytest.raises(FileNotFoundError), atomic_file(target) as temporary:
        temporary.write_text((tmp_path / "missing").read_text())
    assert target.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_replaced_only_when_asked(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with atomic_folder(target) as temporary:
        (temporary / "a").write_text("1")
    with pytest.raises(OutputError, match="already exists"), atomic_folder(target):
        pass
    with atomic_folder(target, overwrite=True) as temporary:
        (temporary / "b").write_text("2")
    assert [path.name for path in target.iterdir()] == ["b"]


def test_an_error_leaves_the_earlier_folder(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with atomic_folder(target) as temporary:
        (temporary / "a").write_text("1")
    with pytest.raises(RuntimeError), atomic_folder(target, overwrite=True):
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert [path.name for path in target.iterdir()] == ["a"]


def test_a_path_below_a_file_is_one_line_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*file") as caught:
        write_json(tmp_path / "file" / "below.json", {})
    assert "\n" not in str(caught.value)


def test_json_refuses_nan_and_keeps_the_earlier_file(tmp_path: Path) -> None:
    target = tmp_path / "file.json"
    write_json(target, {"é": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(target, {"value": float("nan")})
    assert "é" in target.read_text(encoding="utf-8")
