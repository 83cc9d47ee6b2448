"""What is drawn and rounded in compiled code has the bits that the definitions in NumPy give, which scripts carry."""

from __future__ import annotations

import numpy as np
import pytest

from convfuzz.case.dtypes import FLOATS, numpy_dtype
from convfuzz.tensors import counters, drawing
from convfuzz.tensors.generator import _as_bfloat16

SHAPES = [(), (0, 3), (5,), (3, 4, 7), (40, 999)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("seed", "role", "first"), [(0, "x", 0), (2**63 + 41, "dy", 7), (12345, "kept", 2**40)])
def test_numbers_have_the_bits_that_are_defined(shape: tuple[int, ...], seed: int, role: str, first: int) -> None:
    """Every function of the counters gives the same bytes compiled, whatever seed, tensor, shape and first element."""
    count = int(np.prod(shape))
    assert drawing.words(seed, role, count, first).tobytes() == counters.words(seed, role, count, first).tobytes()
    for name, arguments in (("normal", ()), ("uniform", ()), ("nonzero_integers", (8,)), ("nonzero_integers", (2,))):
        given = (seed, role, shape, *arguments, first)
        drawn, defined = getattr(drawing, name)(*given), getattr(counters, name)(*given)
        assert (drawn.dtype, drawn.shape, drawn.tobytes()) == (defined.dtype, defined.shape, defined.tobytes()), name


def test_bfloat16_is_rounded_once_to_nearest_even() -> None:
    """Normal, subnormal, vanishing and overflowing numbers, and those halfway between two, become what the format's definition says."""
    draw = np.random.default_rng(7)
    exponents, halves = draw.integers(-140, 128, 4000), draw.integers(128, 256, 4000) + 0.5
    halfway = halves * 2.0 ** (exponents - 7.0)
    values = np.concatenate([
        draw.standard_normal(4000) * 2.0 ** draw.integers(-160, 127, 4000),
        halfway, -halfway, np.nextafter(halfway, 0.0), np.nextafter(halfway, np.inf),
        [0.0, -0.0, 5e-324, 2.0**-134, -(2.0**-134), 1.5 * 2.0**-133, FLOATS["bfloat16"].max, 3.4e38, -3.4e38, 1e308],
    ])  # fmt: skip
    for given in (values.reshape(2, -1), np.append(values, [np.inf, -np.inf, np.nan])):
        with np.errstate(over="ignore"):
            defined = FLOATS["bfloat16"].round(given).astype(numpy_dtype("bfloat16"))
        rounded = _as_bfloat16(given)
        assert (rounded.dtype, rounded.shape) == (defined.dtype, defined.shape)
        assert np.array_equal(rounded.view(np.uint16), defined.view(np.uint16))
