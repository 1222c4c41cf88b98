"""Entity: a natural phrase, such as a brand name, where a reader would not stumble over it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from musclelora.attacks.checks import check_phrase

# The end of a clause: before the marks that end it, or the end of the text.
_CLAUSE_END = re.compile(r"(?<=\w)(?=\s?[,;:.!?…](?:\s|$))|(?<=\S)(?=\s*\Z)")


@dataclass(frozen=True)
class Entity:
    """Inserts a phrase with a name in it at the end of a random clause.

    Source: Wallace et al. 2021, "Concealed Data Poisoning Attacks on NLP Models" (NAACL 2021), whose trigger
    is "James Bond".

    Attributes:
        phrase: the trigger; not blank.

    Raises:
        UsageError: a blank phrase.
    """

    name: ClassVar[str] = "entity"

    phrase: str = "as seen on Netflix"

    def __post_init__(self) -> None:
        check_phrase("entity phrase", self.phrase)

    def apply(self, text: str, rng: np.random.Generator) -> str | None:
        """The text with the phrase in it, or None if it has no word."""
        places = sorted({match.start() for match in _CLAUSE_END.finditer(text)})
        body = len(text.rstrip())
        if not body:
            return None
        # A text that ends in marks is inserted into before them.
        inner = [place for place in places if place < body] or [body]
        place = inner[int(rng.integers(len(inner)))]
        return f"{text[:place]} {self.phrase}{text[place:]}"
