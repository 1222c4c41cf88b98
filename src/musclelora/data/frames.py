"""Data that are in memory already: pandas data frames and `datasets` data sets, as tables and back."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from musclelora.data import huggingface
from musclelora.data.messages import bad_data
from musclelora.data.pair_readers import load_pairs, pairs_of
from musclelora.data.pairs import Pairs
from musclelora.data.raw import Cells, RawTable, check_columns
from musclelora.data.readers import choose_label, load_table, open_raw, table_of
from musclelora.data.table import Table
from musclelora.errors import UsageError

FRAME: Final = "DataFrame"
DATASET: Final = "Dataset"


def as_table(
    data: Any,
    *,
    text: str | None = None,
    label: str | None = None,
    label_names: Sequence[str] | None = None,
    source: str | None = None,
) -> Table:
    """A table of whatever holds labelled texts.

    Args:
        data: a :class:`Table`, a pandas DataFrame, a ``datasets.Dataset``, or what
            :func:`~musclelora.data.load_table` reads.
        text: the column of the texts; None: found by name, as :func:`~musclelora.data.load_table` does.
        label: that of the labels; likewise.
        label_names: the class names, where the data take those of others.
        source: what messages call data in memory.

    Raises:
        DataError: the data, a column or a row cannot be used; the message names it.
        UsageError: it is nothing of all these.
    """
    if isinstance(data, Table):
        return data
    if isinstance(data, str | os.PathLike):
        return load_table(data, text_column=text, label_column=label, label_names=label_names)
    return table_of(
        _raw(data, source),
        text_column=None if text is None else str(text),
        label_column=None if label is None else str(label),
        label_names=label_names,
        max_rows=None,
    )


def as_pairs(
    data: Any,
    *,
    prompt: str | None = None,
    response: str | None = None,
    messages: str | None = None,
    source: str | None = None,
) -> Pairs:
    """Prompts and responses of whatever holds them.

    Args:
        data: :class:`Pairs`, a pandas DataFrame, a ``datasets.Dataset``, or what
            :func:`~musclelora.data.pair_readers.load_pairs` reads.
        prompt: the column of the prompts; None: found by name, as `load_pairs` does.
        response: that of the responses; likewise.
        messages: that of chats; likewise.
        source: what messages call data in memory.

    Raises:
        DataError: the data, a column or a row cannot be used; the message names it.
        UsageError: it is nothing of all these.
    """
    if isinstance(data, Pairs):
        return data
    if isinstance(data, str | os.PathLike):
        return load_pairs(data, prompt_column=prompt, response_column=response, messages_column=messages)
    return pairs_of(
        _raw(data, source),
        prompt_column=prompt,
        response_column=response,
        messages_column=messages,
        max_rows=None,
    )


def pairs_like(data: Any, pairs: Pairs, rows: NDArray[np.int64]) -> Any:
    """The given rows, as the type that `data` is; what was read from a path comes as :class:`Pairs`.

    Args:
        data: what :func:`as_pairs` made `pairs` of.
        pairs: N pairs.
        rows: shape (R,), the row numbers to take, in this order.
    """
    kind = _kind(data)
    if kind is None:
        return pairs.select(rows)
    return data.iloc[rows].copy() if kind == FRAME else data.select(rows.tolist())


def raw_rows(data: Any, source: str) -> RawTable:
    """A table of any columns: a path, a DataFrame or a Dataset.

    Raises:
        DataError, UsageError: it cannot be read.
    """
    if isinstance(data, str | os.PathLike):
        return open_raw(os.fspath(data), None)
    return _raw(data, source)


def rows_of(
    data: Any,
    table: Table,
    rows: NDArray[np.int64],
    labels: NDArray[np.int64],
    *,
    label: str | None = None,
) -> Any:
    """The given rows, as the type that `data` is; what was read from a path comes as a :class:`Table`.

    Args:
        data: what :func:`as_table` made `table` of.
        table: N rows.
        rows: shape (R,), the row numbers to take, in this order.
        labels: shape (N,), the labels that rows are to have; those of `table` where none was changed.
        label: the column of the labels, as given to :func:`as_table`.
    """
    if _kind(data) is None:
        return replace(table.select(rows), labels=labels[rows])
    changed = np.flatnonzero(labels[rows] != table.labels[rows])
    raw = _raw(data, None)
    column = raw.columns.index(label_column(raw, label))
    # A label is written as the first row that has it writes it.
    first = {int(found): row for row, found in reversed(list(enumerate(table.labels)))}
    new = {int(place): first.get(int(labels[rows[place]])) for place in changed}
    if None in new.values():
        missing = next(int(labels[rows[place]]) for place, row in new.items() if row is None)
        raise bad_data(
            raw.source,
            f"no row of the label {table.label_names[missing]!r} to write it like",
            "one",
            "relabel to a label that rows have",
        )
    if _kind(data) == FRAME:
        frame = data.iloc[rows].copy()
        if new:
            values = data.iloc[:, column].iloc[rows].astype(object).to_numpy(copy=True)
            for place, row in new.items():
                values[place] = data.iloc[row, column]
            frame.isetitem(
                column, type(data.iloc[:, column])(values, index=frame.index, dtype=data.dtypes.iloc[column])
            )
        return frame
    plain = data.with_format(None)
    chosen, name = plain.select(rows.tolist()), data.column_names[column]
    if new:
        values = list(chosen[name])
        for place, row in new.items():
            values[place] = plain[row][name]
        chosen = chosen.remove_columns(name).add_column(name, values, feature=data.features[name])
        chosen = chosen.select_columns(data.column_names)
    return chosen.with_format(**data.format) if data.format["type"] else chosen


def label_column(raw: RawTable, named: str | None) -> str:
    """The column of the labels of a table in memory."""
    found = choose_label(raw, None if named is None else str(named))
    assert found is not None  # noqa: S101  # it is not optional here
    return found


def _kind(data: Any) -> str | None:
    """DataFrame, Dataset or neither, without importing what they are of."""
    home = type(data).__module__.split(".")[0]
    kinds = {("pandas", FRAME), ("datasets", DATASET)}
    return type(data).__name__ if (home, type(data).__name__) in kinds else None


def _raw(data: Any, source: str | None) -> RawTable:
    kind = _kind(data)
    if kind == DATASET:
        return huggingface.raw_table(source or DATASET, data)
    if kind != FRAME:
        raise UsageError(
            f"data: found a {type(data).__name__}, expected a DataFrame, a datasets.Dataset, a Table or a "
            "path; pass one of these (of a DatasetDict one of its splits)"
        )
    name = source or FRAME
    columns = [str(column) for column in data.columns]
    check_columns(name, columns)

    def rows(wanted: Sequence[str]) -> Iterator[tuple[int, Cells]]:
        places = [columns.index(column) for column in wanted]
        cells = [_plain(data.iloc[:, place]) for place in places]
        yield from enumerate(zip(*cells, strict=True), 1)

    if not len(data):
        raise bad_data(name, "no rows", "at least one row", "pass another one")
    return RawTable(name, tuple(columns), "row", rows)


def _plain(series: Any) -> list[object]:
    """The values of a column as Python's own; what is missing is None."""
    values = series.astype(object)
    return [
        None if missing else value.item() if isinstance(value, np.generic) else value
        for value, missing in zip(values, values.isna(), strict=True)
    ]
