"""Judging outputs of one pass in a floating-point or complex dtype."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt

from convfuzz.case.dtypes import component_format
from convfuzz.judging.bounds import Counts, proven, transformed
from convfuzz.judging.judgement import Judgement, said_non_finite, said_rounded
from convfuzz.judging.limits import Limits
from convfuzz.judging.models import explain
from convfuzz.judging.numerics import OUTPUT_ROUNDINGS, Numerics
from convfuzz.judging.pass_sums import PassSums
from convfuzz.judging.tolerance import is_short, transform_factor, without_repeats
from convfuzz.oracle import Expectation
from convfuzz.system.json_records import Real
from convfuzz.verdicts import Discrepancy, Verdict

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Index = tuple[int, ...]

_NONE, _ZERO = np.zeros(0), np.zeros(1)


class FloatJudge:
    """Judges outputs of one pass of a case in a floating-point or complex dtype."""

    def __init__(self, sums: PassSums) -> None:
        self._sums = sums
        self._form = component_format(sums.dtype)
        self._limits_of: dict[Numerics, Limits] = {}
        self._numbers_of: dict[Numerics, Floats | None] = {}

    @property
    def expected(self) -> Expectation:
        """What the reference says of the pass."""
        return self._sums.expected

    def judge(self, actual: Floats, numerics: Numerics) -> Judgement:
        """Judge an output in the reference's own form."""
        if self._sums.are_integers:
            return self._judge_exact(actual, numerics)
        found = self._agreeing(actual, numerics)
        return self._judge_rounded(actual, numerics) if found is None else Judgement(verdict=Verdict.AGREE, discrepancy=found)

    def errors(self, actual: Floats, numerics: Numerics) -> tuple[Floats, Floats]:
        """Return |error| and tolerance, as :meth:`Judge.errors` does, of an output in the reference's own form."""
        certified = self._sums.certified(numerics)
        if certified is not None:
            off = np.where(np.isfinite(actual), np.abs(actual - numerics.stored(self.expected.y, actual)), np.inf)
            if certified.all():
                return off, np.zeros_like(off)
        allowed = self._limits(numerics)
        error, bad = self._compare(actual, allowed)
        bound = self._tolerance(actual, error, allowed, numerics)
        if bad is not None:
            error = np.where(bad, np.inf, error)
        if certified is None:
            return error, bound
        return np.where(certified, off, error), np.where(certified, 0.0, bound)

    # -- sums of integers ---------------------------------------------------------------------------------------------

    def _judge_exact(self, actual: Floats, numerics: Numerics) -> Judgement:
        """Integers: a direct algorithm is bit-exact; half a unit and more is a wrong sum, whatever the algorithm.

        An element whose sum is not ``certified`` to be exact in every order is held to the tolerance of rounded sums.
        """
        y = numerics.stored(self.expected.y, actual)
        if np.array_equal(actual, y):
            return Judgement(verdict=Verdict.AGREE, discrepancy=Discrepancy(elements=actual.size))
        certified = self._sums.certified(numerics)
        assert certified is not None, "sums of integers are certified or not"
        if not certified.all():
            rounded = np.where(certified, y, actual)
            others = self._judge_rounded(rounded, numerics)
            if others.verdict.failing or np.array_equal(actual, rounded):
                return msgspec.structs.replace(others, suspect=False)
            actual = np.where(certified, actual, y)
        bad = ~np.isfinite(actual)
        error = np.where(bad, 0.0, np.abs(actual - y))
        found = self._measure(actual, error, np.zeros_like(error), bad)
        if found.non_finite:
            return _non_finite(found)
        is_transform = numerics.algorithm == "transform"
        if np.any(error > (exact_limit(self._sums, numerics) if is_transform else np.nextafter(0.5, 0.0))):
            stored = next(
                (f"{name} results" for name, r in OUTPUT_ROUNDINGS.items() if np.array_equal(actual, _or_exact(actual, y, r.apply(y)))), ""
            )
            return Judgement(
                verdict=Verdict.IMPRECISE if stored else Verdict.WRONG,
                discrepancy=found,
                model=stored,
                reason=f"integers off by {found.max_abs:g}: "
                + ("they are rounded when they are stored" if stored else "a tap is missing, doubled or misplaced"),
            )
        if is_transform:
            return Judgement(verdict=Verdict.AGREE, discrepancy=found)
        return Judgement(
            verdict=Verdict.IMPRECISE,
            discrepancy=found,
            model="Winograd or FFT",
            reason=f"integers off by {found.max_abs:.2g}: a direct algorithm would be exact",
        )

    # -- sums that are rounded ----------------------------------------------------------------------------------------

    def _agreeing(self, actual: Floats, numerics: Numerics) -> Discrepancy | None:
        """Judge in one pass what agrees; ``None`` where something is off, not finite, or declared beyond an element's own sums."""
        from convfuzz.judging.agreeing import worst_agreeing  # noqa: PLC0415 - Numba loads with the first reference

        expected, sums, y = self.expected, self._sums, self.expected.y
        numbers = self._numbers(numerics)
        if numbers is None or not y.size or expected.S is None or expected.Q is None:
            return None
        y_lo, bias = expected.y_lo, sums.operands.bias
        agrees, first, ratio_at, ratio, units, relative = worst_agreeing(
            actual.reshape(-1),
            y.reshape(-1),
            _NONE if y_lo is None else y_lo.reshape(-1),
            expected.S.reshape(-1),
            expected.Q.reshape(-1),
            _repeated(expected.n),
            _ZERO if bias is None else bias.reshape(-1),
            math.prod(y.shape[y.ndim - sums.operands.dims :]),
            numbers,
        )
        if not agrees:
            return None
        at = index_of(first, y.shape)
        max_abs = abs(float(actual[at] - y[at] if y_lo is None else actual[at] - y[at] - y_lo[at]))
        return self._discrepancy(actual, at, max_abs, relative, shares=(units, ratio, index_of(ratio_at, y.shape)))

    def _numbers(self, numerics: Numerics) -> Floats | None:
        """Return what is declared as :func:`worst_agreeing` takes it; ``None`` where that has no place for it."""
        if numerics not in self._numbers_of:
            self._numbers_of[numerics] = self._sums.numbers(numerics)
        return self._numbers_of[numerics]

    def _judge_rounded(self, actual: Floats, numerics: Numerics) -> Judgement:
        expected = self.expected
        allowed = self._limits(numerics)
        error, bad = self._compare(actual, allowed)
        bound = self._tolerance(actual, error, allowed, numerics)
        found = self._measure(actual, error, bound, bad, None if bad is None else allowed.undecided, numerics)
        if found.non_finite:
            return _non_finite(found)
        if not found.over:
            return Judgement(verdict=Verdict.AGREE, discrepancy=found)
        model = explain(error, actual, self._sums, numerics)
        acc = numerics.accumulator_format(self._sums.dtype)
        assert expected.S is not None, "rounded regimes compute the moments"
        limit = proven(expected.S, expected.n, u=acc.unit_roundoff)
        limit = limit + self._form.unit_roundoff * np.abs(expected.y) + self._form.smallest_subnormal
        beyond_any_order = bool(np.any(error > np.maximum(limit, bound)))
        return Judgement(
            verdict=Verdict.IMPRECISE if model else Verdict.WRONG,
            discrepancy=found,
            model=model.model if model else "",
            shown=model is not None and model.shown,
            reason=said_rounded(found, proven=beyond_any_order),
            suspect=True,
            proven=beyond_any_order,
        )

    def _compare(self, actual: Floats, allowed: Limits) -> tuple[Floats, Bools | None]:
        """Return |error|, 0 where there is none to speak of, and where NaN and Inf are wrong: ``None`` where no look is needed."""
        if allowed.calm and np.isfinite(actual).all():
            return self._error(actual), None
        bad = allowed.misplaced(actual)
        measurable = np.isfinite(actual) & np.isfinite(self.expected.y) & ~allowed.unbounded & ~bad
        return np.where(measurable, self._error(actual), 0.0), bad

    def _error(self, actual: Floats) -> Floats:
        error: Floats = actual - self.expected.y
        return np.abs(error if self.expected.y_lo is None else error - self.expected.y_lo)

    def _limits(self, numerics: Numerics) -> Limits:
        if numerics not in self._limits_of:
            self._limits_of[numerics] = Limits(self._sums, numerics)
        return self._limits_of[numerics]

    def _tolerance(self, actual: Floats, error: Floats, allowed: Limits, numerics: Numerics) -> Floats:
        """Return the tolerance, of sums in a short format the sharper one that takes a closer look at the operands."""
        if not is_short(numerics.accumulator_format(self._sums.dtype)):
            return allowed.tolerance
        return self._sums.tolerance(numerics, error, actual > self.expected.y)

    # -- measuring ----------------------------------------------------------------------------------------------------

    def _measure(
        self,
        actual: Floats,
        error: Floats,
        bound: Floats,
        misplaced: Bools | None = None,
        undecided: Bools | None = None,
        numerics: Numerics | None = None,
    ) -> Discrepancy:
        if error.size == 0:
            return Discrepancy(elements=0)
        from convfuzz.judging.worst_error import worst  # noqa: PLC0415 - Numba loads with the first reference

        y, form = self.expected.y, self._form
        acc = form if numerics is None else numerics.accumulator_format(self._sums.dtype)
        # Beyond the output's own rounding, where that is the coarser one.
        hidden = (0.0, 0.0) if acc.precision <= form.precision else (form.unit_roundoff, form.smallest_subnormal / 2.0)
        magnitude = y if self.expected.S is None else self.expected.S
        first, ratio_at, over, ratio, units, relative = worst(
            error.reshape(-1), bound.reshape(-1), y.reshape(-1), magnitude.reshape(-1), acc.unit_roundoff, *hidden
        )
        at = index_of(first, error.shape)
        shown = at if misplaced is None or not misplaced.any() else index_of(int(np.argmax(misplaced)), error.shape)
        found = self._discrepancy(
            actual,
            at,
            float(error[at]),
            relative,
            shown=shown,
            shares=None if numerics is None else (units, ratio, index_of(ratio_at, error.shape)),
        )
        return msgspec.structs.replace(
            found,
            over=over,
            non_finite=0 if misplaced is None else int(np.count_nonzero(misplaced)),
            undecided=0 if undecided is None else int(np.count_nonzero(undecided)),
        )

    def _discrepancy(
        self,
        actual: Floats,
        at: Index,
        max_abs: float,
        relative: float,
        *,
        shown: Index | None = None,
        shares: tuple[float, float, Index] | None,
    ) -> Discrepancy:
        """Return how far an output is off: by ``max_abs`` and ``relative``, most of all ``at`` an element, if not the one ``shown``.

        ``shares`` are the largest error in units of u·S and over its tolerance, and where that is, which exact sums do not have.
        """
        y = self.expected.y
        shown = at if shown is None else shown
        units, ratio, ratio_index = (None, None, ()) if shares is None else shares
        return Discrepancy(
            elements=y.size,
            max_abs=Real(max_abs),
            index=shown,
            expected=Real(y[shown]),
            actual=Real(actual[shown]),
            ulps=Real(max_abs / self._form.spacing(y[at])) if max_abs else Real(0),
            u_s=None if units is None else Real(units),
            ratio=None if ratio is None else Real(ratio),
            ratio_index=ratio_index,
            required_rtol=Real(relative),
        )


