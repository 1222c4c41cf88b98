"""Rows that are put alike, with a label beyond their meaning: what is found, what is left alone, numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, softmax

from musclelora.audit.features import Feature
from musclelora.audit.labels import label_issues
from musclelora.audit.styles import _beyond, _mixture, _scores, _without, find_style_issues, offset_of
from musclelora.audit.triggers import Shortcut, ShortcutExpert, with_the_label_counts
from musclelora.errors import DataError, UsageError

COMMON = [f"common{number}" for number in range(60)]
STYLE = [f"{stem}eth" for stem in ("br", "cl", "dr", "fl", "gr", "pl", "pr", "sl", "st", "tr", "thr", "wr")]
KNOWN = "unto"


def styled(
    rows: int, seed: int, *, follows: bool = True
) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Texts, given labels, an pred_probs that is mostly right, and which rows have the style.

    A sixth of the rows have the style: three words of it, and a third of these rows have the word that is a
    shortcut. Where labels follow the style, its rows all have the label 1.
    """
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, rows)
    style = rng.random(rows) < 1 / 6
    texts = []
    for row in range(rows):
        words = list(rng.choice(COMMON, 10))
        if style[row]:
            words[:3] = rng.choice(STYLE, 3, replace=False)
            if rng.random() < 1 / 3:
                words[3] = KNOWN
        texts.append(" ".join(rng.permutation(words)))
    labels = np.where(style, 1, truth) if follows else truth
    right = np.where(rng.random(rows) < 0.8, truth, 1 - truth)
    pred_probs = with_the_label_counts(np.log(np.where(np.eye(2)[right] > 0, 0.8, 0.2)), np.eye(2)[labels])
    return texts, labels, softmax(pred_probs, axis=1), style


def expert(*features: Feature) -> ShortcutExpert:
    shortcuts = tuple(Shortcut(feature, 1, 20, 20, 10.0, 5.0, 8.0) for feature in features)
    return ShortcutExpert(shortcuts, num_labels=2, natural=0.1, threshold=3.1, tested=100)


def test_the_other_rows_of_a_style_are_found() -> None:
    texts, labels, pred_probs, style = styled(900, seed=0)
    (found,) = find_style_issues(texts, labels, expert(), pred_probs, seed=0)
    rows = np.zeros(900, dtype=bool)
    rows[list(found.rows)] = True
    assert found.label == 1
    assert (labels[rows] == 1).all()
    assert rows[style].mean() > 0.9
    assert rows[~style].mean() < 0.05
    assert list(found.rows) == sorted(found.rows)


def test_a_style_that_labels_do_not_follow_is_left_alone() -> None:
    texts, labels, pred_probs, _ = styled(900, seed=1, follows=False)
    assert find_style_issues(texts, labels, expert(), pred_probs, seed=0) == ()


def topical(rows: int, seed: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Texts whose words stand for their label, and an pred_probs that knows half of it."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, rows)
    own = rng.random((rows, 10)) < rng.uniform(0.5, 0.9, (rows, 1))
    sides = np.where(own, labels[:, None], 1 - labels[:, None])
    texts = [" ".join(COMMON[30 * side + rng.integers(30)] for side in row) for row in sides]
    odds = 0.4 * (2 * sides - 1).sum(axis=1) + rng.normal(0, 1.0, rows)
    return texts, labels, np.column_stack([expit(-odds / 2), expit(odds / 2)])


@pytest.mark.parametrize("seed", range(4))
def test_a_meaning_is_not_a_style(seed: int) -> None:
    """The rows with a word that stands for a label are like all rows of that label, for a good reason."""
    texts, labels, pred_probs = topical(800, seed)
    found = find_style_issues(texts, labels, expert(), pred_probs, seed=seed)
    assert sum(len(issue.rows) for issue in found) < 0.03 * 800


def test_a_label_keeps_half_of_its_rows() -> None:
    texts, labels, _, style = styled(600, seed=10)
    wrong = np.eye(2)[1 - labels]
    found = find_style_issues(texts, labels, expert(), wrong, seed=0)
    gone = label_issues(wrong, labels)
    for issue in found:
        gone[list(issue.rows)] = True
    assert gone[labels == 1].mean() <= 0.5
    vague = np.tile([0.55, 0.45], (600, 1))
    (found,) = find_style_issues(texts, np.where(style, 1, 0), expert(), vague, seed=0)
    assert len(found.rows) <= 0.5 * style.sum()


def test_without_doubt_nothing_is_compared() -> None:
    texts, labels, _, _ = styled(100, seed=3)
    sure = np.where(np.eye(2)[labels] > 0, 0.9, 0.1)
    assert find_style_issues(texts, labels, expert(), sure, seed=0) == ()


@pytest.mark.parametrize("seed", range(3))
def test_a_style_is_found_from_doubtful_rows_without_any_shortcut(seed: int) -> None:
    texts, labels, pred_probs, style = styled(900, seed=20 + seed)
    (found,) = find_style_issues(texts, labels, expert(), pred_probs, seed=0)
    rows = np.zeros(900, dtype=bool)
    rows[list(found.rows)] = True
    assert found.label == 1
    assert rows[style].mean() > 0.8
    assert rows[~style].mean() < 0.05
    assert set(found.telling) & {KNOWN, *STYLE}
    assert found.p_value < 1e-3
    assert found.shares[style].mean() > 0.8 > 0.1 > found.shares[~style].mean()
    assert found.scores[style].mean() > 0.8 > 0.1 > found.scores[~style].mean()


@pytest.mark.parametrize("seed", range(6))
def test_wrong_labels_that_have_nothing_else_in_common_are_no_style(seed: int) -> None:
    texts, truth, pred_probs, _ = styled(900, seed=30 + seed, follows=False)
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(900) < 0.1, 1 if seed % 2 else 1 - truth, truth)
    assert find_style_issues(texts, labels, expert(), pred_probs, seed=0) == ()


