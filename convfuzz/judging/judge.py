"""Judging one output against the reference: which elements are off, by how much, and what that means."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from convfuzz.case import Case
from convfuzz.case.dtypes import component_format, dtype_name, is_integer
from convfuzz.judging.bounds import explain, proven, tolerance
from convfuzz.judging.numerics import Numerics
from convfuzz.judging.pass_sums import LayerSums, PassSums
from convfuzz.judging.worst_error import worst
from convfuzz.oracle import Expectation
from convfuzz.system.json_records import Real
from convfuzz.tensors.generator import Tensors
from convfuzz.verdicts import Discrepancy, Verdict

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict with its evidence. ``suspect`` means that the integers tie-breaker has to decide, see :func:`settle`.

    ``proven`` says that an error is beyond what any order of summation makes of the data, not the statistical bound alone.
    """

    verdict: Verdict
    reason: str = ""
    model: str = ""
    discrepancy: Discrepancy | None = None
    suspect: bool = False
    proven: bool = False


@dataclass(frozen=True, eq=False)
class _Limits:
    """What one declaration allows, per element: the error, and where NaN and Inf are open, excluded or demanded.

    ``calm``: no element is undecided and every one must be finite, so that a finite output needs no such look.
    """

    tolerance: Floats
    undecided: Bools
    must_be_finite: Bools
    must_overflow: Bools
    calm: bool


class Judge:
    """Judges outputs of one case, pass by pass: holds the reference's expectations and each tolerance once.

    ``integers`` says that the tensors hold integers, whose sums can be exact; by default the case's recipe says so.
    """

    def __init__(self, case: Case, tensors: Tensors, *, integers: bool | None = None) -> None:
        self.case = case
        self._sums = LayerSums(case.config, tensors, integers=case.recipe.has_integers if integers is None else integers)
        self._passes: dict[str, _PassJudge] = {}

    @property
    def reference_seconds(self) -> float:
        """How long the reference took for what was judged so far."""
        return self._sums.seconds

    @property
    def expected(self) -> Expectation:
        """What the reference says of the forward pass."""
        return self.of("forward").expected

    def judge(self, output: npt.NDArray[Any], numerics: Numerics, in_pass: str = "forward") -> Judgement:
        """Judge a backend's ``output`` of one pass under the ``numerics`` that it declares for the case."""
        shape, dtype = self.case.shape_of(in_pass), self.case.config.dtype
        if output.shape != shape:
            return Judgement(verdict=Verdict.WRONG_SHAPE, reason=f"shape {output.shape}, expected {shape}")
        if dtype_name(output.dtype) != dtype:
            return Judgement(verdict=Verdict.WRONG_DTYPE, reason=f"dtype {output.dtype}, expected {dtype}")
        if not numerics.values:
            return Judgement(verdict=Verdict.AGREE, reason="shape and dtype only")
        with np.errstate(all="ignore"):  # unwritten memory may hold signalling NaN, and Inf − Inf is a result here
            return self.of(in_pass).judge(comparable(output), numerics.in_pass(in_pass))

    def errors(self, output: npt.NDArray[Any], numerics: Numerics, in_pass: str = "forward") -> tuple[Floats, Floats]:
        """Return |error| and tolerance of every element of an ``output`` that has the right shape and dtype.

        The error is Inf where NaN or Inf is wrong, and 0 where they are left open; the tolerance is 0 where sums are exact.
        """
        with np.errstate(all="ignore"):
            return self.of(in_pass).errors(comparable(output), numerics.in_pass(in_pass))

    def of(self, in_pass: str) -> _PassJudge:
        """Return the judge of one pass; the reference computes when the first output of it is there."""
        if in_pass not in self._passes:
            judge = _WholeJudge if is_integer(self.case.config.dtype) else _PassJudge
            self._passes[in_pass] = judge(self._sums.of(in_pass))
        return self._passes[in_pass]


