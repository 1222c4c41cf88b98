"""One training run, from tables to a run folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import EarlyStoppingCallback, TrainerCallback, set_seed

from musclelora.adapter import DEFAULT_MODEL, MuScleLoraConfig, attach, load_backbone
from musclelora.adapter.loading import loading_options
from musclelora.adapter.presets import PRESETS, Preset, preset_for
from musclelora.audit.judge import judge
from musclelora.audit.judgement import Judgement
from musclelora.audit.recheck import look_settings
from musclelora.audit.trusted_models import TRUSTED_ONLY
from musclelora.data.model_source import from_anywhere
from musclelora.data.splits import stratified_split
from musclelora.data.summary import summarize
from musclelora.data.table import Table, fingerprint
from musclelora.data.trusted import check_same_labels, check_trainable, check_trusted
from musclelora.errors import DataError, ModelError, UsageError
from musclelora.hashes import digest_of_values
from musclelora.launched import process_count
from musclelora.outputs import check_output, read_from
from musclelora.purification.auto import REPEATS, Automatic, choose, with_trusted
from musclelora.purification.balance import BalanceCallback, no_better_than_trusted
from musclelora.purification.keeping import deciding, folder_arguments, say_truncated, train_in
from musclelora.purification.methods import AUTO, LEVERS, METHODS, Method
from musclelora.purification.run import (
    CHECKPOINTS,
    JUDGEMENT,
    RUN,
    Run,
    adapter_settings,
    check_backbone,
    load_run,
    preset_values,
)
from musclelora.purification.run_folder import open_run_folder
from musclelora.training.arguments import MuScleTrainingArguments
from musclelora.training.hardware import free_memory
from musclelora.training.processes import meet, on_first, rows_per_process
from musclelora.training.trainer import MuScleTrainer

SELECT_BEST = ("auto", "dev", "trusted", "last")
_HELD_OUT = 0.25


def fit(
    output: str | os.PathLike[str],
    *,
    train: Table,
    trusted: Table | None,
    dev: Table | None = None,
    model: str = DEFAULT_MODEL,
    method: Method = METHODS["musclelora"],
    adapter: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    preset: str = "auto",
    select_best: str = "auto",
    early_stopping: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: list[TrainerCallback] | None = None,
    judgement: Judgement | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> Run:
    """Train a classifier and keep it in a run folder.

    Args:
        output: the run folder.
        train: the rows that may be poisoned.
        trusted: rows that were checked, with the label names of `train`; ``"lora"`` and ``"full"`` can do
            without. Under ``preset="auto"`` they judge the training rows, and are then trained on too.
        dev: clean rows to choose the best epoch by.
        model: an embedded model, a hub name or a folder.
        method: which levers to pull: see :data:`~musclelora.purification.methods.METHODS`.
        adapter: fields of :class:`~musclelora.adapter.MuScleLoraConfig` to set.
        arguments: fields of :class:`~musclelora.training.MuScleTrainingArguments` to set.
        preset: ``"auto"``: MuScleLoRA, if no lever was pulled the other way, chooses by the trusted rows, as
            :mod:`musclelora.purification.auto` says; ``"published"``: the backbone's own settings, which are
            also what other methods get under ``"auto"``; or a preset by name.
        select_best: what chooses the epoch to keep: ``"dev"``, its accuracy on `dev`; ``"trusted"``, the
            trusted rows: their loss where they judge (and are then not trained on), else the accuracy on a
            quarter of them, which is then held out; ``"last"``; ``"auto"``: dev where there are such rows,
            trusted where these judge and are not to be trained on
            (:data:`~musclelora.purification.methods.AUTO` trains on them, but for `early_stopping`), else
            last.
        early_stopping: stop after so many evaluations without a better one.
        resume: go on with the run in `output`; a finished one is returned as it is.
        overwrite: replace the run in `output`.
        callbacks: the Trainer's.
        judgement: what an audit of these training rows found (:attr:`musclelora.Audit.judgement`), where the
            method takes one; None: the rows are audited here.
        say: called with lines of text about what is decided.

    Raises:
        DataError, ModelError, OutputError, TrainingError, UsageError: each says what to do.
    """
    folder = Path(output)
    check_output(folder, read_from(train, trusted, dev, model=model), folder=True)
    check_trainable(train)
    check_same_labels(train, trusted=trusted, dev=dev)
    if preset == "auto" and method == METHODS["musclelora"]:
        method = AUTO
    if trusted is not None:
        check_trusted(train, trusted)
    elif method.needs_trusted or select_best == "trusted":
        raise DataError(
            "--trusted: no trusted set was given; expected about 100 rows that were checked; "
            "pass --trusted FILE or --trusted-from FILE"
        )
    arguments = dict(arguments or {})
    model = from_anywhere(model)  # so that the run can be used from another folder
    seed = int(arguments.get("seed", 42))
    stops = early_stopping is not None
    trusted, dev, select_best = _selection_rows(select_best, trusted, dev, seed, method, stops)
    taught = method == AUTO and select_best != "trusted"
    rows = trusted if method.trusted_only and trusted is not None else train
    if judgement is not None:
        _check_judgement(judgement, train, method)

    set_seed(seed)
    loading = loading_options(arguments)
    meet()
    backbone = load_backbone(model, train.label_names, **loading)
    chosen = preset_for(backbone.model.config) if preset in ("auto", "published") else _preset(preset)
    say(f"preset       {chosen.name}: {chosen.source}")
    config = _adapter_config(method, chosen, adapter or {})
    if early_stopping:
        arguments["restore_callback_states_from_checkpoint"] = True
    args = _trainer_arguments(folder, arguments, method, chosen, select_best)
    settings = {
        "method": method.name,
        "levers": {k: getattr(method, k) for k in LEVERS},
        "model": model,
        "preset": preset,
        "select_best": select_best,
        "early_stopping": early_stopping,
        "adapter": adapter_settings(config),
        "arguments": deciding(args),
        **({"trusted_repeats": REPEATS} if taught else {}),
        **({"audit": digest_of_values(judgement.to_dict())} if judgement is not None else {}),
        # Last: where a value differs too, that is what a refusal should name.
        "given": sorted(
            _ALL_FIXED & {k for k, v in {**(adapter or {}), **arguments}.items() if v is not None}
        ),
        "data": {
            name: fingerprint(table) for name, table in (("train", rows), ("trusted", trusted), ("dev", dev))
        },
    }
    if early_stopping and dev is None:
        raise UsageError(
            "--early-stopping: found with --select-best last, expected rows to evaluate on; "
            "pass --dev FILE, choose --select-best trusted, or leave it out"
        )
    sizes = _sizes(args)  # of all processes
    args.per_device_train_batch_size = rows_per_process(sizes["per_device_train_batch_size"])
    with open_run_folder(folder, settings, resume=resume, overwrite=overwrite) as place:
        if place.is_finished:
            say(f"{folder} holds this run, finished: nothing to do")
            return load_run(folder)
        if place.info is not None:
            check_backbone(place.work, place.info, backbone)
        args.output_dir = str(place.work / CHECKPOINTS)
        offsets = automatic = None
        learned = rows
        if method.shortcuts and trusted is not None:
            if place.info is not None:
                automatic = _kept(place.info, place.work)
                _check_rows(automatic.judgement, train, place.work / RUN)
            else:
                asked = {**(adapter or {}), **arguments}
                # Or its errors come much later.
                attach(load_backbone(model, train.label_names, **loading), config, chosen)
                sized = {**arguments, **sizes}
                if method == AUTO:
                    look, looking = look_settings(chosen, adapter or {}, sized)
                else:
                    look = _adapter_config(method, chosen, adapter or {})
                    looking = {**sized, "learning_rate": args.learning_rate}
                found = on_first(lambda: place.judgement(settings) if resume else None)
                if judgement is not None:
                    say("audit        it was made before")
                elif found is None:
                    judgement = made = judge(
                        train,
                        trusted,
                        model=model,
                        preset=chosen,
                        config=look,
                        arguments=looking,
                        seed=seed,
                        say=say,
                    )
                    on_first(lambda: place.keep_judgement(settings, made.to_dict()))
                else:
                    say("resuming     after the rows were judged")
                    judgement = Judgement.from_dict(found)
                    _check_rows(judgement, train, place.work / JUDGEMENT)
                automatic = choose(
                    train,
                    trusted,
                    judgement,
                    model=model,
                    preset=_as_given(
                        replace(chosen, learning_rate=args.learning_rate or chosen.learning_rate), asked
                    ),
                    config=lambda scales: _adapter_config(
                        method, chosen, {**(adapter or {}), "scale_factors": list(scales)}
                    ),
                    arguments=sized,
                    fixed=frozenset(asked) if method == AUTO else _ALL_FIXED,
                    seed=seed,
                    say=say,
                )
            if process_count() > 1:  # rounding may differ between devices, and what is chosen must not
                automatic = Automatic.from_dict(on_first(automatic.to_dict))
            learned, offsets = automatic.judgement.apply(rows)
            if taught:
                learned, offsets = with_trusted(learned, offsets, trusted)
            args.learning_rate = automatic.chosen.learning_rate
            config = _adapter_config(
                method, chosen, {**(adapter or {}), "scale_factors": list(automatic.chosen.scale_factors)}
            )

        extra: list[TrainerCallback] = [EarlyStoppingCallback(early_stopping)] if early_stopping else []
        if method.alignment:
            extra.append(BalanceCallback(say, args.min_trusted_loss or 0.0))
        trainer = MuScleTrainer(
            backbone,
            args,
            train_dataset=learned,
            trusted_dataset=trusted if method.alignment else None,
            eval_dataset=dev,
            train_offsets=offsets,
            peft_config=config,
            preset=chosen,
            callbacks=[*(callbacks or []), *extra],
        )
        say_truncated(trainer, "texts", say)
        info = {
            "status": "training",
            "settings": settings,
            "model": {"name": model, "revision": backbone.revision, "sha256": backbone.sha256, **loading},
            "preset": preset_values(chosen),
            "adapter": adapter_settings(config),
            "auto": automatic.to_dict() if automatic else None,
            "label_names": list(train.label_names),
            "max_length": trainer.max_length,
            "truncated": trainer.truncated,
            "data": {
                name: summarize(table).to_dict()
                for name, table in (("train", rows), ("trusted", trusted), ("dev", dev))
                if table is not None
            },
        }
        outcome = train_in(place, trainer, info, resume=resume, say=say)
        if automatic and trusted is not None:
            judgement = automatic.judgement
            right = (
                outcome["result"]["best_accuracy"] if select_best == "trusted" else judgement.look_accuracy
            )
            warning = no_better_than_trusted(
                right, judgement.trusted_accuracy, len(trusted), finished=select_best == "trusted"
            )
            if warning:
                say(warning)
        on_first(lambda: place.finish({**info, "status": "finished", **outcome}))
        del trainer, backbone
    free_memory()
    return load_run(folder)


def _selection_rows(
    select_best: str, trusted: Table | None, dev: Table | None, seed: int, method: Method, stops: bool
) -> tuple[Table | None, Table | None, str]:
    """The trusted rows to use, the rows to choose the epoch by, and which way of choosing that is."""
    if select_best not in SELECT_BEST:
        raise UsageError(f"--select-best: found {select_best!r}, expected one of {', '.join(SELECT_BEST)}")
    judging = method.shortcuts and not method.alignment
    if select_best == "auto":
        unseen = judging and (method != AUTO or stops)
        select_best = "dev" if dev is not None else "trusted" if unseen else "last"
    if select_best == "dev" and dev is None:
        raise UsageError(
            "--select-best dev: no dev rows were given; pass --dev FILE or choose trusted or last"
        )
    if select_best == "trusted" and judging:
        return trusted, trusted, select_best
    if select_best == "trusted" and trusted is not None:
        held_out = max(round(_HELD_OUT * len(trusted)), trusted.num_classes)
        classes = len(np.unique(trusted.labels))
        if len(trusted) - held_out < classes:
            raise DataError(
                f"{trusted.source}: {len(trusted)} trusted rows are too few to hold {held_out} of them out; "
                "add rows, or choose --select-best last"
            )
        trusted, dev = stratified_split(trusted, [len(trusted) - held_out, held_out], seed=seed)
    return trusted, None if select_best == "last" else dev, select_best


def _preset(name: str) -> Preset:
    known = [name for name, preset in PRESETS.items() if preset.scale_factors]  # that of generation has none
    if name not in known:
        raise UsageError(f"--preset: found {name!r}, expected one of {', '.join(known)}")
    return PRESETS[name]


def _adapter_config(method: Method, preset: Preset, asked: Mapping[str, Any]) -> MuScleLoraConfig:
    values = {**preset.adapter_fields(), "low_rank": method.low_rank}
    if method.train_output_layer is not None:
        values["train_output_layer"] = method.train_output_layer
    values |= asked
    if not method.multiscale or not values["scale_factors"]:
        values["scale_factors"] = []
    return MuScleLoraConfig(**values)


def _trainer_arguments(
    folder: Path, asked: Mapping[str, Any], method: Method, preset: Preset, select_best: str
) -> MuScleTrainingArguments:
    metric = None if select_best == "last" else "accuracy"
    if select_best == "trusted" and method.shortcuts and not method.alignment:
        # Some hundred rows tell two epochs apart by their loss before they do by their accuracy.
        metric = "calibrated_loss"
    values = {**folder_arguments(folder, asked, metric), "alignment": method.alignment}
    defaults = {} if method.low_rank else dict(_FULL)
    if method.trusted_only:
        defaults |= TRUSTED_ONLY
    return MuScleTrainingArguments(**{**values, **defaults, **asked}).filled_in(preset)


# Training the backbone itself wants a smaller step than training an adapter.
_FULL = {"learning_rate": 5e-5, "num_train_epochs": 3}
_ALL_FIXED = frozenset({"learning_rate", "scale_factors"})


def _kept(info: Mapping[str, Any], folder: Path) -> Automatic:
    """What a run that is gone on with had chosen."""
    if info.get("auto") is None:
        raise ModelError(
            f"{folder / RUN}: auto: found nothing, expected what the trusted rows had decided; restore it or "
            "pass --overwrite"
        )
    return Automatic.from_dict(info["auto"])


def _check_rows(judgement: Judgement, train: Table, file: Path) -> None:
    """Raise unless what was kept of a judgement can be one of these rows."""
    wrong = judgement.misfit(train)
    if wrong is not None:
        raise ModelError(f"{file}: {wrong}; restore it or pass --overwrite")


def _check_judgement(judgement: Judgement, train: Table, method: Method) -> None:
    """Raise unless a method takes an audit, and it can be one of these rows."""
    if not method.shortcuts:
        raise UsageError(
            f"--audit: found with --method {method.name}, which takes none; "
            "leave it out, or choose the default"
        )
    wrong = judgement.misfit(train)
    if wrong is not None:
        raise UsageError(f"--audit: {wrong}; name an audit of these rows")


def _as_given(preset: Preset, asked: Mapping[str, Any]) -> Preset:
    """The preset with what the user gave of what may be chosen."""
    given = {name: asked[name] for name in _ALL_FIXED if asked.get(name) is not None}
    return replace(preset, **given)


def _sizes(args: MuScleTrainingArguments) -> dict[str, Any]:
    """What of the training arguments says how long training is."""
    return {name: getattr(args, name) for name in ("num_train_epochs", "per_device_train_batch_size")}
