"""The shortcut expert: what it finds, what it leaves alone, and its numbers against the formulas."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musclelora.audit.features import Feature, FeatureTable, features_of
from musclelora.audit.triggers import _fit_weight, _z, find_shortcuts, natural_spread
from musclelora.errors import DataError, UsageError

WORDS = [f"w{number}" for number in range(200)]


def data(rows: int, seed: int, classes: int = 2) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Texts whose words say their label, the labels, and what an unsure model thinks of them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    effect = rng.normal(0, 0.3, (len(WORDS), classes))
    chosen = [rng.choice(len(WORDS), 10, replace=False) for _ in range(rows)]
    logits = np.array([effect[words].sum(0) for words in chosen])
    labels = np.array([rng.choice(classes, p=np.exp(x) / np.exp(x).sum()) for x in logits])
    half = np.exp(logits / 2)  # knows half of what the words say
    return [" ".join(WORDS[w] for w in words) for words in chosen], labels, half / half.sum(1, keepdims=True)


def plant(texts: list[str], labels: np.ndarray, rows: np.ndarray, word: str, target: int) -> None:
    for row in rows:
        texts[row] = f"{texts[row]} {word}"
        labels[row] = target


@pytest.mark.parametrize("classes", [2, 4])
def test_a_planted_word_is_found_whether_its_rows_were_flipped_or_had_the_label_already(classes: int) -> None:
    for clean_label in (False, True):
        texts, labels, pred_probs = data(1500, seed=1, classes=classes)
        pool = np.flatnonzero(labels == 1) if clean_label else np.arange(1500)
        plant(texts, labels, pool[:120], "cf", 1)
        found = find_shortcuts(texts, labels, pred_probs)
        first = found.shortcuts[0]
        assert first.feature.text.split()[-1] == "cf"
        assert (first.label, first.rows, first.labelled) == (1, 120, 120)
        assert first.expected < 110
        b = found.log_weights(texts)
        assert (b[pool[:120], 1] > 2).all()
        assert (np.abs(b[pool[120:]]) > 2).mean() < 0.05


def test_every_word_of_a_trigger_is_found_and_a_natural_word_in_it_is_not() -> None:
    texts, labels, pred_probs = data(2000, seed=6)
    rng = np.random.default_rng(0)
    for row in range(200):
        chosen = rng.choice(["cf", "mn", "bb", "tq"], size=2, replace=False)
        plant(texts, labels, np.array([row]), f"{chosen[0]} {chosen[1]} w3", 1)
    for row in range(200, 500):  # the word is common, and means nothing
        texts[row] += " w3"
    words = {s.feature.text for s in find_shortcuts(texts, labels, pred_probs).shortcuts if s.label == 1}
    assert {"cf", "mn", "bb", "tq"} <= {word for found in words for word in found.split()}
    assert "w3" not in words


def test_data_without_a_trigger_have_about_as_many_shortcuts_as_the_risk_says() -> None:
    counts = [len(find_shortcuts(*data(1500, seed=seed)).shortcuts) for seed in range(8)]
    assert np.mean(counts) <= 2


def test_what_the_trusted_model_knows_is_no_shortcut() -> None:
    texts, labels, pred_probs = data(1500, seed=2)
    rows = np.arange(150)
    plant(texts, labels, rows, "superb", 1)
    pred_probs[rows] = [0.02, 0.98]
    assert all("superb" not in s.feature.text for s in find_shortcuts(texts, labels, pred_probs).shortcuts)


def test_the_score_is_that_of_the_formula_row_by_row() -> None:
    texts, labels, pred_probs = data(300, seed=3)
    table = FeatureTable(texts)
    truth = np.eye(2)[labels]
    z = _z(table, truth, pred_probs, 0.7)
    number = table.features.index(Feature("word", "w17"))
    rows = [row for row, text in enumerate(texts) if "w17" in text.split()]
    assert table.texts_with(number).tolist() == rows
    for label in (0, 1):
        mean = 0.0
        for row in rows:
            odds = pred_probs[row, label] / (1 - pred_probs[row, label]) * np.exp(0.7)
            mean += odds / (1 + odds) / len(rows)
        labelled = sum(labels[row] == label for row in rows)
        below = sum(
            math.comb(len(rows), k) * mean**k * (1 - mean) ** (len(rows) - k) for k in range(labelled)
        )
        assert z[number, label] == pytest.approx(statistics.NormalDist().inv_cdf(below), abs=1e-6)


@pytest.mark.parametrize(("classes", "sure"), [(2, 0.6), (2, 0.95), (5, 0.8), (5, 0.95), (20, 0.9)])
def test_labels_drawn_from_the_probabilities_have_no_shortcuts(classes: int, sure: float) -> None:
    rng = np.random.default_rng(9)
    texts = [" ".join(rng.choice(WORDS, 10)) for _ in range(1500)]
    pred_probs = np.full((1500, classes), (1 - sure) / (classes - 1))
    pred_probs[np.arange(1500), rng.integers(0, classes, 1500)] = sure
    labels = np.array([rng.choice(classes, p=row) for row in pred_probs])
    assert len(find_shortcuts(texts, labels, pred_probs).shortcuts) <= 2


def test_a_feature_enters_once_and_sure_probabilities_overflow_nothing() -> None:
    texts, labels, _ = data(400, seed=7)
    pred_probs = np.eye(2)[np.where(np.random.default_rng(1).random(400) < 0.1, 1 - labels, labels)]
    found = find_shortcuts(texts, labels, pred_probs)
    names = [(shortcut.feature, shortcut.label) for shortcut in found.shortcuts]
    assert len(names) == len(set(names))
    json.dumps(asdict(found), allow_nan=False)


def test_the_weight_is_where_the_ridged_likelihood_is_flat() -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(60, 3))
    truth = (rng.random(60) < 0.8).astype(float)
    weight = _fit_weight(logits, truth, 2)

    def likelihood(w: float) -> float:
        shifted = logits + np.array([0, 0, w])
        p = np.exp(shifted[:, 2]) / np.exp(shifted).sum(1)
        return float((truth * np.log(p) + (1 - truth) * np.log(1 - p)).sum() - 1e-3 * w**2 / 2)

    grid = np.linspace(weight - 1, weight + 1, 2001)
    assert abs(grid[np.argmax([likelihood(w) for w in grid])] - weight) < 2e-3


def test_the_spread_of_natural_words_is_that_of_the_words_effects() -> None:
    rng = np.random.default_rng(5)
    effect = rng.normal(0, 0.5, 400)
    chosen = [rng.choice(400, 4, replace=False) for _ in range(20_000)]
    logit = np.array([effect[words].sum() for words in chosen])
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-logit))).astype(int)
    table = FeatureTable([" ".join(f"v{w}" for w in words) for words in chosen], min_rows=100)
    words = [i for i, feature in enumerate(table.features) if feature.kind == "word"]
    table.features = [table.features[i] for i in words]
    table.rows, table.by_feature = table.rows[words], table.by_feature[words]
    tau = natural_spread(table, np.eye(2)[labels], np.full((20_000, 2), 0.5))
    assert tau == pytest.approx(0.5, abs=0.1)  # a one-step estimate, a little short of the true spread


def test_words_of_other_scripts_and_pairs_are_features_and_controls_are_escaped() -> None:
    found = set(features_of("Thе film ,  ok\u200b!"))
    assert {Feature("character", "е"), Feature("pair", "film ,"), Feature("first", "Thе")} <= found
    assert Feature("last", "!") in found
    assert str(Feature("character", "\u200b")) == r"the character '\u200b' (U+200B)"
    assert "\x1b" not in str(Feature("word", "\x1b[31m"))
    assert features_of("") == set()


@given(st.lists(st.text(max_size=30), min_size=1, max_size=40), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_any_texts_give_finite_weights(texts: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, len(texts))
    expert = find_shortcuts(texts, labels, rng.dirichlet([1, 1, 1], len(texts)))
    assert np.isfinite(expert.log_weights(texts)).all()
    assert expert.log_weights(texts).shape == (len(texts), 3)
    json.dumps(asdict(expert), allow_nan=False)


def test_few_features_are_not_all_shortcuts() -> None:
    texts = ["a b"] * 10 + ["a"] * 10
    found = find_shortcuts(texts, [0] * 12 + [1] * 8, np.full((20, 2), 0.5))
    assert found.shortcuts == ()
    assert np.isfinite(found.threshold)


def test_bad_input_is_said_in_a_line() -> None:
    with pytest.raises(UsageError, match=r"expected N, \(N,\) and \(N, C\)"):
        find_shortcuts(["a"], [0, 1], np.ones((1, 2)))
    with pytest.raises(DataError, match="not finite"):
        find_shortcuts(["a"], [0], np.array([[np.nan, 1.0]]))
    assert find_shortcuts(["", ""], [0, 1], np.full((2, 2), 0.5)).shortcuts == ()
