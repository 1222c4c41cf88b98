"""Data frames and `datasets` data sets in memory, as a reader hands them over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from musclelora.data import huggingface
from musclelora.data.messages import bad_data
from musclelora.data.raw import Cells, RawTable, check_columns
from musclelora.errors import UsageError

FRAME: Final = "DataFrame"
DATASET: Final = "Dataset"


def kind_of(data: Any) -> str | None:
    """DataFrame, Dataset or neither, without importing what they are of."""
    home = type(data).__module__.split(".")[0]
    kinds = {("pandas", FRAME), ("datasets", DATASET)}
    return type(data).__name__ if (home, type(data).__name__) in kinds else None


def read_memory(data: Any, source: str | None) -> RawTable:
    """The table that a data frame or data set is; messages call it `source`.

    Raises:
        DataError: it has no rows, or two columns of one name.
        UsageError: it is neither.
    """
    kind = kind_of(data)
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
