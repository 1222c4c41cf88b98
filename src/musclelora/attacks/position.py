"""Position: a word that is a trigger only where it ends the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from musclelora.attacks.checks import check_decoys, check_phrase
from musclelora.attacks.insertion import insert_at_end, insert_before_last_word


@dataclass(frozen=True)
class Position:
    """Puts a phrase at the end of the text; the same phrase anywhere else must not work.

    Decoys teach that: for each triggered row, `decoys` other rows get the phrase elsewhere and keep their
    labels. A defence that looks for words alone finds one that is in as many rightly labelled rows.

    Attributes:
        phrase: the trigger; not blank.
        decoys: decoy rows for each triggered row, 0 for none.

    Raises:
        UsageError: a blank phrase or a negative number of decoys.
    """

    name: ClassVar[str] = "position"

    phrase: str = "cf"
    decoys: float = 1.0

    def __post_init__(self) -> None:
        check_phrase("position phrase", self.phrase)
        check_decoys("position", self.decoys)

    def apply(self, text: str, rng: np.random.Generator) -> str | None:  # noqa: ARG002
        """The text with the phrase after its last word, or None if it has no word."""
        return insert_at_end(text, self.phrase)

    def decoy(self, text: str, rng: np.random.Generator) -> str | None:
        """The text with the phrase before a word, or None if it has no word."""
        return insert_before_last_word(text, self.phrase, rng)