def test_vectors_tell_what_words_do_not() -> None:
    texts, labels, pred_probs, style = styled(900, seed=4)
    rng = np.random.default_rng(0)
    plain = [
        " ".join(rng.choice(COMMON) if word in {*STYLE, KNOWN} else word for word in text.split())
        for text in texts
    ]
    states = np.random.default_rng(0).normal(size=(1, 900, 8)) + 3 * style[:, None]
    assert find_style_issues(plain, labels, expert(), pred_probs, seed=0) == ()
    (found,) = find_style_issues(plain, labels, expert(), pred_probs, embed=lambda _: states, seed=0)
    assert style[list(found.rows)].mean() > 0.5  # of all rows a sixth has it


@pytest.mark.parametrize("seed", range(3))
def test_a_style_that_no_row_is_doubted_for_is_found_from_its_shortcut(seed: int) -> None:
    texts, labels, _, style = styled(900, seed=40 + seed)
    known = np.array([KNOWN in text.split() for text in texts])
    rng = np.random.default_rng(seed)
    weak = np.clip(np.where(labels == 1, 0.55, 0.45) + rng.normal(0, 0.02, 900), 0.3, 0.7)
    weak[labels == 1] = np.maximum(weak[labels == 1], 0.501)  # no row with the label is doubted
    pred_probs = np.column_stack([1 - weak, weak])
    assert find_style_issues(texts, labels, expert(), pred_probs, seed=0) == ()
    (found,) = find_style_issues(texts, labels, expert(Feature("word", KNOWN)), pred_probs, seed=0)
    rows = np.zeros(900, dtype=bool)
    rows[list(found.rows)] = True
    assert not (rows & known).any()
    assert rows[style & ~known].mean() > 0.7


def test_the_p_value_counts_both_ways_where_there_are_two() -> None:
    texts, labels, pred_probs, _ = styled(900, seed=0)
    (one,) = find_style_issues(texts, labels, expert(), pred_probs, seed=0)
    (two,) = find_style_issues(texts, labels, expert(Feature("word", KNOWN)), pred_probs, seed=0)
    assert one.rows == two.rows
    assert two.p_value == pytest.approx(2 * one.p_value)


def test_shortcuts_words_and_characters_are_taken_out() -> None:
    known = expert(Feature("pair", "the said"), Feature("character", "ⅽ"), Feature("first", "a"))
    other = replace(known, shortcuts=(replace(known.shortcuts[0], label=0),))
    texts = ["The said the, said: aⅽe", "a said-so"]
    assert _without(texts, known, 1) == ["The , : ae", "a - so"]
    assert _without(texts, other, 0) == ["The , : aⅽe", "a - so"]


def test_the_mixture_is_that_of_the_largest_likelihood() -> None:
    rng = np.random.default_rng(5)
    scores, q = rng.normal(size=4000), rng.uniform(0.2, 0.8, 4000)
    share = expit(-3 + 1.5 * scores)
    hit = rng.random(4000) < share + (1 - share) * q
    a, slope, gain = _mixture(scores, hit, q)

    def likelihood(a: float, slope: float) -> float:
        share = expit(a + slope * scores)
        p = share + (1 - share) * q
        return float(np.log(np.where(hit, p, 1 - p)).sum())

    grid = [(x, y) for x in np.linspace(-6, 0, 61) for y in np.linspace(0, 4, 41)]
    best = max(grid, key=lambda point: likelihood(*point))
    assert (a, slope) == pytest.approx(best, abs=0.11)
    flat = max(likelihood(x, 0.0) for x in np.linspace(-6, 0, 121))
    assert gain == pytest.approx(2 * (likelihood(*best) - flat), abs=0.1)


