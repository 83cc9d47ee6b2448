"""Numbers from counters: element ``i`` of a tensor is a function of (seed, tensor, i) alone, the same on every machine.

SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) as a counter-based generator in integer arithmetic, then exact or once-rounded
float64 operations. No library's random state, no transcendental function and no platform's ``libm`` has a part in it.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]

_GOLDEN = 0x9E3779B97F4A7C15
_ROLES = {"x": 1, "w": 2, "b": 3, "dy": 4, "special": 5, "kept": 6, "kept dy": 7}


def _mix(z: Words) -> Words:
    """Mix each word of ``z`` in place."""
    shifted = z >> np.uint64(30)
    for multiplier, shift in ((0xBF58476D1CE4E5B9, 27), (0x94D049BB133111EB, 31)):
        z ^= shifted
        z *= np.uint64(multiplier)
        np.right_shift(z, np.uint64(shift), out=shifted)
    z ^= shifted
    return z


def words(seed: int, role: str, count: int) -> Words:
    """Return ``count`` 64-bit words that depend on ``seed``, ``role`` and their index only."""
    with np.errstate(over="ignore"):
        key = _mix(_mix(np.array([seed], dtype=np.uint64) + np.uint64(_GOLDEN)) + np.uint64(_ROLES[role]))
        counters = np.arange(1, count + 1, dtype=np.uint64)
        counters *= np.uint64(_GOLDEN)
        counters += key
        return _mix(counters)


def normal(seed: int, role: str, shape: tuple[int, ...]) -> Floats:
    """Return values of mean 0 and variance 1 on ±2·sqrt(3): sums of four 16-bit uniforms (Irwin-Hall), exact as integers."""
    sums = words(seed, role, math.prod(shape))
    for bits, low in ((16, 0x0000FFFF0000FFFF), (32, 0x00000000FFFFFFFF)):  # two sums in each word, then the sum of both
        high = sums >> np.uint64(bits)
        high &= np.uint64(low)
        sums &= np.uint64(low)
        sums += high
    centred = sums.astype(np.float64)
    centred -= 2 * 65535
    centred *= math.sqrt(3.0) / 65536.0
    return centred.reshape(shape)


def uniform(seed: int, role: str, shape: tuple[int, ...]) -> Floats:
    """Return values on (0, 1], multiples of 2^-32."""
    top = words(seed, role, math.prod(shape)) >> np.uint64(32)
    return ((top.astype(np.float64) + 1.0) * 2.0**-32).reshape(shape)


def nonzero_integers(seed: int, role: str, shape: tuple[int, ...], most: int) -> Floats:
    """Return values of ±1 … ±most; ``most`` is a power of two."""
    bits = words(seed, role, math.prod(shape))
    magnitude = ((bits >> np.uint64(8)) & np.uint64(most - 1)).astype(np.float64) + 1.0
    return np.where(bits & np.uint64(1), magnitude, -magnitude).reshape(shape)
