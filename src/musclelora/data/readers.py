"""One entry to every format: :func:`load_table`."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musclelora.data import huggingface, openbackdoor
from musclelora.data.answer_lists import read_json
from musclelora.data.delimited import read_csv, read_tsv
from musclelora.data.jsonl import read_jsonl
from musclelora.data.labels import Label, LabelMap, infer_names, parse_label, unknown_label
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
_FLAGS = {"0": False, "1": True, "false": False, "true": True, "0.0": False, "1.0": True}


def load_table(
    source: str | os.PathLike[str],
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    label_names: Sequence[str] | None = None,
    split: str | None = None,
    max_rows: int | None = None,
) -> Table:
    """Read a labelled text table of any supported kind.

    Args:
        source: a .csv, .tsv, .jsonl, .ndjson, .json (one object a line) or .parquet file, an OpenBackdoor
            file or folder, a Hugging Face data set folder, or the name of a data set on the hub.
        text_column: the text; by default the first of text, sentence, content, review, document.
        label_column: the label, strings or integers; by default the first of label, labels, category,
            class, target.
        label_names: a saved label map (index = label id) to read the labels by; by default the map is the
            format's own, or is made from the labels.
        split: the split of a folder or hub data set, such as "test" or (OpenBackdoor) "test-clean".
        max_rows: read at most this many rows.

    Returns:
        The rows in the order of the source. A null text is "". ``poisoned`` comes from an OpenBackdoor
        file's flag or a column of that name (0/1 or true/false), and is None where there is neither.

    Raises:
        DataError: the source, a column or a row cannot be used; the message names it.
        UsageError: `max_rows` is below 1, `split` is given with a single file, or the text and the label are
            the same column.
    """
    if max_rows is not None and max_rows < 1:
        raise UsageError(f"max_rows is {max_rows}; expected at least 1; leave it out to read every row")
    return table_of(
        open_raw(os.fspath(source), split),
        text_column=text_column,
        label_column=label_column,
        label_names=label_names,
        max_rows=max_rows,
    )


def table_of(
    raw: RawTable,
    *,
    text_column: str | None,
    label_column: str | None,
    label_names: Sequence[str] | None,
    max_rows: int | None,
) -> Table:
    """The table of what a reader hands over; arguments and errors as for :func:`load_table`."""
    text, label, flag = choose_columns(raw, text_column, label_column)
    texts: list[str] = []
    labels: list[Label] = []
    flags: list[bool] = []
    positions: list[int] = []
    names = raw.class_names.get(label, ())
    wanted = (text, label) if flag is None else (text, label, flag)
    for position, cells in itertools.islice(raw.rows(wanted), max_rows):
        positions.append(position)
        texts.append(parse_text(cells[0], raw.place(position, text)))
        labels.append(parse_label(cells[1], names, raw.place(position, label)))
        if flag is not None:
            flags.append(parse_flag(cells[2], raw.place(position, flag)))
    if not texts:
        raise bad_data(raw.source, "no rows", "at least one row after the header", "name another file")
    label_map = LabelMap(label_names or names or infer_names(labels), raw.source)
    return Table(
        texts=tuple(texts),
        labels=_number(raw, label, labels, positions, label_map),
        label_names=label_map.names,
        poisoned=None if flag is None else np.array(flags, dtype=np.bool_),
        source=raw.source,
        lines=raw.lines(positions),
    )


def load_texts(
    source: str | os.PathLike[str], *, text_column: str | None = None, split: str | None = None
) -> tuple[str, ...]:
    """Read the texts of a table that needs no labels; arguments and errors as for :func:`load_table`."""
    raw = open_raw(os.fspath(source), split)
    column = choose_text(raw, text_column)
    return tuple(parse_text(value, raw.place(at, column)) for at, (value,) in raw.rows((column,)))


def open_raw(source: str, split: str | None) -> RawTable:
    """The table of any kind that `source` names, before columns are chosen."""
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
    assert names is not None  # noqa: S101  # it is not optional here
    refuse_same(found, names, "--text-column", "--label-column")
    return found, names, flag_column(raw, found, names)


def choose_text(raw: RawTable, named: str | None) -> str:
    """The column of the texts; an OpenBackdoor file has its own."""
    own = openbackdoor.COLUMNS[1:2] if raw.columns == openbackdoor.COLUMNS else _TEXT_COLUMNS
    return choose(raw, named, own, "--text-column")


def choose_label(raw: RawTable, named: str | None, *, optional: bool = False) -> str | None:
    """The column of the labels; None where `optional`, none is named, and there is none."""
    own = openbackdoor.COLUMNS[2:3] if raw.columns == openbackdoor.COLUMNS else _LABEL_COLUMNS
    if optional and named is None and not any(column in raw.columns for column in own):
        return None
    return choose(raw, named, own, "--label-column")


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
    candidates = defaults if named is None else (named,)
    for column in candidates:
        if column in raw.columns:
            return column
    found = f"no column {shown(named)}" if named is not None else f"none of the columns {', '.join(defaults)}"
    raise bad_data(raw.source, found, f"one of its columns {listed(raw.columns)}", f"name it with {option}")


def parse_text(value: object, place: str) -> str:
    """Read one text cell; a null is ""."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise bad_data(place, f"a value of type {type(value).__name__}", "a text", "name another text column")
    return str(value)


def parse_flag(value: object, place: str) -> bool:
    """Read one cell of a poison flag."""
    flag = _FLAGS.get(str(value).strip().lower())
    if flag is None:
        raise bad_data(
            place, f"poison flag {shown(value)}", "0, 1, true or false", "mend or rename the column"
        )
    return flag


def _number(
    raw: RawTable, column: str, labels: Sequence[Label], positions: Sequence[int], label_map: LabelMap
) -> NDArray[np.int64]:
    """The class id of every label, shape (N,)."""
    ids = np.empty(len(labels), dtype=np.int64)
    for row, label in enumerate(labels):
        found = label_map.id_of(label)
        if found is None:
            raise unknown_label(raw.place(positions[row], column), label, label_map.names)
        ids[row] = found
    return ids
