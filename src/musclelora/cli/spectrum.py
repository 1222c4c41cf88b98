"""``musclelora spectrum``: a training run seen by frequency, and runs side by side."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from musclelora.cli.options import COST, SEED, SIGMAS, SPECTRUM_ROWS, STEPS, Command, Floats, given
from musclelora.cli.terminal import printable
from musclelora.cli.train import train_labels, train_options
from musclelora.cli.voice import voice_options
from musclelora.data.table import Table
from musclelora.errors import UsageError

_OPTIONS = (
    click.option("--spectrum-rows", type=SPECTRUM_ROWS, help="Rows of the sample.  [default: 1000]"),
    click.option(
        "--spectrum-every",
        type=STEPS,
        help="Steps between two records.  [default: as --spectrum-max-cost allows]",
    ),
    click.option(
        "--spectrum-max-cost",
        type=COST,
        help="Limit of the added time, as a share of training.  [default: 0.1; with --spectrum-every none]",
    ),
    click.option("--spectrum-sigmas", type=Floats(), help="Filter widths.  [default: from the distances]"),
    click.option("--spectrum-sigma-count", type=SIGMAS, help="How many filter widths.  [default: 25]"),
    click.option("--spectrum-distance", help="Distance of texts: squared or plain.  [default: squared]"),
    click.option("--spectrum-within", help="Smooth over a row's group or over the sample.  [default: group]"),
    click.option(
        "--spectrum-flags/--no-spectrum-flags",
        default=None,
        help="Group rows by the data's poison flags, if it has them.  [default: yes]",
    ),
    click.option("--spectrum-double", is_flag=True, default=None, help="Compute in float64."),
    click.option("--spectrum-seed", type=SEED, help="Seed of the sample.  [default: 0]"),
)


@click.group(name="spectrum")
def command() -> None:
    """See at which frequencies a model learns, and whether a backdoor comes first."""


def _spectrum_options(command: Command) -> Command:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@command.command(name="train")
@train_options
@_spectrum_options
@voice_options
def train(**options: Any) -> None:
    """Train as `musclelora train` does, and record the low and high frequency bands.

    The records, their analysis and figures go into a folder `spectrum` in the run folder. At the end, the
    command prints what was learned when, and what to change.
    """
    own = [name for name in options if name.startswith("spectrum_")]
    settings = given(**{name.removeprefix("spectrum_"): options.pop(name) for name in own})
    if "flags" in settings:
        settings["use_flags"] = settings.pop("flags")
    if "sigmas" in settings:
        settings["sigmas"] = tuple(settings["sigmas"])
        if not settings["sigmas"]:
            raise UsageError("--spectrum-sigmas: found no values, expected numbers above 0, such as 2,4,8")

    from musclelora.spectrum.settings import SpectrumSettings

    chosen = SpectrumSettings(**settings)
    folder = Path(options["output"])

    def watch(table: Table) -> list[Any]:
        from musclelora.spectrum.callback import SpectrumCallback

        return [SpectrumCallback(folder, table, chosen, say=click.echo)]

    train_labels(**options, watch=watch)

    from musclelora.files import held
    from musclelora.spectrum.analysis import analyse
    from musclelora.spectrum.sample import Sample

    with held(folder, "musclelora spectrum train"):
        Sample.load(folder).check_settings(chosen, folder)  # a finished run has not been asked yet
        found = analyse(folder, say=click.echo)
        _show({folder.resolve().name: found})
        _draw({folder.resolve().name: found}, folder / "spectrum")


@command.command(name="compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...")
@click.option("--output", metavar="FOLDER", help="Draw the runs side by side into this folder.")
@click.option("--json", "json_file", metavar="FILE", help="Write the analyses to this file.")
def compare(runs: tuple[str, ...], output: str | None, json_file: str | None) -> None:
    """Show recorded runs side by side, such as vanilla training and MuScleLoRA."""
    from musclelora.cli.evaluate import check_json, keep_json
    from musclelora.files import held, is_standard_output
    from musclelora.outputs import check_output
    from musclelora.spectrum.analysis import load_analysis

    check_json(json_file, *runs)
    if output is not None:
        check_output(output, runs, folder=True)
    found = {name: load_analysis(Path(run)) for name, run in _named(runs).items()}
    if not is_standard_output(json_file or ""):
        _show(found)
    keep_json(json_file, found)
    if output is not None:
        with held(output, "musclelora spectrum compare"):
            _draw(found, Path(output))


def _named(runs: tuple[str, ...]) -> dict[str, str]:
    """The runs by the shortest name that tells them apart: the folder's own, or the path as given."""
    if len(set(runs)) < len(runs):
        raise UsageError(
            f"RUN: found {next(r for r in runs if runs.count(r) > 1)} twice, expected other folders"
        )
    names = [Path(os.path.realpath(run)).name for run in runs]
    return dict(zip(names if len(set(names)) == len(names) else runs, runs, strict=True))


def _show(runs: dict[str, dict[str, Any]]) -> None:
    """Print a table of the order of convergence and the band shares, and each run's diagnosis."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table as RichTable

    table = RichTable(title="step at which the band's error first halved (95 % interval); shares at the end")
    for heading in ("run", "group", "rows", "e_low", "e_high", "LFR", "HFR"):
        table.add_column(heading)
    for run, found in runs.items():
        for group, about in found["groups"].items():
            bands = (_cell(found["convergence"][group][band]) for band in ("low", "high"))
            shares = (f"{found['curves'][group][name]['value'][-1]:.2f}" for name in ("lfr", "hfr"))
            table.add_row(
                escape(printable(run)), escape(printable(group)), f"{about['rows']:,}", *bands, *shares
            )
    Console().print(table)
    for run, found in runs.items():
        cost = found["cost"]
        share = cost["seconds"] / cost["training_seconds"] if cost["training_seconds"] else 0.0
        click.echo(
            f"diagnosis of {printable(run)} ({len(found['steps'])} records, "
            f"which added {100 * share:.0f} % to the training time)"
        )
        for line in found["diagnosis"]:
            click.echo(f"  {printable(line['text'])} [{line['rule']}]")


def _cell(interval: dict[str, Any]) -> str:
    value, low, high = (interval[name] for name in ("value", "low", "high"))
    if value is None:
        return "no such band"
    shown = [number if isinstance(number, str) else f"{number:.0f}" for number in (value, low, high)]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def _draw(runs: dict[str, dict[str, Any]], folder: Path) -> None:
    from importlib import util

    if util.find_spec("matplotlib") is None:
        click.echo("no figures, as matplotlib is not installed: pip install 'musclelora[spectrum]'")
        return
    from musclelora.spectrum.figures import draw_all

    written = draw_all(runs, folder)
    click.echo(f"figures: {', '.join(path.name for path in written)} in {folder}")
