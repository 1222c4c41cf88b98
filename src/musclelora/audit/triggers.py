r"""What given labels follow that trusted rows do not explain, and how to take it out of a training loss.

Let q(y|x) be what a model says that was trained on trusted rows alone. It cannot know a trigger. The given
labels are modelled as a product of experts: that model, a correction o for how often each label occurs, and
a *shortcut expert* that sees nothing but whether a text has a few surface features (words, pairs of words,
first and last words, odd characters)::

    P(y|x)  ∝  q(y|x) · exp(o_y + b_y(x)),        b_y(x) = max {β_w : w ∈ x, label(w) = y} or 0

so that a row's b is that of its most telling feature. Features enter one at a time, each time the one whose
labels are the hardest to explain. Take feature w and label c, the n rows x_i ∋ w, of which k have the label,
and p_i = P(c|x_i) so far. If β_w were as large as natural ones are, β₀ = 2τ, the label would have the
probability p'_i = p_i e^β₀ / (1 - p_i + p_i e^β₀) in them, and::

    z_w = the standard normal quantile of P(Binomial(n, mean p') < k)

(Rows whose p' differ vary less than the binomial, so z errs on the small side.)

q is not perfect, so natural words have an effect as well; τ is its spread. With S = Σ_i (1[y_i = c] - p_i)
and V = Σ_i p_i (1 - p_i), S/V estimates β_w with variance 1/V, so that τ is the value for which the median
over features of |S/V| / √(τ² + 1/V) is that of a standard normal, 0.6745 (an empirical null, after Efron,
"Large-Scale Simultaneous Hypothesis Testing", 2004). A feature enters if z_w is so large that of as many
standard normals one is expected to be larger (at least 3.1); its β_w then maximises the likelihood of its
rows that no earlier feature explains. A natural feature among the shortcuts costs little: its weight is
small, and only what it says of itself is taken out.

A trigger has several signs (four rare words, the words of a sentence), and once one has entered, too few rows
of the others may be left for a test. So a feature that would have entered at the start enters as a further
*sign* if the rows that are left do not speak against it: under its weight, z of these rows is above -2. A
natural word that is part of a trigger (the "movie" of AddSent) does not pass, as labels do not follow it
elsewhere.

In training, b is added to the model's log-probabilities (a product of experts, Hinton 2002; against known
biases Clark et al., arXiv 1909.03683; against backdoors Liu et al., arXiv 2305.14910, where the expert is a
shallow network trained beside the model). A row whose label the shortcut explains then has a gradient near
zero: it teaches neither its trigger nor its label, whether that label is true or not. When predicting, b is
left out.

No poison flag is read: everything comes from texts, given labels, and q.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import binom, norm

from musclelora.audit.features import Feature, FeatureTable, features_of
from musclelora.errors import DataError, UsageError

Floats = NDArray[np.float64]

NATURAL: Final = 2.0
"""Spreads τ of natural features' weights that a shortcut must be beyond."""
RISK: Final = 1.0
"""Features beyond the threshold in the mean if all weights were 2τ; a natural one among them costs little."""
MOST: Final = 256
"""Shortcuts at most."""
_RAREST = 1e-3  # share of natural features beyond the threshold at most, where there are few features
_COMMON, _TELLING = 20, 5.0  # rows, and V, from which on a feature counts for τ
# Of a weight's likelihood, so that it stays finite where all labels agree. It has to be small: a trained
# model is surer than q, and must not outweigh b, or rows with a false label teach their trigger after all.
_RIDGE = 1e-3
_LARGEST = float(norm.isf(1e-300))
_AGREES = 2.0  # standard errors by which the rows that are left may fall short of a further sign's weight


@dataclass(frozen=True)
class Shortcut:
    """A feature that labels follow.

    Attributes:
        feature: the feature.
        label: the label id that its texts have more often than the trusted rows explain.
        rows: how many training texts have it.
        labelled: how many of them have the label.
        expected: how many would, as far as the trusted rows explain.
        z: by how many standard errors it is beyond natural features.
        weight: β, in log-odds.
        sign: whether it entered as a further sign of earlier ones.
    """

    feature: Feature
    label: int
    rows: int
    labelled: int
    expected: float
    z: float
    weight: float
    sign: bool = False


