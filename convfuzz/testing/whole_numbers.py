"""Whether the operands that somebody hands in are whole numbers whose sums have to be exact."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from convfuzz.case.dtypes import component_format, is_integer
from convfuzz.judging.comparing import comparable
from convfuzz.judging.numerics import INPUT_ROUNDINGS, Numerics
from convfuzz.testing.given_layer import ForeignLayer


def hold_integers(layer: ForeignLayer, allowed: Numerics) -> bool:
    """Whether all operands are whole numbers, which the allowed arithmetic neither rounds nor sums up more coarsely than the dtype."""
    dtype = layer.config.dtype
    if is_integer(dtype) or allowed.outputs != "exact" or allowed.accumulator_format(dtype).precision < component_format(dtype).precision:
        return False
    most = np.inf if allowed.inputs == "exact" else INPUT_ROUNDINGS[allowed.inputs].form.exact_integers
    return all(_whole(comparable(array), most) for array in layer.tensors.named().values())


def _whole(values: npt.NDArray[np.float64], most: float) -> bool:
    return bool(np.isfinite(values).all() and np.array_equal(values, np.rint(values)) and np.max(np.abs(values), initial=0.0) <= most)
