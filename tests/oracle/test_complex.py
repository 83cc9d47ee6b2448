"""Complex layers: every part is a real sum of two products per tap, and gradients follow PyTorch's convention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convfuzz.case.config import ConvConfig
from convfuzz.oracle import Expectation, gradients, reference

from .definition import Element, Index, computed, elements, products
from .layers import layers, normal, seeds
from .test_double_double import assert_accurate

MODERATE = settings(deadline=None, max_examples=60)
REAL, IMAGINARY = 0, 1
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0])
Products = list[tuple[float, float]]


@MODERATE
@given(config=layers(dtype="complex64"), seed=seeds)
def test_sums_of_complex_integers_are_exact(config: ConvConfig, seed: int) -> None:
    """The value of every pass is Python's complex sum; magnitude, squares and tap count are those of its real products."""
    operands = complex_operands(config, seed, lambda rng, shape: rng.integers(-8, 9, shape))
    passes = computed(config, *operands)
    for name, index, taps, found in complex_elements(config, passes, operands):
        assert complex(found[REAL].y, found[IMAGINARY].y) == sum(complex(a) * complex(b) for a, b in taps), (name, index)
        for element, terms in zip(found, real_products(taps), strict=True):
            p = [a * b for a, b in terms]
            assert (element.S, element.Q, element.n) == (sum(map(abs, p)), sum(q * q for q in p), 2 * len(taps)), (name, index)


@MODERATE
@given(config=layers(dtype="complex128"), seed=seeds)
def test_complex128_has_a_hundred_bits(config: ConvConfig, seed: int) -> None:
    """In every pass, both parts are double-double sums of the exact real products."""
    operands = complex_operands(config, seed, normally)
    for _, _, taps, found in complex_elements(config, computed(config, *operands), operands):
        for element, terms in zip(found, real_products(taps), strict=True):
            assert_accurate(element, terms)


@MODERATE
@given(config=layers(dtype="complex64"), seed=seeds)
def test_both_parts_of_a_bias_are_taps(config: ConvConfig, seed: int) -> None:
    """A bias adds each of its parts, with its magnitude, square and one tap, to that part of the output."""
    x, w, _ = complex_operands(config, seed, normally)
    b = complex_array(config.out_channels, np.random.default_rng(seed), normally)
    without, found = reference(config, x, w), reference(config, x, w, b)
    parts = np.stack([b.real, b.imag], axis=-1).reshape(-1, *(1,) * config.dims, 2)
    assert without.S is not None
    assert without.Q is not None
    np.testing.assert_array_equal(found.y, without.y + parts)
    np.testing.assert_array_equal(found.S, without.S + abs(parts))
    np.testing.assert_array_equal(found.Q, without.Q + parts * parts)
    np.testing.assert_array_equal(found.n, without.n + 1)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@given(data=st.data(), seed=seeds)
@settings(deadline=None, max_examples=30)
def test_the_value_alone_is_the_same(dtype: str, data: st.DataObject, seed: int) -> None:
    """Without moments y, y_lo and n are unchanged, S and Q are absent, and only complex128 has a y_lo."""
    config = data.draw(layers(dtype=dtype))
    operands = complex_operands(config, seed, normally)
    full = computed(config, *operands)
    for name, found in computed(config, *operands, moments=False).items():
        assert found.S is None
        assert found.Q is None
        np.testing.assert_array_equal(found.y, full[name].y)
        np.testing.assert_array_equal(found.n, full[name].n)
        if dtype == "complex128":
            np.testing.assert_array_equal(found.y_lo, full[name].y_lo)
        else:
            assert found.y_lo is full[name].y_lo is None


@MODERATE
@given(config=layers(dtype="complex64"), seed=seeds, share=st.sampled_from([0.02, 0.2]))
def test_special_values_are_those_of_the_real_products(config: ConvConfig, seed: int, share: float) -> None:
    """Each part is NaN, Inf or finite as the plain sum of its real products is, in every pass."""
    rng = np.random.default_rng(seed)
    operands = complex_operands(config, seed, normally)
    for a in operands:
        for part in (a.real, a.imag):
            part[rng.random(a.shape) < share] = rng.choice(SPECIAL)
    for _, _, taps, found in complex_elements(config, computed(config, *operands), operands):
        for element, terms in zip(found, real_products(taps), strict=True):
            np.testing.assert_allclose(element.y, sum(a * b for a, b in terms), rtol=1e-9, atol=1e-9)


def test_an_infinite_factor_is_not_recovered() -> None:
    """(Inf + 0i)·1 has the imaginary part Inf·0 + 0·1, which is NaN."""
    found = reference(ConvConfig.parse("conv1d_c1_o1_i1_k1_c64"), np.full((1, 1, 1), complex(np.inf, 0.0)), np.ones((1, 1, 1), complex))
    np.testing.assert_array_equal(found.y[0, 0, 0], [np.inf, np.nan])


