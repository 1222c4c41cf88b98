"""Writing tables row by row: every format that can be read back."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

Cell = str | int | list[dict[str, str]]
"""A list of messages only where the format is JSON Lines."""
Writer = Callable[[Path, Sequence[str], Iterable[Sequence[Cell]]], None]
"""(file, column names, rows): writes the file, holding a bounded number of rows in memory."""

_BATCH_ROWS = 10_000


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    r"""Write comma-separated values in UTF-8, lines ended by "\n", quoted where that is needed."""
    _write_delimited(path, columns, rows, ",")


def write_tsv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Write tab-separated values; otherwise as :func:`write_csv`."""
    _write_delimited(path, columns, rows, "\t")


def write_jsonl(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Write one JSON object a line."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n")


def write_parquet(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Write a Parquet file; a column is of strings or of 64-bit integers, as its first cell."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    rows = iter(rows)
    batch = list(itertools.islice(rows, _BATCH_ROWS))
    kinds = [
        pa.int64() if isinstance(cell, int) else pa.string() for cell in (batch[0] if batch else columns)
    ]
    schema = pa.schema(list(zip(columns, kinds, strict=True)))
    with ParquetWriter(path, schema) as writer:
        while batch:
            writer.write_table(pa.table(list(map(list, zip(*batch, strict=True))), schema=schema))
            batch = list(itertools.islice(rows, _BATCH_ROWS))


def _write_delimited(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[Cell]], delimiter: str
) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        settings: dict[str, Any] = {"delimiter": delimiter, "lineterminator": "\n"}
        plain = csv.writer(file, **settings)
        # The csv module leaves a carriage return bare, and then reads it as the end of the row.
        quoting = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, **settings)
        plain.writerow(columns)
        for carriage_return, group in itertools.groupby(rows, _has_carriage_return):
            (quoting if carriage_return else plain).writerows(group)


def _has_carriage_return(row: Sequence[Cell]) -> bool:
    return any("\r" in cell for cell in row if isinstance(cell, str))


WRITERS: dict[str, Writer] = {
    ".csv": write_csv,
    ".tsv": write_tsv,
    ".jsonl": write_jsonl,
    ".ndjson": write_jsonl,
    ".json": write_jsonl,
    ".parquet": write_parquet,
}
"""The writer of each file suffix; a new format is a new entry."""
