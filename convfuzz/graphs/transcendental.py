"""Rules of functions that seldom are activations: hyperbolic and inverse ones, logarithms and powers of other bases."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np

from convfuzz.errors import NotCovered
from convfuzz.graphs.arithmetic import operand
from convfuzz.graphs.bounded import Bounded, Floats, Place, between
from convfuzz.graphs.functions import FEW, Elementwise, Rule

_LONGEST_EXPONENT = 2000.0
_SLOPE_OF_ERF = 2.0 / math.sqrt(math.pi)


def _hyperbolic(x: Floats, y: Floats) -> Floats:
    """As (eˣ ± e⁻ˣ)/2, whose exponentials round their arguments, and whose difference cancels where it is small beside 1."""
    return (FEW + 2.0 * np.minimum(np.abs(x), _LONGEST_EXPONENT)) * (1.0 + np.abs(y))


def _absolute(_: Floats, y: Floats) -> Floats:
    return FEW * (1.0 + np.abs(y))


def _erfinv_of(y: float) -> float:
    """Return the inverse of the error function: a quantile of the normal distribution, and two of Newton's steps."""
    rest = 1.0 - abs(y)
    if not rest > 0.0:
        return math.copysign(math.inf, y) if rest == 0.0 else math.nan
    if y == 0.0:
        return 0.0
    x = -NormalDist().inv_cdf(rest / 2.0) / math.sqrt(2.0)
    for _ in range(2):
        x += (math.erfc(x) - rest) / (_SLOPE_OF_ERF * math.exp(-x * x))
    return math.copysign(x, y)


_erfc = np.vectorize(math.erfc, otypes=[np.float64])
_erfinv = np.vectorize(_erfinv_of, otypes=[np.float64])

_PLAIN: dict[str, Elementwise] = {
    "sinh": Elementwise(np.sinh, (), _hyperbolic, underflows=True),
    "cosh": Elementwise(np.cosh, (0.0,), _hyperbolic, underflows=True),
    "asinh": Elementwise(np.arcsinh, (), _absolute),
    "atanh": Elementwise(np.arctanh, (), _absolute),
    "erfc": Elementwise(_erfc, (), lambda _, y: FEW * np.ones_like(y)),
    # A step of Newton's divides what erf is rounded to by its slope, which vanishes far out.
    "erfinv": Elementwise(_erfinv, (), lambda _, y: FEW * (np.abs(y) + np.exp(np.minimum(y * y, 700.0)) / _SLOPE_OF_ERF)),
    "log2": Elementwise(np.log2, (), _absolute),
    "log10": Elementwise(np.log10, (), _absolute),
}


def _plain(name: str) -> Rule:
    def rule(at: Place, x: Bounded) -> Bounded:
        return _PLAIN[name].apply(at, x)

    return rule


def _tan(at: Place, x: Bounded) -> Bounded:
    """Return the tangent, open where a pole may lie within the argument's interval; its slope is 1 + tan²."""
    value = np.tan(x.value)
    has_pole = np.floor(x.low / math.pi + 0.5) != np.floor(x.high / math.pi + 0.5)
    reach = between(np.tan(x.low), value, np.tan(x.high)) + FEW * at.u * (1.0 + np.abs(x.value)) * (1.0 + value * value)
    return at.rounded(value, np.where(has_pole, np.inf, reach))


def _power_of_number(at: Place, base: object, exponent: Bounded) -> Bounded:
    """Return a^x of a number a > 0, as 2^(x·log₂ a) with both factors rounded."""
    if not isinstance(base, int | float) or isinstance(base, bool) or not base > 0.0:
        raise NotCovered(f"powers of {base}")
    number = float(base)
    function = Elementwise(
        lambda v: number**v, (), lambda v, y: (FEW + (2.0 * abs(math.log(number)) + 1.0) * np.abs(v)) * np.abs(y), underflows=True
    )
    return function.apply(at, exponent)


def _logaddexp(at: Place, a: Bounded, b: Bounded) -> Bounded:
    """Return log(eᵃ + eᵇ), which rises with both, as the larger and log(1 + e^−|a − b|)."""
    x, y = operand(at, a), operand(at, b)
    low, value, high = np.logaddexp(x.low, y.low), np.logaddexp(x.value, y.value), np.logaddexp(x.high, y.high)
    size = 1.0 + np.maximum(np.abs(x.value), np.abs(y.value)) + np.abs(value)
    return at.rounded(value, between(low, value, high) + FEW * at.u * size + at.stored.tiny)


POINTWISE: dict[str, Rule] = {name: _plain(name) for name in _PLAIN} | {"tan": _tan}
"""Functions of one number."""
RULES: dict[str, Callable[..., Any]] = POINTWISE | {"pow.Scalar": _power_of_number, "logaddexp": _logaddexp}
