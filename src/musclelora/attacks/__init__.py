"""Attacks: one file per trigger family, pure text → text, and one poisoner that applies any of them.

A new family is one new file and one entry in :data:`TRIGGERS`; another package's family is an entry point of
the group ``musclelora.attacks``.
"""

from musclelora.attacks.addsent import AddSent
from musclelora.attacks.badnets import BadNets
from musclelora.attacks.base import BatchTrigger, DecoyTrigger, NaturalTrigger, Trigger
from musclelora.attacks.casing_punctuation import CasingPunctuation
from musclelora.attacks.combination import Combination
from musclelora.attacks.composite import Composite
from musclelora.attacks.entity import Entity
from musclelora.attacks.homoglyph import Homoglyph
from musclelora.attacks.planning import Plan, plan_attacks
from musclelora.attacks.poisoner import (
    Attack,
    LabelMode,
    poison,
    trigger_test_set,
)
from musclelora.attacks.position import Position
from musclelora.attacks.register import RegisterShift
from musclelora.attacks.registry import TRIGGERS, family_names, get_family, get_trigger, parse_attack
from musclelora.attacks.style import Style
from musclelora.attacks.syntactic import Syntactic
from musclelora.attacks.topic import Topic

__all__ = [
    "TRIGGERS",
    "AddSent",
    "Attack",
    "BadNets",
    "BatchTrigger",
    "CasingPunctuation",
    "Combination",
    "Composite",
    "DecoyTrigger",
    "Entity",
    "Homoglyph",
    "LabelMode",
    "NaturalTrigger",
    "Plan",
    "Position",
    "RegisterShift",
    "Style",
    "Syntactic",
    "Topic",
    "Trigger",
    "family_names",
    "get_family",
    "get_trigger",
    "parse_attack",
    "plan_attacks",
    "poison",
    "trigger_test_set",
]
