"""The one pass over an output that keeps to what is declared: it computes the tolerance, compares, and finds the worst element."""

# ruff: noqa: FURB136 - max() and min() look for NaN, which keeps a loop from becoming vector code

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from convfuzz.judging.bounds import LAMBDA, SQUARES_VANISH
from convfuzz.judging.declared_numbers import COARSE, FLUSHED, HALF_STEP, MOST, SEPARATE, STEP, STEP_OUT, TINY_OUT, TOP, U_OUT, U_SHOWN, U
from convfuzz.oracle.jit import compiled_for_vectors

Floats = npt.NDArray[np.float64]

_BLOCK = 512
"""So many elements stay in a processor's first cache for one loop after the other, of which the first two are vector code."""


@compiled_for_vectors
def worst_agreeing(
    actual: Floats, y: Floats, y_lo: Floats, s: Floats, q: Floats, counts: Floats, bias: Floats, sites: int, numbers: Floats
) -> tuple[bool, int, int, float, float, float]:
    """Return whether all of ``actual`` agrees, finite and within its tolerance, and then what the worst of it amounts to.

    That is, as :func:`.worst_error.worst` has it: where the error is largest, and its ratio to the tolerance; that ratio; the largest
    error in units of u·S, and relative to |y|. Where an element does not agree, a partial sum may overflow, or squares vanish, the rest
    is not looked at.

    The sums are those of all elements made flat; ``y_lo`` may be empty. ``counts`` repeat, and so do channels, of ``sites``
    elements and a ``bias`` each. ``numbers`` are those of :mod:`.declared_numbers`, of rounded sums in a direct algorithm.
    """
    at = ratio_at = 0
    largest = ratio = units = relative = 0.0
    n, biases, tolerance, error, of_tolerance, of_size, of_unit = np.empty((7, _BLOCK))
    biases[:] = 0.0
    for first in range(0, y.size, _BLOCK):
        size = min(_BLOCK, y.size - first)
        block = slice(first, first + size)
        _fill_repeated(n[:size], first, counts, 1)
        if numbers[SEPARATE] != 0.0:
            _fill_repeated(biases[:size], first, bias, sites)
        _fill_tolerances(y[block], s[block], q[block], n, biases, numbers, tolerance)
        for i in range(size):  # an array stored into another takes seconds to compile: Numba words the error of shapes that differ
            error[i] = actual[first + i] - y[first + i]
        if y_lo.size:
            for i in range(size):
                error[i] -= y_lo[first + i]
        if _fill_ratios(error[:size], y[block], s[block], biases, tolerance, numbers, of_tolerance, of_size, of_unit):
            return False, 0, 0, 0.0, 0.0, 0.0
        for i in range(size):
            if error[i] > largest:
                largest, at = error[i], first + i
            if of_tolerance[i] > ratio:
                ratio, ratio_at = of_tolerance[i], first + i
            relative = of_size[i] if of_size[i] > relative else relative
            units = of_unit[i] if of_unit[i] > units else units
    return True, at, ratio_at, ratio, units, relative


@compiled_for_vectors
def _fill_repeated(filled: Floats, first: int, values: Floats, times: int) -> None:
    """Fill in from element ``first`` on what repeats: each of ``values`` so many ``times`` in a row."""
    if values.size == 1:
        filled[:] = values[0]
        return
    place, left = first // times % values.size, times - first % times
    for i in range(filled.size):
        filled[i] = values[place]
        left -= 1
        if left == 0:
            place, left = place + 1, times
            if place == values.size:
                place = 0


@compiled_for_vectors
def _fill_tolerances(y: Floats, s: Floats, q: Floats, n: Floats, bias: Floats, numbers: Floats, tolerance: Floats) -> None:
    """Compute the largest |error| that is declared of each element: the terms of :mod:`.bounds`, operation for operation."""
    spread, coarse, step, flushed = LAMBDA * numbers[U], numbers[COARSE], numbers[STEP], numbers[FLUSHED]
    separate = numbers[SEPARATE] if numbers[SEPARATE] > 0.0 else 0.0
    u_out, step_out, tiny_out = numbers[U_OUT], numbers[STEP_OUT], numbers[TINY_OUT]
    for i in range(y.size):
        n1 = n[i] if n[i] > 1.0 else 1.0
        mean = y[i] / n1
        variance = q[i] / n1 - mean * mean
        variance = variance if variance > 0.0 else 0.0
        t = spread * math.sqrt(n1 * (n1 + 1.0) / 6.0 * (variance + (2.0 * n1 + 1.0) * mean * mean) + q[i])
        t += coarse * s[i]  # 0 where it does not apply, which changes no bit
        lost = flushed * n[i]
        lost = lost if lost < s[i] else s[i]
        t += lost if flushed > 0.0 else n[i] * step
        size, before = abs(y[i]), abs(y[i] - bias[i])
        t += separate * (before + t)
        least = size if size < before else before
        may_be_flushed = (tiny_out > 0.0) & (least <= t + 2.0 * tiny_out)
        tolerance[i] = t + u_out * (size + t) + (tiny_out if may_be_flushed else step_out)


@compiled_for_vectors
def _fill_ratios(
    error: Floats,
    y: Floats,
    s: Floats,
    bias: Floats,
    tolerance: Floats,
    numbers: Floats,
    of_tolerance: Floats,
    of_size: Floats,
    of_unit: Floats,
) -> int:
    """Make the errors absolute, compute each beside its tolerance, |y|, and u·S, 0 where there is none, and count what does not agree."""
    u_shown, half_step, u, top, most, strange = numbers[U_SHOWN], numbers[HALF_STEP], numbers[U], numbers[TOP], numbers[MOST], 0
    for i in range(error.size):
        size, before, e, t = abs(y[i]), abs(y[i] - bias[i]), abs(error[i]), tolerance[i]
        in_range = (size + t < top) & (before + t < top) & (s[i] + t <= most)  # which NaN is not
        has_squares = (s[i] >= SQUARES_VANISH) | (s[i] == 0.0)
        strange += 0 if in_range & has_squares & (e <= t) else 1
        hidden = u_shown * size
        excess = e - (hidden if hidden > half_step else half_step)
        error[i] = e
        of_tolerance[i] = e / t if e > 0.0 else 0.0
        of_size[i] = e / size if e > 0.0 else 0.0
        of_unit[i] = excess / (u * s[i]) if excess > 0.0 else 0.0
    return strange
