"""Standard streams that no command fails over: one that is closed, or whose reader has gone, drops all.

The command's work is what counts: ``musclelora train ... | head -1`` trains to its end. Only a standard
output that is there and has no room is an error, as what was asked for is lost.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

_GONE = {errno.EPIPE, *([errno.EINVAL] if os.name == "nt" else [])}  # Windows says it so
_PATIENCE = 0.5


class Standard(io.RawIOBase):
    """Writes to a standard stream, and nowhere once that takes nothing more.

    Args:
        descriptor: 1 or 2.
        name: what it is called, as in Python's own streams.
        needed: whether what it cannot take is an error.
    """

    def __init__(self, descriptor: int, name: str, *, needed: bool) -> None:
        super().__init__()
        self.name = name
        self._descriptor = descriptor
        self._needed = needed
        self._last = b"\n"
        self._renew()
        if hasattr(os, "register_at_fork"):  # another thread may be writing at that moment
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._turn = threading.RLock()

    def writable(self) -> bool:
        """As every stream to write to."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._descriptor)

    def write(self, data: Any) -> int:
        """Write all of `data`.

        Raises:
            OutputError: the stream is needed and has no room.
        """
        left = memoryview(data).cast("B")
        length = len(left)
        with self._turn:
            while left:
                left = left[self._written(left) :]
            if length:
                self._last = bytes(memoryview(data).cast("B")[-1:])
        return length

    def _written(self, data: memoryview) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:  # whoever started us made it so
            import select

            select.select([], [self._descriptor], [])
            return 0
        except OSError as error:
            _to_nowhere(self._descriptor)
            if not self._needed or error.errno in _GONE:
                return len(data)
            from musclelora.errors import OutputError

            raise OutputError(
                f"standard output: found that it takes nothing more ({error.strerror}), expected room; free "
                "some space or send it elsewhere"
            ) from error

    def end(self) -> bool:
        """Let nothing more be written, by whatever code; say whether what was written ended a line."""
        mine = self._turn.acquire(timeout=_PATIENCE)  # without it, someone waits for a reader, and for ever
        _to_nowhere(self._descriptor)
        if mine:
            self._turn.release()
        return self._last == b"\n"


def set_up(*, silent: bool = False) -> Callable[[], bool]:
    """Make this process's standard streams such ones, in Python and, where they were closed, below it.

    Args:
        silent: whether standard output drops everything, as another process says the same.

    Returns:
        What ends them: it lets out what is printed, drops all that is printed from then on, and says whether
        standard error stands at the start of a line.
    """
    _open_closed()
    if silent:
        _to_nowhere(1)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123 - as long as the process
    out, err = Standard(1, "<stdout>", needed=True), Standard(2, "<stderr>", needed=False)
    sys.stdout = sys.__stdout__ = _text(out, sys.stdout)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _text(err, sys.stderr)  # type: ignore[misc]

    def end() -> bool:
        letting_out = threading.Thread(target=_let_out, args=(sys.stdout, sys.stderr), daemon=True)
        letting_out.start()
        letting_out.join(_PATIENCE)
        out.end()
        return err.end()

    return end


def _text(raw: Standard, before: Any) -> io.TextIOWrapper:
    """Text as Python's own stream took it; a character that cannot be shown is no reason to stop."""
    if os.name == "nt" and before is not None and before.isatty():
        return before  # type: ignore[no-any-return] # a console there is no file
    if before is None:  # it was closed
        encoding, lines, unbuffered = "utf-8", False, False
    else:
        encoding, lines, unbuffered = before.encoding, before.line_buffering, before.write_through
    text = io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),  # type: ignore[arg-type]
        encoding=encoding,
        errors="backslashreplace",
        newline="\n" if os.name == "posix" else None,
        line_buffering=lines,
        write_through=unbuffered,
    )
    text.mode = "w"  # type: ignore[misc]
    return text


def _open_closed() -> None:
    """Where a standard descriptor is closed, open the null device; else the next file to be opened has it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            _to_nowhere(number)


def _to_nowhere(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null == descriptor:
        os.set_inheritable(descriptor, True)
        return
    os.dup2(null, descriptor)
    os.close(null)


def _let_out(*streams: Any) -> None:
    for stream in streams:
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
