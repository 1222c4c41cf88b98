"""Cells on this machine: each in a process of its own, several at a time."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from musclelora.benchmark.plan import Cell

Row = dict[str, Any]
Work = Callable[..., Row]
"""What :func:`musclelora.benchmark.cell.run_cell` is."""

_GRACE = 30.0


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
        with _without_interrupts():  # which the server takes over, and each process from it
            forkserver.ensure_running()
        return context
    return multiprocessing.get_context("spawn")


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let Ctrl-C pass; processes that are started meanwhile do so for good."""
    if threading.current_thread() is not threading.main_thread():  # which may not say so
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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
    try:
        return log.read_text(encoding="utf-8", errors="replace")[-4000:]
    except OSError:
        return None


def _work(connection: Connection, work: Work, cell: Cell, kept: Path, threads: int, log: Path) -> None:
    """What runs in the process of a cell."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver ends us
    threading.Thread(target=_end_with_the_driver, daemon=True).start()
    with log.open("wb") as file:  # libraries print as they like, and so do their processes
        sys.stdout.flush()
        sys.stderr.flush()
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    import torch

    # A model that is sure sends back gradients with which a processor computes many times slower.
    torch.set_flush_denormal(True)
    connection.send(work(cell, kept=kept, threads=threads))
    connection.close()


def _end_with_the_driver() -> None:
    """End this process when the one that asked for its row is gone, however that came."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
