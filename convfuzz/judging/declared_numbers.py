"""What is declared of an arithmetic as a few numbers, for code that computes the tolerance element by element, on either device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz.case.dtypes import component_format
from convfuzz.judging import bounds
from convfuzz.judging.numerics import Numerics, overflows_from
from convfuzz.judging.tolerance import terms

EXACT, U, CUT, TRANSFORMED, COARSE, STEP, FLUSHED, BIAS, SEPARATE, U_OUT, STEP_OUT, TINY_OUT, TOP, MOST, U_SHOWN, HALF_STEP = NUMBERS = (
    range(16)
)
"""Places of *numbers*. 0 stands for a term that does not apply.

EXACT: sums of integers, compared for equality. U: the accumulator's unit roundoff. CUT: whether sums are truncated. TRANSFORMED: the
factor of M. COARSE: the factor of S. STEP, or FLUSHED: what a product below the normal range loses. BIAS: whether there is one, that is
added to the rounded sum where SEPARATE is not 0, which then is its unit roundoff, or negative where that costs nothing. U_OUT, STEP_OUT
and TINY_OUT are the result's; TOP is where it may be rounded to Inf, MOST the accumulator's largest number. U_SHOWN and HALF_STEP are
what the error is measured beyond.
"""


@lru_cache(maxsize=64)
def declared_numbers(dtype: str, dims: int, numerics: Numerics, *, has_bias: bool) -> npt.NDArray[np.float64] | None:
    """Return *numbers* of a real layer's rounded sums, to be left as they are; ``None`` where they have no place for what is declared."""
    if not numerics.values or numerics.outputs != "exact" or numerics.order is not None:
        return None
    out, acc = component_format(dtype), numerics.accumulator_format(dtype)
    numbers = np.zeros(len(NUMBERS))
    numbers[[U, BIAS]] = acc.unit_roundoff, has_bias
    numbers[SEPARATE] = -1.0 if has_bias and numerics.bias == "separate" else 0.0
    numbers[[TOP, MOST]] = overflows_from(dtype, numerics), acc.max
    if acc.precision > out.precision:
        numbers[[U_SHOWN, HALF_STEP]] = out.unit_roundoff, out.smallest_subnormal / 2.0
    for term in terms(numerics, dtype, dims=dims, has_bias=has_bias, simulated=False):
        place = _PLACES.get(term.function)
        if place is None:
            return None
        for index, value in place(term.numbers):
            numbers[index] = value
    return numbers


_PLACES: dict[Callable[..., Any], Callable[[Mapping[str, float]], list[tuple[int, float]]]] = {
    bounds.statistical: lambda of: [(U, of["u"])],
    bounds.truncated: lambda of: [(CUT, of["u"])],
    bounds.transformed: lambda of: [(TRANSFORMED, of["factor"] * of["u"])],
    bounds.coarse_inputs: lambda of: [(COARSE, 2.0 * of["u_in"] + of["u_in"] * of["u_in"])],
    bounds.rounded_outside: lambda _: [],  # whoever uses the numbers asks whether there are such operands
    bounds.underflow: lambda of: [(STEP, of["step"])],
    bounds.flushed: lambda of: [(FLUSHED, 2.0 * of["tiny"])],
    bounds.separate_bias: lambda of: [(SEPARATE, of["u_out"])],
    bounds.rounded: lambda of: [(U_OUT, of["u"]), (STEP_OUT, of["step"])],
    bounds.rounded_or_flushed: lambda of: [(U_OUT, of["u"]), (STEP_OUT, of["step"]), (TINY_OUT, of["tiny"])],
}
"""The terms of the tolerance that an element's own sums are enough for, and where their numbers go."""
