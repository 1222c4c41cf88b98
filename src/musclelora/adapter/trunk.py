"""The lower layers of an encoder, frozen and shared by several classifiers that train its upper layers alone.

A few-shot classifier learns little below the upper third of its layers. Where the others are frozen, what
they make of a text is the same for every classifier: it is computed once, and kept while one is trained.

Measured with 72 trusted rows and asked about 500 other rows of SST-2: models of the upper third of
all-mpnet-base-v2 (12 layers) are right in 0.900 and 0.892 of them (two draws), models of all its layers in
0.896 and 0.900, after 1.4 to 1.6 times the training. Of all-minilm-l6-v2 (6 layers) those of the upper third
are right in 0.669, those of all layers in 0.717 (means of three draws): so small an encoder is trained whole.
The script was not kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from musclelora.adapter.backbone import Backbone
from musclelora.adapter.presets import is_decoder

FROZEN: Final = 2 / 3
"""The share of an encoder's layers that is frozen."""
_FEWEST = 12  # layers below which an encoder is cheap to train as a whole
_REMEMBERED = 2**30  # bytes of states that are kept while classifiers are trained on their texts
_PROBED = 31  # tokens of a row that a cut classifier is tried on: no round number, to which some pad
_SAME = 1e-4  # by which its logits may differ


