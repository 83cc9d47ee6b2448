"""What a rule takes and returns: values in float64, and how far a correct implementation may be from each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz.case.dtypes import FLOATS, FloatFormat
from convfuzz.judging.numerics import Numerics

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Bounded:
    """A tensor: its exact ``value`` and the largest ``error`` allowed, per element; both have the tensor's shape.

    An error of Inf leaves an element open: nothing that is returned there is held against an implementation.
    """

    value: Floats
    error: Floats

    @classmethod
    def exact(cls, value: npt.ArrayLike) -> Bounded:
        """Return values that are what they are, such as parameters."""
        array = np.asarray(value, np.float64)
        return cls(array, np.zeros(array.shape))

    @classmethod
    def given(cls, value: npt.ArrayLike) -> Bounded:
        """Return what a model is called with: values that are what they are, and NaN and Inf open."""
        array = np.asarray(value, np.float64)
        is_open = ~np.isfinite(array)
        return cls(np.where(is_open, np.nan, array), np.where(is_open, np.inf, 0.0))

    @property
    def low(self) -> Floats:
        """The least that the values may be."""
        return self.value - self.error

    @property
    def high(self) -> Floats:
        """The most that the values may be."""
        return self.value + self.error

    def moved(self, change: Callable[[Array], Array]) -> Bounded:
        """Return the elements elsewhere: ``change`` reshapes, repeats or picks them."""
        return Bounded(change(self.value), change(self.error))


@dataclass(frozen=True)
class Place:
    """Where in a model a rule is applied: the ``shape`` and dtype of the result, and the arithmetic that is allowed."""

    shape: tuple[int, ...]
    dtype: str
    numerics: Numerics

    @property
    def stored(self) -> FloatFormat:
        """The format of the result."""
        return FLOATS[self.dtype]

    @property
    def u(self) -> float:
        """The unit roundoff of the arithmetic: float32's for 16-bit tensors, whose functions and sums are computed in it."""
        return FLOATS["float32"].unit_roundoff if self.dtype in ("float16", "bfloat16") else self.stored.unit_roundoff

    def rounded(self, value: Floats, error: Floats) -> Bounded:
        """Return a result that is rounded to the format once more; where it may overflow or is none, it is left open."""
        step = self.stored.tiny if self.numerics.flushes_subnormals else self.stored.smallest_subnormal
        reach = error + self.stored.unit_roundoff * (np.abs(value) + error) + step
        return self.opened(value, reach)

    def opened(self, value: Floats, error: Floats) -> Bounded:
        """Return a result with the elements open that are not finite, or may not be."""
        value, error = np.broadcast_to(value, self.shape), np.broadcast_to(error, self.shape)
        is_open = ~np.isfinite(value) | ~(np.abs(value) + error <= self.stored.max)
        if is_open.any():
            return Bounded(np.where(is_open, np.nan, value), np.where(is_open, np.inf, error))
        return Bounded(value, error)


def between(low: Floats, value: Floats, high: Floats) -> Floats:
    """Return how far ``value`` is from the farther end of an interval around it; Inf where an end is not a number."""
    reach: Floats = np.maximum(value - low, high - value)
    return np.where(np.isnan(reach), np.inf, reach)
