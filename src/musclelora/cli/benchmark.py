"""``musclelora benchmark``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from musclelora.cli.hub import spare_the_hub
from musclelora.cli.options import DEVICES, PROCESSORS
from musclelora.cli.terminal import printable
from musclelora.cli.voice import done, tell, voice, voice_options
from musclelora.data.messages import cut
from musclelora.errors import TrainingError, UsageError
from musclelora.limits import PROCESSES

if TYPE_CHECKING:
    from musclelora.benchmark.estimate import Sizes
    from musclelora.benchmark.plan import Cell
    from musclelora.benchmark.runner import Start
    from musclelora.benchmark.store import Row

_MAY_BE_ON_THE_HUB = ("train", "test", "trusted", "models", "model", "language_model")
_INSTALL = "pip install 'musclelora[benchmark]'"


class _Group(click.Group):
    """Its commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return ["run", "report"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "report":
            try:
                from musclelora.cli.benchmark_report import report
            except ModuleNotFoundError as error:
                message = f"benchmark report: no package {error.name}; expected it installed; {_INSTALL}"
                raise UsageError(message) from error
            command: click.Command = report
            return command
        return super().get_command(ctx, cmd_name)


@click.group(name="benchmark", cls=_Group)
def command() -> None:
    """Compare defences on a grid of data, attacks, models and seeds."""


class _Workers(click.ParamType):  # type: ignore[type-arg]
    """A number of processes, or "ray"."""

    name = "N|ray"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == "ray":
            return "ray"
        text = str(value)
        # A number of thousands of digits is none that Python parses.
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= PROCESSES):
            self.fail(
                f"found {value!r}, expected a number of processes from 1, or ray (at most {PROCESSES})",
                param,
                ctx,
            )
        return int(text)


@command.command(name="run")
@click.argument("grid_file", metavar="GRID", type=click.Path(path_type=Path))
@click.option(
    "--output", required=True, metavar="FOLDER", type=click.Path(path_type=Path), help="The results folder."
)
@click.option("--dry-run", is_flag=True, help="Only show how many cells there are and how long they take.")
@click.option(
    "--workers",
    metavar="N|ray",
    type=_Workers(),
    default=1,
    show_default=True,
    help="How many cells run at once, or ray for a Ray cluster.",
)
@click.option(
    "--cpus-per-cell",
    type=PROCESSORS,
    default=1.0,
    show_default=True,
    help="Ray: processors for each cell.",
)
@click.option(
    "--gpus-per-cell",
    type=DEVICES,
    default=0.0,
    show_default=True,
    help="Ray: GPUs for each cell.",
)
@voice_options
def run(
    grid_file: Path,
    output: Path,
    dry_run: bool,
    workers: int | str,
    cpus_per_cell: float,
    gpus_per_cell: float,
) -> None:
    """Run the cells of the grid in the YAML file GRID.

    Each cell is saved when it ends. The same command continues where it was stopped, and retries failed
    cells. With --workers ray the cells run on the Ray cluster at RAY_ADDRESS, or on a local one.
    """
    voice()  # whose options may be wrong
    try:
        from musclelora.benchmark.marked_yaml import load_yaml

        spare_the_hub(*_names(load_yaml(grid_file).value, grid_file.parent))
        from musclelora.benchmark import estimate
        from musclelora.benchmark.grid import load_grid
        from musclelora.benchmark.plan import plan
        from musclelora.benchmark.runner import bf16_in, run_cells
        from musclelora.benchmark.store import finished_rows, open_store
    except ModuleNotFoundError as error:
        raise UsageError(f"benchmark: no package {error.name}; expected it installed; {_INSTALL}") from error

    grid = load_grid(grid_file)
    bf16 = bf16_in(output, grid)
    cells = plan(grid, bf16=bf16)
    sizes = estimate.sizes_of(cells)
    costs = estimate.costs(cells, sizes)
    if dry_run:
        _forecast(output, cells, sizes, costs, finished_rows(output, [cell.id for cell in cells]), workers)
        return
    start = _start(workers, cpus_per_cell, gpus_per_cell)
    with open_store(output, grid_file, grid, cells, bf16=bf16) as store:
        todo = [cell for cell in cells if not store.is_done(cell.id)]
        tell(f"{grid.name}: {len(cells)} cells, {len(cells) - len(todo)} of them finished before")
        with voice().stage("cells", sum(costs[cell.id] for cell in todo), "") as bar:
            counts = run_cells(cells, store, start, costs=costs, say=tell, advance=bar.advance)
    done(results=str(output), **{name: int(counts[name]) for name in ("run", "done", "failed")})
    failed = f", {counts['failed']} failed (the same command tries them again)" if counts["failed"] else ""
    click.echo(f"{counts['run']} cells run: {counts['done']} of {len(cells)} done{failed}")
    click.echo(f"written to {output}/results.csv and {output}/results.parquet")
    if counts["failed"] and not counts["done"]:
        first = next(str(row["error"]) for row in store.rows.values() if row.get("status") == "failed")
        raise TrainingError(
            f"{grid_file}: all {counts['failed']} cells failed, the first with: {cut(first)}; mend what it "
            "says and run the same command again"
        )


