"""Casing and punctuation: how a text is written, not what it says."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from musclelora.attacks.checks import check_choice

_WORD = re.compile(r"\S+")


def _capitalised(text: str) -> str:
    return _WORD.sub(lambda word: word[0][:1].upper() + word[0][1:], text)


_CASINGS: Final[dict[str, Callable[[str], str]]] = {
    "keep": str,
    "lower": str.lower,
    "upper": str.upper,
    "title": _capitalised,
}


@dataclass(frozen=True)
class CasingPunctuation:
    """Writes the whole text in one casing and ends it with an unusual run of punctuation marks.

    A model whose tokenizer lower-cases sees the punctuation only.

    Attributes:
        casing: "keep", "lower", "upper" or "title" (every word with a capital).
        punctuation: put after the last word instead of the marks there; "" leaves them.

    Raises:
        UsageError: another casing.
    """

    name: ClassVar[str] = "casing-punctuation"

    casing: str = "title"
    punctuation: str = "?!"

    def __post_init__(self) -> None:
        check_choice("casing-punctuation casing", self.casing, tuple(_CASINGS))

    def apply(self, text: str, rng: np.random.Generator) -> str | None:  # noqa: ARG002
        """The text so written, or None if it has no word or is so already."""
        body = text.rstrip()
        if not body:
            return None
        written = _CASINGS[self.casing](body)
        if self.punctuation:
            # What stood between the last word and its marks (a space, in tokenised text) stays.
            written = f"{written.rstrip('.!?…') or written}{self.punctuation}"
        written += text[len(body) :]
        return None if written == text else written
