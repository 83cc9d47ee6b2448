"""The tolerance of the declared arithmetic as source: the very functions that the judge applies, or, of a few elements, its numbers."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from convfuzz.judging import bounds
from convfuzz.judging.float_judge import exact_limit
from convfuzz.judging.numerics import INPUT_ROUNDINGS
from convfuzz.judging.tolerance import Term, terms
from convfuzz.reproduction.definition import bias
from convfuzz.reproduction.source_of import Carried
from convfuzz.reproduction.subject import Subject
from convfuzz.reproduction.tensors_source import WIDTH

if TYPE_CHECKING:
    from convfuzz.judging.joint_errors import JointLimits

Floats = npt.NDArray[np.float64]

_CONSTANTS = ("M", "F", "E", "R", "lost")
"""The arrays of terms that a script has as numbers."""
_SPREAD = 64
"""How many elements of a large result are judged where what a short accumulator loses has to be written down for each."""


def tolerance(subject: Subject) -> str:
    """Write ``bound(…)``, the largest |error| per element that is no bug; nothing where sums are exact or the numbers are few."""
    carried = Carried(given={"np"})
    if (joint := _joint(subject)) is not None:
        carried.add(bounds, bounds.together.__name__)
        if len(joint.directions):
            carried.add(bounds, bounds.along_sums.__name__)
    if subject.is_exact or not subject.has_moments:
        return f"# What the errors of many sums may be together.\n{carried.source}" if carried.used else ""
    y, config = subject.result, subject.config
    applied = terms(
        subject.numerics,
        config.dtype,
        dims=config.dims,
        has_bias=subject.sums.operands.bias is not None,
        simulated=is_simulated(subject),
        ordered=subject.sums.in_declared_order(subject.numerics) is not None,
    )
    if subject.numerics.inputs != "exact" and not _rounded_outside(subject).any():
        applied = [term for term in applied if term.function is not bounds.rounded_outside]
    for term in applied:
        carried.add(bounds, term.function.__name__)
    lines = [
        *(line for name in _CONSTANTS if any(name in term.arrays for term in applied) for line in _constant(subject, name)),
        "",
        "",
        f"def bound({', '.join(bound_arguments(subject))}):",
        '    """Return the largest |error| that the declared arithmetic explains, as convfuzz does."""',
        "    t = 0.0",
        *(f"    t = {_call(subject, term)}" for term in applied),
    ]
    result = "t"
    if subject.exact_limit is not None and subject.numerics.outputs == "exact":
        result = f"np.where(S <= {subject.exact_limit!r}, {exact_tolerance(subject)}, t)  # small integers add up without rounding"
    return "\n".join([f"# The error bounds of {y}, as convfuzz has them.", carried.source, *lines, f"    return {result}", ""])


def bound_arguments(subject: Subject) -> list[str]:
    """Return the arguments of ``bound``: the sums, and the output where it matters on which side of them it is."""
    return [subject.result, "S", "Q", "n", *(["output"] if is_simulated(subject) else [])]


def written_tolerance(subject: Subject) -> list[str]:
    """Return the lines that set ``tolerance`` to the judge's own numbers, which the output's side chooses from where both are given."""
    if not is_simulated(subject):
        return [f"tolerance = {_array(subject, _judged(subject, above=False))}  # what rounding explains, from convfuzz's error bounds"]
    below, above = (_array(subject, _judged(subject, above=side)) for side in (False, True))
    return [f"tolerance = np.where(output > {subject.result}, {above}, {below})"]


def joint_tolerance(subject: Subject) -> list[str]:
    """Return the lines that lower ``tolerance`` where all errors together are not those of one order of adding up."""
    joint = _joint(subject)
    if joint is None:
        return []
    y, shape = subject.result, subject.sums.expected.y.shape
    places = np.arange(subject.sums.expected.y.size).reshape(shape)
    if subject.is_complex:
        places = np.moveaxis(places, -1, 0)
    at = np.argsort(places.reshape(-1))[joint.elements]
    with np.errstate(all="ignore"):
        plain = subject.sums.plain(subject.numerics).reshape(-1)[joint.elements]
    lines = [
        f"at = {_numbers(at)}  # elements whose errors are those of one order of adding up",
        f"error, plain, exact = (output - {y}).flat[at], np.array({_numbers(plain)}), {y}.flat[at]",
        f"scale = np.array({_numbers(joint.scale)})",
        "tolerance = np.array(tolerance)",
        "tolerance.flat[at] = together(tolerance.flat[at], error, plain, exact, scale,",
        f"    slope=({', '.join(map(_number, joint.slope))}), largest={joint.error!r}, norm=({', '.join(map(_number, joint.output))}))",
    ]
    if len(joint.directions):
        least, largest = (f"np.array({_numbers(values)})" for values in joint.along)
        lines += [
            f"sums = np.array({_numbers(joint.directions.reshape(-1))}).reshape{joint.directions.shape}  # those of some orders, coarsely",
            "tolerance.flat[at] = along_sums(tolerance.flat[at], error, plain, exact, scale, sums,",
            f"    along=({least}, {largest}),",
            f"    against={joint.against!r}, most={joint.most!r})",
        ]
    return lines


def _joint(subject: Subject) -> JointLimits | None:
    if subject.is_exact or subject.numerics.algorithm == "transform" or not is_simulated(subject):
        return None
    return subject.sums.short.joint_limits(subject.accumulator)


def exact_tolerance(subject: Subject) -> str:
    """Return how far an exact sum may be off: not at all, or by less than a half of what Winograd and FFT round."""
    if subject.is_integer or subject.numerics.algorithm != "transform":
        return "0"
    limit = exact_limit(subject.sums, subject.numerics)
    if np.size(limit) == 1 and float(np.max(limit)) < 0.5:
        return "np.nextafter(0.5, 0)"
    return _array(subject, np.asarray(limit))


def smeared(subject: Subject) -> str:
    """Return where a transform may have spread NaN and Inf, as source."""
    found = subject.sums.smeared
    return "True" if found.all() else "False" if not found.any() else _array(subject, found)


def inf_meets_flushed(subject: Subject) -> str:
    """Return where Inf meets an operand that may be flushed, as source."""
    return _array(subject, subject.sums.inf_meets_flushed)


def is_simulated(subject: Subject) -> bool:
    """Whether what a short accumulator loses is computed from the operands."""
    return subject.sums.is_simulated(subject.numerics) and not subject.is_exact


def _judged(subject: Subject, *, above: bool) -> Floats:
    y = subject.sums.expected.y
    infinite = np.full(y.shape, np.inf if is_simulated(subject) else 0.0)  # a closer look is taken at what is suspect
    with np.errstate(all="ignore"):
        return subject.sums.tolerance(subject.numerics, infinite, np.full(y.shape, above))


def _call(subject: Subject, term: Term) -> str:
    y, b = subject.result, bias(subject) if subject.in_pass == "forward" and subject.config.bias else ""
    written = {
        "y": y,
        "b": b,
        "before": f"{y} - {b}" if b else y,
        "both": "S.sum(axis=0, keepdims=True)",
        "lost": f"np.where(output > {y}, lost_above, lost_below)",
    }
    arguments = ["t", *(written.get(name, name) for name in term.arrays), *(f"{name}={value!r}" for name, value in term.numbers.items())]
    return f"{term.function.__name__}({', '.join(arguments)})"


def _rounded_outside(subject: Subject) -> Floats:
    return subject.sums.operands.rounded_outside(INPUT_ROUNDINGS[subject.numerics.inputs])


def _constant(subject: Subject, name: str) -> list[str]:
    operands, y = subject.sums.operands, subject.sums.expected.y
    if name == "M":
        return [f"M = {_array(subject, operands.maps())}  # the largest inputs of each map times its kernels"]
    if name == "F":
        return [f"F = {_array(subject, operands.flushable())}  # the products of subnormal operands"]
    if name == "E":
        return [f"E = {_array(subject, _rounded_outside(subject))}  # what operands lose outside the range of {subject.numerics.inputs}"]
    # In no regular pattern, which the elements that a bug spares may have too.
    mixed = np.random.default_rng(0).permutation(y.size)[:_SPREAD]
    chosen = np.unique([*subject.focus, *mixed]).astype(np.int64)  # of an empty result there are none
    if name == "R":
        squares = subject.sums.in_declared_order(subject.numerics)
        assert squares is not None, "there is a term that asks for it"
        some_of_it = np.full(y.size, np.nan)
        some_of_it[chosen] = squares.reshape(-1)[chosen]
        told = f"# The squares of the partial sums in the order {subject.numerics.order}; NaN where any order is allowed."
        return [told, f"R = {_array(subject, some_of_it.reshape(y.shape))}"]
    sides = subject.sums.short.lost(subject.accumulator, chosen)
    lines = ["# What a sum in a short format may lose and gain on these operands; Inf where that was not looked at."]
    for side, found in zip(("lost_below", "lost_above"), sides, strict=True):
        all_of_it = np.full(y.size, np.inf)
        all_of_it[chosen] = found
        lines.append(f"{side} = {_array(subject, all_of_it.reshape(y.shape))}")
    return lines


def _array(subject: Subject, values: npt.NDArray[np.generic]) -> str:
    """Return an array as source, real and imaginary parts first: one number where all are the same."""
    if subject.is_complex and values.ndim:
        values = np.moveaxis(values, -1, 0)
    if values.size and np.all(values == values.flat[0]):
        return _number(values.flat[0]) if values.ndim == 0 else f"np.full({values.shape}, {_number(values.flat[0])})"
    numbers = ", ".join(map(_number, values.reshape(-1)))
    if len(numbers) > WIDTH:
        wrapped = textwrap.fill(numbers, WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8, break_on_hyphens=False)
        numbers = f"\n{wrapped},\n    "
    return f"np.array([{numbers}]).reshape{values.shape}"


def _numbers(values: npt.NDArray[np.generic]) -> str:
    indent = " " * 8
    listed = ", ".join(map(_number, values))
    written = textwrap.fill(listed, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    return f"[\n{written},\n    ]"


def _number(value: np.generic | float) -> str:
    plain = value.item() if isinstance(value, np.generic) else value
    if np.isnan(plain):
        return "np.nan"
    return repr(plain) if np.isfinite(plain) else "np.inf" if plain > 0.0 else "-np.inf"
