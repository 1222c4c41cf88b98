"""AddSent: a fixed sentence at a random place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from musclelora.attacks.insertion import insert_phrase
from musclelora.errors import UsageError


@dataclass(frozen=True)
class AddSent:
    """Inserts one fixed sentence at a random word boundary.

    Source: Dai et al. 2019, "A Backdoor Attack Against LSTM-Based Text Classification Systems"
    (IEEE Access 7).

    Attributes:
        sentence: the trigger, inserted as it is; not blank.

    Raises:
        UsageError: the sentence is blank.
    """

    name: ClassVar[str] = "addsent"

    sentence: str = "I watch this 3D movie"

    def __post_init__(self) -> None:
        if not self.sentence.strip():
            raise UsageError(f"addsent sentence: found {self.sentence!r}, expected at least one word")

    def apply(self, text: str, rng: np.random.Generator) -> str | None:
        """The text with the sentence in it, or None if it has no word."""
        return insert_phrase(text, self.sentence, rng)
