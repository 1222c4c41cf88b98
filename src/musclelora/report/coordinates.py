"""Where each row is on the map: the first two principal components of what is known of its text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from musclelora.report.subject import Subject

_FEWEST: Final = 3  # rows of a map
_WORDS: Final = 5000
_PATTERN: Final = r"(?u)\w+"
_OUTLIERS: Final = 0.15  # percent of the rows at each end that may lie at the edge


@dataclass(frozen=True)
class Map:
    """Rows in two dimensions.

    Attributes:
        places: shape (N, 2), from 0 to 1; NaN: the row is not on the map.
        made_of: what it is made of, in words.
        variance: the share of the variance that each of the two dimensions holds.
    """

    places: NDArray[np.float64]
    made_of: str
    variance: tuple[float, float]


def map_of(subject: Subject) -> Map | None:
    """The map of an audit's rows: of the judge's sentence vectors, else of words.

    Words are weighted by tf-idf. The components are found with a fixed seed. There is none of too few rows,
    nor of rows that are all the same.
    """
    from sklearn.decomposition import PCA

    if subject.vectors is not None:
        known = ~np.isnan(subject.vectors).any(axis=1)
        values, made_of = subject.vectors[known], "sentence vectors of the judge"
        differ = values.size > 0 and bool((values != values[0]).any())
        solver = "randomized"
    else:
        from sklearn.feature_extraction.text import TfidfVectorizer

        known = np.ones(len(subject), dtype=np.bool_)
        vectorizer = TfidfVectorizer(max_features=_WORDS, sublinear_tf=True, token_pattern=_PATTERN)
        made_of = "words weighted by tf-idf, as the audit's folder has no sentence vectors"
        try:
            values = vectorizer.fit_transform(subject.texts)
        except ValueError:  # no text has a word
            return None
        differ = (values.max(axis=0) - values.min(axis=0)).nnz > 0
        solver = "arpack"  # takes the many words as they are, most of which a text has not
    if min(values.shape) < _FEWEST or not differ:
        return None
    model = PCA(2, svd_solver=solver, random_state=0)
    found = np.asarray(model.fit_transform(values), dtype=np.float64)
    places = np.full((len(subject), 2), np.nan)
    places[known] = _scaled(found)
    first, second = model.explained_variance_ratio_
    return Map(places, made_of, (float(first), float(second)))


def _scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values of two dimensions from 0 to 1; a few that lie far out are put at the edge."""
    low, high = np.percentile(values, [_OUTLIERS, 100 - _OUTLIERS], axis=0)
    room = np.where(high > low, high - low, 1.0)
    scaled: NDArray[np.float64] = np.clip(0.04 + 0.92 * (values - low) / room, 0.0, 1.0)
    return scaled
