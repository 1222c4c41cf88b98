"""The multi-scale low-rank layer."""

from __future__ import annotations

import math
from typing import Any

import torch
from peft.tuners import lora
from torch import Tensor, nn

from musclelora.adapter.config import MuScleLoraConfig


class MultiScaleLinear(lora.Linear):
    """A frozen dense layer with low-rank branches that see its input at several radial scales.

    It computes::

        y = W x + b + (α / r) · R · diag(K) · L · x        K = (s_1, …, s_1, s_2, …, s_m), each r times

    Scaling an input by s compresses the spectrum of the function to be learned by s, so that what was high
    frequency is learned sooner ("Acquiring Clean Language Models from Backdoor Poisoned Datasets by
    Downscaling Frequency Space", ACL 2024, the section on multiple radial scalings). L and R are PEFT's
    ``lora_A`` and ``lora_B``; both start Kaiming-uniform with a = √5, so the layer is perturbed at start.

    K is constant, so diag(K)·L is an ordinary LoRA factor. ``state_dict()`` holds that folded form: whatever
    PEFT saves from this layer is an ordinary LoRA adapter, and loads as one where this package is absent.
    Loading divides K out again.

    Shapes: x (*, d_in) to y (*, d_out); L (m·r, d_in); R (d_out, m·r); K (m·r,).

    Args:
        base_layer: the frozen dense layer (``nn.Linear`` or transformers' ``Conv1D``).
        adapter_name: PEFT's name of the adapter.
        config: holds the scale factors s_1..s_m, the inner rank r and the strength α.
        **kwargs: what PEFT's ``LoraModel`` passes to its layers.
    """

    def __init__(
        self, base_layer: nn.Module, adapter_name: str, config: MuScleLoraConfig, **kwargs: Any
    ) -> None:
        super().__init__(base_layer, adapter_name, config=config, **kwargs)
        self.register_state_dict_post_hook(_fold)
        self.register_load_state_dict_pre_hook(_unfold)

    def update_layer(
        self, adapter_name: str, r: int, lora_alpha: int, config: MuScleLoraConfig, **kwargs: Any
    ) -> None:
        """Create L, R and K for one adapter (called by PEFT)."""
        super().update_layer(adapter_name, r, lora_alpha=lora_alpha, config=config, **kwargs)
        low, up = self.lora_A[adapter_name], self.lora_B[adapter_name]
        dtype = torch.promote_types(low.weight.dtype, torch.float32)
        scales = torch.ones(r, dtype=dtype, device="cpu")
        name = kwargs.get("target_name")
        # Another adapter on the same layer may be a plain one.
        if isinstance(config, MuScleLoraConfig) and (name is None or config.is_multiscale(name)):
            scales = torch.tensor(config.scale_factors, dtype=dtype, device="cpu")
            scales = scales.repeat_interleave(config.inner_rank)
            if low.weight.device.type != "meta" and config.init_lora_weights is True:
                nn.init.kaiming_uniform_(low.weight, a=math.sqrt(5))
                nn.init.kaiming_uniform_(up.weight, a=math.sqrt(5))
        base = self.get_base_layer().weight
        if base.device.type != "meta":
            scales = scales.to(base.device)
        # A buffer follows the module to another device; the configuration, not the weights file, holds it.
        self.register_buffer(_buffer(adapter_name), scales, persistent=False)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The formula above, summed over the active adapters."""
        if self.disable_adapters and self.merged:
            self.unmerge()
        y: Tensor = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters or self.merged:
            return y
        dtype = y.dtype
        for name in self.active_adapters:
            if name in self.lora_A:
                low, up = self.lora_A[name], self.lora_B[name]
                x = self._cast_input_dtype(x, low.weight.dtype)
                inner = low(self.lora_dropout[name](x))
                # K may be wider than a half-precision model.
                y = y + self.scaling[name] * up((inner * self.scales(name)).to(inner.dtype))
        return y.to(dtype)

    def scales(self, adapter_name: str) -> Tensor:
        """K, shape (m·r,)."""
        scales: Tensor = self.get_buffer(_buffer(adapter_name))
        return scales

    def get_delta_weight(self, adapter: str) -> Tensor:
        """(α / r) · R · diag(K) · L in the layout of the base layer's weight (what merging adds to it)."""
        low, up = self.lora_A[adapter].weight, self.lora_B[adapter].weight
        # Half-precision products on a CPU are slow and coarse.
        wide = torch.promote_types(low.dtype, torch.float32)
        delta: Tensor = self.scaling[adapter] * (up.to(wide) * self.scales(adapter).to(wide)) @ low.to(wide)
        return (delta.T if self.fan_in_fan_out else delta).to(low.dtype)

    def __repr__(self) -> str:
        return f"musclelora.{super().__repr__().removeprefix('lora.')}"


def _buffer(adapter_name: str) -> str:
    return f"lora_scales_{adapter_name}"


def _fold(module: MultiScaleLinear, state: dict[str, Any], prefix: str, _: Any) -> None:
    for name in module.lora_A:
        key = f"{prefix}lora_A.{name}.weight"
        if key in state:
            state[key] = state[key] * module.scales(name).to(state[key])[:, None]


def _unfold(module: MultiScaleLinear, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name in module.lora_A:
        key = f"{prefix}lora_A.{name}.weight"
        if key in state:
            state[key] = state[key] / module.scales(name).to(state[key])[:, None]
