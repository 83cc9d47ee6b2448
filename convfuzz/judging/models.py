"""The arithmetics that an output may turn out to be made of, and the narrowest that explains its errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz.case.dtypes import FLOATS, FloatFormat, component_format, is_complex
from convfuzz.judging.numerics import INPUT_ROUNDINGS, OUTPUT_ROUNDINGS, Numerics, Rounding
from convfuzz.judging.pass_sums import PassSums
from convfuzz.judging.tolerance import is_short

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

MODELS: dict[str, dict[str, Any]] = {
    "direct": {},
    "flushed subnormals": {"flushes_subnormals": True},
    "float16 results": {"outputs": "float16"},
    "bfloat16 results": {"outputs": "bfloat16"},
    "Winograd or FFT": {"algorithm": "transform"},
    "TF32 inputs": {"inputs": "tfloat32"},
    "truncated TF32 inputs": {"inputs": "tfloat32-truncated"},
    "bfloat16 inputs": {"inputs": "bfloat16"},
    "truncated bfloat16 inputs": {"inputs": "bfloat16-truncated"},
    "float16 accumulation": {"accumulator": "float16"},
    "bfloat16 accumulation": {"accumulator": "bfloat16"},
}
"""Error models by name: each is what is declared with one thing changed."""

_TO_NEAREST: tuple[Callable[[Floats], Floats], ...] = (np.rint, lambda v: np.trunc(v + np.copysign(0.5, v)))
"""How hardware rounds its inputs to nearest: ties to even or away from zero."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The name of a model in :data:`MODELS`. ``shown``: that arithmetic does produce these errors; else its bound allows them."""

    model: str
    shown: bool


def explain(error: Floats, actual: Floats, sums: PassSums, declared: Numerics) -> Explanation | None:
    """Return the narrowest model that covers the ``error`` of ``actual``, or ``None``: no known arithmetic does.

    What can be tried out is: operands that are rounded first give this output or do not, and results that were rounded to
    another format are numbers of it or are not. Of the models that remain the narrowest is the one that allows least; one of
    coarse inputs, which may have been rounded in part, comes after those. What a short accumulator loses on these operands is
    computed last, of the finer one first, and only where nothing cheaper explains the error.
    """
    models = dict(_models_beyond(declared, sums.dtype))
    for name, model in models.items():
        if "inputs" in MODELS[name] and _is_of_rounded_operands(INPUT_ROUNDINGS[model.inputs], error, actual, sums, declared):
            return Explanation(name, shown=True)
    above, wide, worst = actual > sums.expected.y, declared.accumulator_format(sums.dtype), _worst(error, sums)
    for _, of_rank in groupby(sorted(models, key=_rank), key=_rank):
        covering: list[tuple[float, str, bool]] = []
        for name in of_rank:
            model = models[name]
            if not _may_cover(model, error, sums, wide, worst) or (stored := _is_stored(model, actual, sums.dtype)) is False:
                continue
            if "accumulator" in MODELS[name]:  # alone in its rank
                if sums.covers(model, error, above, wide=wide):
                    return Explanation(name, shown=True)
                continue
            bound = sums.tolerance(model, error, above, wide=wide)
            if not np.any(error > bound):
                covering.append((_width(bound), name, stored is True))
        if covering:
            _, name, shown = min(covering)
            return Explanation(name, shown)
    return None


def _worst(error: Floats, sums: PassSums) -> Indices:
    """Return the elements of the largest error and of the largest beside S, by their flat index: they tell most models at once."""
    assert sums.expected.S is not None, "rounded regimes compute the moments"
    return np.array([np.argmax(error), np.argmax(np.where(sums.expected.S > 0.0, error / sums.expected.S, 0.0))])


def _may_cover(model: Numerics, error: Floats, sums: PassSums, wide: FloatFormat, elements: Indices) -> bool:
    """Whether the bound of a model covers a few errors; where it has to be computed from products, or of pairs of parts, it may."""
    if is_complex(sums.dtype) or sums.is_simulated(model):
        return True
    return not np.any(error.reshape(-1)[elements] > sums.bound_at(elements, model, wide=wide))


