"""The reference against the definition of a convolution, written out tap by tap."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from convfuzz.case.config import ConvConfig
from convfuzz.oracle import reference

from .definition import computed, elements, products
from .layers import integers, layers, normal, seeds

MODERATE = settings(deadline=None, max_examples=60)


@MODERATE
@given(config=layers(), seed=seeds)
def test_sums_of_integers_are_exact(config: ConvConfig, seed: int) -> None:
    """Value, magnitude, sum of squares and tap count of every pass equal the definition's exactly."""
    assert config.is_valid, config.invalid_reason
    x, w, dy = integers(config, seed)
    wanted = products(config, x, w, dy)
    for name, expectation in computed(config, x, w, dy).items():
        for index, element in elements(config, name, expectation):
            taps = [Fraction(float(a)) * Fraction(float(b)) for a, b in wanted[name].get(index, [])]
            found = (element.y, element.S, element.Q, element.n)
            assert found == (sum(taps), sum(map(abs, taps)), sum(p * p for p in taps), len(taps)), (name, index)


@MODERATE
@given(config=layers(), seed=seeds)
def test_taps_are_added_in_the_canonical_order(config: ConvConfig, seed: int) -> None:
    """Every bit is that of a sequential float64 sum: channel first, then kernel depth, height and width."""
    x, w, dy = normal(config, seed)
    wanted = products(config, x, w, dy)
    for name, expectation in computed(config, x, w, dy).items():
        if name == "grad_input" and config.padding_mode != "zeros":
            continue  # the copies of an element are summed apart before they are added up
        for index, element in elements(config, name, expectation):
            assert (element.y, element.S, element.Q) == sequential_sums(wanted[name].get(index, [])), (name, index)


@pytest.mark.parametrize(
    "line",
    [
        "conv2d_c37_o70_i3_k3_f32",  # one output site: vectorised over channels, not in whole blocks
        "conv2d_n2_c6_o150_g2_i3x2_k2_p1_f32",  # several sites, samples and groups, vectorised over channels
        "conv2d_c3_o150_i3_k3_f32",  # more channels than a block
        "conv2d_c1_o1_i5x700_k1x3_f32",  # lines longer than a block
        "conv2d_c2_o3_i40x30_k3_p1_f32",  # more lines than a block
        "conv3d_c2_o3_i6x5x4_k3x2x2_p1_f32",  # several planes in a run
        "conv3d_n2_c2_o2_g2_i90x2x3_k2x1x2_p1x0x1_f32",  # more planes than a block
        "convt3d_c2_o3_i4x2x3_k3_s2x1x2_p1_f32",  # the planes of a phase lie apart in the result
        "conv2d_c3_o2_i6x5_k2_d4x1_p3_f32",
        "convt2d_c9_o24_i3_k3_s2_f32",
        "conv1d_c2_o3_i9_k2_s4_d3_p2_f32",
    ],
)
def test_blocks_change_no_bit(line: str) -> None:
    """Shapes that take each vectorisation and end inside a block still add in the canonical order."""
    config = ConvConfig.parse(line)
    x, w, dy = normal(config, seed=7)
    wanted = products(config, x, w, dy)
    for name, expectation in computed(config, x, w, dy).items():
        for index, element in elements(config, name, expectation):
            assert (element.y, element.S, element.Q) == sequential_sums(wanted[name].get(index, [])), (name, index)


@MODERATE
@given(config=layers(), seed=seeds)
def test_the_value_alone_has_the_same_bits(config: ConvConfig, seed: int) -> None:
    """Without moments, y and n are unchanged and S and Q are absent."""
    x, w, dy = normal(config, seed)
    full = computed(config, x, w, dy)
    for name, expectation in computed(config, x, w, dy, moments=False).items():
        assert expectation.S is None
        assert expectation.Q is None
        np.testing.assert_array_equal(expectation.y, full[name].y)
        np.testing.assert_array_equal(expectation.n, full[name].n)


@MODERATE
@given(config=layers(), seed=seeds)
def test_a_bias_is_the_last_tap(config: ConvConfig, seed: int) -> None:
    """A bias b adds b, |b|, b² and one tap to the sums without it."""
    x, w, _ = normal(config, seed)
    b = np.random.default_rng(seed).standard_normal(config.out_channels).astype(np.float32)
    without, found = reference(config, x, w), reference(config, x, w, b)
    assert without.S is not None
    assert without.Q is not None
    b64 = b.astype(np.float64).reshape(-1, *(1,) * config.dims)
    np.testing.assert_array_equal(found.y, without.y + b64)
    np.testing.assert_array_equal(found.S, without.S + abs(b64))
    np.testing.assert_array_equal(found.Q, without.Q + b64 * b64)
    np.testing.assert_array_equal(found.n, without.n + 1)


def sequential_sums(taps: list[tuple[Any, Any]]) -> tuple[float, float, float]:
    """Return Σp, Σ|p| and Σp², each added in the order given."""
    y = s = q = 0.0
    for a, b in taps:
        p = float(a) * float(b)
        y, s, q = y + p, s + abs(p), q + p * p
    return y, s, q
