"""`musclelora benchmark run` as a process: killed, interrupted, twice at once, with cells that fail."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from tiny_grids import WriteGrid, results
from tiny_runs import Cli

TWO_ATTACKS = {"attacks": ["addsent", "badnets"], "defenses": ["vanilla", "trusted-only", "lora"]}
CELLS = 8


def cells_in(folder: Path) -> dict[str, int]:
    """The cells that are kept, and when each was written."""
    files = (folder / "cells").glob("[!.]*.json")
    return {file.name: file.stat().st_mtime_ns for file in files}


def stop_when(process, happened, how: int) -> None:
    """Send a signal to all of a run's processes as soon as something has happened."""
    deadline = time.monotonic() + 300
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, how)


@pytest.fixture
def started():
    """Starts commands in process groups of their own."""
    running = []

    def begin(*arguments: object, **environment: str):
        process = subprocess.Popen(
            [sys.executable, "-c", "from musclelora.entry import main; main()", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.integration
def test_a_killed_grid_runs_what_is_left_and_ends_with_the_same_table(
    write_grid: WriteGrid, tmp_path: Path, started, cli: Cli
) -> None:
    grid, folder, whole = write_grid(**TWO_ATTACKS), tmp_path / "out", tmp_path / "whole"
    process = started("benchmark", "run", grid, "--output", folder, "--workers", 2)
    stop_when(process, lambda: len(cells_in(folder)) >= 3, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = cells_in(folder)
    assert 3 <= len(before) < CELLS

    code, out, err = cli("benchmark", "run", grid, "--output", folder)
    assert code == 0, err
    assert f"{CELLS} cells, {len(before)} of them finished before" in err
    assert f"{CELLS - len(before)} cells run: {CELLS} of {CELLS} done" in out
    after = cells_in(folder)
    assert len(after) == CELLS
    assert {name: after[name] for name in before} == before  # a finished cell is not run again

    assert cli("benchmark", "run", grid, "--output", whole)[0] == 0
    pd.testing.assert_frame_equal(results(folder), results(whole))

    code, out, err = cli("benchmark", "run", grid, "--output", folder)
    assert (code, cells_in(folder)) == (0, after)
    assert f"0 cells run: {CELLS} of {CELLS} done" in out


@pytest.mark.integration
def test_a_second_run_is_refused_while_one_is_at_work(
    write_grid: WriteGrid, tmp_path: Path, started, cli: Cli
) -> None:
    grid, folder = write_grid(**TWO_ATTACKS, seeds=4), tmp_path / "out"
    process = started("benchmark", "run", grid, "--output", folder)
    stop_when(process, lambda: cells_in(folder), 0)  # a signal that does nothing

    code, out, err = cli("benchmark", "run", grid, "--output", folder)
    assert (code, out, err.count("\n")) == (6, "", 1)
    assert "is writing in it; wait for it" in err


LAST = "musclelora: interrupted; the same command goes on with the cells that are left"


def processes_of(mark: str) -> list[psutil.Process]:
    """The processes of a command that was started with `mark` in its environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("MARK") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.mark.integration
@pytest.mark.parametrize(
    ("processes", "how", "code"),
    [(3, signal.SIGINT, 130), (4, signal.SIGINT, 130), (5, signal.SIGTERM, 143)],
    ids=["as the server starts", "as the first cell begins", "as the second begins"],
)
def test_an_interruption_ends_all_processes_and_none_of_them_prints(
    processes: int, how: int, code: int, write_grid: WriteGrid, tmp_path: Path, started
) -> None:
    grid, folder, mark = write_grid(**TWO_ATTACKS, seeds=4), tmp_path / "out", str(tmp_path)
    process = started("benchmark", "run", grid, "--output", folder, "--workers", 2, MARK=mark)
    # The driver, the tracker of resources, the server of processes, two cells.
    stop_when(process, lambda: len(processes_of(mark)) >= processes, how)
    out, err = process.communicate(timeout=600)
    assert processes_of(mark) == []
    assert process.returncode == code, err
    assert err.splitlines()[-1] == LAST
    assert err.count("musclelora: ") == 1
    assert "Traceback" not in out + err
    assert len(cells_in(folder)) < 4 * CELLS


@pytest.mark.integration
def test_processes_of_cells_end_when_the_command_is_killed(
    write_grid: WriteGrid, tmp_path: Path, started
) -> None:
    process = started("benchmark", "run", write_grid(**TWO_ATTACKS), "--output", tmp_path / "out")
    stop_when(process, lambda: cells_in(tmp_path / "out"), 0)
    group = [p for p in psutil.process_iter() if os.getpgid(p.pid) == process.pid]
    assert len(group) >= 2
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs([p for p in group if p.pid != process.pid], timeout=600)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.integration
def test_a_failing_cell_is_kept_with_its_error_and_tried_again(
    write_grid: WriteGrid, tmp_path: Path, cli: Cli
) -> None:
    grid = write_grid(defenses=["vanilla", {"name": "lora", "target_modules": ["nothing"]}, "trusted-only"])
    folder = tmp_path / "out"
    code, out, err = cli("benchmark", "run", grid, "--output", folder)
    assert code == 0, err
    assert "4 cells run: 3 of 4 done, 1 failed (the same command tries them again)" in out
    table = pd.read_parquet(folder / "results.parquet")
    assert table["status"].tolist() == ["done", "done", "done", "failed"]
    assert "nothing" in table["error"][3]
    assert "nothing" in err
    (failed,) = list((folder / "cells").glob("*lora*.json"))
    assert "Traceback" in json.loads(failed.read_text())["details"]
    code, out, err = cli("benchmark", "run", grid, "--output", folder)
    assert "1 cells run: 3 of 4 done, 1 failed" in out


def test_a_grid_of_which_every_cell_fails_ends_with_a_code(
    write_grid: WriteGrid, tmp_path: Path, cli: Cli, tiny_model: Path
) -> None:
    shutil.copytree(tiny_model, tmp_path / "broken")
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"nothing")
    grid = write_grid(models=["broken"], defenses=["vanilla"])
    code, out, err = cli("benchmark", "run", grid, "--output", tmp_path / "out")
    assert code == 5
    assert "2 cells run: 0 of 2 done, 2 failed" in out
    assert "all 2 cells failed, the first with: " in err.splitlines()[-1]


def test_a_dry_run_says_what_there_is_to_do_and_writes_nothing(
    write_grid: WriteGrid, tmp_path: Path, cli: Cli
) -> None:
    code, out, err = cli("benchmark", "run", write_grid(seeds=2), "--output", tmp_path / "out", "--dry-run")
    assert code == 0, err
    assert out.startswith("cells     6, 2 of them oracles\n")
    assert "tiny: 16 training rows, 16 clean and up to 8 triggered test rows" in out
    assert "one cell at a time, within a factor of 2" in out
    assert not (tmp_path / "out").exists()


def test_a_bad_grid_is_refused_in_one_line(write_grid: WriteGrid, tmp_path: Path, cli: Cli) -> None:
    grid = write_grid(defenses=["vanila"], data=[])
    code, out, err = cli("benchmark", "run", grid, "--output", tmp_path / "out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "did you mean vanilla?" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("workers", ["0", "-1", "many", "1.5"])
def test_workers_are_a_number_or_ray(write_grid: WriteGrid, tmp_path: Path, cli: Cli, workers: str) -> None:
    code, _, err = cli("benchmark", "run", write_grid(), "--output", tmp_path / "out", "--workers", workers)
    assert code == 2
    assert "expected a number of processes from 1, or ray" in err