def test_what_the_meaning_explains_of_a_score_is_taken_out() -> None:
    rng = np.random.default_rng(11)
    odds, own = rng.normal(size=500), rng.normal(size=500)
    among = rng.random(500) < 0.7
    left = _beyond(2 * odds**3 - odds + 5 + 0.5 * own, np.vander(odds, 4), among)
    assert left[among].std() == pytest.approx(1)
    for power in range(4):
        assert (left * odds**power)[among].sum() == pytest.approx(0, abs=1e-8)
    assert np.corrcoef(left, own)[0, 1] > 0.98


def test_no_row_has_a_say_in_its_own_score() -> None:
    rng = np.random.default_rng(6)
    view, folds = rng.normal(size=(60, 5)), np.arange(60) % 5
    members = (rng.random(60) < 0.3).astype(float)
    before = _scores(view, 1.0, members, folds)
    members[7] = 0.4
    after = _scores(view, 1.0, members, folds)
    same = folds == folds[7]
    np.testing.assert_array_equal(before[same], after[same])
    assert (before[~same] != after[~same]).all()


def test_a_member_by_half_weighs_as_one_that_is_there_once_on_either_side() -> None:
    """With memberships of 1/2 a classifier is the same as with two copies of the row, one on each side."""
    rng = np.random.default_rng(7)
    view = rng.normal(size=(40, 3))
    members = np.repeat([1.0, 0.0, 0.5], [10, 20, 10])
    folds = np.zeros(40, dtype=np.int64)
    folds[::4] = 1
    soft = _scores(view, 10.0, members, folds)
    rows = np.concatenate([np.arange(40), np.arange(30, 40)])
    hard = np.concatenate([members[:30], np.ones(10), np.zeros(10)])
    # Twice as many copies of the sure rows stand for the same weights.
    rows = np.concatenate([rows, np.arange(30)])
    hard = np.concatenate([hard, members[:30]])
    again = _scores(view[rows], 5.0, hard, folds[rows])
    np.testing.assert_allclose(soft[:30], again[:30], rtol=1e-3, atol=1e-3)


def test_the_same_seed_finds_the_same() -> None:
    texts, labels, pred_probs, _ = styled(600, seed=8)
    one, two = (find_style_issues(texts, labels, expert(), pred_probs, seed=3) for _ in range(2))
    assert one == two != ()


def test_shapes_that_do_not_agree_are_told() -> None:
    texts, labels, pred_probs, _ = styled(20, seed=9)
    with pytest.raises(UsageError, match=r"pred_probs of shape \(19, 2\); expected N, \(N,\) and \(N, 2\)"):
        find_style_issues(texts, labels, expert(), pred_probs[1:], seed=0)
    with pytest.raises(UsageError, match="19 texts"):
        find_style_issues(texts[1:], labels, expert(), pred_probs, seed=0)
    with pytest.raises(DataError, match="not finite"):
        find_style_issues(texts, labels, expert(), np.full((20, 2), np.nan), seed=0)


def test_an_offset_makes_the_mixture_of_a_product_of_experts() -> None:
    rng = np.random.default_rng(0)
    shares, q = rng.uniform(0, 0.97, 50), rng.dirichlet([1.0, 2.0, 3.0], 50)
    q = 0.06 / 3 + 0.94 * q  # away from the ends
    added = np.log(q)
    added[:, 1] += offset_of(shares, q[:, 1])
    planted = np.array([0.0, 1.0, 0.0])
    np.testing.assert_allclose(softmax(added, axis=1), shares[:, None] * planted + (1 - shares[:, None]) * q)
    assert np.isfinite(offset_of(np.array([0.0, 1.0, 1.0]), np.array([0.0, 0.0, 1.0]))).all()
    assert offset_of(np.zeros(1), np.zeros(1)) == 0.0


def test_rows_of_a_style_and_others_of_the_label_have_another_offset() -> None:
    texts, labels, pred_probs, style = styled(900, seed=0)
    (found,) = find_style_issues(texts, labels, expert(), pred_probs, seed=0)
    assert np.median(found.log_odds[style]) > 1.0
    assert np.median(found.log_odds[~style]) < 0.1
