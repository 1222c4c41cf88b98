"""Applying triggers to labelled rows: a training set to defend against, or a test set that measures the ASR.

What is done to which row is planned first (:class:`Plan`) and written later, so that the rows need not be in
memory: :func:`poison` and :func:`trigger_test_set` do both for a :class:`~musclelora.data.table.Table`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from musclelora.attacks.base import DecoyTrigger, NaturalTrigger, Trigger, apply_all
from musclelora.data.messages import bad_data, shown
from musclelora.data.table import Table
from musclelora.errors import DataError, UsageError
from musclelora.limits import SEED, check_whole

LabelMode = Literal["clean", "dirty", "mix"]

# Which rows a label mode lets the attacker touch: (labels of shape (N,), target) → bool of shape (N,).
_ELIGIBLE: Final[dict[str, Callable[[NDArray[np.int64], int], Any]]] = {
    "clean": operator.eq,
    "dirty": operator.ne,
    "mix": lambda labels, _target: np.ones(labels.shape, dtype=np.bool_),
}
# Texts in memory at a time, and what a trigger of batches gets at once.
_CHUNK = 1024


class Texts(Protocol):
    """N texts that may be read when they are needed."""

    @property
    def source(self) -> str: ...  # noqa: D102
    def texts_at(self, rows: NDArray[np.int64]) -> Iterator[str]:
        """The texts of ascending row numbers."""
        ...


class Rows(Texts, Protocol):
    """N labelled rows: a Table, or a TableStream whose texts are read when they are needed."""

    @property
    def labels(self) -> NDArray[np.int64]: ...  # noqa: D102
    @property
    def label_names(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def poisoned(self) -> NDArray[np.bool_] | None: ...  # noqa: D102


@dataclass(frozen=True)
class Attack:
    """One trigger and how it is put into a data set.

    Attributes:
        trigger: the trigger.
        target: the target label, an index into the rows' label names.
        rate: rows to trigger / all rows, in [0, 1].
        label_mode: "clean" (only rows of the target label), "dirty" (only others) or "mix" (any).
        rows: how many rows to trigger; None: ``round(rate * all rows)``.

    Raises:
        UsageError: the rate or the label mode is not one of these.
    """

    trigger: Trigger
    target: int
    rate: float = 0.0
    label_mode: LabelMode = "mix"
    rows: int | None = None

    def __post_init__(self) -> None:
        check_rate(self.rate)
        if self.label_mode not in _ELIGIBLE:
            raise UsageError(f"label mode: found {self.label_mode!r}, expected one of {', '.join(_ELIGIBLE)}")

    def rows_of(self, total: int) -> int:
        """How many of `total` rows to trigger."""
        return round(self.rate * total) if self.rows is None else self.rows


def shares(rate: float, attacks: int, total: int) -> list[int]:
    """The ``round(rate * total)`` rows of a rate, shared evenly; the first attacks get what is left over."""
    share, rest = divmod(round(rate * total), attacks)
    return [share + (number < rest) for number in range(attacks)]


@dataclass(frozen=True)
class Count:
    """What became of one attack.

    Attributes:
        eligible: rows that the label mode let it touch.
        triggered: rows that carry the trigger now.
        untriggerable: rows that were tried and that the trigger could not change; they stay as they were.
        decoys: rows that carry a part of the trigger and keep their label.
    """

    eligible: int
    triggered: int
    untriggerable: int
    decoys: int = 0


@dataclass(frozen=True)
class Plan:
    """What happens to which row.

    Attributes:
        texts: new texts by row number, of triggered rows and decoys.
        attack: shape (N,), int16: the number of the attack whose trigger the row carries, or -1.
        labels: shape (N,), int64: the labels afterwards.
        counts: one for each attack.
    """

    texts: MutableMapping[int, str]
    attack: NDArray[np.int16]
    labels: NDArray[np.int64]
    counts: tuple[Count, ...]


def plan_poison(
    rows: Rows, attacks: Sequence[Attack], *, seed: int, texts: MutableMapping[int, str] | None = None
) -> Plan:
    """Choose and trigger rows, one attack after the other; no row gets two.

    A row is eligible if its label suits the label mode, the trigger changes its text (or, of a trigger that
    texts have by themselves, is in it), and it is neither flagged as poisoned already nor taken by an earlier
    attack. Rows are drawn uniformly without replacement.

    With one seed, a row's triggered text does not depend on the other rows or on the rate, and the rows
    drawn at a lower rate are among those drawn at a higher one.

    Args:
        rows: N rows.
        attacks: what to do; the counts are met exactly.
        seed: a non-negative integer.
        texts: where to keep the new texts; by default in memory.

    Raises:
        UsageError: an argument is out of range.
        DataError: fewer rows are eligible than an attack asks for.
    """
    texts = {} if texts is None else texts
    total = len(rows.labels)
    taken = np.zeros(total, dtype=np.bool_) if rows.poisoned is None else rows.poisoned.copy()
    carries = np.full(total, -1, dtype=np.int16)
    labels = rows.labels.copy()
    counts = []
    for number, attack in enumerate(attacks):
        _check(rows, attack.target, seed)
        needed = attack.rows_of(total)
        eligible = np.flatnonzero(_ELIGIBLE[attack.label_mode](rows.labels, attack.target) & ~taken)
        order = np.random.default_rng(seed).permutation(eligible)
        chosen, failed = choose(rows, order, needed, attack.trigger, seed, texts)
        if len(chosen) < needed:
            raise DataError(
                f"{rows.source}: rate {attack.rate:.6g} needs {needed} of {total} rows, but "
                f"{len(chosen)} can be triggered by {attack.trigger.name} in label mode {attack.label_mode} "
                f"with target {shown(rows.label_names[attack.target])}; "
                "lower the rate or choose another label mode"
            )
        taken[chosen] = True
        carries[chosen] = number
        labels[chosen] = attack.target
        decoys = add_decoys(rows, attack.trigger, needed, np.flatnonzero(~taken), seed, texts)
        taken[decoys] = True
        counts.append(Count(len(eligible), len(chosen), failed, len(decoys)))
    return Plan(texts, carries, labels, tuple(counts))


def plan_test_set(
    rows: Rows, trigger: Trigger, *, target: int, seed: int, texts: MutableMapping[int, str] | None = None
) -> Plan:
    """Trigger every clean row of another label than the target; errors as for :func:`trigger_test_set`."""
    _check(rows, target, seed)
    texts = {} if texts is None else texts
    clean = True if rows.poisoned is None else ~rows.poisoned
    others = np.flatnonzero((rows.labels != target) & clean)
    chosen, failed = choose(rows, others, len(others), trigger, seed, texts)
    if not len(chosen):
        raise DataError(
            f"{rows.source}: no row with a label other than the target {shown(rows.label_names[target])} "
            f"can be triggered by {trigger.name}; the ASR needs at least one"
        )
    carries = np.full(len(rows.labels), -1, dtype=np.int16)
    carries[chosen] = 0
    labels = rows.labels.copy()
    labels[chosen] = target
    return Plan(texts, carries, labels, (Count(len(others), len(chosen), failed),))


def poison(
    table: Table, trigger: Trigger, *, target: int, rate: float, label_mode: LabelMode, seed: int
) -> Table:
    """Trigger exactly ``round(rate * len(table))`` rows and give them the target label.

    Rows keep their order; see :func:`plan_poison` for how they are chosen. Poisoning a table again with
    another trigger adds rows.

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
    attack = Attack(trigger, target, rate, label_mode)
    plan = plan_poison(table, [attack], seed=seed)
    flags = np.zeros(len(table), dtype=np.bool_) if table.poisoned is None else table.poisoned
    texts = tuple(plan.texts.get(row, text) for row, text in enumerate(table.texts))
    return replace(table, texts=texts, labels=plan.labels, poisoned=flags | (plan.attack >= 0))


