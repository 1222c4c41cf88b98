"""``musclelora train``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from musclelora.cli.hub import spare_the_hub
from musclelora.cli.options import (
    BATCH,
    DROPOUT,
    EPOCHS,
    FIRST_EPOCH,
    JUDGE,
    LEARNING_RATE,
    LOSS,
    MODEL_OPTIONS,
    NORM,
    RANK,
    SEED,
    SHARE,
    STEPS,
    STRENGTH,
    TEXT_TOKENS,
    Command,
    Floats,
    Name,
    Words,
    at_most_one,
    check_alignment,
    flush_denormals,
    named_judge,
    run_settings,
)
from musclelora.cli.rows import ROW_OPTIONS, Rows, show_trusted
from musclelora.cli.tasks import CLASSIFY, GENERATE, PAIR_COLUMNS, Work, dispatch, pair_options, task_option
from musclelora.cli.voice import done, note, tell, voice, voice_options
from musclelora.data.table import Table
from musclelora.errors import UsageError
from musclelora.outputs import check_output

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from musclelora.audit.judgement import Judgement


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    *ROW_OPTIONS,
    click.option("--dev", metavar="DATA", type=Name(), help="Clean rows to choose the best epoch by."),
    click.option(
        "--select-best",
        default="auto",
        show_default=True,
        help="Epoch to keep: best on dev rows (dev), best on trusted rows that are not trained on (trusted), "
        "or last. auto: dev if there are dev rows or --trusted-from leaves some, else by the method.",
    ),
    click.option(
        "--model",
        type=Name(),
        help="Embedded model, hub name or folder.  [default: all-minilm-l6-v2; generate: "
        "smollm2-135m-instruct]",
    ),
    click.option(
        "--method",
        help="purify: train on audited rows and the trusted rows. musclelora: the published method, with "
        "aligned gradients. lora, full: no defence. trusted-only: the trusted rows alone.  [default: purify]",
    ),
    click.option("--low-rank/--no-low-rank", default=None, help="Lever: train LoRA, not the whole backbone."),
    click.option("--multiscale/--no-multiscale", default=None, help="Lever: the multi-scale layer."),
    click.option(
        "--alignment/--no-alignment", default=None, help="Lever: gradients aligned to the trusted rows."
    ),
    click.option(
        "--shortcuts/--no-shortcuts",
        default=None,
        help="Lever: take out of the loss the features that labels follow but trusted rows do not explain.",
    ),
    click.option("--preset", help="Preset to use instead, by name.  [default: the backbone's own]"),
    click.option("--output", required=True, metavar="FOLDER", help="The run folder to write."),
    click.option(
        "--audit", metavar="FOLDER", type=Name(), help="An audit of these rows, by `musclelora audit`."
    ),
    JUDGE,
    click.option(
        "--confirm/--no-confirm",
        default=None,
        help="Test whether a model obeys the triggers found.  [default: if it costs less than the training]",
    ),
    click.option("--resume", is_flag=True, help="Continue the run in the output folder, if there is one."),
    click.option("--overwrite", is_flag=True, help="Replace the run in the output folder."),
    click.option("--rank", "r", type=RANK, help="Adapter: rank of the LoRA layers."),
    click.option("--lora-alpha", type=STRENGTH, help="Adapter: strength of the LoRA layers."),
    click.option("--lora-dropout", type=DROPOUT, help="Adapter: dropout before the LoRA layers."),
    click.option(
        "--target-modules", type=Words(), help="Adapter: layers that get LoRA, by the end of their names."
    ),
    click.option("--scale-factors", type=Floats(), help="Adapter: radial scale factors, such as 1,4,8."),
    click.option("--inner-rank", type=RANK, help="Adapter: rank per scale factor."),
    click.option("--multiscale-alpha", type=STRENGTH, help="Adapter: strength of the multi-scale layer."),
    click.option(
        "--multiscale-modules",
        type=Words(),
        help="Adapter: layers that get the multi-scale layer, by the end of their names, or all-adapted.",
    ),
    click.option(
        "--train-output-layer/--freeze-output-layer",
        default=None,
        help="Adapter: train or freeze the output layer.",
    ),
    click.option("--epochs", "num_train_epochs", type=EPOCHS, help="Passes over the data."),
    click.option("--learning-rate", type=LEARNING_RATE, help="Peak learning rate."),
    click.option("--batch-size", "per_device_train_batch_size", type=BATCH, help="Rows per step."),
    click.option("--gradient-accumulation-steps", type=BATCH, help="Batches per update."),
    click.option("--max-grad-norm", type=NORM, help="Clip gradients to this norm.  [default: 1]"),
    click.option("--max-length", type=TEXT_TOKENS, help="Tokens per text.  [default: the model's limit]"),
    click.option(
        "--early-stopping",
        type=STEPS,
        help="Stop after this many evaluations without an improvement.",
    ),
    click.option(
        "--save-steps", type=STEPS, help="Evaluate and save after this many steps, not after each epoch."
    ),
    click.option("--seed", type=SEED, default=42, show_default=True, help="Random seed."),
    *MODEL_OPTIONS,
    click.option(
        "--shard-backbone",
        is_flag=True,
        default=None,
        help="Spread the frozen weights over several processes.",
    ),
    click.option("--report-to", type=Words(), help="Trackers: tensorboard, trackio, wandb, mlflow."),
    click.option(
        "--alignment-rule",
        type=click.Choice(["project", "pcgrad"]),
        help="Alignment: project on the trusted gradient, as published, or only remove conflicts with it.",
    ),
    click.option(
        "--max-raw-ratio", type=SHARE, help="Alignment: maximum of ρ, the share of the unaligned gradient."
    ),
    click.option("--mix-from-epoch", type=FIRST_EPOCH, help="Alignment: the epoch from which ρ rises."),
    click.option(
        "--min-trusted-loss", type=LOSS, help="Alignment: ρ is 0 while the trusted loss is above this."
    ),
    click.option("--trusted-batch-size", type=BATCH, help="Alignment: trusted rows per step."),
    click.option("--trusted-every", type=STEPS, help="Alignment: steps that share a trusted gradient."),
    click.option(
        "--gradient-passes", type=click.Choice(["auto", "one", "two"]), help="Alignment: passes per step."
    ),
)


_MODEL, _METHOD = "all-minilm-l6-v2", "purify"


def train_options(command: Command) -> Command:
    """The options of a training run, which are the arguments of :func:`train_model`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_WORKS = {
    CLASSIFY: Work("musclelora.cli.train:train_model", PAIR_COLUMNS),
    GENERATE: Work(
        "musclelora.cli.generation.train:run",
        (
            "text_column",
            "label_column",
            "trusted_selection",
            "shortcuts",
            "train_output_layer",
            "judge",
        ),
    ),
}


