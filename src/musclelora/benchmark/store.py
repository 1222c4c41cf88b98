"""The folder of a grid's results.

=====================================  ==========================================================
``grid.yaml``, ``grid.json``           the grid as it was given; its format, its cells and what they are
``cells/<id>.json``                    one finished or failed cell, whole or not at all
``results.parquet``, ``results.csv``   one tidy table of them, in the order of the grid
``shared/``                            models and tables that several cells need; may be deleted
=====================================  ==========================================================
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from musclelora import __version__
from musclelora.benchmark.store_schema import BegunState, CellState
from musclelora.errors import OutputError
from musclelora.files import LOCK, atomic_file, held, output_errors, write_json
from musclelora.outputs import check_output, entries_of, refuse_foreign
from musclelora.state import check_state, read_state, read_values, short

if TYPE_CHECKING:
    import pandas as pd

    from musclelora.benchmark.plan import Cell
    from musclelora.benchmark.schema import Grid

Row = dict[str, Any]

FORMAT: Final = 1
GRID, CELLS, SHARED = "grid.json", "cells", "shared"
_HALF_WRITTEN: Final = (".grid.json.", ".grid.yaml.", ".results.")

_TYPES: Final = {"string": "str", "number": "float64", "integer": "Int64"}
COLUMNS: Final[dict[str, str]] = {
    name: next(_TYPES[kind["type"]] for kind in field.get("anyOf", [field]) if kind["type"] != "null")
    for name, field in CellState.model_json_schema()["properties"].items()
}
"""The columns of the results and their types in pandas."""


class Store:
    """A results folder that this process alone writes; made by :func:`open_store`."""

    def __init__(self, folder: Path, cells: Sequence[str]) -> None:
        self.folder = folder
        self.rows = finished_rows(folder, cells)
        self._cells = tuple(cells)

    @property
    def shared(self) -> Path:
        """Where cells keep what others need."""
        return self.folder / SHARED

    def is_done(self, cell: str) -> bool:
        """Whether a cell has its result; one that failed has not."""
        return self.rows.get(cell, {}).get("status") == "done"

    def write(self, row: Row) -> None:
        """Keep the row of a cell, at once and whole."""
        write_json(self.folder / CELLS / f"{row['cell']}.json", row)
        self.rows[row["cell"]] = row
        self.write_table()

    def write_table(self) -> None:
        """Write the table of all cells that have a row."""
        table = as_table([self.rows[cell] for cell in self._cells if cell in self.rows])
        with atomic_file(self.folder / "results.parquet") as temporary:
            table.to_parquet(temporary, index=False)
        with atomic_file(self.folder / "results.csv") as temporary:
            table.to_csv(temporary, index=False, lineterminator="\n")


@contextlib.contextmanager
def open_store(
    folder: Path,
    source: Path,
    grid: Grid,
    cells: Sequence[Cell],
    *,
    bf16: bool,
    what: str = "musclelora benchmark run",
) -> Iterator[Store]:
    """Make `folder` the results folder of a grid, or go on with what is in it.

    A folder goes on with a grid that has all the cells it was begun with: seeds, defences and so on may be
    added. Its finished cells stay, for their ids say all that decides a result.

    Args:
        folder: the results folder.
        source: the grid's file, of which a copy is kept.
        grid: the grid.
        cells: its cells.
        bf16: what ``bf16: auto`` means in this folder.
        what: the command, for others that would write there meanwhile.

    Raises:
        OutputError: another run is at work in it, it holds something else, results of another grid or of a
            version that cannot be read, or it cannot be written.
    """
    check_output(folder, [source, *_read_by(grid)], folder=True)
    if not os.path.exists(folder / GRID):  # noqa: PTH110 - or a link that leads nowhere raises
        others = (entry for entry in entries_of(folder) if entry.name != LOCK)
        foreign = (entry for entry in others if not entry.name.startswith(_HALF_WRITTEN))
        refuse_foreign(folder, "benchmark", foreign)
    with held(folder, what):
        ids = [cell.id for cell in cells]
        begun = read_begun(folder)
        missing = [] if begun is None else [cell for cell in begun["cells"] if cell not in set(ids)]
        if begun is not None and missing:
            raise OutputError(
                f"{folder}: it holds results of another grid ({len(missing)} of its {len(begun['cells'])} "
                "cells are not in this one); name another output, or give the grid that it was begun with"
            )
        for leftover in [*folder.glob(".*"), *(folder / CELLS).glob(".*.json.*")]:  # what a kill left behind
            if leftover.name.startswith(_HALF_WRITTEN) or leftover.parent != folder:
                leftover.unlink(missing_ok=True)
        facts = {"format": FORMAT, "musclelora": __version__, "bf16": bf16}
        # It comes first: by it the folder is known, whatever comes next.
        write_json(folder / GRID, {**facts, "grid": grid.model_dump(mode="json"), "cells": ids})
        with output_errors(folder):
            (folder / CELLS).mkdir(exist_ok=True)
        with atomic_file(folder / "grid.yaml") as temporary:
            temporary.write_bytes(source.read_bytes())
        yield Store(folder, ids)


def _read_by(grid: Grid) -> Iterator[str | None]:
    """The files and folders that a grid's cells read."""
    from musclelora.benchmark.schema import FILE_PARAMETERS, MODEL_PARAMETERS  # here: a report needs no torch

    for data in grid.data:
        yield from (data.train, data.test, data.trusted)
    for attack in grid.attacks:
        yield attack.triggered
        for parameters in (attack.parameters, attack.test):
            yield from (parameters.get(name) for name in (*FILE_PARAMETERS, *MODEL_PARAMETERS))
    yield from grid.models


