"""``musclelora benchmark report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from musclelora.cli.terminal import printable

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from musclelora.benchmark.leaderboard import Group

_SHOWN = ("cost", "excess_asr", "cacc_gap", "cacc", "asr", "fit_seconds", "peak_memory")


@click.command(name="report")
@click.argument("folder", metavar="DIR")
@click.option("--output", metavar="FOLDER", help="The folder to write.  [default: DIR/report]")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["all", "html", "markdown"]),
    default="all",
    show_default=True,
    help="Of the leaderboard.",
)
def report(folder: str, output: str | None, format_: str) -> None:
    """Compare the defences in the results folder DIR, which `benchmark run` wrote.

    Writes the leaderboard (index.html, which needs no other file, and leaderboard.md), its figures (PNG and
    SVG) and the results as one table (results.csv). A grid that has not finished is reported as far as it is.
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
    click.echo(f"best: bold; {wording.TIED} not significantly different from it; intervals are in the report")
    click.echo(wording.progress(done.facts))
    if done.drawings is None:
        click.echo("no figures: matplotlib is not installed; pip install 'musclelora[plot]'", err=True)
    elif done.drawings:
        click.echo(f"{len(done.drawings)} figures in {printable(str(done.drawings[0].png.parent))}")
    for file in done.files:
        click.echo(f"written to {printable(str(file))}")


def _table(group: Group) -> RichTable:
    """The group's first table, without intervals."""
    from rich.markup import escape
    from rich.table import Table

    from musclelora.benchmark import wording

    board = group.boards[0]
    columns = [column for column in board.columns if column.name in _SHOWN]
    title = escape(printable(f"{wording.heading(group)}: {board.title}"))
    table = Table("defence", title=title, title_justify="left")
    for name in (*(column.heading for column in columns), "seeds"):
        table.add_column(name, justify="right")
    for line in board.lines:
        cells = []
        for column in columns:
            cell = line.cells[column.name]
            value, _ = wording.numbers(cell, column)
            cells.append(f"[bold]{value}[/bold]" if cell.best else value + wording.TIED * cell.tied)
        defense = escape(printable(line.defense)) + (" (reference)" if line.reference else "")
        table.add_row(defense, *cells, wording.coverage(line, board), end_section=line.reference)
    return table
