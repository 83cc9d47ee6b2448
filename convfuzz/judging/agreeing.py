"""The one pass over an output that keeps to what is declared: it computes the tolerance, compares, and finds the worst element."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from convfuzz.judging.bounds import LAMBDA, SQUARES_VANISH
from convfuzz.judging.declared_numbers import (
    COARSE,
    CUT,
    FLUSHED,
    HALF_STEP,
    MOST,
    SEPARATE,
    STEP,
    STEP_OUT,
    TINY_OUT,
    TOP,
    U_OUT,
    U_SHOWN,
    U,
)
from convfuzz.oracle.jit import compiled

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@compiled
def _tolerance(y: float, s: float, q: float, n: float, before: float, numbers: Floats) -> float:
    """Return the largest |error| that is declared: the terms of :mod:`.bounds`, operation for operation."""
    size, n1 = abs(y), max(n, 1.0)
    mean = y / n1
    variance = max(q / n1 - mean * mean, 0.0)
    walk = n1 * (n1 + 1.0) / 6.0 * (variance + (2.0 * n1 + 1.0) * mean * mean)
    are_squares_lost = s < SQUARES_VANISH
    t = LAMBDA * numbers[U] * math.sqrt(n1 + 1.0) * s if are_squares_lost else LAMBDA * numbers[U] * math.sqrt(walk + q)
    if numbers[CUT] > 0.0:
        t += 2.0 * numbers[U] * ((n1 * s if are_squares_lost else math.sqrt(n1) * math.sqrt(walk)) + s)
    if numbers[COARSE] > 0.0:
        t += numbers[COARSE] * s
    t += min(numbers[FLUSHED] * n, s) if numbers[FLUSHED] > 0.0 else n * numbers[STEP]
    if numbers[SEPARATE] > 0.0:
        t += numbers[SEPARATE] * (before + t)
    may_be_flushed = numbers[TINY_OUT] > 0.0 and min(size, before) <= t + 2.0 * numbers[TINY_OUT]
    bound: float = t + numbers[U_OUT] * (size + t) + (numbers[TINY_OUT] if may_be_flushed else numbers[STEP_OUT])
    return bound


@compiled
def worst_agreeing(
    actual: Floats, y: Floats, y_lo: Floats, s: Floats, q: Floats, counts: Counts, bias: Floats, sites: int, numbers: Floats
) -> tuple[bool, int, int, float, float, float]:
    """Return whether all of ``actual`` agrees, finite and within its tolerance, and then what the worst of it amounts to.

    That is, as :func:`.worst_error.worst` has it: where the error is largest, and its ratio to the tolerance; that ratio; the largest
    error in units of u·S, and relative to |y|. Where an element does not agree, or a partial sum may overflow, the rest is not looked at.

    The sums are those of all elements made flat; ``y_lo`` may be empty. ``counts`` repeat, and so do channels, of ``sites``
    elements and a ``bias`` each. ``numbers`` are those of :mod:`.declared_numbers`, without a transform.
    """
    at = ratio_at = channel = site = repeated = 0
    largest = worst_ratio = units = relative = 0.0
    for i in range(y.size):
        size = abs(y[i])
        before = size if numbers[SEPARATE] == 0.0 else abs(y[i] - bias[channel % bias.size])
        tolerance = _tolerance(y[i], s[i], q[i], float(counts[repeated]), before, numbers)
        error = abs(actual[i] - y[i] - y_lo[i]) if y_lo.size else abs(actual[i] - y[i])
        # So that NaN does not agree.
        if not (error <= tolerance and max(size, before) + tolerance < numbers[TOP] and s[i] + tolerance <= numbers[MOST]):
            return False, 0, 0, 0.0, 0.0, 0.0
        if error > 0.0:
            if error > largest:
                largest, at = error, i
            if error / tolerance > worst_ratio:
                worst_ratio, ratio_at = error / tolerance, i
            relative = max(relative, error / size if size > 0.0 else math.inf)
            excess, unit = error - max(numbers[U_SHOWN] * size, numbers[HALF_STEP]), numbers[U] * s[i]
            if excess > 0.0:
                units = max(units, excess / unit if unit > 0.0 else math.inf)
        site, repeated = site + 1, repeated + 1
        if repeated == counts.size:
            repeated = 0
        if site == sites:
            site, channel = 0, channel + 1
    return True, at, ratio_at, worst_ratio, units, relative
