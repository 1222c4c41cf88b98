"""What a state file may hold, and how the first fault in it is said."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from musclelora.errors import ModelError
from musclelora.state import Closed, FileName, Names, RowNumbers, Sha256, State, fault_of, read_state


class Inner(Closed):
    rate: Annotated[float, Field(gt=0, le=1)]


class Example(State):
    count: Annotated[int, Field(ge=2, le=1000)]
    kind: Literal["one", "two"] = "one"
    inner: Inner | None = None
    either: list[str] | str | None = None
    names: Names | None = None
    rows: RowNumbers | None = None
    file: FileName | None = None
    sha256: Sha256 | None = None


GOOD = {"count": 3}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": True}, "count: found True, expected a whole number"),
        ({"count": 3.0}, "count: found 3.0, expected a whole number"),
        ({"count": 1}, "count: found 1, expected 2 or more"),
        ({"count": 10**30}, "count: found 1000000000000000000000000000000, expected 1,000 or less"),
        ({"count": None}, "count: found None, expected a whole number"),
        ({"kind": "three"}, "kind: found 'three', expected 'one' or 'two'"),
        ({"inner": 5}, "inner: found 5, expected an object"),
        ({"inner": {}}, "inner.rate: found nothing, expected a value"),
        ({"inner": {"rate": "1"}}, "inner.rate: found '1', expected a number"),
        ({"inner": {"rate": float("nan")}}, "inner.rate: found nan, expected a finite number"),
        ({"inner": {"rate": 2}}, "inner.rate: found 2, expected 1 or less"),
        (
            {"inner": {"rate": 1, "hue": 2}},
            "inner.hue: found a key that is not known, expected none of this name",
        ),
        ({"either": {"a": 1}}, "either: found an object, expected a list"),
        ({"either": ["a", 1]}, "either[1]: found 1, expected a string"),
        ({"names": [1, 2]}, "names[0]: found 1, expected a string"),
        ({"names": ["a", ""]}, "names[1]: found '', expected a string of at least 1 character"),
        ({"names": ["a", "a"]}, "names: found a list of 2, expected values that differ"),
        ({"rows": [3, 1]}, "rows: found a list of 2, expected ascending row numbers"),
        ({"file": "../x"}, "file: found '../x', expected the name of a file in the same folder"),
        ({"sha256": "x" * 64}, f"sha256: found '{'x' * 36}…, expected the sha256 of a file"),
        ({"other": [float("inf")]}, "found a number that is not finite, expected finite numbers"),
        ({"names": ["\x1b[31m", 2]}, "names[1]: found 2, expected a string"),
        ({"kind": "\x1b[31m\n"}, r"kind: found '\x1b[31m\n', expected 'one' or 'two'"),
    ],
)
def test_the_first_fault_is_said(change: dict[str, Any], said: str) -> None:
    assert fault_of({**GOOD, **change}, Example) == said


@pytest.mark.parametrize("values", [None, 5, [], "text"])
def test_a_file_of_something_else(values: Any) -> None:
    assert "expected an object" in (fault_of(values, Example) or "")


def test_what_fits_has_no_fault() -> None:
    whole = {"inner": {"rate": 1}, "either": "a", "names": ["a", "b"], "rows": [0, 1], "file": "a.b"}
    assert fault_of({**GOOD, **whole, "sha256": "0" * 64, "more": {"of": ["it"]}}, Example) is None


def test_values_nested_deep_are_refused_whatever_reads_them() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert "nested more than 64 deep" in (fault_of({**GOOD, "more": deep}, Example) or "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[" * 200_000, "cannot be read"),
        (b"[" * 200_000 + b"]" * 200_000, "cannot be read"),
        (json.dumps({"count": 0}).encode(), "count: found 0, expected 2 or more"),
    ],
)
def test_a_file_that_does_not_fit_is_said_in_one_line(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    file.write_bytes(content)
    with pytest.raises(ModelError) as error:
        read_state(file, Example, ModelError)
    assert str(error.value).startswith(f"{file}: {said}")
    assert str(error.value).endswith("; restore it or train again")
    assert "\n" not in str(error.value)


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "state.json")
    with pytest.raises(ModelError, match="a FIFO, expected a file"):
        read_state(tmp_path / "state.json", Example, ModelError)


def test_a_file_that_is_not_there_is_the_caller_s_to_say(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_state(tmp_path / "state.json", Example, ModelError)
