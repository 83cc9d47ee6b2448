"""Integer layers: sums modulo 2^bits, exact for every value of the dtype, put together from float32 layers.

An operand is cut into *limbs*, numbers of so few bits that float64 adds up their products without rounding. The layer
of each pair of limbs is then one real layer, and its sums, shifted into place, add up in uint64. Numbers that are one
limb each, which is the common case, cost one layer.
"""

from __future__ import annotations

from itertools import product
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import INTEGER_BITS
from convfuzz.oracle import operands
from convfuzz.oracle.expectation import Expectation, Float64Array, Int64Array

_FLOAT64_PRECISION, _FLOAT32_PRECISION = 53, 24


class RealReference(Protocol):
    """The reference of real layers; :func:`.passes.reference` is one."""

    def __call__(  # noqa: D102 - the class says it
        self, config: ConvConfig, x: Float64Array, w: Float64Array, b: Float64Array | None = None, *, moments: bool
    ) -> Expectation: ...


def reference(
    config: ConvConfig, x: npt.ArrayLike, w: npt.ArrayLike, b: npt.ArrayLike | None, real: RealReference, *, moments: bool
) -> Expectation:
    """Compute an integer layer's output by ``real``, the reference of real layers."""
    x = operands.integers("x", x, config.input_shape, config.dtype)
    w = operands.integers("w", w, config.weight_shape, config.dtype)
    b = None if b is None else operands.integers("b", b, (config.out_channels,), config.dtype)
    layer, bits, width = config.replace(dtype="float32"), INTEGER_BITS[config.dtype], _limb_width(config.taps + 1)
    x_limbs, w_limbs, b_limbs = (_limbs(a, width) for a in (x, w, np.zeros(0, np.int64) if b is None else b))

    # Numbers beyond one limb are rounded here, which S and Q may be; their y is put together below.
    found = real(layer, x.astype(np.float64), w.astype(np.float64), None if b is None else b.astype(np.float64), moments=moments)
    if {*x_limbs, *w_limbs, *b_limbs} <= {0}:
        sums = _as_words(found.y)
    else:
        sums = np.zeros(config.output_shape, np.uint64)
        for (x_shift, x_limb), (w_shift, w_limb) in product(x_limbs.items(), w_limbs.items()):
            if x_shift + w_shift < bits:
                sums += _as_words(real(layer, x_limb, w_limb, moments=False).y) << np.uint64(x_shift + w_shift)
        if b is not None:
            sums += b.view(np.uint64).reshape(-1, *(1,) * config.dims)
    unused = 64 - bits
    return Expectation((sums << np.uint64(unused)).view(np.int64) >> unused, None, found.S, found.Q, found.n)


def _limb_width(taps: int) -> int:
    """Return how many bits a limb may have for float64 to add up ``taps`` products without rounding.

    A limb of w bits is at most 2^(w-1) in magnitude, so that taps·2^(2w-2) ≤ 2^53 has to hold; and it is to be a float32
    number. 2047 taps leave 22 bits, three limbs for int64; eight million leave 16.
    """
    return min((_FLOAT64_PRECISION + 2 - taps.bit_length()) // 2, _FLOAT32_PRECISION + 1)


def _limbs(values: Int64Array, width: int) -> dict[int, Float64Array]:
    """Return the limbs of ``values`` that are not all zero, by shift: the values are Σ limb·2^shift modulo 2^64.

    Limbs are signed, so that a small negative number is one limb.
    """
    half = 1 << (width - 1)
    limbs: dict[int, Float64Array] = {}
    shift = 0
    while values.any():
        low = ((values + half) & (2 * half - 1)) - half
        if low.any():
            limbs[shift] = low.astype(np.float64)
        values = (values - low) >> width
        shift += width
    return limbs


def _as_words(sums: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Return whole numbers modulo 2^64."""
    return sums.astype(np.int64).view(np.uint64)
