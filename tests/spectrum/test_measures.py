"""Band errors, shares and the order of convergence, against loops over rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from musclelora.errors import DataError
from musclelora.spectrum import Bands
from musclelora.spectrum.groups import flag_groups, named_groups, suspected_groups
from musclelora.spectrum.measures import (
    RowNorms,
    earlier_share,
    first_halving,
    interval,
    label_norms,
    one_hot,
    ratios,
    resample_weights,
    row_norms,
    with_mean,
)

INF = np.inf
ONCE = np.ones((1, 6))


def norms_of(outputs: Bands, labels: Bands, h: torch.Tensor, records: int = 1) -> RowNorms:
    """The row norms of as many equal records."""
    return RowNorms(*(np.stack([part] * records) for part in row_norms(outputs.low, h, labels)))


def made_up(rows: int = 6, sigmas: int = 3) -> tuple[Bands, Bands, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = one_hot(np.arange(rows) % 2, 2)
    h = torch.rand(rows, 2, generator=generator, dtype=torch.float64)
    shares = torch.rand(sigmas, rows, 2, generator=generator, dtype=torch.float64)
    return Bands(shares * h, h - shares * h), Bands(shares**2 * y, y - shares**2 * y), h


def test_ratios_are_means_of_row_norms() -> None:
    outputs, labels, h = made_up()
    found = ratios(norms_of(outputs, labels, h), *label_norms(labels), ONCE)
    for s in range(3):
        rows = range(6)
        mean = {
            name: np.mean([float(torch.linalg.vector_norm(band[s, i])) for i in rows])
            for name, band in {
                "low_error": outputs.low - labels.low,
                "high_error": outputs.high - labels.high,
                "y_low": labels.low,
                "y_high": labels.high,
                "low": outputs.low,
                "high": outputs.high,
            }.items()
        }
        whole = np.mean([float(torch.linalg.vector_norm(h[i])) for i in rows])
        assert found["e_low"][0, 0, s] == pytest.approx(mean["low_error"] / mean["y_low"])
        assert found["e_high"][0, 0, s] == pytest.approx(mean["high_error"] / mean["y_high"])
        assert found["lfr"][0, 0, s] == pytest.approx(mean["low"] / whole)
        assert found["hfr"][0, 0, s] == pytest.approx(mean["high"] / whole)


def test_resamples_are_groups_with_rows_repeated() -> None:
    outputs, labels, h = made_up()
    weights = resample_weights(6, 20, seed=1)
    assert (weights.sum(axis=1) == 6).all()
    assert (weights[0] == 1).all()
    found = ratios(norms_of(outputs, labels, h, 2), *label_norms(labels), weights)
    drawn = np.repeat(np.arange(6), weights[7].astype(int))
    chosen = norms_of(
        Bands(outputs.low[:, drawn], outputs.high[:, drawn]),
        Bands(labels.low[:, drawn], labels.high[:, drawn]),
        h[drawn],
    )
    expected = ratios(chosen, *label_norms(Bands(labels.low[:, drawn], labels.high[:, drawn])), ONCE)
    for name, values in found.items():
        assert values.shape == (21, 2, 3)
        assert values[7, 1] == pytest.approx(expected[name][0, 0])


def test_a_band_that_labels_do_not_have_has_no_error() -> None:
    outputs, _, h = made_up()
    y = one_hot(np.zeros(6, dtype=np.int64), 2).expand(3, 6, 2)
    labels = Bands(y, y - y + 1e-12)
    found = ratios(norms_of(outputs, labels, h), *label_norms(labels), ONCE)
    assert np.isnan(found["e_high"]).all()
    assert not np.isnan(found["e_low"]).any()


def test_the_mean_over_sigma_is_of_those_at_which_a_band_exists() -> None:
    errors = np.array([[1.0, 3.0], [np.nan, 3.0], [np.nan, np.nan]])
    found = with_mean(errors)
    assert found[:, 0] == pytest.approx([2.0, 3.0, np.nan], nan_ok=True)
    assert found[:, 1:] == pytest.approx(errors, nan_ok=True)


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([1.0, 0.8, 0.6, 0.4], 25.0),  # halfway between the records of steps 20 and 30
        ([1.0, 0.5, 0.9, 0.1], 10.0),  # the first time counts
        ([1.0, 0.2, 0.2, 0.2], 6.25),
        ([1.0, 0.9, 0.8, 0.7], INF),
        ([1.0, 1.4, 0.6, 0.5], 30.0),
        ([0.0, 0.0, 0.0, 0.0], INF),  # nothing to halve
        ([1.0, np.nan, 0.1, 0.1], np.nan),
    ],
)
def test_the_first_halving_lies_between_two_records(errors: list[float], expected: float) -> None:
    steps = np.array([0.0, 10.0, 20.0, 30.0])
    found = first_halving(steps, np.array([errors, [2.0, 2.0, 1.0, 0.0]]))
    assert found == pytest.approx([expected, 20.0], nan_ok=True)


def test_who_is_earlier_counts_ties_half() -> None:
    # The first of each is the estimate, which is no resample.
    assert earlier_share(np.array([9, 1, 2, INF, 5]), np.array([0, 2, 2, INF, INF])) == pytest.approx(0.75)
    assert earlier_share(np.array([1.0, np.nan]), np.array([2.0, 1.0])) is None


def test_an_interval_may_end_in_never() -> None:
    draws = np.array([*range(90), *[INF] * 10], dtype=float)
    assert interval(np.array([40.0, *draws])) == {"value": 40.0, "low": 2.0, "high": "never"}
    undefined = {"value": None, "low": None, "high": None}
    assert interval(np.array([np.nan, *draws])) == undefined
    assert interval(np.array([40.0, np.nan])) == undefined


def test_flags_name_the_groups() -> None:
    flags = np.arange(20) % 3 == 0
    groups = flag_groups(flags)
    assert list(groups) == ["clean", "triggered"]
    assert flags[groups["triggered"]].all()
    assert not flags[groups["clean"]].any()
    assert flag_groups(None) == {}


@pytest.mark.parametrize("flags", [np.zeros(20, dtype=bool), np.ones(20, dtype=bool), np.arange(20) < 3])
def test_an_empty_or_small_group_is_refused(flags: np.ndarray) -> None:
    with pytest.raises(
        DataError, match=r"group '(clean|triggered)' has [03] of the sample's 20 rows.*--no-spec"
    ):
        flag_groups(flags)


def test_named_groups_have_each_row_once_in_order() -> None:
    found = named_groups({"a": [9, 3, 1, 7, 3], "b": np.arange(4)}, 10)
    assert [rows.tolist() for rows in found.values()] == [[1, 3, 7, 9], [0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([0, 1, 2, 10], "found int64 values from 0 to 10, expected row numbers of the sample, 0 to 9"),
        ([-1, 0, 1, 2], "found int64 values from -1 to 2"),
        (np.arange(10) < 5, "found bool values"),
        ([0.0, 1.0, 2.0, 3.0], "found float64 values"),
        ([2, 2, 2, 2], "has 1 of the sample's 10 rows"),
        ([], "has 0 of the sample's 10 rows"),
    ],
)
def test_what_is_no_group_of_rows_is_refused(rows: object, said: str) -> None:
    with pytest.raises(DataError, match="group 'a'") as caught:
        named_groups({"a": rows}, 10)
    assert said in str(caught.value)


def test_rows_whose_loss_fell_first_are_suspected() -> None:
    labels = np.arange(60) % 2
    right = np.full((4, 60), 0.5)
    fast = np.array([3, 10, 21, 22, 40, 59])
    right[1:, fast] = 0.95
    right[2:] = np.maximum(right[2:], 0.6)
    right[3] = 0.99
    outputs = np.empty((4, 60, 2))
    for row, label in enumerate(labels):
        outputs[:, row, label], outputs[:, row, 1 - label] = right[:, row], 1 - right[:, row]
    groups = suspected_groups(outputs, labels)
    assert groups["suspected"].tolist() == fast.tolist()
    assert len(groups["others"]) == 54
    with pytest.raises(DataError, match="found 1 records"):
        suspected_groups(outputs[:1], labels)
