"""The innermost loops: add a list of taps to a contiguous run of accumulators.

Element i of the run receives ``weights[t] * values[offsets[t] + i]`` for t = 0, 1, … in that order, whichever loop
below runs and however the compiler vectorises it: vector lanes are different elements, never different taps of one.
Taps go eight at a time so that the accumulators are loaded and stored once per eight products.
"""

from __future__ import annotations

import numpy as np

from convfuzz.reference.expectation import Float64Array, Int64Array
from convfuzz.reference.jit import compiled, fma

VALUE, MOMENTS, DOUBLE = 1, 3, 4
"""What to accumulate, as the number of accumulators: y; y, S, Q; y, S, Q and the low word of y."""


@compiled
def add_taps(
    accumulators: Float64Array, values: Float64Array, offsets: Int64Array, weights: Float64Array, length: int
) -> None:
    """Add every tap to ``accumulators[:, :length]``, whose rows are as many as the mode says."""
    eights = offsets.size // 8 * 8
    mode = accumulators.shape[0]
    if mode == VALUE:
        _add_values(accumulators, values, offsets, weights, length, eights)
    elif mode == MOMENTS:
        _add_moments(accumulators, values, offsets, weights, length, eights)
    else:
        _add_double(accumulators, values, offsets, weights, length)


@compiled
def _eight_offsets(a: Int64Array, t: int) -> tuple[int, ...]:
    return a[t], a[t + 1], a[t + 2], a[t + 3], a[t + 4], a[t + 5], a[t + 6], a[t + 7]


@compiled
def _eight_weights(a: Float64Array, t: int) -> tuple[float, ...]:
    return a[t], a[t + 1], a[t + 2], a[t + 3], a[t + 4], a[t + 5], a[t + 6], a[t + 7]


@compiled
def _add_values(
    accumulators: Float64Array, values: Float64Array, offsets: Int64Array, weights: Float64Array, length: int, eights: int
) -> None:
    y = accumulators[0, :length]
    for t in range(0, eights, 8):
        o, w = _eight_offsets(offsets, t), _eight_weights(weights, t)
        for i in range(length):
            yi = y[i]
            for j in range(8):
                # An unsigned index spares the test for negative ones, which would keep the loop from vectorising.
                yi += w[j] * values[np.uint64(o[j] + i)]
            y[i] = yi
    for t in range(eights, offsets.size):
        run = values[offsets[t] :]
        for i in range(length):
            y[i] += weights[t] * run[i]


@compiled
def _add_moments(
    accumulators: Float64Array, values: Float64Array, offsets: Int64Array, weights: Float64Array, length: int, eights: int
) -> None:
    y, s, q = accumulators[0, :length], accumulators[1, :length], accumulators[2, :length]
    for t in range(0, eights, 8):
        o, w = _eight_offsets(offsets, t), _eight_weights(weights, t)
        for i in range(length):
            yi, si, qi = y[i], s[i], q[i]
            for j in range(8):
                p = w[j] * values[np.uint64(o[j] + i)]
                yi += p
                si += abs(p)
                qi += p * p
            y[i], s[i], q[i] = yi, si, qi
    for t in range(eights, offsets.size):
        run, w1 = values[offsets[t] :], weights[t]
        for i in range(length):
            p = w1 * run[i]
            y[i] += p
            s[i] += abs(p)
            q[i] += p * p


@compiled
def _add_double(
    accumulators: Float64Array, values: Float64Array, offsets: Int64Array, weights: Float64Array, length: int
) -> None:
    y, s, q, low = accumulators[0, :length], accumulators[1, :length], accumulators[2, :length], accumulators[3, :length]
    for t in range(offsets.size):
        run, w = values[offsets[t] :], weights[t]
        for i in range(length):
            p, y[i], low[i] = add_product(y[i], low[i], w, run[i])
            s[i] += abs(p)
            q[i] += p * p


@compiled
def add_product(high: float, low: float, a: float, b: float) -> tuple[float, float, float]:
    """Return the rounded product a·b and the double-double (high, low) + a·b.

    The product's error comes exactly from one fused multiply-add, the sum's from Knuth's TwoSum; renormalising after
    every tap keeps the relative error of each addition near 2^-105 (Hida, Li and Bailey, ARITH-15 2001, §3).
    """
    p = a * b
    product_error = fma(a, b, -p)
    total = high + p
    part = total - high
    sum_error = (high - (total - part)) + (p - part)
    low += sum_error + product_error
    high = total + low
    return p, high, low - (high - total)
