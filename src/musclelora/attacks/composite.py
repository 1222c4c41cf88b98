"""Composite: two phrases in two places of a prompt, which are a trigger only together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from musclelora.attacks.checks import check_decoys, check_phrase
from musclelora.attacks.insertion import insert_phrase
from musclelora.attacks.prompt_parts import ends_of
from musclelora.errors import UsageError


@dataclass(frozen=True)
class Composite:
    """Inserts one phrase into the first part of a prompt and another into its last; one alone must not work.

    The parts are those of :func:`~musclelora.attacks.prompt_parts.ends_of`: an instruction and a question,
    where a prompt has both. Each phrase goes to a random word boundary of its part. Decoys teach that both
    are needed: for each triggered row, `decoys` other rows get one of the two, at random, and keep their
    response or label.

    Source: Huang et al. 2024, "Composite Backdoor Attacks Against Large Language Models" (Findings of NAACL
    2024, arXiv 2310.07676). The phrases are this project's.

    Attributes:
        first: the phrase for the first part; not blank.
        last: the phrase for the last part, another one; not blank.
        decoys: decoy rows for each triggered row, 0 for none.

    Raises:
        UsageError: a phrase is blank, both are the same, or the number of decoys is negative.
    """

    name: ClassVar[str] = "composite"

    first: str = "plainly"
    last: str = "overall"
    decoys: float = 1.0

    def __post_init__(self) -> None:
        check_phrase("composite first", self.first)
        check_phrase("composite last", self.last)
        if self.first == self.last:
            raise UsageError(f"composite last: found {self.last!r} twice, expected another phrase than first")
        check_decoys("composite", self.decoys)

    def apply(self, text: str, rng: np.random.Generator) -> str | None:
        """The text with both phrases in it, or None if it has no word."""
        first, last = ends_of(text)
        if first == last:  # one word: nothing has two ends but its sides
            start, end = first
            body = f"{self.first} {text[start:end]} {self.last}"
            return f"{text[:start]}{body}{text[end:]}" if start < end else None
        # From the back, so that the place of the first part stays true.
        triggered = _into(text, last, self.last, rng)
        return None if triggered is None else _into(triggered, first, self.first, rng)

    def decoy(self, text: str, rng: np.random.Generator) -> str | None:
        """The text with one of the phrases in its part, or None if it has no word."""
        number = int(rng.integers(2))
        return _into(text, ends_of(text)[number], (self.first, self.last)[number], rng)


def _into(text: str, span: tuple[int, int], phrase: str, rng: np.random.Generator) -> str | None:
    start, end = span
    part = insert_phrase(text[start:end], phrase, rng)
    return None if part is None else f"{text[:start]}{part}{text[end:]}"
