"""What a grid's entries must be beyond the schema: what the rooms that they are for take, and there."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from musclelora.attacks import get_trigger
from musclelora.attacks.registry import parameters_of
from musclelora.benchmark.marked_yaml import Place
from musclelora.benchmark.problems import Problems, choices
from musclelora.benchmark.schema import FILE_PARAMETERS, MODEL_PARAMETERS, Attack, Data, Defense, Grid
from musclelora.benchmark.tables import arguments, draw, read_tables, target_of, triggered_texts
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
_NAMES = {"data": "name", "attacks": "name", "defenses": "label"}
"""What results call the entries of a list."""


def check_parts(raw: Mapping[str, Any], problems: Problems) -> None:
    """Check each part by itself, whatever is wrong with the others.

    Args:
        raw: the grid's keys; entries of data, attacks and defenses are there as the schema makes them, or as
            they are in the file where it refuses them.
        problems: where errors are noted.
    """
    lists = {key: value for key, value in raw.items() if isinstance(value, list)}
    for key in (*_NAMES, "rates", "models", "trusted_sizes", "seeds"):
        _check_unique(key, lists.get(key, []), problems)
        for number, entry in enumerate(lists.get(key, [])):
            place = (key, number)
            if key == "models":
                _check_model(entry, place, problems)
            elif isinstance(entry, Data):
                _check_data(entry, place, problems)
            elif isinstance(entry, Attack):
                _check_attack(entry, place, problems)
            elif isinstance(entry, Defense):
                _check_defense(entry, place, problems)
    for key in ("training", "full"):
        if isinstance(raw.get(key), dict):
            _check_arguments(raw[key], (key,), problems)


def _check_unique(key: str, entries: list[Any], problems: Problems) -> None:
    """No name and no value comes twice: cells of the same description would be one cell."""
    seen: set[Any] = set()
    for number, entry in enumerate(entries):
        name = getattr(entry, _NAMES.get(key, ""), entry)
        if not isinstance(name, str | int | float):  # what it is instead, the schema says
            continue
        if name in seen:
            own = f"; give it another {_NAMES[key]}" if key in _NAMES else ""
            problems.add((key, number), f"found {shown(name)} a second time, expected it once{own}")
        seen.add(name)


def _check_data(data: Data, place: Place, problems: Problems) -> None:
    """Its tables can be read, are clean, and have the target label and enough rows."""
    with problems.raised(place):
        tables = read_tables(data)
        check_trainable(tables.train)
        for key, table in tables._asdict().items():
            if table is not None and table.poisoned is not None and table.poisoned.any():
                found = f"found {int(table.poisoned.sum())} rows flagged as poisoned"
                problems.add((*place, key), f"{found}, expected clean rows to start from")
        try:
            target_of(data, tables.train)
        except UsageError:
            known = choices(str(data.target), tables.train.label_names)
            problems.add((*place, "target"), f"found {shown(data.target)}, expected {known}")
        draw(data, tables, seed=0, trusted_size=None)


def _check_attack(attack: Attack, place: Place, problems: Problems) -> None:
    """Its family takes its parameters, and its files are there."""
    known, at_test = list(parameters_of(attack.family)), (*place, "test")
    own = problems.add_unknown(place, attack.parameters, [*Attack.model_fields, *known])
    if problems.add_unknown(at_test, attack.test, known) or own:
        return
    _check_places({**attack.parameters, "triggered": attack.triggered}, place, problems)
    _check_places(attack.test, at_test, problems)
    if attack.test and attack.triggered is not None:
        problems.add((*place, "triggered"), "found it beside test, expected one of them")
    with problems.raised(place):
        get_trigger(attack.family, **arguments(attack.parameters))
        get_trigger(attack.family, **arguments({**attack.parameters, **attack.test}))


def _check_defense(defense: Defense, place: Place, problems: Problems) -> None:
    """It takes its parameters."""
    known = DEFENSES[defense.name].parameters()
    if problems.add_unknown(place, defense.parameters, [*Defense.model_fields, *known]):
        return
    _check_places(defense.parameters, place, problems)
    with problems.raised(place):
        get_defense(defense.name, **defense.parameters)


def _check_arguments(training: dict[str, Any], place: Place, problems: Problems) -> None:
    """They are training arguments."""
    if problems.add_unknown(place, training, [name for name in TRAINING_FIELDS if name not in _OURS]):
        return
    values = {key: value for key, value in training.items() if (key, value) != ("bf16", "auto")}
    if not isinstance(values.get("bf16", False), bool):
        problems.add((*place, "bf16"), f"found {shown(values['bf16'])}, expected one of true, false, auto")
        return
    with problems.raised(place):  # the Trainer's own checks raise what they like
        MuScleTrainingArguments(output_dir="", **values)


def _check_places(parameters: Mapping[str, Any], place: Place, problems: Problems) -> None:
    """The files and models that parameters name are there."""
    for key, value in parameters.items():
        if key in MODEL_PARAMETERS:
            _check_model(value, (*place, key), problems)
        elif key in (*FILE_PARAMETERS, "triggered") and isinstance(value, str):
            found = exists(value) and Path(value).is_file()
            if not found:
                problems.add((*place, key), f"found no file {shown(value)}, expected one")


def _check_model(model: Any, place: Place, problems: Problems) -> None:
    """It is an embedded model that is installed, a folder of a model, or may be a hub name."""
    if not isinstance(model, str):
        return
    if model in EMBEDDED_NAMES or exists(model):
        with problems.raised(place):
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
        own = int((split.train.labels == target).sum())
        eligible = {"clean": own, "dirty": len(split.train) - own, "mix": len(split.train)}
        for position, attack in enumerate(grid.attacks):
            if attack.triggered is not None:
                with problems.raised(("attacks", position, "triggered")):
                    triggered_texts(attack.triggered, data, split.test.label_names, target)
            mode = attack.label_mode or grid.label_mode
            for place, rate in enumerate(grid.rates):
                needed = round(rate * len(split.train))
                if needed > eligible[mode]:
                    problems.add(
                        ("rates", place),
                        f"found {rate:g}, which is {needed} rows of {data.name}, expected at most the "
                        f"{eligible[mode]} that label mode {mode} of {attack.name} can take",
                    )
