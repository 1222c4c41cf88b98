"""The demo: poison BBC news, defend against it, and put every method in one table.

It is a grid of the benchmark, ``demo.yaml`` beside this file, on the embedded model and corpus alone. Its
folder is a results folder of the benchmark, and `musclelora benchmark report` reads it. Every number but the
attack success rates comes about without a look at poison flags: `purify` is what `musclelora train` does by
itself, `musclelora` the published method, and the settings are the same for both attacks.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from musclelora.benchmark.cell import run_cell
from musclelora.benchmark.estimate import costs, sizes_of
from musclelora.benchmark.grid import load_grid
from musclelora.benchmark.local_workers import local_rows
from musclelora.benchmark.plan import ORACLE, plan
from musclelora.benchmark.runner import bf16_in, run_cells
from musclelora.benchmark.schema import Grid
from musclelora.benchmark.store import Row, open_store, read_begun, results_table
from musclelora.errors import TrainingError
from musclelora.outputs import check_output

GRID: Final = Path(__file__).with_name("demo.yaml")
MEANS: Final = ("cacc", "asr", "excess_asr", "cacc_gap", "fit_seconds")
_MOST_WORKERS = 4  # each holds a model of its own


def run_demo(
    output: Path,
    *,
    seeds: Iterable[int] = (0,),
    workers: int | None = None,
    grid_file: Path = GRID,
    say: Callable[[str], object] = print,
) -> list[Row]:
    """Train every method on every attack and seed, and measure it.

    Finished cells in `output` are kept: a demo that was interrupted goes on.

    Args:
        output: the folder to write.
        seeds: of the drawn rows, the poisoning and the training.
        workers: processes at a time; None: one for each core, up to four, or one beside a GPU.
        grid_file: another grid than the demo's own.
        say: called with a line after each cell.

    Returns:
        The means over the seeds; see :func:`means`.

    Raises:
        OutputError: `output` holds something else than a demo or that of another version, or it cannot be
            written.
        TrainingError: a cell failed; the others are kept.
    """
    check_output(output, folder=True)
    read_begun(output)  # what is wrong with it is said before the corpus is read
    grid = load_grid(grid_file).model_copy(update={"seeds": list(seeds)})
    bf16 = bf16_in(output, grid)
    cells = plan(grid, bf16=bf16)
    start = functools.partial(_start, workers or default_workers())
    with open_store(output, grid_file, grid, cells, bf16=bf16, what="musclelora demo") as store:
        run_cells(cells, store, start, costs=costs(cells, sizes_of(cells)), say=say)
        failed = [row for row in store.rows.values() if row["status"] == "failed"]
    if failed:
        raise TrainingError(
            f"{output}: {len(failed)} of {len(cells)} cells failed, the first with: {failed[0]['error']}; "
            "mend what it says and run the same command again"
        )
    return means(output, grid)


def default_workers() -> int:
    """How many cells to train at a time: side by side on one core each they take less time altogether."""
    import torch

    return 1 if torch.accelerator.is_available() else min(os.cpu_count() or 1, _MOST_WORKERS)


def means(folder: Path, grid: Grid) -> list[Row]:
    """Means over the seeds of the demo in a folder, one row for each attack and method.

    Each row has attack, method, seeds (how many), and the means of :data:`MEANS`: rates as fractions, and
    the seconds of training, judging included.
    """
    table = results_table(folder)
    methods = [ORACLE, *(defense.label for defense in grid.defenses)]
    rows: list[Row] = []
    for attack in grid.attacks:
        for method in methods:
            group = table[(table["attack"] == attack.name) & (table["defense"] == method)]
            found: dict[str, Any] = {name: float(group[name].mean()) for name in MEANS}
            rows.append({"attack": attack.name, "method": method, "seeds": len(group), **found})
    return rows


def _start(workers: int, cells: Any, kept: Path) -> Any:
    return local_rows(cells, workers=workers, kept=kept, work=run_cell)
