"""One entry to every format: :func:`load_table`."""

from __future__ import annotations

import itertools
import os
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musclelora.data import huggingface, openbackdoor
from musclelora.data.answer_lists import read_json
from musclelora.data.delimited import read_csv, read_tsv
from musclelora.data.jsonl import read_jsonl
from musclelora.data.labels import Label, LabelMap, infer_names, parse_label, unknown_label
from musclelora.data.memory import read_memory
from musclelora.data.messages import bad_data, listed, shown
from musclelora.data.parquet import read_parquet
from musclelora.data.places import may_be_on_hub, missing, refuse_blank, refuse_special
from musclelora.data.raw import RawTable, read_errors
from musclelora.data.table import Table
from musclelora.errors import UsageError

READERS: dict[str, Callable[[Path], RawTable]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".parquet": read_parquet,
}
"""The reader of each file suffix; a new format is a new entry."""

_TEXT_COLUMNS = ("text", "sentence", "content", "review", "document")
_LABEL_COLUMNS = ("label", "labels", "category", "class", "target")
FLAG_COLUMN = "poisoned"
"""The column of the poison flag, where a table has one."""


def load_table(
    source: Any,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    label_names: Sequence[str] | None = None,
    split: str | None = None,
    max_rows: int | None = None,
    name: str | None = None,
) -> Table:
    """Read a labelled text table of any supported kind.

    Args:
        source: a .csv, .tsv, .jsonl, .ndjson, .json (one object a line) or .parquet file, an OpenBackdoor
            file or folder, a Hugging Face data set folder, or the name of a data set on the hub; a pandas
            DataFrame or ``datasets.Dataset``; or a :class:`Table`, which stays as it is.
        text_column: the text; by default the first of text, sentence, content, review, document.
        label_column: the label, strings or integers; by default the first of label, labels, category,
            class, target.
        label_names: a saved label map (index = label id) to read the labels by; by default the map is the
            format's own, or is made from the labels.
        split: the split of a folder or hub data set, such as "test" or (OpenBackdoor) "test-clean".
        max_rows: read at most this many rows.
        name: what messages call data in memory.

    Returns:
        The rows in the order of the source. A null text is "". ``poisoned`` comes from an OpenBackdoor
        file's flag or a column of that name (0/1 or true/false), and is None where there is neither.

    Raises:
        DataError: the source, a column or a row cannot be used; the message names it.
        UsageError: `max_rows` is below 1, `split` is given with a single file, the text and the label are
            the same column, or `source` is nothing of all these.
    """
    if isinstance(source, Table):
        return source
    raw = open_raw(source, split, name)
    texts: list[str] = []
    found = read_labels(raw, text_column, label_column, label_names, max_rows=max_rows, texts=texts)
    return Table(
        texts=tuple(texts),
        labels=found.labels,
        label_names=found.label_names,
        poisoned=found.poisoned,
        source=raw.source,
        lines=raw.lines(found.positions),
    )


class Labels(NamedTuple):
    """The labels of a table, whose texts are elsewhere.

    Attributes:
        labels: shape (N,), int64; each is an index into `label_names`.
        label_names: the C class names; index = label id.
        poisoned: shape (N,), bool, or None where the source has no flag.
        columns: the names of the text and the label column.
        positions: of the N rows in the source; none where their texts were not read.
    """

    labels: NDArray[np.int64]
    label_names: tuple[str, ...]
    poisoned: NDArray[np.bool_] | None
    columns: tuple[str, str]
    positions: Sequence[int]


def read_labels(
    raw: RawTable,
    text_column: str | None,
    label_column: str | None,
    label_names: Sequence[str] | None,
    *,
    max_rows: int | None = None,
    texts: list[str] | None = None,
) -> Labels:
    """Read the labels and flags of a table, about ten bytes a row, and its texts only into a given list.

    Arguments and errors as for :func:`load_table`.
    """
    check_rows(max_rows)
    text, label, flag = choose_columns(raw, text_column, label_column)
    own = raw.class_names.get(label, ())
    kinds: dict[Label, int] = {}
    first: list[int] = []
    codes, flags, positions = array("q"), array("b"), array("q")
    seen: dict[tuple[type, object], int] = {}  # True is 1 as a key, but not as a label
    wanted = [*([text] if texts is not None else []), label, *([flag] if flag is not None else [])]
    at = wanted.index(label)
    for position, cells in itertools.islice(raw.rows(wanted), max_rows):
        if texts is not None:
            texts.append(raw.text(cells[0], position, text))
            positions.append(position)
        cell = cells[at]
        code = seen.get((type(cell), cell)) if isinstance(cell, str | int) else None
        if code is None:
            code = kinds.setdefault(parse_label(cell, own, raw.place(position, label)), len(kinds))
            if code == len(first):
                first.append(position)
            if isinstance(cell, str | int):
                seen[type(cell), cell] = code
        codes.append(code)
        if flag is not None:
            flags.append(raw.flag(cells[-1], position, flag))
    refuse_none(raw, len(codes))
    names = LabelMap(label_names or own or infer_names(list(kinds)), raw.source)
    ids = np.empty(len(kinds), dtype=np.int64)
    for kind, code in kinds.items():
        found = names.id_of(kind)
        if found is None:
            raise unknown_label(raw.place(first[code], label), kind, names.names)
        ids[code] = found
    return Labels(
        ids[np.frombuffer(codes, dtype=np.int64)],
        names.names,
        None if flag is None else np.frombuffer(flags, dtype=np.int8).astype(np.bool_),
        (text, label),
        positions,
    )


