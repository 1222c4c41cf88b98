"""``musclelora report``."""

from __future__ import annotations

from pathlib import Path

import click

from musclelora.cli.options import Name
from musclelora.cli.terminal import printable
from musclelora.files import is_standard_output


@click.command(name="report")
@click.argument("folder", metavar="DIR", type=Name())
@click.option("--output", metavar="FILE", type=Name(), help="The file to write.  [default: DIR.html]")
@click.option(
    "--run", metavar="RUN", type=Name(), help="Also show the rates and Fourier analysis of this run."
)
def command(folder: str, output: str | None, run: str | None) -> None:
    """Show what the audit in the folder DIR found, as one HTML file.

    The file needs no other file and no network. In it you can search the rows, decide which to keep, drop or
    relabel, and download the file that `musclelora audit --decisions` takes. An earlier report is replaced.
    For results of a benchmark, use `musclelora benchmark report`.
    """
    from musclelora.audit.saved import read_any_audit
    from musclelora.report.page import check_report, write_report

    place = Path(folder) if Path(folder).name not in ("", "..") else Path(folder).resolve()
    file = output or str(place.parent / f"{place.name}.html")
    check_report(file, folder, run)
    write_report(read_any_audit(folder), file, run=run)
    if not is_standard_output(file):
        click.echo(f"written to {printable(file)}")
