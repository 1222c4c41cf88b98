"""What ``musclelora tune`` searches: what ``--method purify`` chooses and more, around a preset."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from musclelora.adapter.presets import Preset
from musclelora.audit.recheck import EPOCHS_SHARE
from musclelora.errors import UsageError

FLAGS: Final[Mapping[str, str]] = {
    "learning_rate": "--learning-rate",
    "scale_factors": "--scale-factors",
    "inner_rank": "--inner-rank",
    "multiscale_alpha": "--multiscale-alpha",
    "r": "--rank",
    "lora_alpha": "--lora-alpha",
    "num_train_epochs": "--epochs",
    "per_device_train_batch_size": "--batch-size",
    "max_length": "--max-length",
    "dtype": "--dtype",
    "quantize": "--quantize",
    "attn_implementation": "--attn-implementation",
    "bf16": "--bf16",
    "activation_checkpointing": "--gradient-checkpointing",
}
"""The options of ``musclelora train`` that a search may set or be given."""
MOST_FACTORS: Final = 12
WIDEST: Final = 32.0


@dataclass(frozen=True)
class Range:
    """The values that one parameter may have.

    Attributes:
        low: the least.
        high: the greatest.
        log: uniform in its logarithm.
        whole: whole numbers only.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high and not (self.whole and value % 1)


@dataclass(frozen=True)
class Space:
    """What may be drawn, and what is settled.

    Attributes:
        ranges: of the parameters that are drawn, by name.
        first: the first trial's parameters: the preset's own settings, or what is nearest to them.
        settled: settings that are not drawn.
        strength: α / r of the LoRA layers, kept where their rank is drawn.
    """

    ranges: Mapping[str, Range]
    first: Mapping[str, float]
    settled: Mapping[str, Any]
    strength: float

    def settings(self, drawn: Mapping[str, float]) -> dict[str, Any]:
        """What parameters mean, as settings of an adapter and of training, in four digits."""
        found: dict[str, Any] = {
            name: value for name, value in drawn.items() if name not in ("factors", "widest")
        }
        if "factors" in drawn:
            spaced = np.linspace(1.0, drawn["widest"], int(drawn["factors"]))
            found["scale_factors"] = [_short(factor) for factor in spaced]
        if "r" in drawn and "lora_alpha" not in self.settled:
            found["lora_alpha"] = _short(self.strength * drawn["r"])
        for name in ("learning_rate", "multiscale_alpha"):
            if name in found:
                found[name] = _short(found[name])
        return {**self.settled, **found}

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def space_around(preset: Preset, given: Mapping[str, Any]) -> Space:
    """The space around a preset.

    Args:
        preset: the backbone's.
        given: settings that the user chose, by field name; they are not searched.

    Raises:
        UsageError: nothing is left to search.
    """
    settled = {name: given[name] for name in _SEARCHED if given.get(name) is not None}
    ranges: dict[str, Range] = {}
    first: dict[str, float] = {}

    def add(setting: str, name: str, value: float, found: Range) -> None:
        if setting not in settled:
            ranges[name], first[name] = found, value

    rate, alpha, scales = preset.learning_rate, preset.multiscale_alpha, preset.scale_factors
    count, widest = len(scales), max(scales)
    add("learning_rate", "learning_rate", rate, Range(rate / 8, rate * 8, log=True))
    add("scale_factors", "factors", count, Range(2, max(MOST_FACTORS, count), whole=True))
    add("scale_factors", "widest", widest, Range(2.0, max(WIDEST, widest), log=True))
    if settled.get("scale_factors", True):  # without factors there is no layer to set up
        inner = preset.inner_rank
        add("inner_rank", "inner_rank", inner, Range(1, 4 * inner, whole=True))
        add("multiscale_alpha", "multiscale_alpha", alpha, Range(alpha / 4, alpha * 4, log=True))
    add("r", "r", preset.r, Range(max(1, preset.r // 4), 4 * preset.r, log=True, whole=True))
    # With fewer the recheck (audit/recheck.py) would be shorter, and the rows judged differently.
    epochs = Range(math.ceil(EPOCHS_SHARE * preset.epochs), 2 * preset.epochs, whole=True)
    add("num_train_epochs", "num_train_epochs", preset.epochs, epochs)
    if not ranges:
        raise UsageError("tune: every setting is given, expected one to search at least; leave one out")
    return Space(ranges, first, settled, preset.lora_alpha / preset.r)


_SEARCHED = (
    "learning_rate",
    "scale_factors",
    "inner_rank",
    "multiscale_alpha",
    "r",
    "lora_alpha",
    "num_train_epochs",
)


def as_options(settings: Mapping[str, Any]) -> list[str]:
    """Settings as options of ``musclelora train``; those that it has no option for are left out."""
    options: list[str] = []
    for name, flag in FLAGS.items():
        value = settings.get(name)
        if value is None or value is False:
            continue
        options.append(flag)
        if value is not True:
            options.append(",".join(map(_text, value)) if isinstance(value, list | tuple) else _text(value))
    return options


def _short(value: float) -> float:
    """`value` in four digits, so that the options printed are those that were tried."""
    return float(f"{value:.4g}")


def _text(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return str(int(value)) if value == int(value) else repr(float(value))
