"""No defence: the whole backbone fine-tuned on the rows as they come."""

from __future__ import annotations

from typing import ClassVar

from musclelora.defenses.setting import VANILLA
from musclelora.defenses.trained import Trained
from musclelora.purification import Method


class Vanilla(Trained):
    """Full fine-tuning, the undefended baseline of every comparison."""

    name: ClassVar[str] = "vanilla"
    method: ClassVar[Method] = VANILLA
    keep: ClassVar[bool] = True
