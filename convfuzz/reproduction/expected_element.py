"""One element of a result: what it should be, by how much it may be off, and the products that it is the sum of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from convfuzz.case.dtypes import FloatFormat, component_format
from convfuzz.judging.bounds import LAMBDA
from convfuzz.judging.element_products import operand_pairs
from convfuzz.judging.float_judge import exact_limit
from convfuzz.judging.tolerance import is_short
from convfuzz.record.finding import Finding
from convfuzz.reproduction.subject import Subject

_MOST_PRODUCTS = 8


@dataclass(frozen=True)
class Expected:
    """The element at ``index`` of the judged result: its exact ``value``, rounded where that overflows, and the tolerance."""

    subject: Subject
    index: tuple[int, ...]
    value: float
    tolerance: float

    @property
    def place(self) -> str:
        """The element as source, such as ``y[0, 0, 2]``; a complex result's index ends in its part."""
        index = self.index[:-1] if self.subject.is_complex else self.index
        part = (".real", ".imag")[self.index[-1]] if self.subject.is_complex else ""
        return f"{self.subject.result}[{', '.join(map(str, index))}]{part}"

    @property
    def literal(self) -> str:
        """The value as source."""
        if self.subject.is_integer:
            return str(int(self.value))
        return repr(self.value) if math.isfinite(self.value) else f'float("{self.value}")'

    @property
    def said(self) -> str:
        """The value with the products that it is the sum of: written out where they are few, else how many there are."""
        subject, value = self.subject, self.literal if math.isfinite(self.value) else str(self.value)
        if subject.is_complex or subject.is_integer:  # sums of their own, or sums that may wrap around
            return value
        left, right = operand_pairs(subject.config, subject.tensors, subject.in_pass, self.index)
        with np.errstate(all="ignore"):
            counts = left * right != 0
        terms = [f"{_short(a)} × {_short(b)}" for a, b in zip(left[counts], right[counts], strict=True)]
        if subject.in_pass == "forward" and subject.tensors.b is not None:
            bias = subject.tensors.b[self.index[-subject.config.dims - 1]]
            terms += [_short(bias)] if bias else []
        if len(terms) > _MOST_PRODUCTS:
            return f"{value}, the sum of {len(terms)} products that are not 0"
        return f"{' + '.join(terms)} = {value}" if terms else f"{value}, an empty sum"

    @property
    def why(self) -> str:
        """Say in a line where the tolerance comes from."""
        subject = self.subject
        if subject.is_integer:
            return "Integers are exact: a sum beyond the dtype wraps around."
        if not math.isfinite(self.value):
            return "NaN and Inf follow from IEEE 754 in every order of summation."
        if self.tolerance < 1 and self._is_certified:
            name = _coarser(subject.accumulator, component_format(subject.config.dtype)).name
            exact = f"{name} holds every integer up to {subject.exact_limit:g} exactly"
            if self.tolerance == 0:
                return f"No rounding: the operands are small integers and {exact}, so that every order of summation gives this number."
            return f"The operands are small integers and {exact}; half a unit is left to what a transform rounds."
        u, u_out = subject.accumulator.unit_roundoff, subject.form.unit_roundoff
        count = int(subject.sums.expected.n[self.index])
        if count == 0:
            return "There is nothing to add up."
        if is_short(subject.accumulator):
            return (
                f"The tolerance is what sums of these {count} products in {subject.accumulator.name} lose at most, in any order "
                f"that does not depend on them, and u_out·|{subject.result}| with u_out = {_power(u_out)} ({subject.form.name} result)."
            )
        squares = subject.sums.in_declared_order(subject.numerics)
        if squares is not None and np.isfinite(squares[self.index]):
            return (
                f"The tolerance bounds the rounding of the {count} products in the declared order, {subject.numerics.order}: "
                f"{LAMBDA}·u·sqrt(Σs² + Σp²) + u_out·|{subject.result}|, with the partial sums s, u = {_power(u)} "
                f"({subject.accumulator.name} accumulation), u_out = {_power(u_out)} ({subject.form.name} result)."
            )
        return (
            f"The tolerance follows from the data and bounds the rounding of the {count} products in any order that does not depend on "
            f"them: {LAMBDA}·u·sqrt(n(n+1)/6·(var + (2n+1)·mean²) + Σp²) + u_out·|{subject.result}|, with u = {_power(u)} "
            f"({subject.accumulator.name} accumulation), u_out = {_power(u_out)} ({subject.form.name} result), n = {count}."
        )

    @property
    def _is_certified(self) -> bool:
        certified = self.subject.certified
        return certified is not None and bool(certified[self.index])


def worst_element(finding: Finding, subject: Subject) -> Expected | None:
    """Return the element that ``finding`` is about: where NaN or Inf is wrong first, else the one furthest beyond its tolerance."""
    found = finding.discrepancy
    if found is None or not found.elements:
        return None
    index = found.index if found.non_finite or not found.ratio_index else found.ratio_index
    expected = subject.sums.expected
    if len(index) != expected.y.ndim or any(i >= size for i, size in zip(index, expected.y.shape, strict=True)):
        return None
    value = float(expected.y[index])
    if subject.is_integer:
        return Expected(subject, index, value, 0.0)
    stored = float(subject.form.round(np.asarray(value)))
    return Expected(subject, index, value if math.isfinite(stored) else stored, _tolerance(subject, index, float(found.actual)))


def _tolerance(subject: Subject, index: tuple[int, ...], actual: float) -> float:
    sums, numerics = subject.sums, subject.numerics
    y = sums.expected.y
    certified = subject.certified
    if certified is not None and certified[index]:
        stored = abs(float(numerics.stored(np.asarray(y[index]), np.asarray(np.nan))) - float(y[index]))
        return max(stored, float(np.broadcast_to(exact_limit(sums, numerics), y.shape)[index]))
    error = np.zeros(y.shape)
    error[index] = np.inf if is_short(subject.accumulator) else 0.0  # a closer look is taken at what is suspect
    with np.errstate(all="ignore"):
        return float(sums.tolerance(numerics, error, np.full(y.shape, actual > y[index]))[index])


def _coarser(one: FloatFormat, other: FloatFormat) -> FloatFormat:
    return min(one, other, key=lambda form: form.precision)


def _short(number: float) -> str:
    return str(int(number)) if float(number).is_integer() and abs(number) < 2**53 else f"{number:.9g}"


def _power(u: float) -> str:
    return f"2^{int(math.log2(u))}"
