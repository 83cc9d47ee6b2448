"""The sums over taps as a CUDA kernel: one thread per element, in the CPU's order and with the CPU's roundings.

Left alone, the compiler fuses a product with the addition behind it, which rounds once where the CPU rounds twice. So
every product is ``dmul_rn``, which "will never be merged into a single multiply-add instruction" (libdevice User's
Guide), and the one fused multiply-add is the one that is asked for. What is left are additions and subtractions, with
nothing to fuse them with.

Numba's simulator runs these functions as plain Python, on floats that are IEEE 754's too.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any, ParamSpec, TypeVar, cast

import numba.cuda
from numba.core import config

from convfuzz.oracle.kernels import DOUBLE, VALUE

P = ParamSpec("P")
R = TypeVar("R")

cuda: Any = numba.cuda
"""As untyped as it is."""

SIMULATED: bool = bool(config.ENABLE_CUDASIM)  # type: ignore[attr-defined]
"""Whether kernels run in Numba's simulator: NUMBA_ENABLE_CUDASIM=1 when Numba was imported."""

KERNEL, SITE = range(2)
"""Columns of *taps*: the kernel tap, and the source site at which the first target of its phase meets it."""

BEGIN, END, SHIFT = range(3)
"""Columns of *targets*: the taps of a target site are BEGIN to END, each SHIFT source sites further."""


def exact_fma(a: float, b: float, c: float) -> float:
    """Return a·b + c rounded once, by way of rational numbers: the simulator's stand-in for the instruction."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return a * b + c
    if not math.isfinite(c):
        return c  # a·b is finite, however far beyond float64 it lies
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return a * b + c  # neither operation rounds, and the zero has IEEE 754's sign
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


if SIMULATED:
    product: Callable[[float, float], float] = operator.mul
    fma: Callable[[float, float, float], float] = exact_fma
else:
    from numba.cuda import libdevice

    product, fma = libdevice.dmul_rn, libdevice.fma


def device_function(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function that kernels call."""
    return cast("Callable[P, R]", cuda.jit(device=True)(function))


def kernel(function: Callable[..., None]) -> Any:
    """Compile a kernel, when it is launched first."""
    return cuda.jit(function)


@device_function
def _add_product(high: float, low: float, a: float, b: float) -> tuple[float, float, float]:
    """Return the rounded product a·b and the double-double (high, low) + a·b, as the CPU's function of this name does."""
    p = product(a, b)
    product_error = fma(a, b, -p)
    total = high + p
    part = total - high
    sum_error = (high - (total - part)) + (p - part)
    low += sum_error + product_error
    high = total + low
    return p, high, low - (high - total)


@device_function
def _address(strides: tuple[int, ...], i: int, j: int, k: int, d: int, h: int, w: int) -> int:
    return i * strides[0] + j * strides[1] + k * strides[2] + d * strides[3] + h * strides[4] + w * strides[5]


@device_function
def sums_of_element(  # noqa: PLR0913, PLR0917 - device code takes arrays and tuples, no records
    mode: int,
    source: Any,
    source_strides: Any,
    source_size: Any,
    rows: Any,
    row_strides: Any,
    fan: Any,
    targets: Any,
    taps: Any,
    place: Any,
) -> tuple[float, float, float, float, int]:
    """Return y, its low word, S, Q and n of the element at ``place``, (n, group, row, line of D, of H, of W in ``targets``)."""
    n, group, row, at_d, at_h, at_w = place
    y = low = s = q = 0.0
    count = 0
    for c in range(fan):
        for i in range(targets[at_d, BEGIN], targets[at_d, END]):
            for j in range(targets[at_h, BEGIN], targets[at_h, END]):
                for k in range(targets[at_w, BEGIN], targets[at_w, END]):
                    site_d = taps[i, SITE] + targets[at_d, SHIFT]
                    site_h = taps[j, SITE] + targets[at_h, SHIFT]
                    site_w = taps[k, SITE] + targets[at_w, SHIFT]
                    if not (0 <= site_d < source_size[0] and 0 <= site_h < source_size[1] and 0 <= site_w < source_size[2]):
                        continue
                    a = float(rows[_address(row_strides, group, row, c, taps[i, KERNEL], taps[j, KERNEL], taps[k, KERNEL])])
                    b = float(source[_address(source_strides, n, group, c, site_d, site_h, site_w)])
                    if mode == DOUBLE:
                        p, y, low = _add_product(y, low, a, b)
                    else:
                        p = product(a, b)
                        y += p
                    s += abs(p)
                    q += product(p, p)
                    count += 1
    return y, low, s, q, count


@kernel
def sum_taps(
    source: Any, source_strides: Any, source_size: Any, rows: Any, row_strides: Any, fan: Any, targets: Any, taps: Any, words: Any
) -> None:
    """Sum source · row over the taps of one element of ``words``, (accumulators, N, groups, rows per group, D, H, W).

    ``source`` and ``rows`` are memory, of any real element type, in which the elements (n, group, channel, d, h, w) and
    (group, row, channel, d, h, w) lie ``strides`` apart; ``fan`` is the number of channels. ``targets`` has a line for
    every target site of an axis, first of D, then H, then W; ``taps`` holds the lines that it refers to.
    """
    mode, batch, groups, rows_per_group, depth, height, width = words.shape
    element = cuda.grid(1)
    if element >= batch * groups * rows_per_group * depth * height * width:
        return
    w, rest = element % width, element // width
    h, rest = rest % height, rest // height
    d, rest = rest % depth, rest // depth
    row, rest = rest % rows_per_group, rest // rows_per_group
    group, n = rest % groups, rest // groups
    place = n, group, row, d, depth + h, depth + height + w
    y, low, s, q, _ = sums_of_element(mode, source, source_strides, source_size, rows, row_strides, fan, targets, taps, place)
    words[0, n, group, row, d, h, w] = y
    if mode > VALUE:
        words[1, n, group, row, d, h, w] = s
        words[2, n, group, row, d, h, w] = q
    if mode == DOUBLE:
        words[3, n, group, row, d, h, w] = low


@kernel
def take(source: Any, strides: Any, sites: Any, taken: Any) -> None:
    """Fill one element of ``taken`` (N, C, D, H, W) with a copy of an element of ``source``.

    ``sites`` is the source site of every position of the three axes, first of D, then H, then W.
    """
    batch, channels, depth, height, width = taken.shape
    element = cuda.grid(1)
    if element >= batch * channels * depth * height * width:
        return
    w, rest = element % width, element // width
    h, rest = rest % height, rest // height
    d, rest = rest % depth, rest // depth
    c, n = rest % channels, rest // channels
    at = n * strides[0] + c * strides[1]
    at += sites[d] * strides[2] + sites[depth + h] * strides[3] + sites[depth + height + w] * strides[4]
    taken[n, c, d, h, w] = source[at]
