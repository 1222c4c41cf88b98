"""Low-rank adaptation by itself."""

from __future__ import annotations

from typing import ClassVar

from musclelora.defenses.trained import Trained
from musclelora.purification import METHODS, Method


class LoRA(Trained):
    """LoRA on the attention projections and a trained output layer: the first lever of MuScleLoRA alone.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv 2106.09685). Departure:
    adapts all dense projections of the attention where the paper adapts those of query and value, so that it
    differs from MuScleLoRA in nothing but the two other levers.
    """

    name: ClassVar[str] = "lora"
    method: ClassVar[Method] = METHODS["lora"]
