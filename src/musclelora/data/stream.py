"""A labelled table whose texts stay where they are stored, for data that need not fit in memory."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from musclelora.data.labels import Label, LabelMap, infer_names, parse_label, unknown_label
from musclelora.data.messages import bad_data
from musclelora.data.raw import RawTable
from musclelora.data.readers import choose_columns, open_raw, parse_flag, parse_text
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
            yield (
                self._text_of(cells[0], position, text),
                (self._text_of(cells[1], position, _TRIGGER_COLUMN) if noted else ""),
            )
        if count != total:
            raise bad_data(
                self.source,
                "the number of rows changed while it was read",
                f"{len(self)} rows",
                "run again once nothing writes to it",
            )

    def _text_of(self, cell: object, position: int, column: str) -> str:
        # Nearly every cell is a string, and the place is only needed for a message.
        return cell if isinstance(cell, str) else parse_text(cell, self._raw.place(position, column))

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
    raw = open_raw(os.fspath(source), split)
    text, label, flag = choose_columns(raw, text_column, label_column)
    own = raw.class_names.get(label, ())
    kinds: dict[Label, int] = {}
    first: list[int] = []
    codes, flags = array("q"), array("b")
    seen: dict[tuple[type, object], int] = {}  # True is 1 as a key, but not as a label
    for position, cells in raw.rows((label,) if flag is None else (label, flag)):
        cell = cells[0]
        code = seen.get((type(cell), cell)) if isinstance(cell, str | int) else None
        if code is None:
            code = kinds.setdefault(parse_label(cell, own, raw.place(position, label)), len(kinds))
            if code == len(first):
                first.append(position)
            if isinstance(cell, str | int):
                seen[type(cell), cell] = code
        codes.append(code)
        if flag is not None:
            flags.append(parse_flag(cells[1], raw.place(position, flag)))
    if not codes:
        raise bad_data(raw.source, "no rows", "at least one row after the header", "name another file")
    names = LabelMap(label_names or own or infer_names(list(kinds)), raw.source)
    ids = np.empty(len(kinds), dtype=np.int64)
    for kind, code in kinds.items():
        found = names.id_of(kind)
        if found is None:
            raise unknown_label(raw.place(first[code], label), kind, names.names)
        ids[code] = found
    return TableStream(
        source=raw.source,
        labels=ids[np.frombuffer(codes, dtype=np.int64)],
        label_names=names.names,
        poisoned=None if flag is None else np.frombuffer(flags, dtype=np.int8).astype(np.bool_),
        columns=(text, label),
        _raw=raw,
    )
