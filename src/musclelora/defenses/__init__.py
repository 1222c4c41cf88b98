"""The defences that MuScleLoRA is compared with, and itself: one file each, one protocol for all of them.

A new defence is one new file and one entry in :data:`DEFENSES`.
"""

from musclelora.defenses.base import Answers, Defense
from musclelora.defenses.measure import Measured, measure
from musclelora.defenses.registry import DEFENSES, get_defense
from musclelora.defenses.setting import Setting

__all__ = ["DEFENSES", "Answers", "Defense", "Measured", "Setting", "get_defense", "measure"]
