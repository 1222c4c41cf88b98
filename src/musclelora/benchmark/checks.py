"""What a grid's entries must be beyond their types: known to the rooms that they are for, and there."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np

from musclelora.attacks import family_names, get_trigger
from musclelora.attacks.registry import parameters_of
from musclelora.benchmark.marked_yaml import Place
from musclelora.benchmark.problems import Problems, choices
from musclelora.benchmark.schema import Attack, Data, Defense, Grid
from musclelora.benchmark.tables import CORPORA, arguments, draw, read_tables, target_of
from musclelora.data import check_trainable
from musclelora.data.embedded import EMBEDDED_NAMES
from musclelora.data.messages import shown
from musclelora.data.model_source import model_source
from musclelora.data.places import exists, may_be_on_hub, nearest
from musclelora.defenses import DEFENSES, get_defense
from musclelora.defenses.trained import TRAINING_FIELDS
from musclelora.errors import MuScleLoraError, UsageError
from musclelora.limits import CELLS
from musclelora.training import MuScleTrainingArguments

_OURS = {"seed", "output_dir"}  # what the grid itself decides


def check_unique(raw: Mapping[str, Any], problems: Problems) -> None:
    """No name and no value comes twice: cells of the same description would be one cell."""
    keys = {"data": ("name",), "attacks": ("name", "family"), "defenses": ("label", "name")}
    for key in ("data", "attacks", "defenses", "rates", "models", "trusted_sizes", "seeds"):
        seen: set[Any] = set()
        values = raw.get(key)
        for number, entry in enumerate(values if isinstance(values, list) else []):
            name = entry
            if isinstance(entry, dict):
                name = next((entry[k] for k in keys.get(key, ()) if k in entry), None)
            if not isinstance(name, str | int | float):  # what it is instead, the schema says
                continue
            if name in seen:
                own = f"; give it another {keys[key][0]}" if key in keys else ""
                problems.add((key, number), f"found {shown(name)} a second time, expected it once{own}")
            seen.add(name)


def check_data(data: Data, place: Place, problems: Problems) -> None:
    """Its tables can be read, and have the target label and enough rows."""
    if (data.corpus is None) == (data.train is None):
        found = "neither corpus nor train" if data.corpus is None else "both corpus and train"
        problems.add(place, f"found {found}, expected one of them")
        return
    if data.corpus is not None:
        if data.corpus not in CORPORA:
            problems.add(
                (*place, "corpus"), f"found {shown(data.corpus)}, expected {choices(data.corpus, CORPORA)}"
            )
            return
        for key in ("test", "trusted", "text_column", "label_column"):
            if getattr(data, key) is not None:
                problems.add((*place, key), f"found {key} beside corpus, expected it with train only")
                return
    if data.test is None and data.test_rows is None:
        problems.add(place, "found neither test nor test_rows, expected one, to measure on")
        return
    if data.trusted is None and data.train_rows is None:
        problems.add(
            place, "found neither trusted nor train_rows, expected one, so that there are rows to trust"
        )
        return
    if problems.touch(place):  # a file that is not there
        return
    try:
        tables = read_tables(data)
        check_trainable(tables.train)
        try:
            target_of(data, tables.train)
        except UsageError:
            known = tables.train.label_names
            problems.add(
                (*place, "target"), f"found {shown(data.target)}, expected {choices(str(data.target), known)}"
            )
            return
        draw(data, tables, seed=0, trusted_size=None)
    except MuScleLoraError as error:
        problems.add_error(place, error)
        return
    for key, table in tables._asdict().items():
        if table is not None and table.poisoned is not None and table.poisoned.any():
            flagged = int(table.poisoned.sum())
            problems.add(
                (*place, key), f"found {flagged} rows flagged as poisoned, expected clean rows to start from"
            )


def check_attack(attack: Attack, place: Place, problems: Problems) -> None:
    """Its family takes its parameters."""
    if attack.family not in family_names():
        at = next(p for p in ((*place, "family"), (*place, "name"), place) if p in problems.document.lines)
        problems.add(at, f"found {shown(attack.family)}, expected {choices(attack.family, family_names())}")
        return
    known = list(parameters_of(attack.family))
    own = [key for key in Attack.model_fields if key != "parameters"]
    unknown = [(*place, key) for key in attack.parameters if key not in known]
    unknown += [(*place, "test", key) for key in attack.test if key not in known]
    for at in unknown:
        problems.add_unknown(at, known if "test" in at else [*own, *known])
    if unknown:
        return
    if attack.test and attack.triggered is not None:
        problems.add((*place, "triggered"), "found it beside test, expected one of them")
    try:
        get_trigger(attack.family, **arguments(attack.parameters))
        get_trigger(attack.family, **arguments({**attack.parameters, **attack.test}))
    except Exception as error:  # another package's code, or a value of a type that was not foreseen
        problems.add_error(place, error)


def check_defense(defense: Defense, place: Place, problems: Problems) -> None:
    """It takes its parameters."""
    if defense.name not in DEFENSES:
        at = next(p for p in ((*place, "name"), place) if p in problems.document.lines)
        problems.add(at, f"found {shown(defense.name)}, expected {choices(defense.name, DEFENSES)}")
        return
    known = DEFENSES[defense.name].parameters()
    unknown = [(*place, key) for key in defense.parameters if key not in known]
    for at in unknown:
        problems.add_unknown(at, ["name", "label", *known])
    if unknown:
        return
    try:
        get_defense(defense.name, **defense.parameters)
    except Exception as error:  # a value of a type that was not foreseen
        problems.add_error(place, error)


def check_arguments(training: Any, place: Place, problems: Problems) -> None:
    """They are training arguments."""
    if not isinstance(training, dict):
        return
    known = [name for name in TRAINING_FIELDS if name not in _OURS]
    unknown = [(*place, key) for key in training if key not in known]
    for at in unknown:
        problems.add_unknown(at, known)
    if unknown:
        return
    values = {key: value for key, value in training.items() if (key, value) != ("bf16", "auto")}
    if not isinstance(values.get("bf16", False), bool):
        problems.add((*place, "bf16"), f"found {shown(values['bf16'])}, expected one of true, false, auto")
        return
    try:
        MuScleTrainingArguments(output_dir="", **values)
    except Exception as error:  # the Trainer's own checks raise what they like
        problems.add_error(place, error)


def check_model(model: Any, place: Place, problems: Problems) -> None:
    """It is an embedded model that is installed, a folder of a model, or may be a hub name."""
    if not isinstance(model, str):
        return
    try:
        if model in EMBEDDED_NAMES or exists(model):
            model_source(model)
        elif not may_be_on_hub(model) or difflib.get_close_matches(model, EMBEDDED_NAMES, 1, 0.85):
            near = nearest(model, *EMBEDDED_NAMES)
            problems.add(
                place,
                f"found no folder {shown(model)}, expected one, a hub name or one of "
                f"{', '.join(EMBEDDED_NAMES)}" + (f"; did you mean {near}?" if near else ""),
            )
        elif _is_out_of_reach(model):
            problems.add(
                place,
                f"found {shown(model)}, which is no folder and not in the hub's cache, and the hub is not "
                "used or cannot be reached; expected a model that is there",
            )
    except MuScleLoraError as error:
        problems.add(place, str(error))


def _is_out_of_reach(model: str) -> bool:
    """Whether a model of the hub is known not to be had: it was not fetched before, and cannot be now."""
    from huggingface_hub import constants, try_to_load_from_cache

    return constants.HF_HUB_OFFLINE and not isinstance(try_to_load_from_cache(model, "config.json"), str)


def check_cells(grid: Grid, problems: Problems) -> None:
    """There are not more cells than can be listed, let alone run."""
    if grid.cells > CELLS:
        lists = ("data", "attacks", "models", "seeds", "rates", "trusted_sizes", "defenses")
        sizes = " × ".join(f"{len(getattr(grid, name)):,} {name.replace('_', ' ')}" for name in lists)
        problems.add((), f"found {grid.cells:,} cells ({sizes}), expected at most {CELLS:,}; split the grid")


def check_rows(grid: Grid, problems: Problems) -> None:
    """Every data set has the rows that the trusted sizes and the rates ask for."""
    for number, data in enumerate(grid.data):
        tables = read_tables(data)
        target = target_of(data, tables.train)
        split = draw(data, tables, seed=grid.seeds[0], trusted_size=None)
        if not (split.test.labels != target).any():
            name = split.test.label_names[target]
            problems.add(
                ("data", number),
                f"found only test rows of the target {shown(name)}, expected others too, for the ASR",
            )
        for position, size in enumerate(grid.trusted_sizes):
            try:
                draw(data, tables, seed=grid.seeds[0], trusted_size=size)
            except MuScleLoraError as error:
                problems.add(("trusted_sizes", position), f"found {size}, but for {data.name}: {error}")
        for position, rate in enumerate(grid.rates):
            needed = round(rate * len(split.train))
            for attack in grid.attacks:
                mode = attack.label_mode or grid.label_mode
                own = split.train.labels == target
                eligible = {"clean": own, "dirty": ~own, "mix": np.ones_like(own)}[mode].sum()
                if needed > eligible:
                    problems.add(
                        ("rates", position),
                        f"found {rate:g}, which is {needed} rows of {data.name}, expected at most the "
                        f"{eligible} that label mode {mode} of {attack.name} can take",
                    )
