"""The cells of a grid: what is run, in which order, and which of them are the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from musclelora.benchmark.schema import Attack, Data, Defense, Grid
from musclelora.benchmark.tables import (
    attack_facts,
    digest_of,
    model_facts,
    read_tables,
    target_of,
)
from musclelora.data.table import fingerprint
from musclelora.defenses import DEFENSES
from musclelora.defenses.vanilla import Vanilla

ORACLE = "oracle"


@dataclass(frozen=True)
class Cell:
    """One measurement.

    Attributes:
        id: a readable prefix and a hash of everything that decides the result, contents of files included.
        data, attack, model, seed: what it is measured on.
        rate, trusted_size, defense: None for an oracle, which is trained on the unpoisoned rows.
        training, full: arguments of trainings, as in the grid.
    """

    id: str
    data: Data
    attack: Attack
    model: str
    seed: int
    rate: float | None
    trusted_size: int | None
    defense: Defense | None
    training: dict[str, Any]
    full: dict[str, Any]

    @property
    def label(self) -> str:
        """What results call the defence."""
        return ORACLE if self.defense is None else self.defense.label

    @property
    def kind(self) -> str:
        """The defence's kind, or oracle."""
        return ORACLE if self.defense is None else DEFENSES[self.defense.name].kind

    @property
    def shares(self) -> bool:
        """Whether it trains a model that other cells use."""
        return self.defense is None or bool(getattr(DEFENSES[self.defense.name], "keep", False))


def plan(grid: Grid, *, bf16: bool) -> list[Cell]:
    """The cells of a grid, in the order to run them.

    One oracle serves all cells of the same data, attack, model and seed. All of a seed comes before the next
    one, and in it first what trains models that other cells use.

    Args:
        grid: a checked grid.
        bf16: what ``bf16: auto`` means here.

    Raises:
        DataError: a table cannot be read any more.
    """
    training = {"bf16": "auto", **grid.training}
    training["bf16"] = bf16 if training["bf16"] == "auto" else training["bf16"]
    cells: dict[str, Cell] = {}
    for cell in _cells(grid, training):
        cells.setdefault(cell.id, cell)
    places = {seed: number for number, seed in enumerate(grid.seeds)}
    return sorted(cells.values(), key=lambda cell: (places[cell.seed], cell.kind != ORACLE, not cell.shares))


def _cells(grid: Grid, training: dict[str, Any]) -> Iterator[Cell]:
    # Each is read once, though it is in many cells.
    attacks = [attack_facts(attack) for attack in grid.attacks]
    models = {model: model_facts(model) for model in grid.models}
    for data in grid.data:
        tables = read_tables(data)
        about = {
            "name": data.name,
            "tables": [fingerprint(table) for table in tables],
            "rows": [data.train_rows, data.test_rows],
            "target": target_of(data, tables.train),
        }
        for (attack, known), model, seed in product(
            zip(grid.attacks, attacks, strict=True), grid.models, grid.seeds
        ):
            attack = attack.model_copy(update={"label_mode": attack.label_mode or grid.label_mode})
            facts = {
                "data": about,
                "attack": [attack.name, known],
                "model": models[model],
                "seed": seed,
                "training": [training, grid.full],
            }
            shared: dict[str, Any] = {"data": data, "attack": attack, "model": model, "seed": seed}
            shared |= {"training": training, "full": grid.full}
            own: dict[str, Any] = {"rate": None, "trusted_size": None, "defense": None}
            yield Cell(_id(facts, data, attack, ORACLE, seed), **shared, **own)
            for rate, size, defense in product(grid.rates, grid.trusted_sizes, grid.defenses):
                own = {"rate": rate, "trusted_size": size, "defense": defense}
                about_it = {"name": defense.name, "label": defense.label, "parameters": defense.parameters}
                more = {"rate": rate, "trusted_size": size, "defense": about_it}
                more["label_mode"] = attack.label_mode
                yield Cell(_id(facts | more, data, attack, defense.label, seed), **shared, **own)


def _id(facts: dict[str, Any], data: Data, attack: Attack, label: str, seed: int) -> str:
    words = "-".join((data.name, attack.name, label, str(seed)))
    return f"{re.sub(r'[^a-z0-9]+', '-', words.lower()).strip('-')[:80]}-{digest_of(facts)[:12]}"


def oracle_defense() -> Vanilla:
    """What an oracle fits."""
    return Vanilla()
