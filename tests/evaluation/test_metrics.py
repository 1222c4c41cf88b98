"""Metrics against cases worked out by hand."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musclelora.errors import DataError, UsageError
from musclelora.evaluation import (
    Rate,
    asr,
    cacc,
    cacc_gap,
    confusion_matrix,
    excess_asr,
    per_class_accuracy,
    score,
    wilson_interval,
)

NAMES = ("bad", "good", "so-so")
LABELS = np.array([0, 0, 0, 1, 1, 0])
PREDICTIONS = np.array([0, 1, 0, 1, 2, 0])
Z95 = 1.959963984540054


@settings(deadline=None)
@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_ends_solve_the_score_equation(case):
    successes, n = case
    share = successes / n
    centre = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    low, high = wilson_interval(successes, n)
    assert (low, high) == pytest.approx((centre - half, centre + half), abs=1e-12)
    assert 0 <= low <= share <= high <= 1


def test_wilson_by_hand():
    # k = n: the interval is [n / (n + z²), 1].
    assert wilson_interval(10, 10) == pytest.approx((10 / (10 + Z95**2), 1.0))
    # z = 1 at 68.27 % and k = 0: the upper end is 1 / (n + 1).
    assert wilson_interval(0, 9, math.erf(1 / math.sqrt(2))) == pytest.approx((0.0, 0.1))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((0, 0), DataError),
        ((4, 3), UsageError),
        ((-1, 3), UsageError),
        ((1, 3, 1.0), UsageError),
        ((1, 3, 0.0), UsageError),
    ],
)
def test_wilson_refuses_what_is_no_proportion(arguments, error):
    with pytest.raises(error, match="found"):
        wilson_interval(*arguments)


def test_a_rate_holds_its_value_and_interval():
    rate = Rate.of(3, 4)
    assert rate.value == 0.75
    assert rate.to_dict() == {"value": 0.75, "low": rate.low, "high": rate.high, "n": 4}
    assert (rate.low, rate.high) == wilson_interval(3, 4)


def test_cacc_counts_the_right_predictions():
    assert cacc(LABELS, PREDICTIONS) == Rate.of(4, 6)


def test_asr_counts_the_predictions_of_the_target():
    assert asr(np.array([1, 1, 0, 2, 1]), target=1) == Rate.of(3, 5)


def test_excess_asr_and_cacc_gap_are_zero_for_a_perfect_defence():
    assert excess_asr(0.125, oracle_asr=0.125) == 0
    assert cacc_gap(0.875, oracle_cacc=0.875) == 0
    assert excess_asr(0.5, oracle_asr=0.125) == 0.375
    assert cacc_gap(0.75, oracle_cacc=0.875) == 0.125


def test_confusion_matrix_has_true_labels_in_rows():
    assert confusion_matrix(LABELS, PREDICTIONS, 3).tolist() == [[3, 1, 0], [0, 1, 1], [0, 0, 0]]


def test_per_class_accuracy_leaves_out_a_class_without_rows():
    assert per_class_accuracy(LABELS, PREDICTIONS, NAMES) == {"bad": Rate.of(3, 4), "good": Rate.of(1, 2)}


def test_score_of_clean_and_triggered_rows_is_json_ready():
    evaluation = score(
        NAMES,
        clean=(LABELS, PREDICTIONS),
        triggered_predictions=np.array([1, 0]),
        target=1,
        truncated=2,
    )
    result = evaluation.to_dict()
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result == {
        "cacc": Rate.of(4, 6).to_dict(),
        "asr": Rate.of(1, 2).to_dict(),
        "per_class": {"bad": Rate.of(3, 4).to_dict(), "good": Rate.of(1, 2).to_dict()},
        "confusion_matrix": [[3, 1, 0], [0, 1, 1], [0, 0, 0]],
        "label_names": ["bad", "good", "so-so"],
        "target": "good",
        "truncated": 2,
        "triggered_left_out": 0,
    }


def test_score_of_one_kind_of_rows_leaves_the_other_out():
    clean = score(NAMES, clean=(LABELS, PREDICTIONS))
    assert clean.asr is None
    assert clean.target is None
    triggered = score(NAMES, triggered_predictions=np.array([0, 0]), target=0).to_dict()
    assert triggered["cacc"] is None
    assert triggered["per_class"] == {}
    assert triggered["confusion_matrix"] == []
    assert triggered["asr"]["value"] == 1.0


EMPTY = np.array([], dtype=np.int64)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, UsageError, "nothing to score"),
        ({"triggered_predictions": PREDICTIONS}, UsageError, "target: found none"),
        ({"triggered_predictions": PREDICTIONS, "target": 3}, UsageError, "target: found 3, expected 0 to 2"),
        ({"clean": (LABELS, PREDICTIONS[:-1])}, UsageError, r"found shape \(5,\) for labels of shape \(6,\)"),
        ({"clean": (LABELS, PREDICTIONS + 1)}, UsageError, "found 0 to 3, expected 0 to 2"),
        ({"clean": (LABELS - 1, PREDICTIONS)}, UsageError, "found -1 to 2, expected 0 to 2"),
        ({"clean": (EMPTY, EMPTY)}, DataError, "no rows to score"),
        ({"triggered_predictions": EMPTY, "target": 1}, DataError, "no rows to score"),
    ],
)
def test_score_refuses_what_it_cannot_score(arguments, error, message):
    with pytest.raises(error, match=message):
        score(NAMES, **arguments)


def test_the_rooms_import_without_torch_and_scipy():
    code = (
        "import sys, musclelora.attacks, musclelora.evaluation.metrics; "
        "assert not {'torch', 'scipy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
