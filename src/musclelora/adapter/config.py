"""The adapter's configuration."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from peft import LoraConfig
from peft.tuners import lora
from torch import nn
from transformers.pytorch_utils import Conv1D

from musclelora.errors import UsageError

ALL_ADAPTED = "all-adapted"


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
        UsageError: a scale factor is not positive and finite, a rank or strength is not positive, or an
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
        super().__post_init__()
        names = self.multiscale_modules
        if self.scale_factors and isinstance(names, list):
            if self.low_rank and self.target_modules is not None and not isinstance(self.target_modules, str):
                self.target_modules = set(self.target_modules) | set(names)
            # PEFT scales a product by alpha / rank; the rank of all branches together is m·r.
            for name in names:
                self.rank_pattern[name] = len(self.scale_factors) * self.inner_rank
                self.alpha_pattern[name] = len(self.scale_factors) * self.multiscale_alpha
        self._register_custom_module({nn.Linear: self._new_layer, Conv1D: self._new_layer})

    def is_multiscale(self, module_name: str) -> bool:
        """Whether the layer of this full name gets the multi-scale layer."""
        names = self.multiscale_modules
        if not self.scale_factors or not isinstance(names, list):
            return False
        return any(module_name == name or module_name.endswith(f".{name}") for name in names)

    @staticmethod
    def _new_layer(target: nn.Module, adapter_name: str, config: MuScleLoraConfig, **kwargs: Any) -> nn.Module:
        from musclelora.adapter.layer import MultiScaleLinear

        conv1d = isinstance(target, Conv1D)
        config.fan_in_fan_out = conv1d
        layer = MultiScaleLinear if config.is_multiscale(kwargs["target_name"]) else lora.Linear
        return layer(target, adapter_name, config=config, is_target_conv_1d_layer=conv1d, **kwargs)


def _check(config: MuScleLoraConfig) -> None:
    for scale in config.scale_factors or ():
        if not (math.isfinite(scale) and scale > 0):
            raise UsageError(
                f"scale_factors: found {scale:g} in {config.scale_factors}, expected positive finite numbers; "
                "leave it out or pass an empty list to switch the multi-scale layer off"
            )
    for name in ("r", "inner_rank"):
        if getattr(config, name) < 1:
            raise UsageError(
                f"{name}: found {getattr(config, name)}, expected a whole number of 1 or more; raise it"
            )
    for name in ("lora_alpha", "multiscale_alpha"):
        value = getattr(config, name)
        if not (math.isfinite(value) and value > 0):
            raise UsageError(f"{name}: found {value}, expected a positive finite number; raise it")
    if config.use_dora or config.use_rslora or config.lora_bias:
        raise UsageError(
            "use_dora, use_rslora and lora_bias: found one set, expected none; "
            "the multi-scale layer must stay an ordinary low-rank product, so switch them off"
        )
