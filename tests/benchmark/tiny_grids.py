"""A grid that runs in seconds, and reading what became of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from musclelora.benchmark.cell import described
from musclelora.benchmark.grid import load_grid
from musclelora.benchmark.plan import Cell, plan
from musclelora.benchmark.store import Row

WriteGrid = Callable[..., Path]
"""The fixture ``write_grid``: writes a grid file."""

# The tiny tokenizer does not know the trigger's words: what is learned does not matter here.
GRID = {
    "data": [
        {
            "name": "tiny",
            "train": "train.csv",
            "test": "test.csv",
            "trusted": "trusted.csv",
            "train_rows": 16,
            "target": "good",
        }
    ],
    "attacks": ["addsent"],
    "trusted_sizes": [6],
    "defenses": ["vanilla", "lora"],
    "training": {"bf16": False, "use_cpu": True, "num_train_epochs": 1, "per_device_train_batch_size": 8},
}

TIMES = ("fit_seconds", "predict_seconds", "peak_memory", "date")
"""The columns in which two runs of a grid may differ."""


def results(folder: Path) -> pd.DataFrame:
    """The table of a results folder, less its times."""
    return pd.read_parquet(folder / "results.parquet").drop(columns=list(TIMES))


def plan_of(file: Path) -> list[Cell]:
    return plan(load_grid(file), bf16=False)


def made_up(cell: Cell, **changes: Any) -> Row:
    """A row that nothing was trained for."""
    rates = {name: 0.5 for rate in ("cacc", "asr") for name in (rate, f"{rate}_low", f"{rate}_high")}
    counts = {"cacc_n": 16, "asr_n": 8, "fit_seconds": 1.0, "predict_seconds": 1.0, "peak_memory": 1}
    return {**described(cell), "status": "done", "error": None, "seconds": 1.0, **rates, **counts, **changes}


def made_up_by_process(cell: Cell, *, kept: Path, threads: int) -> Row:
    """What :func:`musclelora.benchmark.cell.run_cell` is; the row has the process that made it."""
    return made_up(cell, machine=str(os.getpid()))


def killed_if_lora(cell: Cell, *, kept: Path, threads: int) -> Row:
    """As :func:`made_up_by_process`, but some processes are killed, as when memory runs out."""
    if cell.label == "lora":
        os.kill(os.getpid(), signal.SIGKILL)
    return made_up_by_process(cell, kept=kept, threads=threads)


def disturbed(cell: Cell, *, kept: Path, threads: int) -> Row:
    """As :func:`made_up_by_process`; the row says which signals its process and that one's parent can get."""
    signals = {signal.SIGINT, signal.SIGTERM}
    mine = signals - signal.pthread_sigmask(signal.SIG_BLOCK, ())
    print("a cell prints this")  # into its log
    return made_up(cell, machine=f"{sorted(mine)} {os.getppid()} {Path('/proc/self/fd/2').readlink()}")


def ended_with_a_word(cell: Cell, *, kept: Path, threads: int) -> Row:
    """No row: the process says something and ends."""
    print("the last word", flush=True)
    os._exit(7)