def test_gradients_of_one_tap_are_conjugate() -> None:
    """Of y = w·x with the output gradient dy, x receives dy·conj(w), w receives dy·conj(x), and the bias dy."""
    config = ConvConfig.parse("conv1d_c1_o1_i1_k1_b_c128")
    x, w, dy = (np.full((1, 1, 1), z) for z in (2 + 3j, 5 - 7j, 11 + 13j))
    found = gradients(config, x, w, dy)
    for name, wanted in (("grad_input", dy * w.conj()), ("grad_weight", dy * x.conj()), ("grad_bias", dy[0, 0])):
        np.testing.assert_array_equal(found[name].y[..., REAL], wanted.real)
        np.testing.assert_array_equal(found[name].y[..., IMAGINARY], wanted.imag)


@pytest.mark.parametrize("line", ["conv2d_n2_c3_o4_i5x6_k3x2_p1_b_c64", "convt1d_n-_c4_o2_g2_i3_k2_s2_b_c128", "conv1d_n0_c0_o2_i4_k3_c64"])
def test_every_array_ends_in_the_two_parts(line: str) -> None:
    """Outputs and gradients have the shapes of their tensors and one more, last axis of size 2."""
    config = ConvConfig.parse(line)
    x, w, dy = complex_operands(config, 0, normally)
    passes = {"forward": reference(config, x, w, np.ones(config.out_channels)), **gradients(config, x, w, dy)}
    shapes = (config.output_shape, config.input_shape, config.weight_shape, (config.out_channels,))
    for found, shape in zip(passes.values(), shapes, strict=True):
        assert found.S is not None
        assert found.Q is not None
        assert found.y.shape == found.S.shape == found.Q.shape == found.n.shape == (*shape, 2)


def test_operands_may_be_real() -> None:
    """Real operands of a complex layer have imaginary parts of zero, which are taps all the same."""
    config = ConvConfig.parse("conv2d_c3_o2_i5_k3_p1_c64")
    x, w, _ = normal(config, 0)
    real, found = reference(config.replace(dtype="float32"), x, w), reference(config, x, w)
    np.testing.assert_allclose(found.y[..., REAL], real.y, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(found.y[..., IMAGINARY], 0.0)
    np.testing.assert_array_equal(found.n[..., IMAGINARY], 2 * real.n)


def test_a_real_layer_declines_complex_operands() -> None:
    """Complex operands of a real layer are refused instead of losing their imaginary parts."""
    config = ConvConfig.parse("conv1d_c1_o1_i1_k1_f32")
    with pytest.raises(ValueError, match="w is complex128, the configuration's dtype is real"):
        reference(config, np.ones((1, 1, 1)), np.ones((1, 1, 1), complex))


def normally(rng: np.random.Generator, shape: Any) -> Any:
    """Return normally distributed float32 numbers."""
    return rng.standard_normal(shape).astype(np.float32)


def complex_array(shape: Any, rng: np.random.Generator, draw: Any) -> Any:
    """Return an array whose parts are both drawn by ``draw``."""
    z = np.empty(shape, np.complex128)
    z.real, z.imag = draw(rng, shape), draw(rng, shape)
    return z


def complex_operands(config: ConvConfig, seed: int, draw: Any) -> tuple[Any, Any, Any]:
    """Return complex x, w and dy."""
    rng = np.random.default_rng(seed)
    x, w, dy = (complex_array(shape, rng, draw) for shape in (config.input_shape, config.weight_shape, config.output_shape))
    return x, w, dy


def complex_elements(
    config: ConvConfig, passes: dict[str, Expectation], operands: tuple[Any, Any, Any]
) -> Iterator[tuple[str, Index, list[tuple[complex, complex]], tuple[Element, Element]]]:
    """Yield each element of each pass: its complex factors, by PyTorch's convention, and what was found of its parts."""
    x, w, dy = operands
    plain, conjugate = products(config, x, w, dy), products(config, x.conj(), w.conj(), dy)
    wanted = {"forward": plain["forward"], "grad_input": conjugate["grad_input"], "grad_weight": conjugate["grad_weight"]}
    for name, found in passes.items():
        parts = (elements(config, name, part_of(found, part)) for part in (REAL, IMAGINARY))
        for (index, real), (_, imaginary) in zip(*parts, strict=True):
            yield name, index, wanted[name].get(index, []), (real, imaginary)


def part_of(found: Expectation, part: int) -> Expectation:
    """Return one part of every array."""
    y_lo, s, q = (None if values is None else values[..., part] for values in (found.y_lo, found.S, found.Q))
    return Expectation(found.y[..., part], y_lo, s, q, found.n[..., part])


def real_products(taps: list[tuple[Any, Any]]) -> tuple[Products, Products]:
    """Return the factors of the real products that the real part and the imaginary part are sums of."""
    factors = [(float(a.real), float(a.imag), float(b.real), float(b.imag)) for a, b in taps]
    real = [pair for ar, ai, br, bi in factors for pair in ((ar, br), (-ai, bi))]
    imaginary = [pair for ar, ai, br, bi in factors for pair in ((ar, bi), (ai, br))]
    return real, imaginary
