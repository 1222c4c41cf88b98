"""One table of the leaderboard: the means of every defence, which is the best, and which are as good."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from musclelora.benchmark.columns import ASR, CACC, COLUMNS, COST, Column
from musclelora.benchmark.statistics import Share, difference, estimate, significant

Row = dict[str, Any]
"""A row of the results table; what is missing is None."""
Attack = tuple[str, str]
"""A trigger family's name and the label mode."""
Cells = dict[tuple[Attack, int], Row]
"""The finished cells of one defence, by attack and seed."""


@dataclass(frozen=True)
class Cell:
    """A mean, in the results' unit, over `seeds` seeds, and its 95 % interval where it has one.

    Attributes:
        mean: of the seeds; None where nothing was measured.
        low: lower end of the interval, or None.
        high: upper end of the interval, or None.
        seeds: how many seeds the mean is over.
        best: no other defence has a better mean.
        tied: not the best, and not significantly different from it.
    """

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: int = 0
    best: bool = False
    tied: bool = False


@dataclass(frozen=True)
class Line:
    """One defence in one table.

    Attributes:
        defense: its label.
        kind: of the defence; ``"oracle"`` for the reference.
        attacks: how many attacks the means are over.
        seeds: how many seeds the means are over: those that have all of these attacks.
        cells: the means, by the column's name.
    """

    defense: str
    kind: str
    attacks: int
    seeds: int
    cells: dict[str, Cell]

    @property
    def reference(self) -> bool:
        """Whether this is the oracle, which is no defence."""
        return self.kind == "oracle"


class Results:
    """The finished cells of one defence, for the attacks and seeds of one table.

    Args:
        defense: its label.
        kind: of the defence.
        cells: the finished ones.
        attacks: those of the table; what this defence does not have is left out.
        seeds: those of the table; a seed without one of the defence's attacks is left out.
    """

    def __init__(
        self, defense: str, kind: str, cells: Cells, attacks: Sequence[Attack], seeds: Sequence[int]
    ) -> None:
        self.defense, self.kind, self.cells = defense, kind, cells
        self.attacks = [attack for attack in attacks if any((attack, seed) in cells for seed in seeds)]
        self.seeds = [
            seed for seed in seeds if self.attacks and all((a, seed) in cells for a in self.attacks)
        ]
        self.complete = len(self.attacks) == len(attacks) and bool(self.seeds)

    def line(self) -> Line:
        """The means, without marks."""
        cells = {column.name: self.cell(column) for column in COLUMNS}
        return Line(self.defense, self.kind, len(self.attacks), len(self.seeds), cells)

    def cell(self, column: Column) -> Cell:
        """The mean over the attacks and seeds; without those seeds that miss a value."""
        if self.kind == "oracle" and len(column.parts) > 1:
            return Cell()  # its distance from itself
        names = [name for name, _ in column.parts] or [column.name]
        seeds = [seed for seed in self.seeds if self.has(names, seed)]
        if not seeds:
            return Cell()
        if not column.parts:
            values = [self.cells[attack, seed][column.name] for attack in self.attacks for seed in seeds]
            return Cell(sum(values) / len(values), seeds=len(seeds))
        found = estimate(self.shares(column.parts, seeds))
        return Cell(found.mean, found.low, found.high, found.seeds)

    def has(self, names: Sequence[str], seed: int) -> bool:
        """Whether the values of these names are there for every attack."""
        return all(self.cells[attack, seed][name] is not None for attack in self.attacks for name in names)

    def shares(self, parts: Sequence[tuple[str, int]], seeds: Sequence[int]) -> list[Share]:
        """The parts of a column as shares of test rows, averaged over the attacks."""
        return [
            Share(
                values=tuple(float(self.cells[attack, seed][name]) for seed in seeds),
                rows=min(int(self.cells[attack, seed][_rows(name)]) for seed in seeds),
                rows_of=name,
                weight=sign / len(self.attacks),
            )
            for attack in self.attacks
            for name, sign in parts
        ]


def compare(results: Sequence[Results]) -> tuple[Line, ...]:
    """The lines of a table in order: the oracle, the complete defences from best to worst, the others."""
    pairs = [(found, found.line()) for found in results]
    for column in COLUMNS:
        _mark(pairs, column)
    ranked = sorted(pairs, key=_order([line for _, line in pairs]))
    return tuple(line for _, line in ranked if line.seeds or not line.reference)


def _mark(pairs: Sequence[tuple[Results, Line]], column: Column) -> None:
    """Mark the cells of a column that are the best, and those tied with it."""
    name = column.name
    compared = [
        (found, line.cells)
        for found, line in pairs
        if found.complete and not line.reference and line.cells[name].mean is not None
    ]
    top = (max if column.higher else min)((cells[name].mean or 0 for _, cells in compared), default=None)
    best = [found for found, cells in compared if cells[name].mean == top]
    for found, cells in compared:
        is_best = found in best
        tied = not is_best and column.parts and any(_as_good(found, other, column) for other in best)
        cells[name] = replace(cells[name], best=is_best, tied=bool(tied))


def _as_good(one: Results, other: Results, column: Column) -> bool:
    """Whether the two do not differ significantly over the seeds they share."""
    # Both are measured against the same oracle, which cancels.
    parts = [(name, sign) for name, sign in column.parts if not name.startswith("oracle_")]
    seeds = [seed for seed in one.seeds if seed in other.seeds]
    return bool(seeds) and not significant(difference(one.shares(parts, seeds), other.shares(parts, seeds)))


def _order(lines: Sequence[Line]) -> Callable[[tuple[Results, Line]], tuple[Any, ...]]:
    defenses = [line for line in lines if not line.reference and line.seeds]
    against_oracle = all(line.cells[COST.name].mean is not None for line in defenses)

    def key(pair: tuple[Results, Line]) -> tuple[Any, ...]:
        found, line = pair
        cost, cacc, asr = (line.cells[column.name].mean for column in (COST, CACC, ASR))
        lost = cost if against_oracle else None if cacc is None or asr is None else asr - cacc
        return (
            not line.reference,
            not found.complete,
            float("inf") if lost is None else lost,
            line.defense,
        )

    return key


def _rows(name: str) -> str:
    """The column that says how many test rows a share was measured on; the oracle has the same rows."""
    return f"{name.removeprefix('oracle_')}_n"
