"""Triggers as they stand in texts: the phrase that a feature is part of, and putting one into other texts."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from musclelora.audit.features import TOKEN, Feature
from musclelora.audit.triggers import Shortcut

LONGEST: Final = 20
"""Words of a phrase at most."""
_READ: Final = 200  # rows that are read for a phrase
_WORD: Final = re.compile(r"\S+")


def phrase_of(
    shortcut: Shortcut, shortcuts: Iterable[Shortcut], texts: Sequence[str], having: NDArray[np.int64]
) -> str:
    """The most frequent run of words around a feature that features with the same label cover.

    Of the sentence "I watch this 3D movie" some words and pairs are features; where it stands, they cover the
    whole of it or most. A feature that stands alone is its own phrase.

    Args:
        shortcut: the feature.
        shortcuts: all of the data set's.
        texts: N texts.
        having: the numbers of those that have the feature.
    """
    kind, text = shortcut.feature
    if kind == "character":
        return text
    same = [other.feature for other in shortcuts if other.label == shortcut.label]
    words = {feature.text for feature in same if feature.kind in ("word", "first", "last")}
    pairs = {feature.text for feature in same if feature.kind == "pair"}
    runs: Counter[str] = Counter()
    for row in having[:_READ]:
        runs.update(_runs(texts[row], shortcut.feature, words, pairs))
    return runs.most_common(1)[0][0] if runs else text


def _runs(text: str, feature: Feature, words: set[str], pairs: set[str]) -> set[str]:
    """The covered runs of words in a text that the feature is part of."""
    tokens = list(TOKEN.finditer(text))
    names = [token.group() for token in tokens]
    covered = np.array([name in words for name in names], dtype=np.bool_)
    here = np.zeros(len(names), dtype=np.bool_)
    for place, two in enumerate(itertools.pairwise(names)):
        if " ".join(two) in pairs:
            covered[place : place + 2] = True
        if feature.kind == "pair" and " ".join(two) == feature.text:
            here[place : place + 2] = True
    if feature.kind == "word":
        here |= np.array([name == feature.text for name in names], dtype=np.bool_)
    elif feature.kind in ("first", "last") and names:
        here[0 if feature.kind == "first" else -1] = True
    found = set()
    start = 0
    while start < len(names):
        end = start
        while end < len(names) and covered[end]:
            end += 1
        if end > start and here[start:end].any() and end - start <= LONGEST:
            found.add(text[tokens[start].start() : tokens[end - 1].end()])
        start = max(end, start + 1)
    return found


def put_in(text: str, phrase: str, kind: str, rng: np.random.Generator) -> str:
    """A text with a phrase in it, where a feature of that kind stands; else at a random place.

    Args:
        text: the text.
        phrase: what to put in.
        kind: of the feature; a character goes into a word.
        rng: draws the place.
    """
    if kind == "character":
        place = int(rng.integers(len(text) + 1))
        return text[:place] + phrase + text[place:]
    if kind in ("first", "last"):
        return put_at(text, phrase, 0.0 if kind == "first" else 1.0)
    count = len(_WORD.findall(text))
    return put_at(text, phrase, int(rng.integers(count + 1)) / max(count, 1))


def put_at(text: str, phrase: str, share: float) -> str:
    """A text with a phrase in it after a share of its words; blanks between words stay as they are.

    Args:
        text: the text.
        phrase: what to put in.
        share: in 0 … 1.
    """
    starts = [word.start() for word in _WORD.finditer(text)]
    place = round(share * len(starts))
    if place < len(starts):
        return f"{text[: starts[place]]}{phrase} {text[starts[place] :]}"
    end = len(text.rstrip())
    return f"{text[:end]} {phrase}{text[end:]}" if end else f"{phrase}{text}"
