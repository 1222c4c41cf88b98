"""How long cells take, roughly: to order the time left by, and for a dry run.

The unit is one training row seen once by the whole backbone. What a cell costs in it is guessed from the kind
of its defence; what the unit costs in seconds is measured, with a few steps of training on this machine.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from musclelora.benchmark.plan import ORACLE, Cell
from musclelora.benchmark.tables import draw, read_tables
from musclelora.data.table import Table
from musclelora.defenses import DEFENSES, get_defense
from musclelora.errors import MuScleLoraError

FORWARD: Final = 1 / 3
"""A row that is only predicted."""
LOW_RANK: Final = 0.8
"""A row seen by a backbone of which an adapter alone is trained."""
ALIGNED: Final = 2.0
"""A row with a trusted row beside it."""
PASSES: Final = {ORACLE: 1, "training": 1, "filtering": 1, "inference": 8}
"""Predictions of every test row, by kind."""
LOOKS: Final = {"filtering": 0.5}
"""Predictions of every training row for each of its words, by kind."""
START: Final = 4.0
"""Seconds to start a process and load a model."""

_STEPS = 6
_LANGUAGE_MODEL = 135e6  # parameters of the one that is embedded
_EPOCHS_FULL, _EPOCHS = 3.0, 4.0  # where neither the grid nor a preset says


class Sizes(NamedTuple):
    """What a data set comes to in a cell."""

    train: int
    test: int
    triggered: int
    words: float
    rows: Table


def sizes_of(cells: Sequence[Cell]) -> dict[str, Sizes]:
    """The sizes of every data set that `cells` are of, by its name."""
    found: dict[str, Sizes] = {}
    for cell in cells:
        if cell.data.name not in found:
            split = draw(cell.data, read_tables(cell.data), seed=cell.seed, trusted_size=None)
            words = float(np.mean([min(len(text.split()), 128) for text in split.train.texts]))
            others = len(split.test) - int(np.bincount(split.test.labels).min())
            found[cell.data.name] = Sizes(len(split.train), len(split.test), others, words, split.train)
    return found


def costs(cells: Sequence[Cell], sizes: Mapping[str, Sizes]) -> dict[str, float]:
    """What each cell costs, by its id, in rows that the whole backbone sees once."""
    configs = {model: _config(model) for model in {cell.model for cell in cells}}
    paid: set[tuple[Any, ...]] = set()
    found = {}
    for cell in cells:
        size = sizes[cell.data.name]
        cost = PASSES[cell.kind] * FORWARD * (size.test + size.triggered)
        cost += LOOKS.get(cell.kind, 0.0) * FORWARD * size.train * size.words
        # A model that cells share is paid for once.
        if _trained_for(cell) not in paid:
            cost += _training(cell, size, configs[cell.model])
            paid.add(_trained_for(cell))
        if cell.defense is not None and "language_model" in DEFENSES[cell.defense.name].parameters():
            # Each text without each of its words; clean and trusted texts are kept for the next attack.
            ratio = _LANGUAGE_MODEL / _parameters(configs[cell.model])
            known = (cell.data.name, cell.seed, cell.label)
            texts = size.triggered + (0 if known in paid else size.test + (cell.trusted_size or 0))
            paid.add(known)
            cost += FORWARD * ratio * texts * size.words
        found[cell.id] = cost
    return found


def in_order(cells: Sequence[Cell], costs: Mapping[str, float]) -> list[Cell]:
    """Cells in the order to start them: what others wait for, then the longest, so that all end together.

    Of cells that train the same model all but the first come last in their seed: side by side they would
    wait for it.

    Args:
        cells: each seed's before the next one's.
        costs: of them, by id.
    """
    seeds = {seed: place for place, seed in enumerate(dict.fromkeys(cell.seed for cell in cells))}
    trained: set[tuple[Any, ...]] = set()
    places: dict[str, tuple[float, ...]] = {}
    for cell in cells:
        repeats = _trained_for(cell) in trained
        trained.add(_trained_for(cell))
        places[cell.id] = (seeds[cell.seed], repeats, not cell.shares, -costs[cell.id])
    return sorted(cells, key=lambda cell: places[cell.id])


def seconds_per_row(cell: Cell, sizes: Mapping[str, Sizes]) -> float:
    """Measure the unit: seconds to train the whole backbone on one row, by a few steps of it.

    Raises:
        ModelError, TrainingError, UsageError: the model cannot be trained.
    """
    from musclelora.purification import METHODS, train_classifier

    rows = sizes[cell.data.name].rows
    asked = {**cell.training, **cell.full}
    with (
        tempfile.TemporaryDirectory(prefix="musclelora-") as folder,
        contextlib.redirect_stdout(io.StringIO()),  # without its bar, the Trainer prints its log
    ):
        run = train_classifier(
            Path(folder) / "run",
            train=rows,
            trusted=None,
            model=cell.model,
            method=METHODS["full"],
            arguments={**asked, "max_steps": _STEPS, "save_strategy": "no", "disable_tqdm": True, "seed": 0},
            select_best="last",
        )
    (log,) = [log for log in run.info["history"] if "train_runtime" in log]
    batch = int(run.info["settings"]["arguments"].get("per_device_train_batch_size", 8))
    return float(log["train_runtime"]) / (_STEPS * min(batch, len(rows)))


def from_finished(cells: Sequence[Cell], rows: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Seconds of cells by their ids, from finished ones of the same data, model, defence and trusted size."""

    def alike(cell: Cell) -> tuple[Any, ...]:
        return cell.data.name, cell.model, cell.label, cell.trusted_size

    taken = defaultdict[tuple[Any, ...], list[float]](list)
    for cell in cells:
        row = rows.get(cell.id, {})
        if row.get("status") == "done" and "seconds" in row:
            taken[alike(cell)].append(float(row["seconds"]))
    return {cell.id: float(np.mean(taken[alike(cell)])) for cell in cells if alike(cell) in taken}


