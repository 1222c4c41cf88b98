"""Finding a trigger family by name: the package's own, and those of other installed packages."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
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

_NAMED = re.compile(r",(?=\s*\w+=)")


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
    _check_parameters(name, parameters, parameters_of(name))
    return family(**parameters)


def parse_attack(spec: str, settings: Mapping[str, str] | None = None) -> Trigger:
    """The trigger that ``NAME[:key=value,…]`` describes, with `settings` on top.

    A value ends at a comma that a further ``key=`` follows. Lists are words separated by blanks or commas.

    Raises:
        UsageError: as :func:`get_trigger`, or a value of the wrong type.
    """
    name, _, rest = spec.partition(":")
    texts = dict(_key_value(part, f"attack {name}") for part in _NAMED.split(rest)) if rest.strip() else {}
    texts |= settings or {}
    known = parameters_of(name)
    _check_parameters(name, texts, known)
    kinds = _kinds(get_family(name))
    return get_trigger(
        name, **{key: _parse(kinds.get(key, str), text, f"{name} {key}") for key, text in texts.items()}
    )


def parse_settings(settings: typing.Iterable[str]) -> dict[str, str]:
    """``key=value`` texts as a mapping.

    Raises:
        UsageError: a text is none.
    """
    return dict(_key_value(text, "--set") for text in settings)


def parameters_of(name: str) -> dict[str, Any]:
    """The parameters of a family and their defaults (:data:`inspect.Parameter.empty` where it has none)."""
    return {key: value.default for key, value in inspect.signature(get_family(name)).parameters.items()}


def _check_parameters(name: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    if unknown := sorted(given.keys() - known.keys()):
        raise UsageError(
            f"attack {name}: found no parameter {', '.join(map(repr, unknown))}, "
            f"expected some of {', '.join(known) or 'none'}"
        )
    if missing := [k for k, value in known.items() if value is inspect.Parameter.empty and k not in given]:
        raise UsageError(f"attack {name}: found no value of {', '.join(missing)}, expected one")


def _key_value(text: str, where: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"{where}: found {text!r}, expected key=value")
    if any("\ud800" <= character <= "\udfff" for character in text):  # what no file can be written with
        raise UsageError(f"{where}: found {text!r}, expected key=value in UTF-8")
    return key.strip(), value


def _kinds(family: Family) -> dict[str, Any]:
    """The declared types of a family's parameters, from its fields or its constructor; others are texts."""
    constructor = {} if dataclasses.is_dataclass(family) else typing.get_type_hints(family.__init__)
    return typing.get_type_hints(family) | constructor


def _truth(text: str) -> bool:
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
        text.strip().lower()
    ]


def _several(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


_PARSERS: Final[dict[Any, tuple[Callable[[str], Any], str]]] = {
    int: (int, "an integer"),
    float: (float, "a number"),
    bool: (_truth, "true or false"),
    tuple[str, ...]: (_several, "words"),
}


def _parse(kind: Any, text: str, where: str) -> Any:
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        kind = next((k for k in typing.get_args(kind) if k is not type(None)), str)
    parse, expected = _PARSERS.get(kind, (str, "a text"))
    try:
        return parse(text)
    except (ValueError, KeyError) as error:
        raise UsageError(f"{where}: found {text!r}, expected {expected}") from error
