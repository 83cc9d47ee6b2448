"""What judging one pass of a case takes: the reference's sums, their operands, and which elements are certain or open."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz import oracle
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import INTEGER_LIMITS, FloatFormat, component_format, is_complex, is_integer
from convfuzz.judging.comparing import comparable
from convfuzz.judging.declared_numbers import CUT, FLUSHED, declared_numbers
from convfuzz.judging.declared_order import DeclaredOrder
from convfuzz.judging.exact_sums import exact_up_to, surely_exact_gradients, surely_exact_outputs
from convfuzz.judging.numerics import INPUT_ROUNDINGS, Numerics, Rounding
from convfuzz.judging.operands_out_of_range import flushable, inf_meets_flushed, rounded_outside
from convfuzz.judging.ordered_sums import squares_in_order
from convfuzz.judging.padding_meets_nan import may_be_nan
from convfuzz.judging.short_sums import ShortSums
from convfuzz.judging.tolerance import Operands, is_short, tolerance
from convfuzz.judging.transforms import magnitudes
from convfuzz.oracle import Expectation
from convfuzz.tensors.generator import Array, Tensors

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

_MOST_PRODUCTS = 2**18
"""How many products of suspect elements are added up in a short format, which takes about a tenth of a second."""


class LayerSums:
    """The sums of every pass of a layer, computed by the reference when they are first asked for.

    ``integers`` says that the tensors hold integers, so that a sum of them is exact as long as it is not too large.
    ``seconds`` is the time that the reference took so far.
    """

    def __init__(self, config: ConvConfig, tensors: Tensors, *, integers: bool) -> None:
        self.config, self.tensors, self.integers = config, tensors, integers
        self.seconds = 0.0
        self._of: dict[str, PassSums] = {}

    def of(self, in_pass: str) -> PassSums:
        """Return the sums of one pass."""
        if in_pass not in self._of:
            began = time.perf_counter()
            # Integers that cannot sum up to too much need no S to certify them.
            self._of[in_pass] = PassSums(
                self.config,
                self.tensors,
                in_pass,
                _expectation(self.config, self.tensors, in_pass, exact=self._are_surely_exact(in_pass)),
                integers=self.integers,
            )
            self.seconds += time.perf_counter() - began
        return self._of[in_pass]

    def _are_surely_exact(self, in_pass: str) -> bool:
        if not self.integers or is_integer(self.config.dtype):
            return False
        return surely_exact_outputs(self.config, self.tensors) if in_pass == "forward" else self._has_exact_gradients

    @cached_property
    def _has_exact_gradients(self) -> bool:
        return surely_exact_gradients(self.config, self.tensors)


def _expectation(config: ConvConfig, tensors: Tensors, in_pass: str, *, exact: bool) -> Expectation:
    x, w, dy = tensors.x, tensors.w, tensors.dy
    if in_pass == "forward":
        # Integer dtypes have no error bound.
        return oracle.reference(config, x, w, tensors.b, moments=not is_integer(config.dtype), exact=exact)
    assert dy is not None, "a case with gradients has the output's gradient"
    return oracle.gradients(config, x, w, dy, exact=exact, passes=(in_pass,))[in_pass]


class PassSums:
    """The sums of one pass of a layer, what the error bounds need beside them, and where they certify or leave open."""

    def __init__(self, config: ConvConfig, tensors: Tensors, in_pass: str, expected: Expectation, *, integers: bool) -> None:
        self._config, self._tensors, self._pass = config, tensors, in_pass
        self.are_integers = integers and not is_integer(config.dtype)
        self.dtype = config.dtype
        self.expected = expected
        self.short = ShortSums(config, tensors, in_pass, expected.y.shape)
        self._statistical: dict[float, Floats] = {}
        self._ordered: dict[str, Floats | None] = {}
        self._outside: dict[Rounding, Floats] = {}
        self._certified: dict[float, Bools] = {}
        self._seen: Callable[[], tuple[Floats, Bools]] | None = None
        self._sites = max(math.prod(config.input_size), math.prod(config.output_size), 1)

    def certified(self, numerics: Numerics) -> Bools | None:
        """Mark elements whose sum of integers ``numerics`` computes exactly in any order; ``None`` where the data are no such integers."""
        if not self.are_integers:
            return None
        limit = self.exact_up_to(numerics)
        if limit not in self._certified:
            if self.expected.S is None and limit < INTEGER_LIMITS[self.dtype]:
                self.expected = _expectation(self._config, self._tensors, self._pass, exact=False)
            expected = self.expected
            self._certified[limit] = np.ones(expected.y.shape, bool) if expected.S is None else np.asarray(limit >= expected.S)
        return self._certified[limit]

    def exact_up_to(self, numerics: Numerics) -> float:
        """Return up to which S = Σ|p| ``numerics`` computes sums of integers exactly."""
        return exact_up_to(self._config, self._tensors, numerics)

    def numbers(self, numerics: Numerics) -> Floats | None:
        """Return what is declared as numbers, of which the tolerance is made with an element's own sums; ``None`` where it takes more.

        That is: two parts, a map, truncation, operands outside a range, or an order; and where NaN may be beside what the sum says.
        """
        if is_complex(self.dtype) or numerics.algorithm == "transform" or is_short(numerics.accumulator_format(self.dtype)):
            return None
        numbers = declared_numbers(self.dtype, self._config.dims, numerics, has_bias=self.operands.bias is not None)
        if numbers is None or numbers[CUT] or (numbers[FLUSHED] and self._flushable.any()):
            return None
        if numerics.inputs != "exact" and self._rounded_outside(INPUT_ROUNDINGS[numerics.inputs]).any():
            return None
        return None if self.may_be_nan is not None and self.may_be_nan.any() else numbers

    @cached_property
    def operands(self) -> Operands:
        """What the tolerance needs to know of the data."""
        config = self._config
        bias = None
        if self._pass == "forward" and self._tensors.b is not None:
            bias = comparable(self._tensors.b)
            bias = bias.reshape(-1, *(1,) * config.dims, *bias.shape[1:])
        return Operands(self.dtype, config.dims, bias, lambda: self._maps[0], lambda: self._flushable, self._rounded_outside)

    def with_operands(self, change: Callable[[Array], Array]) -> PassSums:
        """Return the sums of the same pass of other operands: each but the bias is changed."""
        given = {name: array if name == "b" else change(array) for name, array in self._tensors.named().items()}
        tensors = Tensors(given["x"], given["w"], given.get("b"), given.get("dy"))
        return LayerSums(self._config, tensors, integers=False).of(self._pass)

    def are_of_tile(self, maps: Callable[[], tuple[Floats, Bools]], sites: int) -> None:
        """Take note that these are sums of a tile: of the larger layer a transform sees the whole ``maps``, of so many sites."""
        self._seen, self._sites = maps, sites

    @property
    def smeared(self) -> Bools:
        """Where a transform may spread NaN and Inf, or overflow on the way: all of a map that holds one or grows that large."""
        magnitude, smeared = self._maps
        with np.errstate(over="ignore"):
            return smeared | (magnitude * self._sites > component_format(self.dtype).max)

    def tolerance(self, numerics: Numerics, error: Floats, above: Bools, *, wide: FloatFormat | None = None) -> Floats:
        """Return the largest |error| per element that ``numerics`` explains, given an output's ``error``.

        Where sums are kept in a short format, what they can lose is computed from the products of those elements whose error
        nothing else explains; ``above`` says which results are larger than the exact sum, since sums that terms vanish in end
        below it. Of very large layers only the worst elements are looked at so closely.
        """
        acc = numerics.accumulator_format(self.dtype)
        at_most = self.bound(numerics, wide=wide)
        if not self.is_simulated(numerics) or error.size == 0:
            return at_most
        lost = np.zeros(error.shape)
        plain = self.bound(numerics, wide=wide, lost=lost)
        looked_at, others = self._suspects(error, plain, at_most)
        if looked_at.size == 0:
            return plain
        below, beyond = self.short.lost(acc, looked_at)
        lost.reshape(-1)[looked_at] = np.where(above.reshape(-1)[looked_at], beyond, below)
        refined = self.bound(numerics, wide=wide, lost=lost)
        refined.reshape(-1)[others] = at_most.reshape(-1)[others]
        if numerics.algorithm == "transform" or np.any(error > refined):
            return refined
        return self._together(refined, plain, np.where(above, error, -error), acc)

    def covers(self, numerics: Numerics, error: Floats, above: Bools, *, wide: FloatFormat | None = None) -> bool:
        """Whether no ``error`` is beyond the :meth:`tolerance`, of which no more is computed than it takes to say so.

        What short sums lose in many orders is no less than in the first few of them, which nearly always is enough.
        """
        acc = numerics.accumulator_format(self.dtype)
        if not self.is_simulated(numerics) or error.size == 0:
            return not np.any(error > self.bound(numerics, wide=wide))
        at_most, plain = self.bound(numerics, wide=wide), self.plain(numerics, wide=wide)
        looked_at, others = self._suspects(error, plain, at_most)
        if np.any(error.reshape(-1)[others] > at_most.reshape(-1)[others]):
            return False

        def unexplained(elements: Indices, *, few: bool) -> Indices:
            below, beyond = self.short.lost(acc, elements, few=few)
            lost = np.where(above.reshape(-1)[elements], beyond, below)
            return elements[error.reshape(-1)[elements] > self.bound_at(elements, numerics, wide=wide, lost=lost)]

        if looked_at.size and (left := unexplained(looked_at, few=True)).size and unexplained(left, few=False).size:
            return False
        if numerics.algorithm == "transform" or not np.any((error > plain).reshape(-1)[self.short.sample()]):
            return True  # of the elements that are asked together none has lost anything
        bound = np.where(error > plain, np.inf, plain)
        return not np.any(error > self._together(bound, plain, np.where(above, error, -error), acc))

    def is_simulated(self, numerics: Numerics) -> bool:
        """Whether sums are in a short format, so that what they lose is computed from their products."""
        in_three = is_complex(self.dtype) and numerics.complex_products == "three"
        return is_short(numerics.accumulator_format(self.dtype)) and not in_three and not numerics.truncates

    def _suspects(self, error: Floats, plain: Floats, at_most: Floats) -> tuple[Indices, Indices]:
        """Return the elements that have lost something, by their flat index: those that are looked at, the worst ones, and the others."""
        suspects = np.flatnonzero(error > plain)
        with np.errstate(all="ignore"):
            worst = suspects[np.argsort(-(error.reshape(-1)[suspects] / at_most.reshape(-1)[suspects]), kind="stable")]
        many = max(_MOST_PRODUCTS // self.short.count, 1)
        return worst[:many], worst[many:]

    def plain(self, numerics: Numerics, *, wide: FloatFormat | None = None) -> Floats:
        """Return the tolerance without what a short accumulator loses."""
        return self.bound(numerics, wide=wide, lost=np.zeros(self.expected.y.shape))

    def bound(self, numerics: Numerics, *, wide: FloatFormat | None = None, lost: Floats | None = None) -> Floats:
        """Return the tolerance of ``numerics`` as :func:`.tolerance.tolerance` does: that of any data, or with what is ``lost``."""
        ordered = self.in_declared_order(numerics)
        return tolerance(self.expected, numerics, self.operands, wide=wide, lost=lost, ordered=ordered, statistical=self._statistical)

    def bound_at(self, elements: Indices, numerics: Numerics, *, wide: FloatFormat | None = None, lost: Floats | None = None) -> Floats:
        """Return the :meth:`bound` of some elements, given by their flat index, where the parts of complex ones stand by themselves."""
        expected, operands, shape = self.expected, self.operands, self.expected.y.shape
        at = np.unravel_index(elements, shape)

        def of(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return np.asarray(np.broadcast_to(values, shape)[at])

        assert expected.S is not None, "the bound needs the moments"
        assert expected.Q is not None, "the bound needs the moments"
        few = Expectation(expected.y[at], None, expected.S[at], expected.Q[at], expected.n[at])
        bias = None if operands.bias is None else of(operands.bias)
        asked = (lambda: of(operands.maps()), lambda: of(operands.flushable()), lambda rounding: of(operands.rounded_outside(rounding)))
        of_few = Operands(self.dtype, self._config.dims, bias, *asked)
        ordered = self.in_declared_order(numerics)
        return tolerance(few, numerics, of_few, wide=wide, lost=lost, ordered=None if ordered is None else ordered[at])

    def in_declared_order(self, numerics: Numerics) -> Floats | None:
        """Return Σ s_k² of the partial sums in the declared order, NaN where any is allowed; ``None`` where that is everywhere."""
        order = numerics.order
        if order is None or is_short(numerics.accumulator_format(self.dtype)):
            return None
        if order not in self._ordered:
            self._ordered[order] = squares_in_order(self.expected, self._config, self._tensors, self._pass, DeclaredOrder.parse(order))
        return self._ordered[order]

    def _together(self, bound: Floats, plain: Floats, error: Floats, form: FloatFormat) -> Floats:
        """Lower the tolerance where no element is beyond it, but all together are more than sums in one order are."""
        joint = self.short.joint_limits(form)
        if joint is not None:
            at = joint.elements
            bound.reshape(-1)[at] = joint.lowered(bound.reshape(-1)[at], error.reshape(-1)[at], plain.reshape(-1)[at])
        return bound

    @cached_property
    def _maps(self) -> tuple[Floats, Bools]:
        return self._seen() if self._seen is not None else magnitudes(self._config, self._tensors, self._pass)

    @cached_property
    def _flushable(self) -> Floats:
        return flushable(self._config, self._tensors, self._pass)

    def _rounded_outside(self, rounding: Rounding) -> Floats:
        if rounding not in self._outside:
            self._outside[rounding] = rounded_outside(self._config, self._tensors, self._pass, rounding)
        return self._outside[rounding]

    @cached_property
    def inf_meets_flushed(self) -> Bools:
        """Mark elements that may be NaN where subnormal operands are flushed."""
        return inf_meets_flushed(self._config, self._tensors, self._pass)

    @cached_property
    def may_be_nan(self) -> Bools | None:
        """Mark elements that may be NaN beside what the sum says: see :mod:`.padding_meets_nan`."""
        return may_be_nan(self._config, self._tensors, self._pass, self.expected.y.shape)
