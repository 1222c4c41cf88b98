"""Putting the adapter into a classifier, through PEFT."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from musclelora.adapter.backbone import Backbone
from musclelora.adapter.config import ALL_ADAPTED, MuScleLoraConfig
from musclelora.adapter.placement import Placement, find_placement, insert_bottleneck
from musclelora.adapter.presets import Preset
from musclelora.errors import ModelError, UsageError
from musclelora.files import atomic_file


@dataclass
class Adapted:
    """A classifier with the adapter in it.

    Attributes:
        model: a ``PeftModel``, or the classifier itself where no layer is adapted.
        config: the configuration with every None filled in.
        placement: where the layers are, as names in the classifier.
        own: names of the parameters that are trained or started random: all that a run has to keep.
    """

    model: PreTrainedModel | PeftModel
    config: MuScleLoraConfig
    placement: Placement
    own: frozenset[str]

    def tensors(self) -> dict[str, Tensor]:
        """The current values of the `own` parameters, by name."""
        return {name: p.detach() for name, p in self.model.named_parameters() if name in self.own}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`tensors` to one safetensors file, bit by bit, whole or not at all."""
        with atomic_file(path) as temporary:
            tensors = {name: tensor.cpu().contiguous() for name, tensor in self.tensors().items()}
            save_file(tensors, temporary, metadata={"format": "pt"})

    @torch.no_grad()
    def load(self, path: str | os.PathLike[str]) -> None:
        """Read what :meth:`save` wrote.

        Raises:
            ModelError: the file is missing or damaged, or belongs to another model.
        """
        place = Path(path)
        try:
            tensors = load_file(place)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{place}: cannot be read ({error}); train again or restore the file") from error
        parameters = {name: p for name, p in self.model.named_parameters() if name in self.own}
        if {n: t.shape for n, t in tensors.items()} != {n: p.shape for n, p in parameters.items()}:
            raise ModelError(
                f"{place}: its parameters are not those of this model; "
                "use the backbone, labels and adapter settings that it was trained with"
            )
        for name, tensor in tensors.items():
            parameters[name].copy_(tensor)


def attach(backbone: Backbone, config: MuScleLoraConfig, preset: Preset) -> Adapted:
    """Adapt a backbone's classifier in place, and set which of its parameters are trained.

    Args:
        backbone: a bottleneck is inserted before its output layer when the multi-scale lever is on, nothing
            says where it goes, and the classifier has no dense layer there.
        config: what to adapt; whatever is None is taken from `preset` or found in the model.
        preset: the backbone's preset.

    Raises:
        ModelError: the layers to adapt cannot be found.
        UsageError: a named layer does not exist or is not a dense one.
    """
    model, config = backbone.model, copy.deepcopy(config)
    pretrained = {id(p) for name, p in model.named_parameters() if name not in backbone.new_parameters}
    placement = find_placement(model)
    if config.scale_factors is None:
        config.scale_factors = list(preset.scale_factors)
    if config.scale_factors and config.multiscale_modules is None:
        if placement.dense is None:
            placement = insert_bottleneck(model, placement)
        config.multiscale_modules = [placement.dense or ""]
    attention: list[str] = []
    if config.low_rank:
        wanted = placement.attention if config.target_modules is None else config.target_modules
        attention = _dense_layers(model, wanted, "target_modules")
    multiscale: list[str] = []
    if config.scale_factors:
        wanted = config.multiscale_modules or ()
        if wanted == ALL_ADAPTED:
            wanted = [*attention, *filter(None, [placement.dense])]
        multiscale = _dense_layers(model, wanted, "multiscale_modules")
    config.multiscale_modules = multiscale
    config.target_modules = {*attention, *multiscale}
    config.__post_init__()

    adapted: PreTrainedModel | PeftModel = model
    if config.target_modules:
        adapted = get_peft_model(model, config)
    for name, parameter in adapted.named_parameters():
        parameter.requires_grad_("lora_" in name or not config.low_rank)
    output = model.get_submodule(placement.output)
    output.requires_grad_(config.train_output_layer or not config.low_rank)
    fresh = {id(p) for p in output.parameters()}
    own = frozenset(
        name
        for name, p in adapted.named_parameters()
        if p.requires_grad or id(p) not in pretrained or id(p) in fresh
    )
    return Adapted(adapted, config, placement, own)


def _dense_layers(model: nn.Module, names: Iterable[str] | str, option: str) -> list[str]:
    """Full names of the dense layers that `names` (ends of full names) mean."""
    dense = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]
    found: dict[str, None] = {}
    for name in [names] if isinstance(names, str) else sorted(names):
        matches = [layer for layer in dense if layer == name or layer.endswith(f".{name}")]
        if not matches:
            raise UsageError(
                f"{option}: found {name!r}, which is no dense layer of {type(model).__name__}; "
                f"expected the end of a layer's name, such as {', '.join(dense[-3:])}"
            )
        found.update(dict.fromkeys(matches))
    return list(found)
