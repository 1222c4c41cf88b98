"""The Gaussian low-pass filter, many σ at once, in memory that does not grow with N²."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musclelora.errors import DataError, TrainingError
from musclelora.spectrum.distances import check_differ, check_sigmas, squared_distances, squared_norms
from musclelora.spectrum.inputs import Inputs

KEPT_BYTES = 2**26
"""Distances up to this size (64 MiB: 5,500 points in float32) are kept for the next call, larger ones not."""


class Bands(NamedTuple):
    """A function on N points, split by S filters.

    Attributes:
        low: G_σ F, shape (S, N, C).
        high: F - G_σ F, shape (S, N, C).
    """

    low: Tensor
    high: Tensor


class GaussianFilter:
    """G_σ(i, j) = exp(-‖x_i - x_j‖² / 2σ), rows normalised to 1, for S values of σ.

    The pairs of points are walked over in blocks: of two blocks I and J the distances are computed once, and
    serve both G[I, J] and G[J, I] (which are one another's transpose before rows are normalised) and all σ.
    Where σ/2 is asked for beside σ, its kernel is the square of σ's, elementwise, and takes no exponential.
    Memory: O(N·C·S + block²), and KEPT_BYTES at most for distances that are kept between calls. Time: all but
    everything is in the N²·D multiplications and additions for the distances.

    Args:
        inputs: N points.
        sigmas: S values of σ; they are put in ascending order.
        squared: the squared distance, as the formula has it; False: the plain one.
        dtype: of the arithmetic. None: float32 for squared distances, where it is good for 1e-5; float64 for
            plain ones, as the root of a rounding error is none.
        device: where to compute; None: the accelerator where there is one.
        block: points of a block.

    Attributes:
        sigmas: shape (S,), ascending.

    Raises:
        DataError: fewer than two points, all of them are the same, or numbers too large for `dtype`.
        UsageError: no σ, or one that is not above 0.
    """

    def __init__(
        self,
        inputs: Inputs,
        sigmas: NDArray[np.float64] | list[float],
        *,
        squared: bool = True,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        block: int = 512,
    ) -> None:
        self.sigmas = check_sigmas(sigmas)
        check_differ(inputs)
        self.dtype = dtype or (torch.float32 if squared else torch.float64)
        self.device = torch.device(device) if device is not None else default_device()
        self._inputs = inputs.to(self.device, self.dtype)
        self._squared, self._block = squared, max(block, 1)
        self._order = inputs.order()
        self._norms = squared_norms(self._inputs)
        endless = (~torch.isfinite(self._norms)).nonzero()
        if len(endless):
            raise DataError(
                f"inputs: row {int(endless[0])} holds numbers whose squares are too large for {self.dtype}, "
                "expected smaller ones; divide all inputs by a number, or compute in float64"
            )
        self._chains = halving_chains(self.sigmas)
        size = torch.finfo(self.dtype).bits // 8
        self._keep = size * len(inputs) * (len(inputs) + block) // 2 <= KEPT_BYTES
        self._kept: dict[tuple[int, int], Tensor] = {}

    def __len__(self) -> int:
        return len(self._inputs)

    def low(self, values: Tensor | NDArray[np.floating]) -> Tensor:
        """G_σ F for every σ.

        Args:
            values: F, shape (N, C).

        Returns:
            shape (S, N, C), float64, on the CPU.

        Raises:
            DataError: another number of rows.
            TrainingError: NaN or an infinity in `values`.
        """
        given = torch.as_tensor(values)
        self._check(given)
        f = given.to(device=self.device, dtype=self.dtype)[self._order.to(self.device)]
        sums = self._sums(torch.cat([f, torch.ones_like(f[:, :1])], 1))  # the last: of the kernel's own rows
        return (sums[..., :-1] / sums[..., -1:]).cpu()[:, self._order.argsort()]

    def split(self, values: Tensor | NDArray[np.floating]) -> Bands:
        """Both bands of F, shape (N, C); see :meth:`low`."""
        low = self.low(values)
        return Bands(low, torch.as_tensor(values).double().cpu() - low)

    def _sums(self, f: Tensor) -> Tensor:
        """Σ_j exp(-δ_ij / 2σ) F_j for every σ, points in this filter's order, shape (S, N, C), float64."""
        sums = torch.zeros(len(self.sigmas), *f.shape, dtype=torch.float64, device=self.device)
        kernel = torch.empty(0, dtype=self.dtype, device=self.device)
        # A σ next to nothing must not become an infinity, which the distance 0 would make NaN.
        steepest = torch.finfo(self.dtype).min
        for rows, columns, distances in self._blocks():
            kernel = kernel if kernel.shape == distances.shape else torch.empty_like(distances)
            for chain in self._chains:
                torch.mul(distances, max(-0.5 / float(self.sigmas[chain[0]]), steepest), out=kernel).exp_()
                for place, number in enumerate(chain):
                    if place:
                        kernel.mul_(kernel)
                    sums[number, rows] += kernel @ f[columns]
                    if rows != columns:
                        sums[number, columns] += kernel.T @ f[rows]
        return sums

    def _blocks(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """Every pair of blocks once: the rows, the columns (in this filter's order), and their δ."""
        count = len(self._inputs)
        cuts = [slice(start, min(start + self._block, count)) for start in range(0, count, self._block)]
        for i, j in itertools.combinations_with_replacement(range(len(cuts)), 2):
            distances = self._kept.get((i, j))
            if distances is None:
                rows = self._order[cuts[i]]
                columns = rows if i == j else self._order[cuts[j]]
                distances = squared_distances(self._inputs, rows, columns, self._norms)
                if not self._squared:
                    distances.sqrt_()
                if self._keep:
                    self._kept[i, j] = distances
            yield cuts[i], cuts[j], distances

    def _check(self, values: Tensor) -> None:
        if values.ndim != 2 or len(values) != len(self):
            raise DataError(
                f"filter: found values of shape {tuple(values.shape)}, expected ({len(self)}, classes)"
            )
        finite = torch.isfinite(values).all(1)
        if not finite.all():
            row = int((~finite).nonzero()[0])
            raise TrainingError(
                f"filter: row {row} of the outputs holds NaN or infinity, expected finite numbers; "
                "lower --learning-rate and train again"
            )


def halving_chains(sigmas: NDArray[np.float64]) -> list[list[int]]:
    """The numbers of `sigmas` (ascending, S of them) in chains, each σ half of the one before it."""
    free = dict.fromkeys(range(len(sigmas) - 1, -1, -1))
    chains: list[list[int]] = []
    while free:
        chain = [next(iter(free))]
        del free[chain[0]]
        while True:
            half = sigmas[chain[-1]] / 2
            near = int(np.abs(sigmas - half).argmin())
            # Squaring doubles the relative error of the step before: seven of them leave float32 its 1e-5.
            if near not in free or abs(sigmas[near] - half) > 1e-12 * half or len(chain) == 8:
                break
            chain.append(near)
            del free[near]
        chains.append(chain)
    return chains


def default_device() -> torch.device:
    """The accelerator where there is one that knows float64, else the CPU."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found if found is not None and found.type != "mps" else torch.device("cpu")
