"""Parquet files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from musclelora.data.messages import bad_data, one_line
from musclelora.data.places import refuse_special
from musclelora.data.raw import Cells, RawTable, check_columns, class_label_names, read_errors
from musclelora.errors import DataError


def read_parquet(path: Path) -> RawTable:
    """Read a Parquet file; class names that Hugging Face stored in its metadata are kept.

    Raises:
        DataError: the file is not a Parquet file, or (while rows are read) is damaged.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    def unreadable(error: Exception) -> DataError:
        return bad_data(
            str(path),
            f"not a readable Parquet file ({one_line(error)})",
            "an undamaged Parquet file",
            "write the file again, or give it the suffix of its true format",
        )

    def rows(columns: Sequence[str]) -> Iterator[tuple[int, Cells]]:
        position = 0
        try:
            with ParquetFile(path) as file:
                for batch in file.iter_batches(columns=list(columns)):
                    for cells in zip(*(batch.column(name).to_pylist() for name in columns), strict=True):
                        position += 1
                        yield position, cells
        except (ArrowException, OSError, UnicodeDecodeError) as error:
            raise unreadable(error) from error

    refuse_special(path)
    with read_errors(str(path)):
        if not path.stat().st_size:
            raise bad_data(str(path), "empty file", "a table with at least one row", "name another file")
    try:
        with ParquetFile(path) as file:
            schema = file.schema_arrow
    except (ArrowException, OSError) as error:
        raise unreadable(error) from error
    check_columns(str(path), schema.names)
    return RawTable(str(path), tuple(schema.names), "row", rows, class_label_names(_features(schema)))


def _features(schema: Any) -> dict[str, Any]:
    """The feature descriptions that `datasets` leaves in a schema; empty where there are none."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    except (TypeError, KeyError, ValueError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}
