"""What a family and its parameters look like as a text, ``NAME[:key=value,…]``, and what is made of it."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from musclelora.errors import UsageError

_NAMED = re.compile(r",(?=\s*\w+=)")


def split_spec(spec: str, kind: str) -> tuple[str, dict[str, str]]:
    """The name and the parameters of ``NAME[:key=value,…]``; `kind` is what messages call it, as "attack".

    A value ends at a comma that a further ``key=`` follows.

    Raises:
        UsageError: a part is no ``key=value``.
    """
    name, _, rest = spec.partition(":")
    parts = _NAMED.split(rest) if rest.strip() else []
    return name, dict(_key_value(part, f"{kind} {name}") for part in parts)


def parse_settings(settings: Iterable[str]) -> dict[str, str]:
    """``key=value`` texts as a mapping.

    Raises:
        UsageError: a text is none.
    """
    return dict(_key_value(text, "--set") for text in settings)


def signature_of(family: Callable[..., Any]) -> dict[str, Any]:
    """The parameters of a family and their defaults (:data:`inspect.Parameter.empty` where it has none)."""
    return {key: value.default for key, value in inspect.signature(family).parameters.items()}


def check_parameters(where: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Refuse parameters that are not known, and the lack of one that has no default. `where` names it.

    Raises:
        UsageError: there is one.
    """
    if unknown := sorted(given.keys() - known.keys()):
        raise UsageError(
            f"{where}: found no parameter {', '.join(map(repr, unknown))}, "
            f"expected some of {', '.join(known) or 'none'}"
        )
    if missing := [k for k, value in known.items() if value is inspect.Parameter.empty and k not in given]:
        raise UsageError(f"{where}: found no value of {', '.join(missing)}, expected one")


def parse_parameters(name: str, family: Any, texts: Mapping[str, str]) -> dict[str, Any]:
    """Texts as values of the types that a family declares. Lists are words separated by blanks or commas.

    Raises:
        UsageError: a value of the wrong type.
    """
    kinds = _kinds(family)
    return {key: _parse(kinds.get(key, str), text, f"{name} {key}") for key, text in texts.items()}


def _key_value(text: str, where: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"{where}: found {text!r}, expected key=value")
    if any("\ud800" <= character <= "\udfff" for character in text):  # what no file can be written with
        raise UsageError(f"{where}: found {text!r}, expected key=value in UTF-8")
    return key.strip(), value


def _kinds(family: Any) -> dict[str, Any]:
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
