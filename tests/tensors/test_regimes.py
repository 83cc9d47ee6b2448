"""What each regime promises of its values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convfuzz.case import Case, DataRecipe
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import FLOATS, numpy_dtype
from convfuzz.oracle import Expectation, reference
from convfuzz.tensors.generator import Tensors, make_tensors

from .drawn import seeds

SHORT = {"f64": "float64", "f32": "float32", "f16": "float16", "bf16": "bfloat16"}
every_dtype = pytest.mark.parametrize("dtype", SHORT)


def fill(line: str) -> Tensors:
    """Fill the tensors of a case."""
    return make_tensors(Case.parse(line))


def expect(case: Case) -> Expectation:
    """Compute the reference of a case, moments included."""
    tensors = make_tensors(case)
    return reference(case.config, tensors.x, tensors.w, tensors.b)


def test_normal() -> None:
    """Normal data have mean 0 and variance 1 within five standard errors, and a kurtosis near a normal's."""
    x = fill("conv1d_c1_o1_i1000000_k1_f64@normal.1").x
    assert abs(x.mean()) < 5e-3
    assert abs(x.var() - 1.0) < 5 * np.sqrt(2.0) * 1e-3
    assert 2.5 < np.mean(x**4) < 3.0  # four uniforms summed: 3 − 1.2/4
    assert np.abs(x).max() < 2.0 * np.sqrt(3.0)


@every_dtype
def test_positive(dtype: str) -> None:
    """Positive data lie in (0, 1] and spread over it evenly."""
    for array in fill(f"conv2d_n8_c32_o32_i16_k8_b_{dtype}@positive.2").named().values():
        values = array.astype(np.float64)
        assert values.min() > 0.0
        assert values.max() <= 1.0
    x = fill(f"conv2d_n8_c32_o32_i16_k8_{dtype}@positive.2").x.astype(np.float64)
    share = np.histogram(x, bins=4, range=(0.0, 1.0))[0] / x.size
    np.testing.assert_allclose(share, 0.25, atol=0.02)


@settings(deadline=None, max_examples=50)
@given(seed=seeds, line=st.sampled_from(["conv2d_c4_o3_i8_k3_f64", "conv1d_c64_o2_i9_k2_f32", "convt2d_c8_o6_g2_i3_k3_f64"]))
def test_cancellation(seed: int, line: str) -> None:
    """Where a whole kernel of an even number of taps meets the input, the sum is far below the sum of magnitudes."""
    config = Case.parse(line).config
    expected = expect(Case(config, DataRecipe("cancellation", seed)))
    assert expected.S is not None
    whole = expected.n == config.taps
    assert whole.any()
    assert np.all(np.abs(expected.y[whole]) < expected.S[whole] / 15.0)
    assert np.all(np.abs(expected.S[whole] - config.taps) < 0.15 * config.taps)


def test_cancellation_draws_its_signs() -> None:
    """Half of each kernel's weights are negative, in another order for each kernel."""
    signs = np.sign(fill("conv2d_c4_o20_i3_k3_f32@cancellation.1").w).reshape(20, -1)
    assert np.all(signs.sum(axis=1) == 0.0)
    assert len({tuple(row) for row in signs}) == 20


@every_dtype
def test_tiny(dtype: str) -> None:
    """Tiny products are far below 1 and still normal numbers of the accumulator."""
    tensors = fill(f"conv2d_n4_c8_o8_i16_k3_{dtype}@tiny.1")
    x, w = (np.abs(a.astype(np.float64)) for a in (tensors.x, tensors.w))
    accumulator = FLOATS["float32" if dtype in ("f16", "bf16") else SHORT[dtype]]
    assert x[x > 0].min() * w[w > 0].min() >= accumulator.tiny
    assert np.sqrt(np.mean(x * x)) * np.sqrt(np.mean(w * w)) < 0.02


def test_huge_overflows_float16_sometimes() -> None:
    """In float16 some sums overflow and most do not, whatever the number of taps, and no input does."""
    for line in ("conv2d_c1_o8_i20_k1_f16@huge.1", "conv2d_c8_o8_i20_k3_f16@huge.1", "conv1d_c512_o8_i200_k3_f16@huge.1"):
        case = Case.parse(line)
        tensors, y = make_tensors(case), expect(case).y
        assert all(np.isfinite(a).all() for a in tensors.named().values())
        share = np.mean(np.isinf(FLOATS["float16"].round(y)))
        assert 0.0 < share < 0.2, line


@pytest.mark.parametrize("dtype", ["f64", "f32", "bf16"])
def test_huge_stays_finite_elsewhere(dtype: str) -> None:
    """In the other dtypes huge sums are large and finite, and so are the squares that the bounds need."""
    case = Case.parse(f"conv1d_c512_o4_i9_k3_b_{dtype}@huge.1")
    expected = expect(case)
    assert expected.Q is not None
    assert np.isfinite(FLOATS[case.config.dtype].round(expected.y)).all()
    assert np.isfinite(expected.Q).all()
    assert np.abs(expected.y).max() > 1e12


