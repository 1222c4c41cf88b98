"""Running one cell: everything that a process needs to turn a cell into a row of results."""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import time
import traceback
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from musclelora import __version__
from musclelora.benchmark.plan import Cell, oracle_defense
from musclelora.benchmark.tables import draw, poisoned, read_tables, target_of, triggered
from musclelora.data.messages import one_line
from musclelora.defenses import Measured, Setting, get_defense, measure
from musclelora.errors import MuScleLoraError

Row = dict[str, Any]
"""What was measured in a cell, by column; see :data:`musclelora.benchmark.store.COLUMNS`."""


def run_cell(cell: Cell, *, kept: Path | None = None, threads: int | None = None) -> Row:
    """Measure one cell.

    Args:
        cell: what to measure.
        kept: the folder for models and tables that several cells need; None, or a folder that cannot be
            written here: nothing is kept.
        threads: of torch, in a process that does nothing else; None: torch is left as it is.

    Returns:
        The row. An error does not leave it: the row's status is then "failed", and it has the error in one
        line and the traceback.
    """
    if threads is not None:
        torch.set_num_threads(threads)
        # A model that is sure sends back gradients with which a processor computes many times slower.
        torch.set_flush_denormal(True)
    began = time.perf_counter()
    try:
        measured = _measure(cell, _writable(kept))
    except Exception as error:  # one cell's error is no reason to lose the others
        known = isinstance(error, MuScleLoraError)
        return failed_row(cell, str(error) if known else one_line(error), traceback.format_exc())
    row = {
        **described(cell),
        "status": "done",
        "error": None,
        "seconds": time.perf_counter() - began,
        **{f"cacc{end}": value for end, value in _rate(measured.cacc)},
        **{f"asr{end}": value for end, value in _rate(measured.asr)},
        **{
            name: getattr(measured, name)
            for name in (
                *("rejected_clean", "rejected_triggered", "auroc", "dropped_poisoned", "dropped_clean"),
                *("fit_seconds", "predict_seconds", "peak_memory"),
            )
        },
    }
    # JSON has no word for what is not a number.
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def failed_row(cell: Cell, error: str, details: str | None = None) -> Row:
    """The row of a cell that has no result.

    Args:
        cell: the cell.
        error: one line.
        details: a traceback, or what the process printed.
    """
    return {
        **described(cell),
        "status": "failed",
        "error": _writable_text(" ".join(error.split())),
        "details": None if details is None else _writable_text(details),
    }


def described(cell: Cell) -> Row:
    """The columns that are known before the cell runs, and where and when it does."""
    parameters = {} if cell.defense is None else cell.defense.parameters
    factors, rank = parameters.get("scale_factors"), parameters.get("r")
    return {
        "cell": cell.id,
        "data": cell.data.name,
        "attack": cell.attack.name,
        "label_mode": None if cell.defense is None else cell.attack.label_mode,
        "rate": cell.rate,
        "model": Path(cell.model).name if os.sep in cell.model and Path(cell.model).is_dir() else cell.model,
        "defense": cell.label,
        "kind": cell.kind,
        "trusted_size": cell.trusted_size,
        "seed": cell.seed,
        "parameters": json.dumps(parameters, sort_keys=True, default=repr),
        "scale_factors": None if factors is None else json.dumps(factors),
        "r": rank,
        "musclelora": __version__,
        "torch": metadata.version("torch"),
        "machine": _machine(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _measure(cell: Cell, kept: Path | None) -> Measured:
    data, attack, seed = cell.data, cell.attack, cell.seed
    tables = read_tables(data)
    target = target_of(data, tables.train)
    split = draw(data, tables, seed=seed, trusted_size=cell.trusted_size)
    train, flags = split.train, None
    if cell.defense is None:
        defense: Any = oracle_defense()
        trusted = split.train  # to an oracle every row is
    else:
        defense = get_defense(cell.defense.name, **cell.defense.parameters)
        trusted = split.trusted
        assert cell.rate is not None  # noqa: S101  # only an oracle has none
        assert cell.attack.label_mode is not None  # noqa: S101  # the plan fills it in
        train = poisoned(
            train, attack, target=target, rate=cell.rate, mode=cell.attack.label_mode, seed=seed, kept=kept
        )
        flags = train.poisoned
    setting = Setting(
        train,
        trusted,
        model=cell.model,
        seed=seed,
        arguments=cell.training,
        full=cell.full,
        folder=kept,
    )
    test = triggered(split.test, attack, data, target=target, seed=seed, kept=kept)
    return measure(defense, setting, clean=split.test, triggered=test, target=target, poisoned=flags)


def _writable_text(text: str) -> str:
    """`text` without what no file can hold: an error may quote a text with half a character in it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _rate(rate: Any) -> list[tuple[str, float]]:
    return [("", rate.value), ("_low", rate.low), ("_high", rate.high), ("_n", rate.n)]


def _writable(folder: Path | None) -> Path | None:
    """`folder`, or None where this machine cannot write it."""
    if folder is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _machine() -> str:
    """What the numbers of seconds and bytes belong to."""
    cores = os.cpu_count() or 1
    names = [platform.system(), platform.machine(), f"{cores} core{'s' if cores > 1 else ''}"]
    if torch.cuda.is_available():
        names.append(torch.cuda.get_device_name(0))
    return ", ".join(names)
