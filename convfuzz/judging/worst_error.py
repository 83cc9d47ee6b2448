"""The one pass over an output's errors that finds the worst of them, by every measure that is reported."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from convfuzz.oracle.jit import compiled

Floats = npt.NDArray[np.float64]


@compiled
def worst(
    error: Floats, bound: Floats, y: Floats, magnitude: Floats, u: float, u_out: float, half_step: float
) -> tuple[int, int, int, float, float, float]:
    """Return what the worst of ``error``, finite values of any shape made flat, amounts to.

    That is: where it is largest; where its ratio to ``bound`` is; how many errors exceed their bound; the largest
    ratio; the largest error beyond the output's own rounding, u_out·|y| or half a subnormal step, in units of
    u·``magnitude``; and the largest error relative to |y|.
    """
    at = ratio_at = over = 0
    largest = ratio = units = relative = 0.0
    for i in range(error.size):
        e = error[i]
        if e > 0.0:
            if e > largest:
                largest, at = e, i
            over += e > bound[i]
            r = e / bound[i] if bound[i] > 0.0 else math.inf
            if r > ratio:
                ratio, ratio_at = r, i
            size = abs(y[i])
            relative = max(relative, e / size if size > 0.0 else math.inf)
            excess = e - max(u_out * size, half_step)
            if excess > 0.0:
                unit = u * magnitude[i]
                units = max(units, excess / unit if unit > 0.0 else math.inf)
    return at, ratio_at, over, ratio, units, relative
