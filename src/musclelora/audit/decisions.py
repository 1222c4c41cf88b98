"""A person's decisions about rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from musclelora.data.labels import LabelMap, parse_label
from musclelora.data.messages import bad_data, shown
from musclelora.data.readers import open_raw
from musclelora.errors import DataError

ACTIONS: Final = ("keep", "drop", "relabel")
COLUMNS: Final = ("row", "action", "label")


@dataclass(frozen=True)
class Decision:
    """What a person decided of a training row.

    Attributes:
        row: its number, from 0.
        action: keep, drop or relabel.
        label: its label's name from now on; for relabel.
    """

    row: int
    action: str
    label: str | None = None


def read_decisions(source: Any, rows: int, label_names: Sequence[str] | None) -> list[Decision]:
    """Decisions of a file, a data frame, or as objects, checked.

    Args:
        source: a file (CSV, TSV, JSONL or Parquet) or data frame with the columns row and action, and label
            where a row is relabelled; or :class:`Decision` objects.
        rows: how many training rows there are.
        label_names: the class names; None: rows have no labels, and none can be relabelled.

    Raises:
        DataError: a column is missing, or a row, action or label is not known; the message names the place.
    """
    if isinstance(source, Iterable) and not isinstance(source, str | os.PathLike):
        given = list(source) if not hasattr(source, "columns") else None
        if given is not None and all(isinstance(one, Decision) for one in given):
            places = [(f"decision {number}", one) for number, one in enumerate(given, 1)]
            return _once([_checked(place, one, rows, label_names) for place, one in places])
    raw = open_raw(source, name="decisions")
    missing = [column for column in COLUMNS[:2] if column not in raw.columns]
    if missing:
        raise bad_data(
            raw.source, f"no column {missing[0]!r}", "the columns row and action", "add it to the file"
        )
    columns = [column for column in COLUMNS if column in raw.columns]
    found = []
    for position, cells in raw.rows(columns):
        values = dict(zip(columns, cells, strict=True))
        place = raw.place(position)
        action = str(values["action"]).strip()
        label = values.get("label")
        name = None
        if action == "relabel":
            name = parse_label(label, (), raw.place(position, "label")).name
        found.append(
            _checked(place, Decision(_number(values["row"], place), action, name), rows, label_names)
        )
    return _once(found)


def _number(value: object, place: str) -> int:
    text = str(value).strip().removesuffix(".0")
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise bad_data(place, f"row {shown(value)}", "a row number from 0", "mend it or drop the line")
    return int(text)


def _checked(place: str, decision: Decision, rows: int, label_names: Sequence[str] | None) -> Decision:
    actions = ACTIONS[:2] if label_names is None else ACTIONS
    if decision.action not in actions:
        raise bad_data(place, f"action {shown(decision.action)}", f"one of {', '.join(actions)}", "mend it")
    if not 0 <= decision.row < rows:
        raise bad_data(
            place,
            f"row {decision.row:,}",
            f"a number from 0 to {rows - 1:,}",
            "name the rows of the data that were audited",
        )
    if decision.action != "relabel" or label_names is None:
        return Decision(decision.row, decision.action)
    label = LabelMap(label_names).id_of(parse_label(decision.label, (), place))
    if label is None:
        raise bad_data(
            place, f"label {shown(decision.label)}", f"one of {', '.join(map(shown, label_names))}", "mend it"
        )
    return Decision(decision.row, decision.action, label_names[label])


def _once(decisions: list[Decision]) -> list[Decision]:
    seen: dict[int, Decision] = {}
    for decision in decisions:
        before = seen.setdefault(decision.row, decision)
        if before != decision:
            raise DataError(
                f"decisions: row {decision.row:,} is to be both {before.action} and {decision.action}; "
                "expected one decision for each row; drop one"
            )
    return list(seen.values())