def test_sparse() -> None:
    """Four of five inputs are zero; weights are not."""
    tensors = fill("conv2d_n4_c16_o16_i40_k3_f32@sparse.1")
    assert abs(np.mean(tensors.x == 0.0) - 0.8) < 0.01
    assert np.all(tensors.w != 0.0)


@settings(deadline=None, max_examples=50)
@given(seed=seeds)
def test_one_hot(seed: int) -> None:
    """A single input is one and all others zero: the output shows one kernel per output channel."""
    case = Case(ConvConfig.parse("conv2d_c3_o2_i7_k3_p2"), DataRecipe("one-hot", seed))
    tensors = make_tensors(case)
    assert np.count_nonzero(tensors.x) == 1
    assert tensors.x.max() == 1.0
    _, channel, row, column = (int(i[0]) for i in np.nonzero(tensors.x))
    y = reference(case.config, tensors.x, tensors.w).y
    np.testing.assert_array_equal(y[0, :, row : row + 3, column : column + 3], tensors.w[:, channel, ::-1, ::-1].astype(np.float64))


def test_one_hot_hits_different_places() -> None:
    """Seeds move the one over the whole input."""
    places = {int(np.argmax(fill(f"conv1d_c2_o1_i8_k3_f32@one-hot.{seed}").x)) for seed in range(200)}
    assert places == set(range(16))


@every_dtype
def test_subnormal(dtype: str) -> None:
    """Inputs and biases are subnormal numbers of the dtype, nearly none of them zero; products stay in their range."""
    tensors = fill(f"conv2d_n4_c8_o8_i16_k3_b_{dtype}@subnormal.1")
    form = FLOATS[SHORT[dtype]]
    assert tensors.b is not None
    for array in (tensors.x, tensors.b):
        values = array.astype(np.float64)
        assert values.min() >= 0.0
        assert values.max() < form.tiny
    assert np.mean(tensors.x.astype(np.float64) == 0.0) < 0.03
    w = np.abs(tensors.w.astype(np.float64))
    assert w.min() >= 0.5
    assert w.max() <= 1.5


@settings(deadline=None, max_examples=300)
@given(seed=seeds, bias=st.booleans())
def test_special(seed: int, bias: bool) -> None:  # noqa: FBT001 - Hypothesis draws it
    """One to three elements of all tensors together are NaN or ±Inf, and the rest are normal data."""
    config = ConvConfig.parse("conv2d_c2_o2_i5_k3").replace(bias=bias)
    special = make_tensors(Case(config, DataRecipe("special", seed))).named()
    normal = make_tensors(Case(config, DataRecipe("normal", seed))).named()
    assert 1 <= sum(int(np.count_nonzero(~np.isfinite(a))) for a in special.values()) <= 3
    for name, array in special.items():
        kept = np.isfinite(array)
        np.testing.assert_array_equal(array[kept], normal[name][kept])


def test_special_reaches_every_tensor_and_value() -> None:
    """Among a few hundred seeds each tensor gets NaN, Inf and −Inf."""
    seen = set()
    for seed in range(300):
        for name, array in fill(f"conv1d_c2_o2_i5_k3_b_f32@special.{seed}").named().items():
            seen |= {(name, str(v)) for v in array[~np.isfinite(array)]}
    assert seen == {(name, value) for name in "xwb" for value in ("nan", "inf", "-inf")}


@every_dtype
def test_dtype_and_bias(dtype: str) -> None:
    """Every tensor has the case's dtype and shape, and there is a bias only where there is one in the configuration."""
    with_bias = fill(f"conv2d_n2_c4_o6_g2_i5_k3_b_{dtype}")
    assert {name: a.shape for name, a in with_bias.named().items()} == {"x": (2, 4, 5, 5), "w": (6, 2, 3, 3), "b": (6,)}
    assert all(a.dtype == numpy_dtype(SHORT[dtype]) for a in with_bias.named().values())
    assert fill(f"conv2d_n2_c4_o6_g2_i5_k3_{dtype}").b is None


@every_dtype
@pytest.mark.parametrize("regime", ["integers", "normal", "cancellation", "one-hot", "special", "sparse", "subnormal"])
@pytest.mark.parametrize("shape", ["n0_c2_o2_i3", "n1_c0_o2_i3", "n1_c2_o0_i3", "n1_c2_o2_i0"])
def test_empty_tensors(dtype: str, regime: str, shape: str) -> None:
    """Tensors without elements are filled like any other."""
    case = Case.parse(f"conv1d_{shape}_k3_p2_b_{dtype}@{regime}.1")
    assert case.config.is_valid
    tensors = make_tensors(case)
    assert (tensors.x.shape, tensors.w.shape) == (case.config.input_shape, case.config.weight_shape)
