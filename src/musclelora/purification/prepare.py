"""A training run before its folder is opened, whatever the task: rows, backbone, adapter, arguments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from transformers import TrainerCallback, set_seed

from musclelora.adapter import Backbone, MuScleLoraConfig
from musclelora.adapter.loading import loading_options
from musclelora.adapter.presets import Preset
from musclelora.audit.judges import AUTO
from musclelora.data.model_source import from_anywhere
from musclelora.data.pairs import Pairs
from musclelora.data.table import Table
from musclelora.errors import UsageError
from musclelora.purification.auto import Automatic
from musclelora.purification.methods import LEVERS, Method
from musclelora.purification.run import CHECKPOINTS, adapter_settings
from musclelora.purification.run_folder import RunFolder
from musclelora.training.aligned import AlignedTrainer
from musclelora.training.arguments import MuScleTrainingArguments
from musclelora.training.processes import meet, rows_per_process

Say = Callable[[str], object]
Rows = TypeVar("Rows", bound=Table | Pairs)

# Arguments of the Trainer that do not decide the result; a resumed run may change them.
_FREE = frozenset(
    {
        *("output_dir", "disable_tqdm", "report_to", "logging_steps", "run_name", "log_level_replica"),
        *("shard_backbone", "ddp_find_unused_parameters", "dataloader_pin_memory", "use_cpu"),
        "restore_callback_states_from_checkpoint",
    }
)


@dataclass(frozen=True)
class Request(Generic[Rows]):
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
        select_best: what chooses the epoch to keep: one of the task's :attr:`Plan.ways`.
        early_stopping: stop after so many evaluations without a better one.
        audit: what an audit of these rows found; None: they are audited on the way.
        confirm: whether an audit on the way puts triggers to the test; None: where that costs less than the
            training.
        progress: called with what an audit on the way finds, as it is found.
        preset: ``"auto"``, the backbone's own, or one by name.
        judge: what says what rows mean, in an audit on the way: see :mod:`musclelora.audit.judges`.
    """

    folder: Path
    train: Rows
    trusted: Rows | None
    dev: Rows | None
    model: str
    method: Method
    adapter: Mapping[str, Any]
    arguments: Mapping[str, Any]
    select_best: str
    early_stopping: int | None
    audit: Any
    confirm: bool | None
    progress: Say
    preset: str = "auto"
    judge: str = AUTO

    @property
    def seed(self) -> int:
        """Of everything random."""
        return int(self.arguments.get("seed", 42))


@dataclass(frozen=True)
class Decided(Generic[Rows]):
    """What is trained, and on what.

    Attributes:
        rows: N rows.
        config: of the adapter.
        learning_rate: the peak.
        offsets: shape (N, C), the log-odds to add in their loss; None: none.
        automatic: what the trusted rows decided; None: nothing was asked of them.
    """

    rows: Rows
    config: MuScleLoraConfig
    learning_rate: float | None
    offsets: NDArray[np.float32] | None = None
    automatic: Automatic | None = None


