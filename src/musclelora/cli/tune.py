"""``musclelora tune``."""

from __future__ import annotations

import shlex
from typing import Any

import click

from musclelora.cli.hub import spare_the_hub
from musclelora.cli.options import (
    BATCH,
    EPOCHS,
    JUDGE,
    LEARNING_RATE,
    MODEL_OPTIONS,
    RANK,
    SECONDS,
    SEED,
    STRENGTH,
    TEXT_TOKENS,
    TRIALS,
    Command,
    Floats,
    Name,
    adapter_and_arguments,
    at_most_one,
    flush_denormals,
    named_judge,
)
from musclelora.cli.rows import ROW_OPTIONS, Rows
from musclelora.cli.terminal import printable
from musclelora.cli.voice import done, note, voice, voice_options

_OPTIONS = (
    *ROW_OPTIONS,
    click.option(
        "--model",
        type=Name(),
        default="all-minilm-l6-v2",
        show_default=True,
        help="Embedded model, hub name or folder.",
    ),
    click.option("--output", required=True, metavar="FOLDER", help="The folder to keep the search in."),
    click.option("--resume", is_flag=True, help="Continue the search in the folder, if there is one."),
    click.option("--overwrite", is_flag=True, help="Replace the search in the folder."),
    click.option(
        "--trials", type=TRIALS, default=50, show_default=True, help="How many settings to try in total."
    ),
    click.option("--timeout", type=SECONDS, metavar="SECONDS", help="Start no new trial after this time."),
    click.option("--learning-rate", type=LEARNING_RATE, help="Use this instead of searching."),
    click.option("--scale-factors", type=Floats(), help="Use these instead of searching."),
    click.option("--inner-rank", type=RANK, help="Use this instead of searching."),
    click.option("--multiscale-alpha", type=STRENGTH, help="Use this instead of searching."),
    click.option("--rank", "r", type=RANK, help="Use this instead of searching."),
    click.option(
        "--lora-alpha", type=STRENGTH, help="Use this.  [default: in proportion to the searched rank]"
    ),
    click.option(
        "--epochs",
        "num_train_epochs",
        type=EPOCHS,
        help="Use this many instead of searching.",
    ),
    click.option("--batch-size", "per_device_train_batch_size", type=BATCH, help="Rows per step."),
    click.option("--max-length", type=TEXT_TOKENS, help="Tokens per text.  [default: the model's limit]"),
    click.option("--seed", type=SEED, default=42, show_default=True, help="Random seed."),
    JUDGE,
    *MODEL_OPTIONS,
)


def _tune_options(command: Command) -> Command:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(name="tune")
@_tune_options
@voice_options
def command(
    *,
    model: str,
    judge: str | None,
    output: str,
    resume: bool,
    overwrite: bool,
    trials: int,
    timeout: float | None,
    seed: int,
    **options: Any,
) -> None:
    """Search for training settings, longer than --method purify does.

    The search covers learning rate, scale factors, ranks, strength and epochs, around the backbone's preset.
    It looks for the lowest loss on the trusted rows, which are not trained on. The best settings are printed
    as options of `musclelora train`, and kept in best.json.
    """
    voice()  # whose options may be wrong
    source = Rows.taken_from(options)
    at_most_one(resume=resume, overwrite=overwrite)
    spare_the_hub(*source.names, model, named_judge(judge))
    train = source.read_train()
    rows = source.read(source.trusted, train) if source.trusted else None

    from musclelora.adapter.loading import loading_options
    from musclelora.tuning.search import load_optuna
    from musclelora.tuning.tune import tune

    optuna = load_optuna()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # what matters of it is in our own lines
    flush_denormals()
    taken, _ = source.take_trusted(train, model, seed, **loading_options(options))
    rows = rows if taken is None else taken
    if rows is not None:
        source.show_trusted(train, rows)
    found = tune(
        train,
        rows,
        folder=output,
        model=model,
        judge=judge or "auto",
        trials=trials,
        timeout=timeout,
        seed=seed,
        **adapter_and_arguments(**options),
        resume=resume,
        overwrite=overwrite,
        say=note,
    )
    words = ["musclelora", "train", "--train", source.train_file]
    for name, value in (
        ("text-column", source.text_column),
        ("label-column", source.label_column),
        ("split", source.split),
        ("max-train-rows", source.max_train_rows),
        ("trusted", source.trusted),
        ("trusted-from", source.trusted_from),
        ("trusted-size", source.trusted_size),
        ("trusted-selection", None if source.trusted_selection == "random" else source.trusted_selection),
        ("model", None if model == "all-minilm-l6-v2" else model),
        ("judge", judge),
        ("seed", None if seed == 42 else seed),
    ):
        words += [] if value is None else [f"--{name}", str(value)]
    done(search=output, options=list(map(str, found.options)))
    click.echo(f"the search is in {output}; train with what it found, and an --output:")
    click.echo(printable(shlex.join([*words, *found.options])))
