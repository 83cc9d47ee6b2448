"""Which terms make the tolerance of a declared arithmetic, in which order: for the judge, and for the scripts that carry it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convfuzz.case.dtypes import FLOATS, FloatFormat, component_format, is_complex
from convfuzz.judging import bounds
from convfuzz.judging.bounds import TRANSFORM_FACTORS, Counts, Floats
from convfuzz.judging.numerics import INPUT_ROUNDINGS, OUTPUT_ROUNDINGS, Numerics, Rounding
from convfuzz.oracle.expectation import Expectation

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Operands:
    """What the tolerance needs to know of the data beside the sums.

    Each is called when a term asks for it. ``bias`` is None, or per output element; ``maps`` gives the magnitude of each map as a
    transform sees it, with NaN and Inf left out; ``flushable`` the magnitude of the products that have a subnormal operand;
    ``rounded_outside`` what operands lose that are outside the normal range of the format that they are rounded to.
    """

    dtype: str
    dims: int = 1
    bias: Floats | None = None
    maps: Callable[[], Floats] = lambda: np.zeros(())
    flushable: Callable[[], Floats] = lambda: np.zeros(())
    rounded_outside: Callable[[Rounding], Floats] = lambda _: np.zeros(())


@dataclass(frozen=True, slots=True)
class Term:
    """One step of the tolerance: a function of :mod:`.bounds`, the arrays that it takes, and its numbers.

    The arrays are ``y``, ``S``, ``Q``, ``n``, and: ``b``, the bias; ``before``, the result without it; ``both``, S of the
    real and the imaginary part together; ``M``, the magnitude of maps; ``F``, what flushed operands cost; ``E``, what rounded ones
    lose outside their format's range; ``lost``, what a short accumulator loses; ``R``, Σ s_k² of the partial sums in the declared order.
    """

    function: Callable[..., Floats]
    arrays: tuple[str, ...]
    numbers: Mapping[str, float]


def is_short(form: FloatFormat) -> bool:
    """Whether sums in a format lose terms whole before they are long: those of the 16-bit types."""
    return form.precision <= FLOATS["float16"].precision


def transform_factor(dims: int) -> float:
    """Return how much a transform over so many axes may lose, in units of u times the magnitude of the map."""
    return TRANSFORM_FACTORS[dims]


def terms(
    numerics: Numerics, dtype: str, *, dims: int, has_bias: bool, simulated: bool, ordered: bool = False, wide: FloatFormat | None = None
) -> list[Term]:
    """Return the terms of the tolerance of one pass, in the order in which they are applied.

    ``simulated`` says that ``lost`` is there, computed from the operands, where the accumulator is a short one; ``ordered`` that
    ``R`` is, Σ s_k² in the declared order. ``wide`` is a format whose range the partial sums have, see :func:`tolerance`.
    """
    range_of = wide or numerics.accumulator_format(dtype)
    made = _of_sums(numerics, dtype, dims, simulated=simulated, ordered=ordered)
    if numerics.inputs != "exact":
        # Three real products round the sums of both parts.
        of_both = is_complex(dtype) and numerics.complex_products == "three"
        u_in = INPUT_ROUNDINGS[numerics.inputs].error
        made.append(Term(bounds.coarse_inputs, ("both" if of_both else "S",), {"u_in": 2.0 * u_in if of_both else u_in}))
        made.append(Term(bounds.rounded_outside, ("E",), {}))
    if numerics.flushes_subnormals:
        made.append(Term(bounds.flushed, ("S", "F", "n"), {"tiny": range_of.tiny}))
    else:
        made.append(Term(bounds.underflow, ("n",), {"step": range_of.smallest_subnormal}))
    return made + _of_results(numerics, dtype, has_bias=has_bias, wide=wide)


def _of_sums(numerics: Numerics, dtype: str, dims: int, *, simulated: bool, ordered: bool) -> list[Term]:
    """Return the terms of adding up: what any order loses, or the declared one, and what an algorithm does on top of it."""
    acc = numerics.accumulator_format(dtype)
    is_simulated = simulated and is_short(acc)
    # What is lost in a short accumulator is simulated; beside it there is what any arithmetic loses.
    u = FLOATS["float32"].unit_roundoff if is_simulated else acc.unit_roundoff
    any_order, one_order = (
        Term(bounds.statistical, ("y", "S", "Q", "n"), {"u": u}),
        Term(bounds.in_order, ("y", "S", "Q", "n", "R"), {"u": u}),
    )
    made = [one_order if ordered else any_order]
    if numerics.truncates:
        made.append(Term(bounds.truncated, ("y", "S", "Q", "n"), {"u": u}))
    if is_simulated:
        made.append(Term(bounds.lost_on_the_way, ("lost",), {}))
    elif is_short(acc):
        made.append(Term(bounds.drifting, ("y", "S", "n"), {"u": u}))
    if numerics.algorithm == "transform":
        made.append(Term(bounds.transformed, ("M",), {"factor": transform_factor(dims), "u": acc.unit_roundoff}))
    if is_complex(dtype) and numerics.complex_products == "three":
        made.append(Term(bounds.three_products, ("both", "n"), {"u": u}))
    elif is_complex(dtype):
        made.append(Term(bounds.four_products, ("S", "Q", "n"), {"u": u}))
    return made


def _of_results(numerics: Numerics, dtype: str, *, has_bias: bool, wide: FloatFormat | None) -> list[Term]:
    """Return the terms of what becomes of a sum: a bias added to it, and one or two roundings."""
    acc, out = numerics.accumulator_format(dtype), component_format(dtype)
    is_separate, made = has_bias and numerics.bias == "separate", []
    if is_separate and out.unit_roundoff > acc.unit_roundoff:
        made.append(Term(bounds.separate_bias, ("y", "b"), {"u_out": out.unit_roundoff}))
    if numerics.outputs != "exact":
        stored = OUTPUT_ROUNDINGS[numerics.outputs]
        made.append(Term(bounds.rounded, ("y",), {"u": stored.error, "step": (wide or stored.form).smallest_subnormal}))
    result = {"u": out.unit_roundoff, "step": out.smallest_subnormal}
    if numerics.flushes_subnormals:
        made.append(Term(bounds.rounded_or_flushed, ("y", "before" if is_separate else "y"), result | {"tiny": out.tiny}))
    else:
        made.append(Term(bounds.rounded, ("y",), result))
    return made


def _of_operands(numerics: Numerics, wide: FloatFormat | None) -> Rounding:
    rounding = INPUT_ROUNDINGS[numerics.inputs]
    return rounding if wide is None else rounding.in_range_of(wide)


def without_repeats(counts: Counts) -> Counts:
    """Return the counts once that a broadcast repeats for every sample and channel: what is computed of them is computed once too."""
    return counts[tuple(slice(1) if stride == 0 else slice(None) for stride in counts.strides)]


def tolerance(
    expected: Expectation,
    numerics: Numerics,
    operands: Operands,
    *,
    wide: FloatFormat | None = None,
    lost: Floats | None = None,
    ordered: Floats | None = None,
    statistical: dict[float, Floats] | None = None,
) -> Floats:
    """Return the largest |error| per output element that ``numerics`` explains.

    ``wide`` is a format whose range the partial sums have, where it is not the accumulator's: the narrow range of a
    16-bit accumulator would explain anything that is small. ``lost`` is what a short accumulator loses on these operands, from
    :mod:`.accumulation`; without it the bound of such sums is one that holds for all operands, and wide. ``ordered`` is Σ s_k² in the
    declared order, from :mod:`.declared_order`; without it any order is allowed. ``statistical`` keeps the
    first term of these sums by its u, which most declarations have in common.
    """
    assert expected.S is not None, "the bound needs the moments"
    applied = terms(
        numerics,
        operands.dtype,
        dims=operands.dims,
        has_bias=operands.bias is not None,
        simulated=lost is not None,
        ordered=ordered is not None,
        wide=wide,
    )
    arrays: dict[str, Callable[[], object]] = {
        "y": lambda: expected.y,
        "S": lambda: expected.S,
        "Q": lambda: expected.Q,
        "n": lambda: without_repeats(expected.n),
        "b": lambda: operands.bias,
        "before": lambda: expected.y - (0.0 if operands.bias is None else operands.bias),
        "both": lambda: np.sum(np.asarray(expected.S), axis=-1, keepdims=True),
        "M": operands.maps,
        "F": operands.flushable,
        "E": lambda: operands.rounded_outside(_of_operands(numerics, wide)),
        "lost": lambda: lost,
        "R": lambda: ordered,
    }
    first, *others = applied
    # What any order of summation loses is kept; what one order does is kept as R.
    known, u = {} if statistical is None or ordered is not None else statistical, first.numbers["u"]
    if u not in known:
        known[u] = first.function(0.0, *(arrays[name]() for name in first.arrays), u=u)
    t = known[u]
    for term in others:
        t = term.function(t, *(arrays[name]() for name in term.arrays), **term.numbers)
    # A sum may be a view, such as a gradient's through copied padding, and what is computed of it would be laid out alike.
    bound: Floats = np.ascontiguousarray(t)
    return bound
