"""One training run of a classifier, from tables to a run folder: prepare, audit, choose, train."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from transformers import TrainerCallback

from musclelora.adapter import DEFAULT_MODEL, Backbone
from musclelora.adapter.copies import Backbones
from musclelora.adapter.presets import PRESETS, Preset, preset_for
from musclelora.audit.judgement import Judgement
from musclelora.audit.judges import AUTO, judge_model
from musclelora.audit.trusted_models import TRUSTED_ONLY
from musclelora.data.splits import stratified_split
from musclelora.data.summary import summarize
from musclelora.data.table import Table, fingerprint
from musclelora.data.trusted import check_same_labels, check_trainable, check_trusted, no_trusted
from musclelora.errors import DataError, UsageError
from musclelora.hashes import digest_of_values
from musclelora.outputs import check_output, read_from
from musclelora.purification.auto import REPEATS
from musclelora.purification.balance import BalanceCallback, no_better_than_trusted
from musclelora.purification.decide import CHOSEN, decide
from musclelora.purification.methods import DEFAULT, Method
from musclelora.purification.prepare import Decided, Plan, Request, Say
from musclelora.purification.run import Run, load_run
from musclelora.purification.run_folder import RunFolder
from musclelora.purification.run_training import train_run
from musclelora.training.hardware import free_memory
from musclelora.training.trainer import MuScleTrainer

_HELD_OUT = 0.25
# Training the backbone itself wants a smaller step than training an adapter.
_FULL: Final[Mapping[str, Any]] = {"learning_rate": 5e-5, "num_train_epochs": 3}


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
        audit=judgement,
        judge=judge,
        confirm=confirm,
        progress=progress or say,
    )
    plan = LabelsPlan(request, say)
    train_run(plan, resume=resume, overwrite=overwrite, callbacks=callbacks or [])
    del plan  # and the models in it
    free_memory()
    return load_run(folder)


class LabelsPlan(Plan[Table]):
    """A run of classification.

    Attributes:
        backbones: of the model; the one to train is among them.
        judge: of the model that says what rows mean, where rows are audited here and it is not the backbone.
    """

    ways = ("auto", "dev", "trusted", "last")
    what = "texts"

    def _check(self) -> None:
        request = self.request
        train, trusted, judgement = request.train, request.trusted, request.audit
        check_trainable(train)
        check_same_labels(train, trusted=trusted, dev=request.dev)
        if trusted is not None:
            check_trusted(train, trusted)
        elif request.method.needs_trusted or request.select_best == "trusted":
            raise no_trusted()
        if judgement is None:
            return
        if not request.method.shortcuts:
            raise UsageError(
                f"--audit: found with --method {request.method.name}, which takes none; "
                "leave it out, or choose the default"
            )
        wrong = judgement.misfit(train)
        if wrong is not None:
            raise UsageError(f"--audit: {wrong}; name an audit of these rows")

    def _selection(self) -> tuple[Table | None, Table | None, str]:
        request, method, trusted = self.request, self.request.method, self.request.trusted
        unseen = method.judges and (not method.chooses or request.early_stopping is not None)
        by_default = request.select_best == "auto" and request.dev is None and unseen
        if trusted is None or not (by_default or request.select_best == "trusted"):
            return super()._selection()
        if method.judges:
            return trusted, trusted, "trusted"
        held_out = max(round(_HELD_OUT * len(trusted)), trusted.num_classes)
        classes = len(np.unique(trusted.labels))
        if len(trusted) - held_out < classes:
            raise DataError(
                f"{trusted.source}: {len(trusted)} trusted rows are too few to hold {held_out} of them out; "
                "add rows, or choose --select-best last"
            )
        trusted, dev = stratified_split(trusted, [len(trusted) - held_out, held_out], seed=request.seed)
        return trusted, dev, "trusted"

    def _load(self) -> Backbone:
        self.backbones = Backbones(self.request.model)
        return self.backbones.kept(self.request.train.label_names, **self.loading)

    def _preset(self) -> Preset:
        name = self.request.preset
        if name == "auto":
            return preset_for(self.backbone.model.config, aligned=self.request.method.alignment)
        known = [name for name, preset in PRESETS.items() if preset.scale_factors]  # generation's has none
        if name == "published":
            raise UsageError(
                "--preset: found 'published', expected a backbone's settings; the published method is "
                "--method musclelora"
            )
        if name not in known:
            raise UsageError(f"--preset: found {name!r}, expected auto or one of {', '.join(known)}")
        return PRESETS[name]

    def _metric(self) -> str | None:
        if self.select_best == "trusted" and self.request.method.judges:
            # Some hundred rows tell two epochs apart by their loss before they do by their accuracy.
            return "calibrated_loss"
        return None if self.select_best == "last" else "accuracy"

    def _arguments(self) -> dict[str, Any]:
        method = self.request.method
        defaults = {} if method.low_rank else dict(_FULL)
        if method.trusted_only:
            defaults |= TRUSTED_ONLY
        return {**defaults, **self.request.arguments}

    def _named(self) -> dict[str, Any]:
        return {**super()._named(), "preset": self.request.preset}

    def _further(self) -> dict[str, Any]:
        request = self.request
        self.judge: Backbones | None = None
        if request.method.shortcuts and request.audit is None:
            judge, line = judge_model(request.judge, request.model, request.train.texts)
            self.say(line)
            self.judge = None if judge == request.model else Backbones(judge)
        asked = {**request.adapter, **request.arguments}
        return {
            **({"judge": self.judge.model} if self.judge is not None else {}),
            **({"trusted_repeats": REPEATS} if self.teaches else {}),
            **({"audit": digest_of_values(request.audit.to_dict())} if request.audit is not None else {}),
            "given": sorted(CHOSEN & {name for name, value in asked.items() if value is not None}),
        }

    @property
    def teaches(self) -> bool:
        """Whether the trusted rows are trained on with the others."""
        return self.request.method.chooses and self.select_best != "trusted"

    def sha256(self, rows: Table) -> str | None:
        """The hash of texts and labels."""
        return fingerprint(rows)

    def summary(self, rows: Table) -> dict[str, Any]:
        """Counts of a table."""
        return summarize(rows).to_dict()

    def decide(self, place: RunFolder, *, resume: bool) -> Decided[Table]:
        """See :func:`~musclelora.purification.decide.decide`."""
        return decide(self, place, resume=resume)

    def trainer(self, decided: Decided[Table], callbacks: list[TrainerCallback]) -> MuScleTrainer:
        """One that takes the odds out of the loss, and warns of the balance."""
        aligned = self.request.method.alignment
        if aligned:
            callbacks = [*callbacks, BalanceCallback(self.say, self.args.min_trusted_loss or 0.0)]
        return MuScleTrainer(
            self.backbones.take(self.request.train.label_names, **self.loading),
            self.args,
            train_dataset=decided.rows,
            trusted_dataset=self.trusted if aligned else None,
            eval_dataset=self.dev,
            train_offsets=decided.offsets,
            peft_config=decided.config,
            preset=self.preset,
            callbacks=callbacks,
        )

    def about(self, decided: Decided[Table]) -> dict[str, Any]:
        """What the trusted rows decided, and the labels."""
        automatic = decided.automatic
        names = list(self.request.train.label_names)
        return {"auto": automatic.to_dict() if automatic else None, "label_names": names}

    def compare(self, decided: Decided[Table], result: Mapping[str, Any]) -> None:
        """Warn where the model of the training rows is no better than models of trusted rows alone."""
        if decided.automatic is None or self.trusted is None or self.judge is not None:
            return  # a stronger judge's models say nothing of this backbone's
        judgement, finished = decided.automatic.judgement, self.select_best == "trusted"
        warning = no_better_than_trusted(
            result["best_accuracy"] if finished else judgement.recheck_accuracy,
            judgement.trusted_accuracy,
            len(self.trusted),
            finished=finished,
        )
        if warning:
            self.say(warning)
