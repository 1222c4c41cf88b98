"""Backbones of one model for several trainings, whose weights are read from their files once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import torch
from torch import nn
from transformers.initialization import guard_torch_init_functions

from musclelora.adapter.backbone import Backbone, load_backbone

COPIED: Final = 2**31
"""Bytes of a model that is copied at most; a larger one is read anew, as memory may not hold it twice."""


class Backbones:
    """Gives backbones of one model, each as :func:`load_backbone` gives it.

    The first one of a kind is read and kept; the others are copies of it whose new parameters are drawn
    anew, from the same random numbers as when the model is read.

    Args:
        model: an embedded model, a hub name or a folder.

    Attributes:
        loads: how often the files were read.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self.loads = 0
        self._kept: dict[tuple[Any, ...], Backbone] = {}

    def kept(self, label_names: Sequence[str], **loading: Any) -> Backbone:
        """The one that copies are made of: to be read, and not to be altered until it is taken.

        Args:
            label_names: the C class names.
            **loading: as :func:`load_backbone` takes it.

        Raises:
            ModelError, UsageError: as :func:`load_backbone` does.
        """
        key = _key(label_names, loading)
        if key not in self._kept:
            self._kept[key] = self._load(label_names, **loading)
        return self._kept[key]

    def fresh(self, label_names: Sequence[str], **loading: Any) -> Backbone:
        """A backbone that nobody else has; arguments and errors are those of :meth:`kept`."""
        key = _key(label_names, loading)
        if key not in self._kept:
            found = self._load(label_names, **loading)
            if found.model.get_memory_footprint() > COPIED:
                return found
            self._kept[key] = found
            return _copy(found)
        if self._kept[key].model.get_memory_footprint() > COPIED:
            return self._load(label_names, **loading)
        found = _copy(self._kept[key])
        draw_new_parameters(found)
        return found

    def take(self, label_names: Sequence[str], **loading: Any) -> Backbone:
        """As :meth:`fresh`, for the last of a kind: the one that was kept is given away."""
        found = self._kept.pop(_key(label_names, loading), None)
        self.forget()
        if found is None:
            return self._load(label_names, **loading)
        draw_new_parameters(found)
        return found

    def forget(self) -> None:
        """Hold none any more; the next one is read anew."""
        self._kept.clear()

    def _load(self, label_names: Sequence[str], **loading: Any) -> Backbone:
        self.loads += 1
        return load_backbone(self.model, label_names, **loading)


def _key(label_names: Sequence[str], loading: dict[str, Any]) -> tuple[Any, ...]:
    given = {name: value for name, value in loading.items() if value is not None}
    return tuple(label_names), *sorted(given.items())


def _copy(backbone: Backbone) -> Backbone:
    return replace(backbone, model=copy.deepcopy(backbone.model), tokenizer=copy.deepcopy(backbone.tokenizer))


@torch.no_grad()
def draw_new_parameters(backbone: Backbone) -> None:
    """Draw the parameters that were not in the checkpoint anew, as transformers draws them, in place."""
    model, new = backbone.model, backbone.new_parameters
    known = [p for name, p in model.named_parameters() if name not in new] + list(model.buffers())
    for tensor in known:
        tensor._is_hf_initialized = True  # what transformers' own functions leave alone
    try:
        with guard_torch_init_functions():
            for name, module in _children_first(model):
                if any(parameter.startswith(f"{name}." if name else "") for parameter in new):
                    model._init_weights(module)
    finally:
        for tensor in known:
            del tensor._is_hf_initialized


def _children_first(module: nn.Module, name: str = "") -> list[tuple[str, nn.Module]]:
    found: list[tuple[str, nn.Module]] = []
    for short, child in module.named_children():
        found += _children_first(child, f"{name}.{short}" if name else short)
    return [*found, (name, module)]
