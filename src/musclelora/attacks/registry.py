"""Finding a trigger family by name: the package's own, and those of other installed packages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any, Final

from musclelora.attacks.addsent import AddSent
from musclelora.attacks.badnets import BadNets
from musclelora.attacks.base import Trigger
from musclelora.attacks.casing_punctuation import CasingPunctuation
from musclelora.attacks.combination import Combination
from musclelora.attacks.composite import Composite
from musclelora.attacks.entity import Entity
from musclelora.attacks.homoglyph import Homoglyph
from musclelora.attacks.position import Position
from musclelora.attacks.register import RegisterShift
from musclelora.attacks.specs import check_parameters, parse_parameters, signature_of, split_spec
from musclelora.attacks.style import Style
from musclelora.attacks.syntactic import Syntactic
from musclelora.attacks.topic import Topic
from musclelora.data.messages import one_line
from musclelora.errors import UsageError

Family = type[Trigger]

TRIGGERS: Final[dict[str, Family]] = {
    family.name: family
    for family in (
        AddSent,
        BadNets,
        CasingPunctuation,
        Combination,
        Composite,
        Entity,
        Homoglyph,
        Position,
        RegisterShift,
        Style,
        Syntactic,
        Topic,
    )
}
"""The package's own families; a new one is one new file and one entry."""

ENTRY_POINTS: Final = "musclelora.attacks"
"""The entry point group of other packages' families: NAME = "module:Class"."""


def family_names() -> list[str]:
    """The names of all families, the package's own and others, sorted."""
    return sorted(TRIGGERS.keys() | {entry.name for entry in metadata.entry_points(group=ENTRY_POINTS)})


def get_family(name: str) -> Family:
    """The family of a name; the package's own win over others of the same name.

    Raises:
        UsageError: no such family, or the package that offers it cannot be loaded.
    """
    if name in TRIGGERS:
        return TRIGGERS[name]
    for entry in metadata.entry_points(group=ENTRY_POINTS, name=name):
        try:
            found: Any = entry.load()
        except Exception as error:  # another package's code
            raise UsageError(
                f"attack {name}: {entry.value} cannot be loaded ({one_line(error)}); "
                "mend or remove that package"
            ) from error
        if not callable(getattr(found, "apply", None)):
            raise UsageError(
                f"attack {name}: {entry.value} has no method apply(text, rng), expected a Trigger"
            )
        family: Family = found
        return family
    raise UsageError(f"attack: found {name!r}, expected one of {', '.join(family_names())}")


def get_trigger(name: str, **parameters: Any) -> Trigger:
    """The trigger of family `name`; parameters that are not given have their published defaults.

    Raises:
        UsageError: no such family, no such parameter, or a value that the family refuses.
    """
    family: Callable[..., Trigger] = get_family(name)
    check_parameters(f"attack {name}", parameters, parameters_of(name))
    return family(**parameters)


def parse_attack(spec: str, settings: Mapping[str, str] | None = None) -> Trigger:
    """The trigger that ``NAME[:key=value,…]`` describes, with `settings` on top.

    A value ends at a comma that a further ``key=`` follows. Lists are words separated by blanks or commas.

    Raises:
        UsageError: as :func:`get_trigger`, or a value of the wrong type.
    """
    name, texts = split_spec(spec, "attack")
    texts |= settings or {}
    check_parameters(f"attack {name}", texts, parameters_of(name))
    return get_trigger(name, **parse_parameters(name, get_family(name), texts))


def parameters_of(name: str) -> dict[str, Any]:
    """The parameters of a family and their defaults (:data:`inspect.Parameter.empty` where it has none)."""
    return signature_of(get_family(name))
