"""What an audit tells a pipeline: a document in its format, and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from musclelora.cli.options import Command, Name
from musclelora.cli.terminal import printable
from musclelora.errors import GATE_CLOSED, OutputError, UsageError
from musclelora.files import is_standard_output
from musclelora.outputs import check_output

if TYPE_CHECKING:
    from musclelora.audit import Audit

TEXT: Final = "text"
FORMATS: Final = (TEXT, "json", "sarif", "junit")
FAIL_ON: Final = ("poisoned", "suspected")
_STANDARD: Final = "-"


def gate_options(command: Command) -> Command:
    """The options that :class:`Gate` holds."""
    for option in (
        click.option(
            "--format-output",
            metavar="FILE",
            type=Name(),
            help="Write the document of --format to this file, not to standard output.",
        ),
        click.option(
            "--format",
            type=click.Choice(FORMATS),
            default=TEXT,
            show_default=True,
            help="What to print: text; or one document, and everything else to standard error.",
        ),
        click.option(
            "--fail-on",
            type=click.Choice(FAIL_ON),
            help=f"Exit with code {GATE_CLOSED} if rows are poisoned. suspected: also if unsure.",
        ),
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class Gate:
    """The values of :func:`gate_options`.

    Attributes:
        fail_on: the verdict from which on the command fails; None: it does not.
        format: of :data:`FORMATS`.
        format_output: the file of the document; None: standard output.
    """

    fail_on: str | None
    format: str
    format_output: str | None

    def __post_init__(self) -> None:
        if self.format == TEXT and self.format_output is not None:
            raise UsageError(
                "--format-output: found with --format text, which is printed, expected json, sarif or junit; "
                "name one of these, or leave it out"
            )

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> Gate:
        """Those of a command's options, which are removed from them."""
        return cls(**{field.name: options.pop(field.name) for field in fields(cls)})

    @property
    def _file(self) -> str:
        return self.format_output or _STANDARD

    def check(self, output: str | None, report: str | None, inputs: Sequence[str | None]) -> None:
        """Refuse a place where no document may be written, before anything is computed.

        Args:
            output: the folder of the audit; None: it keeps none.
            report: the file of its report; None: there is none.
            inputs: what the command reads.

        Raises:
            UsageError: there is neither a folder nor a gate.
            OutputError: the document's place is such a one.
        """
        if output is None and self.fail_on is None and self.format == TEXT:
            raise UsageError(
                "--output: found none, expected the folder to write; name one, or pass --fail-on or --format "
                "to audit without keeping anything"
            )
        if self.format != TEXT and is_standard_output(self._file):
            if report is not None and is_standard_output(report):
                raise OutputError(
                    f"{report}: the {self.format} document goes to standard output as well; name a file for "
                    "one of them, by --report or --format-output"
                )
            return
        if self.format_output is None:
            return
        check_output(self.format_output, inputs)
        place = Path(os.path.realpath(self.format_output))
        for option, other in (("--output", output), ("--report", report)):
            if other is not None and not is_standard_output(other):
                taken = Path(os.path.realpath(other))
                if taken == place or taken in place.parents or place in taken.parents:
                    raise OutputError(
                        f"{self.format_output}: it is, lies in or holds {other}, which {option} names; name "
                        "another output"
                    )

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Send what the command prints to standard error, where the document goes to standard output."""
        if self.format == TEXT or not is_standard_output(self._file):
            yield
            return
        with contextlib.redirect_stdout(sys.stderr):
            yield

    def end(self, audit: Audit) -> None:
        """Write the document, and end the command with its exit code where the gate closes.

        Raises:
            OutputError: the document cannot be written.
        """
        if self.format != TEXT:
            from musclelora.report.documents import write_document

            write_document(audit, self._file, self.format, fail_on=self.fail_on or FAIL_ON[0])
            if not is_standard_output(self._file):
                click.echo(f"the {self.format} document is {printable(self._file)}")
        if self.fail_on is not None and audit.verdict.fails(self.fail_on):
            words = str(audit.verdict).split(":", maxsplit=1)[0]
            ended = f"--fail-on {self.fail_on} ends with code {GATE_CLOSED}"
            click.echo(f"musclelora: the verdict is: {words}; {ended}", err=True)
            click.get_current_context().exit(GATE_CLOSED)
