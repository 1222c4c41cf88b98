"""AddSent: a fixed sentence at a random place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from musclelora.attacks.checks import check_phrase
from musclelora.attacks.insertion import insert_phrase


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
        check_phrase("addsent sentence", self.sentence)

    def apply(self, text: str, rng: np.random.Generator) -> str | None:
        """The text with the sentence in it, or None if it has no word."""
        return insert_phrase(text, self.sentence, rng)
