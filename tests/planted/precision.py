"""The dtypes that sums are kept in, and the rounding to the one that is asked for."""

from __future__ import annotations

import numpy as np

from .receptive_field import Array


def rounded(values: Array, dtype: np.dtype[np.generic]) -> Array:
    """Return the values rounded to nearest in ``dtype``, overflowing to infinity; integers wrap around."""
    with np.errstate(all="ignore"):
        return values.astype(dtype)


def accumulator(dtype: np.dtype[np.generic]) -> np.dtype[np.generic]:
    """Return the dtype sums are kept in: float32 for the 16-bit ones, for any other itself."""
    return np.dtype(np.float32) if dtype.itemsize == 2 else dtype


def wide(dtype: np.dtype[np.generic]) -> np.dtype[np.generic]:
    """Return the widest dtype of the same kind."""
    if dtype.kind in "iu":
        return np.dtype(np.int64)
    return np.dtype(np.complex128 if dtype.kind == "c" else np.float64)
