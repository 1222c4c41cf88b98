import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from musclelora.alignment import align, align_gradients, raw_ratio_at

# Zeros, and magnitudes whose squares leave float32 at both ends.
VALUES = st.one_of(
    st.just(0.0),
    st.builds(
        lambda sign, digits, power: sign * digits * 10.0**power,
        st.sampled_from([-1, 1]),
        st.floats(1, 9.9),
        st.integers(-36, 36),
    ),
)


@st.composite
def pairs(draw: st.DrawFn, same_magnitude: bool = False) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(arrays.array_shapes(max_dims=3, max_side=5))
    values = st.floats(-1, 1, width=32) if same_magnitude else VALUES
    return tuple(draw(arrays.arrays(np.float64, shape, elements=values)) for _ in range(2))  # type: ignore[return-value]


def formula(g: np.ndarray, t: np.ndarray, ratio: float = 0.0) -> np.ndarray:
    """The formula of method.md as it stands, in a type of 15 more bits of range than float32."""
    g, t = g.astype(np.longdouble), t.astype(np.longdouble)
    if not g.any() or not t.any():
        return g
    aligned = abs((g * t).sum()) / (t * t).sum() * t
    return (1 - np.longdouble(ratio)) * aligned + np.longdouble(ratio) * g


def float32(x: np.ndarray) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float32)


@given(pairs(), st.floats(0, 1))
def test_it_is_the_formula(pair: tuple[np.ndarray, np.ndarray], ratio: float) -> None:
    g, t = (float32(x) for x in pair)
    expected = formula(g.double().numpy(), t.double().numpy(), ratio)
    error = np.abs(align(g, t, ratio).double().numpy() - expected).max()
    assert error <= 1e-5 * g.double().abs().max()  # a projection is no longer than what it is of


@given(pairs(), st.floats(0, 1))
def test_in_float64_it_is_the_formula_to_the_last_digits(
    pair: tuple[np.ndarray, np.ndarray], ratio: float
) -> None:
    g, t = (torch.tensor(x) for x in pair)
    error = np.abs(align(g, t, ratio).numpy() - formula(*pair, ratio)).max()
    assert error <= 1e-13 * np.abs(pair[0]).max()


@given(pairs(same_magnitude=True))
def test_the_direction_is_always_along_the_trusted_one(pair: tuple[np.ndarray, np.ndarray]) -> None:
    g, t = (torch.tensor(x) for x in pair)
    if not g.any() or not t.any():
        assert torch.equal(align(g, t), g)
        return
    aligned = align(g, t)
    unit = t / t.norm()
    length = aligned.norm()
    assert (aligned - length * unit).abs().max() <= 1e-12 * g.norm()
    assert abs(length - abs((g * unit).sum())) <= 1e-12 * g.norm()


def test_by_hand() -> None:
    g, t = torch.tensor([3.0, 4.0]), torch.tensor([2.0, 0.0])
    assert align(g, t).tolist() == [3.0, 0.0]
    assert align(-g, t).tolist() == [3.0, 0.0]  # along +t even where they disagree
    assert align(g, -t).tolist() == [-3.0, 0.0]
    assert align(g, t, 0.25).tolist() == [3.0, 1.0]
    assert align(g, t, 1.0).tolist() == [3.0, 4.0]
    assert align(g, 1000 * t).tolist() == [3.0, 0.0]  # the length of t does not matter
    assert align(torch.tensor([0.0, 4.0]), t).tolist() == [0.0, 0.0]  # perpendicular: nothing is left


@given(pairs(same_magnitude=True))
def test_pcgrad_is_the_nearest_gradient_that_does_not_conflict(pair: tuple[np.ndarray, np.ndarray]) -> None:
    """By the conditions of Karush, Kuhn and Tucker for the nearest point of a half-space."""
    g, t = (torch.tensor(x) for x in pair)
    found = align(g, t, rule="pcgrad")
    slack = float((found * t).sum())
    room = 1e-12 * float(g.norm() * t.norm())
    assert slack >= -room
    moved = found - g  # by some multiple ≥ 0 of t, and not at all where there was no conflict
    multiple = float((moved * t).sum() / t.square().sum()) if t.any() else 0.0
    assert multiple >= 0
    assert (moved - multiple * t).abs().max() <= 1e-12 * g.norm()
    assert abs(multiple * slack) <= 1e-12 * float(g.norm() * t.norm()) * max(multiple, 1)


def test_pcgrad_by_hand() -> None:
    g, t = torch.tensor([3.0, 4.0]), torch.tensor([2.0, 0.0])
    assert align(g, t, rule="pcgrad").tolist() == [3.0, 4.0]
    assert align(g, -t, rule="pcgrad").tolist() == [0.0, 4.0]
    assert align(g, -t, 0.5, rule="pcgrad").tolist() == [1.5, 4.0]
    pairs = [(g.clone(), -t), (g.clone(), t)]
    agreement = align_gradients(pairs, rule="pcgrad")
    assert [pair[0].tolist() for pair in pairs] == [[0.0, 4.0], [3.0, 4.0]]
    assert agreement is not None
    assert float(agreement.cosine()) == 0.0


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_a_zero_tensor_keeps_g(ratio: float) -> None:
    g, zero = torch.tensor([0.1, -2.0, 3e-30]), torch.zeros(3)
    assert torch.equal(align(g, zero, ratio), g)
    assert torch.equal(align(zero, g, ratio), zero)


