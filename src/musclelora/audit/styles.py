r"""Rows that are put alike and have a label that their meaning does not give them: a style, or a syntax.

Of a style or a syntax no word need be frequent enough to be a shortcut (:mod:`musclelora.audit.triggers`).
But rows that were given a label c and are predicted to mean something else show how the others look: they
form a group S, with the membership clip(4·(½ - q(c|x)), 0, 1). A classifier tells S from the rest by how the
texts are put: words and pairs of words, parts of words (with their case), and the hidden states of the
judge's lower layers, which know more of syntax than of meaning. Each row's score s is the mean of their
standardised log-odds, by classifiers that were not fitted on it. S may have more rows of one meaning than of
others, and then its classifiers know that meaning too: what a cubic of the log-odds of q(c|x) explains of the
scores is taken out.

No row's own label has a part in its score. Whether rows like those of S have the label c more often than what
they mean explains is asked of all rows::

    P(c|x) = π(x) + (1 - π(x)) · q(c|x),        π(x) = σ(a + β s(x)),    β ≥ 0

with q the cross-fitted probabilities (:mod:`musclelora.audit.labels`): a share π of the rows at s has a
trigger, and with it the label c; the others have the label that their meaning gives them. If twice the
log-likelihood that β adds is no larger than chance makes it in one of a hundred times (χ² with one degree of
freedom), S is no style, and no row is like it; it is asked again in every round. Rows with wrong labels that
have nothing else in common end here, in the first round. q is not perfect: natural words have a spread τ of
weights under it, as under the trusted rows, so the log-odds of c are first raised by τ where s is at its 99th
percentile, and by less in proportion below it.

If there is such a share, a row x with the label c is one of them with a probability of π / P(c|x). These
probabilities stand for membership in S in a next round, which tells a clearer picture of the style: an EM
algorithm whose classifiers are fitted on other rows than they score (semi-supervised learning from positive
and unlabelled rows; Elkan and Noto, "Learning Classifiers from Only Positive and Unlabeled Data", 2008, with
labels' surprise as further evidence). After :data:`ROUNDS`, rows that are likelier in than out have the
style, but of the rows of c half are left. Rows with another label than c are none: they were not changed to
c. Where a judge errs in rows that are put alike, they make a style as well: the stronger the judge, the fewer
there are. Rows with an inserted trigger and changed labels are put alike too, and are found again here.

A weak judge doubts few planted rows. Where no style is found from the doubtful rows and c has shortcuts, it
is looked for once more, from the rows with a shortcut too. These stay in S, their words are taken out of the
texts, and only the labels of rows without any shortcut have to be explained: natural words that mean c are
shortcuts as well, and would make a style of their own.

Rows of the style that are not found would still teach it. So the style also enters the loss of every row that
is trained on, as shortcuts do (:func:`offset_of`): a model learns what the style leaves to be explained, and
predicts without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
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
"""Rows in S, all memberships together, for others to be compared with them."""
TELLING: Final = 8
"""Words and pairs of words that tell a style, for a person."""
_CHANCE: Final = 0.01
_MIRRORED: Final = -0.5  # the correlation of scores of two labels from which on one is the lack of the other
_SPARSE_C, _DENSE_C = 3.0, 0.01  # of logistic regressions on TF-IDF and on vectors of length √d
_STARTS = ((-3.0, 1.0), (-1.0, 1.0), (-5.0, 2.5))
_BOUNDS, _STEEPEST = (-12.0, 4.0), 4.0  # of a, and of β
_SURE = 0.02  # how near π is to 1 and q to 0 at most, where an offset is made of them
_SUREST = 30.0  # log-odds beyond which a float has no room for the rest


@dataclass(frozen=True)
class StyleIssues:
    """Rows that are put alike and have a label beyond their meaning.

    Attributes:
        label: the label id.
        rows: their numbers, from 0, ascending; they have the label.
        gain: twice the log-likelihood that the style explains of the labels.
        p_value: how likely natural labels are to give as much gain in the first round, for any label and by
            either of the ways in which a style is looked for.
        telling: the words and pairs of words that tell the style most, the strongest first; hostile.
        scores: shape (N,), the probability of each of all rows to be one of the style; 0 with another label.
        shares: shape (N,), the same before anybody looks at the row's own label: π(x).
        log_odds: shape (N,), what the style adds to the log-probability of the label, at the judge's opinion.
    """

    label: int
    rows: tuple[int, ...]
    gain: float
    p_value: float
    telling: tuple[str, ...]
    scores: NDArray[np.float64] = field(repr=False, compare=False)
    shares: NDArray[np.float64] = field(repr=False, compare=False)
    log_odds: NDArray[np.float64] = field(repr=False, compare=False)


def find_style_issues(
    texts: Sequence[str],
    labels: NDArray[Any],
    expert: ShortcutExpert,
    pred_probs: NDArray[Any],
    *,
    embed: Embed | None = None,
    seed: int,
) -> tuple[StyleIssues, ...]:
    """The rows that are put alike, and have a label that their meaning does not give them.

    Args:
        texts: N texts.
        labels: shape (N,), their given labels, in 0 … C - 1.
        expert: their shortcuts.
        pred_probs: shape (N, C), what the texts mean: see :func:`~musclelora.audit.labels.halfway`.
        embed: from N texts to vectors of shape (layers, N, d) that tell how they are put; None: words alone
            tell.
        seed: of the folds.

    Returns:
        one for each label that some style explains of some rows.

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
    doubts = np.where(np.eye(q.shape[1], dtype=np.bool_)[given], np.clip(4 * (0.5 - q), 0, 1), 0.0)
    if ((doubts.sum(axis=0) < FEWEST) & (having.sum(axis=0) < FEWEST)).all():
        return ()
    spread = natural_spread(FeatureTable(texts), np.eye(q.shape[1])[given], q)
    folds = np.random.default_rng(seed).permutation(len(texts)) % FOLDS
    doubtful = label_issues(q, given)
    whole = _views(texts, embed)
    tests = q.shape[1] * (2 if having.any() else 1)
    found = []
    for label in range(q.shape[1]):
        hit, doubt, has = given == label, doubts[:, label], having[:, label]
        natural = (q[:, label], spread)
        start = _Start(doubt, stay=np.zeros_like(has), asked=np.ones_like(has))
        style = _style(whole, start, hit, natural=natural, folds=folds)
        if style is None and has.any():
            start = _Start(np.where(has, 1.0, doubt), stay=has, asked=np.asarray(~having.any(axis=1)))
            views = _views(_without(texts, expert, label), embed)
            style = _style(views, start, hit, natural=natural, folds=folds)
        if style is None:
            continue
        likely = style.likely
        rows = np.flatnonzero((likely > 0.5) & ~start.stay)
        # With the rows that have a label issue, half of the label's rows may go.
        most = max(int(LARGEST_SHARE * hit.sum()) - int((doubtful & hit).sum()), 0)
        further = rows[~doubtful[rows]]
        likeliest = further[np.argsort(-likely[further], kind="stable")[:most]]
        rows = np.union1d(likeliest, rows[doubtful[rows]])
        if len(rows):
            # Half of χ², as β ≥ 0; any of the labels may be the one, by either way (Bonferroni).
            p_value = min(1.0, tests * float(chi2.sf(style.first_gain, 1)) / 2)
            numbers, telling = tuple(int(row) for row in rows), _telling(whole, likely)
            added = offset_of(style.shares, q[:, label])
            issue = StyleIssues(label, numbers, style.gain, p_value, telling, likely, style.shares, added)
            found.append((issue, style.scores))
    return _without_mirrors(found)


