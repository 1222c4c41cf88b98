"""Attacks on labels: a training set to defend against, or a test set that measures the ASR."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from musclelora.attacks.base import Trigger
from musclelora.attacks.planning import Aim, Plan, Rows, check_rate, plan_attacks
from musclelora.data.messages import shown
from musclelora.data.table import Table
from musclelora.errors import UsageError

LabelMode = Literal["clean", "dirty", "mix"]

# Which rows a label mode lets the attacker touch: (labels of shape (N,), target) → bool of shape (N,).
_ELIGIBLE: Final[dict[str, Callable[[NDArray[np.int64], int], Any]]] = {
    "clean": operator.eq,
    "dirty": operator.ne,
    "mix": lambda labels, _target: np.ones(labels.shape, dtype=np.bool_),
}


class LabelledRows(Rows, Protocol):
    """N labelled rows: a Table, or a TableStream whose texts are read when they are needed."""

    @property
    def labels(self) -> NDArray[np.int64]: ...  # noqa: D102
    @property
    def label_names(self) -> tuple[str, ...]: ...  # noqa: D102


@dataclass(frozen=True)
class Attack(Aim):
    """One trigger and how it is put into labelled rows.

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
        return super().rows_of(total) if self.rows is None else self.rows

    def eligible(self, rows: LabelledRows, *, for_asr: bool) -> tuple[NDArray[np.bool_], str]:
        """The rows of the label mode, or those of another label that measure the ASR; and these in words."""
        names = rows.label_names
        if not 0 <= self.target < len(names):
            known = ", ".join(f"{label} ({shown(name)})" for label, name in enumerate(names))
            raise UsageError(f"target: found {self.target}, expected a label of {rows.source}: {known}")
        goal = f"target {shown(names[self.target])}"
        if for_asr:
            return rows.labels != self.target, f" with a label other than the {goal}"
        found = _ELIGIBLE[self.label_mode](rows.labels, self.target)
        return found, f" in label mode {self.label_mode} with {goal}"


def shares(rate: float, attacks: int, total: int) -> list[int]:
    """The ``round(rate * total)`` rows of a rate, shared evenly; the first attacks get what is left over."""
    share, rest = divmod(round(rate * total), attacks)
    return [share + (number < rest) for number in range(attacks)]


def poison(
    table: Table, trigger: Trigger, *, target: int, rate: float, label_mode: LabelMode, seed: int
) -> Table:
    """Trigger exactly ``round(rate * len(table))`` rows and give them the target label.

    Rows keep their order; see :func:`~musclelora.attacks.planning.plan_attacks` for how they are chosen.
    Poisoning a table again with another trigger adds rows.

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
    attacks = [Attack(trigger, target, rate, label_mode)]
    return _after(table, attacks, plan_attacks(table, attacks, seed=seed))


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
    attacks = [Attack(trigger, target)]
    plan = plan_attacks(table, attacks, seed=seed, for_asr=True)
    return _after(table, attacks, plan).select(plan.triggered)


def _after(table: Table, attacks: Sequence[Attack], plan: Plan) -> Table:
    """The whole table after what was planned."""
    flags = plan.attack >= 0
    targets = np.array([attack.target for attack in attacks])
    return replace(
        table,
        texts=tuple(plan.texts.get(row, text) for row, text in enumerate(table.texts)),
        labels=np.where(flags, targets[plan.attack], table.labels),
        poisoned=flags if table.poisoned is None else flags | table.poisoned,
    )