def read_begun(folder: Path) -> dict[str, Any] | None:
    """What ``grid.json`` holds: the grid, its cells and ``bf16``; None where there is none.

    Raises:
        OutputError: it is damaged, or of a version that cannot be read.
    """
    file = folder / GRID
    try:
        begun: Any = read_values(file, OutputError, remedy=_OTHER)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not isinstance(begun, dict) or type(begun.get("format")) is not int or begun["format"] != FORMAT:
        found = short(begun.get("format")) if isinstance(begun, dict) else None
        raise OutputError(
            f"{folder}: its results are of format {found}, expected {FORMAT} (musclelora {__version__}); "
            "use the version that wrote them or name another output"
        )
    check_state(begun, BegunState, file, OutputError, remedy=_OTHER)
    checked: dict[str, Any] = begun
    return checked


_OTHER: Final = "restore it or name another output"


def read_rows(folder: Path, cells: Sequence[str]) -> dict[str, Row]:
    """The rows that there are of `cells`, by id.

    Raises:
        OutputError: one cannot be read, or holds what no cell can have measured.
    """
    rows: dict[str, Row] = {}
    for cell in cells:
        file = folder / CELLS / f"{cell}.json"
        try:
            row = read_state(file, CellState, OutputError, remedy=_AGAIN)
        except FileNotFoundError:
            continue
        if row["cell"] != cell:
            raise OutputError(f"{file}: cell: found {short(row['cell'])}, expected {short(cell)}; {_AGAIN}")
        rows[cell] = row
    return rows


_AGAIN: Final = "restore it, or delete it and run the grid again"


def finished_rows(folder: Path, cells: Sequence[str]) -> dict[str, Row]:
    """The rows of :func:`read_rows`; a cell that cannot be read is as if it had not run, and is run again."""
    rows: dict[str, Row] = {}
    for cell in cells:
        with contextlib.suppress(OutputError):
            rows |= read_rows(folder, [cell])
    return rows


def results_table(folder: Path) -> pd.DataFrame:
    """The results in a folder, one row a cell, with the columns :data:`COLUMNS`.

    Raises:
        OutputError: there are none, or of a version that cannot be read, or some were altered.
    """
    begun = read_begun(folder)
    if begun is None:
        raise OutputError(
            f"{folder}: no {GRID} in it; expected a folder that `musclelora benchmark run` wrote"
        )
    rows = read_rows(folder, begun["cells"])
    return as_table(list(rows.values()))


def as_table(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows as a table, each with the oracle of its data, attack, model and seed."""
    import pandas as pd

    def key(row: Row) -> tuple[Any, ...]:
        return row["data"], row["attack"], row["model"], row["seed"]

    oracles = {key(row): row for row in rows if row["kind"] == "oracle" and row["status"] == "done"}
    joined = []
    for row in rows:
        oracle = oracles.get(key(row), {})
        more = {"oracle_cacc": oracle.get("cacc"), "oracle_asr": oracle.get("asr")}
        if oracle and row["status"] == "done":
            more |= {"excess_asr": row["asr"] - oracle["asr"], "cacc_gap": oracle["cacc"] - row["cacc"]}
        joined.append(row | more)
    columns = {
        name: pd.Series([row.get(name) for row in joined], dtype=kind) for name, kind in COLUMNS.items()
    }
    return pd.DataFrame(columns)
