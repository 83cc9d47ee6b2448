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

GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
WORD = 2**64 - 1
_BLOCK = 2**14
"""So many words stay in a processor's cache while they are mixed."""
_ROLES = {"x": 1, "w": 2, "b": 3, "dy": 4, "special": 5, "kept": 6, "kept dy": 7}


def _mix(z: Words) -> None:
    """Mix each word of ``z`` in place."""
    shifted = z >> np.uint64(30)
    for multiplier, shift in ((_FIRST, 27), (_SECOND, 31)):
        z ^= shifted
        z *= np.uint64(multiplier)
        np.right_shift(z, np.uint64(shift), out=shifted)
    z ^= shifted


def _mixed(word: int) -> int:
    """Return one word mixed, which takes NumPy ten times as long."""
    word = (word ^ word >> 30) * _FIRST & WORD
    word = (word ^ word >> 27) * _SECOND & WORD
    return word ^ word >> 31


def key(seed: int, role: str) -> int:
    """Return what sets the words of one tensor apart from those of every other."""
    return _mixed(_mixed(seed + GOLDEN & WORD) + _ROLES[role] & WORD)


def words(seed: int, role: str, count: int, first: int = 0) -> Words:
    """Return ``count`` 64-bit words that depend on ``seed``, ``role`` and their index only, from the index ``first`` on."""
    counters, own = np.arange(first + 1, first + count + 1, dtype=np.uint64), np.uint64(key(seed, role))
    for start in range(0, count, _BLOCK):
        block = counters[start : start + _BLOCK]
        block *= np.uint64(GOLDEN)
        block += own
        _mix(block)
    return counters


def normal(seed: int, role: str, shape: tuple[int, ...], first: int = 0) -> Floats:
    """Return values of mean 0 and variance 1 on ±2·sqrt(3): sums of four 16-bit uniforms (Irwin-Hall), exact as integers."""
    sums = words(seed, role, math.prod(shape), first)
    for bits, low in ((16, 0x0000FFFF0000FFFF), (32, 0x00000000FFFFFFFF)):  # two sums in each word, then the sum of both
        high = sums >> np.uint64(bits)
        high &= np.uint64(low)
        sums &= np.uint64(low)
        sums += high
    centred = sums.astype(np.float64)
    centred -= 2 * 65535
    centred *= math.sqrt(3.0) / 65536.0
    return centred.reshape(shape)


def uniform(seed: int, role: str, shape: tuple[int, ...], first: int = 0) -> Floats:
    """Return values on (0, 1], multiples of 2^-32."""
    top = words(seed, role, math.prod(shape), first) >> np.uint64(32)
    return ((top.astype(np.float64) + 1.0) * 2.0**-32).reshape(shape)


def nonzero_integers(seed: int, role: str, shape: tuple[int, ...], most: int, first: int = 0) -> Floats:
    """Return values of ±1 … ±most; ``most`` is a power of two."""
    bits = words(seed, role, math.prod(shape), first).astype(np.uint16).view(np.int16)  # which are all that is needed
    drawn = (bits >> 8) & (most - 1)
    drawn += 1
    bits &= 1
    bits *= 2
    bits -= 1
    drawn *= bits
    return drawn.astype(np.float64).reshape(shape)
