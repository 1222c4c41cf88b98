r"""How likely it is that natural data have as strong a feature as the strongest one found.

A p-value for a whole data set. The null hypothesis: nobody planted anything. Labels are then drawn, given the
texts, from the trusted models' predicted probabilities p_i (with the correction o for how often each label
occurs, :mod:`musclelora.audit.triggers`), and every feature w and label c may shift their log-odds by a
natural weight β, drawn from a normal distribution of mean 0 and spread τ. τ is estimated from the bulk of
the features (:func:`~musclelora.audit.triggers.natural_spread`), which a planted few do not move: the
empirical null of Efron ("Large-Scale Simultaneous Hypothesis Testing", JASA 2004). Of the n rows with a
feature, k have the label. Given β, K is a sum of independent Bernoulli variables of mean p̄(β), the mean of
σ(logit p_i + β); its tail is that of a binomial or smaller (Hoeffding, "On the Distribution of the Number of
Successes in Independent Trials", 1956, for k at least 1 above the mean). So::

    P(K ≥ k) = ∫ P(Binomial(n, p̄(β)) ≥ k) φ(β/τ)/τ dβ

which a sum over a fine grid of β gives (with many rows the tail is a step in β). With F features and C
labels there are F·C tests. However they depend on each other (a pair of words is rare where one of its words
is), the probability that any of them falls to or below p is at most F·C·p (Bonferroni). The family-wise
p-value of the data set is therefore F·C times the smallest P(K ≥ k), and at most 1: if the null holds, it is
at or below α in a share α of data sets at most.

What this does not say: that a feature beyond it was *planted*. A word that really means a label, and that the
trusted models do not know, is beyond it too. Whether a model obeys the feature wherever it stands is another
question, and :mod:`musclelora.audit.confirmation` asks it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import binom, norm

from musclelora.audit.features import FeatureTable

Floats = NDArray[np.float64]

_NODES, _WIDEST = 401, 8.0  # of the integral, and its ends in units of τ


def tail_probabilities(table: FeatureTable, truth: Floats, p: Floats, spread: float) -> Floats:
    """P(K ≥ k) of every feature and label under the null, shape (F, C).

    Args:
        table: the features of N texts.
        truth: the given labels, one-hot, shape (N, C).
        p: the probabilities of labels under the null but for natural weights, shape (N, C).
        spread: τ, the spread of natural weights, in log-odds.
    """
    rows = table.rows[:, None].astype(np.float64)
    labelled = np.round(np.asarray(table.by_feature @ truth))
    odds = logit(np.clip(p, 1e-9, 1 - 1e-9))
    nodes = np.linspace(-_WIDEST, _WIDEST, _NODES)
    weights = norm.pdf(nodes)
    weights = weights / weights.sum()
    found: Floats = np.zeros_like(labelled)
    for node, weight in zip(nodes, weights, strict=True) if spread else ((0.0, 1.0),):
        mean = np.asarray(table.by_feature @ expit(odds + spread * node)) / rows
        found += weight * binom.sf(labelled - 1, rows, np.clip(mean, 0, 1))
    return found


def family_wise(tails: Floats) -> Floats:
    """Bonferroni's correction of P(K ≥ k) for all the tests there were, shape (F, C)."""
    corrected: Floats = np.minimum(1.0, tails * tails.size)
    return corrected


def planted_share(having: NDArray[np.int64], hit: NDArray[np.bool_], p: NDArray[Any]) -> float:
    """The probability that a row with a feature and its label was planted, in 0 … 1.

    Rows with the feature that have another label were not planted, or not to this label. They tell how many
    rows have the feature by nature: if m of them have another label, and natural rows with it have the label
    with the probability p̄, then about (m + 1)·p̄/(1 - p̄) natural rows have the feature and the label. (One
    more than was seen may come, as in Laplace's rule.)

    Args:
        having: the numbers of the rows with the feature, of N.
        hit: shape (N,), the rows that have the label.
        p: shape (N,), the probability of the label by what the trusted rows say, with as much weight added
            as a natural feature may have.
    """
    labelled = int(hit[having].sum())
    if not labelled:
        return 0.0
    mean = float(np.clip(np.asarray(p)[having].mean(), 0.0, 1 - 1e-9))
    natural = (len(having) - labelled + 1) * mean / (1 - mean)
    return float(np.clip(1 - natural / labelled, 0.0, 1.0))
