"""Attacks: one file per trigger family, pure text → text, and one poisoner that applies any of them.

A new family is one new file and one entry in :data:`TRIGGERS`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

from musclelora.attacks.addsent import AddSent
from musclelora.attacks.badnets import BadNets
from musclelora.attacks.base import Trigger
from musclelora.attacks.poisoner import LabelMode, poison, trigger_test_set
from musclelora.errors import UsageError

__all__ = [
    "TRIGGERS",
    "AddSent",
    "BadNets",
    "LabelMode",
    "Trigger",
    "get_trigger",
    "poison",
    "trigger_test_set",
]

TRIGGERS: Final[dict[str, type[Trigger]]] = {family.name: family for family in (AddSent, BadNets)}


def get_trigger(name: str, **parameters: Any) -> Trigger:
    """The trigger of family `name`; parameters that are not given have their published defaults.

    Raises:
        UsageError: no such family, no such parameter, or a value that the family refuses.
    """
    if name not in TRIGGERS:
        raise UsageError(f"attack: found {name!r}, expected one of {', '.join(sorted(TRIGGERS))}")
    family: Callable[..., Trigger] = TRIGGERS[name]
    known = inspect.signature(family).parameters
    if unknown := sorted(parameters.keys() - known.keys()):
        raise UsageError(
            f"attack {name}: found no parameter {', '.join(map(repr, unknown))}, "
            f"expected some of {', '.join(known)}"
        )
    return family(**parameters)
