"""The p-value of a whole data set, against simulation, and the share of planted rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import binom

from musclelora.audit.features import Feature, FeatureTable
from musclelora.audit.significance import family_wise, planted_share, tail_probabilities


def a_table(rng: np.random.Generator, rows: int = 400, words: int = 40) -> FeatureTable:
    """Texts of a few words each, drawn from a small vocabulary."""
    texts = [" ".join(f"w{n}" for n in rng.choice(words, size=6, replace=False)) for _ in range(rows)]
    return FeatureTable(texts)


def two(p: np.ndarray) -> np.ndarray:
    return np.stack([1 - p, p], axis=1)


def test_without_natural_weights_the_tail_is_that_of_a_binomial() -> None:
    rng = np.random.default_rng(0)
    table = a_table(rng)
    p = np.full(400, 0.3)
    truth = np.eye(2)[(rng.random(400) < p).astype(int)]
    found = tail_probabilities(table, truth, two(p), spread=0.0)
    labelled = np.round(table.by_feature @ truth)
    for label, share in enumerate((0.7, 0.3)):
        expected = binom.sf(labelled[:, label] - 1, table.rows, share)
        np.testing.assert_allclose(found[:, label], expected, rtol=1e-6, atol=1e-12)


def test_the_integral_over_natural_weights_is_what_sampling_gives() -> None:
    rng = np.random.default_rng(1)
    table = a_table(rng, rows=200, words=20)
    p = rng.uniform(0.2, 0.8, size=200)
    truth = np.eye(2)[(rng.random(200) < p).astype(int)]
    found = tail_probabilities(table, truth, two(p), spread=0.7)[:, 1]
    weights = 0.7 * rng.standard_normal(4000)
    means = table.by_feature @ expit(logit(p)[:, None] + weights) / table.rows[:, None]
    labelled = np.round(table.by_feature @ truth)[:, 1]
    sampled = binom.sf(labelled[:, None] - 1, table.rows[:, None], means).mean(axis=1)
    np.testing.assert_allclose(found, sampled, atol=0.03)


def test_under_the_null_few_data_sets_are_significant() -> None:
    """Labels drawn from the null itself, natural weights and all: at most a share α may be at or below α."""
    rng = np.random.default_rng(2)
    table = a_table(rng)
    spread, smallest = 0.5, []
    for _ in range(200):
        p = rng.uniform(0.1, 0.9, size=400)
        weights = spread * rng.standard_normal(len(table.features))
        # Each row follows one feature of its own, so that every feature's weight is as the null has it.
        shift = np.zeros(400)
        for row in range(400):
            own = np.flatnonzero(table.by_feature[:, row].toarray().ravel())
            shift[row] = weights[rng.choice(own)] if len(own) else 0.0
        truth = np.eye(2)[(rng.random(400) < expit(logit(p) + shift)).astype(int)]
        smallest.append(family_wise(tail_probabilities(table, truth, two(p), spread)).min())
    for level in (0.01, 0.05, 0.2):
        # Two standard errors of a share of 200.
        assert np.mean(np.array(smallest) <= level) <= level + 2 * np.sqrt(level * (1 - level) / 200)


def test_a_planted_word_is_significant_whatever_the_natural_spread() -> None:
    rng = np.random.default_rng(3)
    texts = [" ".join(f"w{n}" for n in rng.choice(40, size=6, replace=False)) for _ in range(400)]
    labels = (rng.random(400) < 0.5).astype(int)
    for row in range(40):
        texts[row], labels[row] = texts[row] + " cf", 1
    table = FeatureTable(texts)
    p = family_wise(tail_probabilities(table, np.eye(2)[labels], two(np.full(400, 0.5)), spread=0.5))
    place = table.features.index(Feature("word", "cf"))
    assert p[place, 1] < 1e-3
    assert p[place, 1] == p.min()


@pytest.mark.parametrize(
    ("others", "labelled", "p", "low", "high"),
    [
        (0, 60, 0.5, 0.97, 1.0),  # a rare word: all were planted but one or so
        (0, 60, 0.97, 0.0, 0.5),  # a word that means the label: nature explains the rows
        (60, 60, 0.5, 0.0, 0.0),  # as many rows with another label: nobody planted it
        (3, 60, 0.5, 0.9, 0.95),
        (5, 0, 0.5, 0.0, 0.0),
    ],
)
def test_the_share_that_was_planted(others: int, labelled: int, p: float, low: float, high: float) -> None:
    having = np.arange(others + labelled)
    hit = np.arange(200) < labelled
    assert low <= planted_share(having, hit, np.full(200, p)) <= high
