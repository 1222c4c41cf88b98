"""Finding the layers of a classifier that the method adapts, and giving it one where it has none."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from musclelora.data.messages import cut
from musclelora.errors import ModelError, UsageError

BOTTLENECK_WIDTH = 16

_ATTENTION = re.compile(r"attn|attention")


@dataclass(frozen=True)
class Placement:
    """Full module names of the layers that matter to the method.

    Attributes:
        attention: the dense projections inside every block's attention.
        dense: the last dense layer before the output layer, or None where the model has none outside its
            blocks.
        output: the layer whose outputs are the class logits, or None in a language model, whose head is a
            part of what was pretrained.
    """

    attention: tuple[str, ...]
    dense: str | None
    output: str | None


def find_placement(model: PreTrainedModel) -> Placement:
    """Find the layers to adapt in a sequence classifier by watching one forward pass of two tokens.

    Of a language model only the attention projections are found.

    The output layer is the last dense layer to run whose width is the number of labels; the dense layer
    before it counts when it belongs to the head or the pooler, not to a block. The attention projections
    are all dense layers below a module called attention, by name; there may be none.

    Raises:
        ModelError: the model cannot be run on two tokens, or no output layer was seen.
    """
    modules = dict(model.named_modules())
    attention = tuple(
        name
        for name, module in modules.items()
        if isinstance(module, nn.Linear | Conv1D)
        and _in_block(name)
        and any(_ATTENTION.search(part) for part in name.split("."))
    )
    if model.get_output_embeddings() is not None:
        return Placement(attention, dense=None, output=None)
    order = _dense_layers_in_order(model)
    labels = model.config.num_labels
    outputs = [name for name in order if getattr(modules[name], "out_features", None) == labels]
    if not outputs:
        raise ModelError(
            f"{type(model).__name__}: no dense layer of {labels} outputs ran; "
            "expected a sequence classifier whose last layer gives the logits; choose another model"
        )
    output = outputs[-1]
    before = order[: len(order) - 1 - order[::-1].index(output)]
    dense = before[-1] if before and not _in_block(before[-1]) else None
    return Placement(attention, dense, output)


def ends_of_sublayers(model: PreTrainedModel) -> list[str]:
    """The dense layers whose outputs a block adds to its input: the last of its attention, and its last.

    Raises:
        ModelError: the model cannot be run on two tokens.
    """
    attention: dict[str, str] = {}
    last: dict[str, str] = {}
    for name in _dense_layers_in_order(model):
        if _in_block(name):
            parts = name.split(".")
            block = ".".join(parts[: next(i for i, part in enumerate(parts) if part.isdigit()) + 1])
            last[block] = name
            if any(_ATTENTION.search(part) for part in parts):
                attention[block] = name
    return sorted({*attention.values(), *last.values()})


class BottleneckHead(nn.Module):
    """Two dense layers d → width → C in place of one output layer, with nothing between them.

    The published recipe for decoders inserts the first of them for the multi-scale layer to sit on. As there
    is no non-linearity in between, both fold into one output layer: see :meth:`folded`.

    Shapes: (*, d) to (*, C).

    Args:
        output: the output layer to replace, d → C.
        width: the width of the bottleneck; at least C, or some classes could not be told apart.
    """

    def __init__(self, output: nn.Linear, width: int = BOTTLENECK_WIDTH) -> None:
        super().__init__()
        width = max(width, output.out_features)
        bias = output.bias is not None
        factory = {"device": output.weight.device, "dtype": output.weight.dtype}
        self.dense = nn.Linear(output.in_features, width, bias=bias, **factory)
        self.out = nn.Linear(width, output.out_features, bias=bias, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (*, d) to (*, C)."""
        logits: Tensor = self.out(self.dense(x))
        return logits

    @torch.no_grad()
    def folded(self) -> nn.Linear:
        """The one output layer that computes the same."""
        bias = self.out.bias is not None
        output = nn.Linear(
            self.dense.in_features,
            self.out.out_features,
            bias=bias,
            device=self.out.weight.device,
            dtype=self.dense.weight.dtype,
        )
        # The two may differ, and a product of half precision is rounded once rather than twice.
        wide = torch.promote_types(self.out.weight.dtype, torch.float32)
        out = self.out.weight.to(wide)
        output.weight.copy_(out @ self.dense.weight.to(wide))
        if bias:
            output.bias.copy_(self.out.bias + out @ self.dense.bias.to(wide))
        return output


def insert_bottleneck(model: PreTrainedModel, placement: Placement) -> Placement:
    """Put a :class:`BottleneckHead` in place of the output layer, and say where its layers now are.

    Raises:
        UsageError: a language model has no such layer.
    """
    if placement.output is None:
        raise UsageError(
            "--scale-factors: found without --multiscale-modules, expected the layers of the language model "
            "that get the multi-scale layer, by name, or all-adapted"
        )
    head = BottleneckHead(model.get_submodule(placement.output))
    model.set_submodule(placement.output, head)
    return Placement(placement.attention, f"{placement.output}.dense", f"{placement.output}.out")


def fold_bottlenecks(model: nn.Module) -> None:
    """Replace every bottleneck head by the one output layer that computes the same."""
    for name, module in list(model.named_modules()):
        if isinstance(module, BottleneckHead):
            model.set_submodule(name, module.folded())


def _in_block(name: str) -> bool:
    return any(part.isdigit() for part in name.split("."))


@torch.no_grad()
def _dense_layers_in_order(model: PreTrainedModel) -> list[str]:
    order: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda *_, name=name: order.append(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    ]
    training = model.training
    # Which layers run does not depend on the attention, and flash attention does not run on a CPU.
    attention = model.config._attn_implementation
    if attention == "flash_attention_2":
        model.set_attn_implementation("eager")
    eos = getattr(model.config, "eos_token_id", None)
    entries = model.get_input_embeddings().weight.shape[0]
    last = eos if isinstance(eos, int) and 0 <= eos < entries else min(2, entries - 1)
    ids = torch.tensor([[min(1, entries - 1), last]], device=model.device)
    try:
        model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids))
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__}: it cannot be run on two tokens ({cut(str(error))}); "
            "expected a text classifier that takes input_ids and attention_mask; choose another model"
        ) from error
    finally:
        if attention == "flash_attention_2":
            model.set_attn_implementation(attention)
        model.train(training)
        for handle in handles:
            handle.remove()
    return order
