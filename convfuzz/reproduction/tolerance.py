"""The tolerance of the declared arithmetic as source: :func:`convfuzz.judging.bounds.tolerance` for one pass of one case."""

from __future__ import annotations

import math

import numpy as np

from convfuzz.case.dtypes import FLOATS
from convfuzz.judging.bounds import LAMBDA, SQUARES_VANISH, TRANSFORM_FACTOR
from convfuzz.reproduction.definition import bias
from convfuzz.reproduction.subject import Subject


def tolerance(subject: Subject) -> str:
    """Write ``bound(…, S, Q, n)``, the largest |error| per element that is no bug; nothing where sums are exact."""
    if subject.is_exact:
        return ""
    acc, out, y = subject.accumulator, subject.form, subject.result
    lines = [
        "",
        f"def bound({y}, S, Q, n):",
        '    """Return the largest |error| that the declared arithmetic explains: an order-free statistical bound on rounding."""',
        f"    u, u_out = {acc.unit_roundoff!r}, {out.unit_roundoff!r}  # unit roundoff of the accumulator and of the output",
        "    n1 = np.maximum(n, 1)",
        f"    mean = {y} / n1",
        "    variance = np.maximum(Q / n1 - mean * mean, 0)",
        f"    t = {LAMBDA} * u * np.sqrt(n1 * (n1 + 1) / 6 * (variance + (2 * n1 + 1) * mean * mean) + Q)",
        *(f"    {line}" for line in _drift(subject)),
        *(f"    {line}" for line in _algorithm(subject)),
        *(f"    {line}" for line in _underflow(subject)),
        *(f"    {line}" for line in _separate_bias(subject)),
        *(f"    {line}" for line in _stored(subject)),
    ]
    smallest = repr(out.smallest_subnormal)
    if subject.numerics.flushes_subnormals:
        lines.append(f"    small = {_below_normal(subject)}")
        smallest = f"np.where(small, {out.tiny!r}, {smallest})"
    total = f"t + u_out * (np.abs({y}) + t) + {smallest}"
    if subject.exact_limit is not None and subject.numerics.outputs == "exact":
        total = f"np.where(S <= {subject.exact_limit!r}, {exact_tolerance(subject)}, {total})  # small integers add up without rounding"
    return "\n".join([*lines, f"    return {total}", ""])


def exact_tolerance(subject: Subject) -> str:
    """Return how far an exact sum may be off: not at all, or by less than a half of what Winograd and FFT round."""
    return "np.nextafter(0.5, 0)" if subject.numerics.algorithm == "transform" and not subject.is_integer else "0"


def _drift(subject: Subject) -> list[str]:
    y, expected = subject.result, subject.sums.expected
    if not np.any(expected.n * subject.accumulator.unit_roundoff > 0.5):
        return []
    return [f"t = t + np.where(n * u > 0.5, np.minimum(0.5 * u * n * np.abs({y}), S), 0)  # every addition then rounds to the same side"]


def _algorithm(subject: Subject) -> list[str]:
    numerics, lines = subject.numerics, []
    if subject.form.name == "float64":
        lines.append(f"t = np.where(S < {SQUARES_VANISH!r}, {LAMBDA} * u * np.sqrt(n1 + 1) * S, t)  # where squares vanish")
    if numerics.algorithm == "transform":
        axes = () if subject.in_pass == "grad_bias" else tuple(range(-subject.config.dims, 0))
        largest = f"np.where(np.isfinite(S), S, 0).max(axis={axes}, keepdims=True, initial={subject.sums.operands.whole_map()!r})"
        lines.append(f"t = np.maximum(t, {TRANSFORM_FACTOR} * u * {largest})  # Winograd or FFT")
    if numerics.complex_products == "four" and subject.is_complex:
        apart = f"{LAMBDA} * u * np.sqrt(2 * ((np.maximum((n + 1) / 2, 1) + 1) / 6 * (Q + 2 * S * S) + Q))"
        lines.append(f"t = np.maximum(t, np.where(S < {SQUARES_VANISH!r}, 2 * {LAMBDA} * u * np.sqrt(n + 1) * S, {apart}))  # in two sums")
    if numerics.complex_products == "three" and subject.is_complex:
        both = "S.sum(axis=0, keepdims=True)"
        lines.append(f"t = np.maximum(t, 2 * ({LAMBDA} * np.sqrt(n + 1) + 5) * u * {both})  # a complex product from three real ones")
    if numerics.inputs != "exact":
        u_in = FLOATS[numerics.inputs].unit_roundoff
        lines.append(f"t = t + {2 * u_in + u_in * u_in!r} * S  # inputs rounded to {numerics.inputs}")
    return lines


def _underflow(subject: Subject) -> list[str]:
    if not subject.numerics.flushes_subnormals:
        return [f"t = t + n * {subject.accumulator.smallest_subnormal!r}  # underflow"]
    operands = subject.sums.operands
    lines = [f"t = t + n * {2 * subject.accumulator.tiny!r}  # subnormals may be flushed"]
    if operands.subnormal:
        count = "n" if math.isinf(operands.subnormals) else f"np.minimum(n, {operands.subnormals!r})"
        lines.append(f"t = t + {count} * {operands.subnormal * max(operands.largest, 1.0)!r}  # operands too")
    return lines


def _stored(subject: Subject) -> list[str]:
    if subject.numerics.outputs == "exact":
        return []
    form = FLOATS[subject.numerics.outputs]
    return [f"t = t + {form.unit_roundoff!r} * (np.abs({subject.result}) + t) + {form.smallest_subnormal!r}  # results are {form.name}"]


def _below_normal(subject: Subject) -> str:
    """Say where the result, or the sum before the bias, may have been below the normal range and flushed."""
    reach = f"t + {2.0 * subject.form.tiny!r}"
    small = f"np.abs({subject.result}) <= {reach}"
    if subject.numerics.bias == "separate" and "b" in subject.operands:
        small = f"({small}) | (np.abs(y - {bias(subject)}) <= {reach})"
    return small


def _separate_bias(subject: Subject) -> list[str]:
    rounded_again = subject.form.unit_roundoff > subject.accumulator.unit_roundoff and subject.numerics.bias == "separate"
    if not rounded_again or "b" not in subject.operands:
        return []
    return [f"t = t + u_out * (np.abs(y - {bias(subject)}) + t)  # the bias is added after a rounding"]
