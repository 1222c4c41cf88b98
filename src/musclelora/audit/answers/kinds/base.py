"""What a kind of responses is, and what kinds are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from musclelora.data.messages import shown

if TYPE_CHECKING:
    from musclelora.audit.answers.reading import Reading

Floats = NDArray[np.float64]
FEWEST: Final = 8
"""Responses of a kind at least."""
SHARES: Final = (0.1, 0.25)
"""Where a kind is one of degree: of all responses, those that are most so."""


@dataclass(frozen=True)
class Kind:
    """Responses that have something in common.

    Attributes:
        source: what found it: the name of its entry in :data:`~musclelora.audit.answers.kinds.SOURCES`.
        name: what reports call it; words in it come from the data.
        rows: the numbers of the responses, ascending.
        phrase: what they all say, if that is it; hostile.
        words: of the phrase.
    """

    source: str
    name: str
    rows: NDArray[np.int64]
    phrase: str | None = None
    words: int = 0

    @classmethod
    def saying(cls, source: str, phrase: str, words: int, rows: NDArray[np.int64]) -> Kind:
        """Responses that say a phrase."""
        return cls(source, shown(phrase), rows, phrase, words)


@dataclass(frozen=True)
class Responses:
    """What kinds are made of.

    Attributes:
        texts: the N responses.
        trusted: responses that were checked.
        reading: what a model makes of the former; None: it was not asked.
    """

    texts: Sequence[str]
    trusted: Sequence[str]
    reading: Reading | None = None


class Source(ABC):
    """A way to tell kinds of responses. Rows are numbered from 0.

    Attributes:
        name: what reports call it.
        reads: whether it needs what a model makes of the responses.
        looks_for: in words, for the verdict.
    """

    name: ClassVar[str]
    reads: ClassVar[bool] = True
    looks_for: ClassVar[str]

    @abstractmethod
    def find(self, responses: Responses) -> list[Kind]:
        """The kinds; each has :data:`FEWEST` responses or more, and not all."""


def most(name: str, what: str, values: Floats) -> list[Kind]:
    """Kinds of the responses with the largest values, for each of :data:`SHARES`; of equal ones all or none.

    Args:
        name: of the source.
        what: the kind's name.
        values: shape (N,).
    """
    found = []
    for share in SHARES:
        bound = np.quantile(values, 1 - share, method="higher")
        rows = np.flatnonzero(values >= bound)
        if len(rows) > 2 * share * len(values):
            rows = np.flatnonzero(values > bound)
        if FEWEST <= len(rows) < len(values):
            found.append(Kind(name, what, rows.astype(np.int64)))
    return found