def _rank(name: str) -> tuple[int, int]:
    """Return when a model is tried: those of equal rank together, coarse inputs second, then accumulators, each by itself."""
    change = MODELS[name]
    if "accumulator" in change:
        return 2, -FLOATS[change["accumulator"]].precision
    return int("inputs" in change), 0


def _width(bound: Floats) -> float:
    finite = bound[np.isfinite(bound)]
    return float(finite.mean()) if finite.size else math.inf


def _is_stored(model: Numerics, actual: Floats, dtype: str) -> bool | None:
    """Whether results are numbers of the format that they may be stored in first; ``None`` where all numbers of the dtype are."""
    if model.outputs == "exact" or OUTPUT_ROUNDINGS[model.outputs].form.precision >= component_format(dtype).precision:
        return None
    return bool(np.array_equal(OUTPUT_ROUNDINGS[model.outputs].apply(actual), actual, equal_nan=True))


def ways_to_round(rounding: Rounding) -> list[Callable[[Array], Array]]:
    """Return the roundings of that kind which hardware has."""
    ways = (np.trunc,) if rounding.truncated else _TO_NEAREST
    return [partial(_rounded, precision=rounding.form.precision, way=way) for way in ways]


def _is_of_rounded_operands(rounding: Rounding, error: Floats, actual: Floats, sums: PassSums, declared: Numerics) -> bool:
    """Whether operands that are rounded first, by any rounding of that kind which hardware has, give the output."""
    for rounded in ways_to_round(rounding):
        of_rounded = sums.with_operands(rounded)
        off = np.where(error > 0.0, np.abs(actual - of_rounded.expected.y), 0.0)
        if not np.any(off > of_rounded.tolerance(declared, off, actual > of_rounded.expected.y)):
            return True
    return False


def _rounded(values: Array, precision: int, way: Callable[[Floats], Floats]) -> Array:
    if values.dtype.kind == "c":
        parts: Array = _rounded(values.real, precision, way) + 1j * _rounded(values.imag, precision, way)
        return parts
    wide = values.astype(np.float64)
    quantum = np.frexp(wide)[1] - precision
    coarse: Floats = np.ldexp(way(np.ldexp(wide, -quantum)), quantum)
    return np.where(np.isfinite(wide), coarse, wide)


def _models_beyond(declared: Numerics, dtype: str) -> Iterator[tuple[str, Numerics]]:
    """Yield the models that a layer of ``dtype`` can have and that are no finer than what is declared."""
    own, wide = component_format(dtype), declared.accumulator_format(dtype)
    declared = declared.in_any_order()  # in which the narrowest model, direct, is what explains a sum in another order than declared
    for name, change in MODELS.items():
        model = replace(declared, **change)
        if "accumulator" in change:
            if FLOATS[change["accumulator"]].precision >= wide.precision:
                continue  # no worse than what is declared
            if change["accumulator"] == "float16" and dtype == "bfloat16":
                continue  # whose sums no processor makes in the other 16-bit type
            model = replace(model, truncates=False)  # whose tolerance is so wide that it would explain nearly anything
            if is_complex(dtype):
                model = replace(model, complex_products="four")
        if "algorithm" in change and is_short(wide):
            continue  # whose tolerance is so wide that it would explain nearly anything
        if "inputs" in change and INPUT_ROUNDINGS[change["inputs"]].form.precision >= own.precision:
            continue  # which have that many bits as they are
        if "inputs" in change and own.precision <= FLOATS["float16"].precision:
            continue  # what has 16 bits is multiplied as it is
        if "outputs" in change and OUTPUT_ROUNDINGS[change["outputs"]].form.precision > own.precision:
            continue  # finer than what a result is stored in anyway
        yield name, model
