"""Putting the adapter into a classifier, through PEFT."""

from __future__ import annotations

import contextlib
import copy
import os
import re
from collections.abc import Iterable, Iterator, Mapping
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
from musclelora.adapter.loading import is_quantized
from musclelora.adapter.placement import Placement, find_placement, insert_bottleneck
from musclelora.adapter.presets import Preset
from musclelora.data.pretrained import is_finite
from musclelora.errors import ModelError, UsageError
from musclelora.files import atomic_file, special
from musclelora.hashes import altered, hashing, sha256_of_files

_HALF = (torch.bfloat16, torch.float16)


@dataclass
class Adapted:
    """A classifier with the adapter in it.

    Attributes:
        model: a ``PeftModel``, or the classifier itself where no layer is adapted.
        config: the configuration with every None filled in.
        placement: where the layers are, as names in the classifier.
        own: names of the parameters that are trained or started random: all that a run has to keep.
        asked: the configuration as it was given.
        preset: what filled it in.
    """

    model: PreTrainedModel | PeftModel
    config: MuScleLoraConfig
    placement: Placement
    own: frozenset[str]
    asked: MuScleLoraConfig
    preset: Preset

    def tensors(self) -> dict[str, Tensor]:
        """The current values of the `own` parameters, by name."""
        return {name: p.detach() for name, p in self.model.named_parameters() if name in self.own}

    def save(self, path: str | os.PathLike[str]) -> str:
        """Write :meth:`tensors` to one safetensors file, bit by bit, whole or not at all; its hash."""
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.tensors().items()}
        with atomic_file(path) as temporary, safetensors_errors():
            save_file(tensors, temporary, metadata={"format": "pt"})
            return sha256_of_files([temporary])

    def onto(self, backbone: Backbone, sha256: str | None = None) -> Adapted:
        """The same adapter, with its current values, on the same backbone loaded another way.

        Args:
            backbone: the backbone.
            sha256: of the files that it was loaded from before; None: any will do.

        Raises:
            ModelError: it is another backbone, or its files are others by now.
        """
        if None not in (sha256, backbone.sha256) and sha256 != backbone.sha256:
            raise altered(backbone.name, str(sha256), str(backbone.sha256), "restore the model's files")
        other = attach(backbone, self.asked, self.preset)
        other._take(self.tensors(), backbone.name)
        return other

    def load(self, path: str | os.PathLike[str], sha256: str | None = None) -> None:
        """Read what :meth:`save` wrote.

        Args:
            path: the file.
            sha256: what :meth:`save` returned; None: any hash will do.

        Raises:
            ModelError: the file is missing, damaged or altered, belongs to another model, or holds something
                else than finite numbers of the model's own precision.
        """
        place = Path(path)
        found = special(place)
        try:
            if found is not None:
                raise OSError(f"found {found}, expected a file")
            with hashing([place]) as now:
                tensors = load_file(place)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{place}: cannot be read ({error}); train again or restore the file") from error
        if sha256 is not None and now[0] != sha256:
            raise altered(place, sha256, now[0], "restore the file or train again")
        self._check_types(tensors, place)
        self._take(tensors, str(place))

    def _check_types(self, tensors: Mapping[str, Tensor], place: Path) -> None:
        types = {name: p.dtype for name, p in self.model.named_parameters()}
        for name, tensor in tensors.items():
            if tensor.dtype != types.get(name, tensor.dtype):
                found, expected = (str(kind).removeprefix("torch.") for kind in (tensor.dtype, types[name]))
                raise ModelError(
                    f"{place}: found {name} of type {found}, expected {expected}; restore the file or train "
                    "again"
                )

    @torch.no_grad()
    def _take(self, tensors: Mapping[str, Tensor], place: str) -> None:
        parameters = {name: p for name, p in self.model.named_parameters() if name in self.own}
        if {n: t.shape for n, t in tensors.items()} != {n: p.shape for n, p in parameters.items()}:
            raise ModelError(
                f"{place}: its parameters are not those of this model; "
                "use the backbone, labels and adapter settings that it was trained with"
            )
        for name, tensor in tensors.items():
            if not is_finite(tensor):
                raise ModelError(
                    f"{place}: found values in {name} that are not finite, expected finite weights; restore "
                    "the file or train again"
                )
        for name, tensor in tensors.items():
            parameters[name].copy_(tensor)


