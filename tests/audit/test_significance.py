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


def shares_beyond(assumed: float) -> list[float]:
    """Shares of 300 data sets of the null that are significant at 0.01, 0.05, 0.2 if τ were `assumed`.

    Each row has one word of its own, so that the word's weight, of spread 0.5, is the whole of its effect.
    """
    rng = np.random.default_rng(2)
    words = np.repeat(np.arange(20), 30)
    table = FeatureTable([f"w{word}" for word in words])
    smallest = []
    for _ in range(300):
        p = rng.uniform(0.1, 0.9, size=600)
        weights = 0.5 * rng.standard_normal(20)
        truth = np.eye(2)[(rng.random(600) < expit(logit(p) + weights[words])).astype(int)]
        # "w3" is a word, a first and a last one: the same test three times.
        smallest.append(family_wise(tail_probabilities(table, truth, two(p), assumed)).min())
    return [float(np.mean(np.array(smallest) <= level)) for level in (0.01, 0.05, 0.2)]


def test_under_the_null_few_data_sets_are_significant() -> None:
    for share, level in zip(shares_beyond(0.5), (0.01, 0.05, 0.2), strict=True):
        assert share <= level + 2 * np.sqrt(level * (1 - level) / 300)  # two standard errors


def test_without_natural_weights_too_many_would_be() -> None:
    assert shares_beyond(0.0)[0] > 0.01 + 4 * np.sqrt(0.01 * 0.99 / 300)


@pytest.mark.parametrize("rows", [300, 3000, 30000])
def test_the_tail_is_exact_however_many_rows(rows: int) -> None:
    """Of rows that are all alike the tail is a one-dimensional integral, which SciPy does adaptively."""
    from scipy.integrate import quad
    from scipy.stats import norm

    table = FeatureTable(["cf"] * rows)
    spread, labelled = 0.3, int(0.66 * rows)
    truth = np.eye(2)[(np.arange(rows) < labelled).astype(int)]
    found = tail_probabilities(table, truth, two(np.full(rows, 0.5)), spread)[0, 1]
    step = float(logit(labelled / rows) / spread)

    def density(node: float) -> float:
        return float(binom.sf(labelled - 1, rows, expit(spread * node)) * norm.pdf(node))

    expected, _ = quad(density, -8, 8, points=[step - 0.3, step, step + 0.3], limit=500)
    assert found == pytest.approx(expected, rel=0.03)


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
