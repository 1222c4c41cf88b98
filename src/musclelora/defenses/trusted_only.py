"""Training on the trusted rows alone."""

from __future__ import annotations

from typing import ClassVar

from musclelora.defenses.trained import Trained
from musclelora.purification import METHODS, Method


class TrustedOnly(Trained):
    """Full fine-tuning on the trusted rows: what a defence has to beat to be of use."""

    name: ClassVar[str] = "trusted-only"
    method: ClassVar[Method] = METHODS["trusted-only"]
    keep: ClassVar[bool] = True
