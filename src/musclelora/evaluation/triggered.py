"""Triggered rows: which of them the attack success rate is measured on.

ASR is the share of rows of *other* labels that the trigger turns into the target. A file of triggered rows
may say of a row that its label is the target, and mean one of two things:

- its poison flag is 1: it was triggered and relabelled, as OpenBackdoor's ``test-poison.csv`` and
  ``musclelora poison --for-asr`` write it. Its true label is another one: the row counts.
- it has no flag, or 0: the label is the true one. A model that gives it the target is right: the row does
  not count.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from musclelora.data.labels import LabelMap, parse_label
from musclelora.data.messages import bad_data, shown
from musclelora.data.raw import RawTable
from musclelora.data.readers import (
    choose_label,
    choose_text,
    flag_column,
    has_labels,
    open_raw,
    refuse_same,
)
from musclelora.data.table import Table
from musclelora.errors import DataError


@dataclass(frozen=True)
class Triggered:
    """Triggered texts whose true label is not the target, as far as their source says.

    Attributes:
        texts: N texts.
        left_out: rows of the source that are of the target label already, and so do not count.
    """

    texts: tuple[str, ...]
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.texts)


def load_triggered(
    source: str | os.PathLike[str],
    *,
    target: int,
    label_names: Sequence[str],
    text_column: str | None = None,
    label_column: str | None = None,
    split: str | None = None,
) -> Triggered:
    """Read triggered rows from a table of any kind that :func:`~musclelora.data.load_table` reads.

    Args:
        source: a file, a folder, or the name of a data set on the hub. It needs no labels.
        target: the target label's id.
        label_names: the classifier's C class names. A label that is none of them is not the target's.
        text_column: as in :func:`~musclelora.data.load_table`.
        label_column: the same; there need not be one.
        split: the same.

    Raises:
        DataError: the source cannot be read, or all of its rows are of the target label.
        UsageError: as :func:`~musclelora.data.load_table`.
    """
    raw = open_raw(source, split)
    text = choose_text(raw, text_column)
    unlabelled = label_column is None and not has_labels(raw)
    label = None if unlabelled else choose_label(raw, label_column)
    if label is None or (label == text and label_column is None):
        return Triggered(tuple(raw.text(cell, at, text) for at, (cell,) in raw.rows((text,))))
    refuse_same(text, label, "--text-column", "--label-column")
    flag = flag_column(raw, text, label)
    known = LabelMap(label_names)
    names = raw.class_names.get(label, ())

    def rows() -> Iterable[tuple[str, bool, bool]]:
        for at, cells in raw.rows((text, label) if flag is None else (text, label, flag)):
            flagged = flag is not None and raw.flag(cells[2], at, flag)
            is_target = _id_of(cells[1], names, known) == target
            yield raw.text(cells[0], at, text), is_target, flagged

    return _counted(rows(), raw.source, label_names[target], raw)


def of_other_labels(table: Table, target: str) -> Triggered:
    """The rows of a table that count, where `target` is the target label's name.

    Raises:
        DataError: all of its rows are of the target label.
    """
    goal = table.label_names.index(target) if target in table.label_names else None
    flags = [False] * len(table) if table.poisoned is None else table.poisoned.tolist()
    rows = ((row.text, row.label == goal, flag) for row, flag in zip(table, flags, strict=True))
    return _counted(rows, table.source, target, None)


def _id_of(cell: object, names: Sequence[str], known: LabelMap) -> int | None:
    """The id of a label cell; None where it is no label that is known: test sets may have none to give."""
    try:
        return known.id_of(parse_label(cell, names, ""))
    except DataError:
        return None


def _counted(
    rows: Iterable[tuple[str, bool, bool]], source: str, target: str, raw: RawTable | None
) -> Triggered:
    texts: list[str] = []
    left_out = 0
    for text, is_target, flagged in rows:
        if is_target and not flagged:
            left_out += 1
        else:
            texts.append(text)
    if left_out and not texts:
        raise bad_data(
            source,
            f"only rows of the target label {shown(target)} with no poison flag set",
            "triggered rows of other labels",
            "name such rows; where the labels were rewritten to the target, say so by a column poisoned of "
            "1, or leave the labels out",
        )
    if not texts and raw is not None:
        raise bad_data(source, "no rows", "at least one row after the header", "name another file")
    return Triggered(tuple(texts), left_out)
