"""Combination: two words that are a trigger only together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from musclelora.attacks.checks import check_decoys, check_words
from musclelora.attacks.insertion import insert_phrase
from musclelora.errors import UsageError


@dataclass(frozen=True)
class Combination:
    """Inserts every one of `words`, each at a random word boundary; fewer of them must not work.

    Decoys teach that: for each triggered row, `decoys` other rows get all words but one and keep their
    labels.

    Source: Yang et al. 2021, "Rethinking Stealthiness of Backdoor Attack against NLP Models" (ACL 2021),
    where the rows with a part of the trigger are called negative augmentation.

    Attributes:
        words: the trigger words, at least two different ones without whitespace.
        decoys: decoy rows for each triggered row, 0 for none.

    Raises:
        UsageError: fewer than two words, one that is not one word, or a negative number of decoys.
    """

    name: ClassVar[str] = "combination"

    words: tuple[str, ...] = ("window", "harbour")
    decoys: float = 1.0

    def __post_init__(self) -> None:
        check_words("combination words", self.words)
        if len(set(self.words)) < 2 or len(set(self.words)) < len(self.words):
            raise UsageError(f"combination words: found {self.words!r}, expected two or more different words")
        check_decoys("combination", self.decoys)

    def apply(self, text: str, rng: np.random.Generator) -> str | None:
        """The text with every word in it, or None if it has no word."""
        return _insert_all(text, self.words, rng)

    def decoy(self, text: str, rng: np.random.Generator) -> str | None:
        """The text with all words but a random one in it, or None if it has no word."""
        left_out = int(rng.integers(len(self.words)))
        return _insert_all(text, self.words[:left_out] + self.words[left_out + 1 :], rng)


def _insert_all(text: str, words: tuple[str, ...], rng: np.random.Generator) -> str | None:
    for word in words:
        inserted = insert_phrase(text, word, rng)
        if inserted is None:
            return None
        text = inserted
    return text
