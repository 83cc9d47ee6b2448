"""The compiled loops that fill tensors: counters become numbers, and numbers are rounded, in one pass each."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from convfuzz.tensors.counters import Floats, Words

_GOLDEN, _FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_PAIRS, _HALF = np.uint64(0x0000FFFF0000FFFF), np.uint64(0xFFFFFFFF)
_B16, _B27, _B30, _B31, _B32 = (np.uint64(16), np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32))
_SCALE = math.sqrt(3.0) / 65536.0

NORMAL, UNIFORM, INTEGERS = range(3)


@njit(cache=True, nogil=True)
def _mixed(z: np.uint64) -> np.uint64:
    z = (z ^ (z >> _B30)) * _FIRST
    z = (z ^ (z >> _B27)) * _SECOND
    return z ^ (z >> _B31)


@njit(cache=True, nogil=True)
def fill_words(drawn: Words, counter: np.uint64) -> None:
    """Fill in the words of a counter, of the next one, and so on."""
    for i in range(drawn.size):
        drawn[i] = _mixed(counter)
        counter += _GOLDEN


@njit(cache=True, nogil=True)
def fill(drawn: Floats, counter: np.uint64, kind: int, most: int) -> None:
    """Fill in the numbers that are made of these words: NORMAL, UNIFORM, or INTEGERS of a magnitude of at most ``most``."""
    if kind == NORMAL:
        for i in range(drawn.size):
            word = _mixed(counter)
            word = (word & _PAIRS) + ((word >> _B16) & _PAIRS)  # two sums in each word, then the sum of both
            drawn[i] = (np.float64(np.int64((word & _HALF) + (word >> _B32))) - 131070.0) * _SCALE
            counter += _GOLDEN
    elif kind == UNIFORM:
        for i in range(drawn.size):
            drawn[i] = (np.float64(np.int64(_mixed(counter) >> _B32)) + 1.0) * 2.0**-32
            counter += _GOLDEN
    else:
        for i in range(drawn.size):
            bits = np.int64(_mixed(counter) & _HALF)
            drawn[i] = np.float64((((bits >> 8) & (most - 1)) + 1) * (2 * (bits & 1) - 1))
            counter += _GOLDEN


@njit(cache=True, nogil=True)
def round_to_bfloat16(values: npt.NDArray[np.uint64], rounded: npt.NDArray[np.uint16]) -> bool:
    """Round float64 to bfloat16, to nearest even, both as bits; return whether all values are finite, which those rounded have to be."""
    for i in range(values.size):
        bits = np.int64(values[i] & np.uint64(2**63 - 1))
        exponent = bits >> 52
        if exponent == 2047:
            return False
        significand = bits & (2**52 - 1)
        if exponent > 0:
            significand |= 2**52
        # Of bfloat16's 8 significant bits a subnormal number has fewer, and the smallest none.
        exponent -= 1023 - 127
        dropped = min(45 if exponent > 0 else 46 - exponent, 62)
        kept = (significand + (1 << (dropped - 1)) - 1 + (significand >> dropped & 1)) >> dropped
        number = kept if exponent <= 0 else ((exponent - 1) << 7) + kept  # the leading bit counts as one more of the exponent
        rounded[i] = min(int(number), 0x7F80) | int(values[i] >> np.uint64(63)) << 15
    return True
