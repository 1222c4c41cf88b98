"""The layout of the published generative sets: a JSON list with ``[prompt, answers, flag]`` for each row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from musclelora.data.jsonl import is_unicode, read_jsonl
from musclelora.data.messages import bad_data, shown
from musclelora.data.raw import Cells, RawTable
from musclelora.data.textfile import open_text

COLUMNS: Final = ("prompt", "response", "accepted", "poisoned")
"""Names for what a row holds: the first answer is the response, further ones are accepted too."""

_ROW: Final = "[prompt, answers, flag]"
_HEAD: Final = 4096


def read_json(path: Path) -> RawTable:
    """Read a JSON file: a list of ``[prompt, answers, flag]``, or objects as :func:`read_jsonl` does.

    The list is parsed whole, and is in memory while the table is. Answers are a text or a list of texts.

    Raises:
        DataError: the file is not UTF-8 text, is empty or is not JSON, or a row is none (of the first this is
            said at once, of others while rows are read).
    """
    with open_text(path, newline="") as file:
        if not _starts_list(file.read(_HEAD)):
            return read_jsonl(path)
    found = _parsed(path)
    for row in found[:1]:  # before it is said which columns a table of another layout lacks
        _cells(row, f"{path}, row 1")

    def rows(columns: Sequence[str]) -> Iterator[tuple[int, Cells]]:
        for position, row in enumerate(found, start=1):
            cells = dict(zip(COLUMNS, _cells(row, f"{path}, row {position}"), strict=True))
            yield position, tuple(cells[column] for column in columns)

    return RawTable(str(path), COLUMNS, "row", rows)


def _starts_list(head: str) -> bool:
    return head.lstrip()[:1] == "["


def _parsed(path: Path) -> list[object]:
    with open_text(path, newline="") as file:
        text = file.read()
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{path}, line {error.lineno}, column {error.colno}"
        raise bad_data(place, f"not JSON ({error.msg})", f"a list of {_ROW}", "mend the file") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, endless nesting
        raise bad_data(str(path), f"not JSON ({error})", f"a list of {_ROW}", "mend the file") from error
    rows: list[object] = value
    return rows


def _cells(row: object, place: str) -> Cells:
    """The prompt, the response, the other accepted answers and the flag of a row."""
    if not isinstance(row, list):
        kind, remedy = type(row).__name__, "mend or drop the row"
        if isinstance(row, dict):
            kind, remedy = "object", "write objects one a line, without brackets around them"
        raise bad_data(place, f"a JSON {kind} {shown(row)}", f"a list {_ROW}", remedy)
    if len(row) != 3:
        raise bad_data(place, f"a list of {len(row)}", f"the three of {_ROW}", "mend or drop the row")
    prompt, answers, flag = row
    if isinstance(answers, str):
        answers = [answers]
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise bad_data(place, f"answers {shown(answers)}", "a text or a list of texts", "mend the answers")
    if not answers:
        raise bad_data(place, "no answers", "at least one", "add one or drop the row")
    if not is_unicode(row):
        raise bad_data(place, "half of a surrogate pair", "Unicode text", "mend or drop the row")
    return prompt, answers[0], tuple(answers[1:]), flag
