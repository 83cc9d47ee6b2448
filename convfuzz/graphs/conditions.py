"""Rules of comparisons and of what is chosen by them: where a bound leaves a comparison undecided, both choices are right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from convfuzz.errors import NotCovered
from convfuzz.graphs.arithmetic import operand
from convfuzz.graphs.bounded import Bounded, Floats, Place

_OF_NUMBER = 2.0**-11
"""How far a number that no 16-bit format holds may be off where it is compared with, relative to itself."""


@dataclass(frozen=True, eq=False)
class Mask:
    """A tensor of truth values: the exact ones, and where a correct implementation may have the other one."""

    value: np.ndarray
    undecided: np.ndarray


def _difference(a: object, b: object) -> Bounded:
    x, y = (one if isinstance(one, Bounded) else _number(one) for one in (a, b))
    value, error = x.value - y.value, x.error + y.error
    is_open = ~np.isfinite(error) | ~np.isfinite(value)
    return Bounded(np.where(is_open, 0.0, value), np.where(is_open, np.inf, error))


def _number(given: object) -> Bounded:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise NotCovered(f"a comparison with {type(given).__name__}")
    value = np.asarray(float(given))
    return Bounded(value, np.where(value.astype(np.float16) == value, 0.0, _OF_NUMBER * np.abs(value)))


def _comparison(holds: Callable[[Floats], np.ndarray]) -> Callable[..., Mask]:
    def rule(at: Place, a: object, b: object) -> Mask:
        of = _difference(a, b)
        # The sign of a difference decides, and nothing else: it may be any on an interval that has both, or zero and one.
        value, ends = holds(of.value), (holds(of.low), holds(of.high), holds(np.where((of.low <= 0.0) & (of.high >= 0.0), 0.0, of.value)))
        undecided = np.logical_or.reduce([np.not_equal(value, end) for end in ends])
        return Mask(np.broadcast_to(value, at.shape), np.broadcast_to(undecided, at.shape))

    return rule


def logical_not(at: Place, mask: Mask) -> Mask:
    """Negate."""
    del at
    return Mask(~mask.value, mask.undecided)


def _logical(combine: Callable[..., Any]) -> Callable[..., Mask]:
    def rule(at: Place, a: Mask, b: Mask) -> Mask:
        least = combine(a.value & ~a.undecided, b.value & ~b.undecided)
        most = combine(a.value | a.undecided, b.value | b.undecided)
        return Mask(np.broadcast_to(combine(a.value, b.value), at.shape), np.broadcast_to(least != most, at.shape))

    return rule


def where(at: Place, condition: Mask, a: object, b: object) -> Bounded:
    """Choose the first where the condition holds, else the second; either, with its own bound, where that is undecided."""
    x, y = operand(at, a), operand(at, b)
    value = np.where(condition.value, x.value, y.value)
    error = np.where(condition.value, x.error, y.error)
    other = np.where(condition.value, y.value, x.value), np.where(condition.value, y.error, x.error)
    either = np.maximum(error, np.abs(other[0] - value) + other[1])
    return at.opened(value, np.where(condition.undecided, either, error))


def masked_fill(at: Place, x: Bounded, mask: Mask, value: object) -> Bounded:
    """Put a number where the mask holds."""
    return where(at, mask, value, x)


def threshold(at: Place, x: Bounded, limit: float, value: float) -> Bounded:
    """Put a number where an element is not above the limit."""
    return where(at, _comparison(lambda d: d > 0.0)(at, x, limit), x, value)


def as_numbers(at: Place, mask: Mask) -> Bounded:
    """Return 1 where the mask holds, else 0."""
    return at.opened(mask.value.astype(np.float64), mask.undecided.astype(np.float64))


COMPARISONS: dict[str, Callable[..., Mask]] = {
    "gt": _comparison(lambda d: d > 0.0),
    "ge": _comparison(lambda d: d >= 0.0),
    "lt": _comparison(lambda d: d < 0.0),
    "le": _comparison(lambda d: d <= 0.0),
    "eq": _comparison(lambda d: d == 0.0),
    "ne": _comparison(lambda d: d != 0.0),
    "logical_not": logical_not,
    "bitwise_not": logical_not,
    "logical_and": _logical(np.logical_and),
    "logical_or": _logical(np.logical_or),
}
"""Rules whose result is a mask."""
RULES: dict[str, Callable[..., Any]] = {**COMPARISONS, "where": where, "masked_fill": masked_fill, "threshold": threshold}
TAKE_MASKS = frozenset({"where", "masked_fill", "logical_not", "bitwise_not", "logical_and", "logical_or", "to", "_to_copy", "type_as"})
"""The operations that a mask may be an argument of."""
