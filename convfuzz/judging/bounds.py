"""How far from the exact sum an arithmetic may end: bounds per output element."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz.case.dtypes import FLOATS, FloatFormat, component_format, is_complex
from convfuzz.judging.numerics import Floats, Numerics
from convfuzz.oracle.expectation import Expectation

LAMBDA = 6.65
"""The statistical bound fails by chance with probability 2·exp(−λ²/2) ≈ 5·10⁻¹⁰ for an element."""

SQUARES_VANISH = 2.0**-500
"""Below this S the squares in the statistical bound lose their digits to float64's underflow."""

TRANSFORM_FACTOR = 200.0
"""More than twice the largest error of Winograd F(6,3) seen, 91, in units of u·max S over the map."""


def statistical(expected: Expectation, u: float) -> Floats:
    """Bound the rounding of a sum in an order that does not depend on the data.

    A rounding error at step k is about u·s_k with mean zero; over random orders E Σ s_k² = n(n+1)/6 · (var_p +
    (2n+1)·mean_p²) (sampling without replacement), and the products' own roundings add Q.
    """
    n = np.maximum(expected.n, 1).astype(np.float64)
    assert expected.S is not None, "the bound needs the moments"
    assert expected.Q is not None, "the bound needs the moments"
    mean = expected.y / n
    variance = np.maximum(expected.Q / n - mean * mean, 0.0)
    bound: Floats = LAMBDA * u * np.sqrt(n * (n + 1.0) / 6.0 * (variance + (2.0 * n + 1.0) * mean * mean) + expected.Q)
    # Where n·u is no longer small, a term is less than half a unit of the sum that it is added to, and every addition
    # errs towards the same side: u·Σ|s_k| = u·n·|y|/2 for partial sums that grow evenly, and never more than S.
    drifts = n * u > 0.5
    if np.any(drifts):
        bound = bound + np.where(drifts, np.minimum(0.5 * u * n * np.abs(expected.y), expected.S), 0.0)
    # Squares of sums this small vanish; no partial sum is larger than S.
    return np.where(expected.S < SQUARES_VANISH, LAMBDA * u * np.sqrt(n + 1.0) * expected.S, bound)


def proven(expected: Expectation, u: float) -> Floats:
    """Bound the rounding of a sum in any order: γ_n·S, γ_n = n·u / (1 − n·u) (Higham, Accuracy and Stability, §3.1)."""
    nu = expected.n * u
    assert expected.S is not None, "the bound needs the moments"
    with np.errstate(divide="ignore"):
        gamma: Floats = np.where(nu < 1.0, nu / np.maximum(1.0 - nu, 1e-300), np.inf)
    return gamma * expected.S


def transform(expected: Expectation, u: float, map_axes: tuple[int, ...], whole: float = 0.0) -> Floats:
    """Bound Winograd and FFT: relative to the largest S of the map (one sample, one output channel).

    ``whole`` is the largest S of maps of which the layer keeps a part: a transform rounds all of them.
    """
    assert expected.S is not None, "the bound needs the moments"
    if expected.S.size == 0:
        return expected.S
    finite = np.where(np.isfinite(expected.S), expected.S, 0.0)
    largest = np.maximum(finite.max(axis=map_axes, keepdims=True), whole)
    bound: Floats = TRANSFORM_FACTOR * u * np.broadcast_to(largest, expected.S.shape)
    return bound


def four_products(expected: Expectation, u: float) -> Floats:
    """Bound a complex sum whose parts are Σxr·wr − Σxi·wi and Σxr·wi + Σxi·wr, each of the two sums added up on its own.

    A sum's mean is at most its magnitudes': of m = n/2 products with magnitudes S₁ and squares Q₁ the statistical bound is at
    most λ·u·√(m(m+1)/6·(Q₁/m + 2·S₁²/m) + Q₁). Of two sums with S₁ + S₂ = S and Q₁ + Q₂ = Q, together at most √2 times that
    of S and Q. It covers one interleaved sum of all n as well, up to the mean that it has.
    """
    assert expected.S is not None, "the bound needs the moments"
    assert expected.Q is not None, "the bound needs the moments"
    m = np.maximum((expected.n + 1.0) / 2.0, 1.0)
    bound: Floats = LAMBDA * u * np.sqrt(2.0 * ((m + 1.0) / 6.0 * (expected.Q + 2.0 * expected.S**2) + expected.Q))
    return np.where(expected.S < SQUARES_VANISH, 2.0 * LAMBDA * u * np.sqrt(expected.n + 1.0) * expected.S, bound)


def three_products(expected: Expectation, u: float) -> Floats:
    """Bound a complex sum from three real ones: c = Σ(xr + xi)(wr + wi), a = Σxr·wr and b = Σxi·wi give c − a − b.

    Each is a sum of n products whose magnitudes are at most S_c, the magnitudes of the real and the imaginary part
    together; with the sum of the other two that is 2·S_c. The additions of the operands and of the sums are five more.
    """
    assert expected.S is not None, "the bound needs the moments"
    both = expected.S.sum(axis=-1, keepdims=True)
    bound: Floats = 2.0 * (LAMBDA * np.sqrt(expected.n + 1.0) + 5.0) * u * both
    return bound


