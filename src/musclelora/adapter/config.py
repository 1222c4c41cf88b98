"""The adapter's configuration."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any

import torch
from peft import LoraConfig
from torch import nn
from transformers.pytorch_utils import Conv1D

from musclelora.errors import UsageError
from musclelora.limits import NUMBERS, RANK

ALL_ADAPTED = "all-adapted"

_FLOAT32 = torch.finfo(torch.float32)


@dataclass
class MuScleLoraConfig(LoraConfig):
    """A PEFT ``LoraConfig`` with multi-scale low-rank layers (see :mod:`musclelora.adapter.layer`).

    It works wherever a ``LoraConfig`` does, :func:`peft.get_peft_model` included, once ``target_modules``,
    ``scale_factors`` and ``multiscale_modules`` are given. :func:`musclelora.adapter.attach` fills in
    whatever is None from the model: LoRA on the attention projections of every block, the multi-scale layer
    on the last dense layer before the output layer, scale factors from the backbone's preset.

    Args:
        r: rank of the plain LoRA layers (published: 8).
        lora_alpha: α of the plain LoRA layers; their product is scaled by α / r (published: 32).
        lora_dropout: dropout before the low-rank factors (published: 0).
        scale_factors: s_1..s_m, each positive and finite; empty switches the multi-scale lever off; None
            takes the preset's.
        inner_rank: r of the multi-scale layer, for each scale factor (published: 1).
        multiscale_alpha: α of the multi-scale layer (published: 6 for encoders, 4 for decoders).
        multiscale_modules: names of the dense layers that get the multi-scale layer, as suffixes of their
            full name; ``"all-adapted"`` for every adapted layer; None for the last dense layer before the
            output layer.
        low_rank: False leaves LoRA out, and the backbone itself is trained (an ablation).
        train_output_layer: whether the randomly initialised output layer is trained (published: frozen).

    Raises:
        UsageError: a scale factor is not positive and finite, a rank is not from 1 to
            8,192, a strength is not positive, or an
            option of ``LoraConfig`` is set that changes what the low-rank product means.
    """

    r: int = field(default=8, metadata={"help": "Rank of the plain LoRA layers"})
    lora_alpha: int = field(default=32, metadata={"help": "Strength α of the plain LoRA layers"})
    scale_factors: list[float] | None = field(
        default=None, metadata={"help": "Radial scale factors; empty: none"}
    )
    inner_rank: int = field(default=1, metadata={"help": "Rank of the multi-scale layer per scale factor"})
    multiscale_alpha: float = field(default=6.0, metadata={"help": "Strength α of the multi-scale layer"})
    multiscale_modules: list[str] | str | None = field(
        default=None, metadata={"help": "Layers that get the multi-scale layer; None: found in the model"}
    )
    low_rank: bool = field(default=True, metadata={"help": "False trains the backbone itself"})
    train_output_layer: bool = field(
        default=False, metadata={"help": "Train the randomly initialised output layer"}
    )

    def __post_init__(self) -> None:
        _check(self)
        if self.scale_factors is not None:
            self.scale_factors = [float(scale) for scale in self.scale_factors]
        names = self.multiscale_modules
        if names is not None and names != ALL_ADAPTED:
            names = self.multiscale_modules = [names] if isinstance(names, str) else sorted(names)
        super().__post_init__()
        inherited: Any = self  # mypy does not see the fields of PEFT's class
        if self.scale_factors and names:
            patterns = [".*"] if names == ALL_ADAPTED else list(names)
            targets = inherited.target_modules
            if self.low_rank and names != ALL_ADAPTED and isinstance(targets, list | tuple | set):
                inherited.target_modules = {*targets, *names}
            # PEFT scales a product by alpha / rank; the rank of all branches together is m·r.
            branches = len(self.scale_factors)
            ranks = dict.fromkeys(patterns, branches * self.inner_rank)
            alphas = dict.fromkeys(patterns, branches * self.multiscale_alpha)
            # The first pattern that matches counts, so these stand before any other.
            inherited.rank_pattern = ranks | (inherited.rank_pattern or {}) | ranks
            inherited.alpha_pattern = alphas | (inherited.alpha_pattern or {}) | alphas
        self._register_custom_module({nn.Linear: self._new_layer, Conv1D: self._new_layer})

    @classmethod
    def from_peft_type(cls, **kwargs: Any) -> MuScleLoraConfig:
        """Build from saved fields, for ``from_pretrained``; PEFT would build a plain ``LoraConfig``."""
        known = {item.name for item in fields(cls) if item.init}
        return cls(**{name: value for name, value in kwargs.items() if name in known})

    def is_multiscale(self, module_name: str) -> bool:
        """Whether the layer of this full name gets the multi-scale layer."""
        names = self.multiscale_modules
        if not self.scale_factors or not names:
            return False
        if names == ALL_ADAPTED:
            return True
        return any(module_name == name or module_name.endswith(f".{name}") for name in names)

    @staticmethod
    def _new_layer(
        target: nn.Module, adapter_name: str, config: MuScleLoraConfig, **kwargs: Any
    ) -> nn.Module | None:
        from musclelora.adapter.layer import MultiScaleLinear

        if config.scale_factors is None or (config.scale_factors and config.multiscale_modules is None):
            raise UsageError(
                "scale_factors and multiscale_modules: found None, which only attach() of musclelora fills "
                "in; give both, or scale_factors=[] for plain LoRA"
            )
        conv1d = isinstance(target, Conv1D)
        config.fan_in_fan_out = conv1d
        if not config.is_multiscale(kwargs["target_name"]):
            return None  # PEFT makes its own layer
        return MultiScaleLinear(target, adapter_name, config=config, is_target_conv_1d_layer=conv1d, **kwargs)


def _check(config: MuScleLoraConfig) -> None:
    scales: Any = () if config.scale_factors is None else config.scale_factors
    if isinstance(scales, str) or not isinstance(scales, Iterable):
        raise UsageError(f"scale_factors: found {scales!r}, expected a list of positive finite numbers")
    if len(list(scales)) > NUMBERS:
        raise UsageError(f"scale_factors: found {len(list(scales))}, expected at most {NUMBERS}; give fewer")
    for scale in scales:
        # As float32, the precision that the layer keeps them in.
        if not _is_number(scale) or not _FLOAT32.tiny <= scale <= _FLOAT32.max:
            raise UsageError(
                f"scale_factors: found {scale!r} in {list(scales)}, expected positive finite numbers; "
                "leave it out or pass an empty list to switch the multi-scale layer off"
            )
    for name in ("r", "inner_rank"):
        value = getattr(config, name)
        if not (isinstance(value, Integral) and _is_number(value) and 1 <= int(value) <= RANK):
            raise UsageError(f"{name}: found {value!r}, expected a whole number from 1 to {RANK}; change it")
    for name in ("lora_alpha", "multiscale_alpha"):
        value = getattr(config, name)
        if not (_is_number(value) and 0 < value < math.inf):
            raise UsageError(f"{name}: found {value!r}, expected a positive finite number; raise it")
    if not (_is_number(config.lora_dropout) and 0 <= config.lora_dropout < 1):
        raise UsageError(f"lora_dropout: found {config.lora_dropout!r}, expected a number from 0 to below 1")
    # Each of these is more than W + (α / r)·B·A, or alters W.
    names = [item.name for item in fields(config) if item.metadata.get("is_lora_variant")]
    found = [name for name in ("use_rslora", "lora_bias", *names) if getattr(config, name)]
    if not isinstance(config.init_lora_weights, bool) and config.init_lora_weights != "gaussian":
        found.append(f"init_lora_weights={config.init_lora_weights!r}")
    if found:
        raise UsageError(
            f"{', '.join(found)}: found set, expected none; the adapter must stay an ordinary low-rank "
            "product on untouched weights, so switch it off"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
