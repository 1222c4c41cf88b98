"""What a reader of one format hands over, before columns are chosen and labels are numbered."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musclelora.data.messages import bad_data, listed, shown

Cells = tuple[object, ...]
_FLAGS = {"0": False, "1": True, "false": False, "true": True, "0.0": False, "1.0": True}


@dataclass(frozen=True)
class RawTable:
    """A table as it is stored.

    Attributes:
        source: the file, folder or hub name, for messages.
        columns: the column names, in the order of the source.
        unit: what a position counts: "line" of a text file or "row", both from 1.
        rows: given k column names, yields (position, the k cells) for every row; may be called again.
        class_names: per column, the names of the integers in it, where the format knows them.
    """

    source: str
    columns: tuple[str, ...]
    unit: str
    rows: Callable[[Sequence[str]], Iterator[tuple[int, Cells]]]
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def place(self, position: int, column: str | None = None) -> str:
        """How a message names a position: ``FILE, line 3, column 'label'``."""
        return f"{self.source}, {self.unit} {position}" + (f", column {shown(column)}" if column else "")

    def text(self, cell: object, position: int, column: str) -> str:
        """A cell as a text; a null is "".

        Raises:
            DataError: it is none.
        """
        if isinstance(cell, str):
            return cell
        if cell is None or (isinstance(cell, float) and math.isnan(cell)):
            return ""
        if isinstance(cell, bool) or not isinstance(cell, int | float):
            place, found = self.place(position, column), f"a value of type {type(cell).__name__}"
            raise bad_data(place, found, "a text", "name another text column")
        return str(cell)

    def flag(self, cell: object, position: int, column: str) -> bool:
        """A cell as a poison flag.

        Raises:
            DataError: it is none.
        """
        flag = _FLAGS.get(str(cell).strip().lower())
        if flag is None:
            place, found = self.place(position, column), f"poison flag {shown(cell)}"
            raise bad_data(place, found, "0, 1, true or false", "mend or rename the column")
        return flag

    def lines(self, positions: Sequence[int]) -> NDArray[np.int64] | None:
        """The positions of N rows as lines, shape (N,); None where positions are no lines."""
        return np.array(positions, dtype=np.int64) if self.unit == "line" else None


def check_columns(place: str, columns: Sequence[str]) -> None:
    """Refuse column names that occur twice.

    Raises:
        DataError: a name occurs twice, so that a column could not be named.
    """
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise bad_data(
            place, f"columns {listed(twice)} occur more than once", "distinct names", "rename the columns"
        )


@contextlib.contextmanager
def read_errors(source: str) -> Iterator[None]:
    """Turn the operating system's refusals to read `source` into one-line :class:`DataError` messages."""
    try:
        yield
    except OSError as error:
        raise bad_data(
            source,
            f"cannot be read ({error.strerror or error})",
            "a readable file",
            "check its permissions and its disk",
        ) from error


def class_label_names(features: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The names that Hugging Face's feature descriptions (in JSON form) give to integer columns."""
    return {
        column: tuple(feature["names"])
        for column, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and _names(feature.get("names"))
    }


def _names(value: Any) -> bool:
    """Whether a value, which whoever wrote the file chose, is a list of names."""
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)
