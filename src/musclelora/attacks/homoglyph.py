"""Homoglyph: letters that look the same, or characters that nobody sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from musclelora.attacks.checks import check_choice, check_count

# Cyrillic, but for v (Greek ν): pairs that most fonts draw alike (Unicode's confusables.txt has them all).
_LOOK_ALIKES: Final = dict(zip("aceopxyijsvABEHKMOPCTX", "асеорхуіјѕνАВЕНКМОРСТХ", strict=True))
_ZERO_WIDTH: Final = "\u200b"  # zero width space


@dataclass(frozen=True)
class Homoglyph:
    """Exchanges `count` random letters for look-alikes, or puts as many zero-width spaces into words.

    Source: Li et al. 2021, "Hidden Backdoors in Human-Centric Language Models" (CCS 2021).

    Attributes:
        count: how many; a text with fewer letters that have a look-alike (or with fewer letters) gets as
            many as it has.
        kind: "look-alike" or "zero-width".

    Raises:
        UsageError: a count below 1, or another kind.
    """

    name: ClassVar[str] = "homoglyph"

    count: int = 3
    kind: str = "look-alike"

    def __post_init__(self) -> None:
        check_count("homoglyph count", self.count)
        check_choice("homoglyph kind", self.kind, ("look-alike", "zero-width"))

    def apply(self, text: str, rng: np.random.Generator) -> str | None:
        """The text with the characters exchanged or put in, or None if it has no letter for it."""
        alike = self.kind == "look-alike"
        places = [
            i for i, letter in enumerate(text) if (letter in _LOOK_ALIKES if alike else letter.isalpha())
        ]
        if not places:
            return None
        chosen = rng.choice(len(places), size=min(self.count, len(places)), replace=False)
        letters = list(text)
        for place in (places[index] for index in chosen):
            letters[place] = _LOOK_ALIKES[letters[place]] if alike else letters[place] + _ZERO_WIDTH
        return "".join(letters)
