"""Float64 layers, whose products float64 cannot hold, are summed in double-double."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convfuzz.case.config import ConvConfig
from convfuzz.oracle import reference

from .definition import Element, computed, elements, products
from .layers import layers, normal, seeds

ACCURACY = Fraction(1, 2**100)


@settings(deadline=None, max_examples=40)
@given(config=layers(dtype="float64"), seed=seeds)
def test_two_words_hold_a_hundred_bits(config: ConvConfig, seed: int) -> None:
    """In every pass, y + y_lo is within 2^-100 of the magnitude of the exact sum, and y alone is its rounding."""
    operands = normal(config, seed, np.float64)
    wanted = products(config, *operands)
    for name, expectation in computed(config, *operands).items():
        for index, element in elements(config, name, expectation):
            assert_accurate(element, wanted[name].get(index, []))


def test_cancelling_products_keep_their_low_bits() -> None:
    """A long sum that cancels to 2^-53 of its size, where float64 has no digit left, still has half of its digits."""
    config = ConvConfig.parse("conv1d_c601_o1_i3_k3_f64")
    x, w, _ = normal(config, 1, np.float64)
    x[0, 600], w[0, 600] = [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]
    w[0, 600, 2] = -float(sum(Fraction(a) * Fraction(b) for a, b in zip(x.ravel().tolist(), w.ravel().tolist(), strict=True)))
    element = Element.of(reference(config, x, w), (0, 0, 0))
    assert abs(element.y) <= 2.0**-52 * abs(w[0, 600, 2])
    assert_accurate(element, list(zip(x.ravel(), w.ravel(), strict=True)))


def test_the_bias_is_added_in_double_double() -> None:
    """A bias that cancels the rounded sum leaves the low word."""
    config = ConvConfig.parse("conv1d_c5_o1_i3_k3_b_f64")
    x, w, _ = normal(config, 3, np.float64)
    without = reference(config, x, w)
    assert without.y_lo is not None
    assert reference(config, x, w, -without.y[0, :, 0]).y == without.y_lo


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_narrow_dtypes_have_no_low_word(dtype: str) -> None:
    """Where float64 holds every product, y_lo is absent."""
    config = ConvConfig.parse(f"conv1d_i3_c1_o1_k1_{dtype}")
    assert reference(config, np.ones((1, 1, 3)), np.ones((1, 1, 1))).y_lo is None


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128", "complex64"])
@given(data=st.data(), seed=seeds)
@settings(deadline=None, max_examples=15)
def test_plain_sums_say_it_all_of_small_integers(dtype: str, data: st.DataObject, seed: int) -> None:
    """Where every partial sum is exact, a second word has nothing to add: plain sums give the same bits in every pass."""
    config = data.draw(layers(dtype=dtype))
    draw = np.random.default_rng(seed)
    shapes = (config.input_shape, config.weight_shape, config.output_shape)
    operands = [draw.integers(-8, 9, shape).astype(dtype) for shape in shapes]
    full = computed(config, *operands)
    for name, found in computed(config, *operands, exact=True).items():
        np.testing.assert_array_equal(found.y, full[name].y)
        np.testing.assert_array_equal(found.n, full[name].n)
        assert found.y_lo is found.S is found.Q is None


def assert_accurate(element: Element, taps: list[tuple[Any, Any]]) -> None:
    """Require a hundred bits relative to the magnitude, and normalised words."""
    exact = [Fraction(float(a)) * Fraction(float(b)) for a, b in taps]
    magnitude = sum(map(abs, exact))
    found = Fraction(element.y) + Fraction(element.y_lo)
    assert abs(found - sum(exact)) <= ACCURACY * magnitude
    assert element.y == element.y + element.y_lo
    assert abs(Fraction(element.S) - magnitude) <= len(taps) * Fraction(1, 2**52) * magnitude
    assert element.n == len(taps)
