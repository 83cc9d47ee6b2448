"""Where NaN and Inf are demanded, excluded or left open in a result, by what is declared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convfuzz.case.dtypes import FloatFormat, component_format
from convfuzz.judging.comparing import same
from convfuzz.judging.numerics import OUTPUT_ROUNDINGS, Numerics
from convfuzz.judging.pass_sums import PassSums

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Limits:
    """What one declaration allows, per element: the error at most, and where NaN and Inf are open, excluded or demanded.

    ``smeared``: where a declared transform may have spread them. ``calm``: no element is undecided and every one must be
    finite, so that a finite output needs no such look.
    """

    tolerance: Floats
    undecided: Bools
    must_be_finite: Bools
    must_overflow: Bools
    smeared: Bools
    calm: bool

    def misplaced(self, actual: Floats, y: Floats) -> Bools:
        """Return where NaN and Inf are wrong in an output."""
        finite = np.isfinite(actual)
        right_overflow = np.isinf(actual) & (np.sign(actual) == np.sign(y))
        bad = np.where(
            np.isfinite(y),
            (self.must_be_finite & ~finite) | (self.must_overflow & ~right_overflow) | (~finite & ~right_overflow),
            ~same(actual, y),
        )
        spread = ~np.isfinite(y) & finite  # all else is right where a transform has spread them
        return np.where(self.smeared, spread, bad) & ~self.undecided


def limits(sums: PassSums, numerics: Numerics) -> Limits:
    """Return what ``numerics`` allows in a pass."""
    expected, bias = sums.expected, sums.operands.bias
    y = expected.y
    assert expected.S is not None, "rounded regimes compute the moments"
    bound = sums.bound(numerics)
    # A partial sum may overflow the accumulator in one order and not in another.
    undecided: Bools = np.isfinite(expected.S) & (expected.S + bound > numerics.accumulator_format(sums.dtype).max)
    if sums.undecided is not None:
        undecided |= sums.undecided
    smeared = np.broadcast_to(sums.smeared if numerics.algorithm == "transform" else np.zeros((), dtype=bool), y.shape)
    top = overflows_from(sums.dtype, numerics)
    size = np.abs(y)
    # Rounded before the bias is added, the sum may overflow although the bias would bring it back.
    rounded = size if bias is None or numerics.bias == "fused" else np.maximum(size, np.abs(y - bias))
    must_be_finite = rounded + bound < top
    must_overflow = np.isfinite(y) & (size - bound > _top(component_format(sums.dtype)))
    calm = bool(must_be_finite.all() and not undecided.any() and not smeared.any())
    return Limits(bound, undecided, must_be_finite, must_overflow, smeared, calm)


def overflows_from(dtype: str, numerics: Numerics) -> float:
    """Return the magnitude from which on a result may be rounded to Inf, in the dtype or in what results are stored in first."""
    form = component_format(dtype)
    return _top(form) if numerics.outputs == "exact" else min(_top(form), _top(OUTPUT_ROUNDINGS[numerics.outputs].form))


def _top(form: FloatFormat) -> float:
    """Return the largest finite number and half a unit in the last place, from where rounding to nearest gives Inf."""
    return form.max if form.name == "float64" else form.max + 2.0 ** (form.emax - form.precision)
