"""Bottleneck adapters."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import PreTrainedModel

from musclelora.adapter import Backbone
from musclelora.adapter.placement import ends_of_sublayers, find_placement
from musclelora.defenses.peft_training import Efficient
from musclelora.limits import RANK, check_whole


class Adapter(Efficient):
    """A bottleneck after the attention and the feed-forward layer of each block; a trained head.

    Source: Houlsby et al., "Parameter-Efficient Transfer Learning for NLP" (arXiv 1902.00751). Departures:
    layer norms are not trained; the bottleneck stands before the dropout of its sublayer, and only its second
    layer starts near to nothing, at zero. PEFT has no such adapter, and the library that has (`adapters`)
    wants an older transformers than this package, so that the layer is here.

    Args:
        bottleneck: the width of the bottleneck.
        learning_rate: None: the setting's, or the preset's for LoRA.
        **arguments: fields of :class:`~musclelora.training.MuScleTrainingArguments`.
    """

    name: ClassVar[str] = "adapter"

    def __init__(self, bottleneck: int = 24, learning_rate: float | None = None, **arguments: Any) -> None:
        check_whole("adapter bottleneck", bottleneck, 1, RANK)
        super().__init__(learning_rate=learning_rate, **arguments)
        self.bottleneck = bottleneck

    def wrap(self, backbone: Backbone) -> PreTrainedModel:
        """A bottleneck after each sublayer, and what starts random, are left to train."""
        model = backbone.model
        places = ends_of_sublayers(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in backbone.new_parameters)
        model.get_submodule(find_placement(model).output).requires_grad_(True)
        for name in places:
            model.set_submodule(name, Bottleneck(model.get_submodule(name), self.bottleneck))
        return model


class Bottleneck(nn.Module):
    """A dense layer followed by x + up(gelu(down(x))), which is x at the start.

    Shapes: those of the dense layer, (*, d_in) to (*, d_out).

    Args:
        dense: the layer it follows.
        width: the width between `down` and `up`.
    """

    def __init__(self, dense: nn.Module, width: int) -> None:
        super().__init__()
        self.dense = dense
        weight: Any = dense.weight
        size = int(getattr(dense, "out_features", 0) or weight.shape[1])  # a Conv1D is stored (in, out)
        self.down = nn.Linear(size, width, device=weight.device)
        self.up = nn.Linear(width, size, device=weight.device)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (*, d_in) to (*, d_out)."""
        y: Tensor = self.dense(x)
        change: Tensor = self.up(nn.functional.gelu(self.down(y)))
        return y + change
