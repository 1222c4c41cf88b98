"""`--workers ray`: a real cluster of several nodes on this machine, one of which is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny_grids
from tiny_grids import WriteGrid, made_up, plan_of, results
from tiny_runs import LIMIT

from musclelora.benchmark.cell import Row
from musclelora.benchmark.grid import load_grid
from musclelora.benchmark.plan import Cell
from musclelora.benchmark.ray_workers import connect, ray_rows
from musclelora.benchmark.runner import run_cells
from musclelora.benchmark.store import open_store
from musclelora.cli.main import main
from musclelora.errors import UsageError

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'musclelora[ray]'")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that runs no cells, and two nodes that run one at a time each."""
    from ray.cluster_utils import Cluster

    # A node that is slow to answer is not dead; one that is killed ends its connection, which counts at once.
    patient = {"health_check_timeout_ms": 1000 * LIMIT}
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": patient}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def waiting_cell(cell: Cell, *, kept: Path, threads: int) -> Row:
    """A made-up row; but for the first cell, it comes only once a node has been killed."""
    kept.mkdir(parents=True, exist_ok=True)
    with (kept / "begun").open("a") as file:
        first = file.tell() == 0
        file.write(f"{cell.id} {ray.get_runtime_context().get_node_id()} {os.getpid()}\n")
    while not first and not (kept / "killed").exists():
        time.sleep(0.02)
    return made_up(cell)


@pytest.mark.integration
def test_the_cluster_finds_what_this_machine_does(
    cluster: Any, write_grid: WriteGrid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = write_grid(defenses=["vanilla"])
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    assert command("benchmark", "run", grid, "--output", tmp_path / "ray", "--workers", "ray") == 0
    assert command("benchmark", "run", grid, "--output", tmp_path / "local") == 0
    pd.testing.assert_frame_equal(results(tmp_path / "ray"), results(tmp_path / "local"))


@pytest.mark.integration
def test_cells_that_no_node_can_run_are_refused(
    cluster: Any, write_grid: WriteGrid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    arguments = ("--output", tmp_path / "out", "--workers", "ray", "--gpus-per-cell", 1)
    assert command("benchmark", "run", write_grid(), *arguments) == 2
    assert "no node of the cluster has so many" in capsys.readouterr().err


@pytest.mark.integration
def test_no_cell_is_lost_or_counted_twice_when_a_node_is_killed(
    cluster: Any, write_grid: WriteGrid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    connect()
    for module in (tiny_grids, sys.modules[__name__]):  # the nodes cannot import tests
        ray.cloudpickle.register_pickle_by_value(module)
    grid, folder = write_grid(defenses=["vanilla"], seeds=2), tmp_path / "out"
    cells = plan_of(grid)
    rows: list[str] = []

    def start(todo: Sequence[Cell], kept: Path) -> Iterator[Row]:
        for row in ray_rows(todo, kept=kept, cpus=1, gpus=0, work=waiting_cell):
            assert row["status"] == "done", row
            rows.append(row["cell"])
            if len(rows) == 1:
                kill_a_node_at_work(cluster, kept / "begun", done=row["cell"])
                (kept / "killed").touch()
            yield row

    with open_store(folder, grid, load_grid(grid), cells, bf16=False) as store:
        counts = run_cells(cells, store, start, costs={cell.id: 1.0 for cell in cells}, say=print)
    assert sorted(rows) == sorted(cell.id for cell in cells)
    assert counts == {"done": len(cells), "run": len(cells)}
    assert results(folder)["cell"].tolist() == [cell.id for cell in cells]
    begun = Counter(line.split()[0] for line in (folder / "shared" / "begun").read_text().splitlines())
    assert max(begun.values()) == 2  # the cell that was lost with its node


def kill_a_node_at_work(cluster: Any, begun: Path, done: str) -> None:
    """Kill the node that runs a cell which has no row yet, as soon as there is one."""
    deadline = time.monotonic() + LIMIT
    while True:
        runs = [line.split() for line in begun.read_text().splitlines()]
        at_work = [(node, int(process)) for cell, node, process in runs if cell != done]
        if at_work:
            break
        assert time.monotonic() < deadline
        time.sleep(0.01)
    lost, process = at_work[-1]
    (node,) = [node for node in cluster.worker_nodes if node.node_id == lost]
    cluster.remove_node(node, allow_graceful=False)
    with contextlib.suppress(ProcessLookupError):  # it may have seen that its node is gone
        os.kill(process, signal.SIGKILL)  # on this machine it outlives its node for a while


@pytest.mark.integration
def test_an_address_at_which_nothing_answers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(UsageError, match="but nothing answers there"):
        connect()


def test_without_ray_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"no package ray.*pip install 'musclelora\[benchmark,ray\]'"):
        connect()