class Plan(ABC, Generic[Rows]):
    """A training run whose folder can be opened; what differs between the tasks is what subclasses say.

    Args:
        request: what is asked for.
        say: called with lines of text about what is decided.

    Attributes:
        request: what was asked for.
        rows: the rows to train on, before any is dropped.
        trusted: the trusted rows that are used.
        dev: the rows that choose the epoch; None: the last one is kept.
        select_best: what chooses it: one of :attr:`ways`, and not ``"auto"``.
        loading: how the backbone is loaded.
        backbone: the one to train, to be read and not to be altered.
        preset: its settings.
        config: of the adapter, as far as it is decided.
        args: of the training, for one process.
        sizes: what says how long training is, over all processes.
        settings: everything that decides the result.

    Raises:
        DataError, ModelError, UsageError: each says what to do.
    """

    ways: ClassVar[tuple[str, ...]]
    """What may choose the epoch to keep."""
    what: ClassVar[str]
    """What may be too long for a model."""

    def __init__(self, request: Request[Rows], say: Say) -> None:
        self.say = say
        # By a full name, so that the run can be used from another folder.
        self.request = request = replace(request, model=from_anywhere(request.model))
        method = request.method
        self._check()
        self.trusted, self.dev, self.select_best = self._selection()
        if request.early_stopping and self.dev is None:
            other = "choose --select-best trusted, " if "trusted" in self.ways else ""
            raise UsageError(
                "--early-stopping: found with --select-best last, expected rows to evaluate on; "
                f"pass --dev FILE, {other}or leave it out"
            )
        self.rows = self.trusted if method.trusted_only and self.trusted is not None else request.train
        set_seed(request.seed)
        self.loading = loading_options(request.arguments)
        meet()
        self.backbone = self._load()
        self.preset = self._preset()
        say(f"preset       {self.preset.name}: {self.preset.source}")
        self.config = self.adapter_config(request.adapter)
        values = folder_arguments(request.folder, request.arguments, self._metric())
        values |= {"alignment": method.alignment, **self._arguments()}
        if request.early_stopping:
            values["restore_callback_states_from_checkpoint"] = True
        self.args = MuScleTrainingArguments(**values).filled_in(self.preset)
        names = ("num_train_epochs", "per_device_train_batch_size")
        self.sizes: dict[str, Any] = {name: getattr(self.args, name) for name in names}
        self.settings = {
            **self._named(),
            "select_best": self.select_best,
            "early_stopping": request.early_stopping,
            "adapter": adapter_settings(self.config),
            "arguments": deciding(self.args),
            **self._further(),
            # Last: where a value differs too, that is what a refusal should name.
            "data": {name: None if rows is None else self.sha256(rows) for name, rows in self.tables.items()},
        }
        self.args.per_device_train_batch_size = rows_per_process(self.sizes["per_device_train_batch_size"])

    @property
    def tables(self) -> dict[str, Rows | None]:
        """The tables of the run, by name."""
        return {"train": self.rows, "trusted": self.trusted, "dev": self.dev}

    def adapter_config(self, asked: Mapping[str, Any]) -> MuScleLoraConfig:
        """The adapter's configuration: what was asked for, else what the method and the preset say."""
        method = self.request.method
        values = {**self.preset.adapter_fields(), "low_rank": method.low_rank}
        if method.train_output_layer is not None:
            values["train_output_layer"] = method.train_output_layer
        values |= asked
        if not method.multiscale or not values["scale_factors"]:
            values["scale_factors"] = []
        return MuScleLoraConfig(**values)

    def _selection(self) -> tuple[Rows | None, Rows | None, str]:
        """The trusted rows to use, the rows to choose the epoch by, and which way of choosing that is."""
        way, dev = self.request.select_best, self.request.dev
        if way not in self.ways:
            raise UsageError(f"--select-best: found {way!r}, expected one of {', '.join(self.ways)}")
        if way == "dev" and dev is None:
            others = " or ".join(other for other in self.ways if other not in ("auto", "dev"))
            raise UsageError(f"--select-best dev: no dev rows were given; pass --dev FILE or choose {others}")
        way = "last" if way == "last" or dev is None else "dev"
        return self.request.trusted, None if way == "last" else dev, way

    def _named(self) -> dict[str, Any]:
        """The first settings: what has a name."""
        method = self.request.method
        levers = {lever: getattr(method, lever) for lever in LEVERS}
        return {"method": method.name, "levers": levers, "model": self.request.model}

    # ---- what a task says -----------------------------------------------------------------------------

    @abstractmethod
    def _check(self) -> None:
        """Refuse what the method cannot work with, before anything is loaded."""

    @abstractmethod
    def _load(self) -> Backbone:
        """The backbone."""

    @abstractmethod
    def _preset(self) -> Preset:
        """The settings that are not asked for."""

    @abstractmethod
    def _metric(self) -> str | None:
        """What the epoch is chosen by; None: the last one is kept."""

    @abstractmethod
    def _arguments(self) -> dict[str, Any]:
        """The fields of the training arguments that were asked for, or that the preset does not know."""

    @abstractmethod
    def _further(self) -> dict[str, Any]:
        """Settings that the other task has not."""

    @abstractmethod
    def sha256(self, rows: Rows) -> str | None:
        """The hash of rows."""

    @abstractmethod
    def summary(self, rows: Rows) -> dict[str, Any]:
        """What is told of rows."""

    @abstractmethod
    def decide(self, place: RunFolder, *, resume: bool) -> Decided[Rows]:
        """Audit the rows, where the method does so, and choose what it leaves open."""

    @abstractmethod
    def trainer(self, decided: Decided[Rows], callbacks: list[TrainerCallback]) -> AlignedTrainer:
        """What trains."""

    @abstractmethod
    def about(self, decided: Decided[Rows]) -> dict[str, Any]:
        """What ``run.json`` says that it does not say of the other task."""

    def compare(self, decided: Decided[Rows], result: Mapping[str, Any]) -> None:
        """Warn where what came out is no better than what is known."""


def folder_arguments(folder: Path, asked: Mapping[str, Any], metric: str | None) -> dict[str, Any]:
    """The training arguments that a run folder wants, whatever is trained.

    Args:
        folder: the run folder.
        asked: the arguments that the user gave, of which ``save_steps`` counts.
        metric: what the checkpoint to keep is chosen by, a loss or an accuracy; None: the last one is kept.
    """
    every = "steps" if "save_steps" in asked else "epoch"
    values: dict[str, Any] = {
        "output_dir": str(folder / CHECKPOINTS),
        "save_total_limit": 2,
        "save_strategy": every,
        "logging_steps": 10,
        "dataloader_pin_memory": False,
        "log_level_replica": "error",  # of several processes one speaks
        "disable_tqdm": False,  # whatever the libraries' verbosity, which decides it otherwise
    }
    if metric is not None:
        values |= {
            "eval_strategy": every,
            "eval_steps": asked.get("save_steps"),
            "load_best_model_at_end": True,
            "metric_for_best_model": metric,
            "greater_is_better": not metric.endswith("loss"),
        }
    return values


def deciding(args: MuScleTrainingArguments) -> dict[str, Any]:
    """The arguments that decide the result and differ from their defaults, as JSON values, by name."""
    default = MuScleTrainingArguments(output_dir="").to_dict()
    found: dict[str, Any] = {}
    for name, value in sorted(args.to_dict().items()):
        if name in _FREE or name.startswith(("_", "hub", "push")):
            continue
        if value != default.get(name):
            found[name] = value
    return found
