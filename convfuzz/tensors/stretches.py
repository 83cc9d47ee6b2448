"""Large arrays a stretch at a time, so that what is computed of one takes little memory."""

from __future__ import annotations

import ctypes
import math
import mmap
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Place = tuple[int | slice, ...]
Array = npt.NDArray[Any]

_MOST_BYTES = 2**24
"""Of a larger array a checksum is kept in place of a copy."""
_AT_ONCE = 2**22
_MADV_DONTNEED = 4


def stretches(shape: tuple[int, ...], most: int) -> Iterator[Place]:
    """Yield where the stretches of at most ``most`` elements lie in an array of ``shape``, in the order of its elements."""
    if not shape or math.prod(shape) <= most:
        yield (slice(None),) * len(shape)
        return
    inner = math.prod(shape[1:])
    if inner <= most:
        step = most // inner
        for start in range(0, shape[0], step):
            yield (slice(start, min(start + step, shape[0])),)
        return
    for first in range(shape[0]):
        for rest in stretches(shape[1:], most):
            yield (first, *rest)


def contents(array: Array) -> bytes | int:
    """Return what shows whether an array has changed: its bytes, or of a large one a checksum of them."""
    if array.nbytes <= _MOST_BYTES:
        return array.tobytes()
    checksum = 0
    for place in stretches(array.shape, _AT_ONCE):
        checksum = zlib.crc32(np.ascontiguousarray(array[place]).view(np.uint8).data, checksum)
    return checksum


def copy_over(source: Array, target: Array) -> None:
    """Copy an array and let go of it, a stretch at a time, so that both together take hardly more memory than one.

    An axis of stride 0 is written once.
    """
    once = tuple(slice(1) if stride == 0 else slice(None) for stride in target.strides)
    source, target = source[once], target[once]
    for place in stretches(source.shape, _AT_ONCE):
        target[place] = source[place]
        if source.flags.c_contiguous:
            let_go(source[place])
    let_go(source)


def let_go(array: Array) -> None:
    """Give the memory of a large array back to the system; the array stays where it is, with nothing in it until it is filled again."""
    if array.nbytes <= mmap.PAGESIZE:
        return
    low, high = np.lib.array_utils.byte_bounds(array)
    first, last = -(-low // mmap.PAGESIZE) * mmap.PAGESIZE, high // mmap.PAGESIZE * mmap.PAGESIZE
    if first < last:
        _madvise()(first, last - first, _MADV_DONTNEED)


@cache
def _madvise() -> Any:
    function = ctypes.CDLL(None).madvise
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return function
