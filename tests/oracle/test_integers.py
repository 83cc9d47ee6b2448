"""Integer layers: two's complement sums modulo 2^bits, for every value of the dtype."""

from __future__ import annotations

from math import isclose
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convfuzz.case.config import ConvConfig
from convfuzz.errors import Unsupported
from convfuzz.oracle import Expectation, gradients, modular, reference

from .definition import elements, products
from .layers import layers, seeds

DTYPES = ("int8", "int32", "int64")
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
any_layer = st.sampled_from(DTYPES).flatmap(lambda dtype: layers(dtype=dtype))


@settings(deadline=None, max_examples=150)
@given(config=any_layer, seed=seeds, extreme=st.booleans())
def test_sums_wrap_as_numpys_do(config: ConvConfig, seed: int, *, extreme: bool) -> None:
    """Every output is NumPy's wrapping sum of wrapping products; S, Q and n are those of the unwrapped products."""
    rng = np.random.default_rng(seed)
    x, w, b = (drawn(rng, shape, config.dtype, extreme=extreme) for shape in operand_shapes(config))
    wanted = products(config, x, w, np.zeros(config.output_shape))["forward"]
    found = reference(config, x, w, b)
    assert found.y.dtype == np.int64
    assert found.y_lo is None
    for index, element in elements(config, "forward", found):
        taps = [*wanted.get(index, []), (b[index[1]], np.ones((), config.dtype))]
        left, right = (np.array(factors, config.dtype) for factors in zip(*taps, strict=True))
        assert element.y == np.add.reduce(left * right, dtype=config.dtype), index
        exact = [int(p) * int(q) for p, q in taps]
        assert isclose(element.S, float(sum(map(abs, exact))), rel_tol=1e-12), index
        assert isclose(element.Q, float(sum(p * p for p in exact)), rel_tol=1e-12), index
        assert element.n == len(taps)


@settings(deadline=None, max_examples=60)
@given(config=any_layer, seed=seeds)
def test_the_value_alone_is_the_same(config: ConvConfig, seed: int) -> None:
    """Without moments y and n are unchanged, and S and Q are absent."""
    rng = np.random.default_rng(seed)
    operands = [drawn(rng, shape, config.dtype) for shape in operand_shapes(config)]
    found = reference(config, *operands, moments=False)
    full = reference(config, *operands)
    assert found.S is None
    assert found.Q is None
    np.testing.assert_array_equal(found.y, full.y)
    np.testing.assert_array_equal(found.n, full.n)


@every_dtype
def test_a_wrapped_sum_shows_in_its_magnitude(dtype: str) -> None:
    """The largest number and one more is the smallest number, and S is beyond the dtype's range."""
    limits = np.iinfo(dtype)
    config = ConvConfig(dims=1, in_channels=1, out_channels=1, input_size=2, kernel_size=1, dtype=dtype)
    found = reference(config, np.array([[[1, 2]]]) * (limits.max // 2), np.ones((1, 1, 1), dtype), np.array([2], dtype))
    np.testing.assert_array_equal(found.y, [[[limits.max // 2 + 2, limits.min]]])
    magnitude = found.S
    assert magnitude is not None
    assert (magnitude >= 2.0 ** (limits.bits - 1)).tolist() == [[[False, True]]]


def test_four_million_taps_are_exact() -> None:
    """A sum of 2^22 full-range products, whose limbs have to be narrow, is NumPy's to the bit."""
    config = ConvConfig.parse("conv1d_c64_o1_i65536_k65536_i64")
    rng = np.random.default_rng(0)
    x, w = (drawn(rng, shape, "int64") for shape in (config.input_shape, config.weight_shape))
    assert reference(config, x, w, moments=False).y.item() == np.add.reduce(x.ravel() * w.ravel())


@pytest.mark.parametrize("taps", [1, 2, 2047, 2048, 2**22, 2**23 - 1, 2**23, 2**38])
def test_limbs_are_narrow_enough_to_be_summed_exactly(taps: int) -> None:
    """The magnitudes of all products of two limbs sum to at most 2^53, and a limb is a float32 number."""
    width = modular._limb_width(taps)
    assert taps * (2 ** (width - 1)) ** 2 <= 2**53
    assert 8 <= width <= 25


@settings(deadline=None)
@given(values=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), width=st.integers(2, 25))
def test_limbs_make_up_their_numbers(values: list[int], width: int) -> None:
    """Shifted into place, limbs sum to the numbers modulo 2^64, and none is more than 2^(width - 1)."""
    limbs = modular._limbs(np.array(values), width)
    assert all(abs(limb).max() <= 2 ** (width - 1) for limb in limbs.values())
    for i, value in enumerate(values):
        assert (sum(int(limb[i]) << shift for shift, limb in limbs.items()) - value) % 2**64 == 0


@pytest.mark.parametrize(
    ("dtype", "largest", "layers_computed"),
    [("int8", 127, 1), ("int32", 1000, 1), ("int64", 1000, 1), ("int32", 2**31 - 1, 4), ("int64", 2**63 - 1, 7)],
)
def test_small_numbers_cost_one_layer(dtype: str, largest: int, layers_computed: int) -> None:
    """Numbers of one limb are computed by one real layer; two limbs take three more, three limbs six."""
    config = ConvConfig(dims=1, in_channels=2, out_channels=2, input_size=5, kernel_size=3, dtype=dtype)
    rng = np.random.default_rng(0)
    x, w = (rng.integers(-largest, largest, shape, dtype, endpoint=True) for shape in (config.input_shape, config.weight_shape))
    calls = []

    def counted(*operands: Any, moments: bool) -> Expectation:
        calls.append(operands)
        return reference(*operands, moments=moments)

    modular.reference(config, x, w, None, counted, moments=True)
    assert len(calls) == layers_computed


@every_dtype
def test_gradients_do_not_exist(dtype: str) -> None:
    """The gradients of an integer layer are declined."""
    config = ConvConfig(dims=1, in_channels=1, out_channels=1, input_size=1, kernel_size=1, dtype=dtype)
    one = np.ones((1, 1, 1), dtype)
    with pytest.raises(Unsupported, match=f"dtype {dtype} has no gradients"):
        gradients(config, one, one, one)


def test_any_integer_type_is_taken_as_long_as_its_values_fit() -> None:
    """Operands of another integer type are the same numbers; numbers outside the dtype and other types are refused."""
    config = ConvConfig.parse("conv1d_c1_o1_i3_k1_i8")
    x, w = np.array([[[1, -128, 127]]]), np.array([[[2]]], np.uint64)
    np.testing.assert_array_equal(reference(config, x, w).y, [[[2, 0, -2]]])
    with pytest.raises(ValueError, match="x holds 128, beyond int8"):
        reference(config, -x, w)
    with pytest.raises(ValueError, match="w is float64, the configuration says int8: hand in integers"):
        reference(config, x, w.astype(np.float64))


def operand_shapes(config: ConvConfig) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of x, w and b."""
    return config.input_shape, config.weight_shape, (config.out_channels,)


def drawn(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, *, extreme: bool = False) -> Any:
    """Return numbers of the dtype's full range; ``extreme`` ones are its limits, and powers of two give or take one."""
    limits = np.iinfo(dtype)
    if not extreme:
        return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    edges = [sign * 2**bit + near for bit in range(limits.bits) for sign in (1, -1) for near in (-1, 0, 1)]
    return rng.choice(np.array([edge for edge in edges if limits.min <= edge <= limits.max], dtype), shape)