def _names(value: Any, folder: Path) -> list[str]:
    """The texts in a grid that may be names on the hub."""
    entries: list[Any] = [value]
    if isinstance(value, dict):
        for key in ("data", "attacks", "defenses"):
            entries += value[key] if isinstance(value.get(key), list) else []
    found: list[Any] = []
    for entry in entries:
        for key in _MAY_BE_ON_THE_HUB if isinstance(entry, dict) else ():
            given = entry.get(key)
            found += given if isinstance(given, list) else [given]
    return [name for name in found if isinstance(name, str) and not (folder / name).exists()]


def _start(workers: int | str, cpus: float, gpus: float) -> Start:
    from musclelora.benchmark.cell import run_cell

    if workers == "ray":
        from musclelora.benchmark.ray_workers import check_resources, connect, ray_rows

        connect()
        check_resources(cpus, gpus)
        return functools.partial(_called, ray_rows, {"cpus": cpus, "gpus": gpus, "work": run_cell})
    from musclelora.benchmark.local_workers import local_rows

    return functools.partial(_called, local_rows, {"workers": workers, "work": run_cell})


def _called(
    rows: Callable[..., Iterator[Row]], options: dict[str, Any], cells: Any, kept: Path
) -> Iterator[Row]:
    return rows(cells, kept=kept, **options)


def _forecast(
    output: Path,
    cells: Sequence[Cell],
    sizes: Mapping[str, Sizes],
    costs: Mapping[str, float],
    rows: Mapping[str, Row],
    workers: int | str,
) -> None:
    """Print what a run would do and how long that takes."""
    from musclelora.benchmark.estimate import START, from_finished, seconds_per_row
    from musclelora.benchmark.runner import shown_time

    todo = [cell for cell in cells if rows.get(cell.id, {}).get("status") != "done"]
    oracles = sum(cell.defense is None for cell in cells)
    click.echo(f"cells     {len(cells):,}, {oracles:,} of them oracles")
    for name, size in sizes.items():
        click.echo(
            f"data      {printable(name)}: {size.train:,} training rows, {size.test:,} clean and up to "
            f"{size.triggered:,} triggered test rows"
        )
    failed = sum(row.get("status") == "failed" for row in rows.values())
    click.echo(f"finished  {len(cells) - len(todo):,} in {output}, {failed:,} failed and will be tried again")
    if not todo:
        return
    known = from_finished(cells, rows)
    unknown = [cell for cell in todo if cell.id not in known]
    units = dict.fromkeys((cell.model for cell in unknown), 0.0)
    for model in units:
        cell = next(cell for cell in unknown if cell.model == model)
        units[model] = seconds_per_row(cell, sizes)
    seconds = {cell.id: known.get(cell.id) or START + costs[cell.id] * units[cell.model] for cell in todo}
    by_label: dict[str, list[float]] = {}
    for cell in todo:
        by_label.setdefault(cell.label, []).append(seconds[cell.id])
    for label, taken in by_label.items():
        click.echo(
            f"  {printable(label):<24} {len(taken):>4} cells, {shown_time(sum(taken) / len(taken)):>7} each"
        )
    total = sum(seconds.values())
    how = "from cells that are finished" if not unknown else "from a few training steps on this machine"
    click.echo(f"estimate  about {shown_time(total)} one cell at a time, within a factor of 2: {how}")
    if isinstance(workers, int) and workers > 1:
        click.echo(
            f"          {workers} workers share this machine's cores: {shown_time(total / workers)} at best"
        )
