r"""Rows that are put as those with a shortcut are: a style has more rows than those whose words give it away.

Of a style or a syntax a few words are frequent enough to be shortcuts (:mod:`musclelora.audit.triggers`),
and most of its rows have none of them. But the rows S that have one show what the others look like. A
classifier tells S from the rest by how the texts are put, with the shortcuts' own words taken out of them:
words and pairs of words, parts of words (with their case), and the hidden states of a lower layer, which know
more of syntax than of meaning. Each row's score s is the mean of the three's standardised log-odds, by
classifiers that were not fitted on it. S may have more rows of one meaning than of others, and then its
classifiers know that meaning too: what a cubic of the log-odds of q(c|x) explains of the scores is taken out.

Nothing so far has looked at labels, but for the choice of the shortcuts and for q. Whether rows like those of
S have the label c more often than what they mean explains is asked of all rows without any shortcut::

    P(c|x) = π(x) + (1 - π(x)) · q(c|x),        π(x) = σ(a + β s(x)),    β ≥ 0

with q the cross-fitted probabilities (:mod:`musclelora.audit.labels`): a share π of the rows at s has a
trigger, and with it the label c; the others have the label that their meaning gives them. If twice the
log-likelihood that β adds is no larger than chance makes it in one of a hundred times (χ² with one degree of
freedom), the words of S stand for themselves, and no row is like them; it is asked again in every round. q is
not perfect:
natural words have a spread τ of weights under it, as under the trusted rows, so the log-odds of c are first
raised by τ where s is at its 99th percentile, and by less in proportion below it.

If there is such a share, a row x with the label c is one of them with a probability of π / P(c|x). These
probabilities stand for membership in S in a next round, which tells a clearer picture of the style: an
EM algorithm whose classifiers are fitted on other rows than they score (semi-supervised learning from
positive and unlabelled rows; Elkan and Noto, "Learning Classifiers from Only Positive and Unlabeled Data",
2008, with labels' surprise as further evidence). After :data:`ROUNDS`, rows that are likelier in than out are
like those with a shortcut, but of the rows of c half are left. Rows with another label than c are none: they
were not changed to c.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import issparse
from scipy.sparse import vstack as stack_sparse
from scipy.special import expit, logit
from scipy.stats import chi2
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from musclelora.audit.features import TOKEN, FeatureTable
from musclelora.audit.labels import FOLDS, LARGEST_SHARE, label_issues, scaled
from musclelora.audit.triggers import ShortcutExpert, natural_spread
from musclelora.errors import DataError, UsageError

Floats = NDArray[np.float64]
Embed = Callable[[Sequence[str]], NDArray[Any]]

ROUNDS: Final = 4
FEWEST: Final = 8
"""Rows with a shortcut to a label, for others to be compared with them."""
_CHANCE: Final = 0.01
_SPARSE_C, _DENSE_C = 3.0, 0.01  # of logistic regressions on TF-IDF and on vectors of length √d
_STARTS = ((-3.0, 1.0), (-1.0, 1.0), (-5.0, 2.5))
_BOUNDS, _STEEPEST = (-12.0, 4.0), 4.0  # of a, and of β
_SUREST = 30.0  # log-odds beyond which a float has no room for the rest


@dataclass(frozen=True)
class StyleIssues:
    """Rows like those with a shortcut to a label.

    Attributes:
        label: the label id.
        rows: their numbers, from 0, ascending; they have the label and no shortcut to it.
        gain: twice the log-likelihood that the style explains of the labels of rows without any shortcut.
        scores: shape (N,), the probability of each of all rows to be one of the style; 0 with another label.
    """

    label: int
    rows: tuple[int, ...]
    gain: float
    scores: NDArray[np.float64] = field(default_factory=lambda: np.empty(0), repr=False, compare=False)


def find_style_issues(
    texts: Sequence[str],
    labels: NDArray[Any],
    expert: ShortcutExpert,
    pred_probs: NDArray[Any],
    *,
    embed: Embed | None = None,
    seed: int,
) -> tuple[StyleIssues, ...]:
    """The rows that are put as those with a shortcut are, and have its label.

    Args:
        texts: N texts.
        labels: shape (N,), their given labels, in 0 … C - 1.
        expert: their shortcuts.
        pred_probs: shape (N, C), the class probabilities of :func:`~musclelora.audit.cross_fit_pred_probs`.
        embed: from N texts to vectors of shape (N, d) that tell how they are put; None: words alone tell.
        seed: of the folds.

    Returns:
        one for each label with shortcuts in at least :data:`FEWEST` rows for which the style explains labels.

    Raises:
        UsageError: the shapes do not agree.
        DataError: some of pred_probs are not finite.
    """
    given, q = np.asarray(labels, dtype=np.int64), np.asarray(pred_probs, dtype=np.float64)
    if q.shape != (len(texts), expert.num_labels) or given.shape != (len(texts),):
        raise UsageError(
            f"find_style_issues: found {len(texts)} texts, labels of shape {given.shape} and pred_probs of "
            f"shape {q.shape}; expected N, (N,) and (N, {expert.num_labels})"
        )
    if not np.isfinite(q).all():
        raise DataError("find_style_issues: some of pred_probs are not finite; expected class probabilities")
    having = expert.log_weights(texts) > 0
    rest = np.asarray(~having.any(axis=1))
    asked = [c for c in range(expert.num_labels) if having[:, c].sum() >= FEWEST]
    if not asked or rest.sum() < FEWEST:
        return ()
    spread = natural_spread(FeatureTable(texts), np.eye(expert.num_labels)[given], q)
    folds = np.random.default_rng(seed).permutation(len(texts)) % FOLDS
    doubtful = label_issues(q, given)
    found = []
    for label in asked:
        views = list(_views(_without(texts, expert, label), embed))
        has, hit = having[:, label], given == label
        likely, gain = _style_probabilities(views, has, rest, hit, q[:, label], spread, folds)
        rows = np.flatnonzero((likely > 0.5) & ~has)
        # With the rows that have a label issue, half of the label's rows may go.
        most = max(int(LARGEST_SHARE * hit.sum()) - int((doubtful & hit).sum()), 0)
        further = rows[~doubtful[rows]]
        likeliest = further[np.argsort(-likely[further], kind="stable")[:most]]
        rows = np.union1d(likeliest, rows[doubtful[rows]])
        if len(rows):
            found.append(StyleIssues(label, tuple(int(row) for row in rows), gain, likely))
    return tuple(found)


def _style_probabilities(
    views: list[tuple[Any, float]],
    has: NDArray[np.bool_],
    rest: NDArray[np.bool_],
    hit: NDArray[np.bool_],
    q: Floats,
    spread: float,
    folds: NDArray[np.int64],
) -> tuple[Floats, float]:
    """The probability of each row to be of the style, and the gain; zeros where the style says nothing."""
    members, likely, gain = has.astype(np.float64), np.zeros(len(has)), 0.0
    odds = logit(np.clip(q, 1e-3, 1 - 1e-3))
    meaning = np.vander(odds, 4)
    for _ in range(ROUNDS if views else 0):
        told = [_beyond(_scores(view, c, members, folds), meaning, rest) for view, c in views]
        scores = _beyond(np.mean(told, axis=0), meaning, rest)
        top = max(float(np.quantile(scores[rest], 0.99)), 1e-9)
        natural = expit(odds + spread * np.clip(scores / top, 0, 1))
        start, slope, gain = _mixture(scores[rest], hit[rest], natural[rest])
        if not gain > chi2.isf(_CHANCE, 1):
            return np.zeros(len(has)), gain
        share = expit(start + slope * scores)
        likely = np.where(hit, share / (share + (1 - share) * natural), 0.0)
        members = np.where(has, 1.0, likely)
    return likely, gain


def _mixture(scores: Floats, hit: NDArray[np.bool_], q: Floats) -> tuple[float, float, float]:
    """a, β, and twice the log-likelihood that β adds."""

    def loss(parameters: Floats) -> tuple[float, Floats]:
        share = expit(np.clip(parameters[0] + parameters[1] * scores, -_SUREST, _SUREST))
        p = np.where(hit, share + (1 - share) * q, (1 - share) * (1 - q))
        rise = np.where(hit, share * (1 - share) * (1 - q) / p, -share)
        return -float(np.log(p).sum()), -np.array([rise.sum(), rise @ scores])

    def fitted(start: tuple[float, float], steepest: float) -> Any:
        return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[_BOUNDS, (0.0, steepest)])

    flat = min((fitted((a, 0.0), 0.0) for a in (-6.0, -3.0)), key=lambda found: float(found.fun))
    starts = ((float(flat.x[0]), 0.0), *_STARTS)
    best = min((fitted(start, _STEEPEST) for start in starts), key=lambda found: float(found.fun))
    return float(best.x[0]), float(best.x[1]), 2 * (float(flat.fun) - float(best.fun))


def _scores(view: Any, c: float, members: Floats, folds: NDArray[np.int64]) -> Floats:
    """Log-odds of membership, of each row by a classifier that was fitted on the other folds."""
    scores = np.zeros(len(members))
    for fold in range(int(folds.max()) + 1):
        fitted = np.flatnonzero(folds != fold)
        inside = fitted[members[fitted] > 1e-3]
        outside = fitted[members[fitted] < 1 - 1e-3]
        weights = np.concatenate([members[inside], 1 - members[outside]])
        # Both sides weigh the same: few rows have a shortcut.
        weights[: len(inside)] *= weights[len(inside) :].sum() / weights[: len(inside)].sum()
        rows = [view[inside], view[outside]]
        model = LogisticRegression(C=c, max_iter=500)
        model.fit(
            stack_sparse(rows, format="csr") if issparse(view) else np.concatenate(rows),
            np.repeat([1, 0], [len(inside), len(outside)]),
            sample_weight=weights,
        )
        out = folds == fold
        scores[out] = model.decision_function(view[out])
    return scores


def _views(texts: Sequence[str], embed: Embed | None) -> Iterator[tuple[Any, float]]:
    """What tells how texts are put, and the C of a regression on it."""
    words = TfidfVectorizer(
        analyzer="word", token_pattern=TOKEN.pattern, ngram_range=(1, 2), min_df=2, sublinear_tf=True,
        lowercase=False,
    )  # fmt: skip
    parts = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 4), min_df=3, sublinear_tf=True, lowercase=False
    )
    for vectorizer in (words, parts):
        try:
            yield vectorizer.fit_transform(texts).tocsr(), _SPARSE_C
        except ValueError:  # no text has a word, or no word is in two of them
            continue
    if embed is not None:
        yield scaled(np.asarray(embed(texts), dtype=np.float64)), _DENSE_C


def _without(texts: Sequence[str], expert: ShortcutExpert, label: int) -> list[str]:
    """Texts without the shortcuts to a label: their odd characters, and words of more than one letter."""
    features = [shortcut.feature for shortcut in expert.shortcuts if shortcut.label == label]
    odd = {ord(feature.text): None for feature in features if feature.kind == "character"}
    words = {
        word
        for feature in features
        if feature.kind != "character"
        for word in feature.text.split()
        if len(word) > 1 and re.fullmatch(r"\w+", word)
    }
    return [
        " ".join(word for word in TOKEN.findall(text.translate(odd)) if word not in words) for text in texts
    ]


def _beyond(values: Floats, explained_by: Floats, among: NDArray[np.bool_]) -> Floats:
    """Values less what a linear model of `explained_by` says of them, in standard deviations among some."""
    weights, *_ = np.linalg.lstsq(explained_by[among], values[among], rcond=None)
    left = values - explained_by @ weights
    standard: Floats = left / max(float(left[among].std()), 1e-12)
    return standard
