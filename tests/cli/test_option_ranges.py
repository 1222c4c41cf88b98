"""Every number that a command takes has a range, and the option itself refuses what is beyond."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from tiny_runs import Cli

from musclelora.cli.main import cli as commands
from musclelora.cli.options import Numbers


def parameters(command: click.Command, name: str) -> Iterator[tuple[str, click.Parameter]]:
    """Every parameter of a command and of those below it, with the words that lead to it."""
    for parameter in command.params:
        yield f"{name} {parameter.opts[0]}", parameter
    if isinstance(command, click.Group):
        context = click.Context(command)
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None
            yield from parameters(found, f"{name} {below}".strip())


ALL = dict(parameters(commands, ""))
NUMBERS = {
    name: parameter.type
    for name, parameter in ALL.items()
    if isinstance(parameter.type, click.types.IntParamType | click.types.FloatParamType)
}


def test_the_walk_reaches_the_commands() -> None:
    assert {
        "train --seed",
        "tune --trials",
        "spectrum train --spectrum-rows",
        "demo --seeds",
    } <= NUMBERS.keys()
    assert len(NUMBERS) > 60


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_has_a_range(name: str) -> None:
    kind = NUMBERS[name]
    assert isinstance(kind, click.IntRange | Numbers), "click's FloatRange lets NaN through"
    assert None not in (kind.min, kind.max)
    assert not kind.clamp
    for beyond in (kind.min - 1, kind.max + 1 if kind.max < 1e30 else "1e39"):
        with pytest.raises(click.BadParameter):
            kind.convert(str(beyond), None, None)
    for text in ("nan", "inf", "-inf", "9" * 5000, ""):
        with pytest.raises(click.BadParameter):
            kind.convert(text, None, None)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--seed", 2**32),
        ("--rank", 10**9),
        ("--inner-rank", 10**9),
        ("--batch-size", 10**9),
        ("--max-train-rows", 10**30),
        ("--epochs", 10**18),
        ("--learning-rate", "nan"),
        ("--scale-factors", ",".join(["1"] * 10_000)),
        ("--model", ""),
    ],
)
def test_a_value_out_of_range_is_one_line_that_names_the_option(
    option: str, value: object, cli: Cli, arguments: list[object], tmp_path: Path
) -> None:
    code, out, err = cli(*arguments, option, value, "--output", tmp_path / "run")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert option in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", ["1025", "9" * 5000, "²"])
def test_workers_have_a_range(workers: str, cli: Cli, tmp_path: Path) -> None:
    code, _, err = cli("benchmark", "run", "grid.yaml", "--output", tmp_path, "--workers", workers)
    assert (code, err.count("\n")) == (2, 1)
    assert "expected a number of processes from 1" in err
