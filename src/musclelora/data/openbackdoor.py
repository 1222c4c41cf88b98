"""The layout of the OpenBackdoor toolkit: folders of CSV files with the header ``,0,1,2``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from musclelora.data.delimited import read_csv
from musclelora.data.messages import bad_data, listed
from musclelora.data.places import files_below
from musclelora.data.raw import RawTable
from musclelora.data.table import Table
from musclelora.data.writers import write_csv

COLUMNS = ("", "0", "1", "2")
"""Row number, text, label, poison flag."""

_SPLIT = re.compile(r"(train|dev|test)-(clean|poison|detect)")


def find_splits(folder: Path) -> dict[str, Path]:
    """The splits in `folder`, by name: ``test-clean``, ``mix/0.1/train-poison``; empty if it has none.

    Raises:
        DataError: a file in it is none that can be read, or there are too many.
    """
    try:
        files = [
            file for file in files_below(folder) if file.suffix == ".csv" and _SPLIT.fullmatch(file.stem)
        ]
    except ValueError as error:
        raise bad_data(
            str(folder), str(error), "a folder of data files", "name another folder, or a file in it"
        ) from error
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in sorted(files)}


def read_split(folder: Path, splits: dict[str, Path], split: str | None) -> RawTable:
    """Read one of the `splits` that :func:`find_splits` found in `folder`.

    Raises:
        DataError: `split` is not among them, or none was chosen.
    """
    if split is None or split not in splits:
        raise bad_data(
            str(folder),
            "an OpenBackdoor folder and no split named" if split is None else f"no split {split!r}",
            f"one of {listed(splits)}",
            "name a split, or give the path of its file",
        )
    return read_csv(splits[split])


def write_split(path: Path, rows: Iterable[tuple[str, int, int]]) -> None:
    """Write rows (text, label id, poison flag) as OpenBackdoor does, to the byte."""
    write_csv(path, COLUMNS, ((number, *row) for number, row in enumerate(rows)))


def write_table(path: Path, table: Table) -> None:
    """Write a table as an OpenBackdoor split; a table without poison flags has none set."""
    flags = [0] * len(table) if table.poisoned is None else map(int, table.poisoned)
    write_split(path, ((text, label, flag) for (text, label), flag in zip(table, flags, strict=True)))
