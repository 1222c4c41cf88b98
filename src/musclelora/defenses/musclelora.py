"""MuScleLoRA, and each of its levers alone and in pairs."""

from __future__ import annotations

from typing import ClassVar

from musclelora.defenses.trained import Trained
from musclelora.purification import METHODS, Method, get_method


class MuScleLoRA(Trained):
    """Multi-scale low-rank adaptation with gradient alignment, with the backbone's preset.

    Source: "Acquiring Clean Language Models from Backdoor Poisoned Datasets by Downscaling Frequency Space"
    (ACL 2024, arXiv 2402.12026). Departures: see docs/presets.md for backbones that are not in the paper.
    """

    name: ClassVar[str] = "musclelora"
    method: ClassVar[Method] = METHODS["musclelora"]


class MultiScale(Trained):
    """The multi-scale layer alone: the whole backbone is trained, gradients are not aligned."""

    name: ClassVar[str] = "multiscale"
    method: ClassVar[Method] = get_method("musclelora", low_rank=False, alignment=False)


class Alignment(Trained):
    """Gradient alignment alone: the whole backbone is trained, without a multi-scale layer."""

    name: ClassVar[str] = "alignment"
    method: ClassVar[Method] = get_method("musclelora", low_rank=False, multiscale=False)


class LoRAMultiScale(Trained):
    """MuScleLoRA without gradient alignment."""

    name: ClassVar[str] = "lora+multiscale"
    method: ClassVar[Method] = get_method("musclelora", alignment=False)


class LoRAAlignment(Trained):
    """MuScleLoRA without the multi-scale layer."""

    name: ClassVar[str] = "lora+alignment"
    method: ClassVar[Method] = get_method("musclelora", multiscale=False)


class MultiScaleAlignment(Trained):
    """MuScleLoRA without low-rank adaptation: the whole backbone is trained."""

    name: ClassVar[str] = "multiscale+alignment"
    method: ClassVar[Method] = get_method("musclelora", low_rank=False)
