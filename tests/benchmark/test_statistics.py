"""Intervals cover what they say, against closed formulas and against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from musclelora.benchmark.statistics import Estimate, Share, difference, estimate, significant
from musclelora.errors import UsageError

fractions = st.floats(0, 1)


@pytest.mark.parametrize(("successes", "rows"), [(0, 40), (13, 40), (431, 500), (500, 500)])
def test_one_seed_is_the_posterior_of_a_binomial_share(successes: int, rows: int) -> None:
    found = estimate([Share((successes / rows,), rows)])
    low, high = stats.beta.ppf([0.025, 0.975], successes + 0.5, rows - successes + 0.5)
    assert found.mean == successes / rows
    assert found.low == pytest.approx(0 if successes == 0 else low, abs=2e-4)
    assert found.high == pytest.approx(1 if successes == rows else high, abs=2e-4)


def test_with_very_many_rows_only_seeds_count() -> None:
    values = (0.80, 0.86, 0.83, 0.9)
    found = estimate([Share(values, 10**9)])
    half = stats.t.ppf(0.975, 3) * np.std(values, ddof=1) / 2
    assert (found.low, found.high) == pytest.approx((0.8475 - half, 0.8475 + half), abs=1e-4)


def test_equal_seeds_leave_the_length_of_the_test_rows() -> None:
    assert estimate([Share((0.8, 0.8, 0.8), 200)]).low == pytest.approx(
        estimate([Share((0.8,), 200)]).low, abs=1e-6
    )


def test_a_sum_has_the_variance_of_its_independent_parts() -> None:
    found = estimate([Share((0.5,), 4000, "a"), Share((0.3,), 4000, "b", weight=-1.0)])
    half = 1.96 * np.sqrt((0.25 + 0.21) / 4000)
    assert (found.low, found.high) == pytest.approx((0.2 - half, 0.2 + half), abs=2e-3)


def test_a_mean_over_attacks_on_the_same_rows_is_no_more_certain_than_its_parts() -> None:
    one = estimate([Share((0.5,), 400)])
    four = estimate([Share((0.5,), 400, weight=0.25)] * 4)
    assert (four.low, four.high) == pytest.approx((one.low, one.high), abs=1e-9)
    apart = estimate([Share((0.5,), 400, str(number), weight=0.25) for number in range(4)])
    assert apart.high - apart.low < 0.6 * (one.high - one.low)


@pytest.mark.parametrize(
    ("seeds", "spread", "same_errors"),
    [(1, 0.0, True), *((3, spread, same) for spread in (0.0, 0.3, 1.5) for same in (True, False))],
)
def test_coverage_by_simulation(seeds: int, spread: float, same_errors: bool) -> None:
    """Rows differ in difficulty and seeds in skill, as logits; with `same_errors` a row decides alone."""
    random, rows, trials, covered = np.random.default_rng(1), 200, 300, 0
    width = 40.0 if same_errors else 0.0  # of the difficulty: with much of it the coin hardly matters

    def chance(shift: object, hardness: object) -> np.ndarray:
        return np.asarray(1 / (1 + np.exp(-(1.4 * (width / 2 + 1) + shift + hardness))))

    many = width * random.standard_normal(20_000)
    truth = float(np.mean([chance(shift, many).mean() for shift in spread * random.standard_normal(400)]))
    for _ in range(trials):
        hardness = width * random.standard_normal(rows)
        shares = tuple(
            float((random.random(rows) < chance(shift, hardness)).mean())
            for shift in spread * random.standard_normal(seeds)
        )
        found = estimate([Share(shares, rows)])
        covered += found.low <= truth <= found.high
    assert covered / trials > 0.92


def test_differences_of_equal_defences_are_rarely_significant() -> None:
    random, trials, called = np.random.default_rng(2), 400, 0
    for _ in range(trials):
        skills = np.clip(0.85 + 0.02 * random.standard_normal((2, 3)), 0, 1)
        one, other = (tuple(random.binomial(400, skill) / 400) for skill in skills)
        called += significant(difference([Share(one, 400)], [Share(other, 400)]))
    assert called / trials < 0.07


def test_a_clear_difference_is_found_and_what_seeds_share_cancels() -> None:
    one, other = (0.90, 0.80, 0.70), (0.80, 0.70, 0.60)
    found = difference([Share(one, 2000)], [Share(other, 2000)])
    assert found.mean == pytest.approx(0.1)
    assert significant(found)
    # Each alone is far less certain than the difference, for the seeds move both alike.
    assert estimate([Share(one, 2000)]).high - 0.8 > 2 * (found.high - found.mean)


@given(st.lists(fractions, min_size=1, max_size=5), st.integers(1, 5000))
def test_an_interval_holds_its_mean_and_stays_in_range(values: list[float], rows: int) -> None:
    found = estimate([Share(tuple(values), rows)])
    assert -1e-12 <= found.low <= found.mean + 1e-12
    assert found.mean - 1e-12 <= found.high <= 1 + 1e-12
    assert found == estimate([Share(tuple(values), rows)])


@pytest.mark.parametrize(
    "shares",
    [
        [],
        [Share((), 10)],
        [Share((0.5,), 10), Share((0.5, 0.4), 10)],
        [Share((0.5,), 0)],
        [Share((50.0,), 10)],
        [Share((float("nan"),), 10)],
    ],
)
def test_what_cannot_be_averaged(shares: list[Share]) -> None:
    with pytest.raises(UsageError, match="expected"):
        estimate(shares)


def test_significance_is_zero_left_out() -> None:
    assert significant(Estimate(0.2, 0.1, 0.3, 3))
    assert significant(Estimate(-0.2, -0.3, -0.1, 3))
    assert not significant(Estimate(0.1, -0.1, 0.3, 3))
