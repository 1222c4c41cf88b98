"""``musclelora tune``."""

from __future__ import annotations

import functools
import shlex
from typing import Any

import click

from musclelora.cli.hub import spare_the_hub
from musclelora.cli.options import (
    Command,
    Floats,
    at_most_one,
    flush_denormals,
    given,
    quiet_libraries,
    show_table,
)
from musclelora.cli.terminal import printable
from musclelora.cli.train import ROW_OPTIONS, report_overlap
from musclelora.data import check_trainable, load_table, select_trusted
from musclelora.errors import UsageError

_OPTIONS = (
    *ROW_OPTIONS,
    click.option(
        "--model", default="all-minilm-l6-v2", show_default=True, help="Embedded model, hub name or folder."
    ),
    click.option("--output", required=True, metavar="FOLDER", help="The folder to keep the search in."),
    click.option("--resume", is_flag=True, help="Go on with the search in the folder, if there is one."),
    click.option("--overwrite", is_flag=True, help="Replace the search in the folder."),
    click.option("--trials", type=int, default=50, show_default=True, help="Settings to try, in all."),
    click.option("--timeout", type=float, metavar="SECONDS", help="Begin no other trial after so long."),
    click.option(
        "--learning-rate", type=click.FloatRange(0, min_open=True), help="Do not search it, but take this."
    ),
    click.option("--scale-factors", type=Floats(), help="Do not search them, but take these."),
    click.option("--inner-rank", type=click.IntRange(1), help="Do not search it, but take this."),
    click.option("--multiscale-alpha", type=float, help="Do not search it, but take this."),
    click.option("--rank", "r", type=click.IntRange(1), help="Do not search it, but take this."),
    click.option("--lora-alpha", type=float, help="Take this.  [default: it follows the rank]"),
    click.option(
        "--epochs",
        "num_train_epochs",
        type=click.FloatRange(0, min_open=True),
        help="Do not search them, but take so many.",
    ),
    click.option(
        "--batch-size", "per_device_train_batch_size", type=click.IntRange(1), help="Rows per step."
    ),
    click.option(
        "--max-length", type=click.IntRange(2), help="Tokens per text.  [default: the model's limit]"
    ),
    click.option(
        "--seed", type=click.IntRange(0), default=42, show_default=True, help="Of everything random."
    ),
    click.option("--bf16", is_flag=True, default=None, help="bfloat16 autocast."),
)


def _tune_options(command: Command) -> Command:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(name="tune")
@_tune_options
def command(
    train_file: str,
    text_column: str | None,
    label_column: str | None,
    split: str | None,
    max_train_rows: int | None,
    trusted: str | None,
    trusted_from: str | None,
    trusted_size: int | None,
    trusted_selection: str,
    model: str,
    output: str,
    resume: bool,
    overwrite: bool,
    trials: int,
    timeout: float | None,
    seed: int,
    **options: Any,
) -> None:
    """Search longer than --preset auto for settings, by the trusted rows.

    Learning rate, scale factors, ranks, strength and epochs are searched around the backbone's preset for the
    lowest loss on the trusted rows, which are not trained on. The best settings are printed as options of
    `musclelora train`, and kept in best.json.
    """
    at_most_one(trusted=trusted, trusted_from=trusted_from)
    at_most_one(resume=resume, overwrite=overwrite)
    if trusted_size is not None and not trusted_from:
        raise UsageError("--trusted-size: found without --trusted-from; name the data to take the rows from")
    spare_the_hub(train_file, trusted, trusted_from, model)
    read = functools.partial(load_table, text_column=text_column, label_column=label_column)
    train = read(train_file, split=split, max_rows=max_train_rows)
    show_table("training data", train)
    check_trainable(train)
    read = functools.partial(read, label_names=train.label_names)
    rows = read(trusted) if trusted else None

    from musclelora.adapter.embed import sentence_embedder
    from musclelora.training.run import ADAPTER_FIELDS
    from musclelora.training.search import load_optuna
    from musclelora.training.tune import tune

    optuna = load_optuna()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # what matters of it is in our own lines
    quiet_libraries()
    flush_denormals()
    if trusted_from:
        rows, _ = select_trusted(
            read(trusted_from),
            trusted_size or 96,
            selection=trusted_selection,
            seed=seed,
            embed=lambda texts: sentence_embedder(model)(texts),
        )
    if rows is not None:
        show_table("trusted rows", rows)
        report_overlap(train, rows)
    options = given(**options)
    found = tune(
        train,
        rows,
        folder=output,
        model=model,
        trials=trials,
        timeout=timeout,
        seed=seed,
        arguments={k: v for k, v in options.items() if k not in ADAPTER_FIELDS},
        adapter={k: v for k, v in options.items() if k in ADAPTER_FIELDS},
        resume=resume,
        overwrite=overwrite,
        say=lambda line: click.echo(printable(line)),
    )
    words = ["musclelora", "train", "--train", train_file]
    for name, value in (
        ("text-column", text_column),
        ("label-column", label_column),
        ("split", split),
        ("max-train-rows", max_train_rows),
        ("trusted", trusted),
        ("trusted-from", trusted_from),
        ("trusted-size", trusted_size),
        ("trusted-selection", None if trusted_selection == "random" else trusted_selection),
        ("model", None if model == "all-minilm-l6-v2" else model),
        ("seed", None if seed == 42 else seed),
    ):
        words += [] if value is None else [f"--{name}", str(value)]
    click.echo(f"the search is in {output}; train with what it found, and an --output:")
    click.echo(printable(shlex.join([*words, *found.options])))
