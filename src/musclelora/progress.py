"""One style of progress for everything long: what is done, how much of it, and how long the rest takes."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import IO, Any, Final, Protocol

from musclelora.launched import process_rank
from musclelora.printable import printable

_BAR: Final = "{desc:<12} {percentage:3.0f}%|{bar:30}| {n_fmt}/{total_fmt} {unit}, {remaining} left{postfix}"
_SHARE: Final = "{desc:<12} {percentage:3.0f}%|{bar:30}| {remaining} left{postfix}"


class Bar:
    """A stage on a terminal: one line that is written again and again, and is gone at its end.

    Elsewhere there is none, as a log file has no use for it.

    Args:
        what: the stage, such as ``"training"``.
        total: how many rows or steps there are.
        unit: what they are; empty: they are no numbers to be shown.
        done: how many there are already.
        stream: where it is; None: standard error.
        show: whether to show it where there is a terminal.
    """

    def __init__(
        self,
        what: str,
        total: float,
        unit: str = "rows",
        *,
        done: float = 0,
        stream: IO[str] | None = None,
        show: bool = True,
    ) -> None:
        stream = sys.stderr if stream is None else stream
        self._bar: Any = None
        if show and stream.isatty():
            from tqdm import tqdm

            tqdm.monitor_interval = 0  # no thread: a command's signals are for one that it knows
            self._bar = tqdm(
                desc=what,
                total=total,
                initial=done,
                unit=unit,
                file=stream,
                leave=False,
                bar_format=_BAR if unit else _SHARE,
                dynamic_ncols=True,
            )

    def advance(self, done: float) -> None:
        """So many more are done."""
        if self._bar is not None:
            self._bar.update(done)

    def note(self, text: str) -> None:
        """Show a few words behind the bar; they must be safe on a terminal."""
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """While the block prints, the line is not there."""
        if self._bar is not None:
            self._bar.clear()
        yield
        if self._bar is not None:
            self._bar.refresh()

    @property
    def is_shown(self) -> bool:
        """Whether there is one."""
        return self._bar is not None

    def close(self) -> None:
        """Clear its line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Listener(Protocol):
    """Who is told of what happens while something long runs."""

    def stage(self, what: str, total: float, unit: str = "rows", *, done: float = 0) -> Bar:
        """Something long begins: the bar to move."""

    def tell(self, line: str) -> None:
        """A line about it; words in it may be of the data."""

    def detail(self, line: str) -> None:
        """A line for those who want to know more."""

    def event(self, name: str, **values: Any) -> None:
        """What happened, for programs."""


class Plain:
    """A listener that prints to standard error, as for those who use the package from Python."""

    def stage(self, what: str, total: float, unit: str = "rows", *, done: float = 0) -> Bar:
        """The bar of a stage; of several processes the first one shows it."""
        return Bar(what, total, unit, done=done, show=process_rank() == 0)

    def tell(self, line: str) -> None:
        """Print a line, in which nothing of the data is obeyed by a terminal."""
        print(printable(line), file=sys.stderr)

    def detail(self, line: str) -> None:
        """Nothing."""

    def event(self, name: str, **values: Any) -> None:
        """Nothing."""


_LISTENER: Final[ContextVar[Listener]] = ContextVar("listener", default=Plain())  # noqa: B039 - has no state


@contextlib.contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Tell a listener of the stages that begin in the block, however deep."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def listener() -> Listener:
    """Who is told of the stages that begin here; standard error, if nobody else is."""
    return _LISTENER.get()


def stage(what: str, total: float, unit: str = "rows") -> Bar:
    """Something long begins: the bar to move, for whoever listens."""
    return listener().stage(what, total, unit)


class TimeLeft:
    """How long the rest takes, where what is done took its time evenly."""

    def __init__(self, done: float) -> None:
        self._began, self._from = time.monotonic(), done

    def words(self, done: float, total: float) -> str:
        """Such as ``"1:05 left"``; empty where nothing is known or nothing is left."""
        if done <= self._from or done >= total:
            return ""
        seconds = (time.monotonic() - self._began) / (done - self._from) * (total - done)
        minutes, rest = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return (f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}") + " left"
