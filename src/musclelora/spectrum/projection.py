"""A spectrum over frequency: non-uniform Fourier transforms along the principal directions of the points.

The Gaussian filter splits a function in two. To see at which frequencies it lives, the points are projected
on a direction v and scaled, p_j = π · ⟨x_j - centre, v⟩ / L with L the farthest projection, and the
function's values F_j (less their mean) are transformed:

    F̂(k) = 1/N · Σ_j F_j exp(-i k p_j),    k = 0 .. K-1,    frequency ω_k = π k / L

which is FINUFFT's transform of type 1, in O(N + K log K). Without FINUFFT the sum is taken as it stands, in
O(N · K). As the F_j are real, F̂(-k) is the conjugate of F̂(k), and half of the frequencies say it all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musclelora.errors import DataError, TrainingError, UsageError
from musclelora.spectrum.distances import check_differ
from musclelora.spectrum.inputs import Inputs

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]
_BLOCK = 2**24  # numbers of a block of points, 128 MiB
_EDGE = 1 + 1e-9  # keeps the farthest point inside of the period


@dataclass(frozen=True)
class Projection:
    """N points along Q directions.

    Attributes:
        angles: p, shape (Q, N), in (-π, π).
        lengths: L, shape (Q,), in the unit of the points.
        variance: share of the points' variance that each direction has, shape (Q,), descending.
    """

    angles: Floats
    lengths: Floats
    variance: Floats


def principal_projection(
    inputs: Inputs, directions: int = 8, *, rounds: int = 6, seed: int = 0
) -> Projection:
    """Project points on the directions in which they vary most.

    The directions are found by subspace iteration on blocks of the points: memory O((N + D) · directions).

    Args:
        inputs: N points.
        directions: Q; fewer come back where the points vary in fewer.
        rounds: of the iteration.
        seed: of where it starts.

    Raises:
        DataError: fewer than two points, or all of them are the same.
        UsageError: `directions` is below 1.
    """
    if directions < 1:
        raise UsageError(f"directions: found {directions}, expected at least 1")
    check_differ(inputs)
    points = inputs.to(torch.device("cpu"), torch.float64)
    every = torch.arange(len(points))
    width = points.extent(every)
    cuts = every.split(max(_BLOCK // width, 1))
    mean = torch.zeros(width, dtype=torch.float64)
    for index in cuts:
        mean += points.features(index, 0, width).sum(0) / len(points)

    def centred() -> Iterable[Tensor]:
        return (points.features(index, 0, width) - mean for index in cuts)

    total = sum(float(x.square().sum()) for x in centred())
    count = min(directions, len(points) - 1, width)
    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(width, min(count + 8, width), generator=generator, dtype=torch.float64)
    for _ in range(rounds):
        basis, image = torch.linalg.qr(basis).Q, torch.zeros_like(basis)
        for x in centred():
            image += x.T @ (x @ basis)
        basis = image
    basis = torch.linalg.qr(basis).Q
    scores = torch.cat([x @ basis for x in centred()])
    _, values, turn = torch.linalg.svd(scores, full_matrices=False)
    values, turn = values[:count], turn[:count]
    real = values > 1e-9 * values[0]  # directions in which the points do vary
    along = (scores @ turn[real].T).T.numpy()
    lengths = np.abs(along).max(axis=1) * _EDGE
    return Projection(np.pi * along / lengths[:, None], lengths, (values[real] ** 2 / total).numpy())


def transform(angles: Floats, values: Floats | Tensor, modes: int = 128, *, eps: float = 1e-9) -> Complex:
    """1/N · Σ_j F_j exp(-i k p_j) for k = 0 to modes - 1.

    Args:
        angles: p, shape (Q, N), radians in [-π, π).
        values: F, shape (N, C), real.
        modes: K, the number of frequencies.
        eps: FINUFFT's relative precision.

    Returns:
        shape (Q, C, K).

    Raises:
        DataError: the shapes do not fit.
        TrainingError: NaN or an infinity in `values`.
        UsageError: `modes` is below 1.
    """
    strengths = _strengths(angles, values, modes)
    try:
        import finufft
    except ImportError:
        return direct_sum(angles, values, modes)
    # FINUFFT gives k from -K to K - 1.
    found = [
        finufft.nufft1d1(p, strengths, 2 * modes, eps=eps, isign=-1).reshape(-1, 2 * modes)[:, modes:]
        for p in np.ascontiguousarray(angles)
    ]
    result: Complex = np.stack(found) / angles.shape[1]
    return result


def direct_sum(angles: Floats, values: Floats | Tensor, modes: int = 128) -> Complex:
    """What :func:`transform` gives, as the sum that it is, in O(Q · N · K); arguments as there."""
    strengths = _strengths(angles, values, modes)
    waves = (np.exp(-1j * np.outer(p, np.arange(modes))) for p in angles)
    result: Complex = np.stack([strengths @ wave for wave in waves]) / angles.shape[1]
    return result


def power_spectrum(
    projection: Projection, values: Floats | Tensor, rows: NDArray[np.integer] | None = None, modes: int = 128
) -> Floats:
    """``|F̂(k)|²``, summed over classes and averaged over directions, shape (modes,).

    Args:
        projection: of all N points.
        values: F at all N points, shape (N, C); its mean over all of them is taken off first, as a constant
            says where the points are and not what the function does.
        rows: numbers of the points whose share in the transform is wanted; None: all.
        modes: K.
    """
    f = np.asarray(torch.as_tensor(values).double().cpu())
    centred = f - f.mean(axis=0)
    chosen = np.arange(len(f)) if rows is None else rows
    found = transform(projection.angles[:, chosen], centred[chosen], modes)
    power: Floats = (np.abs(found) ** 2).sum(axis=1).mean(axis=0)
    return power


def _strengths(angles: Floats, values: Floats | Tensor, modes: int) -> Complex:
    f = np.asarray(torch.as_tensor(values).double().cpu())
    if modes < 1:
        raise UsageError(f"modes: found {modes}, expected at least 1")
    if f.ndim != 2 or angles.ndim != 2 or angles.shape[1] != len(f) or not len(f):
        raise DataError(
            f"projection: found values of shape {f.shape} for angles of shape {angles.shape}, "
            "expected (rows, classes) and (directions, rows)"
        )
    if not np.isfinite(f).all():
        row = int(np.flatnonzero(~np.isfinite(f).all(axis=1))[0])
        raise TrainingError(
            f"projection: row {row} of the outputs holds NaN or infinity, expected finite numbers; "
            "lower --learning-rate and train again"
        )
    return np.ascontiguousarray(f.T, dtype=np.complex128)
