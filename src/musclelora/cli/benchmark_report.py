"""``musclelora benchmark report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from musclelora.cli.terminal import printable

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from musclelora.benchmark.leaderboard import Group

_SHOWN = ("cost", "excess_asr", "cacc_gap", "cacc", "asr", "fit_seconds")


@click.command(name="report")
@click.argument("folder", metavar="DIR")
@click.option("--output", metavar="FOLDER", help="The folder to write.  [default: DIR/report]")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["all", "html", "markdown"]),
    default="all",
    show_default=True,
    help="Format of the leaderboard.",
)
def report(folder: str, output: str | None, format_: str) -> None:
    """Compare the defences in the results folder DIR, which `benchmark run` wrote.

    Writes the leaderboard (index.html, which needs no other file, and leaderboard.md), its figures (PNG and
    SVG) and the results as one table (results.csv). The grid need not have finished.
    """
    from rich.console import Console

    from musclelora.benchmark import wording
    from musclelora.benchmark.report import FORMATS, write_report

    done = write_report(
        Path(folder),
        None if output is None else Path(output),
        formats=FORMATS if format_ == "all" else (format_,),
    )
    console = Console()
    for group in done.groups:
        console.print(_table(group))
        for row in group.failures:
            which, error = wording.failure(row)
            click.echo(f"failed: {printable(which)}: {printable(error)}")
    click.echo(
        f"* best of its column, {wording.TIED} not significantly different; intervals are in the report"
    )
    click.echo(wording.progress(done.facts))
    if done.drawings is None:
        click.echo("no figures: matplotlib is not installed; pip install 'musclelora[plot]'", err=True)
    elif done.drawings:
        count = wording.count(len(done.drawings), "figure")
        click.echo(f"{count} in {printable(str(done.drawings[0].png.parent))}")
    for file in done.files:
        click.echo(f"written to {printable(str(file))}")


def _table(group: Group) -> RichTable:
    """The group's first table, without intervals."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from musclelora.benchmark import wording

    board = group.boards[0]
    columns = [column for column in board.columns if column.name in _SHOWN]
    title = escape(printable(f"{wording.heading(group)}: {board.title}"))
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("defence", overflow="fold")
    for column in columns:
        table.add_column(column.heading.removesuffix(" (points)"), justify="right", max_width=7)
    for line in board.lines:
        cells = []
        for column in columns:
            cell = line.cells[column.name]
            value, _ = wording.numbers(cell, column)
            cells.append(f"[bold]{value}*[/bold]" if cell.best else value + wording.TIED * cell.tied)
        note = " (reference)" if line.reference else wording.lacking(line, board).replace(" (", "\n(")
        table.add_row(escape(printable(line.defense)) + note, *cells, end_section=line.reference)
    return table
