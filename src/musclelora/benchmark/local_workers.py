"""Cells on this machine: each in a process of its own, several at a time."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from musclelora.benchmark.plan import Cell

Row = dict[str, Any]
Work = Callable[..., Row]
"""What :func:`musclelora.benchmark.cell.run_cell` is."""

_GRACE = 30.0
_TAIL = 4000
_DRIVERS = {signal.SIGINT, signal.SIGTERM}


class _Running(NamedTuple):
    cell: Cell
    process: Any
    log: Path


def local_rows(cells: Sequence[Cell], *, workers: int, kept: Path, work: Work) -> Iterator[Row]:
    """Run cells, `workers` at a time, and yield each one's row as it ends.

    A process of its own gives each cell its own peak of memory, and one that the system kills takes no other
    with it: its row says so.

    Args:
        cells: in the order to start them.
        workers: processes at a time; they share the processor's cores, or each has OMP_NUM_THREADS of them.
        kept: the folder for models and tables that several cells need; logs of failed processes go beside it.
        work: what makes a row of a cell.
    """
    context = _context()
    threads = _threads(workers)
    waiting, running = deque(cells), dict[Any, _Running]()
    logs = kept.parent / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                cell = waiting.popleft()
                log = logs / f"{cell.id}.log"
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(
                    target=_work, args=(theirs, work, cell, kept, threads, log), name=cell.id
                )
                with log.open("ab") as output, _undisturbed(output.fileno()):
                    process.start()
                theirs.close()
                running[ours] = _Running(cell, process, log)
            for connection in wait(list(running)):
                yield _row(connection, running.pop(connection))
    finally:
        for left in running.values():
            left.process.kill()
        for left in running.values():
            left.process.join()
        with contextlib.suppress(OSError):
            logs.rmdir()  # if none is left in it


def _threads(workers: int) -> int:
    """Threads for each of `workers` processes, of the cores that there are or that OMP_NUM_THREADS leaves."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    share = max(1, (os.cpu_count() or 1) // workers)
    return min(share, int(asked)) if asked.isdecimal() and int(asked) else share


def _context() -> Any:
    """How processes are started: forked from one that has imported everything, where that is safe."""
    import torch

    # A process that has asked CUDA for anything cannot be forked, and importing may ask.
    if "forkserver" in multiprocessing.get_all_start_methods() and not torch.cuda.is_available():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["musclelora.benchmark.cell"])
        with _undisturbed(_server_output()):  # so is each process that the server forks
            resource_tracker.ensure_running()
            forkserver.ensure_running()
        return context
    return multiprocessing.get_context("spawn")


@contextlib.contextmanager
def _undisturbed(output: int) -> Iterator[None]:
    """Let processes that multiprocessing starts meanwhile print to `output`, and meet no signal but SIGKILL.

    Both hold from a process's first instruction, and for all that it forks. Ctrl-C and SIGTERM may reach all
    of the driver's group, and the driver alone is to answer them: it ends the others.
    """
    if not hasattr(os, "posix_spawn"):  # nor groups that signals reach
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    before, util.spawnv_passfds = util.spawnv_passfds, functools.partial(_spawn, output, mask | _DRIVERS)
    try:
        yield
    finally:
        util.spawnv_passfds = before
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # Python 3.11's tracker of resources unblocks some


def _spawn(output: int, mask: set[int], path: str, arguments: list[str], descriptors: Sequence[int]) -> int:
    """What multiprocessing's own function does, with a mask of signals and an output."""
    # To copy a descriptor onto itself is how to have the process inherit it.
    passed = [(os.POSIX_SPAWN_DUP2, descriptor, descriptor) for descriptor in descriptors]
    printed = [(os.POSIX_SPAWN_DUP2, output, stream) for stream in (1, 2)]
    return os.posix_spawn(path, arguments, os.environ, file_actions=passed + printed, setsigmask=mask)


@functools.cache
def _server_output() -> int:
    """The file to which the server prints, and a process that it forks until it has its own log."""
    with tempfile.TemporaryFile(buffering=0) as file:
        return os.dup(file.fileno())


def _row(connection: Any, ended: _Running) -> Row:
    """What a process sent, or what became of it."""
    from musclelora.benchmark.cell import failed_row

    try:
        row: Row = connection.recv()
    except (EOFError, OSError):  # it ended before or while it sent
        ended.process.join()
        return failed_row(ended.cell, _ending(ended.process.exitcode), _tail(ended.log))
    finally:
        connection.close()
    ended.process.join(_GRACE)
    if ended.process.is_alive():  # it has said all it had to say
        ended.process.kill()
        ended.process.join()
    with contextlib.suppress(OSError):
        ended.log.unlink()
    return row


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        memory = "; it may have needed more memory than there is" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{memory}"
    return f"its process ended with the code {code}"


def _tail(log: Path) -> str | None:
    """The end of what a process printed, into its log or before it had one; None: nothing."""
    for place in (log, _server_output()):
        with contextlib.suppress(OSError), open(place, "rb", closefd=place is log) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            said = file.read().decode("utf-8", errors="replace")
            if said:
                return said
    return None


def _work(connection: Connection, work: Work, cell: Cell, kept: Path, threads: int, log: Path) -> None:
    """What runs in the process of a cell."""
    threading.Thread(target=_end_with_the_driver, daemon=True).start()
    with log.open("wb") as file:  # libraries print as they like, and so do their processes
        sys.stdout.flush()
        sys.stderr.flush()
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    connection.send(work(cell, kept=kept, threads=threads))
    connection.close()


def _end_with_the_driver() -> None:
    """End this process when the one that asked for its row is gone, however that came."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
