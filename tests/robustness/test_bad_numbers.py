"""Numbers that no option can mean: of every command, every option that takes one."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import click
import pytest
from table import Case

# Each is refused for its missing table (or output) if the number is not refused first, so that none of them
# runs: what is out of range ends with 2, what is in range with the other code.
COMMANDS = {
    "train": ("train --train gone.csv --trusted trusted.csv --model model --output out", 3),
    "tune": ("tune --train gone.csv --trusted trusted.csv --model model --output out", 3),
    "spectrum train": ("spectrum train --train gone.csv --trusted trusted.csv --model model --output out", 3),
    "predict": ("predict run gone.csv", 3),
    "evaluate": ("evaluate run --clean gone.csv", 3),
    "poison": ("poison gone.csv --attack addsent --rate 0.1 --target good --output out.csv", 3),
    "benchmark run": ("benchmark run gone.yaml --output out", 2),
    "demo": ("demo --output train.csv/demo", 6),
    "audit": ("audit gone.csv --trusted trusted.csv --model model --output out", 3),
    "explain": ("explain train.csv", 6),
}
WHOLE_NUMBERS = click.types.IntParamType
NUMBERS = (WHOLE_NUMBERS, click.types.FloatParamType)
WHOLE = ("-1", "0", "1000000000", f"{10**18}", f"{10**30}", "nan", "inf", "many", "''", "1.5")
REAL = ("-1", "0", "1e18", "1e30", "1e400", "nan", "inf", "-inf", "many", "''", "1,5")
# What no number here can be, whatever its range.
NEVER = {f"{10**30}", "nan", "inf", "many", "''", "1.5", "1e400", "-inf", "1,5"}


def numeric(name: str) -> Iterator[click.Option]:
    """The options of a command that take a number, or numbers."""
    first, *rest = name.split()
    command: Any = importlib.import_module(f"musclelora.cli.{first}").command
    for word in rest:
        command = command.get_command(click.Context(command), word)
    for parameter in command.params:
        shared = first == "spectrum" and not parameter.name.startswith("spectrum_")  # with train
        if isinstance(parameter, click.Option) and isinstance(parameter.type, NUMBERS) and not shared:
            yield parameter


def cases() -> Iterator[Case]:
    for name, (command, other) in COMMANDS.items():
        for option in numeric(name):
            whole = isinstance(option.type, WHOLE_NUMBERS)
            for value in WHOLE if whole else REAL:
                code: int | tuple[int, ...] = (2, other)
                if value in NEVER or below(option.type, value):
                    code = 2
                # With = a value that begins with a dash is no other option.
                yield Case(f"{name} {option.opts[0]} {value}", f"{command} {option.opts[0]}={value}", code)


def below(kind: Any, value: str) -> bool:
    """Whether the option itself says that the value is too low."""
    if getattr(kind, "min", None) is None or value not in ("-1", "0"):
        return False
    return float(value) < kind.min or (kind.min_open and float(value) == kind.min)


TRAIN = "train --train train.csv --trusted trusted.csv --model model --method musclelora --output out"
SPECTRUM = f"spectrum {TRAIN}"
TUNE = "tune --train train.csv --trusted trusted.csv --model model --output out"
POISON = "poison train.csv --target good --output out.csv"

CASES = [
    *cases(),
    Case("a seed above 32 bits", f"{TRAIN} --seed 4294967296", 2, says="--seed"),
    Case("more rows than numbers", f"{TRAIN} --max-train-rows {10**30}", 2, says="--max-train-rows"),
    Case("a rank of a billion", f"{TRAIN} --rank 1000000000", 2, says="--rank"),
    Case("an inner rank of a billion", f"{TRAIN} --inner-rank 1000000000", 2, says="--inner-rank"),
    Case("batches of a billion billion", f"{TRAIN} --batch-size {10**18}", 2, says="--batch-size"),
    Case("epochs without end", f"{TRAIN} --epochs {10**18}", 2, says="--epochs"),
    Case("scale factors of 0", f"{TRAIN} --scale-factors 0", 2, says="scale"),
    Case("scale factors that are no numbers", f"{TRAIN} --scale-factors nan,inf", 2, says="scale"),
    Case("scale factors that are words", f"{TRAIN} --scale-factors one,two", 2, says="--scale-factors"),
    Case("too many scale factors", f"{TRAIN} --scale-factors {','.join(['1'] * 50_000)}", 2),
    Case("scale factors below 0", f"{TUNE} --scale-factors=-1", 2, says="scale"),
    Case("a billion trials", f"{TUNE} --trials {10**18}", 2, says="--trials"),
    Case("a billion sigmas", f"{SPECTRUM} --spectrum-sigma-count 1000000000", 2, says="sigma-count"),
    Case("sigmas that are no numbers", f"{SPECTRUM} --spectrum-sigmas nan", 2, says="sigma"),
    Case("sigmas below 0", f"{SPECTRUM} --spectrum-sigmas=-1,2", 2, says="sigma"),
    Case("a cost that is no number", f"{SPECTRUM} --spectrum-max-cost nan", 2, says="cost"),
    Case("a billion words", f"{POISON} --attack badnets:count=1000000000 --rate 0.1", 2, says="count"),
    Case("a number of words with 5,000 digits", f"{POISON} --attack badnets:count={'9' * 5000} --rate 1", 2),
    Case("words below none", f"{POISON} --attack badnets:count=-1 --rate 0.1", 2, says="count"),
    Case("words that are no number", f"{POISON} --attack badnets:count=nan --rate 0.1", 2, says="count"),
    Case("a rate above 1", f"{POISON} --attack addsent --rate 1.5", 2, says="--rate"),
    Case("a rate below 0", f"{POISON} --attack addsent --rate=-0.1", 2, says="--rate"),
    Case("a rate that is no number", f"{POISON} --attack addsent --rate nan", 2, says="--rate"),
    Case("rates for more attacks", f"{POISON} --attack addsent --rate 0.1 --rate 0.2", 2, says="--rate"),
    Case(
        "rates above 1 together", f"{POISON} --attack addsent --attack badnets --rate 0.9 --rate 0.9", (2, 3)
    ),
    Case("no workers", "benchmark run grid.yaml --output out --workers 0", 2, says="--workers"),
    Case(
        "workers without end", f"benchmark run grid.yaml --output out --workers {10**30}", 2, says="--workers"
    ),
    Case(
        "workers that are a word", "benchmark run grid.yaml --output out --workers many", 2, says="--workers"
    ),
    Case("demo seeds without end", f"demo --output out --seeds {10**18}", 2, says="--seeds"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_numbers_out_of_range_are_refused(case: Case, check: Any) -> None:
    check(case)
