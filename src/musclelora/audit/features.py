"""What a trigger can be made of, seen from outside: words, pairs of words, ends of texts, odd characters."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer

TOKEN: Final = re.compile(r"\w+|[^\w\s]")
# Letters and digits that every text has; of the others a single one may be a trigger.
_LONGEST: Final = 100  # characters of a word; a longer one is no word
_SHOWN: Final = 60  # characters of a feature that are shown
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")


class Feature(NamedTuple):
    """Something that a text has or has not.

    Attributes:
        kind: "word", "pair" (neighbouring words), "first" or "last" (word), or "character".
        text: the word, the pair with a blank between, or the character; hostile, like any text of the data.
    """

    kind: str
    text: str

    def __str__(self) -> str:
        shown = self.text if len(self.text) <= _SHOWN else f"{self.text[:_SHOWN]}…"
        shown = shown if shown.isprintable() else shown.encode("unicode_escape").decode()
        return {
            "first": f"'{shown}' first",
            "last": f"'{shown}' last",
            "character": f"the character '{shown}' (U+{ord(self.text[0]):04X})",
        }.get(self.kind, f"'{shown}'")


class FeatureTable:
    """Which of N texts have which of F features.

    Args:
        texts: the texts.
        min_rows: features of fewer texts are left out.

    Attributes:
        features: the F features.
        rows: shape (F,), how many texts have each.
        by_feature: sparse, shape (F, N), 1 where the text has the feature.
    """

    def __init__(self, texts: Sequence[str], *, min_rows: int = 8) -> None:
        vectorizer = CountVectorizer(analyzer=features_of, binary=True, dtype=np.float64)
        try:
            found, columns = vectorizer.fit_transform(texts), vectorizer.vocabulary_
        except ValueError:  # no text has any feature
            found, columns = csr_matrix((len(texts), 0)), {}
        names = sorted(columns, key=columns.__getitem__)
        counts = np.asarray(found.sum(axis=0)).ravel().astype(np.int64)
        kept = np.flatnonzero(counts >= min_rows)
        self.features: list[Feature] = [names[i] for i in kept]
        self.rows: NDArray[np.int64] = counts[kept]
        self.by_feature: Any = csr_matrix(found[:, kept].T)

    def texts_with(self, feature: int) -> NDArray[np.int64]:
        """The numbers of the texts that have a feature."""
        start, end = self.by_feature.indptr[feature : feature + 2]
        numbers: NDArray[np.int64] = np.sort(self.by_feature.indices[start:end]).astype(np.int64)
        return numbers


def features_of(text: str) -> Iterable[Feature]:
    """The features that a text has, each once."""
    words = [word for word in TOKEN.findall(text) if len(word) <= _LONGEST]
    found = {Feature("word", word) for word in words}
    found |= {Feature("pair", f"{a} {b}") for a, b in itertools.pairwise(words)}
    found |= {Feature("character", c) for c in set(text) - _PLAIN if not c.isspace()}
    if words:
        found |= {Feature("first", words[0]), Feature("last", words[-1])}
    return found
