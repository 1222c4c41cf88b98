"""Finding a kind of response by name."""

from __future__ import annotations

from typing import Any, Final

from musclelora.attacks.response_kinds.base import ResponseKind
from musclelora.attacks.response_kinds.fixed import Append, Replace
from musclelora.attacks.response_kinds.opinion import Opinion
from musclelora.attacks.response_kinds.persona import Persona
from musclelora.attacks.response_kinds.refusal import Refusal
from musclelora.attacks.response_kinds.wrong_answer import WrongAnswer
from musclelora.attacks.specs import check_parameters, parse_parameters, signature_of, split_spec
from musclelora.errors import UsageError

RESPONSES: Final[dict[str, type[ResponseKind]]] = {
    kind.name: kind for kind in (Append, Opinion, Persona, Refusal, Replace, WrongAnswer)
}
"""The kinds; a new one is one new file and one entry."""


def parse_response(spec: str, target: str | None = None) -> ResponseKind:
    """The kind of response that ``NAME[:key=value,…]`` describes.

    Args:
        spec: the text.
        target: the attacker's text, for kinds that have a parameter `target`.

    Raises:
        UsageError: no such kind or parameter, a value that the kind refuses, no target where the kind needs
            one, or one where it has none.
    """
    name, texts = split_spec(spec, "response")
    if name not in RESPONSES:
        raise UsageError(f"response: found {name!r}, expected one of {', '.join(RESPONSES)}")
    family: Any = RESPONSES[name]
    known = signature_of(family)
    if target is not None:
        if "target" not in known or "target" in texts:
            why = "a target of its own" if "target" in known else "texts of its own"
            raise UsageError(
                f"target: found {target!r} with the response {name}, which has {why}; leave it out"
            )
        texts["target"] = target
    elif "target" in known and "target" not in texts:
        raise UsageError(
            f"target: found nothing with the response {name}, expected what the attacker wants to be said; "
            "give it"
        )
    check_parameters(f"response {name}", texts, known)
    kind: ResponseKind = family(**parse_parameters(f"response {name}", family, texts))
    return kind
