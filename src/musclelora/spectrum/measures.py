"""Band errors, band shares and the order of convergence, each with bootstrap intervals over rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musclelora.spectrum.filters import Bands

Floats = NDArray[np.float64]
LEVEL = 0.95
RESAMPLES = 500


class RowNorms(NamedTuple):
    """Norms over the classes, of every row and σ, at R records; each has the shape (R, S, n).

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


def row_norms(outputs: Bands, labels: Bands, whole: Tensor) -> RowNorms:
    """The norms of one record.

    Args:
        outputs: H, split, each band of shape (S, n, C).
        labels: Y, split, of the same shape.
        whole: H, shape (n, C).
    """
    parts = (
        (outputs.low - labels.low).norm(dim=-1),
        (outputs.high - labels.high).norm(dim=-1),
        outputs.low.norm(dim=-1),
        outputs.high.norm(dim=-1),
        whole.double().norm(dim=-1).expand(outputs.low.shape[:2]),
    )
    return RowNorms(*(part.numpy()[None] for part in parts))


def stack(records: list[RowNorms]) -> RowNorms:
    """The norms of several records as one, along the first axis."""
    return RowNorms(*(np.concatenate(parts) for parts in zip(*records, strict=True)))


def ratios(
    norms: RowNorms, y_low: Floats, y_high: Floats, weights: Floats | None = None
) -> dict[str, Floats]:
    """e_low, e_high, LFR and HFR of a group: the mean row norm of the one over that of the other.

    Means over rows come before the ratio, so that a row whose own denominator is next to nothing does not
    decide. A band that the labels do not have (all of a group's labels are the same: its high band is zero)
    has no relative error, and NaN stands for it.

    Args:
        norms: of the group's n rows, each (R, S, n).
        y_low: ‖Y_low‖, shape (S, n).
        y_high: ‖Y_high‖, shape (S, n).
        weights: how often each row is counted in each of B resamples, shape (B, n); None: once.

    Returns:
        by name, shape (R, S), or (B, R, S) with `weights`.
    """
    count = y_low.shape[1]
    w = np.full((1, count), 1.0) if weights is None else weights

    def mean(values: Floats) -> Floats:
        found: Floats = np.moveaxis(values @ w.T, -1, 0) / count
        return found

    whole, low, high = mean(norms.whole), mean(y_low), mean(y_high)
    # What rounding leaves of a band that is not there is no denominator.
    high = np.where(high > 1e-6 * low, high, np.nan)
    found = {
        "e_low": mean(norms.low_error) / low[:, None],
        "e_high": mean(norms.high_error) / high[:, None],
        "lfr": mean(norms.low) / whole,
        "hfr": mean(norms.high) / whole,
    }
    return found if weights is not None else {name: values[0] for name, values in found.items()}


def over_sigmas(values: Floats) -> Floats:
    """The mean over the σ at which a band exists, shape (..., S) to (...); NaN where it does at none."""
    known = ~np.isnan(values)
    count = known.sum(axis=-1)
    found: Floats = np.where(count, np.where(known, values, 0.0).sum(axis=-1) / np.maximum(count, 1), np.nan)
    return found


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
    below = errors <= goal
    below[..., 0] = False
    below &= goal > 0  # half of nothing is nothing: an error that starts at 0 does not converge
    happened = below.any(axis=-1)
    at = np.maximum(below.argmax(axis=-1), 1)
    after = np.take_along_axis(errors, at[..., None], -1)[..., 0]
    before = np.take_along_axis(errors, at[..., None] - 1, -1)[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.clip((before - goal[..., 0]) / (before - after), 0, 1)
    found = steps[at - 1] + share * (steps[at] - steps[at - 1])
    found = np.where(happened, found, np.inf)
    result: Floats = np.where(np.isnan(errors).any(axis=-1), np.nan, found)
    return result


def resample_weights(count: int, resamples: int, seed: int) -> Floats:
    """How often each row is in each draw of `count` rows with replacement, shape (resamples, count)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)


@dataclass(frozen=True)
class Interval:
    """An estimate and its bootstrap percentile interval (95 %).

    Infinity says "not within the run"; None for the value: the quantity is undefined.
    """

    value: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, value: float, draws: Floats) -> Interval:
        """From the estimate and its resamples, shape (B,); a percentile is one of the draws."""
        if np.isnan(value) or np.isnan(draws).all():
            return cls(None, None, None)
        known = draws[~np.isnan(draws)]
        edges = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
        # Between a number and infinity there is no interpolating.
        low = np.quantile(known, edges[0], method="lower")
        high = np.quantile(known, edges[1], method="higher")
        return cls(float(value), float(low), float(high))

    def to_dict(self) -> dict[str, Any]:
        """JSON ready; infinity, for which JSON has no word, is the text "never"."""
        return {
            name: "never" if number is not None and np.isinf(number) else number
            for name, number in (("value", self.value), ("low", self.low), ("high", self.high))
        }


def earlier_share(first: Floats, second: Floats) -> float | None:
    """Share of the resamples in which `first` is below `second`; equal ones, two "never" too, count half.

    None where one of them is undefined.

    Args:
        first: shape (B,).
        second: shape (B,), drawn independently.
    """
    known = ~(np.isnan(first) | np.isnan(second))
    if not known.any():
        return None
    a, b = first[known], second[known]
    return float(np.mean(np.where(a == b, 0.5, a < b)))


def one_hot(labels: NDArray[np.int64], classes: int) -> Tensor:
    """Y, shape (n, classes), float64."""
    return torch.nn.functional.one_hot(torch.as_tensor(labels), classes).double()
