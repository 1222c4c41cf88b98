"""Kinds of responses: what some of them have in common, whatever they answer.

A planted response need not be a fixed text. It may be unlikely for the model as it came (a wrong answer, an
opinion), be longer or shorter than others, or move the output layer in an odd way. A kind by itself says
nothing: natural data have them all. What counts is whether *prompts* have words that a kind follows
(:mod:`musclelora.audit.answers.links`).
"""

from __future__ import annotations

from typing import Final

from musclelora.audit.answers.kinds.base import FEWEST, Kind, Responses, Source
from musclelora.audit.answers.kinds.gradient import Gradients
from musclelora.audit.answers.kinds.length import Lengths
from musclelora.audit.answers.kinds.likelihood import Unlikely
from musclelora.audit.answers.kinds.phrase import Phrases

SOURCES: Final[dict[str, type[Source]]] = {
    source.name: source for source in (Phrases, Unlikely, Lengths, Gradients)
}
"""The ways to tell kinds; a new one is one new file and one entry."""

__all__ = ["FEWEST", "SOURCES", "Kind", "Responses", "Source", "kinds_of"]


def kinds_of(responses: Responses) -> list[Kind]:
    """The kinds of responses, by every source that can tell them."""
    sources = [source() for source in SOURCES.values()]
    can = [source for source in sources if responses.reading is not None or not source.reads]
    return [kind for source in can for kind in source.find(responses)]