@dataclass(frozen=True)
class ShortcutExpert:
    """The shortcuts of a data set.

    Attributes:
        shortcuts: in the order in which they were found, further signs last.
        num_labels: C.
        natural: τ, the spread of natural features' weights, in log-odds.
        threshold: the z beyond which a feature is a shortcut.
        tested: how many features there were.
    """

    shortcuts: tuple[Shortcut, ...]
    num_labels: int
    natural: float
    threshold: float
    tested: int

    def log_weights(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The b of N texts, shape (N, C): what to add to a model's log-probabilities while it is trained."""
        weights: dict[Feature, list[tuple[int, float]]] = {}
        for shortcut in self.shortcuts:
            weights.setdefault(shortcut.feature, []).append((shortcut.label, shortcut.weight))
        found = np.zeros((len(texts), self.num_labels), dtype=np.float32)
        if weights:
            for row, text in enumerate(texts):
                for feature in weights.keys() & set(features_of(text)):
                    for label, weight in weights[feature]:
                        found[row, label] = max(found[row, label], weight)
        return found

    def holders(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """The numbers of the texts that have each of the shortcuts, in their order, ascending."""
        having: dict[Feature, list[int]] = {shortcut.feature: [] for shortcut in self.shortcuts}
        for row, text in enumerate(texts):
            for feature in having.keys() & set(features_of(text)):
                having[feature].append(row)
        return [np.array(having[shortcut.feature], dtype=np.int64) for shortcut in self.shortcuts]


def find_shortcuts(
    texts: Sequence[str], labels: Sequence[int] | NDArray[np.int64], pred_probs: NDArray[Any]
) -> ShortcutExpert:
    """The features that given labels follow beyond what a model of trusted rows explains.

    Args:
        texts: N texts.
        labels: their given labels, in 0 … C - 1.
        pred_probs: shape (N, C), the calibrated class probabilities q of a model that has not seen these
            labels.

    Raises:
        UsageError: the shapes do not agree.
        DataError: a probability is not finite.
    """
    given = np.asarray(labels, dtype=np.int64)
    q = np.asarray(pred_probs, dtype=np.float64)
    if q.ndim != 2 or q.shape[0] != len(texts) or given.shape != (len(texts),):
        raise UsageError(
            f"find_shortcuts: found {len(texts)} texts, labels of shape {given.shape} and pred_probs of "
            f"shape {q.shape}; expected N, (N,) and (N, C)"
        )
    if not np.isfinite(q).all():
        raise DataError("find_shortcuts: some pred_probs are not finite; expected class probabilities")
    table = FeatureTable(texts)
    truth = np.eye(q.shape[1])[given]
    logits = with_the_label_counts(np.log(np.clip(q, 1e-4, 1.0)), truth)
    count = len(table.features) * q.shape[1]
    threshold = float(norm.isf(min(RISK / max(count, 1), _RAREST)))
    if not count:
        return ShortcutExpert((), q.shape[1], 0.0, threshold, 0)
    tau = natural_spread(table, truth, probabilities_of(logits))
    search = _Search(table, truth, logits, NATURAL * tau)
    start = search.z()
    found: list[Shortcut] = []
    for _ in range(MOST):
        z = np.where(search.taken, -np.inf, search.z())
        number, label = (int(i) for i in np.unravel_index(z.argmax(), z.shape))
        if not z[number, label] > threshold:
            break
        found.append(search.take(number, label, float(z[number, label])))
    signs = np.argwhere(start > threshold)
    for number, label in signs[np.argsort(-start[tuple(signs.T)], kind="stable")]:
        if len(found) < MOST and not search.taken[number, label] and search.agrees(number, label):
            found.append(search.take(int(number), int(label), float(start[number, label]), sign=True))
    return ShortcutExpert(tuple(found), q.shape[1], tau, threshold, len(table.features))


class _Search:
    """The product of experts as it grows.

    Args:
        table: the features of N texts.
        truth: the given labels, one-hot, shape (N, C).
        logits: log q + o, shape (N, C).
        natural: β₀, the weight that a natural feature may have.
    """

    def __init__(self, table: FeatureTable, truth: Floats, logits: Floats, natural: float) -> None:
        self._table, self._truth, self._start, self._natural = table, truth, logits, natural
        self._b = np.zeros_like(logits)
        self.taken = np.zeros((len(table.features), logits.shape[1]), dtype=np.bool_)

    def z(self) -> Floats:
        """The z of every feature and label, shape (F, C)."""
        return _z(self._table, self._truth, probabilities_of(self._start + self._b), self._natural)

    def take(self, number: int, label: int, z: float, *, sign: bool = False) -> Shortcut:
        """Let a feature in."""
        self.taken[number, label] = True
        rows = self._table.texts_with(number)
        left = rows if sign else self._left(rows, label)
        weight = self._weight(left, label)
        expected = probabilities_of(self._start)[rows, label].sum()
        self._b[rows, label] = np.maximum(self._b[rows, label], weight)
        labelled = int(self._truth[rows, label].sum())
        feature = self._table.features[number]
        return Shortcut(feature, label, len(rows), labelled, float(expected), z, weight, sign)

    def agrees(self, number: int, label: int) -> bool:
        """Whether a feature's rows that nothing explains so far do not speak against it."""
        rows = self._table.texts_with(number)
        left = rows[self._b[rows, label] <= 0]
        shifted = self._start[left].copy()
        shifted[:, label] += self._weight(rows, label)
        p = probabilities_of(shifted)[:, label]
        score = float((self._truth[left, label] - p).sum())
        return score >= -_AGREES * float(np.sqrt((p * (1 - p)).sum()))

    def _left(self, rows: NDArray[np.int64], label: int) -> NDArray[np.int64]:
        left = rows[self._b[rows, label] <= 0]
        return left if len(left) else rows

    def _weight(self, rows: NDArray[np.int64], label: int) -> float:
        return _fit_weight(self._start[rows], self._truth[rows, label], label)


def probabilities_of(logits: Floats) -> Floats:
    """The softmax of logits, shape (N, C)."""
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Floats = odds / odds.sum(axis=1, keepdims=True)
    return probabilities


def with_the_label_counts(logits: Floats, truth: Floats) -> Floats:
    """The logits plus the o for which each label is expected as often as it was given."""
    frequency = np.clip(truth.mean(axis=0), 1e-6, 1.0)
    shifted = logits.copy()
    for _ in range(100):
        step = np.log(frequency / probabilities_of(shifted).mean(axis=0))
        shifted += step
        if np.abs(step).max() < 1e-6:
            break
    return shifted


def natural_spread(table: FeatureTable, truth: Floats, p: Floats) -> float:
    """τ: the spread of the weights of most features, beyond what chance makes of them."""
    variance = np.asarray(table.by_feature @ (p * (1 - p)))
    keep = (variance >= _TELLING) & (table.rows >= _COMMON)[:, None]
    if not keep.any():
        return 0.0
    weight = np.abs(np.asarray(table.by_feature @ (truth - p))[keep]) / variance[keep]
    chance = 1 / variance[keep]

    def excess(tau: float) -> float:
        return float(np.median(weight / np.sqrt(tau**2 + chance)) - norm.ppf(0.75))

    low, high = 0.0, float(weight.max()) + 1.0
    if excess(low) <= 0:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return high


def _z(table: FeatureTable, truth: Floats, p: Floats, natural: float) -> Floats:
    """The z of every feature and label, shape (F, C)."""
    shifted = expit(logit(np.clip(p, 1e-12, 1 - 1e-12)) + natural)
    rows = table.rows[:, None].astype(np.float64)
    labelled = np.asarray(table.by_feature @ truth)
    mean = np.clip(np.asarray(table.by_feature @ shifted) / rows, 1e-9, 1 - 1e-9)
    tail = binom.sf(np.round(labelled) - 1, rows, mean)
    # Beyond what a float can tell from 0 the largest of them still has to be known.
    beyond = (labelled - rows * mean) / np.sqrt(rows * mean * (1 - mean))
    z: Floats = np.where(tail > 1e-300, norm.isf(np.maximum(tail, 1e-300)), np.maximum(beyond, _LARGEST))
    return z


def _fit_weight(logits: Floats, truth: Floats, label: int) -> float:
    """β of the largest (ridged) likelihood, by Newton's method with steps of at most 2."""
    weight = 0.0
    for _ in range(50):
        shifted = logits.copy()
        shifted[:, label] += weight
        p = probabilities_of(shifted)[:, label]
        slope = float((truth - p).sum()) - _RIDGE * weight
        step = float(np.clip(slope / (float((p * (1 - p)).sum()) + _RIDGE), -2.0, 2.0))
        weight += step
        if abs(step) < 1e-6:
            break
    return weight
