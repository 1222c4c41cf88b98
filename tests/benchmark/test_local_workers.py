"""Cells on this machine: one process each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tiny_grids import WriteGrid, killed_if_lora, made_up, made_up_by_process, plan_of

from musclelora.benchmark.grid import load_grid
from musclelora.benchmark.local_workers import local_rows
from musclelora.benchmark.runner import run_cells
from musclelora.benchmark.store import open_store


@pytest.mark.integration
def test_every_cell_has_a_process_of_its_own(write_grid: WriteGrid, tmp_path: Path) -> None:
    cells = plan_of(write_grid(seeds=2))
    rows = list(local_rows(cells, workers=2, kept=tmp_path / "kept", work=made_up_by_process))
    assert sorted(row["cell"] for row in rows) == sorted(cell.id for cell in cells)
    processes = {row["machine"] for row in rows}
    assert len(processes) == len(cells)
    assert str(os.getpid()) not in processes
    assert not (tmp_path / "logs").exists()


@pytest.mark.integration
def test_a_process_that_the_system_kills_is_a_failed_cell(write_grid: WriteGrid, tmp_path: Path) -> None:
    cells = plan_of(write_grid(defenses=["lora", "vanilla"], seeds=2))
    rows = {
        row["cell"]: row for row in local_rows(cells, workers=1, kept=tmp_path / "kept", work=killed_if_lora)
    }
    assert len(rows) == len(cells)
    for cell in cells:
        row = rows[cell.id]
        if cell.label == "lora":
            assert row["status"] == "failed"
            assert "ended by SIGKILL; it may have needed more memory" in row["error"]
        else:
            assert row["status"] == "done"


def test_answers_that_come_twice_count_once(write_grid: WriteGrid, tmp_path: Path) -> None:
    file = write_grid()
    cells = plan_of(file)
    lines: list[str] = []
    with open_store(tmp_path / "out", file, load_grid(file), cells, bf16=False) as store:
        counts = run_cells(
            cells,
            store,
            lambda todo, _: (made_up(cell) for cell in [*todo, *todo]),
            costs={cell.id: 1.0 for cell in cells},
            say=lines.append,
        )
    assert counts == {"done": 3, "run": 3}
    assert [line.split("]")[0] for line in lines] == ["[1/3", "[2/3", "[3/3"]
    assert "left" in lines[0]
    assert "left" not in lines[-1]
