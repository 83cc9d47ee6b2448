"""Judging on a CUDA device, as kernels: each element is summed as the reference does, given its tolerance, and compared at once.

The tolerance is that of :mod:`.bounds`, operation for operation, every product rounded on its own: the bits are the host's.
"""

from __future__ import annotations

import math
from typing import Any

from convfuzz.judging.bounds import LAMBDA, SQUARES_VANISH
from convfuzz.judging.declared_numbers import (
    BIAS,
    COARSE,
    CUT,
    EXACT,
    FLUSHED,
    HALF_STEP,
    MOST,
    SEPARATE,
    STEP,
    STEP_OUT,
    TINY_OUT,
    TOP,
    TRANSFORMED,
    U_OUT,
    U_SHOWN,
    U,
)
from convfuzz.oracle.cuda.kernels import cuda, device_function, kernel, product, sums_of_element
from convfuzz.oracle.kernels import MOMENTS

ERROR, AT, Y_AT, ACTUAL_AT, RATIO, RATIO_AT, OVER, UNITS, RELATIVE, STRANGE = FOUND = range(10)
"""Columns of *found*: the largest error, where it is, what was expected and what came there, the largest ratio and where, how many are
over their tolerance, the largest error in units of u·S and relative to y, and how many elements the host has to look at."""


@device_function
def larger(a: float, b: float) -> float:
    """Return the larger of two numbers: ``max`` compiles with some releases of Numba only."""
    return a if a > b else b  # noqa: FURB136 - the same


@device_function
def smaller(a: float, b: float) -> float:
    """Return the smaller of two numbers."""
    return a if a < b else b  # noqa: FURB136 - the same


@device_function
def _tolerance(y: float, s: float, q: float, taps: int, m: float, bias: float, numbers: Any) -> float:
    """Return the largest |error| that is declared."""
    n = float(taps)
    n1 = larger(n, 1.0)
    mean = y / n1
    variance = larger(q / n1 - product(mean, mean), 0.0)
    walk = product(product(n1, n1 + 1.0) / 6.0, variance + product(product(2.0 * n1 + 1.0, mean), mean))
    if s < SQUARES_VANISH:
        t = product(product(product(LAMBDA, numbers[U]), math.sqrt(n1 + 1.0)), s)
    else:
        t = product(product(LAMBDA, numbers[U]), math.sqrt(walk + q))
    if numbers[CUT] > 0.0:
        lost = product(n1, s) if s < SQUARES_VANISH else product(math.sqrt(n1), math.sqrt(walk))
        t = t + product(2.0 * numbers[U], lost + s)
    if numbers[TRANSFORMED] > 0.0:
        t = larger(t, product(numbers[TRANSFORMED], m))
    if numbers[COARSE] > 0.0:
        t = t + product(numbers[COARSE], s)
    t = t + (smaller(product(numbers[FLUSHED], n), s) if numbers[FLUSHED] > 0.0 else product(n, numbers[STEP]))
    size = abs(y)
    before = size
    if numbers[SEPARATE] != 0.0:
        before = abs(y - bias)
        if numbers[SEPARATE] > 0.0:
            t = t + product(numbers[SEPARATE], before + t)
    step = numbers[STEP_OUT]
    if numbers[TINY_OUT] > 0.0 and smaller(size, before) <= t + 2.0 * numbers[TINY_OUT]:
        step = numbers[TINY_OUT]
    bound: float = (t + product(numbers[U_OUT], size + t)) + step
    return bound


@kernel
def compare(  # noqa: PLR0913, PLR0917 - a kernel takes arrays and tuples, no records
    source: Any, source_strides: Any, source_size: Any, rows: Any, row_strides: Any, fan: Any, targets: Any, taps: Any,
    actual: Any, actual_strides: Any, shape: Any, bias: Any, magnitudes: Any, numbers: Any, first: Any, end: Any, found: Any,
) -> None:  # fmt: skip
    """Compare the elements ``first`` to ``end`` of an output with what is right, and add what is found to the thread's line of ``found``.

    The operands are those of :func:`.sum_taps`; ``shape`` is (N, groups, rows per group, D, H, W), in which the elements of ``actual``
    lie ``actual_strides`` apart. ``bias`` has a number for each channel, ``magnitudes`` one for each map.
    """
    thread = cuda.grid(1)
    threads = found.shape[0]
    if thread >= threads:
        return
    _, groups, rows_per_group, depth, height, width = shape
    channels = groups * rows_per_group
    element = first + thread
    while element < end:
        w, rest = element % width, element // width
        h, rest = rest % height, rest // height
        d, rest = rest % depth, rest // depth
        channel, n = rest % channels, rest // channels
        group, row = channel // rows_per_group, channel % rows_per_group
        place = n, group, row, d, depth + h, depth + height + w
        y, _, s, q, count = sums_of_element(MOMENTS, source, source_strides, source_size, rows, row_strides, fan, targets, taps, place)
        b = 0.0
        if numbers[BIAS] > 0.0:
            b = bias[channel]
            y = y + b
            s = s + abs(b)
            q = q + product(b, b)
            count = count + 1
        at = n * actual_strides[0] + group * actual_strides[1] + row * actual_strides[2]
        at += d * actual_strides[3] + h * actual_strides[4] + w * actual_strides[5]
        came = float(actual[at])
        _judge(found, thread, element, came, y, s, q, count, magnitudes[n * channels + channel], b, numbers)
        element = element + threads


