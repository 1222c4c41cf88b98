"""A results folder, made up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from musclelora.benchmark.store import CELLS, FORMAT, GRID

JOINED = ("oracle_cacc", "oracle_asr", "excess_asr", "cacc_gap")


def write_results(
    folder: Path, rows: Sequence[dict[str, Any]], *, planned: Sequence[str] = (), name: str = "made up"
) -> Path:
    """Write the rows as `musclelora benchmark run` does; `planned` names cells that have not run."""
    (folder / CELLS).mkdir(parents=True)
    ids = [f"cell-{number}" for number in range(len(rows))]
    for cell, row in zip(ids, rows, strict=True):
        kept = {key: value for key, value in row.items() if key not in JOINED} | {"cell": cell}
        (folder / CELLS / f"{cell}.json").write_text(json.dumps(kept))
    begun = {"format": FORMAT, "musclelora": "0.1.0", "bf16": False, "grid": {"name": name}}
    (folder / GRID).write_text(json.dumps({**begun, "cells": [*ids, *planned]}))
    return folder
