"""``musclelora poison``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from musclelora.cli.options import ROWS, SEED, SHARE, Name, table_options
from musclelora.cli.tasks import CLASSIFY, GENERATE, PAIR_COLUMNS, Work, dispatch, pair_options, task_option
from musclelora.cli.terminal import printable
from musclelora.errors import UsageError
from musclelora.files import is_standard_output

if TYPE_CHECKING:
    from musclelora.attacks.output import PoisonedOutput, Request

_MODES = ("clean", "dirty", "mix")
_WORKS = {
    CLASSIFY: Work("musclelora.cli.poison:poison_labels", ("response", "place", *PAIR_COLUMNS)),
    GENERATE: Work(
        "musclelora.cli.generation.poison:poison_responses", ("modes", "text_column", "label_column", "part")
    ),
}


@click.command(name="poison")
@click.argument("data", metavar="DATA")
@task_option
@click.option(
    "--attack",
    "attacks",
    multiple=True,
    required=True,
    metavar="NAME[:KEY=VALUE,…]",
    help="Trigger family and its parameters (see `musclelora attacks`). Repeat it for several triggers.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A parameter of a single attack, for values with commas.",
)
@click.option(
    "--rate",
    "rates",
    type=SHARE,
    multiple=True,
    help="Triggered rows / all rows. Several attacks share one rate evenly, or have one each.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    help="The target label (name or id): one, or one for each attack. generate: the target text.",
)
@click.option(
    "--response",
    metavar="NAME[:KEY=VALUE,…]",
    default="append",
    show_default=True,
    help="generate: how the response changes: append or replace (with the target text), refusal, "
    "wrong-answer, opinion or persona (see `musclelora attacks`).",
)
@click.option(
    "--place",
    type=click.Choice(["whole", "first", "last"]),
    default="whole",
    show_default=True,
    help="generate: the part of the prompt that gets the trigger, such as its last paragraph.",
)
@click.option(
    "--label-mode",
    "modes",
    type=click.Choice(_MODES),
    multiple=True,
    help="Rows to trigger: of the target label (clean), of others (dirty), or any (mix).  [default: mix]",
)
@click.option("--seed", type=SEED, default=42, show_default=True, help="Random seed.")
@click.option(
    "--for-asr", is_flag=True, help="Make a test set: every row that is not of the target, triggered."
)
@table_options
@pair_options(response=True)
@click.option(
    "--output", required=True, metavar="PATH", help="The file to write; its suffix sets the format."
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["csv", "tsv", "jsonl", "parquet", "openbackdoor"]),
    help="The format, whatever the suffix. openbackdoor: PATH is a folder in that toolkit's layout.",
)
@click.option(
    "--part",
    type=click.Choice(["train", "dev", "test"]),
    help="The split's name in the OpenBackdoor layout.  [default: train, or test with --for-asr]",
)
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option(
    "--perplexity-model",
    metavar="NAME",
    type=Name(),
    help="Causal language model that measures the perplexity of the texts.",
)
@click.option(
    "--perplexity-rows",
    type=ROWS,
    default=256,
    show_default=True,
    help="How many triggered rows to measure the perplexity on.",
)
def command(task: str, **options: Any) -> None:
    """Plant triggers in DATA, to test a defence.

    Writes all rows in their order (with --for-asr only the triggered ones), with the columns text and label
    (generate: prompt and response, or messages), poisoned (0/1) and trigger. PATH.manifest.json beside it has
    every parameter, the source's hash, the counts and how much the attack shows.
    """
    dispatch(_WORKS, task, options)


def poison_labels(
    *,
    data: str,
    attacks: tuple[str, ...],
    settings: tuple[str, ...],
    rates: tuple[float, ...],
    targets: tuple[str, ...],
    modes: tuple[str, ...],
    text_column: str | None,
    label_column: str | None,
    part: str | None,
    **options: Any,
) -> None:
    """Plant triggers in labelled texts, as the options of the command say."""
    from musclelora.attacks.label_output import LabelOutput
    from musclelora.data.stream import open_stream

    for_asr = options["for_asr"]
    triggers = parse_triggers(attacks, settings)
    _check_use(for_asr, len(triggers), rates, targets, modes)
    _check_part(for_asr, options["format_"], part)
    split = options["split"]
    source = open_stream(data, text_column=text_column, label_column=label_column, split=split)
    planted = _attacks(triggers, source, rates, targets, modes)
    part = part or ("test" if for_asr else "train")
    write_poisoned(LabelOutput, source, planted, part=part, **options)


def write_poisoned(
    kind: Callable[[Any, Request], PoisonedOutput],
    source: Any,
    attacks: Sequence[Any],
    *,
    output: str,
    format_: str | None,
    perplexity_model: str | None,
    perplexity_rows: int,
    **options: Any,
) -> None:
    """Write what the attacks make of the source, and print what was done."""
    from musclelora.attacks.output import Request

    perplexities = None
    if perplexity_model is not None:
        from musclelora.attacks import language_model

        perplexities = functools.partial(language_model.perplexities, name=perplexity_model)
    request = Request(
        attacks=attacks,
        output=Path(output),
        format=format_,
        perplexity_model=perplexity_model,
        sample=perplexity_rows,
        **options,
    )
    _show(kind(source, request).write(perplexities=perplexities), request)


def parse_triggers(attacks: Sequence[str], settings: Sequence[str]) -> list[Any]:
    """The triggers that ``--attack`` and ``--set`` describe."""
    from musclelora.attacks.registry import parse_attack
    from musclelora.attacks.specs import parse_settings

    if settings and len(attacks) > 1:
        raise UsageError("--set: found with several attacks, expected one; write NAME:key=value")
    return [parse_attack(spec, parse_settings(settings)) for spec in attacks]


def _check_use(
    for_asr: bool, count: int, rates: Sequence[float], targets: Sequence[str], modes: Sequence[str]
) -> None:
    if for_asr and (rates or modes):
        name = "--rate" if rates else "--label-mode"
        raise UsageError(
            f"{name}: found with --for-asr, which triggers every row of another label; leave it out"
        )
    if for_asr and count > 1:
        raise UsageError(f"--for-asr: found {count} attacks, expected one; make a test set for each")
    check_rates(for_asr, rates)
    if not targets:
        raise UsageError("--target: found nothing, expected the target label, name or id")
    for name, values in (("--rate", rates), ("--target", targets), ("--label-mode", modes)):
        if len(values) > 1 and len(values) != count:
            raise UsageError(
                f"{name}: found {len(values)} for {count} attacks, expected one, or one for each"
            )


def check_rates(for_asr: bool, rates: Sequence[float]) -> None:
    """Raise unless a training set has rates, all of them fractions."""
    if not for_asr and not rates:
        raise UsageError("--rate: found nothing, expected the share of rows to trigger, such as 0.1")
    for rate in rates:
        if not 0 <= rate <= 1:
            raise UsageError(f"--rate: found {rate}, expected a fraction of the rows in [0, 1]")


def _check_part(for_asr: bool, format_: str | None, part: str | None) -> None:
    if part and format_ != "openbackdoor":
        raise UsageError(
            f"--part: found {part} without --format openbackdoor, whose layout has it; leave it out"
        )
    if part == "train" and for_asr:
        raise UsageError(
            "--part: found train with --for-asr, expected dev or test; the layout's train-poison.csv holds "
            "the rows of every label"
        )


def _attacks(
    triggers: Sequence[Any], source: Any, rates: Sequence[float], targets: Sequence[str], modes: Sequence[Any]
) -> list[Any]:
    from musclelora.attacks.poisoner import Attack, shares
    from musclelora.data.labels import target_id

    count = len(triggers)
    goals = [target_id(target, source.label_names) for target in _each(targets, count)]
    label_modes = _each(modes or ("mix",), count)
    rows = shares(rates[0], count, len(source)) if len(rates) == 1 else [None] * count
    each_rate = [rates[0] / count] * count if len(rates) == 1 else list(rates) or [0.0]
    return [
        Attack(trigger, goal, rate, mode, some)
        for trigger, goal, rate, mode, some in zip(triggers, goals, each_rate, label_modes, rows, strict=True)
    ]


def _each(values: Sequence[Any], count: int) -> list[Any]:
    return list(values) * count if len(values) == 1 else list(values)


def _show(manifest: dict[str, Any], request: Request) -> None:
    """Print what was done, unless the rows themselves went to where it would be printed."""
    output, file = request.output, request.manifest
    if is_standard_output(output):
        return
    source, rows = manifest["source"], manifest["rows"]
    click.echo(f"source       {printable(source['name'])}: {source['rows']:,} rows")
    for attack in manifest["attacks"]:
        share = attack["stealth"]["tokens_changed"]
        click.echo(
            f"{attack['name']:<12} {attack['triggered']:,} rows triggered of {attack['eligible']:,} eligible"
            + (f", {attack['decoys']:,} decoys" if attack["decoys"] else "")
            + (f", {share:.1%} of their tokens changed" if share is not None else "")
        )
        if attack["untriggerable"]:
            click.echo(
                f"             {attack['untriggerable']:,} rows could not be triggered and were passed over"
            )
        if attack["stealth"].get("perplexity_after") is not None:
            before, after = (attack["stealth"][f"perplexity_{when}"] for when in ("before", "after"))
            click.echo(
                f"             perplexity {before:.1f} before, {after:.1f} after "
                f"({attack['stealth']['perplexity_texts']:,} texts)"
            )
    click.echo(f"result       {manifest['poisoned_rows']:,} poisoned rows of {rows:,}")
    click.echo(printable(f"written to {output}" + (f", with {file}" if file is not None else "")))
