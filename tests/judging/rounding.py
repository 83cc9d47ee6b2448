"""A reference's sums as an output of the case's dtype, and what its gradients are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz.case import Case
from convfuzz.case.dtypes import COMPONENTS, component_format, is_integer, numpy_dtype
from convfuzz.oracle import Expectation, gradients, reference
from convfuzz.tensors.generator import Tensors

Array = npt.NDArray[Any]


def rounded(values: Array, case: Case) -> Array:
    """Round once to the case's dtype; the last axis of a complex layer's values are the real and the imaginary part."""
    dtype = case.config.dtype
    if is_integer(dtype):
        return values.astype(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        found = component_format(dtype).round(values).astype(numpy_dtype(COMPONENTS.get(dtype, dtype)))
    whole: Array = np.ascontiguousarray(found).view(dtype)[..., 0] if dtype in COMPONENTS else found
    return whole


def expectations(case: Case, tensors: Tensors) -> dict[str, Expectation]:
    """Compute the reference of every pass of a case."""
    found = {"forward": reference(case.config, tensors.x, tensors.w, tensors.b)}
    if case.grad:
        found |= gradients(case.config, tensors.x, tensors.w, tensors.dy)  # type: ignore[arg-type]
    return {in_pass: found[in_pass] for in_pass in case.passes}


def correct(case: Case, tensors: Tensors) -> dict[str, Array]:
    """Return the output of every pass of a case, rounded once."""
    return {in_pass: rounded(expected.y, case) for in_pass, expected in expectations(case, tensors).items()}
