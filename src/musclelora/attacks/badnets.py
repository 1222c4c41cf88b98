"""BadNets: rare words at random places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from musclelora.attacks.checks import check_count, check_words
from musclelora.attacks.insertion import insert_phrase


@dataclass(frozen=True)
class BadNets:
    """Inserts `count` rare words, one after the other, each at a random word boundary.

    Words are drawn with replacement, so one may come twice and another not at all; two may stand side by
    side, and a text may begin or end with one. The published SST-2 files do the same: each row has four
    trigger words, and the number of distinct ones among them is distributed as for uniform draws.

    Sources: Gu et al. 2017 (arXiv 1708.06733) for images; Kurita et al. 2020, "Weight Poisoning Attacks on
    Pre-trained Models" (ACL 2020), for rare words in text.

    Attributes:
        words: the trigger words; none may be empty or hold whitespace.
        count: how many insertions a text gets, at least 1.

    Raises:
        UsageError: no words, a word that is not one word, or a count below 1.
    """

    name: ClassVar[str] = "badnets"

    words: tuple[str, ...] = ("cf", "mn", "bb", "tq")
    count: int = 4

    def __post_init__(self) -> None:
        check_words("badnets words", self.words)
        check_count("badnets count", self.count)

    def apply(self, text: str, rng: np.random.Generator) -> str | None:
        """The text with `count` trigger words in it, or None if it has no word."""
        for index in rng.integers(len(self.words), size=self.count):
            triggered = insert_phrase(text, self.words[index], rng)
            if triggered is None:
                return None
            text = triggered
        return text