def exact_limit(sums: PassSums, numerics: Numerics) -> Floats | float:
    """Return by how much an exact sum may be off: not at all, or by less than half a unit of what a transform rounds.

    A transform with 16-bit tiles rounds by more than that where sums are long; it is held to its tolerance there.
    """
    if numerics.algorithm != "transform":
        return 0.0
    half = math.nextafter(0.5, 0.0)
    acc = numerics.accumulator_format(sums.dtype)
    if not is_short(acc):
        return half
    return transformed(np.asarray(half), sums.operands.maps(), factor=transform_factor(sums.operands.dims), u=acc.unit_roundoff)


def index_of(flat: int, shape: tuple[int, ...]) -> Index:
    """Return the index of an element that has the flat index ``flat``."""
    return tuple(int(i) for i in np.unravel_index(flat, shape))


def _repeated(n: Counts) -> Floats:
    """Return the numbers of taps of as many elements as they begin to repeat after."""
    counts = without_repeats(n)
    first = next((axis for axis, size in enumerate(counts.shape) if size > 1), n.ndim)
    return (counts if counts.shape[first:] == n.shape[first:] else n).astype(np.float64).reshape(-1)


def _or_exact(actual: Floats, y: Floats, stored: Floats) -> Floats:
    return np.where(actual == y, y, stored)


def _non_finite(found: Discrepancy) -> Judgement:
    return Judgement(verdict=Verdict.NON_FINITE, discrepancy=found, reason=said_non_finite(found))