@device_function
def _judge(  # noqa: PLR0913, PLR0917 - the same
    found: Any, thread: int, element: int, came: float, y: float, s: float, q: float, count: int, m: float, b: float, numbers: Any
) -> None:
    """Compare one element, and keep what is worse than what was there; the first of equals."""
    is_finite = math.isfinite(came) and math.isfinite(y) and math.isfinite(s) and math.isfinite(q)
    if numbers[EXACT] > 0.0:
        if not is_finite or came != y:
            found[thread, STRANGE] += 1.0
        return
    if not is_finite:
        found[thread, STRANGE] += 1.0
        return
    bound = _tolerance(y, s, q, count, m, b, numbers)
    size = abs(y)
    largest = larger(size, abs(y - b)) if numbers[SEPARATE] != 0.0 else size
    if s + bound > numbers[MOST] or not largest + bound < numbers[TOP]:
        found[thread, STRANGE] += 1.0
        return
    error = abs(came - y)
    ratio = 0.0
    if error > 0.0:
        ratio = error / bound if bound > 0.0 else math.inf
        if error > bound:
            found[thread, OVER] += 1.0
        found[thread, RELATIVE] = larger(found[thread, RELATIVE], error / size if size > 0.0 else math.inf)
        excess = error - larger(product(numbers[U_SHOWN], size), numbers[HALF_STEP])
        if excess > 0.0:
            unit = product(numbers[U], s)
            found[thread, UNITS] = larger(found[thread, UNITS], excess / unit if unit > 0.0 else math.inf)
    if found[thread, AT] < 0.0 or error > found[thread, ERROR]:
        found[thread, ERROR] = error
        found[thread, AT] = element
        found[thread, Y_AT] = y
        found[thread, ACTUAL_AT] = came
    if found[thread, RATIO_AT] < 0.0 or ratio > found[thread, RATIO]:
        found[thread, RATIO] = ratio
        found[thread, RATIO_AT] = element


@kernel
def gather(found: Any, gathered: Any) -> None:
    """Merge the lines of ``found`` into the fewer ones of ``gathered``."""
    thread = cuda.grid(1)
    if thread >= gathered.shape[0]:
        return
    line = thread
    while line < found.shape[0]:
        merge(gathered, thread, found, line)
        line = line + gathered.shape[0]


def merge_lines(into: Any, to: int, found: Any, line: int) -> None:
    """Merge a line into another: sums, largest values, and of equal errors the first."""
    into[to, OVER] += found[line, OVER]
    into[to, STRANGE] += found[line, STRANGE]
    if found[line, UNITS] > into[to, UNITS]:  # noqa: PLR1730 - which compiles with some releases of Numba only
        into[to, UNITS] = found[line, UNITS]
    if found[line, RELATIVE] > into[to, RELATIVE]:  # noqa: PLR1730 - the same
        into[to, RELATIVE] = found[line, RELATIVE]
    at, held = found[line, AT], into[to, AT]
    if at >= 0.0 and (held < 0.0 or found[line, ERROR] > into[to, ERROR] or (found[line, ERROR] == into[to, ERROR] and at < held)):
        into[to, ERROR] = found[line, ERROR]
        into[to, AT] = at
        into[to, Y_AT] = found[line, Y_AT]
        into[to, ACTUAL_AT] = found[line, ACTUAL_AT]
    at, held = found[line, RATIO_AT], into[to, RATIO_AT]
    if at >= 0.0 and (held < 0.0 or found[line, RATIO] > into[to, RATIO] or (found[line, RATIO] == into[to, RATIO] and at < held)):
        into[to, RATIO] = found[line, RATIO]
        into[to, RATIO_AT] = at


merge = device_function(merge_lines)
"""The same on the device."""
