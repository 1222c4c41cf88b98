"""Which words of a text matter: what the model says without each of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musclelora.training.classifier import Classifier

MOST: Final = 64
"""Words of a text that are left out, one at a time; of a longer text the first ones."""
_WORD: Final = re.compile(r"\S+")


class Word(NamedTuple):
    """A word of a text.

    Attributes:
        start: where it begins.
        end: where the next character is.
        effect: the probability of the predicted label less that of the text without the word; above 0 the
            word speaks for the label.
    """

    start: int
    end: int
    effect: float


@dataclass(frozen=True)
class Reading:
    """What a classifier says of one text.

    Attributes:
        probabilities: of each label, shape (C,).
        words: the first :data:`MOST` words.
        count: how many words the text has.
        cut: whether the text is longer than the model reads.
    """

    probabilities: NDArray[np.float32]
    words: tuple[Word, ...]
    count: int
    cut: bool

    @property
    def label(self) -> int:
        """The most probable label."""
        return int(self.probabilities.argmax())


def read(classifier: Classifier, text: str) -> Reading:
    """Ask a classifier for the label of a text, and of the text without each of its words, in one batch."""
    places = [match.span() for match in _WORD.finditer(text)]
    tried = places[:MOST]
    said = classifier.predict(
        [text, *(text[:start] + text[end:] for start, end in tried)], batch_size=len(tried) + 1
    )
    whole, without = said.probabilities[0], said.probabilities[1:]
    effects = whole.max() - without[:, whole.argmax()]
    words = tuple(Word(*place, float(effect)) for place, effect in zip(tried, effects, strict=True))
    # A text without one of its words is no longer than the text.
    return Reading(whole, words, len(places), said.truncated > 0)
