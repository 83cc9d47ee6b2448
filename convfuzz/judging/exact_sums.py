"""Which sums of integers are exact: no partial sum of theirs is too large in any order, and no operand is rounded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import FLOATS, INTEGER_LIMITS, component_format, is_complex
from convfuzz.judging.comparing import comparable
from convfuzz.judging.numerics import INPUT_ROUNDINGS, Numerics
from convfuzz.tensors.generator import Array, Tensors
from convfuzz.tensors.regimes import padding_copies, rows_per_group, rows_per_output_kernel


def exact_up_to(config: ConvConfig, tensors: Tensors, numerics: Numerics) -> float:
    """Return up to which S = Σ|p| a sum of these integers is exact in the declared arithmetic.

    That is what the dtype and the accumulator both hold, and 0 where an operand is beyond what it may be rounded to.
    """
    limit = INTEGER_LIMITS[config.dtype]
    if numerics.accumulator is not None:
        limit = min(limit, FLOATS[numerics.accumulator].exact_integers / (2.0 if is_complex(config.dtype) else 1.0))
    if numerics.inputs != "exact":
        most = INPUT_ROUNDINGS[numerics.inputs].form.exact_integers
        if any(np.max(_magnitudes(array), initial=0.0) > most for array in tensors.named().values()):
            return 0.0
    return limit


def surely_exact_outputs(config: ConvConfig, tensors: Tensors) -> bool:
    """Whether no partial sum of any output element can be too large: at most max |x| · Σ|w| of a kernel, and max |b|.

    The magnitude of a complex integer is that of both parts together, which covers a product made of three real ones too.
    """
    x, w, b = (None if a is None else _magnitudes(a) for a in (tensors.x, tensors.w, tensors.b))
    assert x is not None, "a layer has an input"
    assert w is not None, "a layer has a weight"
    kernel = np.max(rows_per_output_kernel(w, config).sum(axis=1), initial=0.0)
    largest = np.max(x, initial=0.0) * kernel + (0.0 if b is None else np.max(b, initial=0.0))
    return bool(largest <= component_format(config.dtype).exact_integers)


def surely_exact_gradients(config: ConvConfig, tensors: Tensors) -> bool:
    """Whether no partial sum of any gradient can be too large.

    An element of the output's gradient is in the sum of a weight's or of the bias's gradient once at most, and in that of an
    input's once for each copy that padding makes of that: Σ|dy| of a group, times the largest factor, is at least what they reach.
    """
    x, w, dy = (_magnitudes(a) for a in (tensors.x, tensors.w, tensors.dy) if a is not None)
    groups = rows_per_group(dy, config).sum(axis=1) if dy.size else np.zeros(1)
    factor = max(np.max(x, initial=1.0), np.max(w, initial=0.0) * padding_copies(config))
    return bool(np.max(groups) * factor <= component_format(config.dtype).exact_integers)


def _magnitudes(array: Array) -> npt.NDArray[np.float64]:
    parts: npt.NDArray[np.float64] = np.abs(comparable(array))
    return parts.sum(axis=-1) if array.dtype.kind == "c" else parts