def attach(backbone: Backbone, config: MuScleLoraConfig, preset: Preset) -> Adapted:
    """Adapt a backbone's model in place, and set which of its parameters are trained.

    Args:
        backbone: a bottleneck is inserted before its output layer when the multi-scale lever is on, nothing
            says where it goes, and the classifier has no dense layer there.
        config: what to adapt; whatever is None is taken from `preset` or found in the model.
        preset: the backbone's preset.

    Raises:
        ModelError: the layers to adapt cannot be found.
        UsageError: a named layer does not exist or is not a dense one, the configuration has an option of
            PEFT that also says what is adapted or trained, or it trains the backbone itself where that is not
            held in float32.
    """
    _refuse_rivals(config)
    asked = config
    model, config = backbone.model, copy.deepcopy(config)
    if not config.low_rank:
        _check_trainable_itself(model)
    config.task_type = None  # for a task PEFT would wrap the output layer; here it is handled below
    pretrained = {p for name, p in model.named_parameters() if name not in backbone.new_parameters}
    placement = find_placement(model)
    if config.scale_factors is None:
        config.scale_factors = list(preset.scale_factors)
    if config.scale_factors and config.multiscale_modules is None:
        if placement.dense is None:
            placement = insert_bottleneck(model, placement)
        config.multiscale_modules = [placement.dense or ""]
    attention: list[str] = []
    if config.low_rank and config.target_modules is not None:
        attention = _dense_layers(model, config.target_modules, "target_modules")
    elif config.low_rank:
        attention = list(placement.attention)
        if not attention:
            raise ModelError(
                f"{type(model).__name__}: no attention projection was found by name; "
                "name the layers to adapt with --target-modules"
            )
    multiscale: list[str] = []
    if config.scale_factors and config.multiscale_modules == ALL_ADAPTED:
        multiscale = list(dict.fromkeys([*attention, *filter(None, [placement.dense])]))
    elif config.scale_factors:
        multiscale = _dense_layers(model, config.multiscale_modules or (), "multiscale_modules")
    config.multiscale_modules = multiscale
    config.target_modules = {*attention, *multiscale}
    config.__post_init__()

    if not (config.target_modules or config.train_output_layer or not config.low_rank):
        raise UsageError(
            "target_modules and scale_factors: found both empty, which leaves nothing to train; "
            "name layers to adapt"
        )

    output: set[nn.Parameter] = set()
    if placement.output:
        if config.train_output_layer:
            _widen(model.get_submodule(placement.output))
        output = set(model.get_submodule(placement.output).parameters())
    adapted: PreTrainedModel | PeftModel = model
    if config.target_modules:
        adapted = get_peft_model(model, config)
    for name, parameter in adapted.named_parameters():
        trained = "lora_" in name or (config.train_output_layer and parameter in output)
        parameter.requires_grad_(trained or not config.low_rank)
    own = frozenset(
        name
        for name, p in adapted.named_parameters()
        if p.requires_grad or p not in pretrained or p in output
    )
    return Adapted(adapted, config, placement, own, asked, preset)


@contextlib.contextmanager
def safetensors_errors() -> Iterator[None]:
    """Turn a refused write, which safetensors has an exception of its own for, back into an ``OSError``."""
    try:
        yield
    except SafetensorError as error:
        refused = re.search(r"os error (\d+)", str(error))
        if refused is None:
            raise
        code = int(refused[1])
        raise OSError(code, os.strerror(code)) from error


def _check_trainable_itself(model: PreTrainedModel) -> None:
    quantized = is_quantized(model)
    if quantized or model.dtype in _HALF:
        flag = "--quantize" if quantized else f"--dtype {str(model.dtype).removeprefix('torch.')}"
        raise UsageError(
            f"{flag}: found where the backbone itself is trained, expected float32 weights, as smaller ones "
            "round the updates away; leave it out, or train with LoRA"
        )


def _widen(layer: nn.Module) -> None:
    """Let a trained layer compute in float32 inside a model of half precision, which rounds updates away."""
    if next(layer.parameters()).dtype in _HALF:
        layer.float()
        layer.register_forward_pre_hook(_as_float32)


def _as_float32(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.float() for tensor in inputs)


def _refuse_rivals(config: MuScleLoraConfig) -> None:
    rivals = (
        "exclude_modules",
        "layer_replication",
        "layers_to_transform",
        "modules_to_save",
        "target_parameters",
        "trainable_token_indices",
    )
    found = [name for name in rivals if getattr(config, name)]
    if config.bias != "none":
        found.append("bias")
    if found:
        raise UsageError(
            f"{', '.join(found)}: found set, expected unset; target_modules, multiscale_modules and "
            "train_output_layer say what is adapted and trained, so use those"
        )


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
