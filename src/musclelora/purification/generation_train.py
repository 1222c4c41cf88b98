"""One training run of generation, from pairs to a run folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from transformers import EarlyStoppingCallback, TrainerCallback, set_seed

from musclelora.adapter import DEFAULT_DECODER, Backbone, MuScleLoraConfig, load_causal_backbone
from musclelora.adapter.loading import loading_options
from musclelora.adapter.presets import NARROW_DECODER
from musclelora.audit.answers import AnswerAudit
from musclelora.audit.answers.folder import SavedAnswerAudit
from musclelora.audit.answers.judge import check_responses
from musclelora.data.model_source import from_anywhere
from musclelora.data.pairs import Pairs, joined
from musclelora.errors import DataError, ModelError, UsageError
from musclelora.generation.trainer import INSTRUCTION, GenerationTrainer
from musclelora.launched import process_count
from musclelora.outputs import check_output, read_from
from musclelora.purification.methods import DEFAULT, LEVERS, Method
from musclelora.purification.run import (
    CHECKPOINTS,
    GENERATE,
    RUN,
    GenerationRun,
    adapter_settings,
    check_backbone,
    load_generation_run,
    preset_values,
)
from musclelora.purification.run_folder import RunFolder, open_run_folder
from musclelora.purification.run_training import deciding, folder_arguments, say_truncated, train_in
from musclelora.training.arguments import MuScleTrainingArguments
from musclelora.training.hardware import free_memory
from musclelora.training.processes import meet, on_first, rows_per_process

SELECT_BEST = ("auto", "dev", "last")
NARROW_RATE: Final = 5e-4
"""The learning rate of LoRA on a decoder narrower than GPT2-XL: that of labels (docs/presets.md)."""
_OF_AUDIT: Final = ("bf16", "max_length", "use_cpu", "dtype", "quantize", "attn_implementation")
_NAMED = 100  # triggers that a run keeps for its card
Say = Callable[[str], object]


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
    folder = Path(output)
    check_output(folder, read_from(train, trusted, dev, model=model), folder=True)
    _check(method, train, trusted, audit)
    plan = _prepare(
        folder, (train, trusted, dev), model, method, adapter, arguments, select_best, early_stopping
    )
    if audit is not None:
        plan.settings["audit"] = audit.facts()
    say(f"preset       {INSTRUCTION.name}: {INSTRUCTION.source}")
    with open_run_folder(folder, plan.settings, resume=resume, overwrite=overwrite) as place:
        if place.is_finished:
            say(f"{folder} holds this run, finished: nothing to do")
            return load_generation_run(folder)
        if place.info is not None:
            check_backbone(place.work, place.info, plan.backbone)
        stopping = [EarlyStoppingCallback(early_stopping)] if early_stopping else []
        if method.shortcuts:
            _leave_out(plan, place, audit, confirm=confirm, say=say, progress=progress or say)
        _train(plan, place, resume=resume, callbacks=[*(callbacks or []), *stopping], say=say)
        del plan
    free_memory()
    return load_generation_run(folder)


def _check(
    method: Method, train: Pairs, trusted: Pairs | None, audit: AnswerAudit | SavedAnswerAudit | None
) -> None:
    """Refuse what the method cannot work with, before anything is loaded."""
    if trusted is None and (method.alignment or method.trusted_only):
        raise DataError(
            "--trusted: no trusted set was given; expected about 32 pairs that were checked; "
            "pass --trusted FILE or --trusted-from FILE"
        )
    if method.shortcuts and not method.chooses:
        raise UsageError(
            "--shortcuts: found with the task generate, whose pairs have no labels; expected it left out, or "
            "--method purify, which audits pairs"
        )
    if audit is not None and not method.shortcuts:
        raise UsageError(f"audit: found with --method {method.name}, which takes none; leave it out")
    if method.shortcuts:
        check_responses(train)


@dataclass
class _Plan:
    """A training run whose folder can be opened; see :class:`~musclelora.purification.prepare.Plan`."""

    model: str
    loading: dict[str, Any]
    backbone: Backbone
    config: MuScleLoraConfig
    args: MuScleTrainingArguments
    alignment: bool
    tables: dict[str, Pairs | None]
    settings: dict[str, Any]
    asked: dict[str, Any]
    audited: dict[str, Any] | None = None


def _prepare(
    folder: Path,
    pairs: tuple[Pairs, Pairs | None, Pairs | None],
    model: str,
    method: Method,
    adapter: Mapping[str, Any] | None,
    arguments: Mapping[str, Any] | None,
    select_best: str,
    early_stopping: int | None,
) -> _Plan:
    train, trusted, dev = pairs
    select_best, dev = _selection(select_best, dev, early_stopping)
    arguments = dict(arguments or {})
    model = from_anywhere(model)  # so that the run can be used from another folder
    set_seed(int(arguments.get("seed", 42)))
    loading = loading_options(arguments)
    meet()
    backbone = load_causal_backbone(model, **loading)
    config = _adapter_config(method, adapter or {})
    if early_stopping:
        arguments["restore_callback_states_from_checkpoint"] = True
    narrow = int(getattr(backbone.model.config, "hidden_size", NARROW_DECODER)) < NARROW_DECODER
    if method.chooses and narrow and arguments.get("learning_rate") is None:
        arguments["learning_rate"] = NARROW_RATE
    args = _trainer_arguments(folder, arguments, method, select_best)
    rows = trusted if method.trusted_only and trusted is not None else train
    tables = {"train": rows, "trusted": trusted, "dev": dev}
    settings = {
        "task": GENERATE,
        "method": method.name,
        "levers": {**{k: getattr(method, k) for k in LEVERS}, "multiscale": bool(config.scale_factors)},
        "model": model,
        "select_best": select_best,
        "early_stopping": early_stopping,
        "adapter": adapter_settings(config),
        "arguments": deciding(args),
        "data": {name: table and table.sha256() for name, table in tables.items()},
    }
    args.per_device_train_batch_size = rows_per_process(int(args.per_device_train_batch_size or 1))
    if "per_device_eval_batch_size" not in arguments:
        args.per_device_eval_batch_size = args.per_device_train_batch_size
    asked = {name: arguments[name] for name in _OF_AUDIT if arguments.get(name) is not None}
    return _Plan(model, loading, backbone, config, args, method.alignment, tables, settings, asked)


def _leave_out(
    plan: _Plan,
    place: RunFolder,
    audit: AnswerAudit | SavedAnswerAudit | None,
    *,
    confirm: bool,
    say: Say,
    progress: Say,
) -> None:
    """Leave planted pairs out of what is trained on, and put the trusted ones in."""
    train, trusted = plan.tables["train"], plan.tables["trusted"]
    assert train is not None  # noqa: S101 - narrowed
    if place.info is not None:
        plan.audited = _kept(place.info, len(train), place.work / RUN)
    else:
        if audit is None:
            audit = AnswerAudit(
                train,
                trusted,
                model=plan.model,
                seed=plan.args.seed,
                confirm=confirm,
                arguments=plan.asked,
                say=progress,
            ).find_issues()
        dropped = np.flatnonzero(audit.actions == "drop").tolist()
        say(f"audit        {str(audit.verdict).splitlines()[0]}")
        say(f"audit        left out: {len(dropped):,} of {len(train):,} pairs")
        plan.audited = {
            "verdict": audit.verdict.to_dict(),
            "left_out": dropped,
            "triggers": [
                {name: str(one[name]) for name in ("text", "label", "what")}
                for one in audit.triggers.head(_NAMED).to_dict("records")
                if one["what"] != "natural"
            ],
        }
    found = plan.audited
    if process_count() > 1:  # rounding may differ between devices
        plan.audited = found = on_first(lambda: found)
    rows = train.select(np.setdiff1d(np.arange(len(train)), found["left_out"]))
    if not len(rows):
        raise DataError(
            f"{train.source}: the audit leaves no pair to train on, expected some that are not planted; see "
            "which and why with musclelora audit --task generate"
        )
    plan.tables["train"] = rows if trusted is None else joined(rows, trusted)


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


def _train(
    plan: _Plan,
    place: RunFolder,
    *,
    resume: bool,
    callbacks: list[TrainerCallback],
    say: Callable[[str], object],
) -> None:
    """Train, and finish the run in its folder."""
    plan.args.output_dir = str(place.work / CHECKPOINTS)
    pairs = plan.tables["train"]
    assert pairs is not None  # noqa: S101 - narrowed
    trainer = GenerationTrainer(
        plan.backbone,
        plan.args,
        train_dataset=pairs,
        trusted_dataset=plan.tables["trusted"] if plan.alignment else None,
        eval_dataset=plan.tables["dev"],
        peft_config=plan.config,
        callbacks=callbacks,
    )
    say_truncated(trainer, "responses", say)
    backbone = plan.backbone
    info = {
        "status": "training",
        "task": GENERATE,
        "settings": plan.settings,
        "model": {
            "name": plan.model,
            "revision": backbone.revision,
            "sha256": backbone.sha256,
            **plan.loading,
        },
        "preset": preset_values(INSTRUCTION),
        "adapter": adapter_settings(plan.config),
        "max_length": trainer.max_length,
        "truncated": trainer.truncated,
        "audit": plan.audited,
        "data": {name: table.summary() for name, table in plan.tables.items() if table is not None},
    }
    outcome = train_in(place, trainer, info, resume=resume, say=say)
    on_first(lambda: place.finish({**info, "status": "finished", **outcome}))


def _selection(select_best: str, dev: Pairs | None, early_stopping: int | None) -> tuple[str, Pairs | None]:
    """Which way the epoch is chosen, and the pairs that choose it."""
    if select_best not in SELECT_BEST:
        raise UsageError(f"--select-best: found {select_best!r}, expected one of {', '.join(SELECT_BEST)}")
    if select_best == "dev" and dev is None:
        raise UsageError("--select-best dev: no dev rows were given; pass --dev FILE or choose last")
    if select_best == "auto":
        select_best = "last" if dev is None else "dev"
    if early_stopping and select_best == "last":
        raise UsageError(
            "--early-stopping: found with --select-best last, expected rows to evaluate on; "
            "pass --dev FILE, or leave it out"
        )
    return select_best, None if select_best == "last" else dev


def _adapter_config(method: Method, asked: Mapping[str, Any]) -> MuScleLoraConfig:
    values: dict[str, Any] = {
        **INSTRUCTION.adapter_fields(),
        "low_rank": method.low_rank,
        **asked,
    }
    if values["scale_factors"] and not values.get("multiscale_modules"):
        raise UsageError(
            "--scale-factors: found without --multiscale-modules, expected the layers that get the "
            "multi-scale layer; name them (all-adapted: the attention projections), or leave both out"
        )
    if not values["scale_factors"] and values.get("multiscale_modules"):
        raise UsageError(
            "--multiscale-modules: found without --scale-factors, expected scale factors such as 1,2,3,4; "
            "give them, or leave both out"
        )
    return MuScleLoraConfig(**values)


def _trainer_arguments(
    folder: Path, asked: Mapping[str, Any], method: Method, select_best: str
) -> MuScleTrainingArguments:
    values = {
        **folder_arguments(folder, asked, None if select_best == "last" else "loss"),
        "alignment": method.alignment,
        # The logits of a vocabulary take more memory than those of some classes.
        "per_device_eval_batch_size": asked.get("per_device_train_batch_size", INSTRUCTION.batch_size),
        **asked,
    }
    return MuScleTrainingArguments(**values).filled_in(INSTRUCTION)
