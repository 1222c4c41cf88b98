"""The second pred_probs: an independent solution, what it tells of changed labels, and what it spares."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from musclelora.audit.labels import _fit, cross_fit_pred_probs, label_issues, scaled
from musclelora.errors import DataError, UsageError


def data(rows: int, seed: int, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of 12 numbers that stand for their label, with noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    return rng.normal(size=(classes, 12))[labels] + rng.normal(0, 0.8, (rows, 12)), labels


def unsure(rows: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full((rows, classes), 1 / classes), np.zeros((rows, classes))


@pytest.mark.parametrize("classes", [2, 4])
def test_the_fit_is_that_of_scikit_learn(classes: int) -> None:
    vectors, labels = data(300, seed=0, classes=classes)
    v, truth = scaled(vectors), np.eye(classes)[labels]
    ours = _fit(v, truth, np.zeros((300, classes)), 10.0, np.zeros((12, classes)))
    theirs = LogisticRegression(C=0.1, fit_intercept=False, tol=1e-8, max_iter=1000).fit(v, labels)
    if classes == 2:  # one weight vector w there, ±w/2 here, of which the ridge is half as large
        theirs = LogisticRegression(C=0.2, fit_intercept=False, tol=1e-8, max_iter=1000).fit(v, labels)
        np.testing.assert_allclose(ours[:, 1] - ours[:, 0], theirs.coef_[0], atol=2e-3)
    else:
        np.testing.assert_allclose(ours.T, theirs.coef_, atol=2e-3)


@pytest.mark.parametrize("classes", [2, 3])
def test_changed_labels_are_contradicted_and_few_others(classes: int) -> None:
    vectors, truth = data(600, seed=1, classes=classes)
    changed = np.flatnonzero(truth != 1)[:40]
    labels = truth.copy()
    labels[changed] = 1
    pred_probs = cross_fit_pred_probs(vectors, labels, *unsure(600, classes), seed=0)
    assert pred_probs is not None
    np.testing.assert_allclose(pred_probs.sum(axis=1), 1)
    found = label_issues(pred_probs, labels)
    assert found[changed].mean() > 0.9
    assert np.delete(found, changed).mean() < 0.1


def test_a_shortcut_is_not_learned_where_an_offset_says_it() -> None:
    vectors, truth = data(600, seed=2)
    changed = np.flatnonzero(truth == 0)[:60]
    labels, offsets = truth.copy(), np.zeros((600, 2))
    labels[changed] = 1
    vectors[changed, 0] += 6.0  # a trigger that the vectors show
    pred_probs = unsure(600, 2)[0]
    blind = cross_fit_pred_probs(vectors, labels, pred_probs, offsets, seed=0)
    offsets[changed, 1] = 8.0
    told = cross_fit_pred_probs(vectors, labels, pred_probs, offsets, seed=0)
    assert blind is not None
    assert told is not None
    assert told[changed, 1].mean() < blind[changed, 1].mean() - 0.2


def test_there_is_no_prediction_where_vectors_say_nothing() -> None:
    rng = np.random.default_rng(0)
    vectors, labels = rng.normal(size=(200, 12)), rng.integers(0, 2, 200)
    assert cross_fit_pred_probs(vectors, labels, *unsure(200, 2), seed=0) is None


def test_the_same_seed_gives_the_same_probabilities() -> None:
    vectors, labels = data(120, seed=3)
    one, two = (cross_fit_pred_probs(vectors, labels, *unsure(120, 2), seed=7) for _ in range(2))
    assert one is not None
    np.testing.assert_array_equal(one, two)


def test_rare_labels_are_spared() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    frequent = np.tile([0.8, 0.2], (100, 1))  # of a rare label more than its share
    assert not label_issues(frequent, labels).any()
    against = np.tile([0.99, 0.01], (100, 1))
    against[90:, 1] = np.linspace(0.001, 0.01, 10)
    found = label_issues(against, labels)
    assert found[90:].tolist() == [True] * 5 + [False] * 5  # half of a label's rows at most
    assert not found[:90].any()


def test_bad_arguments_are_said_in_one_line() -> None:
    vectors, labels = data(20, seed=4)
    q, b = unsure(20, 2)
    with pytest.raises(UsageError, match=r"expected \(N, d\)"):
        cross_fit_pred_probs(vectors[:10], labels, q, b, seed=0)
    with pytest.raises(DataError, match="not finite"):
        cross_fit_pred_probs(np.full_like(vectors, np.nan), labels, q, b, seed=0)
