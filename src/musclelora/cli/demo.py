"""``musclelora demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table as RichTable

from musclelora.cli.options import SEEDS
from musclelora.errors import UsageError
from musclelora.limits import PROCESSES


@click.command(name="demo")
@click.option("--output", default="demo", show_default=True, metavar="FOLDER", help="The folder to write.")
@click.option("--seeds", type=SEEDS, default=1, show_default=True, help="How many seeds to average.")
@click.option(
    "--workers",
    type=click.IntRange(1, PROCESSES),
    help="How many trainings run at once.  [default: one for each core, up to four]",
)
def command(output: str, seeds: int, workers: int | None) -> None:
    """Poison BBC news, defend against it, and show what happened.

    Trains six ways against two attacks, on the embedded model and corpus: an oracle (on unpoisoned data), no
    defence, LoRA, the trusted rows alone, the published method, and the default method. It takes minutes on
    two cores. After an interruption, the same command continues. `musclelora benchmark report` reads its
    folder.
    """
    try:
        from musclelora.demo import run_demo
    except ModuleNotFoundError as error:
        raise UsageError(
            f"demo: no package {error.name}; expected it installed; "
            "pip install 'musclelora[benchmark,embedded]'"
        ) from error

    means = run_demo(Path(output), seeds=range(seeds), workers=workers, say=click.echo)
    Console().print(_table(means))
    drawn = _draw(means, Path(output) / "results.png")
    click.echo(f"written to {output}/results.csv" + (f" and {output}/results.png" if drawn else ""))


def _table(means: list[dict[str, Any]]) -> RichTable:
    title = f"BBC news, mean of {means[0]['seeds']} seed{'s' if means[0]['seeds'] > 1 else ''}"
    table = RichTable("attack", "method", title=title)
    for name in ("CACC", "ASR", "excess ASR", "CACC gap", "seconds"):
        table.add_column(name, justify="right")
    for row in means:
        shares = (f"{100 * row[name]:.1f}" for name in ("cacc", "asr", "excess_asr", "cacc_gap"))
        table.add_row(
            row["attack"],
            row["method"],
            *shares,
            f"{row['fit_seconds']:.0f}",
            end_section=row["method"] == "musclelora",
        )
    return table


def _draw(means: list[dict[str, Any]], path: Path) -> bool:
    try:
        from musclelora.report.figures import cacc_asr_figure
    except ImportError:
        click.echo("no figure: matplotlib is not installed; pip install 'musclelora[plot]'", err=True)
        return False
    cacc_asr_figure(means, path)
    return True
