"""MuScleLoRA, and each of its levers alone and in pairs."""

from __future__ import annotations

from typing import ClassVar

from musclelora.defenses.trained import Trained
from musclelora.purification import AUTO, METHODS, Method, get_method


class MuScleLoRA(Trained):
    """Multi-scale low-rank adaptation with gradient alignment, with the backbone's published settings.

    Source: "Acquiring Clean Language Models from Backdoor Poisoned Datasets by Downscaling Frequency Space"
    (ACL 2024, arXiv 2402.12026). Departures: see docs/presets.md for backbones that are not in the paper.
    """

    name: ClassVar[str] = "musclelora"
    method: ClassVar[Method] = METHODS["musclelora"]


class MuScleLoRAAuto(Trained):
    """MuScleLoRA as `musclelora train` runs it: the trusted rows judge before they teach.

    Source: this project (:mod:`musclelora.purification.auto`, docs/balance.md). Departures from
    :class:`MuScleLoRA`: gradients are not aligned; what labels follow that the trusted rows do not explain is
    taken out of the loss; rows whose label is contradicted twice are left out; learning rate and scale
    factors are chosen by the trusted rows, which are then trained on with the rest.
    """

    name: ClassVar[str] = "musclelora-auto"
    method: ClassVar[Method] = AUTO
    preset: ClassVar[str] = "auto"


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
