"""Band errors, band shares and the order of convergence, each with bootstrap intervals over rows.

What is estimated is an array whose first entry is the estimate from the rows as they are, and whose others
are those of resamples: see :func:`resample_weights`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musclelora.spectrum.filters import Bands

Floats = NDArray[np.float64]
RESAMPLES = 500


class RowNorms(NamedTuple):
    """Norms over the classes, of every σ and row, each of shape (S, n), or (R, S, n) for R records.

    Attributes:
        low_error: ‖H_low - Y_low‖.
        high_error: ‖H_high - Y_high‖.
        low: ‖H_low‖.
        high: ‖H_high‖.
        whole: ‖H‖, the same for every σ.
    """

    low_error: Floats
    high_error: Floats
    low: Floats
    high: Floats
    whole: Floats


def label_norms(labels: Bands) -> tuple[Floats, Floats]:
    """‖Y_low‖ and ‖Y_high‖ of every σ and row, each of shape (S, n)."""
    return labels.low.norm(dim=-1).numpy(), labels.high.norm(dim=-1).numpy()


def row_norms(low: Tensor, whole: Tensor, labels: Bands) -> RowNorms:
    """The norms of one record: of the low band of H (S, n, C), of H itself (n, C), and of Y, split."""
    high = whole - low
    parts = (low - labels.low, high - labels.high, low, high, whole.expand_as(low))
    return RowNorms(*(part.norm(dim=-1).numpy() for part in parts))


def ratios(norms: RowNorms, y_low: Floats, y_high: Floats, weights: Floats) -> dict[str, Floats]:
    """e_low, e_high, LFR and HFR of a group: the mean row norm of the one over that of the other.

    Means over rows come before the ratio, so that a row whose own denominator is next to nothing does not
    decide. A band that the labels do not have (all of a group's labels are the same: its high band is zero)
    has no relative error, and NaN stands for it.

    Args:
        norms: of the group's n rows, each (R, S, n).
        y_low: ‖Y_low‖, shape (S, n).
        y_high: ‖Y_high‖, shape (S, n).
        weights: how often each row is counted in each of B resamples, shape (B, n).

    Returns:
        by name, shape (B, R, S).
    """

    def mean(values: Floats) -> Floats:
        found: Floats = np.moveaxis(values @ weights.T, -1, 0) / values.shape[-1]
        return found

    whole, low, high = mean(norms.whole), mean(y_low)[:, None], mean(y_high)[:, None]
    # What rounding leaves of a band that is not there is no denominator.
    high = np.where(high > 1e-6 * low, high, np.nan)
    return {
        "e_low": mean(norms.low_error) / low,
        "e_high": mean(norms.high_error) / high,
        "lfr": mean(norms.low) / whole,
        "hfr": mean(norms.high) / whole,
    }


def with_mean(values: Floats) -> Floats:
    """Shape (..., S) to (..., 1 + S): first the mean over the σ at which a band exists, NaN if at none."""
    known = ~np.isnan(values)
    count = known.sum(axis=-1, keepdims=True)
    total = np.where(known, values, 0.0).sum(axis=-1, keepdims=True)
    return np.concatenate([np.where(count, total / np.maximum(count, 1), np.nan), values], axis=-1)


def first_halving(steps: Floats, errors: Floats) -> Floats:
    """The step at which an error is first half of what it was at the first record.

    Between two records it is taken to change by a straight line.

    Args:
        steps: of the R records, ascending; at least two.
        errors: shape (..., R).

    Returns:
        shape (...): infinity where it never happens in the run, NaN where the error is undefined.
    """
    goal = errors[..., :1] / 2
    below = (errors <= goal) & (goal > 0)  # half of nothing is nothing: what starts at 0 does not converge
    below[..., 0] = False
    at = np.maximum(below.argmax(axis=-1), 1)
    after = np.take_along_axis(errors, at[..., None], -1)[..., 0]
    before = np.take_along_axis(errors, at[..., None] - 1, -1)[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.clip((before - goal[..., 0]) / (before - after), 0, 1)
    found = steps[at - 1] + share * (steps[at] - steps[at - 1])
    found = np.where(below.any(axis=-1), found, np.inf)
    result: Floats = np.where(np.isnan(errors).any(axis=-1), np.nan, found)
    return result


def resample_weights(count: int, resamples: int, seed: int) -> Floats:
    """How often each of `count` rows is counted: once, then in each draw of so many with replacement.

    Returns:
        shape (1 + resamples, count).
    """
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return np.concatenate([np.ones((1, count)), drawn])


def interval(estimates: Floats) -> dict[str, Any]:
    """An estimate, and the 95 % percentile interval of those of its resamples, ready for JSON.

    Infinity, for which JSON has no word, is the text "never"; None: the estimate is undefined.

    Args:
        estimates: the estimate and its resamples, shape (1 + B,).
    """
    value, known = estimates[0], estimates[1:][~np.isnan(estimates[1:])]
    if np.isnan(value) or not len(known):
        return {"value": None, "low": None, "high": None}
    # A percentile is one of the draws: between a number and infinity there is no interpolating.
    low, high = np.quantile(known, 0.025, method="lower"), np.quantile(known, 0.975, method="higher")
    shown = {"value": value, "low": low, "high": high}
    return {name: "never" if np.isinf(number) else float(number) for name, number in shown.items()}


def earlier_share(first: Floats, second: Floats) -> float | None:
    """Share of the resamples in which `first` is below `second`; equal ones, two "never" too, count half.

    Args:
        first: the estimate and its resamples, shape (1 + B,).
        second: as `first`, drawn independently.

    Returns:
        None where they are undefined in all resamples.
    """
    known = ~(np.isnan(first) | np.isnan(second))[1:]
    if not known.any():
        return None
    a, b = first[1:][known], second[1:][known]
    return float(np.mean(np.where(a == b, 0.5, a < b)))


def one_hot(labels: NDArray[np.int64], classes: int) -> Tensor:
    """Y, shape (n, classes), float64."""
    return torch.nn.functional.one_hot(torch.as_tensor(labels), classes).double()
