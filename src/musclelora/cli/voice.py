"""What a command says while it works: how much, to whom, and in which form."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import click

from musclelora.cli.terminal import printable
from musclelora.errors import OutputError, UsageError
from musclelora.files import is_standard_output, output_errors
from musclelora.launched import process_rank
from musclelora.outputs import check_output
from musclelora.progress import Bar, heard_by

Command = TypeVar("Command", bound=Callable[..., Any])
_KEY: Final = "musclelora.voice"
_WRITTEN: Final = ("output", "report", "format_output")
"""The options that name what a command writes."""
QUIET, NORMAL, VERBOSE = range(3)


class Voice:
    """What a command says while it works; its results are not its business.

    Args:
        level: :data:`QUIET`, nothing but results, warnings and errors; :data:`NORMAL`; or :data:`VERBOSE`,
            what the Trainer logs as well.
        log: gets one JSON object a line for each event; None: nobody does.
    """

    def __init__(self, level: int = NORMAL, log: IO[str] | None = None) -> None:
        self._level, self._log = level, log
        self._bars: list[Bar] = []

    def note(self, line: str) -> None:
        """Print what is read and decided, with the results."""
        self._say(line, err=False)

    def tell(self, line: str) -> None:
        """Print what is found, beside the results."""
        self._say(line, err=True)

    def detail(self, line: str) -> None:
        """Print what only those want to know who asked for more."""
        if self._level >= VERBOSE:
            self._print(line, err=True)

    def stage(self, what: str, total: float, unit: str = "rows", *, done: float = 0) -> Bar:
        """The bar of something long."""
        self.event("stage", what=what, total=total, unit=unit, done=done)
        bar = Bar(what, total, unit, done=done, show=self._level > QUIET and process_rank() == 0)
        self._bars.append(bar)
        return bar

    def event(self, name: str, **values: Any) -> None:
        """Write a line of the JSON log."""
        if self._log is not None and process_rank() == 0:
            now = datetime.datetime.now().astimezone().isoformat(timespec="milliseconds")
            line = json.dumps({"time": now, "event": name, **values}, ensure_ascii=True, allow_nan=False)
            with output_errors(self._log.name):
                self._log.write(line + "\n")
                self._log.flush()

    def _say(self, line: str, *, err: bool) -> None:
        self.event("said", text=line)
        if self._level > QUIET or line.startswith("warning"):
            self._print(line, err=err)

    def _print(self, line: str, *, err: bool) -> None:
        """Of several processes the first one prints; a bar that is there makes room."""
        if process_rank() == 0:
            self._bars = [bar for bar in self._bars if bar.is_shown]
            with contextlib.ExitStack() as stack:
                for bar in self._bars:
                    stack.enter_context(bar.aside())
                click.echo(printable(line), err=err)


def voice_options(command: Command) -> Command:
    """``--quiet``, ``--verbose`` and ``--json-log``, for the commands whose work is long."""
    for option in (
        click.option(
            "--json-log",
            metavar="FILE",
            expose_value=False,
            callback=_keep,
            help="Append events to this file, one JSON object per line.",
        ),
        click.option(
            "-v",
            "--verbose",
            is_flag=True,
            expose_value=False,
            callback=_keep,
            help="Also print what the Trainer logs.",
        ),
        click.option(
            "-q",
            "--quiet",
            is_flag=True,
            expose_value=False,
            callback=_keep,
            help="Print only results, warnings and errors.",
        ),
    ):
        command = option(command)
    return command


def voice() -> Voice:
    """That of the command that runs, as its options have it; made when it is first asked for.

    From then on it is told of every stage that begins (:func:`musclelora.progress.stage`).

    Raises:
        UsageError: ``--quiet`` and ``--verbose`` were both given.
        OutputError: the log cannot be written there.
    """
    context = click.get_current_context(silent=True)
    if context is None:
        return Voice()
    if _KEY not in context.meta:
        context.meta[_KEY] = context.find_root().with_resource(_heard(_made(context)))
    found: Voice = context.meta[_KEY]
    return found


def note(line: str) -> None:
    """Print what is read and decided, with the results; ``--quiet`` leaves it out."""
    voice().note(line)


def tell(line: str) -> None:
    """Print what is found, beside the results; ``--quiet`` leaves it out."""
    voice().tell(line)


def done(**values: Any) -> None:
    """The command has done its work, for programs."""
    voice().event("done", **values)


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    context.meta[f"{_KEY}.{parameter.name}"] = value


@contextlib.contextmanager
def _heard(made: Voice) -> Iterator[Voice]:
    with heard_by(made):
        yield made


def _made(context: click.Context) -> Voice:
    given: Mapping[str, Any] = {
        name: context.meta.get(f"{_KEY}.{name}") for name in ("quiet", "verbose", "json_log")
    }
    if given["quiet"] and given["verbose"]:
        raise UsageError("--quiet, --verbose: found together, expected one of them; leave one out")
    level = QUIET if given["quiet"] else VERBOSE if given["verbose"] else NORMAL
    file = given["json_log"]
    if not file or process_rank() > 0:
        return Voice(level)
    log = _opened(file, context.params)
    context.find_root().call_on_close(log.close)
    made = Voice(level, log)
    made.event("begun", command=context.command_path.split(" ", 1)[-1])
    return made


def _opened(file: str, options: Mapping[str, Any]) -> IO[str]:
    """The log, to write to; what is in it stays."""
    if is_standard_output(file):
        raise UsageError("--json-log: found standard output, where results go, expected a file; name one")
    inputs = [value for name, value in options.items() if name != "output" and isinstance(value, str | Path)]
    check_output(file, inputs)
    place = Path(os.path.realpath(file))
    for name in _WRITTEN:
        written = options.get(name)
        if written and not is_standard_output(written) and Path(os.path.realpath(written)) == place:
            option = name.replace("_", "-")
            raise OutputError(f"--json-log: found {file}, which --{option} writes; name another file")
    output = options.get("output")
    if output and Path(os.path.realpath(output)) in place.parents:
        raise OutputError(f"{place}: it lies in {output}, the folder that is written; name a file beside it")
    with output_errors(file):
        Path(file).absolute().parent.mkdir(parents=True, exist_ok=True)
        return Path(file).open("a", encoding="utf-8")
