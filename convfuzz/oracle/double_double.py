"""Addition of unevaluated sums of two float64 arrays, where float64 alone would round."""

from __future__ import annotations

import numpy as np

from convfuzz.oracle.expectation import Float64Array


def add(
    high: Float64Array, low: Float64Array, other_high: Float64Array, other_low: Float64Array | float = 0.0
) -> tuple[Float64Array, Float64Array]:
    """Return (high, low) + (other_high, other_low), normalised; where that is Inf or NaN, the plain sum and 0."""
    total = high + other_high
    part = total - high
    low = ((high - (total - part)) + (other_high - part)) + (low + other_low)
    result = total + low
    low = low - (result - total)
    finite = np.isfinite(result)
    return np.where(finite, result, total), np.where(finite, low, 0.0)
