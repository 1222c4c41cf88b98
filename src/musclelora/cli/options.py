"""Options that several commands share, and printing."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from musclelora import limits
from musclelora.cli.voice import note, voice
from musclelora.data.summary import summarize
from musclelora.data.table import Table
from musclelora.errors import UsageError

if TYPE_CHECKING:
    from musclelora.purification.methods import Method

Command = TypeVar("Command", bound=Callable[..., Any])


class Numbers(click.FloatRange):
    """Finite numbers of a range; click's own lets NaN through, which no bound holds back."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse one value; click reports what is out of range."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is no number of the range {self._describe_range()}.", param, ctx)
        return number


# The range of every numeric option: a value beyond it is refused by the option, before anything is read.
SEED = click.IntRange(0, limits.SEED)
ROWS = click.IntRange(1, limits.ROWS)
RANK = click.IntRange(1, limits.RANK)
BATCH = click.IntRange(1, limits.BATCH)
TOKENS = click.IntRange(1, limits.TOKENS)
TEXT_TOKENS = click.IntRange(2, limits.TOKENS)
STEPS = click.IntRange(1, limits.STEPS)
EPOCHS = Numbers(0, limits.EPOCHS, min_open=True)
FIRST_EPOCH = Numbers(0, limits.EPOCHS)
LEARNING_RATE = Numbers(0, limits.RATE, min_open=True)
NORM = Numbers(0, limits.RATE)
STRENGTH = Numbers(0, limits.STRENGTH, min_open=True)
LOSS = Numbers(0, limits.STRENGTH)
SHARE = Numbers(0, 1)
DROPOUT = Numbers(0, 1, max_open=True)
COST = Numbers(0, 1000, min_open=True)
TRIALS = click.IntRange(1, limits.TRIALS)
SECONDS = Numbers(0, limits.SECONDS, min_open=True)
SEEDS = click.IntRange(1, limits.SEEDS)
SPECTRUM_ROWS = click.IntRange(1, limits.SPECTRUM_ROWS)
SIGMAS = click.IntRange(1, limits.NUMBERS)
PROCESSORS = Numbers(0, limits.PROCESSES, min_open=True)
DEVICES = Numbers(0, limits.PROCESSES)


class Floats(click.ParamType):  # type: ignore[type-arg]
    """Numbers separated by commas; an empty text is an empty list."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[float]:
        """Parse one value; click reports what is not a number."""
        if isinstance(value, list):
            return value
        parts = value.replace(",", " ").split()
        if len(parts) > limits.NUMBERS:
            self.fail(f"found {len(parts):,} numbers, expected at most {limits.NUMBERS}", param, ctx)
        try:
            return [float(part) for part in parts]
        except ValueError:
            self.fail(f"found {value!r}, expected numbers separated by commas, such as 1,4,8", param, ctx)


class Name(click.ParamType):  # type: ignore[type-arg]
    """A name that is not blank: a blank one would be taken for none, or for the folder that one is in."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse what holds no name."""
        if not str(value).strip():
            self.fail(f"found {value!r}, expected a name; give one, or leave the option out", param, ctx)
        return str(value)


class Words(click.ParamType):  # type: ignore[type-arg]
    """Names separated by commas."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:  # noqa: ARG002
        """Parse one value."""
        return (
            value if isinstance(value, list) else [part for part in value.replace(",", " ").split() if part]
        )


def table_options(command: Command) -> Command:
    """Which columns and split of a table hold the texts and labels."""
    for option in (
        click.option("--split", help="Split of a folder or hub data set, such as train or test-clean."),
        click.option("--label-column", help="Column of the labels.  [default: label, category, class, …]"),
        click.option("--text-column", help="Column of the texts.  [default: text, sentence, content, …]"),
    ):
        command = option(command)
    return command


def show_table(name: str, table: Table) -> None:
    """Print the summary of what was read."""
    note(name)
    for line in summarize(table).lines():
        note(f"  {line}")


def flush_denormals() -> None:
    """Have the processor take numbers too small for a normalised float for zero, in all of this process.

    A model that is sure of a row sends back gradients below 1e-38, and a CPU computes with those many times
    slower. Threads inherit the setting, so it comes before torch starts any.
    """
    import torch

    torch.set_flush_denormal(True)


@contextlib.contextmanager
def progress_bar(what: str, rows: int) -> Iterator[Callable[[int], object]]:
    """A bar on standard error, where that is a terminal; yields what to call with the rows just done."""
    with voice().stage(what, rows) as bar:
        yield bar.advance


def at_most_one(**options: object) -> None:
    """Raise unless at most one of the options was given."""
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)}: found together, expected one of them; leave one out")


def given(**options: Any) -> dict[str, Any]:
    """The options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


JUDGE = click.option(
    "--judge",
    type=Name(),
    help="Judge of what rows mean: auto (the strongest installed), backbone, or a model.  [default: auto]",
)
"""Of commands that audit rows."""


def named_judge(judge: str | None) -> str | None:
    """The model that a ``--judge`` names; None where it names none."""
    return None if judge in (None, "auto", "backbone") else judge


MODEL_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--dtype",
        help="Type of the backbone's weights: float32 or bfloat16. Trained weights stay float32.",
    ),
    click.option("--quantize", help="Quantise the backbone's weights: nf4 or int8 (bitsandbytes)."),
    click.option("--attn-implementation", help="Attention: sdpa, eager or flash_attention_2."),
    click.option("--bf16", is_flag=True, default=None, help="Use bfloat16 autocast."),
    click.option("--gradient-checkpointing", is_flag=True, help="Use less memory and more time."),
)
"""How a backbone is held in memory and computed with."""


def run_settings(*, early_stopping: int | None, **options: Any) -> dict[str, Any]:
    """What a training run takes of a command's options, by name of the parameter."""
    return {**adapter_and_arguments(**options), "early_stopping": early_stopping}


def adapter_and_arguments(**options: Any) -> dict[str, dict[str, Any]]:
    """The options that were given, as fields of the adapter's configuration and of the training arguments."""
    from musclelora.purification.run import ADAPTER_FIELDS  # which imports torch

    found = given(**options)
    if found.pop("gradient_checkpointing", False):
        found["activation_checkpointing"] = True
    if found.get("multiscale_modules") == ["all-adapted"]:
        found["multiscale_modules"] = "all-adapted"
    return {
        "adapter": {name: value for name, value in found.items() if name in ADAPTER_FIELDS},
        "arguments": {name: value for name, value in found.items() if name not in ADAPTER_FIELDS},
    }


_ALIGNMENT = (
    "alignment_rule",
    "max_raw_ratio",
    "mix_from_epoch",
    "min_trusted_loss",
    "trusted_batch_size",
    "trusted_every",
    "gradient_passes",
)


def check_alignment(method: Method, options: dict[str, Any]) -> None:
    """Raise where an option of the alignment is given to a method that aligns nothing."""
    found = [f"--{name.replace('_', '-')}" for name in _ALIGNMENT if options.get(name) is not None]
    if found and not method.alignment:
        raise UsageError(
            f"{', '.join(found)}: found with --method {method.name}, which aligns no gradient; leave it out, "
            "or choose --method musclelora"
        )
