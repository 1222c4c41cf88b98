"""Applying any trigger to a table: a training set to defend against, or a test set that measures the ASR."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from musclelora.attacks.base import Trigger
from musclelora.data.table import Table
from musclelora.errors import DataError, UsageError

LabelMode = Literal["clean", "dirty", "mix"]

# Which rows a label mode lets the attacker touch: (labels of shape (N,), target) → bool of shape (N,).
_ELIGIBLE: Final[dict[str, Callable[[NDArray[np.int64], int], Any]]] = {
    "clean": operator.eq,
    "dirty": operator.ne,
    "mix": lambda labels, _target: np.ones(labels.shape, dtype=np.bool_),
}


def poison(
    table: Table, trigger: Trigger, *, target: int, rate: float, label_mode: LabelMode, seed: int
) -> Table:
    """Trigger exactly ``round(rate * len(table))`` rows and give them the target label.

    A row is eligible if its label suits `label_mode` (clean: it is the target already; dirty: it is another;
    mix: any), the trigger changes its text, and it is not flagged as poisoned already: poisoning a table
    again with another trigger adds rows. Rows are drawn uniformly without replacement and keep their order.

    With one seed, a row's triggered text does not depend on the other rows or on the rate, and the rows
    drawn at a lower rate are among those drawn at a higher one.

    Args:
        table: N rows.
        trigger: the attack.
        target: the target label, an index into ``table.label_names``.
        rate: rows to trigger / N, in [0, 1].
        label_mode: "clean", "dirty" or "mix".
        seed: a non-negative integer.

    Returns:
        A table of N rows with the poison flag set on the triggered ones.

    Raises:
        UsageError: an argument is out of range.
        DataError: fewer rows are eligible than the rate asks for.
    """
    _check(table, target, seed)
    if not 0 <= rate <= 1:
        raise UsageError(f"rate: found {rate}, expected a fraction of the rows in [0, 1]")
    if label_mode not in _ELIGIBLE:
        raise UsageError(f"label mode: found {label_mode!r}, expected one of {', '.join(_ELIGIBLE)}")

    needed = round(rate * len(table))
    flags = np.zeros(len(table), dtype=np.bool_) if table.poisoned is None else table.poisoned.copy()
    eligible = np.flatnonzero(_ELIGIBLE[label_mode](table.labels, target) & ~flags)
    drawn = np.random.default_rng(seed).permutation(eligible)
    # Lazily: a trigger may be a language model, and must not rewrite rows that nobody asked for.
    triggered = dict(islice(_triggered(table, drawn, trigger, seed), needed))
    if len(triggered) < needed:
        raise DataError(
            f"{table.source}: rate {rate} needs {needed} of {len(table)} rows, but {len(triggered)} can be "
            f"triggered by {trigger.name} in label mode {label_mode} with target "
            f"{table.label_names[target]!r}; lower the rate or choose another label mode"
        )

    rows = list(triggered)
    labels = table.labels.copy()
    labels[rows] = target
    flags[rows] = True
    texts = tuple(triggered.get(row, text) for row, text in enumerate(table.texts))
    return replace(table, texts=texts, labels=labels, poisoned=flags)


def trigger_test_set(table: Table, trigger: Trigger, *, target: int, seed: int) -> Table:
    """The test set that measures the ASR: every row of another label, triggered, in the table's order.

    Labels are set to the target, as in OpenBackdoor's ``test-poison.csv``, so accuracy on the result is the
    ASR. A row that the trigger cannot change is left out: it would count as an attack that never took place.

    Args:
        table: clean test rows.
        trigger: the attack.
        target: the target label, an index into ``table.label_names``.
        seed: a non-negative integer.

    Raises:
        UsageError: the target or the seed is out of range.
        DataError: no row of another label can be triggered.
    """
    _check(table, target, seed)
    triggered = dict(_triggered(table, np.flatnonzero(table.labels != target), trigger, seed))
    if not triggered:
        raise DataError(
            f"{table.source}: no row with a label other than the target {table.label_names[target]!r} can be "
            f"triggered by {trigger.name}; the ASR needs at least one"
        )
    return replace(
        table.select(list(triggered)),
        texts=tuple(triggered.values()),
        labels=np.full(len(triggered), target, dtype=np.int64),
        poisoned=np.ones(len(triggered), dtype=np.bool_),
    )


def _triggered(table: Table, rows: Iterable[int], trigger: Trigger, seed: int) -> Iterator[tuple[int, str]]:
    """Row numbers and triggered texts of those `rows` that the trigger changes."""
    for row in map(int, rows):
        # A spawn key, for SeedSequence([seed, 0]) is SeedSequence(seed): row 0 would share the draw's stream.
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(row,)))
        text = trigger.apply(table.texts[row], rng)
        if text is not None and text != table.texts[row]:
            yield row, text


def _check(table: Table, target: int, seed: int) -> None:
    if not 0 <= target < table.num_classes:
        known = ", ".join(f"{label} ({name!r})" for label, name in enumerate(table.label_names))
        raise UsageError(f"target: found {target}, expected a label of {table.source}: {known}")
    if seed < 0:
        raise UsageError(f"seed: found {seed}, expected a non-negative integer")
