"""Ctrl-C and SIGTERM end a command at once, at whatever moment, with one line.

Nothing is unwound: every file is written whole or not at all, and every run goes on after SIGKILL, so there
is nothing that an exception would have to put in order while libraries and threads are half done.

Both signals are blocked before the process has another thread or a child. All of them inherit that, so a
child never sees either, not even in its first instruction. One thread waits for them here; when one comes, it
ends the children, removes what is half written, says the line and ends the process.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import sys
import threading
import time
from _thread import interrupt_main, start_new_thread
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from musclelora.launched import process_rank

_HELD = 0.3
_DYING = 1.0
_LIMIT = 5.0
_SECOND = 1.0
_SHOW_CURSOR = b"\x1b[?25h"

_GOES_ON = {
    "audit": "; the same command goes on from what was computed",
    "train": "; the same command with --resume goes on from the last checkpoint",
    "spectrum": "; the same command with --resume goes on from the last checkpoint",
    "tune": "; the same command with --resume goes on with the trials that are left",
    "demo": "; the same command goes on with it",
    "benchmark": "; the same command goes on with the cells that are left",
}

_listening: _Interrupts | None = None


def interrupted(arguments: Sequence[str]) -> str:
    """What is said of the command line `arguments` when it is interrupted."""
    command = next((a for a in arguments if not a.startswith("-")), "")
    return f"interrupted{_GOES_ON.get(command, '')}"


def listen(signals: Iterable[signal.Signals], arguments: Sequence[str], end: Callable[[], bool]) -> None:
    """From now on, end this process when one of `signals` comes, which are blocked in it; once a process.

    Args:
        signals: SIGINT and SIGTERM. One that whoever started the process has it ignore stays ignored.
        arguments: of the command line.
        end: ends the standard streams, and says whether standard error stands at the start of a line.
    """
    global _listening
    heeded = {one for one in signals if signal.getsignal(one) != signal.SIG_IGN}
    _listening = _Interrupts(heeded, interrupted(arguments), end)
    _listening.start()


def take_the_last_word(code: int) -> None:
    """Say that the command ends with `code`, before its last line is printed: no other one is.

    When an interruption has come before, this does not return.
    """
    if _listening is not None:
        _listening.leave(code)


class _Interrupts:
    def __init__(self, signals: set[signal.Signals], words: str, end: Callable[[], bool]) -> None:
        self._signals, self._words, self._end_streams = signals, words, end
        self._voice = os.dup(2)
        self._process = os.getpid()
        self._earlier = _children()
        self._last_word = threading.Lock()
        self._first = threading.Lock()
        self._held = threading.Event()
        self._for_ever = threading.Lock()
        self._code: int | None = None

    def start(self) -> None:
        self._for_ever.acquire()
        signal.signal(signal.SIGURG, self._hold)
        for one in self._signals:
            # A library may unblock them, as Python 3.11 does when it starts its tracker of resources.
            signal.signal(one, self._take)
        threading.Thread(target=self._listen, name="musclelora-signals", daemon=True).start()

    def leave(self, code: int) -> None:
        if self._code is None:
            self._last_word.acquire()
            self._code = code

    def _listen(self) -> None:
        while self._signals:
            self._take(signal.sigwait(self._signals))

    def _take(self, number: int, _: FrameType | None = None) -> None:
        if os.getpid() != self._process:  # a fork of it, which has the handler too
            return
        try:
            start_new_thread(self._end, (128 + number,))
        except RuntimeError:  # there are as many as there may be
            self._end(128 + number)

    def _end(self, code: int) -> None:
        if not self._first.acquire(blocking=False):  # the second one: what is going on gets another second
            time.sleep(_SECOND)
            os._exit(code)
        try:
            with contextlib.suppress(RuntimeError):
                start_new_thread(_exit_after, (_LIMIT, code))
            if self._last_word.acquire(blocking=False):
                self._end_everything()
            else:  # the command has said its last line and is about to end
                time.sleep(_LIMIT - 1)
                code = code if self._code is None else self._code
                _kill(self._earlier)
        finally:
            os._exit(code)

    def _end_everything(self) -> None:
        at_start = self._end_streams()
        files: Any = sys.modules.get("musclelora.files")
        stopped = files is not None and files.stop_writing()
        self._hold_the_main_thread()
        _kill(self._earlier)
        if stopped:
            files.remove_unfinished()
        _remove_scratch()
        self._say(at_start)

    def _hold_the_main_thread(self) -> None:
        """Keep it from another instruction of Python; from a call of a library it does not come back."""
        interrupt_main(signal.SIGURG)  # no real signal, which some library might take ill
        self._held.wait(_HELD)

    def _hold(self, *_: Any) -> None:
        if os.getpid() == self._process and self._first.locked():
            self._held.set()
            self._for_ever.acquire()

    def _say(self, at_start: bool) -> None:
        if process_rank():
            return
        start = b"" if at_start else b"\n"
        if os.isatty(self._voice) and os.environ.get("TERM") != "dumb":
            start += _SHOW_CURSOR  # a progress bar may have hidden it
        with contextlib.suppress(OSError):  # nobody hears it
            os.write(self._voice, start + f"musclelora: {self._words}\n".encode())


def _remove_scratch() -> None:
    """Remove the temporary folders that are in use, by whatever library."""
    kind = getattr(sys.modules.get("tempfile"), "TemporaryDirectory", None)
    for one in gc.get_objects() if kind is not None else ():
        if type(one) is kind:
            shutil.rmtree(one.name, ignore_errors=True)


def _exit_after(seconds: float, code: int) -> None:
    time.sleep(seconds)
    os._exit(code)


def _children() -> set[int]:
    """The processes that this one has already, as when a shell script becomes it with ``exec``."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (ChildProcessError, AttributeError):
        return set()
    return {child for child, parent in _parents().items() if parent == os.getpid()}


def _kill(spared: set[int]) -> None:
    """End all processes that this one started, and theirs, but those of `spared`.

    Each is stopped before its own are looked for, so that none can start another that is not seen.
    """
    stopped: set[int] = set()
    while True:
        families = {os.getpid(), *stopped}
        found = {child for child, parent in _parents().items() if parent in families}
        if not found - stopped - spared:
            break
        for child in found - stopped - spared:
            stopped.add(child)
            _send(child, signal.SIGSTOP)
    for child in stopped:
        _send(child, signal.SIGKILL)
    deadline = time.monotonic() + _DYING
    while stopped & _parents().keys() and time.monotonic() < deadline:
        time.sleep(0.005)


def _send(process: int, number: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        os.kill(process, number)


def _parents() -> dict[int, int]:
    """The parent of each process of this machine that is alive, where the system tells."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name, in parentheses, may hold anything.
            state, parent = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state not in "ZX":
                parents[int(folder.name)] = int(parent)
    return parents
