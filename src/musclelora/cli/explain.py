"""``musclelora explain``."""

from __future__ import annotations

import click

from musclelora.cli.terminal import printable_lines
from musclelora.limits import ROWS


@click.command(name="explain")
@click.argument("folder", metavar="AUDIT")
@click.option("--row", type=click.IntRange(0, ROWS), required=True, help="The row's number, from 0.")
def command(folder: str, row: int) -> None:
    """Explain why the audit in the folder AUDIT keeps or drops a training row."""
    from musclelora.audit import Audit

    click.echo(printable_lines(Audit.load(folder).explain(row)))
