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
from musclelora.cli.rows import ROW_OPTIONS, PairSources, Rows, Sources
from musclelora.cli.tasks import CLASSIFY, GENERATE, PAIR_COLUMNS, Work, dispatch, pair_options, task_option
from musclelora.cli.voice import done, note, tell, voice, voice_options
from musclelora.data.table import Table
from musclelora.errors import UsageError
from musclelora.outputs import check_output

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from musclelora.audit.answers import SavedAnswerAudit
    from musclelora.audit.judgement import Judgement
    from musclelora.data.pairs import Pairs
    from musclelora.purification import GenerationRun, Method, Run


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


_PRESETS = (None, "auto", "instruction")


def train_options(command: Command) -> Command:
    """The options of a training run, which are the arguments of :func:`train_labels`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_WORKS = {
    CLASSIFY: Work("musclelora.cli.train:train_labels", PAIR_COLUMNS),
    GENERATE: Work(
        "musclelora.cli.train:train_pairs",
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


def train_labels(*, watch: Callable[[Table], list[TrainerCallback]] | None = None, **options: Any) -> None:
    """Train a classifier, as the options of :func:`train_options` say.

    `watch` gives callbacks for the Trainer, from the training rows.
    """
    _train(Rows, _audited_labels, _classifier, watch=watch, **options)


def train_pairs(*, preset: str | None, multiscale: bool | None, **options: Any) -> None:
    """Train a language model, as the options of :func:`train_options` say."""
    if preset not in _PRESETS:
        raise UsageError(
            f"--preset: found {preset!r} with --task generate, expected instruction, the published settings; "
            "leave it out"
        )
    if multiscale and not options["scale_factors"]:
        raise UsageError(
            "--multiscale: found without --scale-factors and --multiscale-modules, expected both, as a "
            "language model has no layer of its own for it; give them, or leave it out"
        )
    at_most_one(no_multiscale=multiscale is False, scale_factors=options["scale_factors"])
    _train(PairSources, _audited_pairs, _generator, multiscale=multiscale, preset=preset, **options)


def _train(
    rows: type[Sources],
    audited: Callable[..., tuple[Any, Any]],
    fit: Callable[..., Any],
    *,
    dev: str | None,
    select_best: str,
    model: str | None,
    preset: str | None,
    output: str,
    audit: str | None,
    confirm: bool | None,
    resume: bool,
    overwrite: bool,
    seed: int,
    judge: str | None = None,
    watch: Callable[[Any], list[TrainerCallback]] | None = None,
    **options: Any,
) -> None:
    """Train as the options of the command say, and print what is read, decided and found.

    `rows` are those of the task; `audited` gives them and what an audit in a folder found of them; `fit`
    trains, with what the task has of its own.
    """
    voice()  # whose options may be wrong
    source = rows.taken_from(options)
    at_most_one(resume=resume, overwrite=overwrite)
    model = model or source.model
    spare_the_hub(*source.names, dev, model, named_judge(judge))
    train = source.read_train()
    trusted = source.read(source.trusted, train) if source.trusted else None
    dev_rows = source.read(dev, train) if dev else None

    from musclelora.adapter.loading import loading_options
    from musclelora.training.progress import TrainingProgress

    flush_denormals()
    method = _method(options)
    if confirm is not None and (audit or not method.shortcuts):
        raise UsageError(f"--{'' if confirm else 'no-'}confirm: found where no audit is made; leave it out")
    if judge is not None and (audit or not method.shortcuts):
        raise UsageError("--judge: found where no audit is made; leave it out")
    taken, rest = source.take_trusted(train, model, seed, **loading_options(options))
    trusted = trusted if taken is None else taken
    if dev_rows is None and rest is not None and len(rest) and select_best in ("auto", "dev"):
        dev_rows = rest
        others = f"{len(rest):,} other rows of {source.trusted_from}"
        note(f"the best epoch is chosen by {source.chosen_by} on the {others}")
    if trusted is not None:
        source.show_trusted(train, trusted)
    found = None
    if audit:
        check_output(output, [audit], folder=True)
        train, found = audited(audit, train, trusted)
    run = fit(
        output,
        found,
        train=train,
        trusted=trusted,
        dev=dev_rows,
        model=model,
        method=method,
        preset=preset,
        judge=judge,
        select_best=select_best,
        resume=resume,
        overwrite=overwrite,
        callbacks=[TrainingProgress(voice()), *(watch(train) if watch else ())],
        confirm=confirm,
        say=note,
        progress=tell,
        **run_settings(seed=seed, **options),
    )
    _show(run, output)


def _method(options: dict[str, Any]) -> Method:
    """What ``--method`` and the levers say, which are removed from a command's options."""
    from musclelora.purification.methods import get_method

    levers = {name: options.pop(name, None) for name in ("low_rank", "multiscale", "alignment", "shortcuts")}
    method = get_method(options.pop("method") or "purify", **levers)
    check_alignment(method, options)
    return method


def _show(run: Run | GenerationRun, output: str) -> None:
    result, accuracy, best = run.info["result"], run.info["result"]["best_accuracy"], ""
    if accuracy is not None:
        best = f", accuracy {accuracy:.3f} at step {result['best_step']}"
    elif run.info["settings"]["select_best"] != "last":
        best = f"; step {result['best_step']} is kept"
    click.echo(f"trained {result['steps']} steps in {result['seconds']:.0f} s{best}")
    done(run=output, **{name: value for name, value in result.items() if value is not None})
    click.echo(f"the run is in {output}; go on with musclelora evaluate, predict or export {output}")


def _classifier(
    output: str, judgement: Judgement | None, *, preset: str | None, judge: str | None, **options: Any
) -> Run:
    from musclelora.purification import train_classifier

    return train_classifier(
        output, judgement=judgement, preset=preset or "auto", judge=judge or "auto", **options
    )


def _generator(
    output: str,
    audit: SavedAnswerAudit | None,
    *,
    preset: str | None,  # noqa: ARG001
    judge: str | None,  # noqa: ARG001
    confirm: bool | None,
    **options: Any,
) -> GenerationRun:
    from musclelora.purification import train_generator

    return train_generator(output, audit=audit, confirm=confirm is not False, **options)


def _audited_labels(audit: str, train: Table, trusted: Table | None) -> tuple[Table, Judgement]:
    """The rows with the labels that a person decided, and what an audit found of them."""
    from musclelora.audit import read_audit
    from musclelora.purification.api import check_audited

    found = read_audit(audit)
    if trusted is not None:
        check_audited(found.facts(), trusted)
    note(f"audit        {str(found.verdict).splitlines()[0]}")
    return found.labelled(train), found.judgement


def _audited_pairs(audit: str, train: Pairs, trusted: Pairs | None) -> tuple[Pairs, SavedAnswerAudit]:
    """The pairs, and what an audit found of them."""
    from musclelora.audit.answers import SavedAnswerAudit
    from musclelora.audit.saved import read_any_audit

    found = read_any_audit(audit)
    if not isinstance(found, SavedAnswerAudit):
        raise UsageError(f"--audit {audit}: found an audit of labels, expected one of pairs; audit the pairs")
    found.kept_of(train)  # or it is of others
    if trusted is not None and found.facts()["trusted"] != trusted.sha256():
        raise UsageError(
            f"audit: it was made with other trusted pairs than {trusted.source}; pass those, or audit anew"
        )
    return train, found