@pytest.mark.parametrize("size", [1e-42, 1e-30, 1e-20, 1e20, 1e37])
def test_no_size_of_either_counts_as_zero(size: float) -> None:
    g, t = torch.tensor([3.0, 4.0]), torch.tensor([2.0, 0.0])
    assert align(g, size * t).tolist() == pytest.approx([3.0, 0.0], rel=1e-6)
    found = align(size * g, t) / size
    assert found.tolist() == pytest.approx([3.0, 0.0], rel=1e-2 if size < 1e-38 else 1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_does_not_pass_for_zero(bad: float) -> None:
    """Else the raw gradient of the poisoned batch would go through unaligned."""
    g, t = torch.tensor([3.0, 4.0]), torch.tensor([2.0, bad])
    assert not torch.isfinite(align(g, t)).all()
    assert not torch.isfinite(align(t, g)).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_the_dtype_is_kept_and_the_sums_are_wide(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    # squares of 1e-4 vanish and a sum of 4096 products is coarse in half precision
    g, t = (1e-4 * torch.randn(4096)).to(dtype), (1e-4 * torch.randn(4096)).to(dtype)
    aligned = align(g, t, torch.tensor(0.1))
    assert aligned.dtype == dtype
    expected = formula(g.double().numpy(), t.double().numpy(), float(torch.tensor(0.1)))
    eps = torch.finfo(dtype).eps + (6e-8 / 1e-4 if dtype == torch.float16 else 1e-6)
    assert np.abs(aligned.double().numpy() - expected).max() <= 2 * eps * np.abs(expected).max()


def test_mixed_dtypes() -> None:
    g, t = torch.tensor([3.0, 4.0], dtype=torch.bfloat16), torch.tensor([2.0, 0.0], dtype=torch.float64)
    assert align(g, t).dtype == torch.bfloat16
    assert align(g, t).tolist() == [3.0, 0.0]


def test_neither_input_is_changed() -> None:
    g, t = torch.tensor([3.0, 4.0]), torch.tensor([2.0, 1.0])
    align(g, t, 0.5)
    assert g.tolist() == [3.0, 4.0]
    assert t.tolist() == [2.0, 1.0]


def test_each_tensor_is_aligned_on_its_own_and_in_place() -> None:
    torch.manual_seed(0)
    gs = [torch.randn(shape, dtype=torch.float64) for shape in ((3, 4), (5,), (2, 2, 2))]
    ts = [torch.randn_like(g) for g in gs]
    before = [g.clone() for g in gs], [t.clone() for t in ts]
    agreement = align_gradients(zip(gs, ts, strict=True), 0.25)
    for g, t, g0, t0 in zip(gs, ts, *before, strict=True):
        assert torch.equal(t, t0)
        assert np.abs(g.numpy() - formula(g0.numpy(), t0.numpy(), 0.25)).max() < 1e-13
    flat = [torch.cat([x.flatten() for x in tensors]) for tensors in before]
    assert agreement is not None
    expected = torch.nn.functional.cosine_similarity(*flat, dim=0)
    assert float(agreement.cosine()) == pytest.approx(float(expected), rel=1e-12)


def test_no_pair_and_zero_pairs() -> None:
    assert align_gradients([]) is None
    agreement = align_gradients([(torch.ones(2), torch.zeros(2))])
    assert agreement is not None
    assert float(agreement.cosine()) == 0.0


@given(st.integers(-18, 17), st.integers(-18, 17))
def test_the_cosine_stays_between_its_bounds(a: int, b: int) -> None:
    x = torch.tensor([0.3, -0.7, 0.11])
    for sign in (1, -1):
        agreement = align_gradients([(10.0**a * x, sign * 10.0**b * x)])
        assert agreement is not None
        assert sign * float(agreement.cosine()) == pytest.approx(1, abs=1e-5)
        assert abs(float(agreement.cosine())) <= 1


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(0, 0.0), (1, 0.0), (2, 0.1 * 1 / 9), (4, 0.1 * 3 / 9), (9, 0.1 * 8 / 9), (10, 0.1), (12, 0.1)],
)
def test_the_published_schedule(epoch: float, expected: float) -> None:
    assert raw_ratio_at(epoch, 10, max_raw_ratio=0.1, mix_from_epoch=1) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("epoch", "epochs", "from_epoch", "expected"),
    [
        (0, 4, 0, 0.0),
        (1, 4, 0, 0.125),
        (2.5, 4, 1.5, 0.2),
        (3, 3, 3, 0.0),  # never starts
        (5, 3, 7, 0.0),
        (0, 0, 0, 0.0),
    ],
)
def test_the_schedule_by_hand(epoch: float, epochs: float, from_epoch: float, expected: float) -> None:
    found = raw_ratio_at(epoch, epochs, max_raw_ratio=0.5, mix_from_epoch=from_epoch)
    assert found == pytest.approx(expected, rel=1e-12)
    assert math.isfinite(found)


def test_no_raw_ratio_stays_zero() -> None:
    assert {raw_ratio_at(e, 5, max_raw_ratio=0.0, mix_from_epoch=0) for e in range(6)} == {0.0}
