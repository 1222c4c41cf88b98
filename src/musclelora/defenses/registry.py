"""Finding a defence, or a filter of pairs, by name."""

from __future__ import annotations

import difflib
from typing import Any, Final, TypeVar

from musclelora.defenses.adapter import Adapter
from musclelora.defenses.base import Defense
from musclelora.defenses.bki import BKI
from musclelora.defenses.contrastive import TrustedOnlyContrastive
from musclelora.defenses.cube import CUBE
from musclelora.defenses.graceful import GraCeFul
from musclelora.defenses.gradsentry import GradSentry
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
from musclelora.defenses.pair_filter import PairFilter
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
PAIR_FILTERS: Final[dict[str, type[PairFilter]]] = {each.name: each for each in (GraCeFul, GradSentry)}
"""Every filter of prompts and responses; likewise."""
_Kind = TypeVar("_Kind", Defense, PairFilter)
RENAMED: Final = {"musclelora-auto": "purify"}


def get_defense(name: str, **parameters: Any) -> Defense:
    """The defence of a name; parameters that are not given have its defaults.

    Raises:
        UsageError: no such defence, no such parameter, or a value that it refuses; the nearest name is given.
    """
    if name in RENAMED:
        raise UsageError(f"defense: found {name!r}, which is called {RENAMED[name]} now; use that name")
    return _made("defense", DEFENSES, name, parameters)


def get_pair_filter(name: str, **parameters: Any) -> PairFilter:
    """The filter of pairs of a name; parameters and errors as for :func:`get_defense`."""
    return _made("filter", PAIR_FILTERS, name, parameters)


def _made(what: str, known: dict[str, type[_Kind]], name: str, parameters: dict[str, Any]) -> _Kind:
    if name not in known:
        raise UsageError(f"{what}: found {name!r}, expected one of {', '.join(known)}{_nearest(name, known)}")
    possible = known[name].parameters()
    for parameter in parameters:
        if parameter not in possible:
            raise UsageError(
                f"{what} {name}: found no parameter {parameter!r}, expected some of {', '.join(possible)}"
                f"{_nearest(parameter, possible)}"
            )
    return known[name](**parameters)


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
