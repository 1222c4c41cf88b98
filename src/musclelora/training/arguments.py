"""Training arguments."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from numbers import Real

import torch
from transformers import TrainingArguments
from transformers.integrations import get_available_reporting_integrations

from musclelora.adapter.loading import check_loading, loading_options
from musclelora.adapter.presets import Preset
from musclelora.alignment import ALIGNMENT_RULES
from musclelora.errors import UsageError
from musclelora.launched import process_count
from musclelora.limits import BATCH, EPOCHS, RATE, SEED, STEPS, STRENGTH, TOKENS

GRADIENT_PASSES = ("auto", "one", "two")
GROUPED = 32
"""Batches of an epoch from which on rows of like length share them by default."""


_MOST = {
    "learning_rate": RATE,
    "num_train_epochs": EPOCHS,
    "mix_from_epoch": EPOCHS,
    "min_trusted_loss": STRENGTH,
    "max_grad_norm": RATE,
}
_WHOLE = {
    "per_device_train_batch_size": (1, BATCH),
    "per_device_eval_batch_size": (1, BATCH),
    "trusted_batch_size": (1, BATCH),
    "trusted_every": (1, STEPS),
    "gradient_accumulation_steps": (1, BATCH),
    "max_length": (1, TOKENS),
    "max_steps": (-1, STEPS),
    "seed": (0, SEED),
}


@dataclass
class MuScleTrainingArguments(TrainingArguments):
    """``transformers.TrainingArguments`` with gradient alignment.

    A field that is None takes the backbone's preset (see :mod:`musclelora.adapter.presets`); so do the three
    of ``TrainingArguments`` that are None here: ``learning_rate``, ``num_train_epochs`` and
    ``per_device_train_batch_size``. Nothing is reported to a tracker unless ``report_to`` names it.

    Args:
        train_sampling_strategy: ``"group_by_length"``, in batches of rows of like length
            (:class:`~musclelora.training.batches.LikeLengths`); ``"auto"``, so where an epoch has
            :data:`GROUPED` batches or more, of fewer the same rows would meet each time; or as in
            ``TrainingArguments``.
        alignment: project every update on the direction that the trusted set asks for.
        alignment_rule: ``"project"`` or ``"pcgrad"``: see :mod:`musclelora.alignment.align`.
        max_raw_ratio: the ρ that the schedule climbs to: the share of the unaligned gradient, in [0, 1].
        mix_from_epoch: the epoch from which ρ rises (0 is the first).
        min_trusted_loss: ρ is 0 at every step whose trusted loss is above this.
        trusted_batch_size: trusted rows per step of all processes; None: as many as training rows.
        trusted_every: the trusted gradient is taken at every so many-th step; at the steps between, updates
            are aligned to the last one, which costs no pass over trusted rows.
        gradient_passes: ``"one"`` yields both gradients from one forward and one backward pass, ``"two"``
            from two of each, ``"auto"`` from one where the model allows it (checked at the first step).
        shard_backbone: of several processes, each holds a share of the frozen weights: see
            :mod:`musclelora.training.sharding`.
        max_length: tokens per text, beyond which it is cut; None: the model's limit.
        attn_implementation: how a backbone that is loaded by name computes attention; see
            :func:`~musclelora.adapter.load_backbone`.
        dtype: of its weights.
        quantize: how few bits they are held in.

    Raises:
        UsageError: a value out of range, or one that needs what is missing here.
    """

    learning_rate: float | None = field(default=None, metadata={"help": "None: the preset's"})  # type: ignore[assignment]
    num_train_epochs: float | None = field(default=None, metadata={"help": "None: the preset's"})  # type: ignore[assignment]
    per_device_train_batch_size: int | None = field(default=None, metadata={"help": "None: the preset's"})  # type: ignore[assignment]
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Rows per evaluation step"})
    report_to: str | list[str] | None = field(default="none", metadata={"help": "Trackers to report to"})
    train_sampling_strategy: str = field(
        default="auto",
        metadata={"help": "group_by_length: batches of rows of like length; random: of any rows; auto"},
    )
    alignment: bool = field(default=True, metadata={"help": "Align gradients to the trusted set"})
    alignment_rule: str = field(default="project", metadata={"help": "project or pcgrad"})
    max_raw_ratio: float | None = field(default=None, metadata={"help": "The ρ that the schedule climbs to"})
    mix_from_epoch: float | None = field(default=None, metadata={"help": "The epoch from which ρ rises"})
    min_trusted_loss: float | None = field(
        default=None, metadata={"help": "ρ is 0 while the trusted loss is above this"}
    )
    trusted_batch_size: int | None = field(default=None, metadata={"help": "Trusted rows per step"})
    trusted_every: int = field(default=1, metadata={"help": "Steps that share a trusted gradient"})
    gradient_passes: str = field(default="auto", metadata={"help": "auto, one or two"})
    shard_backbone: bool = field(default=False, metadata={"help": "Spread frozen weights over processes"})
    max_length: int | None = field(default=None, metadata={"help": "Tokens per text"})
    attn_implementation: str | None = field(
        default=None, metadata={"help": "sdpa, eager or flash_attention_2"}
    )
    dtype: str | None = field(default=None, metadata={"help": "Of the backbone's weights"})
    quantize: str | None = field(default=None, metadata={"help": "nf4 or int8"})

    def __post_init__(self) -> None:
        _in_range("max_raw_ratio", self.max_raw_ratio, 0.0, 1.0)
        for name, high in _MOST.items():
            _in_range(name, getattr(self, name), 0.0, high)
        for name, (low, high) in _WHOLE.items():
            _in_range(name, getattr(self, name), low, high, whole=True)
        for name, known in (("gradient_passes", GRADIENT_PASSES), ("alignment_rule", ALIGNMENT_RULES)):
            if getattr(self, name) not in known:
                raise UsageError(f"{name}: found {getattr(self, name)!r}, expected one of {', '.join(known)}")
        self.trusted_every = self.trusted_every or 1
        check_loading(**loading_options(vars(self)))
        self._check_trackers()
        if (self.bf16 or process_count() > 1) and not torch.accelerator.is_available():
            self.use_cpu = True  # transformers wants to be told that a CPU is meant
        super().__post_init__()
        if self.n_gpu > 1:  # a batch split over replicas has no place where the trusted rows begin
            self._n_gpu = 1

    @property
    def place_model_on_device(self) -> bool | None:
        """Whether the Trainer moves the model; what is sharded goes to its device piece by piece."""
        return False if self.shard_backbone else super().place_model_on_device

    def _check_trackers(self) -> None:
        named = [self.report_to] if isinstance(self.report_to, str) else self.report_to or []
        there = get_available_reporting_integrations()
        for tracker in named:
            if tracker not in (*there, "all", "none"):
                raise UsageError(
                    f"report_to: found {tracker!r}, expected none or trackers that are installed "
                    f"({', '.join(there) or 'there is none'}); pip install {tracker} if it is one"
                )

    def filled_in(self, preset: Preset, processes: int = 1) -> MuScleTrainingArguments:
        """A copy in which every None that a preset has a value for is that value.

        `processes` is how many take ``per_device_train_batch_size`` rows each.
        """
        args = copy.copy(self)
        defaults = {
            "learning_rate": preset.learning_rate,
            "num_train_epochs": preset.epochs,
            "per_device_train_batch_size": preset.batch_size,
            "max_raw_ratio": preset.max_raw_ratio,
            "mix_from_epoch": preset.mix_from_epoch,
            "min_trusted_loss": preset.min_trusted_loss,
        }
        for name, value in defaults.items():
            if getattr(args, name) is None:
                setattr(args, name, value)
        if args.trusted_batch_size is None and args.per_device_train_batch_size is not None:
            args.trusted_batch_size = args.per_device_train_batch_size * processes
        return args


def _in_range(name: str, value: float | None, low: float, high: float, *, whole: bool = False) -> None:
    if value is None:
        return
    number = isinstance(value, Real) and not isinstance(value, bool) and low <= value <= high
    if not number or (whole and value != int(value)):
        kind = "whole" if whole else "finite"
        upper = f"{high:,}" if isinstance(high, int) else f"{high:g}"
        raise UsageError(f"{name}: found {value!r}, expected a {kind} number from {low:g} to {upper}")
