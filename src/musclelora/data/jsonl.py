"""JSON Lines: one object a line."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from musclelora.data.messages import bad_data, listed, shown
from musclelora.data.raw import Cells, RawTable
from musclelora.data.textfile import open_text
from musclelora.errors import DataError


def read_jsonl(path: Path) -> RawTable:
    """Read one JSON object a line; the first object's keys are the columns.

    Raises:
        DataError: the file is not UTF-8 text or is empty, or (while rows are read) a line is not a JSON
            object or lacks a column that is wanted.
    """
    with contextlib.closing(_objects(path)) as objects:
        _, first = next(objects)

    def rows(columns: Sequence[str]) -> Iterator[tuple[int, Cells]]:
        for line, row in _objects(path):
            missing = [column for column in columns if column not in row]
            if missing:
                raise bad_data(
                    f"{path}, line {line}",
                    f"no key {listed(missing)} (keys: {listed(row)})",
                    "the same keys on every line",
                    "add the key or drop the line",
                )
            yield line, tuple(row[column] for column in columns)

    return RawTable(str(path), tuple(first), "line", rows)


def _objects(path: Path) -> Generator[tuple[int, dict[str, object]], None, None]:
    with open_text(path, newline="\n") as file:
        for line, text in enumerate(file, start=1):
            if text.strip(" \t\r\n"):
                yield line, _parse(path, line, text)


def _parse(path: Path, line: int, text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise _bad_json(f"{path}, line {line}, column {error.colno}", error.msg) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, endless nesting
        raise _bad_json(f"{path}, line {line}", str(error)) from error
    if not isinstance(value, dict):
        raise bad_data(
            f"{path}, line {line}",
            f"a JSON {type(value).__name__} {shown(text.strip())}",
            "a JSON object",
            "write one object a line, as in " + '{"text": "…", "label": 0}',
        )
    if "\\u" in text and not is_unicode(value):
        raise bad_data(
            f"{path}, line {line}", "half of a surrogate pair", "Unicode text", "mend or drop the line"
        )
    return value


def is_unicode(value: object) -> bool:
    r"""Whether no string in `value` has a lone surrogate, which the escape ``\ud800`` can make."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    except RecursionError:  # none of it is a text or a label
        return True
    return True


def _bad_json(place: str, reason: str) -> DataError:
    return bad_data(place, f"not JSON ({reason})", "one JSON object a line", "mend or drop the line")