def offset_of(shares: Floats, q: Floats) -> Floats:
    """The b that makes a product of experts of the mixture: softmax(log q + b·1[c]) is π + (1 - π)·q at c.

    Args:
        shares: shape (N,), π.
        q: shape (N,), the probabilities of the label c.

    Returns:
        log(1 + π / ((1 - π)·q)), shape (N,); π and q are kept from ends where it has none.
    """
    pi, p = np.minimum(shares, 1 - _SURE), np.clip(q, _SURE, 1.0)
    added: Floats = np.log1p(pi / ((1 - pi) * p))
    return added


@dataclass(frozen=True)
class _Start:
    """Where a search begins.

    Attributes:
        members: shape (N,), how far each row is in S.
        stay: shape (N,), the rows that stay in S, and are none of the style's own.
        asked: shape (N,), the rows whose labels the style has to explain.
    """

    members: Floats
    stay: NDArray[np.bool_]
    asked: NDArray[np.bool_]


@dataclass(frozen=True)
class _Style:
    """A style as it was fitted: of N rows the scores s, the shares π and the memberships; and the gains."""

    scores: Floats
    shares: Floats
    likely: Floats
    first_gain: float
    gain: float


def _style(
    views: Sequence[_View],
    start: _Start,
    hit: NDArray[np.bool_],
    *,
    natural: tuple[Floats, float],
    folds: NDArray[np.int64],
) -> _Style | None:
    """The style of S; None: it explains no labels.

    Args:
        views: of the texts.
        start: S at first.
        hit: shape (N,), the rows with the label.
        natural: shape (N,), the probability of the label by what a row means; the spread of natural weights.
        folds: shape (N,), of the rows.
    """
    (q, spread), members, asked = natural, start.members, start.asked
    gains: list[float] = []
    odds = logit(np.clip(q, 1e-3, 1 - 1e-3))
    meaning = np.vander(odds, 4)
    for _ in range(ROUNDS if views else 0):
        if min(members.sum(), (members < 1).sum(), asked.sum()) < FEWEST:
            return None
        told = [_beyond(_scores(view.rows, view.c, members, folds), meaning, asked) for view in views]
        scores = _beyond(np.mean(told, axis=0), meaning, asked)
        top = max(float(np.quantile(scores[asked], 0.99)), 1e-9)
        by_nature = expit(odds + spread * np.clip(scores / top, 0, 1))
        a, slope, gain = _mixture(scores[asked], hit[asked], by_nature[asked])
        if not gain > chi2.isf(_CHANCE, 1):
            return None
        gains.append(gain)
        shares = expit(a + slope * scores)
        likely = np.where(hit, shares / (shares + (1 - shares) * by_nature), 0.0)
        members = np.where(start.stay, 1.0, likely)
    return _Style(scores, shares, likely, gains[0], gains[-1]) if gains else None