@click.command(name="train")
@task_option
@train_options
@pair_options(response=True)
@voice_options
def command(task: str, **options: Any) -> None:
    """Train a clean model on data that may be poisoned.

    DATA is a CSV, TSV, JSONL or Parquet file, an OpenBackdoor file or folder, a data set folder, or the name
    of a data set on the Hugging Face hub.
    """
    dispatch(_WORKS, task, options)


def train_model(
    *,
    dev: str | None,
    select_best: str,
    model: str | None,
    method: str | None,
    low_rank: bool | None,
    multiscale: bool | None,
    alignment: bool | None,
    shortcuts: bool | None,
    preset: str | None,
    output: str,
    audit: str | None,
    judge: str | None,
    confirm: bool | None,
    resume: bool,
    overwrite: bool,
    seed: int,
    watch: Callable[[Table], list[TrainerCallback]] | None = None,
    **options: Any,
) -> None:
    """Train as the options of :func:`train_options` say, and print what is read, decided and found.

    `watch` gives callbacks for the Trainer, from the training rows.
    """
    voice()  # whose options may be wrong
    source = Rows.taken_from(options)
    at_most_one(resume=resume, overwrite=overwrite)
    model = model or _MODEL
    spare_the_hub(*source.sources, dev, model, named_judge(judge))
    train = source.read_train()
    rows = source.read(source.trusted, train) if source.trusted else None
    dev_rows = source.read(dev, train) if dev else None

    from musclelora.adapter.loading import loading_options
    from musclelora.purification.methods import get_method
    from musclelora.purification.train import train_classifier
    from musclelora.training.progress import TrainingProgress

    flush_denormals()
    pulled = get_method(
        method or _METHOD, low_rank=low_rank, multiscale=multiscale, alignment=alignment, shortcuts=shortcuts
    )
    check_alignment(pulled, options)
    if confirm is not None and (audit or not pulled.shortcuts):
        raise UsageError(f"--{'' if confirm else 'no-'}confirm: found where no audit is made; leave it out")
    if judge is not None and (audit or not pulled.shortcuts):
        raise UsageError("--judge: found where no audit is made; leave it out")
    taken, rest = source.take_trusted(train, model, seed, **loading_options(options))
    rows = rows if taken is None else taken
    if dev_rows is None and rest is not None and len(rest) and select_best in ("auto", "dev"):
        dev_rows = rest
        note(f"the best epoch is chosen by accuracy on the {len(rest):,} other rows of {source.trusted_from}")
    if rows is not None:
        show_trusted(train, rows)
    train, judgement = _audited(audit, train, rows, output) if audit else (train, None)
    run = train_classifier(
        output,
        judgement=judgement,
        judge=judge or "auto",
        train=train,
        trusted=rows,
        dev=dev_rows,
        model=model,
        method=pulled,
        preset=preset or "auto",
        select_best=select_best,
        resume=resume,
        overwrite=overwrite,
        callbacks=[TrainingProgress(voice()), *(watch(train) if watch else ())],
        confirm=confirm,
        say=note,
        progress=tell,
        **run_settings(seed=seed, **options),
    )
    result, accuracy = run.info["result"], run.info["result"]["best_accuracy"]
    best = f", accuracy {accuracy:.3f} at step {result['best_step']}" if accuracy is not None else ""
    click.echo(f"trained {result['steps']} steps in {result['seconds']:.0f} s{best}")
    done(run=output, **{name: value for name, value in result.items() if value is not None})
    click.echo(f"the run is in {output}; go on with musclelora evaluate, predict or export {output}")


def _audited(audit: str, train: Table, trusted: Table | None, output: str) -> tuple[Table, Judgement]:
    """The rows with the labels that a person decided, and what an audit found of them."""
    from musclelora.audit import read_audit
    from musclelora.purification.api import check_audited

    check_output(output, [audit], folder=True)
    found = read_audit(audit)
    if trusted is not None:
        check_audited(found.facts(), trusted)
    note(f"audit        {str(found.verdict).splitlines()[0]}")
    return found.labelled(train), found.judgement