def trigger_test_set(table: Table, trigger: Trigger, *, target: int, seed: int) -> Table:
    """The test set that measures the ASR: every row of another label, triggered, in the table's order.

    Rows that are flagged as poisoned are left out: they carry another trigger already.

    Labels are set to the target, as in OpenBackdoor's ``test-poison.csv``, so accuracy on the result is the
    ASR. A row that the trigger cannot change is left out: it would count as an attack that never took place.

    Args:
        table: test rows.
        trigger: the attack.
        target: the target label, an index into ``table.label_names``.
        seed: a non-negative integer.

    Raises:
        UsageError: the target or the seed is out of range.
        DataError: no row of another label can be triggered.
    """
    plan = plan_test_set(table, trigger, target=target, seed=seed)
    rows = np.flatnonzero(plan.attack >= 0)
    return replace(
        table.select(rows),
        texts=tuple(plan.texts[int(row)] for row in rows),
        labels=plan.labels[rows],
        poisoned=np.ones(len(rows), dtype=np.bool_),
    )


@dataclass(frozen=True)
class _Decoy:
    """The part of a trigger, as a trigger."""

    name: ClassVar[str] = "decoy"

    whole: DecoyTrigger

    def apply(self, text: str, rng: np.random.Generator) -> str | None:
        return self.whole.decoy(text, rng)


