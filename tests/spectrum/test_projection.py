"""The projection estimator: the fast transform is the sum that it stands for."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from musclelora.errors import DataError, TrainingError, UsageError
from musclelora.spectrum import (
    DenseInputs,
    TokenInputs,
    direct_sum,
    power_spectrum,
    principal_projection,
    transform,
)
from musclelora.spectrum import projection as projection_module


def cloud(count: int = 300, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 6)) * np.array([5, 3, 1, 0.1, 0.1, 0.1]) + 2


def test_the_fast_transform_is_the_direct_sum() -> None:
    pytest.importorskip("finufft", reason="finufft is not installed")
    rng = np.random.default_rng(0)
    angles = rng.uniform(-np.pi, np.pi, (3, 400))
    values = rng.normal(size=(400, 4))
    fast, slow = transform(angles, values, 100), direct_sum(angles, values, 100)
    assert fast.shape == (3, 4, 100)
    assert np.abs(fast - slow).max() < 1e-6 * np.abs(slow).max()
    by_hand = np.mean(values[:, 1] * np.exp(-1j * 7 * angles[2]))
    assert abs(fast[2, 1, 7] - by_hand) < 1e-9


def test_without_finufft_the_sum_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "finufft", None)
    angles, values = np.zeros((1, 5)), np.ones((5, 1))
    assert transform(angles, values, 3) == pytest.approx(np.ones((1, 1, 3)))


def test_directions_are_the_principal_ones() -> None:
    x = cloud()
    found = principal_projection(DenseInputs.of(x), 3)
    centred = x - x.mean(axis=0)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    for number in range(3):
        along = centred @ directions[number]
        mine = found.angles[number] * found.lengths[number] / np.pi
        assert min(np.abs(mine - along).max(), np.abs(mine + along).max()) < 1e-8
    assert found.variance == pytest.approx(values[:3] ** 2 / (values**2).sum())
    assert np.abs(found.angles).max() < np.pi


@pytest.mark.parametrize("block", [1, 400 * 7, 400 * 1000])
def test_directions_are_found_block_by_block_where_points_are_wide(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection_module, "_BLOCK", block)
    x = np.random.default_rng(0).normal(size=(60, 400)) * 0.8 ** np.arange(400)
    found = principal_projection(DenseInputs.of(x), 3)
    values = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    assert found.variance == pytest.approx(values[:3] ** 2 / (values**2).sum())


def test_directions_without_variance_are_left_out() -> None:
    x = np.zeros((20, 5))
    x[:, 2] = np.arange(20)
    assert len(principal_projection(DenseInputs.of(x), 4).angles) == 1


def test_texts_are_projected_too() -> None:
    rng = np.random.default_rng(1)
    inputs = TokenInputs.of(
        [rng.integers(1, 9, rng.integers(2, 6)).tolist() for _ in range(30)],
        __import__("torch").randn(9, 3),
        0,
    )
    assert principal_projection(inputs, 2).angles.shape == (2, 30)


def test_a_wave_is_seen_at_its_frequency() -> None:
    x = np.linspace(-1, 1, 400)[:, None]
    projection = principal_projection(DenseInputs.of(x), 1)
    values = np.cos(12 * np.pi * x)  # 12 cycles over the extent of 2
    power = power_spectrum(projection, values, modes=40)
    assert power.argmax() == 12
    assert np.pi * 12 / projection.lengths[0] == pytest.approx(12 * np.pi, rel=1e-6)
    assert power[[6, 20]].max() < 0.01 * power[12]


def test_a_constant_has_no_spectrum_and_parts_add_up() -> None:
    x = cloud(60)
    projection = principal_projection(DenseInputs.of(x), 2)
    assert power_spectrum(projection, np.ones((60, 2)), modes=8).max() < 1e-20
    values = np.random.default_rng(0).normal(size=(60, 2))
    values -= values.mean(axis=0)
    rows = np.arange(60) < 25
    parts = [
        share * transform(projection.angles[:, mask], values[mask], 8)
        for mask, share in ((rows, 25 / 60), (~rows, 35 / 60))
    ]
    assert np.abs(sum(parts) - transform(projection.angles, values, 8)).max() < 1e-9


def test_bad_input_is_said_in_one_line() -> None:
    angles = np.zeros((1, 3))
    with pytest.raises(TrainingError, match="row 1 of the outputs holds NaN"):
        transform(angles, np.array([[0.0], [np.nan], [1.0]]))
    with pytest.raises(DataError, match="shape"):
        transform(angles, np.ones((4, 1)))
    with pytest.raises(UsageError, match="modes: found 0"):
        transform(angles, np.ones((3, 1)), 0)
    with pytest.raises(UsageError, match="directions: found 0"):
        principal_projection(DenseInputs.of(cloud()), 0)
    with pytest.raises(DataError, match="all 5 rows"):
        principal_projection(DenseInputs.of(np.ones((5, 2))))
