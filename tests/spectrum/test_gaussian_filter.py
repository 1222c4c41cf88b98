"""The streamed filter is the dense one; it answers a sinusoid as theory has it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from musclelora.errors import DataError, MuScleLoraError, TrainingError, UsageError
from musclelora.spectrum import DenseInputs, GaussianFilter, TokenInputs, sigma_grid, sigma_range
from musclelora.spectrum import filters as filters_module
from musclelora.spectrum.filters import halving_chains

Floats = NDArray[np.float64]


def dense(x: Floats, values: Floats, sigmas: Floats, *, squared: bool = True) -> Floats:
    """G_σ F by whole N × N matrices, in float64, from differences rather than products."""
    distances = np.array([((x - row) ** 2).sum(axis=1) for row in x])
    exponents = distances if squared else np.sqrt(distances)
    kernels = (np.exp(-exponents / (2 * sigma)) for sigma in sigmas)
    return np.stack([(kernel / kernel.sum(axis=1, keepdims=True)) @ values for kernel in kernels])


def points(count: int, features: int, seed: int = 0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, features)) * rng.uniform(0.1, 2, features) + 3.0
    return x.astype(np.float32).astype(np.float64), np.eye(3)[rng.integers(0, 3, count)]


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("dtype", [None, torch.float64])
def test_it_is_the_dense_computation(squared: bool, dtype: torch.dtype | None) -> None:
    x, y = points(500, 60)
    x[7] = x[300]  # two rows at the same place
    inputs = DenseInputs.of(x.astype(np.float32) if dtype is None else x)
    sigmas = sigma_grid(*sigma_range(inputs, squared=squared), 25)
    bands = GaussianFilter(inputs, sigmas, squared=squared, dtype=dtype).split(y)
    expected = dense(x, y, sigmas, squared=squared)
    tolerance = 1e-5 if dtype is None or not squared else 1e-11  # a root halves the digits of a zero
    assert np.abs(bands.low.numpy() - expected).max() < tolerance
    assert np.abs(bands.high.numpy() - (y - expected)).max() < tolerance


@given(
    count=st.integers(2, 40), block=st.integers(1, 45), features=st.integers(1, 5), seed=st.integers(0, 1000)
)
@settings(max_examples=40)
def test_the_size_of_blocks_does_not_matter(count: int, block: int, features: int, seed: int) -> None:
    x, y = points(count, features, seed)
    sigmas = np.array([0.3, 0.6, 1.2, 5.0])
    streamed = GaussianFilter(DenseInputs.of(x), sigmas, dtype=torch.float64, block=block)
    expected = dense(x, y, sigmas)
    assert np.abs(streamed.low(y).numpy() - expected).max() < 1e-12
    assert (
        np.abs(streamed.low(y[:, :1]).numpy() - expected[..., :1]).max() < 1e-12
    )  # and again, another width


def test_distances_that_are_not_kept_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = points(50, 4)
    kept = GaussianFilter(DenseInputs.of(x), [1.0, 3.0], dtype=torch.float64, block=16)
    monkeypatch.setattr(filters_module, "KEPT_BYTES", 1000)
    streamed = GaussianFilter(DenseInputs.of(x), [1.0, 3.0], dtype=torch.float64, block=16)
    for values in (y, y[::-1].copy()):
        torch.testing.assert_close(kept.low(values), streamed.low(values), rtol=0, atol=0)
    assert kept._kept
    assert not streamed._kept


@pytest.mark.parametrize("omega", [2.0, 5.0, 9.0])
def test_a_sinusoid_is_weakened_as_theory_has_it(omega: float) -> None:
    """The Fourier transform of exp(-d² / 2σ) / √(2πσ) is exp(-σω²/2): so much of cos(ωx) is left."""
    x = np.linspace(0, 20, 2001)  # spacing far below every √σ, so that the sum is the integral
    f = np.stack([np.cos(omega * x), np.sin(omega * x)], axis=1)
    sigmas = np.array([0.01, 0.02, 0.1])
    low = GaussianFilter(DenseInputs.of(x[:, None]), sigmas, dtype=torch.float64).low(f).numpy()
    inside = slice(500, 1501)  # the edges, where half of the neighbours are missing, are ten √σ away
    for number, sigma in enumerate(sigmas):
        assert np.abs(low[number, inside] - np.exp(-sigma * omega**2 / 2) * f[inside]).max() < 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_with_next_to_no_sigma_everything_is_low_and_with_an_endless_one_only_the_mean(
    dtype: torch.dtype,
) -> None:
    x, y = points(40, 3)
    low = GaussianFilter(DenseInputs.of(x), [1e-310, 1e-40, 1e300], dtype=dtype).low(y).numpy()
    assert np.abs(low[:2] - y).max() < 1e-12
    assert np.abs(low[2] - y.mean(axis=0)).max() < 1e-6


def test_a_constant_is_all_low() -> None:
    x, _ = points(40, 3)
    bands = GaussianFilter(DenseInputs.of(x), [0.5, 50.0]).split(np.full((40, 2), 0.5))
    assert bands.high.abs().max() < 1e-6


def test_texts_are_their_padded_embeddings_flattened() -> None:
    rng = np.random.default_rng(0)
    embedding = torch.from_numpy(rng.normal(size=(30, 4)))
    texts = [rng.integers(1, 30, rng.integers(1, 9)).tolist() for _ in range(25)]
    longest = max(map(len, texts))
    table = embedding.float().double()
    x = torch.stack([table[text + [0] * (longest - len(text))].flatten() for text in texts]).numpy()
    inputs = TokenInputs.of(texts, embedding, padding=0)
    y = np.eye(2)[rng.integers(0, 2, 25)]
    sigmas = sigma_grid(*sigma_range(inputs), 7)
    found = GaussianFilter(inputs, sigmas, dtype=torch.float64, block=6).low(y).numpy()
    assert np.abs(found - dense(x, y, sigmas)).max() < 1e-6  # the padding's vector is taken off in float32
    assert np.abs(GaussianFilter(inputs, sigmas, block=6).low(y).numpy() - dense(x, y, sigmas)).max() < 1e-5


def test_features_are_gathered_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    from musclelora.spectrum import distances

    x, y = points(20, 50)
    whole = GaussianFilter(DenseInputs.of(x), [30.0], dtype=torch.float64).low(y)
    monkeypatch.setattr(distances, "_GATHERED", 140)  # seven features at a time
    torch.testing.assert_close(GaussianFilter(DenseInputs.of(x), [30.0], dtype=torch.float64).low(y), whole)


def test_the_range_of_sigma_follows_the_scale_of_the_data() -> None:
    x, _ = points(200, 5)
    low, high = sigma_range(DenseInputs.of(x))
    scaled = sigma_range(DenseInputs.of(3 * x))
    assert scaled == pytest.approx((9 * low, 9 * high), rel=1e-5)
    plain = sigma_range(DenseInputs.of(3 * x), squared=False)
    assert plain == pytest.approx(
        [3 * value for value in sigma_range(DenseInputs.of(x), squared=False)], rel=1e-5
    )
    distances = np.array([((x - row) ** 2).sum(axis=1) for row in x])[np.triu_indices(200, 1)]
    assert high == pytest.approx(np.quantile(distances, 0.5) / 2, rel=1e-5)
    assert low == pytest.approx(np.quantile(distances, 0.1) / (2 * np.log(200)), rel=1e-5)


@given(low=st.floats(1e-3, 1e3), span=st.just(1.0) | st.floats(1.001, 1e4), count=st.integers(1, 40))
def test_the_grid_spans_its_range_and_halves_where_it_can(low: float, span: float, count: int) -> None:
    sigmas = sigma_grid(low, low * span, count)
    assert len(sigmas) == (count if span > 1 else 1)
    assert sigmas[0] == pytest.approx(low)
    assert (np.diff(sigmas) > 0).all()
    for chain in halving_chains(sigmas):
        for one, other in itertools.pairwise(chain):
            assert sigmas[other] == pytest.approx(sigmas[one] / 2, rel=1e-12)
    if count > 1 and span > 1:
        assert np.log(sigmas[-1] / sigmas[0]) == pytest.approx(np.log(span), rel=0.11)
    assert sorted(i for chain in halving_chains(sigmas) for i in chain) == list(range(len(sigmas)))


def test_few_exponentials_are_taken_of_the_default_grid() -> None:
    x, _ = points(300, 8)
    assert len(halving_chains(sigma_grid(*sigma_range(DenseInputs.of(x)), 25))) <= 12


def test_memory_does_not_grow_with_the_square(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters_module, "KEPT_BYTES", 0)
    largest = 0
    make = torch.empty_like

    def watched(tensor: torch.Tensor, **options: object) -> torch.Tensor:
        nonlocal largest
        largest = max(largest, tensor.numel())
        return make(tensor, **options)

    monkeypatch.setattr(torch, "empty_like", watched)
    x, y = points(300, 3)
    GaussianFilter(DenseInputs.of(x), [1.0, 2.0], block=32).low(y)
    assert 0 < largest <= 32 * 32


NAN = np.array([[0.0, 1.0], [np.nan, 1.0], [2.0, 0.0]])
BAD = {
    "one row": (lambda: GaussianFilter(DenseInputs.of(np.zeros((1, 2))), [1.0]), DataError, "found 1 rows"),
    "no rows": (lambda: sigma_range(DenseInputs.of(np.zeros((0, 2)))), DataError, "found 0 rows"),
    "constant": (
        lambda: GaussianFilter(DenseInputs.of(np.full((9, 2), 0.1)), [1.0]),
        DataError,
        "all 9 rows are the same point",
    ),
    "constant range": (lambda: sigma_range(DenseInputs.of(np.full((9, 2), 0.1))), DataError, "all 9 rows"),
    "constant texts": (
        lambda: sigma_range(TokenInputs.of([[1, 2]] * 5, torch.randn(4, 3), 0)),
        DataError,
        "all 5 rows",
    ),
    "sigma 0": (lambda: GaussianFilter(DenseInputs.of(np.eye(3)), [1.0, 0.0]), UsageError, "sigma: found 0"),
    "sigma below 0": (lambda: GaussianFilter(DenseInputs.of(np.eye(3)), [-1.0]), UsageError, "found -1"),
    "sigma NaN": (lambda: GaussianFilter(DenseInputs.of(np.eye(3)), [np.nan]), UsageError, "found nan"),
    "no sigma": (lambda: GaussianFilter(DenseInputs.of(np.eye(3)), []), UsageError, "found no values"),
    "empty range": (lambda: sigma_grid(2.0, 1.0), UsageError, "ascending"),
    "inputs too large": (
        lambda: GaussianFilter(DenseInputs.of(np.eye(3) * 1e20), [1.0]),
        DataError,
        "row 0 holds numbers whose squares are too large for torch.float32",
    ),
    "NaN inputs": (lambda: DenseInputs.of(NAN), DataError, "row 1 holds NaN"),
    "NaN outputs": (
        lambda: GaussianFilter(DenseInputs.of(np.eye(3)), [1.0]).low(NAN),
        TrainingError,
        "row 1 of the outputs holds NaN",
    ),
    "other rows": (
        lambda: GaussianFilter(DenseInputs.of(np.eye(3)), [1.0]).low(np.ones((4, 2))),
        DataError,
        "shape (4, 2)",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_said_in_one_line(name: str) -> None:
    call, kind, said = BAD[name]
    with pytest.raises(kind) as caught:
        call()
    assert isinstance(caught.value, MuScleLoraError)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
