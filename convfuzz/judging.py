"""Judging one output against the reference: which elements are off, by how much, and what that means."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from convfuzz.case import Case
from convfuzz.dtypes import FLOATS, dtype_name
from convfuzz.numerics import Numerics, Operands, explain, proven, tolerance
from convfuzz.oracle import Expectation, reference
from convfuzz.records import Real
from convfuzz.tensors import Tensors, rows_per_output_kernel

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Verdict(StrEnum):
    """What became of one backend on one case; failures are listed gravest first."""

    CRASH = "crash"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    CORRUPTED_INPUT = "corrupted-input"
    WRONG_SHAPE = "wrong-shape"
    WRONG_DTYPE = "wrong-dtype"
    NON_FINITE = "non-finite"
    WRONG = "wrong"
    ERROR = "error"
    ACCEPTED_INVALID = "accepted-invalid"
    IMPRECISE = "imprecise"
    NONDETERMINISTIC = "nondeterministic"
    AGREE = "agree"
    UNSUPPORTED = "unsupported"

    @property
    def failing(self) -> bool:
        """Whether the verdict is a finding."""
        return self not in (Verdict.AGREE, Verdict.UNSUPPORTED)


class Discrepancy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One output against another: how far apart they are, and where.

    ``max_abs`` is the largest |error| and ``index`` where it is, or where NaN or Inf is wrong first; ``expected`` and
    ``actual`` are the values there. ``ulps`` is ``max_abs`` in units in the last place of the output dtype there.
    ``u_s`` is the largest error in units of u·S, ``ratio`` the largest error over its tolerance, at ``ratio_index``.
    ``over`` of ``elements`` elements exceed the tolerance, ``non_finite`` are NaN or Inf where the reference is not, or
    the reverse, and ``undecided`` are those on which the specification leaves NaN and Inf open. ``required_atol`` and
    ``required_rtol`` are the smallest tolerances, each alone, that would pass. ``u_s`` and ``ratio`` are ``None`` in the
    exact regime.
    """

    elements: int
    max_abs: Real = Real(0)
    index: tuple[int, ...] = ()
    expected: Real = Real(0)
    actual: Real = Real(0)
    ulps: Real = Real(0)
    u_s: Real | None = None
    ratio: Real | None = None
    ratio_index: tuple[int, ...] = ()
    over: int = 0
    non_finite: int = 0
    undecided: int = 0
    required_rtol: Real = Real(0)

    @property
    def required_atol(self) -> Real:
        """Smallest absolute tolerance that would pass."""
        return self.max_abs


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict with its evidence. ``suspect`` means that the integers tie-breaker has to decide, see :func:`settle`."""

    verdict: Verdict
    reason: str = ""
    model: str = ""
    discrepancy: Discrepancy | None = None
    suspect: bool = False


class Judge:
    """Judges outputs of one case: holds the reference's expectation and each tolerance once."""

    def __init__(self, case: Case, tensors: Tensors) -> None:
        self.case = case
        self.config = case.config
        self.exact = case.recipe.regime == "integers"
        self.expected: Expectation = reference(case.config, tensors.x, tensors.w, tensors.b, moments=not self.exact)
        self._form = FLOATS[case.config.dtype]
        self._tensors = tensors
        bias = None if tensors.b is None else tensors.b.astype(np.float64).reshape(-1, *(1,) * case.config.dims)
        largest, subnormal = _largest(tensors, np.inf), _largest(tensors, self._form.tiny)
        self._operands = Operands(case.config.dtype, case.config.dims, bias, largest, subnormal)
        self._tolerances: dict[Numerics, Floats] = {}
        self._open = self._undecided_by_padding()

    def judge(self, output: npt.NDArray[Any], numerics: Numerics) -> Judgement:
        """Judge the forward ``output`` of a backend that declares ``numerics``."""
        if output.shape != self.config.output_shape:
            return Judgement(verdict=Verdict.WRONG_SHAPE, reason=f"shape {output.shape}, expected {self.config.output_shape}")
        if dtype_name(output.dtype) != self.config.dtype:
            return Judgement(verdict=Verdict.WRONG_DTYPE, reason=f"dtype {output.dtype}, expected {self.config.dtype}")
        with np.errstate(all="ignore"):  # unwritten memory may hold signalling NaN, and Inf − Inf is a result here
            actual = output.astype(np.float64)
            if self.exact:
                return self._judge_exact(actual, numerics)
            return self._judge_rounded(actual, numerics)

    def _judge_exact(self, actual: Floats, numerics: Numerics) -> Judgement:
        """Integers: a direct algorithm is bit-exact; half a unit and more is a wrong sum, whatever the algorithm."""
        if np.array_equal(actual, self.expected.y):
            return Judgement(verdict=Verdict.AGREE, discrepancy=Discrepancy(elements=actual.size))
        bad = ~np.isfinite(actual)
        error = np.where(bad, 0.0, np.abs(actual - self.expected.y))
        found = self._measure(actual, error, non_finite=bad, over=error > 0.0)
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
        bound = self._tolerance(numerics)
        bad, undecided = self._non_finite_elements(actual, bound, numerics)
        comparable = np.isfinite(actual) & np.isfinite(expected.y) & ~undecided & ~bad
        error = np.where(comparable, self._error(actual), 0.0)
        over = error > bound
        found = self._measure(actual, error, non_finite=bad, over=over, bound=bound, undecided=undecided, numerics=numerics)
        if found.non_finite:
            return self._non_finite(found)
        if not found.over:
            return Judgement(verdict=Verdict.AGREE, discrepancy=found)
        model = explain(error, expected, numerics, self._operands)
        acc = numerics.accumulator_format(self.config.dtype)
        limit = proven(expected, acc.unit_roundoff) + self._form.unit_roundoff * np.abs(expected.y) + self._form.smallest_subnormal
        strength = (
            "no order of summation explains that" if bool(np.any(error > np.maximum(limit, bound))) else "beyond the statistical bound"
        )
        return Judgement(
            verdict=Verdict.IMPRECISE if model else Verdict.WRONG,
            discrepancy=found,
            model=model or "",
            reason=f"{found.over} of {found.elements} elements are off, worst {found.ratio:.3g} times the tolerance; {strength}",
            suspect=True,
        )

    def _error(self, actual: Floats) -> Floats:
        error = actual - self.expected.y
        return np.abs(error if self.expected.y_lo is None else error - self.expected.y_lo)

    def _tolerance(self, numerics: Numerics) -> Floats:
        if numerics not in self._tolerances:
            self._tolerances[numerics] = tolerance(self.expected, numerics, self._operands)
        return self._tolerances[numerics]

    # -- NaN and Inf ----------------------------------------------------------------------------------------------

    def _undecided_by_padding(self) -> Bools | None:
        """Mark elements whose window meets padding with a NaN or Inf weight.

        The reference leaves padded taps out; who multiplies the padded zero gets NaN. Both are accepted.
        """
        bad_weight = ~np.isfinite(self._tensors.w.astype(np.float64))
        if self.config.padding_mode != "zeros" or not bad_weight.any():
            return None
        met = reference(self.config, np.ones(self.config.input_shape), bad_weight.astype(np.float64), moments=False).y
        per_kernel = rows_per_output_kernel(bad_weight, self.config).sum(axis=1).reshape(-1, *(1,) * self.config.dims)
        return np.asarray(met < per_kernel)

    def _non_finite_elements(self, actual: Floats, bound: Floats, numerics: Numerics) -> tuple[Bools, Bools]:
        """Return where NaN and Inf are wrong, and where they are undecided."""
        y = self.expected.y
        assert self.expected.S is not None, "rounded regimes compute the moments"
        accumulator = numerics.accumulator_format(self.config.dtype)
        # A partial sum may overflow the accumulator in one order and not in another.
        undecided: Bools = np.isfinite(self.expected.S) & (self.expected.S + bound > accumulator.max)
        if self._open is not None:
            undecided |= self._open
        top = self._form.max + self._top_half_ulp()  # from here on, rounding to nearest gives Inf
        same = (actual == y) | (np.isnan(actual) & np.isnan(y))
        must_be_finite = np.isfinite(y) & (np.abs(y) + bound < top)
        must_overflow = np.isfinite(y) & (np.abs(y) - bound > top)
        right_overflow = np.isinf(actual) & (np.sign(actual) == np.sign(y))
        bad = np.where(
            np.isfinite(y),
            (must_be_finite & ~np.isfinite(actual)) | (must_overflow & ~right_overflow) | (~np.isfinite(actual) & ~right_overflow),
            ~same,
        )
        if numerics.algorithm == "transform" and not np.isfinite(y).all():
            bad = ~np.isfinite(y) & np.isfinite(actual)  # a transform spreads NaN and Inf over its tile
        return bad & ~undecided, undecided

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
        *,
        non_finite: Bools,
        over: Bools,
        bound: Floats | None = None,
        undecided: Bools | None = None,
        numerics: Numerics | None = None,
    ) -> Discrepancy:
        if error.size == 0:
            return Discrepancy(elements=0)
        y = self.expected.y
        at = np.unravel_index(int(np.argmax(error)), error.shape)
        shown = np.unravel_index(int(np.argmax(non_finite)), error.shape) if non_finite.any() else at
        max_abs = float(error[at])
        magnitude = np.abs(y)
        relative = np.divide(error, magnitude, out=np.where(error > 0.0, np.inf, 0.0), where=magnitude > 0.0)
        relative = relative[np.isfinite(magnitude)]
        ratio = u_s = None
        ratio_index: tuple[int, ...] = ()
        if bound is not None and numerics is not None and self.expected.S is not None:
            ratios = np.where(error > 0.0, error / bound, 0.0)
            ratio_at = np.unravel_index(int(np.nanargmax(ratios)), error.shape)
            ratio, ratio_index = Real(ratios[ratio_at]), tuple(int(i) for i in ratio_at)
            acc = numerics.accumulator_format(self.config.dtype)
            excess = error if acc.precision <= self._form.precision else np.maximum(error - self._form.unit_roundoff * magnitude, 0.0)
            units = np.where(excess > 0.0, excess / (acc.unit_roundoff * self.expected.S), 0.0)
            u_s = Real(np.nanmax(units, initial=0.0))
        return Discrepancy(
            elements=error.size,
            max_abs=Real(max_abs),
            index=tuple(int(i) for i in shown),
            expected=Real(y[shown]),
            actual=Real(actual[shown]),
            ulps=Real(max_abs / self._form.spacing(y[at])) if max_abs else Real(0),
            u_s=u_s,
            ratio=ratio,
            ratio_index=ratio_index,
            over=int(np.count_nonzero(over)),
            non_finite=int(np.count_nonzero(non_finite)),
            undecided=0 if undecided is None else int(np.count_nonzero(undecided)),
            required_rtol=Real(relative.max(initial=0.0)),
        )


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
        left, right = a.astype(np.float64), b.astype(np.float64)
        difference = np.abs(left - right)
    if not np.isfinite(difference).all():
        same = (left == right) | (np.isnan(left) & np.isnan(right))
        difference = np.where(same, 0.0, np.where(np.isfinite(left) & np.isfinite(right), difference, np.inf))
    return float(difference.max())


def _largest(tensors: Tensors, below: float) -> float:
    """Return the largest magnitude of x and w that is less than ``below``; 0 where there is none."""
    largest = 0.0
    for array in (tensors.x, tensors.w):
        values = np.abs(array.astype(np.float64))
        largest = max(largest, float(np.max(values, initial=0.0, where=values < below)))
    return largest