def load_texts(
    source: str | os.PathLike[str], *, text_column: str | None = None, split: str | None = None
) -> tuple[str, ...]:
    """Read the texts of a table that needs no labels; arguments and errors as for :func:`load_table`."""
    raw = open_raw(source, split)
    column = choose_text(raw, text_column)
    return tuple(raw.text(cell, position, column) for position, (cell,) in raw.rows((column,)))


def check_rows(max_rows: int | None) -> None:
    """Raise a UsageError for a limit that lets no row be read."""
    if max_rows is not None and max_rows < 1:
        raise UsageError(f"max_rows is {max_rows}; expected at least 1; leave it out to read every row")


def refuse_none(raw: RawTable, rows: int) -> None:
    """Raise a DataError where a table has no rows."""
    if not rows:
        raise bad_data(raw.source, "no rows", "at least one row after the header", "name another file")


def open_raw(source: Any, split: str | None = None, name: str | None = None) -> RawTable:
    """The table of any kind that `source` is or names, before columns are chosen; see :func:`load_table`."""
    if not isinstance(source, str | os.PathLike):
        return read_memory(source, name)
    source = os.fspath(source)
    refuse_blank(source, "data")
    path = Path(source)
    with read_errors(source):
        found, folder = path.exists(), path.is_dir()
    if folder:
        splits = openbackdoor.find_splits(path)
        return (
            openbackdoor.read_split(path, splits, split) if splits else huggingface.read_folder(path, split)
        )
    reader = READERS.get(path.suffix.lower())
    if found:
        refuse_special(path)
        if reader is None:
            raise bad_data(
                source, f"unknown format {path.suffix!r}", f"one of {', '.join(READERS)}", "convert the file"
            )
        if split is not None:
            raise UsageError(f"split {split!r} was given with the single file {source}; name one of the two")
        return reader(path)
    if reader is not None or not may_be_on_hub(source):
        raise bad_data(source, missing(source), "an existing path", "check the spelling")
    return huggingface.read_hub(source, split)


def choose_columns(raw: RawTable, text: str | None, label: str | None) -> tuple[str, str, str | None]:
    """The text, label and flag columns of a table.

    Raises:
        DataError: it has none of the columns.
        UsageError: the text and the label would be the same column.
    """
    found, names = choose_text(raw, text), choose_label(raw, label)
    refuse_same(found, names, "--text-column", "--label-column")
    return found, names, flag_column(raw, found, names)


def choose_text(raw: RawTable, named: str | None) -> str:
    """The column of the texts; an OpenBackdoor file has its own."""
    own = openbackdoor.COLUMNS[1:2] if raw.columns == openbackdoor.COLUMNS else _TEXT_COLUMNS
    return choose(raw, named, own, "--text-column")


def choose_label(raw: RawTable, named: str | None) -> str:
    """The column of the labels; an OpenBackdoor file has its own."""
    return choose(raw, named, _label_columns(raw), "--label-column")


def has_labels(raw: RawTable) -> bool:
    """Whether there is a column that is taken for the labels where none is named."""
    return any(column in raw.columns for column in _label_columns(raw))


def _label_columns(raw: RawTable) -> tuple[str, ...]:
    return openbackdoor.COLUMNS[2:3] if raw.columns == openbackdoor.COLUMNS else _LABEL_COLUMNS


def flag_column(raw: RawTable, *taken: str) -> str | None:
    """The column of the poison flag, where there is one that is not `taken` for something else."""
    flag = openbackdoor.COLUMNS[3] if raw.columns == openbackdoor.COLUMNS else FLAG_COLUMN
    return flag if flag in raw.columns and flag not in taken else None


def refuse_same(one: str, other: str, *options: str) -> None:
    """Refuse one column as both of two things.

    Raises:
        UsageError: the two are the same; `options` name them.
    """
    if one == other:
        raise UsageError(
            f"{' and '.join(options)}: found column {shown(one)} for both, expected two columns; name another"
        )


def choose(raw: RawTable, named: str | None, defaults: Sequence[str], option: str) -> str:
    """The named column, or the first of the defaults that the table has.

    Raises:
        DataError: it has none of them; `option` is what names one.
    """
    named = None if named is None else str(named)  # in a data frame it may be a number
    candidates = defaults if named is None else (named,)
    for column in candidates:
        if column in raw.columns:
            return column
    found = f"no column {shown(named)}" if named is not None else f"none of the columns {', '.join(defaults)}"
    raise bad_data(raw.source, found, f"one of its columns {listed(raw.columns)}", f"name it with {option}")
