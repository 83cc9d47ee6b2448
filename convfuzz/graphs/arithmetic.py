"""Rules of two numbers: sums, products and quotients of tensors, parameters and scalars, with broadcasting."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convfuzz.errors import NotCovered
from convfuzz.graphs.bounded import Bounded, Place, between

Operand = Bounded | float


def operand(at: Place, given: object) -> Bounded:
    """Return an operand; a scalar may be rounded to the arithmetic's format first."""
    if isinstance(given, Bounded):
        return given
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise NotCovered(f"arithmetic with {type(given).__name__}")
    value = np.asarray(float(given))
    return Bounded(value, np.where(at.stored.round(value) == value, 0.0, at.stored.unit_roundoff * np.abs(value)))


def add(at: Place, a: Operand, b: Operand, *, alpha: float = 1) -> Bounded:
    """Add, ``b`` times ``alpha`` where that is given."""
    x, y = operand(at, a), operand(at, b)
    if alpha != 1:
        y = mul(Place(y.value.shape, at.dtype, at.numerics), y, alpha)
    return at.rounded(x.value + y.value, x.error + y.error)


def sub(at: Place, a: Operand, b: Operand, *, alpha: float = 1) -> Bounded:
    """Subtract, ``b`` times ``alpha`` where that is given."""
    return add(at, a, _negative(operand(at, b)), alpha=alpha)


def rsub(at: Place, a: Operand, b: Operand, alpha: float = 1) -> Bounded:
    """Subtract the first from the second."""
    return sub(at, b, a, alpha=alpha)


def mul(at: Place, a: Operand, b: Operand) -> Bounded:
    """Multiply: (x + e)(y + f) is off by |x|f + |y|e + ef at most."""
    x, y = operand(at, a), operand(at, b)
    return at.rounded(x.value * y.value, _product(np.abs(x.value), y.error) + _product(np.abs(y.value), x.error) + x.error * y.error)


def div(at: Place, a: Operand, b: Operand, *, rounding_mode: str | None = None) -> Bounded:
    """Divide: off by (e + |x/y|·f) / (|y| − f) at most, and open where the divisor may be zero."""
    if rounding_mode is not None:
        raise NotCovered(f"div with rounding_mode={rounding_mode}")
    x, y = operand(at, a), operand(at, b)
    quotient, room = x.value / y.value, np.abs(y.value) - y.error
    reach = np.where(room > 0.0, (x.error + _product(np.abs(quotient), y.error)) / np.where(room > 0.0, room, 1.0), np.inf)
    # A division may be a product with the rounded reciprocal: two roundings more.
    return at.rounded(quotient, reach + 2.0 * at.u * np.abs(quotient))


def _extreme(pick: Callable[..., np.ndarray]) -> Callable[..., Bounded]:
    def rule(at: Place, a: Operand, b: Operand) -> Bounded:
        x, y = operand(at, a), operand(at, b)
        value = pick(x.value, y.value)
        return at.opened(value, between(pick(x.low, y.low), value, pick(x.high, y.high)))

    return rule


def lerp(at: Place, a: Bounded, b: Bounded, weight: Operand) -> Bounded:
    """Return a + weight·(b − a), or (1 − weight)·a + weight·b."""
    t = operand(at, weight)
    value = a.value + t.value * (b.value - a.value)
    moved = _product(np.abs(1.0 - t.value), a.error) + _product(np.abs(t.value), b.error)
    moved = moved + _product(np.abs(b.value - a.value) + a.error + b.error, t.error)
    size = (1.0 + np.abs(t.value)) * (np.abs(a.value) + np.abs(b.value))
    return at.rounded(value, moved + 4.0 * at.u * size)


def addcmul(at: Place, x: Bounded, a: Bounded, b: Bounded, *, value: float = 1) -> Bounded:
    """Add the product of two tensors."""
    return add(at, x, mul(Place(np.broadcast_shapes(a.value.shape, b.value.shape), at.dtype, at.numerics), a, b), alpha=value)


def addcdiv(at: Place, x: Bounded, a: Bounded, b: Bounded, *, value: float = 1) -> Bounded:
    """Add the quotient of two tensors."""
    return add(at, x, div(Place(np.broadcast_shapes(a.value.shape, b.value.shape), at.dtype, at.numerics), a, b), alpha=value)


def _negative(x: Bounded) -> Bounded:
    return Bounded(-x.value, x.error)


def _product(size: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return a product in which no error stays none, whatever it is multiplied with."""
    return np.where((error == 0.0) | (size == 0.0), 0.0, size * error)


RULES: dict[str, Callable[..., Bounded]] = {
    "add": add,
    "sub": sub,
    "subtract": sub,
    "rsub": rsub,
    "mul": mul,
    "multiply": mul,
    "div": div,
    "divide": div,
    "true_divide": div,
    "maximum": _extreme(np.maximum),
    "minimum": _extreme(np.minimum),
    "fmax": _extreme(np.maximum),
    "fmin": _extreme(np.minimum),
    "lerp": lerp,
    "addcmul": addcmul,
    "addcdiv": addcdiv,
}
