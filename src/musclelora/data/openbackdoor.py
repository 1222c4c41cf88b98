"""The layout of the OpenBackdoor toolkit: folders of CSV files with the header ``,0,1,2``.

Generative sets have the same folders of JSON files, each a list of ``[prompt, answers, flag]``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from musclelora.data.answer_lists import read_json
from musclelora.data.delimited import read_csv
from musclelora.data.messages import bad_data, listed
from musclelora.data.places import files_below
from musclelora.data.raw import RawTable
from musclelora.data.table import Table
from musclelora.data.writers import write_csv

COLUMNS = ("", "0", "1", "2")
"""Row number, text, label, poison flag."""

_READERS: Final[dict[str, Callable[[Path], RawTable]]] = {".csv": read_csv, ".json": read_json}
_SPLIT = re.compile(r"(train|dev|test)-(clean|poison|detect)")


def find_splits(folder: Path) -> dict[str, Path]:
    """The splits in `folder`, by name: ``test-clean``, ``mix/0.1/train-poison``; empty if it has none.

    Raises:
        DataError: a file in it is none that can be read, there are too many, or a split has two files.
    """
    try:
        files = [
            file for file in files_below(folder) if file.suffix in _READERS and _SPLIT.fullmatch(file.stem)
        ]
    except ValueError as error:
        raise bad_data(
            str(folder), str(error), "a folder of data files", "name another folder, or a file in it"
        ) from error
    splits: dict[str, Path] = {}
    for file in sorted(files):
        name = file.relative_to(folder).with_suffix("").as_posix()
        if name in splits:
            raise bad_data(
                str(folder),
                f"two files of the split {name!r}",
                "one",
                "name a file, or move one of them away",
            )
        splits[name] = file
    return splits


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
    file = splits[split]
    return _READERS[file.suffix](file)


def write_split(path: Path, rows: Iterable[tuple[str, int, int]]) -> None:
    """Write rows (text, label id, poison flag) as OpenBackdoor does, to the byte."""
    write_csv(path, COLUMNS, ((number, *row) for number, row in enumerate(rows)))


def write_table(path: Path, table: Table) -> None:
    """Write a table as an OpenBackdoor split; a table without poison flags has none set."""
    flags = [0] * len(table) if table.poisoned is None else map(int, table.poisoned)
    write_split(path, ((text, label, flag) for (text, label), flag in zip(table, flags, strict=True)))
