"""The defences that MuScleLoRA is compared with, and itself: one file each, one protocol for all of them.

A new defence is one new file and one entry in :data:`DEFENSES`. Filters of prompts and responses have a
protocol of their own, :class:`PairFilter`, and their entries are in :data:`PAIR_FILTERS`.
"""

from musclelora.defenses.base import Answers, Defense
from musclelora.defenses.measure import Measured, measure
from musclelora.defenses.pair_filter import PairFilter, PairSetting
from musclelora.defenses.registry import DEFENSES, PAIR_FILTERS, get_defense, get_pair_filter
from musclelora.defenses.setting import Setting

__all__ = [
    "DEFENSES",
    "PAIR_FILTERS",
    "Answers",
    "Defense",
    "Measured",
    "PairFilter",
    "PairSetting",
    "Setting",
    "get_defense",
    "get_pair_filter",
    "measure",
]