@dataclass(frozen=True, slots=True)
class Operands:
    """What the bounds need to know of the data beside the sums.

    ``map_axes`` are the axes of a result over which one map extends, ``bias`` is per output element, ``largest`` the
    largest magnitude of the two operands, and ``subnormal`` that of their subnormal elements, of which no sum has more than
    ``subnormals`` among its factors. ``whole_map`` computes the largest S of all maps as they are before the layer leaves
    sites of them out; 0 where it leaves out none that matter.
    """

    dtype: str
    map_axes: tuple[int, ...]
    bias: npt.NDArray[Any] | None
    largest: float
    subnormal: float = 0.0
    subnormals: float = math.inf
    whole_map: Callable[[], float] = lambda: 0.0


def tolerance(expected: Expectation, numerics: Numerics, operands: Operands, *, wide: FloatFormat | None = None) -> Floats:
    """Return the largest |error| per output element that ``numerics`` explains.

    ``wide`` is a format whose range the partial sums have, where it is not the accumulator's: the narrow range of a
    16-bit accumulator would explain anything that is small.
    """
    acc = numerics.accumulator_format(operands.dtype)
    out = component_format(operands.dtype)
    assert expected.S is not None, "the bound needs the moments"
    bound = statistical(expected, acc.unit_roundoff)
    if numerics.algorithm == "transform":
        bound = np.maximum(bound, transform(expected, acc.unit_roundoff, operands.map_axes, operands.whole_map()))
    if is_complex(operands.dtype):
        products = three_products if numerics.complex_products == "three" else four_products
        bound = np.maximum(bound, products(expected, acc.unit_roundoff))
    if numerics.inputs != "exact":
        u_in = FLOATS[numerics.inputs].unit_roundoff
        bound = bound + (2.0 * u_in + u_in * u_in) * expected.S
    bound = bound + _underflow(expected, numerics, wide or acc, operands)
    if out.unit_roundoff > acc.unit_roundoff and numerics.bias == "separate" and operands.bias is not None:
        bound = bound + out.unit_roundoff * (np.abs(expected.y - operands.bias) + bound)
    if numerics.outputs != "exact":
        stored = FLOATS[numerics.outputs]
        bound = bound + stored.unit_roundoff * (np.abs(expected.y) + bound) + stored.smallest_subnormal
    smallest = _output_underflow(expected, bound, numerics, out, operands)
    rounded: Floats = bound + out.unit_roundoff * (np.abs(expected.y) + bound) + smallest
    return rounded


def _output_underflow(expected: Expectation, bound: Floats, numerics: Numerics, out: FloatFormat, operands: Operands) -> Floats | float:
    """Half a subnormal step of the output, or all of a result that may have been below the normal range when flushed."""
    if not numerics.flushes_subnormals:
        return out.smallest_subnormal
    reach = bound + 2.0 * out.tiny
    small = np.abs(expected.y) <= reach
    if numerics.bias == "separate" and operands.bias is not None:
        small |= np.abs(expected.y - operands.bias) <= reach
    return np.where(small, out.tiny, out.smallest_subnormal)


def _underflow(expected: Expectation, numerics: Numerics, acc: FloatFormat, operands: Operands) -> Floats:
    """Absolute error below the normal range: half a subnormal step per product and as much in the reference, or all when flushed."""
    n = expected.n.astype(np.float64)
    if not numerics.flushes_subnormals:
        return n * acc.smallest_subnormal
    # A flushed operand loses itself times the other operand; a flushed product or partial sum loses up to tiny.
    flushed: Floats = n * (2.0 * acc.tiny) + np.minimum(n, operands.subnormals) * (operands.subnormal * max(operands.largest, 1.0))
    return flushed


LADDER: tuple[tuple[str, dict[str, Any]], ...] = (
    ("direct", {}),
    ("flushed subnormals", {"flushes_subnormals": True}),
    ("Winograd or FFT", {"algorithm": "transform"}),
    ("TF32 inputs", {"inputs": "tfloat32"}),
    ("bfloat16 inputs", {"inputs": "bfloat16"}),
    ("float16 accumulation", {"accumulator": "float16"}),
    ("bfloat16 accumulation", {"accumulator": "bfloat16"}),
)
"""Error models from the smallest to the largest; the first that covers every element explains a suspect output."""


def explain(error: Floats, expected: Expectation, declared: Numerics, operands: Operands) -> str | None:
    """Return the smallest model of :data:`LADDER` that covers ``error``, or ``None``: no known arithmetic does."""
    for name, change in LADDER:
        model = replace(declared, **change)
        acc, wide = model.accumulator_format(operands.dtype), declared.accumulator_format(operands.dtype)
        if "accumulator" in change and acc.precision >= wide.precision:
            continue  # no worse than what is declared
        if "inputs" in change and component_format(operands.dtype).precision <= FLOATS["float16"].precision:
            continue  # what has 16 bits is multiplied as it is
        if change.get("accumulator") == "float16" and operands.dtype == "bfloat16":
            continue  # whose sums no processor makes in the other 16-bit type
        if not np.any(error > tolerance(expected, model, operands, wide=wide)):
            return name
    return None
