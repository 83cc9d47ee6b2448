"""Outputs in the form in which they are compared, and how two of them differ."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]


def comparable(output: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an output as the reference has it: float64, integers as int64, complex with a last axis (real, imaginary)."""
    if output.dtype.kind == "c":
        return np.stack([output.real, output.imag], axis=-1).astype(np.float64)
    return output.astype(np.int64 if output.dtype.kind in "iu" else np.float64)


def same(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> Bools:
    """Mark where two arrays are equal, or both NaN."""
    equal: Bools = (a == b) | (np.isnan(a) & np.isnan(b))
    return equal


def max_abs_between(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Return the largest |a − b|; Inf where one is NaN or Inf and the other is not the same."""
    if a.shape != b.shape:
        return float("inf")
    if a.size == 0:
        return 0.0
    with np.errstate(invalid="ignore"):
        left, right = comparable(a).astype(np.float64), comparable(b).astype(np.float64)
        difference = left - right
    np.abs(difference, out=difference)
    largest = float(difference.max())
    if math.isfinite(largest):
        return largest
    differs = np.where(np.isfinite(left) & np.isfinite(right), difference, np.inf)
    return float(np.where(same(left, right), 0.0, differs).max())
