"""Cells on a Ray cluster: what runs in a process of this machine runs as a task there."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from musclelora.benchmark.local_workers import Work
from musclelora.benchmark.plan import Cell
from musclelora.data.messages import cut
from musclelora.errors import UsageError

Row = dict[str, Any]

_INSTALL = "pip install 'musclelora[benchmark,ray]'"
_SECONDS = 5.0
_RETRIES = 3


def connect() -> None:
    """Join the cluster at ``RAY_ADDRESS``, or start one on this machine.

    Raises:
        UsageError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise UsageError(f"--workers ray: no package ray; expected it installed; {_INSTALL}") from error
    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS", "").strip()
    _check_reachable(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # what is tested here is nobody else's business
    own = {} if address else {"include_dashboard": False}
    try:
        # Cells print nothing that is for the person who waits; what they say is in their rows.
        with _apart():
            ray.init(address=address or "local", log_to_driver=False, logging_level="error", **own)
    except Exception as error:  # of many kinds, by what is missing
        said = cut(str(error))
        raise UsageError(
            f"RAY_ADDRESS: found {address or 'nothing'}, but no Ray cluster can be used ({said}); "
            "start one with ray start --head, or unset it to use this machine alone"
        ) from error


_starting = False


@contextlib.contextmanager
def _apart() -> Iterator[None]:
    """Let the processes that Ray starts meanwhile have a group of their own, and SIGTERM.

    What is sent to the driver's group, as Ctrl-C is, does not reach them. Ray ends them with SIGTERM, which
    they would have blocked, as the driver of a command does. Where that is gone, the system kills them.
    """
    global _starting
    _register()
    _starting = True
    try:
        yield
    finally:
        _starting = False


@functools.cache
def _register() -> None:
    if hasattr(os, "register_at_fork"):  # which holds for what subprocess starts as Ray does
        os.register_at_fork(after_in_child=_leave_the_group)


def _leave_the_group() -> None:
    if _starting:
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def check_resources(cpus: float, gpus: float) -> None:
    """Check that there is a node on which a cell can run; without one, cells would wait for ever.

    Raises:
        UsageError: there is none.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        there = ", ".join(f"{node.get('CPU', 0):g} and {node.get('GPU', 0):g}" for node in nodes[:10])
        raise UsageError(
            f"--cpus-per-cell, --gpus-per-cell: found {cpus:g} and {gpus:g}, but no node of the cluster has "
            f"so many (there are: {there}); lower them or add a node"
        )


def ray_rows(
    cells: Sequence[Cell], *, kept: Path, cpus: float, gpus: float, work: Work, retries: int = _RETRIES
) -> Iterator[Row]:
    """Run cells as tasks of the cluster that :func:`connect` joined, and yield each one's row as it ends.

    A task whose node or process is lost runs again elsewhere; the row of a cell comes once all the same. A
    process does one cell, so that its peak of memory is the cell's own.

    Args:
        cells: in the order to start them.
        kept: the folder for models and tables that several cells need; where a node cannot write it, its
            cells keep nothing.
        cpus: processors that each cell is given.
        gpus: GPUs that each cell is given.
        work: what makes a row of a cell.
        retries: times that a cell whose node or process is lost is tried again.
    """
    import ray

    from musclelora.benchmark.cell import failed_row

    task = ray.remote(
        num_cpus=cpus, num_gpus=gpus, max_retries=retries, max_calls=1, scheduling_strategy="SPREAD"
    )(work)
    threads = max(1, int(cpus))
    running = {task.remote(cell, kept=kept.resolve(), threads=threads): cell for cell in cells}
    try:
        while running:
            (ended,), _ = ray.wait(list(running), num_returns=1)
            cell = running.pop(ended)
            try:
                row: Row = ray.get(ended)
            except Exception as error:  # the task has been given up: its node or process was lost too often
                row = failed_row(cell, f"{type(error).__name__}: {cut(str(error))}", str(error))
            yield row
    finally:
        for task_ in running:
            ray.cancel(task_, force=True)


def _check_reachable(address: str) -> None:
    """Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"RAY_ADDRESS: found {address}, but nothing answers there ({error}); "
            "start a cluster with ray start --head, or unset it to use this machine alone"
        ) from error
