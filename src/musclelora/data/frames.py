"""Rows of a table, as the type that the table was read from: a data frame, a data set, or a table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musclelora.data.memory import FRAME, kind_of, read_memory
from musclelora.data.messages import bad_data
from musclelora.data.pairs import Pairs
from musclelora.data.readers import choose_label
from musclelora.data.table import Table


def pairs_like(data: Any, pairs: Pairs, rows: NDArray[np.int64]) -> Any:
    """The given rows, as the type that `data` is; what was read from a path comes as :class:`Pairs`.

    Args:
        data: what :func:`~musclelora.data.load_pairs` made `pairs` of.
        pairs: N pairs.
        rows: shape (R,), the row numbers to take, in this order.
    """
    kind = kind_of(data)
    if kind is None:
        return pairs.select(rows)
    return data.iloc[rows].copy() if kind == FRAME else data.select(rows.tolist())


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
        data: what :func:`~musclelora.data.load_table` made `table` of.
        table: N rows.
        rows: shape (R,), the row numbers to take, in this order.
        labels: shape (N,), the labels that rows are to have; those of `table` where none was changed.
        label: the column of the labels, as given to :func:`~musclelora.data.load_table`.
    """
    if kind_of(data) is None:
        return replace(table.select(rows), labels=labels[rows])
    changed = np.flatnonzero(labels[rows] != table.labels[rows])
    raw = read_memory(data, None)
    column = raw.columns.index(choose_label(raw, label))
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
    if kind_of(data) == FRAME:
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
