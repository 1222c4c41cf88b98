"""What `musclelora train` does by default."""

from __future__ import annotations

from typing import ClassVar

from musclelora.defenses.trained import Trained
from musclelora.purification import METHODS, Method


class Purify(Trained):
    """The default of `musclelora train`: the trusted rows judge before they teach.

    Source: this project (:mod:`musclelora.purification.auto`, docs/balance.md). Departures from
    :class:`~musclelora.defenses.musclelora.MuScleLoRA`: gradients are not aligned; what labels follow that
    the trusted rows do not explain is taken out of the loss; rows with a label or style issue are left out;
    learning rate and scale factors are chosen by the trusted rows, which are then trained on with the rest.
    """

    name: ClassVar[str] = "purify"
    method: ClassVar[Method] = METHODS["purify"]