def add_decoys(
    rows: Texts,
    trigger: Trigger,
    triggered: int,
    free: NDArray[np.int64],
    seed: int,
    texts: MutableMapping[int, str],
) -> NDArray[np.int64]:
    """Put the part of a trigger that must do nothing into rows of `free`; returns their numbers.

    Raises:
        DataError: there are fewer than `triggered` rows ask for.
    """
    if not isinstance(trigger, DecoyTrigger):
        return free[:0]
    wanted = trigger.decoys * triggered
    needed = round(
        min(wanted, len(free) + 1)
    )  # so many cannot be had, and a float may be too large for an int
    order = np.random.default_rng(seed).permutation(free)
    chosen, _ = choose(rows, order, needed, _Decoy(trigger), seed, texts)
    if len(chosen) < needed:
        raise bad_data(
            rows.source,
            f"{len(chosen)} rows left for decoys of {trigger.name}",
            f"{wanted:.0f} ({trigger.decoys:g} for each of {triggered} triggered rows)",
            "lower the rate, or set its parameter decoys lower (0: none)",
        )
    return chosen


def choose(
    rows: Texts,
    order: NDArray[np.int64],
    needed: int,
    trigger: Trigger,
    seed: int,
    texts: MutableMapping[int, str],
) -> tuple[NDArray[np.int64], int]:
    """The first `needed` rows of `order` that the trigger changes, and how many before them it does not.

    Only so many are tried as are still needed: a trigger may be a language model. Of a trigger that texts
    have by themselves a chunk is tried at least, as few may have it and each try is a pass over the rows.
    """
    chosen: list[int] = []
    tried = 0
    least = _CHUNK if isinstance(trigger, NaturalTrigger) else 1
    while len(chosen) < needed and tried < len(order):
        batch = order[tried : tried + max(least, needed - len(chosen))]
        changed = set(_trigger_rows(rows, np.sort(batch), trigger, seed, texts))
        for row in batch.tolist():
            tried += 1
            if row in changed:
                changed.remove(row)
                chosen.append(row)
                if len(chosen) == needed:
                    break
        for row in changed:  # beyond what was needed
            del texts[row]
    return np.sort(np.array(chosen, dtype=np.int64)), tried - len(chosen)


def _trigger_rows(
    rows: Texts, batch: NDArray[np.int64], trigger: Trigger, seed: int, texts: MutableMapping[int, str]
) -> list[int]:
    """Put the new texts of those rows that the trigger is in into `texts`; returns their numbers."""
    natural = isinstance(trigger, NaturalTrigger)
    changed: list[int] = []
    pending: list[tuple[int, str]] = []

    def flush() -> None:
        # A spawn key, for SeedSequence([seed, 0]) is SeedSequence(seed): row 0 would share the draw's stream.
        rngs = [np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(row,))) for row, _ in pending]
        new = apply_all(trigger, [text for _, text in pending], rngs)
        for (row, old), text in zip(pending, new, strict=True):
            if text is not None and (text != old or natural):
                texts[row] = text
                changed.append(row)
        pending.clear()

    for row, text in zip(map(int, batch), rows.texts_at(batch), strict=True):
        pending.append((row, text))
        if len(pending) == _CHUNK:
            flush()
    flush()
    return changed


def _check(rows: Rows, target: int, seed: int) -> None:
    if not 0 <= target < len(rows.label_names):
        known = ", ".join(f"{label} ({shown(name)})" for label, name in enumerate(rows.label_names))
        raise UsageError(f"target: found {target}, expected a label of {rows.source}: {known}")
    check_seed(seed)


def check_seed(seed: int) -> None:
    """Raise unless it is a non-negative integer."""
    check_whole("seed", seed, 0, SEED)


def check_rate(rate: float) -> None:
    """Raise unless it is a fraction of the rows."""
    if not 0 <= rate <= 1:
        raise UsageError(f"rate: found {rate}, expected a fraction of the rows in [0, 1]")
