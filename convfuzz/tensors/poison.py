"""What memory holds that nobody has written to, known again in a result, and what lies around operands, where nobody has to look."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz.tensors.stretches import stretches

Array = npt.NDArray[Any]

_PAYLOADS = {"float16": 0x7EA5, "bfloat16": 0x7FE5, "float32": 0x7FE5A5E5, "float64": 0x7FFCA5A5E5E5A5A5}
"""Quiet NaN with bits that no operation makes: those are 0x7FC00000 or 0xFFC00000 in float32, or an operand's."""
_LEAST_TELLING = 4
"""In so many bytes and more the largest integer is no result by chance."""
_FREED = 2**18
"""So many bytes of freed memory are filled, in more than one block: allocators hand out the oldest of several that fit."""
_AT_ONCE = 2**22
_MOST_FREED = 16
"""More blocks than NumPy and the C library keep of one size."""


def unwritten(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an array that shows what was never written."""
    memory = np.empty(shape, dtype)
    memory[...] = _element(dtype)
    return memory


def fill_freed(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Leave in freed memory what shows that it was never written, where an array of this shape that nobody writes to comes from.

    Otherwise it may hold the last result, which is right. All blocks are held at once, so that none is filled twice.
    """
    size = max(1, math.prod(shape) * dtype.itemsize)
    first = unwritten(shape, dtype)
    held = [first, *(first.copy() for _ in range(min(_MOST_FREED - 1, _FREED // size)))]
    del first, held


def count_unwritten(array: Array) -> tuple[int, tuple[int, ...]]:
    """Return how many elements of a result were never written, and the index of the first; none of a dtype in which that is no telling."""
    dtype = array.dtype
    if dtype.kind in "iu" and dtype.itemsize < _LEAST_TELLING:
        return 0, ()
    if dtype.kind not in "iufcV" and dtype.name not in _PAYLOADS:
        return 0, ()
    unwritten_bits, count, first, before = np.frombuffer(_element(dtype).tobytes(), np.uint8), 0, -1, 0
    for place in stretches(array.shape, _AT_ONCE):
        bits = np.ascontiguousarray(array[place]).reshape(-1).view(np.uint8).reshape(-1, dtype.itemsize)
        same = np.flatnonzero((bits == unwritten_bits).all(axis=1))
        if len(same) and first < 0:
            first = before + int(same[0])
        count, before = count + len(same), before + len(bits)
    return count, tuple(int(i) for i in np.unravel_index(first, array.shape)) if count else ()


def canary_value(dtype: np.dtype[Any]) -> Any:
    """Return what lies around and between the elements of operands: NaN, or the largest integer."""
    return np.iinfo(dtype).max if dtype.kind in "iu" else np.nan


@cache
def canary_bytes(dtype: np.dtype[Any]) -> bytes:
    """Return one such element as bytes."""
    return np.full(1, canary_value(dtype), dtype).tobytes()


@cache
def _element(dtype: np.dtype[Any]) -> Array:
    if dtype.kind in "iu":
        return np.full((), np.iinfo(dtype).max, dtype)
    part = {"complex64": "float32", "complex128": "float64"}.get(dtype.name, dtype.name)
    if part not in _PAYLOADS:
        return np.full((), math.nan, dtype)
    size = dtype.itemsize // (2 if dtype.kind == "c" else 1)
    bits = _PAYLOADS[part].to_bytes(size, "little") * (dtype.itemsize // size)
    return np.frombuffer(bits if np.little_endian else bits[::-1], dtype)[0:1].reshape(())