def comparable(output: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an output as the reference has it: float64, integers as int64, complex with a last axis (real, imaginary)."""
    if output.dtype.kind == "c":
        return np.stack([output.real, output.imag], axis=-1).astype(np.float64)
    return output.astype(np.int64 if output.dtype.kind in "iu" else np.float64)


class _PassJudge:
    """Judges outputs of one pass of a case in a floating-point or complex dtype."""

    def __init__(self, sums: PassSums) -> None:
        self._sums = sums
        self.expected = sums.expected
        self._form = component_format(sums.dtype)
        self._operands = sums.operands
        self._limits_of: dict[Numerics, _Limits] = {}

    def judge(self, actual: Floats, numerics: Numerics) -> Judgement:
        """Judge an output in the reference's own form."""
        if self._sums.certified is not None:
            return self._judge_exact(actual, self._sums.certified, numerics)
        return self._judge_rounded(actual, numerics)

    def _judge_exact(self, actual: Floats, certified: Bools, numerics: Numerics) -> Judgement:
        """Integers: a direct algorithm is bit-exact; half a unit and more is a wrong sum, whatever the algorithm.

        An element whose sum is not ``certified`` to be exact in every order is held to the tolerance of rounded sums.
        """
        y = numerics.stored(self.expected.y, actual)
        if np.array_equal(actual, y):
            return Judgement(verdict=Verdict.AGREE, discrepancy=Discrepancy(elements=actual.size))
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
            return self._non_finite(found)
        if found.max_abs >= 0.5:
            return Judgement(
                verdict=Verdict.WRONG,
                discrepancy=found,
                reason=f"integers off by {found.max_abs:g}: a tap is missing, doubled or misplaced",
            )
        if numerics.algorithm == "transform":
            return Judgement(verdict=Verdict.AGREE, discrepancy=found)
        return Judgement(
            verdict=Verdict.IMPRECISE,
            discrepancy=found,
            model="Winograd or FFT",
            reason=f"integers off by {found.max_abs:.2g}: a direct algorithm would be exact",
        )

    def _judge_rounded(self, actual: Floats, numerics: Numerics) -> Judgement:
        expected = self.expected
        limits = self._limits(numerics)
        bound = limits.tolerance
        error, bad = self._compare(actual, limits, numerics)
        found = self._measure(actual, error, bound, bad, None if bad is None else limits.undecided, numerics)
        if found.non_finite:
            return self._non_finite(found)
        if not found.over:
            return Judgement(verdict=Verdict.AGREE, discrepancy=found)
        model = explain(error, expected, numerics, self._operands)
        acc = numerics.accumulator_format(self._sums.dtype)
        limit = proven(expected, acc.unit_roundoff) + self._form.unit_roundoff * np.abs(expected.y) + self._form.smallest_subnormal
        beyond_any_order = bool(np.any(error > np.maximum(limit, bound)))
        strength = "no order of summation explains that" if beyond_any_order else "beyond the statistical bound"
        return Judgement(
            verdict=Verdict.IMPRECISE if model else Verdict.WRONG,
            discrepancy=found,
            model=model or "",
            reason=f"{found.over} of {found.elements} elements are off, worst {found.ratio:.3g} times the tolerance; {strength}",
            suspect=True,
            proven=beyond_any_order,
        )

    def errors(self, actual: Floats, numerics: Numerics) -> tuple[Floats, Floats]:
        """Return |error| and tolerance, as :meth:`Judge.errors` does, of an output in the reference's own form."""
        certified = self._sums.certified
        if certified is not None:
            off = np.where(np.isfinite(actual), np.abs(actual - numerics.stored(self.expected.y, actual)), np.inf)
            if certified.all():
                return off, np.zeros_like(off)
        limits = self._limits(numerics)
        error, bad = self._compare(actual, limits, numerics)
        if bad is not None:
            error = np.where(bad, np.inf, error)
        if certified is None:
            return error, limits.tolerance
        return np.where(certified, off, error), np.where(certified, 0.0, limits.tolerance)

    def _compare(self, actual: Floats, limits: _Limits, numerics: Numerics) -> tuple[Floats, Bools | None]:
        """Return |error|, 0 where there is none to speak of, and where NaN and Inf are wrong: ``None`` where no look is needed."""
        if limits.calm and np.isfinite(actual).all():
            return self._error(actual), None
        bad = self._misplaced(actual, limits, numerics)
        measurable = np.isfinite(actual) & np.isfinite(self.expected.y) & ~limits.undecided & ~bad
        return np.where(measurable, self._error(actual), 0.0), bad

    def _error(self, actual: Floats) -> Floats:
        error: Floats = actual - self.expected.y
        return np.abs(error if self.expected.y_lo is None else error - self.expected.y_lo)

    # -- NaN and Inf ----------------------------------------------------------------------------------------------

    def _limits(self, numerics: Numerics) -> _Limits:
        if numerics not in self._limits_of:
            self._limits_of[numerics] = self._make_limits(numerics)
        return self._limits_of[numerics]

    def _make_limits(self, numerics: Numerics) -> _Limits:
        y, bias = self.expected.y, self._operands.bias
        assert self.expected.S is not None, "rounded regimes compute the moments"
        bound = tolerance(self.expected, numerics, self._operands)
        accumulator = numerics.accumulator_format(self._sums.dtype)
        # A partial sum may overflow the accumulator in one order and not in another.
        undecided: Bools = np.isfinite(self.expected.S) & (self.expected.S + bound > accumulator.max)
        if self._sums.undecided is not None:
            undecided |= self._sums.undecided
        top = self._form.max + self._top_half_ulp()  # from here on, rounding to nearest gives Inf
        size = np.abs(y)
        # Rounded before the bias is added, the sum may overflow although the bias would bring it back.
        rounded = size if bias is None or numerics.bias == "fused" else np.maximum(size, np.abs(y - bias))
        must_be_finite = rounded + bound < top
        calm = bool(must_be_finite.all() and not undecided.any())
        return _Limits(bound, undecided, must_be_finite, np.isfinite(y) & (size - bound > top), calm)

    def _misplaced(self, actual: Floats, limits: _Limits, numerics: Numerics) -> Bools:
        """Return where NaN and Inf are wrong."""
        y = self.expected.y
        bad: Bools
        if numerics.algorithm == "transform" and not np.isfinite(y).all():
            bad = ~np.isfinite(y) & np.isfinite(actual)  # a transform spreads NaN and Inf over its tile
        else:
            finite = np.isfinite(actual)
            same = (actual == y) | (np.isnan(actual) & np.isnan(y))
            right_overflow = np.isinf(actual) & (np.sign(actual) == np.sign(y))
            bad = np.where(
                np.isfinite(y),
                (limits.must_be_finite & ~finite) | (limits.must_overflow & ~right_overflow) | (~finite & ~right_overflow),
                ~same,
            )
        return bad & ~limits.undecided

    def _top_half_ulp(self) -> float:
        return 2.0 ** (self._form.emax - self._form.precision)

    def _non_finite(self, found: Discrepancy) -> Judgement:
        reason = (
            f"{found.non_finite} of {found.elements} elements: at {list(found.index)} expected {found.expected:g}, got {found.actual:g}"
        )
        return Judgement(verdict=Verdict.NON_FINITE, discrepancy=found, reason=reason)

    # -- measuring ------------------------------------------------------------------------------------------------

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
        y, form = self.expected.y, self._form
        acc = form if numerics is None else numerics.accumulator_format(self._sums.dtype)
        # Beyond the output's own rounding, where that is the coarser one.
        hidden = (0.0, 0.0) if acc.precision <= form.precision else (form.unit_roundoff, form.smallest_subnormal / 2.0)
        magnitude = y if self.expected.S is None else self.expected.S
        first, ratio_at, over, ratio, units, relative = worst(
            error.reshape(-1), bound.reshape(-1), y.reshape(-1), magnitude.reshape(-1), acc.unit_roundoff, *hidden
        )
        at = _index(first, error.shape)
        shown = at if misplaced is None or not misplaced.any() else _index(int(np.argmax(misplaced)), error.shape)
        max_abs = float(error[at])
        ratio_index = () if numerics is None else _index(ratio_at, error.shape)
        return Discrepancy(
            elements=error.size,
            max_abs=Real(max_abs),
            index=shown,
            expected=Real(y[shown]),
            actual=Real(actual[shown]),
            ulps=Real(max_abs / form.spacing(y[at])) if max_abs else Real(0),
            u_s=None if numerics is None else Real(units),
            ratio=None if numerics is None else Real(ratio),
            ratio_index=ratio_index,
            over=over,
            non_finite=0 if misplaced is None else int(np.count_nonzero(misplaced)),
            undecided=0 if undecided is None else int(np.count_nonzero(undecided)),
            required_rtol=Real(relative),
        )


class _WholeJudge(_PassJudge):
    """Judges outputs in an integer dtype: they are exact, modulo 2^bits where a sum is beyond the dtype."""

    def __init__(self, sums: PassSums) -> None:
        self._sums = sums
        self.expected = sums.expected

    def judge(self, actual: npt.NDArray[Any], numerics: Numerics) -> Judgement:
        """Compare without a tolerance."""
        y: npt.NDArray[Any] = self.expected.y
        if np.array_equal(actual, y):
            return Judgement(verdict=Verdict.AGREE, discrepancy=Discrepancy(elements=actual.size))
        error, _ = self.errors(actual, numerics)
        at = _index(int(np.argmax(error)), error.shape)
        over = int(np.count_nonzero(actual != y))
        found = Discrepancy(
            elements=actual.size,
            max_abs=Real(error[at]),
            index=at,
            expected=Real(y[at]),
            actual=Real(actual[at]),
            over=over,
            required_rtol=Real(np.max(error / np.abs(y.astype(np.float64)), where=actual != y, initial=0.0)),
        )
        reason = f"{over} of {actual.size} integers are off: at {list(at)} expected {int(y[at])}, got {int(actual[at])}"
        return Judgement(verdict=Verdict.WRONG, discrepancy=found, reason=reason)

    def errors(self, actual: npt.NDArray[Any], numerics: Numerics) -> tuple[Floats, Floats]:
        """Return |error|, at least 1 where two integers differ, and a tolerance of 0."""
        del numerics
        error = np.abs(actual.astype(np.float64) - self.expected.y.astype(np.float64))
        return np.maximum(error, actual != self.expected.y), np.zeros_like(error)


def _index(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(flat, shape))


def settle(suspect: Judgement, integers: Judgement) -> Judgement:
    """Decide a suspect judgement by the same configuration's judgement on integers, with no constant to tune.

    A configuration that is wrong on integers is wrong; one that is clean there has a numerical cause, which the
    explaining model names. Where no model explains the error it is wrong all the same.
    """
    if integers.verdict in (Verdict.AGREE, Verdict.IMPRECISE):
        if suspect.model:
            return msgspec.structs.replace(
                suspect, reason=f"{suspect.reason}; exact on integers; explained by {suspect.model}", suspect=False
            )
        return msgspec.structs.replace(suspect, reason=f"{suspect.reason}; no known arithmetic explains it", suspect=False)
    return msgspec.structs.replace(
        suspect, verdict=Verdict.WRONG, model="", reason=f"{suspect.reason}; wrong on integers too ({integers.reason})", suspect=False
    )


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
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    return float(np.where(same, 0.0, np.where(np.isfinite(left) & np.isfinite(right), difference, np.inf)).max())
