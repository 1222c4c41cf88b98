"""What is decided of a training run before its folder is opened: rows, backbone, adapter, arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from transformers import set_seed

from musclelora.adapter import Backbone, MuScleLoraConfig
from musclelora.adapter.copies import Backbones
from musclelora.adapter.loading import loading_options
from musclelora.adapter.presets import PRESETS, Preset, preset_for
from musclelora.audit.judgement import Judgement
from musclelora.audit.judges import judge_model
from musclelora.audit.trusted_models import TRUSTED_ONLY
from musclelora.data.model_source import from_anywhere
from musclelora.data.splits import stratified_split
from musclelora.data.table import Table, fingerprint
from musclelora.data.trusted import check_same_labels, check_trainable, check_trusted
from musclelora.errors import DataError, UsageError
from musclelora.hashes import digest_of_values
from musclelora.purification.auto import REPEATS
from musclelora.purification.methods import LEVERS, Method
from musclelora.purification.run import adapter_settings
from musclelora.purification.run_training import deciding, folder_arguments
from musclelora.training.arguments import MuScleTrainingArguments
from musclelora.training.processes import meet, rows_per_process

SELECT_BEST: Final = ("auto", "dev", "trusted", "last")
CHOSEN: Final = frozenset({"learning_rate", "scale_factors"})
"""The settings that the trusted rows may choose."""
_HELD_OUT = 0.25
# Training the backbone itself wants a smaller step than training an adapter.
_FULL: Final[Mapping[str, Any]] = {"learning_rate": 5e-5, "num_train_epochs": 3}


@dataclass(frozen=True)
class Request:
    """A training run, as it is asked for.

    Attributes:
        folder: the run folder.
        train: the rows that may be poisoned.
        trusted: rows that were checked, with the label names of `train`.
        dev: clean rows to choose the best epoch by.
        model: an embedded model, a hub name or a folder.
        method: which levers to pull.
        adapter: fields of :class:`~musclelora.adapter.MuScleLoraConfig` to set.
        arguments: fields of :class:`~musclelora.training.MuScleTrainingArguments` to set.
        preset: ``"auto"``, the backbone's own, or one by name.
        select_best: what chooses the epoch to keep: ``"dev"``, ``"trusted"``, ``"last"`` or ``"auto"``.
        early_stopping: stop after so many evaluations without a better one.
        judgement: what an audit of these rows found; None: they are audited on the way.
        judge: what says what rows mean, in an audit on the way: see :mod:`musclelora.audit.judges`.
        confirm: whether an audit on the way puts triggers to the test; None: where that costs less than the
            training.
        progress: called with what an audit on the way finds, as it is found.
    """

    folder: Path
    train: Table
    trusted: Table | None
    dev: Table | None
    model: str
    method: Method
    adapter: Mapping[str, Any]
    arguments: Mapping[str, Any]
    preset: str
    select_best: str
    early_stopping: int | None
    judgement: Judgement | None
    judge: str
    confirm: bool | None
    progress: Callable[[str], object]

    @property
    def seed(self) -> int:
        """Of everything random."""
        return int(self.arguments.get("seed", 42))


@dataclass
class Plan:
    """A training run whose folder can be opened.

    Attributes:
        request: what was asked for.
        rows: the rows to train on, before any is dropped.
        trusted: the trusted rows that are used.
        dev: the rows that choose the epoch; None: the last one is kept.
        select_best: what chooses it: ``"dev"``, ``"trusted"`` or ``"last"``.
        backbones: of the model; the one to train is among them.
        loading: how it is loaded.
        preset: its settings.
        config: of the adapter, as far as it is decided.
        args: of the training, for one process.
        sizes: what says how long training is, over all processes.
        judge: of the model that says what rows mean, where rows are audited here and it is not the backbone.
        settings: everything that decides the result.
    """

    request: Request
    rows: Table
    trusted: Table | None
    dev: Table | None
    select_best: str
    backbones: Backbones
    loading: dict[str, Any]
    preset: Preset
    config: MuScleLoraConfig
    args: MuScleTrainingArguments
    sizes: dict[str, Any]
    judge: Backbones | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def tables(self) -> dict[str, Table | None]:
        """The tables of the run, by name."""
        return {"train": self.rows, "trusted": self.trusted, "dev": self.dev}

    @property
    def backbone(self) -> Backbone:
        """The one to train, to be read and not to be altered."""
        return self.backbones.kept(self.request.train.label_names, **self.loading)

    @property
    def teaches(self) -> bool:
        """Whether the trusted rows are trained on with the others."""
        return self.request.method.chooses and self.select_best != "trusted"


def prepare(request: Request, say: Callable[[str], object]) -> Plan:
    """Check what is asked for, and decide what can be decided without training.

    Raises:
        DataError, ModelError, UsageError: each says what to do.
    """
    method = request.method
    _check_rows(request)
    model = from_anywhere(request.model)  # so that the run can be used from another folder
    request = replace(request, model=model)
    trusted, dev, select_best = _selection_rows(request)
    rows = trusted if method.trusted_only and trusted is not None else request.train
    _check_judgement(request)

    set_seed(request.seed)
    loading = loading_options(request.arguments)
    meet()
    backbones = Backbones(model)
    backbone = backbones.kept(request.train.label_names, **loading)
    own = preset_for(backbone.model.config, aligned=method.alignment)
    preset = own if request.preset == "auto" else _preset(request.preset)
    say(f"preset       {preset.name}: {preset.source}")
    config = adapter_config(method, preset, request.adapter)
    args = _trainer_arguments(request, preset, select_best)
    if request.early_stopping and dev is None:
        raise UsageError(
            "--early-stopping: found with --select-best last, expected rows to evaluate on; "
            "pass --dev FILE, choose --select-best trusted, or leave it out"
        )
    sizes = {name: getattr(args, name) for name in ("num_train_epochs", "per_device_train_batch_size")}
    plan = Plan(request, rows, trusted, dev, select_best, backbones, loading, preset, config, args, sizes)
    if method.shortcuts and request.judgement is None:
        judge, line = judge_model(request.judge, model, request.train.texts)
        say(line)
        plan.judge = None if judge == model else Backbones(judge)
    plan.settings = _settings(plan)
    args.per_device_train_batch_size = rows_per_process(sizes["per_device_train_batch_size"])
    return plan


def _settings(plan: Plan) -> dict[str, Any]:
    request, method = plan.request, plan.request.method
    asked = {**request.adapter, **request.arguments}
    judgement = request.judgement
    return {
        "method": method.name,
        "levers": {lever: getattr(method, lever) for lever in LEVERS},
        "model": request.model,
        "preset": request.preset,
        "select_best": plan.select_best,
        "early_stopping": request.early_stopping,
        "adapter": adapter_settings(plan.config),
        "arguments": deciding(plan.args),
        **({"judge": plan.judge.model} if plan.judge is not None else {}),
        **({"trusted_repeats": REPEATS} if plan.teaches else {}),
        **({"audit": digest_of_values(judgement.to_dict())} if judgement is not None else {}),
        # Last: where a value differs too, that is what a refusal should name.
        "given": sorted(CHOSEN & {name for name, value in asked.items() if value is not None}),
        "data": {name: fingerprint(table) for name, table in plan.tables.items()},
    }


def _check_rows(request: Request) -> None:
    """Raise unless there are the rows that the method needs, with the same labels."""
    train, trusted = request.train, request.trusted
    check_trainable(train)
    check_same_labels(train, trusted=trusted, dev=request.dev)
    if trusted is not None:
        check_trusted(train, trusted)
    elif request.method.needs_trusted or request.select_best == "trusted":
        raise DataError(
            "--trusted: no trusted set was given; expected about 100 rows that were checked; "
            "pass --trusted FILE or --trusted-from FILE"
        )


def _check_judgement(request: Request) -> None:
    """Raise unless the method takes an audit, and it can be one of these rows."""
    if request.judgement is None:
        return
    if not request.method.shortcuts:
        raise UsageError(
            f"--audit: found with --method {request.method.name}, which takes none; "
            "leave it out, or choose the default"
        )
    wrong = request.judgement.misfit(request.train)
    if wrong is not None:
        raise UsageError(f"--audit: {wrong}; name an audit of these rows")


def _selection_rows(request: Request) -> tuple[Table | None, Table | None, str]:
    """The trusted rows to use, the rows to choose the epoch by, and which way of choosing that is."""
    select_best, trusted, dev, method = request.select_best, request.trusted, request.dev, request.method
    if select_best not in SELECT_BEST:
        raise UsageError(f"--select-best: found {select_best!r}, expected one of {', '.join(SELECT_BEST)}")
    if select_best == "auto":
        unseen = method.judges and (not method.chooses or request.early_stopping is not None)
        select_best = "dev" if dev is not None else "trusted" if unseen else "last"
    if select_best == "dev" and dev is None:
        raise UsageError(
            "--select-best dev: no dev rows were given; pass --dev FILE or choose trusted or last"
        )
    if select_best == "trusted" and method.judges:
        return trusted, trusted, select_best
    if select_best == "trusted" and trusted is not None:
        held_out = max(round(_HELD_OUT * len(trusted)), trusted.num_classes)
        classes = len(np.unique(trusted.labels))
        if len(trusted) - held_out < classes:
            raise DataError(
                f"{trusted.source}: {len(trusted)} trusted rows are too few to hold {held_out} of them out; "
                "add rows, or choose --select-best last"
            )
        trusted, dev = stratified_split(trusted, [len(trusted) - held_out, held_out], seed=request.seed)
    return trusted, None if select_best == "last" else dev, select_best


def _preset(name: str) -> Preset:
    known = [name for name, preset in PRESETS.items() if preset.scale_factors]  # that of generation has none
    if name == "published":
        raise UsageError(
            "--preset: found 'published', expected a backbone's settings; the published method is "
            "--method musclelora"
        )
    if name not in known:
        raise UsageError(f"--preset: found {name!r}, expected auto or one of {', '.join(known)}")
    return PRESETS[name]


def adapter_config(method: Method, preset: Preset, asked: Mapping[str, Any]) -> MuScleLoraConfig:
    """The adapter's configuration: what was asked for, else what the method and the preset say."""
    values = {**preset.adapter_fields(), "low_rank": method.low_rank}
    if method.train_output_layer is not None:
        values["train_output_layer"] = method.train_output_layer
    values |= asked
    if not method.multiscale or not values["scale_factors"]:
        values["scale_factors"] = []
    return MuScleLoraConfig(**values)


def _trainer_arguments(request: Request, preset: Preset, select_best: str) -> MuScleTrainingArguments:
    asked, method = dict(request.arguments), request.method
    if request.early_stopping:
        asked["restore_callback_states_from_checkpoint"] = True
    metric = None if select_best == "last" else "accuracy"
    if select_best == "trusted" and method.judges:
        # Some hundred rows tell two epochs apart by their loss before they do by their accuracy.
        metric = "calibrated_loss"
    values = {**folder_arguments(request.folder, asked, metric), "alignment": method.alignment}
    defaults = {} if method.low_rank else dict(_FULL)
    if method.trusted_only:
        defaults |= TRUSTED_ONLY
    return MuScleTrainingArguments(**{**values, **defaults, **asked}).filled_in(preset)
