"""A labelled table whose texts stay where they are stored, for data that need not fit in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from musclelora.data.messages import bad_data
from musclelora.data.raw import RawTable
from musclelora.data.readers import open_raw, read_labels
from musclelora.files import sha256_of

_TRIGGER_COLUMN = "trigger"


@dataclass(frozen=True)
class TableStream:
    """Labels and poison flags in memory, about ten bytes a row; texts are read again at every pass.

    Attributes:
        source: what the rows are read from, for messages.
        labels: shape (N,), int64; each is an index into `label_names`.
        label_names: the C class names; index = label id.
        poisoned: shape (N,), bool, or None where the source has no flag.
        columns: the names of the text and the label column.
    """

    source: str
    labels: NDArray[np.int64]
    label_names: tuple[str, ...]
    poisoned: NDArray[np.bool_] | None
    columns: tuple[str, str]
    _raw: RawTable = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self) -> Iterator[tuple[str, str]]:
        """Text and trigger name of every row; the name is "" where the source has no flag or no such column.

        Raises:
            DataError: the source changed since it was opened, or a text cannot be read.
        """
        text, _ = self.columns
        # Without a flag, a column of that name is none that this package wrote: anything may be in it.
        noted = self.poisoned is not None and _TRIGGER_COLUMN in self._raw.columns and text != _TRIGGER_COLUMN
        columns = (text, _TRIGGER_COLUMN) if noted else (text,)
        count, total = 0, len(self)
        for position, cells in self._raw.rows(columns):
            count += 1
            if count > total:
                break
            name = self._raw.text(cells[1], position, _TRIGGER_COLUMN) if noted else ""
            yield self._raw.text(cells[0], position, text), name
        if count != total:
            raise bad_data(
                self.source,
                "the number of rows changed while it was read",
                f"{len(self)} rows",
                "run again once nothing writes to it",
            )

    def texts_at(self, rows: NDArray[np.int64]) -> Iterator[str]:
        """The texts of the given row numbers, which must ascend; one pass over the source."""
        wanted = iter(rows.tolist())
        row = next(wanted, None)
        for number, (text, _) in enumerate(self.rows()):
            if number == row:
                yield text
                row = next(wanted, None)
                if row is None:
                    return

    def sha256(self) -> str | None:
        """The hash of the source's bytes, or None where it is not a single file."""
        return sha256_of(self.source)


def open_stream(
    source: str | os.PathLike[str],
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    label_names: Sequence[str] | None = None,
    split: str | None = None,
) -> TableStream:
    """Read the labels of a table and leave its texts; arguments and errors as for :func:`load_table`."""
    raw = open_raw(source, split)
    found = read_labels(raw, text_column, label_column, label_names)
    return TableStream(raw.source, found.labels, found.label_names, found.poisoned, found.columns, raw)
