"""Finding a defence by name."""

from __future__ import annotations

import difflib
from typing import Any, Final

from musclelora.defenses.adapter import Adapter
from musclelora.defenses.base import Defense
from musclelora.defenses.bki import BKI
from musclelora.defenses.contrastive import TrustedOnlyContrastive
from musclelora.defenses.cube import CUBE
from musclelora.defenses.lora import LoRA
from musclelora.defenses.musclelora import (
    Alignment,
    LoRAAlignment,
    LoRAMultiScale,
    MultiScale,
    MultiScaleAlignment,
    MuScleLoRA,
)
from musclelora.defenses.onion import ONION
from musclelora.defenses.prefix import Prefix
from musclelora.defenses.purify import Purify
from musclelora.defenses.rap import RAP
from musclelora.defenses.strip import STRIP
from musclelora.defenses.trusted_only import TrustedOnly
from musclelora.defenses.vanilla import Vanilla
from musclelora.errors import UsageError

DEFENSES: Final[dict[str, type[Defense]]] = {
    defense.name: defense
    for defense in (
        *(Vanilla, LoRA, Adapter, Prefix, TrustedOnly, TrustedOnlyContrastive),
        *(ONION, STRIP, RAP, BKI, CUBE),
        *(MultiScale, Alignment, LoRAMultiScale, LoRAAlignment, MultiScaleAlignment),
        MuScleLoRA,
        Purify,
    )
}
"""Every defence; a new one is one new file and one entry."""
RENAMED: Final = {"musclelora-auto": "purify"}


def get_defense(name: str, **parameters: Any) -> Defense:
    """The defence of a name; parameters that are not given have its defaults.

    Raises:
        UsageError: no such defence, no such parameter, or a value that it refuses; the nearest name is given.
    """
    if name in RENAMED:
        raise UsageError(f"defense: found {name!r}, which is called {RENAMED[name]} now; use that name")
    if name not in DEFENSES:
        raise UsageError(
            f"defense: found {name!r}, expected one of {', '.join(DEFENSES)}{_nearest(name, DEFENSES)}"
        )
    known = DEFENSES[name].parameters()
    for parameter in parameters:
        if parameter not in known:
            raise UsageError(
                f"defense {name}: found no parameter {parameter!r}, expected some of {', '.join(known)}"
                f"{_nearest(parameter, known)}"
            )
    return DEFENSES[name](**parameters)


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
