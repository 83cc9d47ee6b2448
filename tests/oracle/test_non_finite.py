"""NaN and Inf reach exactly the elements whose taps meet them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convfuzz.case.config import ConvConfig
from convfuzz.oracle import Expectation, reference

from .definition import computed, elements, products
from .layers import layers, normal, seeds

DTYPES = pytest.mark.parametrize("dtype", ["f32", "f64"])
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0])


@settings(deadline=None, max_examples=80)
@given(config=st.one_of(layers(), layers(dtype="float64")), seed=seeds, share=st.sampled_from([0.02, 0.2]))
def test_special_values_propagate_as_in_a_plain_sum(config: ConvConfig, seed: int, share: float) -> None:
    """In every pass, each element is NaN, +Inf, -Inf or finite exactly as the sequential IEEE sum of its taps."""
    rng = np.random.default_rng(seed)
    operands = normal(config, seed)
    for a in operands:
        a[rng.random(a.shape) < share] = rng.choice(SPECIAL)
    wanted = products(config, *operands)
    for name, expectation in computed(config, *operands).items():
        for index, element in elements(config, name, expectation):
            taps = wanted[name].get(index, [])
            terms = [float(a) * float(b) for a, b in taps]
            total, magnitude = sum(terms), sum(map(abs, terms))
            np.testing.assert_allclose(element.y, total, rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(element.S, magnitude, rtol=1e-9)
            assert element.n == len(taps)
            if config.dtype == "float64":
                assert np.isfinite(element.y_lo)


@DTYPES
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_padding_does_not_meet_an_infinite_weight(dtype: str, bad: float) -> None:
    """Zero padding is no tap: an infinite weight there contributes nothing, where it meets an input it does."""
    config = ConvConfig.parse(f"conv1d_c1_o1_i4_k3_p1_{dtype}")
    x, w = np.ones(config.input_shape), np.array([[[bad, 1.0, 1.0]]])
    found = reference(config, x, w)
    np.testing.assert_array_equal(found.y[0, 0], [2.0, bad, bad, bad])
    np.testing.assert_array_equal(found.n[0, 0], [2, 3, 3, 2])


@DTYPES
def test_opposite_infinities_make_nan(dtype: str) -> None:
    """Inf - Inf and Inf · 0 are NaN, and the magnitude of Inf - Inf is Inf."""
    config = ConvConfig.parse(f"conv1d_c2_o2_i1_k1_{dtype}")
    found = reference(config, np.array([[[np.inf], [np.inf]]]), np.array([[[1.0], [-1.0]], [[0.0], [1.0]]]))
    assert np.isnan(found.y).all()
    assert found.S is not None
    np.testing.assert_array_equal(found.S[0, :, 0], [np.inf, np.nan])


def test_an_overflowing_float64_sum_is_infinite() -> None:
    """A finite sum beyond float64 is Inf with a low word of zero, not the NaN of an error-free transformation."""
    config = ConvConfig.parse("conv1d_c3_o1_i1_k1_f64")
    found = reference(config, np.full((1, 3, 1), 1.5e308), np.ones((1, 3, 1)))
    assert pair(found) == (np.inf, 0.0)


@DTYPES
def test_an_infinite_bias_reaches_every_element(dtype: str) -> None:
    """A bias of Inf makes finite sums Inf and a sum of -Inf NaN."""
    config = ConvConfig.parse(f"conv1d_c1_o1_i2_k1_b_{dtype}")
    found = reference(config, np.array([[[1.0, -np.inf]]]), np.ones((1, 1, 1)), np.array([np.inf]))
    np.testing.assert_array_equal(found.y[0, 0], [np.inf, np.nan])


def pair(expectation: Expectation) -> tuple[float, float]:
    """Return the two words of a single-element result."""
    assert expectation.y_lo is not None
    return expectation.y.item(), expectation.y_lo.item()
