"""What the reference knows about each output element: its value, and the sums that bound any rounding of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Expectation:
    """The high-precision result of one convolution, per output element.

    A *tap* is one product p of an input and a weight that both exist: what falls on zero padding is no tap, so an
    infinite weight there adds nothing and ``n`` is smaller at the border. A bias counts as one more tap.

    Of a complex layer every array has one more, last axis of size 2: the real and the imaginary part, each with the real
    products that it is the sum of, two for a tap.

    Attributes:
        y: the sum Σp, float64; of an integer layer int64, the sum modulo 2^bits as a number of the layer's dtype.
        y_lo: the low word: ``y + y_lo`` is the sum in double-double. ``None`` where float64 represents every product, or where
            the caller knows that it holds every partial sum.
        S: the magnitude Σ|p|, or ``None`` when only the value was asked for. An integer sum can have wrapped around only
            where this reaches 2^(bits - 1).
        Q: Σp·p, each product rounded to float64 first, or ``None`` when only the value was asked for.
        n: number of taps, int64. It has the shape of ``y`` but may be a read-only broadcast.
    """

    y: npt.NDArray[Any]
    y_lo: Float64Array | None
    S: Float64Array | None
    Q: Float64Array | None
    n: Int64Array