class Trunk:
    """The frozen layers of one encoder.

    Args:
        backbone: a classifier that nobody else has; its own output layer is not used.
        bf16: compute in bfloat16 autocast.

    Attributes:
        model: the whole classifier, frozen.
        depth: how many layers are frozen.
    """

    def __init__(self, backbone: Backbone, *, bf16: bool = False) -> None:
        self.model: Any = backbone.model.eval().requires_grad_(False)
        self._bf16 = bf16
        self._layers = _layers_of(backbone)
        self.depth = 0 if self._layers is None else round(FROZEN * len(_list(self.model, self._layers)))
        self._remembered: dict[bytes, Tensor] = {}
        self._bytes = 0
        self._given: Tensor | None = None
        self._current: Tensor | None = None

    @staticmethod
    def possible(backbone: Backbone) -> bool:
        """Whether an encoder is deep enough, and has one list of layers; :meth:`cut` tries the rest."""
        return _layers_of(backbone) is not None

    def states(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """The hidden states of every layer, from the embeddings' on, each of shape (N, tokens, d).

        Args:
            batch: what the model takes: input_ids and attention_mask, shape (N, tokens), on its device.
        """
        with torch.no_grad(), torch.autocast(self.model.device.type, torch.bfloat16, enabled=self._bf16):
            found: tuple[Tensor, ...] = self.model(**batch, output_hidden_states=True).hidden_states
        return found

    def cut(self, model: Any) -> bool:
        """Take the frozen layers out of another copy of the classifier, in place, and train what is left.

        What is left gives the same logits: it is tried on two rows of tokens, of which one is padded.

        Returns:
            False: it does not, and the model is of no use any more.
        """
        if self._layers is None:
            return False
        model.to(self.model.device)
        ids = torch.arange(1, 1 + 2 * _PROBED, device=model.device) % model.config.vocab_size
        ids = ids.reshape(2, _PROBED)
        mask = torch.ones_like(ids)
        mask[1, _PROBED // 2 :] = 0
        training, bf16 = model.training, self._bf16
        model.eval()
        self._bf16 = False
        try:
            with torch.no_grad():
                before = model(input_ids=ids, attention_mask=mask).logits
            self._take_out(model)
            with self.given(self._recalled(ids, mask)):
                after = model(input_ids=ids, attention_mask=mask).logits
            after.sum().backward()
        except Exception:  # it needs the layers that are gone, or takes no such tokens
            return False
        finally:
            self._bf16 = bf16
            self.forget()
            model.train(training)
        same = torch.allclose(before, after.detach(), atol=_SAME)
        upper = _list(model, self._layers)
        if not same or any(p.requires_grad and p.grad is None for p in upper.parameters()):
            return False
        self._share_frozen(model)
        return True

    def _take_out(self, model: Any) -> None:
        """Leave the upper layers, and give the first of them the trunk's states."""
        parent, _, name = str(self._layers).rpartition(".")
        upper = list(_list(model, str(self._layers)))[self.depth :]
        setattr(model.get_submodule(parent), name, nn.ModuleList(upper))
        upper[0].register_forward_pre_hook(self._put_in, with_kwargs=True)
        model.register_forward_pre_hook(self._look_up, with_kwargs=True)

    @contextlib.contextmanager
    def given(self, states: Tensor) -> Iterator[None]:
        """Classifiers that were cut are called with these states of the layer :attr:`depth`."""
        self._given = states
        try:
            yield
        finally:
            self._given = None

    def forget(self) -> None:
        """Hold no states of texts any more."""
        self._remembered.clear()
        self._bytes = 0

    def _share_frozen(self, model: nn.Module) -> None:
        """Freeze what has no part in the logits any more, and hold it once for all classifiers."""
        own = dict(self.model.named_parameters())
        for name, parameter in list(model.named_parameters()):
            if parameter.grad is None:
                module, _, short = name.rpartition(".")
                setattr(model.get_submodule(module), short, own[name])
            parameter.grad = None

    def _look_up(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before a classifier is called: the states of its texts."""
        if self._given is not None:
            self._current = self._given
            return
        ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        mask = kwargs.get("attention_mask")
        mask = torch.ones_like(ids) if mask is None else mask
        if model.training:
            self._current = self._recalled(ids, mask)
        else:  # its texts are asked about once
            self._current = self.states({"input_ids": ids, "attention_mask": mask})[self.depth]

    def _recalled(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The states of texts, shape (N, tokens, d), 0 where padding is; each text is looked at once."""
        keys = [row[keep].tobytes() for row, keep in zip(_array(ids), _array(mask) > 0, strict=True)]
        if self._bytes > _REMEMBERED:
            self.forget()
        new = [row for row, key in enumerate(keys) if key not in self._remembered]
        if new:
            made = self.states({"input_ids": ids[new], "attention_mask": mask[new]})[self.depth]
            for row, states in zip(new, made, strict=True):
                self._remembered[keys[row]] = kept = states[mask[row] > 0]
                self._bytes += kept.nbytes
        found = nn.utils.rnn.pad_sequence([self._remembered[key] for key in keys], batch_first=True)
        return nn.functional.pad(found, (0, 0, 0, ids.shape[1] - found.shape[1]))

    def _put_in(
        self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Before the first of the upper layers is called: the states that the lower ones would give it."""
        states = self._current  # it stays: with activation checkpointing a layer is called twice
        if "hidden_states" in kwargs:
            return args, {**kwargs, "hidden_states": states}
        return (states, *args[1:]), kwargs


def _array(tensor: Tensor) -> np.ndarray:
    found: np.ndarray = tensor.cpu().numpy()
    return found


def _list(model: nn.Module, name: str) -> nn.ModuleList:
    found = model.get_submodule(name)
    assert isinstance(found, nn.ModuleList)  # noqa: S101  # as its name was found
    return found


def _layers_of(backbone: Backbone) -> str | None:
    """The name of the list of an encoder's layers; None: there is no one such list, or it is a decoder."""
    model: Any = backbone.model
    config = model.config
    aligned = backbone.tokenizer.padding_side == "right"  # a text's tokens begin where its states do
    if is_decoder(config) or config.is_encoder_decoder or not aligned:
        return None
    count = int(getattr(config, "num_hidden_layers", 0) or getattr(config, "n_layers", 0) or 0)
    if count < _FEWEST:
        return None
    lists = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    return lists[0] if len(lists) == 1 else None
