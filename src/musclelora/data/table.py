"""A labelled text table: the one form in which data moves through the package."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from musclelora.data.labels import check_label_names
from musclelora.errors import DataError


class Row(NamedTuple):
    """One row of a table."""

    text: str
    label: int


@dataclass(frozen=True)
class Table:
    """Texts with integer labels and the names those integers stand for, no two of which are the same.

    Attributes:
        texts: N texts, in the order of the source.
        labels: shape (N,), int64; each is an index into `label_names`.
        label_names: the C class names; index = label id. Integer labels have their digits as names.
        poisoned: shape (N,), bool, or None where the source has no flag. Only evaluation may read it.
        source: what the rows were read from, for messages.
        lines: shape (N,), the line of `source` that each row starts on, from 1; None where it has no lines.
    """

    texts: tuple[str, ...]
    labels: NDArray[np.int64]
    label_names: tuple[str, ...]
    poisoned: NDArray[np.bool_] | None = field(default=None, repr=False)
    source: str = "table"
    lines: NDArray[np.int64] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.labels):
            raise DataError(f"{self.source}: {len(self.texts)} texts but {len(self.labels)} labels")
        check_lines(self.lines, len(self.texts), self.source)
        check_label_names(self.label_names, self.source)

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> Row:
        return Row(self.texts[index], int(self.labels[index]))

    def __iter__(self) -> Iterator[Row]:
        return (self[index] for index in range(len(self)))

    @property
    def num_classes(self) -> int:
        """The number of classes C in the label map (some may have no row)."""
        return len(self.label_names)

    def texts_at(self, rows: Sequence[int] | NDArray[np.integer]) -> Iterator[str]:
        """The texts of the given row numbers, in the given order."""
        return (self.texts[row] for row in rows)

    def select(self, rows: Sequence[int] | NDArray[np.integer]) -> Table:
        """The table of the given row numbers, in the given order."""
        index = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            texts=tuple(self.texts[i] for i in index),
            labels=self.labels[index],
            poisoned=None if self.poisoned is None else self.poisoned[index],
            lines=None if self.lines is None else self.lines[index],
        )


def check_lines(lines: NDArray[np.int64] | None, rows: int, source: str) -> None:
    """Refuse lines of other rows.

    Raises:
        DataError: there are lines, and not one for each row.
    """
    if lines is not None and len(lines) != rows:
        raise DataError(f"{source}: {rows} rows but {len(lines)} lines")


def fingerprint(table: Table | None) -> str | None:
    """SHA-256 of a table's texts, labels and label names; of None it is None."""
    if table is None:
        return None
    digest = hashlib.sha256(json.dumps(table.label_names).encode())
    for text, label in table:
        digest.update(json.dumps([text, label]).encode())
    return digest.hexdigest()
