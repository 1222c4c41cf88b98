"""Running the cells of a grid that are not finished, and keeping each as it ends."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from musclelora.benchmark.estimate import in_order
from musclelora.benchmark.plan import Cell
from musclelora.benchmark.schema import Grid
from musclelora.benchmark.store import Row, Store, read_begun

Start = Callable[[Sequence[Cell], Path], Iterator[Row]]
"""(cells, the folder for what they share) → their rows, as they end."""


def run_cells(
    cells: Sequence[Cell],
    store: Store,
    start: Start,
    *,
    costs: Mapping[str, float],
    say: Callable[[str], object],
    advance: Callable[[float], object] = lambda _: None,
) -> Counter[str]:
    """Run what is not finished.

    Args:
        cells: of the grid, each seed's before the next one's.
        store: the results folder; cells that failed before are tried again.
        start: runs cells, such as :func:`~musclelora.benchmark.local_workers.local_rows`.
        costs: of the cells by id, in any unit, to tell the time left by.
        say: called with a line for each cell.
        advance: called with the cost of each cell that ends.

    Returns:
        How many cells there are of each status, and how many were "run" now.
    """
    todo = in_order([cell for cell in cells if not store.is_done(cell.id)], costs)
    by_id = {cell.id: cell for cell in todo}
    began, spent, total = time.monotonic(), 0.0, sum(costs[cell.id] for cell in todo)
    number = len(cells) - len(todo)
    for row in start(todo, store.shared) if todo else ():
        if row["cell"] not in by_id:  # an answer that came twice
            continue
        cell = by_id.pop(row["cell"])
        store.write(row)
        number += 1
        spent += costs[cell.id]
        advance(costs[cell.id])
        left = (time.monotonic() - began) / spent * (total - spent) if spent else 0.0
        still = f"; about {shown_time(left)} left" if by_id else ""
        say(f"[{number}/{len(cells)}] {described(cell)}: {_outcome(row)}{still}")
    store.write_table()
    counts = Counter(str(store.rows[cell.id]["status"]) for cell in cells if cell.id in store.rows)
    counts["run"] = len(todo) - len(by_id)
    return counts


def bf16_in(folder: Path, grid: Grid) -> bool:
    """What ``bf16: auto`` means: what it meant when the folder was begun, or what pays on this machine.

    Raises:
        OutputError: what the folder was begun with cannot be read.
    """
    begun, asked = read_begun(folder), grid.training.get("bf16", "auto")
    if asked != "auto":
        return bool(asked)
    if begun is not None:
        return bool(begun["bf16"])
    from musclelora.training.hardware import bf16_pays

    return bf16_pays()


def described(cell: Cell) -> str:
    """A cell in a few words."""
    words = [cell.data.name, cell.attack.name]
    if cell.rate is not None:
        words.append(f"rate {cell.rate:g}")
    if cell.trusted_size is not None:
        words.append(f"{cell.trusted_size} trusted")
    return f"{', '.join(words)}, {cell.model.rsplit('/', 1)[-1]}, seed {cell.seed}: {cell.label}"


def shown_time(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _outcome(row: Row) -> str:
    if row["status"] == "failed":
        return f"failed: {row['error']}"
    return f"CACC {row['cacc']:.1%}, ASR {row['asr']:.1%} in {shown_time(row['seconds'])}"