def _trained_for(cell: Cell) -> tuple[Any, ...]:
    """What the model that a cell trains or takes depends on; cells of which it is the same share one."""
    about = (cell.data.name, cell.model, cell.seed)
    method = _method(cell)
    if cell.defense is None:
        return (*about, ORACLE)
    if method is not None and method.trusted_only:
        return (*about, cell.trusted_size)
    if cell.shares or cell.kind == "inference":
        return (*about, cell.attack.name, cell.rate)
    return (cell.id,)


def _method(cell: Cell) -> Any:
    """The levers that the defence pulls, where it is one of ours."""
    return None if cell.defense is None else getattr(DEFENSES[cell.defense.name], "method", None)


def _training(cell: Cell, size: Sizes, config: Any) -> float:
    method = _method(cell)
    own: Mapping[str, Any] = {} if cell.defense is None else cell.defense.parameters
    full = cell.kind != "training" if method is None else not method.low_rank
    given = {**cell.training, **(cell.full if full else {}), **own}
    aligned = method is not None and method.alignment
    epochs = given.get("num_train_epochs") or (_EPOCHS_FULL if full else _preset_epochs(config, aligned))
    rows = size.train
    if method is None and cell.defense is not None:
        own_way = get_defense(cell.defense.name, **own).rows_seen(cell.trusted_size or 0)
        if own_way is not None:
            return own_way
    if method is not None and method.trusted_only:
        rows, epochs = cell.trusted_size or 0, own.get("num_train_epochs", 12)
    factor = (1.0 if full else LOW_RANK) * (ALIGNED if aligned else 1.0)
    rows_seen = float(rows * epochs * factor)
    if method is not None and method.shortcuts:
        from musclelora.purification.auto import BUDGET, REPEATS

        # Models of four folds of the trusted rows, what they say of every row, and trials of other settings.
        if method.chooses:
            rows_seen += REPEATS * (cell.trusted_size or 0) * epochs * factor
        judged = 3 * 12 * (cell.trusted_size or 0) + 4 * FORWARD * rows
        rows_seen += judged * _of_judge(cell, size, config) + BUDGET * rows_seen
    return rows_seen


def _of_judge(cell: Cell, size: Sizes, config: Any) -> float:
    """How many times as large as the model the judge of ``purify`` is."""
    from musclelora.audit.judges import AUTO, judge_model

    own: Mapping[str, Any] = {} if cell.defense is None else cell.defense.parameters
    try:
        judge, _ = judge_model(own.get("judge", AUTO), cell.model, size.rows.texts)
    except MuScleLoraError:  # the cell says so itself
        return 1.0
    return 1.0 if judge == cell.model else _parameters(_config(judge)) / _parameters(config)


def _config(model: str) -> Any:
    from transformers import AutoConfig

    from musclelora.data.model_source import model_source

    try:
        source = model_source(model)
        return AutoConfig.from_pretrained(source.path, **source.files)
    except Exception:  # what is wrong with it is said when it is trained
        return None


def _preset_epochs(config: Any, aligned: bool) -> float:
    from musclelora.adapter import preset_for

    try:
        return float(preset_for(config, aligned=aligned).epochs)
    except Exception:  # as above
        return _EPOCHS


def _parameters(config: Any) -> float:
    """The parameters of a transformer's blocks, roughly."""
    layers, width = getattr(config, "num_hidden_layers", 12), getattr(config, "hidden_size", 768)
    return 12.0 * layers * width**2
