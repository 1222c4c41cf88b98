"""Squared distances between blocks of points, and the range of σ that they suggest."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musclelora.errors import DataError, UsageError
from musclelora.spectrum.inputs import Inputs

_GATHERED = 2**22  # numbers taken out of the inputs at a time, 16 MiB in float32
_SAMPLE = 512  # points whose distances stand for all


def squared_norms(inputs: Inputs) -> Tensor:
    """‖x‖² of every point, shape (N,), summed in float64 and given in the points' own dtype."""
    norms = []
    for index in torch.arange(len(inputs)).split(512):
        total = torch.zeros(len(index), dtype=torch.float64)
        for start, stop in _pieces(inputs.extent(index), len(index)):
            part = inputs.features(index, start, stop)
            total += part.double().square().sum(1).cpu()
        norms.append(total)
    return torch.cat(norms).to(inputs.table)


def squared_distances(inputs: Inputs, rows: Tensor, columns: Tensor, norms: Tensor) -> Tensor:
    """‖x_i - x_j‖² as ‖x_i‖² + ‖x_j‖² - 2⟨x_i, x_j⟩, shape (len(rows), len(columns)).

    Args:
        inputs: the points.
        rows: the i, int64.
        columns: the j, int64; the same tensor as `rows` for a diagonal block, whose diagonal is then 0.
        norms: see :func:`squared_norms`.
    """
    rows_there, columns_there = rows.to(norms.device), columns.to(norms.device)
    found = norms[rows_there][:, None] + norms[columns_there][None, :]
    width = min(inputs.extent(rows), inputs.extent(columns))
    for start, stop in _pieces(width, max(len(rows), len(columns))):
        a = inputs.features(rows, start, stop)
        b = a if rows is columns else inputs.features(columns, start, stop)
        found.addmm_(a, b.T, alpha=-2.0)
    found.clamp_min_(0.0)
    if rows is columns:
        found.fill_diagonal_(0.0)
    return found


def check_differ(inputs: Inputs) -> None:
    """Check that there are points to tell apart.

    Raises:
        DataError: fewer than two points, or all of them are the same.
    """
    count = len(inputs)
    if count < 2:
        raise DataError(f"inputs: found {count} rows, expected at least 2 that differ; add rows")
    first = torch.zeros(1, dtype=torch.int64)
    for index in torch.arange(count).split(512):
        for start, stop in _pieces(inputs.extent(torch.cat([index, first])), len(index)):
            if bool((inputs.features(index, start, stop) != inputs.features(first, start, stop)).any()):
                return
    raise DataError(
        f"inputs: all {count} rows are the same point, expected rows that differ; check the text column"
    )


def sigma_range(inputs: Inputs, *, squared: bool = True, seed: int = 0) -> tuple[float, float]:
    """The range of σ in which the filter does something, from the points' own distances.

    With δ the exponent's numerator (‖x_i - x_j‖², or the plain distance), row i weighs itself 1 and another
    row exp(-δ/2σ). The range begins at σ = q₁₀ / (2 ln N), where N - 1 other rows at that δ would together
    weigh about as much as the row itself (below, the low band is the function itself), and ends at
    σ = q₅₀ / 2, where half of them weigh more than 1/e each (above, it is little but the mean). q₁₀ and q₅₀
    are quantiles of δ over the pairs of at most 512 points, those at the same place left out.

    Args:
        inputs: N points.
        squared: whether δ is the squared distance.
        seed: of the choice of points.

    Returns:
        (lowest, highest), both above 0.

    Raises:
        DataError: fewer than two points, or all of them are the same.
    """
    check_differ(inputs)
    count = len(inputs)
    chosen = torch.from_numpy(np.random.default_rng(seed).permutation(count)[:_SAMPLE])
    few = inputs.select(chosen).to(torch.device("cpu"), torch.float64)
    index = torch.arange(len(chosen))
    norms = squared_norms(few)
    values = squared_distances(few, index, index, norms)
    upper = values[tuple(torch.triu_indices(len(chosen), len(chosen), 1))].numpy()
    apart = upper[upper > 1e-12 * float(norms.max())]  # of equal points rounding leaves a trace
    if not squared:
        apart = np.sqrt(apart)
    if not len(apart):
        raise DataError(
            f"inputs: {len(chosen)} rows drawn of {count} are the same point, expected rows that differ; "
            "name the values of sigma"
        )
    low, high = np.quantile(apart, (0.1, 0.5))
    return float(low / (2 * max(math.log(count), 1.0))), float(high / 2)


def sigma_grid(lowest: float, highest: float, count: int = 25) -> NDArray[np.float64]:
    """`count` values of σ from `lowest` up to about `highest`, as many to each doubling as to the next.

    The kernel of σ/2 is the square of the kernel of σ, elementwise: with k values to a doubling, only the
    largest k need exponentials. `highest` moves, by a tenth of the doublings at most, so that they come out
    whole; where that is not enough (few values, or a narrow range), nothing moves and all of them are needed.

    Raises:
        UsageError: σ is not above 0, the range is empty, or `count` is below 1.
    """
    if not (0 < lowest <= highest < math.inf):
        raise UsageError(
            f"sigma: found the range {lowest:g} to {highest:g}, expected finite numbers above 0, ascending"
        )
    if count < 1:
        raise UsageError(f"sigma: found a count of {count}, expected at least 1")
    octaves = math.log2(highest / lowest)
    each = min(round((count - 1) / octaves), count) if octaves > 0 else 0
    if not each or abs((count - 1) / each / octaves - 1) > 0.1:  # too few, or too close, to halve
        return np.geomspace(lowest, highest, count) if octaves > 0 else np.array([lowest])
    # σ/2 is to be exactly half of a σ of the grid, to the last bit: scale by powers of two.
    base = lowest * 2.0 ** (np.arange(each) / each)
    return np.array([base[k % each] * 2.0 ** (k // each) for k in range(count)])


def check_sigmas(sigmas: NDArray[np.float64] | list[float]) -> NDArray[np.float64]:
    """The values of σ, ascending, shape (S,).

    Raises:
        UsageError: there is none, or one is not a finite number above 0.
    """
    values = np.asarray(sigmas, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise UsageError("sigma: found no values, expected one or more numbers above 0")
    bad = values[~(np.isfinite(values) & (values > 0))]
    if len(bad):
        raise UsageError(f"sigma: found {bad[0]:g}, expected finite numbers above 0")
    return np.unique(values)


def _pieces(width: int, rows: int) -> list[tuple[int, int]]:
    step = max(_GATHERED // max(rows, 1), 1)
    return [(start, min(start + step, width)) for start in range(0, width, step)]
