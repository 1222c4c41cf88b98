"""One training run of a classifier, from tables to a run folder: prepare, audit, choose, train."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import EarlyStoppingCallback, TrainerCallback, set_seed

from musclelora.adapter import DEFAULT_MODEL
from musclelora.audit.judgement import Judgement
from musclelora.audit.judges import AUTO
from musclelora.data.summary import summarize
from musclelora.data.table import Table
from musclelora.outputs import check_output, read_from
from musclelora.purification.balance import BalanceCallback, no_better_than_trusted
from musclelora.purification.decide import Decided, decide
from musclelora.purification.methods import DEFAULT, Method
from musclelora.purification.prepare import Plan, Request, prepare
from musclelora.purification.run import (
    CHECKPOINTS,
    Run,
    adapter_settings,
    check_backbone,
    load_run,
    preset_values,
)
from musclelora.purification.run_folder import RunFolder, open_run_folder
from musclelora.purification.run_training import say_truncated, train_in
from musclelora.training.hardware import free_memory
from musclelora.training.processes import on_first
from musclelora.training.trainer import MuScleTrainer

Say = Callable[[str], object]


def train_classifier(
    output: str | os.PathLike[str],
    *,
    train: Table,
    trusted: Table | None,
    dev: Table | None = None,
    model: str = DEFAULT_MODEL,
    method: Method = DEFAULT,
    adapter: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    preset: str = "auto",
    select_best: str = "auto",
    early_stopping: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: list[TrainerCallback] | None = None,
    judgement: Judgement | None = None,
    judge: str = AUTO,
    confirm: bool | None = False,
    say: Say = lambda _: None,
    progress: Say | None = None,
) -> Run:
    """Train a classifier and keep it in a run folder.

    Args:
        output: the run folder.
        train: the rows that may be poisoned.
        trusted: rows that were checked, with the label names of `train`; ``"lora"`` and ``"full"`` need none.
        dev: clean rows to choose the best epoch by.
        model: an embedded model, a hub name or a folder.
        method: which levers to pull: see :data:`~musclelora.purification.methods.METHODS`.
        adapter: fields of :class:`~musclelora.adapter.MuScleLoraConfig` to set.
        arguments: fields of :class:`~musclelora.training.MuScleTrainingArguments` to set.
        preset: the settings that others leave open: ``"auto"``, the backbone's own, or a preset by name.
        select_best: what chooses the epoch to keep: ``"dev"``, its accuracy on `dev`; ``"trusted"``, the loss
            of the trusted rows where they judge (and are not trained on), else the accuracy on a quarter of
            them, which is held out; ``"last"``; ``"auto"``: dev where there are such rows, else trusted where
            they judge and ``"purify"`` does not train on them (for `early_stopping`), else last.
        early_stopping: stop after so many evaluations without a better one.
        resume: go on with the run in `output`; a finished one is returned as it is.
        overwrite: replace the run in `output`.
        callbacks: the Trainer's.
        judgement: what an audit of these training rows found (:attr:`musclelora.Audit.judgement`), where the
            method takes one; None: the rows are audited here.
        judge: what says what rows mean, where they are audited here: see :mod:`musclelora.audit.judges`.
        confirm: put the triggers that are found here to the test; None: where it costs less than training.
        say: called with lines of text about what is decided.
        progress: called with what an audit finds here, as it is found; None: `say`.

    Raises:
        DataError, ModelError, OutputError, TrainingError, UsageError: each says what to do.
    """
    folder = Path(output)
    check_output(folder, read_from(train, trusted, dev, model=model), folder=True)
    request = Request(
        folder=folder,
        train=train,
        trusted=trusted,
        dev=dev,
        model=model,
        method=method,
        adapter=dict(adapter or {}),
        arguments=dict(arguments or {}),
        preset=preset,
        select_best=select_best,
        early_stopping=early_stopping,
        judgement=judgement,
        judge=judge,
        confirm=confirm,
        progress=progress or say,
    )
    _run(prepare(request, say), resume=resume, overwrite=overwrite, callbacks=callbacks or [], say=say)
    free_memory()
    return load_run(folder)


def _run(plan: Plan, *, resume: bool, overwrite: bool, callbacks: list[TrainerCallback], say: Say) -> None:
    """Audit, choose and train in the run folder, unless it holds this run, finished."""
    folder = plan.request.folder
    with open_run_folder(folder, plan.settings, resume=resume, overwrite=overwrite) as place:
        if place.is_finished:
            say(f"{folder} holds this run, finished: nothing to do")
            return
        if place.info is not None:
            check_backbone(place.work, place.info, plan.backbone)
        decided = decide(plan, place, resume=resume, say=say)
        _train(plan, decided, place, resume=resume, callbacks=callbacks, say=say)


def _train(
    plan: Plan,
    decided: Decided,
    place: RunFolder,
    *,
    resume: bool,
    callbacks: list[TrainerCallback],
    say: Say,
) -> None:
    """Train what was decided, and finish the run in its folder."""
    request, args = plan.request, plan.args
    args.output_dir = str(place.work / CHECKPOINTS)
    args.learning_rate = decided.learning_rate
    extra: list[TrainerCallback] = []
    if request.early_stopping:
        extra.append(EarlyStoppingCallback(request.early_stopping))
    if request.method.alignment:
        extra.append(BalanceCallback(say, args.min_trusted_loss or 0.0))
    set_seed(request.seed)
    trainer = MuScleTrainer(
        plan.backbones.take(request.train.label_names, **plan.loading),
        args,
        train_dataset=decided.rows,
        trusted_dataset=plan.trusted if request.method.alignment else None,
        eval_dataset=plan.dev,
        train_offsets=decided.offsets,
        peft_config=decided.config,
        preset=plan.preset,
        callbacks=[*callbacks, *extra],
    )
    say_truncated(trainer, "texts", say)
    info = _info(plan, decided, trainer)
    outcome = train_in(place, trainer, info, resume=resume, say=say)
    if decided.automatic is not None:
        _compare(plan, decided, outcome["result"]["best_accuracy"], say)
    on_first(lambda: place.finish({**info, "status": "finished", **outcome}))


def _info(plan: Plan, decided: Decided, trainer: MuScleTrainer) -> dict[str, Any]:
    """What ``run.json`` says while the run is trained."""
    backbone = trainer.backbone
    return {
        "status": "training",
        "settings": plan.settings,
        "model": {
            "name": plan.request.model,
            "revision": backbone.revision,
            "sha256": backbone.sha256,
            **plan.loading,
        },
        "preset": preset_values(plan.preset),
        "adapter": adapter_settings(decided.config),
        "auto": decided.automatic.to_dict() if decided.automatic else None,
        "label_names": list(plan.rows.label_names),
        "max_length": trainer.max_length,
        "truncated": trainer.truncated,
        "data": {
            name: summarize(table).to_dict() for name, table in plan.tables.items() if table is not None
        },
    }


def _compare(plan: Plan, decided: Decided, best_accuracy: float | None, say: Say) -> None:
    """Warn where the model of the training rows is no better than models of trusted rows alone."""
    if decided.automatic is None or plan.trusted is None or plan.judge is not None:
        return  # a stronger judge's models say nothing of this backbone's
    judgement, finished = decided.automatic.judgement, plan.select_best == "trusted"
    warning = no_better_than_trusted(
        best_accuracy if finished else judgement.recheck_accuracy,
        judgement.trusted_accuracy,
        len(plan.trusted),
        finished=finished,
    )
    if warning:
        say(warning)
