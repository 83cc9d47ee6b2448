"""How far sums of inexact terms may stray, in any order: the statistical bound with the terms as its products."""

from __future__ import annotations

import math

import numpy as np

from convfuzz.graphs.bounded import Bounded, Floats
from convfuzz.judging.bounds import statistical


def added_up(x: Bounded, axes: tuple[int, ...], u: float) -> Bounded:
    """Return sums over ``axes``, kept as axes of size 1: the terms' errors at their worst, and the rounding of adding them up."""
    count = math.prod(x.value.shape[axis] for axis in axes)
    total = x.value.sum(axis=axes, keepdims=True)
    error = x.error.sum(axis=axes, keepdims=True)
    return Bounded(total, error + rounding(total, x.value, axes, count, u))


def rounding(total: Floats, terms: Floats, axes: tuple[int, ...], count: int | Floats, u: float) -> Floats:
    """Return the rounding of sums over ``axes`` of so many terms each."""
    n = np.broadcast_to(np.asarray(count, np.int64), total.shape)
    size, squares = np.abs(terms).sum(axis=axes, keepdims=True), np.square(terms).sum(axis=axes, keepdims=True)
    return np.where(n > 1, statistical(0.0, total, size, squares, n, u=u), 0.0)
