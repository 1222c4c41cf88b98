"""The leaderboard: which defence lost least, for each data set, model, poison rate and trusted-set size.

A group has one table for each attack, and one of the mean over its attacks where there are several. What
"best" is:

- Tables are sorted by excess ASR + CACC gap: a point of accuracy given up weighs as much as a point of
  attack success let through. Where the oracle failed they are sorted by ASR − CACC, which gives the same
  order.
- In every column the best mean is marked, and so are those whose difference from it, over the seeds that
  both have, is not significant (see :mod:`musclelora.benchmark.statistics`). The oracle is a reference
  and never the best.
- A mean over attacks is taken over the seeds that have all of them. A defence without some attack is
  shown with the number of attacks that it has, after the others, and is not compared with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from musclelora.benchmark.columns import COLUMNS, Column
from musclelora.benchmark.comparison import Attack, Cells, Line, Results, Row, compare

_ORACLE = ("oracle", "oracle")


@dataclass(frozen=True)
class Board:
    """One table.

    Attributes:
        title: the attack and its label mode, or how many attacks the means are over.
        attacks: how many.
        seeds: of the group, finished or not.
        lines: the oracle where there is one, and then the defences from best to worst.
    """

    title: str
    attacks: int
    seeds: int
    lines: tuple[Line, ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns in which a line has a value."""
        return tuple(c for c in COLUMNS if any(line.cells[c.name].mean is not None for line in self.lines))


@dataclass(frozen=True)
class Group:
    """What may be compared: one data set, model, poison rate and trusted-set size.

    Attributes:
        data: its name.
        model: its name.
        rate: the share of poisoned training rows.
        trusted_size: in rows.
        boards: the mean over the attacks, where there are several, and then each attack.
        failures: the rows of the cells that failed.
    """

    data: str
    model: str
    rate: float | None
    trusted_size: int | None
    boards: tuple[Board, ...]
    failures: tuple[Row, ...] = ()


def leaderboard(rows: Sequence[Row]) -> list[Group]:
    """The groups of a results table's rows, in the order in which they first appear."""
    keys = dict.fromkeys(group_key(row) for row in rows if row["kind"] != "oracle")
    return [_group(key, rows) for key in keys]


def group_key(row: Row) -> tuple[Any, ...]:
    """Data set, model, rate and trusted-set size."""
    return (row["data"], row["model"], row["rate"], row["trusted_size"])


def _group(key: tuple[Any, ...], everything: Sequence[Row]) -> Group:
    rows = [row for row in everything if row["kind"] != "oracle" and group_key(row) == key]
    # The oracle saw neither poisoned nor trusted rows: it is that of every rate and trusted-set size.
    oracles = [row for row in everything if row["kind"] == "oracle" and group_key(row)[:2] == key[:2]]
    attacks = list(dict.fromkeys(_attack(row) for row in rows))
    seeds = list(dict.fromkeys(row["seed"] for row in rows))
    cells: dict[tuple[str, str], Cells] = {_ORACLE: _oracle_cells(rows, oracles)}
    for row in rows:
        found = cells.setdefault((row["defense"], row["kind"]), {})
        if row["status"] == "done":
            found[_attack(row), row["seed"]] = row

    def board(title: str, these: list[Attack]) -> Board:
        results = [Results(*name, found, these, seeds) for name, found in cells.items()]
        return Board(title, len(these), len(seeds), compare(results))

    boards = [board(_title(attack), [attack]) for attack in attacks]
    if len(attacks) > 1:
        boards.insert(0, board(f"mean over {len(attacks)} attacks", attacks))
    failures = tuple(row for row in [*oracles, *rows] if row["status"] == "failed")
    data, model, rate, trusted_size = key
    return Group(data, model, rate, trusted_size, tuple(boards), failures)


def _oracle_cells(rows: Sequence[Row], oracles: Sequence[Row]) -> Cells:
    """The oracle's own cells where they are among the results, else what was joined to the others'."""
    cells: Cells = {}
    for row in rows:
        if row["status"] == "done" and None not in (row["oracle_cacc"], row["oracle_asr"]):
            joined = {"cacc": row["oracle_cacc"], "asr": row["oracle_asr"]}
            known = {column.name: None for column in COLUMNS} | {
                name: row[name] for name in ("cacc_n", "asr_n")
            }
            cells.setdefault((_attack(row), row["seed"]), known | joined)
    # An oracle has no label mode: it is that of every mode of its attack.
    own = {(row["attack"], row["seed"]): row for row in oracles if row["status"] == "done"}
    for row in rows:
        if (row["attack"], row["seed"]) in own:
            cells[_attack(row), row["seed"]] = own[row["attack"], row["seed"]]
    return cells


def _attack(row: Row) -> Attack:
    return (row["attack"], row["label_mode"])


def _title(attack: Attack) -> str:
    return f"{attack[0]} ({attack[1]} labels)" if attack[1] else attack[0]