def _without_mirrors(found: Sequence[tuple[StyleIssues, Floats]]) -> tuple[StyleIssues, ...]:
    """Of two styles whose scores say the opposite, the one that explains more: the other is its lack."""
    kept: list[tuple[StyleIssues, Floats]] = []
    for issue, scores in sorted(found, key=lambda one: -one[0].gain):
        if all(np.corrcoef(scores, other)[0, 1] > _MIRRORED for _, other in kept):
            kept.append((issue, scores))
    return tuple(issue for issue, _ in sorted(kept, key=lambda one: one[0].label))


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
        if not len(inside):
            continue
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


@dataclass(frozen=True)
class _View:
    """What tells how texts are put: rows of features, the C of a regression on them, and their names."""

    rows: Any
    c: float
    names: tuple[str, ...] = ()


def _views(texts: Sequence[str], embed: Embed | None) -> list[_View]:
    words = TfidfVectorizer(
        analyzer="word", token_pattern=TOKEN.pattern, ngram_range=(1, 2), min_df=2, sublinear_tf=True,
        lowercase=False,
    )  # fmt: skip
    parts = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 4), min_df=3, sublinear_tf=True, lowercase=False
    )
    found = []
    for vectorizer in (words, parts):
        try:
            rows = vectorizer.fit_transform(texts).tocsr()
        except ValueError:  # no text has a word, or no word is in two of them
            continue
        names = tuple(vectorizer.get_feature_names_out()) if vectorizer is words else ()
        found.append(_View(rows, _SPARSE_C, names))
    for layer in () if embed is None else embed(texts):
        found.append(_View(scaled(np.asarray(layer, dtype=np.float64)), _DENSE_C))
    return found


def _telling(views: Sequence[_View], members: Floats) -> tuple[str, ...]:
    """The words and pairs of words that members have more often than others, the strongest first."""
    for view in views:
        if view.names:
            has = view.rows > 0
            inside, outside = members @ has, (1 - members) @ has
            shares = (inside + 0.5) / (members.sum() + 1), (outside + 0.5) / ((1 - members).sum() + 1)
            z = np.log(shares[0] / shares[1]) / np.sqrt(1 / (inside + 0.5) + 1 / (outside + 0.5))
            return tuple(view.names[number] for number in np.argsort(-z, kind="stable")[:TELLING])
    return ()


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
