"""The order of cases from simple to complex, by which the one is chosen that a reader sees."""

from __future__ import annotations

import math

from convfuzz.case.case import Case


def complexity(case: Case) -> tuple[int, int, str]:
    """Order cases of one finding from simple to complex: parameters that are not default, then size, then the line."""
    c = case.config
    not_default = sum(
        (
            c.dims != 2, c.batch != 1, c.groups != 1, set(c.stride) != {1}, set(c.dilation) != {1}, c.padding != ((0, 0),) * c.dims,
            c.padding_mode != "zeros", c.bias, c.dtype != "float32", c.layout != "contiguous", case.grad, c.op != "conv",
            c.weight_layout is not None, c.flaw is not None, any(c.output_padding),
        )
    )  # fmt: skip
    size = math.prod(max(n, 1) for n in (*c.input_shape, *c.weight_shape))
    return not_default, size, str(case)
