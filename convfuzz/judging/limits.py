"""Where NaN and Inf are demanded, excluded or left open in a result, by what is declared."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from convfuzz.case.dtypes import component_format
from convfuzz.judging.comparing import same
from convfuzz.judging.numerics import Numerics, overflows_from, top
from convfuzz.judging.pass_sums import PassSums

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Limits:
    """What one declaration allows in a pass, per element: the error at most, and where NaN and Inf are open, excluded or demanded."""

    def __init__(self, sums: PassSums, numerics: Numerics) -> None:
        self._sums, self._numerics = sums, numerics
        self.tolerance: Floats = sums.bound(numerics)

    @cached_property
    def calm(self) -> bool:
        """Whether no element is left open and every one must be finite, so that a finite output needs no closer look."""
        if self.tolerance.size == 0:
            return True
        s, most = self._sums.expected.S, self._numerics.accumulator_format(self._sums.dtype).max
        assert s is not None, "rounded regimes compute the moments"
        is_finite = float(np.max(self._rounded + self.tolerance)) < overflows_from(self._sums.dtype, self._numerics)
        if not is_finite or not float(np.max(s + self.tolerance)) <= most:
            return False
        return not self._may_be_nan.any() and not self.smeared.any()

    @cached_property
    def undecided(self) -> Bools:
        """Where the specification leaves NaN and Inf open: anything is right there, or NaN is beside what the sum says."""
        return self.unbounded | self._may_be_nan

    @cached_property
    def unbounded(self) -> Bools:
        """Where a partial sum may overflow the accumulator in one order and not in another, so that nothing can be said."""
        s, most = self._sums.expected.S, self._numerics.accumulator_format(self._sums.dtype).max
        assert s is not None, "rounded regimes compute the moments"
        open_here: Bools = np.isfinite(s) & (s + self.tolerance > most)
        return open_here

    @cached_property
    def smeared(self) -> Bools:
        """Where a declared transform may have spread NaN and Inf."""
        return self._sums.smeared if self._numerics.algorithm == "transform" else np.zeros((), dtype=bool)

    @cached_property
    def _may_be_nan(self) -> Bools:
        """Where NaN is right beside what the sum says: padding meets NaN or Inf, or a flushed operand meets Inf."""
        found = np.zeros((), dtype=bool) if self._sums.may_be_nan is None else self._sums.may_be_nan
        return found | self._sums.inf_meets_flushed if self._numerics.flushes_subnormals else found

    @cached_property
    def _rounded(self) -> Floats:
        """The magnitude of what is rounded: before the bias is added the sum may overflow although the bias would bring it back."""
        y, bias = self._sums.expected.y, self._sums.operands.bias
        size: Floats = np.abs(y)
        return size if bias is None or self._numerics.bias == "fused" else np.maximum(size, np.abs(y - bias))

    def _overflows(self, actual: Floats) -> Bools:
        """Return where Inf may be what a rounding made of a finite sum: its error may have changed the sign too."""
        y, bias, sign = self._sums.expected.y, self._sums.operands.bias, np.sign(actual)
        size = sign * y
        if bias is not None and self._numerics.bias == "separate":
            size = np.maximum(size, sign * (y - bias))
        over: Bools = np.isinf(actual) & (size + self.tolerance >= overflows_from(self._sums.dtype, self._numerics))
        return over

    def misplaced(self, actual: Floats) -> Bools:
        """Return where NaN and Inf are wrong in an output."""
        y, bound = self._sums.expected.y, self.tolerance
        must_overflow = np.isfinite(y) & (np.abs(y) - bound > top(component_format(self._sums.dtype)))
        finite = np.isfinite(actual)
        bad = np.where(np.isfinite(y), (must_overflow | ~finite) & ~self._overflows(actual), ~same(actual, y))
        spread = ~np.isfinite(y) & finite  # all else is right where a transform has spread them
        bad = np.where(self.smeared, spread, bad) & ~self.unbounded
        return bad & ~(self._may_be_nan & np.isnan(actual))
