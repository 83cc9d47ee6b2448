"""The element types a convolution can have, and what each one's rounding is like."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class FloatFormat:
    """A binary floating-point format.

    ``precision`` counts the significand's bits with the hidden one; ``emin`` and ``emax`` are the exponents of the
    smallest and largest normal number (IEEE 754-2019, table 3.5).
    """

    name: str
    precision: int
    emin: int
    emax: int

    @property
    def unit_roundoff(self) -> float:
        """Largest relative error of rounding to nearest: 2^-precision."""
        return 2.0**-self.precision

    @property
    def tiny(self) -> float:
        """Smallest positive normal number."""
        return 2.0**self.emin

    @property
    def smallest_subnormal(self) -> float:
        """Spacing of the subnormal numbers."""
        return 2.0 ** (self.emin - self.precision + 1)

    @property
    def max(self) -> float:
        """Largest finite number."""
        return (2.0 - 2.0 ** (1 - self.precision)) * 2.0**self.emax

    @property
    def exact_integers(self) -> float:
        """Every integer of at most this magnitude is representable."""
        return 2.0**self.precision

    def round(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Round float64 ``values`` to the nearest number of this format, ties to even; overflow gives ±Inf.

        Done in float64 arithmetic alone, so that no cast of a library can round twice on the way.
        """
        _, exponent = np.frexp(values)  # value = f·2^exponent with 1/2 ≤ |f| < 1; 0 for NaN and Inf
        quantum = np.maximum(exponent, self.emin + 1) - self.precision
        with np.errstate(over="ignore", invalid="ignore"):
            rounded = np.ldexp(np.rint(np.ldexp(values, -quantum)), quantum)
            beyond = np.abs(rounded) > self.max
            return np.where(beyond, np.copysign(np.inf, values), np.where(np.isfinite(values), rounded, values))

    def spacing(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the unit in the last place of this format at each of ``values``."""
        _, exponent = np.frexp(values)
        exponent = np.where(np.asarray(values) == 0.0, self.emin, exponent)  # frexp's exponent of 0 is 0
        ulp: npt.NDArray[np.float64] = np.ldexp(1.0, np.maximum(exponent, self.emin + 1) - self.precision)
        return ulp


FLOATS = {
    f.name: f
    for f in (
        FloatFormat("float64", 53, -1022, 1023),
        FloatFormat("float32", 24, -126, 127),
        FloatFormat("float16", 11, -14, 15),
        FloatFormat("bfloat16", 8, -126, 127),
        FloatFormat("tfloat32", 11, -126, 127),  # an input rounding, never a case's dtype
    )
}


FLOATING = ("float64", "float32", "float16", "bfloat16")
"""The floating-point dtypes of a case."""

COMPONENTS = {"complex64": "float32", "complex128": "float64"}
"""The real and the imaginary part of each complex dtype."""

INTEGER_BITS = {"int8": 8, "int32": 32, "int64": 64}

INTEGER_LIMITS = (
    {name: form.exact_integers for name, form in FLOATS.items()}
    # Three real products instead of four sum (xr + xi)·(wr + wi), as much as both parts of a result amount to.
    | {name: FLOATS[part].exact_integers / 2.0 for name, part in COMPONENTS.items()}
    | {name: min(2.0 ** (bits - 1) - 1.0, 2.0**53) for name, bits in INTEGER_BITS.items()}
)
"""Per dtype, up to which magnitude every sum of integers is exact in any order, without rounding and without wrapping."""


def is_complex(name: str) -> bool:
    """Whether the dtype of a case is complex."""
    return name in COMPONENTS


def is_integer(name: str) -> bool:
    """Whether the dtype of a case is an integer one."""
    return name in INTEGER_BITS


def component_format(name: str) -> FloatFormat:
    """Return the format of a floating-point dtype, or of the real and imaginary parts of a complex one."""
    return FLOATS[COMPONENTS.get(name, name)]


@cache
def numpy_dtype(name: str) -> np.dtype[Any]:
    """Return the NumPy dtype of a case's dtype ``name``; bfloat16 comes from ml_dtypes."""
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


@cache
def dtype_name(dtype: np.dtype[Any]) -> str:
    """Return the name a NumPy dtype has in a case."""
    return dtype.name
