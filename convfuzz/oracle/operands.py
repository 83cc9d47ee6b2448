"""Checks the operands that a caller passes, and converts them to the types that the reference computes with."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz.oracle.expectation import Float64Array, Int64Array

_FLOAT64_INTEGERS = 2**53


def real(name: str, values: npt.ArrayLike, shape: tuple[int, ...]) -> Float64Array:
    """Return ``values`` as contiguous float64.

    Raises:
        ValueError: another shape, complex numbers, or an integer that float64 does not represent.
    """
    array = _shaped(name, values, shape)
    if array.dtype.kind == "c":
        raise ValueError(f"{name} is {array.dtype}, the configuration's dtype is real")
    if array.dtype.kind in "iu" and array.itemsize == 8 and array.size:
        most = max(abs(int(array.min())), abs(int(array.max())))
        if most > _FLOAT64_INTEGERS:
            raise ValueError(f"{name} holds {most}, beyond 2^53: float64 does not represent every such integer")
    return np.ascontiguousarray(array, dtype=np.float64)


def parts(name: str, values: npt.ArrayLike, shape: tuple[int, ...]) -> Float64Array:
    """Return ``values`` as float64 with one more, last axis: real and imaginary part. Real values have imaginary parts of 0.

    Raises:
        ValueError: as :func:`real`, of either part.
    """
    array = _shaped(name, values, shape)
    return np.stack([real(name, array.real, shape), real(name, array.imag, shape)], axis=-1)


def integers(name: str, values: npt.ArrayLike, shape: tuple[int, ...], dtype: str) -> Int64Array:
    """Return ``values`` as contiguous int64.

    Raises:
        ValueError: another shape, an element type that is not an integer type, or a value that ``dtype`` cannot hold.
    """
    array = _shaped(name, values, shape)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} is {array.dtype}, the configuration says {dtype}: hand in integers")
    if not np.can_cast(array.dtype, dtype) and array.size:
        limits = np.iinfo(dtype)
        for extreme in (int(array.min()), int(array.max())):
            if not limits.min <= extreme <= limits.max:
                raise ValueError(f"{name} holds {extreme}, beyond {dtype}")
    return np.ascontiguousarray(array, dtype=np.int64)


def _shaped(name: str, values: npt.ArrayLike, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    array = np.asarray(values)
    check_shape(name, array.shape, shape)
    return array


def check_shape(name: str, found: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Refuse an operand of another shape than the configuration's.

    Raises:
        ValueError: it has one.
    """
    if found != shape:
        raise ValueError(f"{name} has shape {found}, the configuration says {shape}")
