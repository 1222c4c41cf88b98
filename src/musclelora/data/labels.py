"""From the labels as they are written to class ids and class names."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from musclelora.data.messages import bad_data, listed, shown
from musclelora.errors import DataError, UsageError

_INTEGER = re.compile(r"([+-]?[0-9]{1,18})(\.0+)?")
_MISSING = {"", "nan", "<na>"}
_MOST_CLASSES = 1000


class Label(NamedTuple):
    """A label as it was read: its name, and its value where that is an integer."""

    name: str
    integer: int | None


def parse_label(value: object, class_names: Sequence[str], place: str) -> Label:
    """Read one label cell: a string (surrounding blanks do not count) or a number.

    Args:
        value: the cell.
        class_names: the names of the integers in this column, if the format gives them, else empty.
        place: where the cell is, for messages.

    Raises:
        DataError: the label is empty, NaN, outside `class_names`, or neither a string nor a number.
    """
    if isinstance(value, int) and not isinstance(value, bool) and class_names:
        if not 0 <= value < len(class_names):
            raise bad_data(
                place,
                f"label {value}",
                f"0 to {len(class_names) - 1} ({listed(class_names)})",
                "drop the rows without a label",
            )
        return Label(class_names[value], value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        value = ""
    if not isinstance(value, str | int | float):
        raise bad_data(
            place, f"label of type {type(value).__name__}", "a string or an integer", "name another column"
        )
    name = str(value).strip()
    if name.lower() in _MISSING:
        raise bad_data(place, f"empty or NaN label {shown(name)}", "a class", "fill it in or drop the row")
    match = _INTEGER.fullmatch(name)
    return Label(name, int(match[1]) if match else None)


def infer_names(labels: Sequence[Label]) -> tuple[str, ...]:
    """The label map of a column without one.

    Integers from 0 to 999 are class ids: the names are "0" to the largest. Any other integers are named
    in the order of their values, and strings in the order of their code points.
    """
    integers = {label.integer for label in labels if label.integer is not None}
    if any(label.integer is None for label in labels):
        return tuple(sorted({label.name for label in labels}))
    if min(integers) >= 0 and max(integers) < _MOST_CLASSES:
        return tuple(str(value) for value in range(max(integers) + 1))
    return tuple(str(value) for value in sorted(integers))


def check_label_names(names: Sequence[object], source: str) -> None:
    """Refuse class names of which one could not be told from another.

    Raises:
        DataError: one is no text, or comes twice.
    """
    odd = [name for name in names if not isinstance(name, str)]
    if odd:
        raise bad_data(source, f"label names {listed(odd)} that are no text", "texts", "write them as texts")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)  # type: ignore[type-var]
    if twice:
        raise bad_data(
            source,
            f"label names {listed(twice)} more than once",
            "a name for each class",
            "rename the classes",
        )


class LabelMap:
    """Finds the id of a label in given class names.

    A label is found by its name, then by its integer written plainly ("1.0" is "1"). Where the names are
    words, an integer that is no name is a class id; where they are integers it is unknown.

    Args:
        names: the C class names; index = label id.
        source: what has them, for messages.

    Raises:
        DataError: a name comes twice, or is no text.
    """

    def __init__(self, names: Sequence[str], source: str = "label names") -> None:
        self.names = tuple(names)
        check_label_names(self.names, source)
        self._ids = {name: index for index, name in enumerate(self.names)}
        self._words = not all(_INTEGER.fullmatch(name) for name in self.names)

    def id_of(self, label: Label) -> int | None:
        """The class id of `label`, or None if it is unknown."""
        found = self._ids.get(label.name)
        if found is not None or label.integer is None:
            return found
        found = self._ids.get(str(label.integer))
        if found is None and self._words and 0 <= label.integer < len(self.names):
            return label.integer
        return found


def unknown_label(place: str, label: Label, names: Sequence[str]) -> DataError:
    """The error of a label that :meth:`LabelMap.id_of` does not find."""
    return bad_data(
        place,
        f"unknown label {shown(label.name)}",
        f"one of {listed(names)}",
        "mend the label or drop the row",
    )


def target_id(target: int | str | None, label_names: Sequence[str]) -> int:
    """The id of a target label given as name or id; a name wins over an id of the same digits.

    Raises:
        UsageError: it is None or no label.
    """
    if target is not None and str(target) in label_names:
        return list(label_names).index(str(target))
    if target is not None and str(target).isdecimal() and int(target) < len(label_names):
        return int(target)
    found = "nothing" if target is None else repr(target)
    raise UsageError(f"--target: found {found}, expected one of the labels {listed(label_names)}")
