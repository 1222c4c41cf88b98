"""One training run of generation, from pairs to a run folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from transformers import TrainerCallback

from musclelora.adapter import DEFAULT_DECODER, Backbone, load_causal_backbone
from musclelora.adapter.presets import NARROW_DECODER, Preset
from musclelora.audit.answers import AnswerAudit
from musclelora.audit.answers.folder import SavedAnswerAudit
from musclelora.audit.answers.judge import check_responses
from musclelora.data.pairs import Pairs, joined
from musclelora.data.trusted import no_trusted
from musclelora.errors import DataError, ModelError, UsageError
from musclelora.generation.trainer import INSTRUCTION, GenerationTrainer
from musclelora.launched import process_count
from musclelora.outputs import check_output, read_from
from musclelora.purification.methods import DEFAULT, Method
from musclelora.purification.prepare import Decided, Plan, Request, Say
from musclelora.purification.run import GENERATE, RUN, GenerationRun, load_generation_run
from musclelora.purification.run_folder import RunFolder
from musclelora.purification.run_training import train_run
from musclelora.training.hardware import free_memory
from musclelora.training.processes import on_first

NARROW_RATE: Final = 5e-4
"""The learning rate of LoRA on a decoder narrower than GPT2-XL: that of labels (docs/presets.md)."""
_OF_AUDIT: Final = ("bf16", "max_length", "use_cpu", "dtype", "quantize", "attn_implementation")
_NAMED = 100  # triggers that a run keeps for its card


def train_generator(
    output: str | os.PathLike[str],
    *,
    train: Pairs,
    trusted: Pairs | None,
    dev: Pairs | None = None,
    model: str = DEFAULT_DECODER,
    method: Method = DEFAULT,
    adapter: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    select_best: str = "auto",
    early_stopping: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: list[TrainerCallback] | None = None,
    audit: AnswerAudit | SavedAnswerAudit | None = None,
    confirm: bool = True,
    say: Say = lambda _: None,
    progress: Say | None = None,
) -> GenerationRun:
    """Train a language model on prompts and responses, and keep it in a run folder.

    Under ``"purify"`` the pairs are audited first; the planted ones are left out, and LoRA is trained on the
    others and the trusted pairs.

    The settings are those published for instruction tuning (the preset ``instruction``), whatever the method,
    but for what is asked; a decoder narrower than those of the paper hardly moves at its learning rate, and
    takes :data:`NARROW_RATE` under ``"purify"``. There is no multi-scale layer unless ``scale_factors`` and
    ``multiscale_modules`` are asked of the adapter.

    Args:
        output: the run folder.
        train: the pairs that may be poisoned.
        trusted: pairs that were checked; methods without alignment can do without.
        dev: clean pairs to choose the best epoch by.
        model: an embedded decoder, a hub name or a folder.
        method: which levers to pull: see :data:`~musclelora.purification.methods.METHODS`.
        adapter: fields of :class:`~musclelora.adapter.MuScleLoraConfig` to set.
        arguments: fields of :class:`~musclelora.training.MuScleTrainingArguments` to set.
        select_best: what chooses the epoch to keep: ``"dev"``, the loss of the responses of `dev`;
            ``"last"``; ``"auto"``: dev where there are such pairs, else last.
        early_stopping: stop after so many evaluations without a better one.
        resume: go on with the run in `output`; a finished one is returned as it is.
        overwrite: replace the run in `output`.
        callbacks: the Trainer's.
        audit: of these training pairs, where the method takes one; None: they are audited here.
        confirm: put the triggers that are found here to the test.
        say: called with lines of text about what is decided.
        progress: called with what an audit finds here, as it is found; None: `say`.

    Raises:
        DataError, ModelError, OutputError, TrainingError, UsageError: each says what to do.
    """
    folder, adapter = Path(output), dict(adapter or {})
    check_output(folder, read_from(train, trusted, dev, model=model), folder=True)
    multiscale = bool(adapter.get("scale_factors"))  # there is no layer of its own for it
    request = Request(
        folder=folder,
        train=train,
        trusted=trusted,
        dev=dev,
        model=model,
        method=replace(method, multiscale=multiscale, train_output_layer=None),
        adapter=adapter,
        arguments=dict(arguments or {}),
        select_best=select_best,
        early_stopping=early_stopping,
        audit=audit,
        confirm=confirm,
        progress=progress or say,
    )
    plan = PairsPlan(request, say)
    train_run(plan, resume=resume, overwrite=overwrite, callbacks=callbacks or [])
    del plan  # and the model in it
    free_memory()
    return load_generation_run(folder)


class PairsPlan(Plan[Pairs]):
    """A run of generation."""

    ways = ("auto", "dev", "last")
    what = "responses"

    def __init__(self, request: Request[Pairs], say: Say) -> None:
        super().__init__(request, say)
        self._found: dict[str, Any] | None = None
        if request.audit is not None:
            self.settings["audit"] = request.audit.facts()
        if "per_device_eval_batch_size" not in request.arguments:
            self.args.per_device_eval_batch_size = int(self.args.per_device_train_batch_size or 1)

    def _check(self) -> None:
        request, method = self.request, self.request.method
        if request.trusted is None and (method.alignment or method.trusted_only):
            raise no_trusted("about 32 pairs")
        if method.shortcuts and not method.chooses:
            raise UsageError(
                "--shortcuts: found with the task generate, whose pairs have no labels; expected it left "
                "out, or --method purify, which audits pairs"
            )
        if request.audit is not None and not method.shortcuts:
            raise UsageError(f"audit: found with --method {method.name}, which takes none; leave it out")
        if method.shortcuts:
            check_responses(request.train)
        if method.multiscale and not request.adapter.get("multiscale_modules"):
            raise UsageError(
                "--scale-factors: found without --multiscale-modules, expected the layers that get the "
                "multi-scale layer; name them (all-adapted: the attention projections), or leave both out"
            )
        if not method.multiscale and request.adapter.get("multiscale_modules"):
            raise UsageError(
                "--multiscale-modules: found without --scale-factors, expected scale factors such as "
                "1,2,3,4; give them, or leave both out"
            )

    def _load(self) -> Backbone:
        return load_causal_backbone(self.request.model, **self.loading)

    def _preset(self) -> Preset:
        return INSTRUCTION

    def _metric(self) -> str | None:
        return None if self.select_best == "last" else "loss"

    def _arguments(self) -> dict[str, Any]:
        asked = self.request.arguments
        # The logits of a vocabulary take more memory than those of some classes.
        size = asked.get("per_device_train_batch_size", INSTRUCTION.batch_size)
        values = {"per_device_eval_batch_size": size, **asked}
        width = int(getattr(self.backbone.model.config, "hidden_size", NARROW_DECODER))
        if self.request.method.chooses and width < NARROW_DECODER and asked.get("learning_rate") is None:
            values["learning_rate"] = NARROW_RATE
        return values

    def _named(self) -> dict[str, Any]:
        return {"task": GENERATE, **super()._named()}

    def _further(self) -> dict[str, Any]:
        return {}

    def sha256(self, rows: Pairs) -> str | None:
        """The hash of prompts and responses."""
        return rows.sha256()

    def summary(self, rows: Pairs) -> dict[str, Any]:
        """How many pairs there are and how long."""
        return rows.summary()

    def decide(self, place: RunFolder, *, resume: bool) -> Decided[Pairs]:  # noqa: ARG002
        """Leave planted pairs out, and put the trusted ones in."""
        request, train = self.request, self.rows
        if request.method.shortcuts:
            found = self._looked() if place.info is None else _kept(place.info, len(train), place.work / RUN)
            if process_count() > 1:  # rounding may differ between devices
                found = on_first(lambda: found)
            self._found = found
            rows = train.select(np.setdiff1d(np.arange(len(train)), found["left_out"]))
            if not len(rows):
                raise DataError(
                    f"{train.source}: the audit leaves no pair to train on, expected some that are not "
                    "planted; see which and why with musclelora audit --task generate"
                )
            self.rows = rows if self.trusted is None else joined(rows, self.trusted)
        return Decided(self.rows, self.config, self.args.learning_rate)

    def _looked(self) -> dict[str, Any]:
        """What an audit says of the pairs: one that was given, or one that is made now."""
        request = self.request
        asked = request.arguments
        audit = (
            request.audit
            or AnswerAudit(
                request.train,
                request.trusted,
                model=request.model,
                seed=self.args.seed,
                confirm=bool(request.confirm),
                arguments={name: asked[name] for name in _OF_AUDIT if asked.get(name) is not None},
                say=request.progress,
            ).find_issues()
        )
        dropped = np.flatnonzero(audit.actions == "drop").tolist()
        self.say(f"audit        {str(audit.verdict).splitlines()[0]}")
        self.say(f"audit        left out: {len(dropped):,} of {len(request.train):,} pairs")
        return {
            "verdict": audit.verdict.to_dict(),
            "left_out": dropped,
            "triggers": [
                {name: str(one[name]) for name in ("text", "label", "what")}
                for one in audit.triggers.head(_NAMED).to_dict("records")
                if one["what"] != "natural"
            ],
        }

    def trainer(self, decided: Decided[Pairs], callbacks: list[TrainerCallback]) -> GenerationTrainer:
        """One whose loss is of the responses."""
        return GenerationTrainer(
            self.backbone,
            self.args,
            train_dataset=decided.rows,
            trusted_dataset=self.trusted if self.request.method.alignment else None,
            eval_dataset=self.dev,
            peft_config=decided.config,
            callbacks=callbacks,
        )

    def about(self, decided: Decided[Pairs]) -> dict[str, Any]:  # noqa: ARG002
        """The task, and what an audit found."""
        return {"task": GENERATE, "audit": self._found}


def _kept(info: Mapping[str, Any], count: int, file: Path) -> dict[str, Any]:
    """What a run that is gone on with had found of its pairs."""
    found: dict[str, Any] | None = info.get("audit")
    if found is None or any(row >= count for row in found["left_out"]):
        what = "nothing" if found is None else "a row that there is not"
        raise ModelError(
            f"{file}: audit: found {what}, expected what was found of the pairs; restore it or pass "
            "--overwrite"
        )
    return found
