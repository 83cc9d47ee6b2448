"""What judging one pass of a case takes: the reference's sums, their operands, and which elements are certain or open."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from convfuzz import oracle
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import INTEGER_LIMITS, FloatFormat, component_format, is_complex, is_integer
from convfuzz.judging.bounds import together
from convfuzz.judging.declared_numbers import CUT, FLUSHED, declared_numbers
from convfuzz.judging.declared_order import DeclaredOrder
from convfuzz.judging.element_products import product_count, products_in_two_orders
from convfuzz.judging.numerics import Numerics
from convfuzz.judging.ordered_sums import squares_in_order
from convfuzz.judging.tolerance import Operands, is_short, tolerance
from convfuzz.judging.transforms import magnitudes
from convfuzz.oracle import Expectation
from convfuzz.tensors.generator import Array, Tensors
from convfuzz.tensors.regimes import padding_copies, rows_per_group, rows_per_output_kernel

if TYPE_CHECKING:
    from convfuzz.judging.joint_errors import JointLimits

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

_OPERANDS = {"forward": ("x", "w"), "grad_input": ("dy", "w"), "grad_weight": ("x", "dy"), "grad_bias": ("dy",)}
_MET_BY_ZEROS: dict[str, tuple[str, ...]] = {"forward": ("w",), "grad_input": ("w",), "grad_weight": ("dy", "x"), "grad_bias": ()}
"""The operands that an implementation may multiply by zeros that it writes around and between the sites of the other one."""
_COPIES = (("grad_input", "w"), ("grad_weight", "x"))
_MOST_PRODUCTS = 2**18
"""How many products of suspect elements are added up in a short format, which takes about a tenth of a second."""
_MOST_AT_ONCE = 2**17
_MOST_JOINT_PRODUCTS = 2**20
"""How many products of a sample of elements are added up, in more orders, to ask what their errors may be together."""


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
            expected = self._forward() if in_pass == "forward" else self._gradient(in_pass)
            self.seconds += time.perf_counter() - began
            self._of[in_pass] = PassSums(self.config, self.tensors, in_pass, expected, integers=self.integers)
        return self._of[in_pass]

    def _forward(self) -> Expectation:
        # Integers that cannot sum up to too much need no S to certify them, and integer dtypes have no error bound.
        if is_integer(self.config.dtype):
            return oracle.reference(self.config, self.tensors.x, self.tensors.w, self.tensors.b, moments=False)
        exact = self.integers and _surely_exact(self.config, self.tensors)
        return oracle.reference(self.config, self.tensors.x, self.tensors.w, self.tensors.b, exact=exact)

    def _gradient(self, in_pass: str) -> Expectation:
        x, w, dy = self.tensors.x, self.tensors.w, self.tensors.dy
        assert dy is not None, "a case with gradients has the output's gradient"
        return oracle.gradients(self.config, x, w, dy, exact=self._has_exact_gradients, passes=(in_pass,))[in_pass]

    @cached_property
    def _has_exact_gradients(self) -> bool:
        return self.integers and _surely_exact_gradients(self.config, self.tensors)


class PassSums:
    """The sums of one pass of a layer, what the error bounds need beside them, and where they certify or leave open."""

    def __init__(self, config: ConvConfig, tensors: Tensors, in_pass: str, expected: Expectation, *, integers: bool) -> None:
        self._config, self._tensors, self._pass = config, tensors, in_pass
        self.are_integers = integers and not is_integer(config.dtype)
        self.dtype = config.dtype
        self.expected = expected
        self._joint: dict[str, JointLimits | None] = {}
        self._lost: dict[str, tuple[Floats, Floats]] = {}
        self._statistical: dict[float, Floats] = {}
        self._ordered: dict[str, Floats | None] = {}
        self._seen: Callable[[], tuple[Floats, Bools]] | None = None
        self._sites = max(math.prod(config.input_size), math.prod(config.output_size), 1)

    @cached_property
    def certified(self) -> Bools | None:
        """Mark the elements whose sum of integers is exact in any order; ``None`` where the data are no such integers."""
        if not self.are_integers:
            return None
        limit = INTEGER_LIMITS[self.dtype]
        return np.ones(self.expected.y.shape, dtype=bool) if self.expected.S is None else np.asarray(limit >= self.expected.S)

    def numbers(self, numerics: Numerics) -> Floats | None:
        """Return what is declared as numbers, of which the tolerance is made with an element's own sums; ``None`` where it takes more.

        That is: two parts, a map, truncation, products with subnormal operands, or an order; and where NaN may be beside what the sum says.
        """
        if is_complex(self.dtype) or numerics.algorithm == "transform" or is_short(numerics.accumulator_format(self.dtype)):
            return None
        numbers = declared_numbers(self.dtype, self._config.dims, numerics, has_bias=self.operands.bias is not None)
        if numbers is None or numbers[CUT] or (numbers[FLUSHED] and self._flushable.any()):
            return None
        return None if self.may_be_nan is not None and self.may_be_nan.any() else numbers

    @cached_property
    def operands(self) -> Operands:
        """What the tolerance needs to know of the data."""
        config = self._config
        bias = None
        if self._pass == "forward" and self._tensors.b is not None:
            bias = _parts(self._tensors.b)
            bias = bias.reshape(-1, *(1,) * config.dims, *bias.shape[1:])
        return Operands(self.dtype, config.dims, bias, lambda: self._maps[0], lambda: self._flushable)

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
        below, beyond = self.lost(acc, looked_at)
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
            below, beyond = self.lost(acc, elements, few=few)
            lost = np.where(above.reshape(-1)[elements], beyond, below)
            return elements[error.reshape(-1)[elements] > self.bound_at(elements, numerics, wide=wide, lost=lost)]

        if looked_at.size and (left := unexplained(looked_at, few=True)).size and unexplained(left, few=False).size:
            return False
        if numerics.algorithm == "transform" or not np.any((error > plain).reshape(-1)[self._sample()]):
            return True  # of the elements that are asked together none has lost anything
        bound = np.where(error > plain, np.inf, plain)
        return not np.any(error > self._together(bound, plain, np.where(above, error, -error), acc))

    def is_simulated(self, numerics: Numerics) -> bool:
        """Whether sums are in a short format, so that what they lose is computed from their products."""
        in_three = is_complex(self.dtype) and numerics.complex_products == "three"
        return is_short(numerics.accumulator_format(self.dtype)) and not in_three

    def _suspects(self, error: Floats, plain: Floats, at_most: Floats) -> tuple[Indices, Indices]:
        """Return the elements that have lost something, by their flat index: those that are looked at, the worst ones, and the others."""
        suspects = np.flatnonzero(error > plain)
        with np.errstate(all="ignore"):
            worst = suspects[np.argsort(-(error.reshape(-1)[suspects] / at_most.reshape(-1)[suspects]), kind="stable")]
        many = max(_MOST_PRODUCTS // max(product_count(self._config, self._pass), 1), 1)
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
        of_few = Operands(self.dtype, self._config.dims, bias, lambda: of(operands.maps()), lambda: of(operands.flushable()))
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
        joint = self.joint_limits(form)
        if joint is not None:
            at = joint.elements
            bound.reshape(-1)[at] = together(
                bound.reshape(-1)[at],
                error.reshape(-1)[at],
                plain.reshape(-1)[at],
                joint.y,
                joint.scale,
                slope=joint.slope,
                largest=joint.error,
                norm=joint.output,
            )
        return bound

    def joint_limits(self, form: FloatFormat) -> JointLimits | None:
        """Return what the errors of sums in ``form`` may be together, from elements all over the result."""
        from convfuzz.judging.joint_errors import joint_limits  # noqa: PLC0415 - Numba loads with the first reference

        if form.name not in self._joint:
            elements, found = self._sample(), None
            if elements.size:
                with np.errstate(all="ignore"):
                    found = joint_limits(self._products(elements), form.precision, elements)
            self._joint[form.name] = found
        return self._joint[form.name]

    def _sample(self) -> Indices:
        """Return the elements that are asked what their errors are together, by their flat index; none where they are too few to say."""
        from convfuzz.judging.joint_errors import FEWEST, MOST  # noqa: PLC0415 - Numba loads with the first reference

        size = self.expected.y.size
        many = min(size, MOST, _MOST_JOINT_PRODUCTS // max(product_count(self._config, self._pass), 1))
        if many < FEWEST:
            return np.zeros(0, np.int64)
        return np.sort(np.random.default_rng(size).choice(size, many, replace=False))

    def _products(self, elements: Indices) -> Floats:
        places = np.stack(np.unravel_index(elements, self.expected.y.shape), axis=1)
        return products_in_two_orders(self._config, self._tensors, self._pass, places)

    def lost(self, form: FloatFormat, elements: Indices, *, few: bool = False) -> tuple[Floats, Floats]:
        """Return by how much sums in ``form`` may be below and above the exact ones, of elements given by their flat index.

        With ``few`` no more than the first orders say it of elements of which not all have been added up yet.
        """
        from convfuzz.judging.accumulation import lost  # noqa: PLC0415 - Numba loads with the first reference

        if form.name not in self._lost:
            self._lost[form.name] = (np.full(self.expected.y.size, np.nan), np.full(self.expected.y.size, np.nan))
        known = self._lost[form.name]
        below, above = (values[elements] for values in known)
        missing = np.flatnonzero(np.isnan(below))
        at_once = max(_MOST_AT_ONCE // max(product_count(self._config, self._pass), 1), 1)
        for first in range(0, len(missing), at_once):
            part = missing[first : first + at_once]
            with np.errstate(all="ignore"):
                found = lost(self._products(elements[part]), form.precision, few=few)
            below[part], above[part] = (np.nan_to_num(values, nan=np.inf) for values in found)
        if not few:
            known[0][elements], known[1][elements] = below, above
        return below, above

    @cached_property
    def _maps(self) -> tuple[Floats, Bools]:
        return self._seen() if self._seen is not None else magnitudes(self._config, self._tensors, self._pass)

    @cached_property
    def _flushable(self) -> Floats:
        """The magnitude of the products, or of the bias, that vanish when subnormal operands do: Σ|p| over those."""
        tiny, given = component_format(self.dtype).tiny, self._tensors.named()
        wide = {name: np.abs(_parts(given[name])) for name in (*_OPERANDS[self._pass], *(["b"] if self.operands.bias is not None else []))}
        if not any(np.any((size < tiny) & (size > 0.0)) for size in wide.values()):
            return np.zeros(())
        sizes = {name: np.nan_to_num(np.abs(_parts(a)), nan=0.0, posinf=0.0) for name, a in given.items()}
        small = {name: np.where(size < tiny, size, 0.0) for name, size in sizes.items()}
        if is_complex(self.dtype):  # no part of a product is larger than the parts together
            sizes, small = ({name: a.sum(axis=-1) for name, a in of.items()} for of in (sizes, small))
        first, *second = _OPERANDS[self._pass]
        found = self._magnitude(sizes | {first: small[first]})
        if second and small[second[0]].any():
            found = found + self._magnitude(sizes | {second[0]: small[second[0]]})
        if self.operands.bias is not None:
            found = found + small["b"].reshape(-1, *(1,) * self._config.dims)
        return found[..., None] if is_complex(self.dtype) else found

    def _magnitude(self, operands: dict[str, Floats]) -> Floats:
        """Return the pass of real operands without a bias, whose sums nobody needs to more digits than float64 adds up."""
        real = self._config.replace(dtype="float64", bias=False)
        if self._pass == "forward":
            found: Floats = oracle.reference(real, operands["x"], operands["w"], exact=True).y
        else:
            real = real.replace(bias=self._config.bias)
            found = oracle.gradients(real, operands["x"], operands["w"], operands["dy"], exact=True, passes=(self._pass,))[self._pass].y
        return found

    @cached_property
    def may_be_nan(self) -> Bools | None:
        """Mark elements whose sum has a place where padding, which is no tap, meets a NaN or an Inf.

        The reference leaves such places out; who multiplies the zero that is written there gets NaN. Both are accepted, and
        nothing else: a NaN more in a sum makes it NaN, and takes none away that a tap brings.
        """
        if is_complex(self.dtype):
            return None
        return reduce(_either, map(self._open_by, _MET_BY_ZEROS[self._pass]), None)

    def _open_by(self, name: str) -> Bools | None:
        """Mark elements of whose NaN and Inf in one operand not all meet a site of the other that exists."""
        config, tensors = self._config, self._tensors
        finite = np.isfinite(tensors.named()[name])
        if finite.all():
            return None
        bad = ~finite
        there = self._count(bad, name)
        there = there.reshape(*there.shape, *(1,) * config.dims)
        if config.padding_mode != "zeros":
            # Copied sites are taps like any other; where a copy's share comes from, or goes to, is not asked.
            return np.broadcast_to(there > 0, self.expected.y.shape) if (self._pass, name) in _COPIES else None
        ones = {other: np.ones(array.shape) for other, array in tensors.named().items()} | {name: bad.astype(np.float64)}
        if self._pass == "forward":
            met = oracle.reference(config, ones["x"], ones["w"], moments=False)
        else:
            met = oracle.gradients(config, ones["x"], ones["w"], ones["dy"], moments=False, passes=(self._pass,))[self._pass]
        return np.asarray(met.y < there)

    def _count(self, bad: Bools, name: str) -> npt.NDArray[np.int64]:
        """Count the marked elements of an operand that the sums of each channel of the result have before them, padding aside."""
        config = self._config
        counts: npt.NDArray[np.int64]
        if name != "w":
            channels = np.moveaxis(bad, int(config.batch is not None), 0).reshape(bad.shape[-config.dims - 1], -1).sum(axis=1)
            rows = config.weight_shape[0]
            if (name == "dy") == (config.op == "conv"):  # the operand of a weight's rows; the other is that of its columns
                counts = channels[:, None]
            else:
                counts = np.repeat(channels.reshape(config.groups, -1), rows // config.groups, axis=0)
        elif self._pass == "forward":
            counts = rows_per_output_kernel(bad, config).sum(axis=1)
        elif config.op == "conv":
            by_group = bad.reshape(config.groups, config.out_channels // config.groups, bad.shape[1], -1)
            counts = by_group.sum(axis=(1, 3)).reshape(-1)
        else:
            counts = bad.reshape(config.in_channels, -1).sum(axis=1)
        return counts


def _either(a: Bools | None, b: Bools | None) -> Bools | None:
    return b if a is None else a if b is None else a | b


def _surely_exact(config: ConvConfig, tensors: Tensors) -> bool:
    """Whether no partial sum of any output element can be too large: at most max |x| · Σ|w| of a kernel, and max |b|.

    The magnitude of a complex integer is that of both parts together, which covers a product made of three real ones too.
    """
    x, w, b = (None if a is None else _magnitudes(a) for a in (tensors.x, tensors.w, tensors.b))
    assert x is not None, "a layer has an input"
    assert w is not None, "a layer has a weight"
    kernel = np.max(rows_per_output_kernel(w, config).sum(axis=1), initial=0.0)
    largest = np.max(x, initial=0.0) * kernel + (0.0 if b is None else np.max(b, initial=0.0))
    return bool(largest <= component_format(config.dtype).exact_integers)


def _surely_exact_gradients(config: ConvConfig, tensors: Tensors) -> bool:
    """Whether no partial sum of any gradient can be too large.

    An element of the output's gradient is in the sum of a weight's or of the bias's gradient once at most, and in that of an
    input's once for each copy that padding makes of that: Σ|dy| of a group, times the largest factor, is at least what they reach.
    """
    x, w, dy = (_magnitudes(a) for a in (tensors.x, tensors.w, tensors.dy) if a is not None)
    groups = rows_per_group(dy, config).sum(axis=1) if dy.size else np.zeros(1)
    factor = max(np.max(x, initial=1.0), np.max(w, initial=0.0) * padding_copies(config))
    return bool(np.max(groups) * factor <= component_format(config.dtype).exact_integers)


def _magnitudes(array: Array) -> npt.NDArray[np.float64]:
    parts = np.abs(_parts(array))
    return parts.sum(axis=-1) if array.dtype.kind == "c" else parts


def _parts(array: Array) -> npt.NDArray[np.float64]:
    """Return an operand in float64, complex ones with a last axis (real, imaginary)."""
    if array.dtype.kind == "c":
        return np.stack([array.real, array.imag], axis=-1).astype(np.float64)
    return array.astype(np.float64)
