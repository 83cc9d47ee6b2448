"""Where the values lie in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from convfuzz.case import Case
from convfuzz.tensors import make_tensors

every_dtype = pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "bf16"])


def in_elements(array: npt.NDArray[Any]) -> tuple[int, ...]:
    """Return the strides counted in elements."""
    return tuple(stride // array.itemsize for stride in array.strides)


@every_dtype
def test_contiguous(dtype: str) -> None:
    """By default every tensor is contiguous in C order, owns its memory and may be written."""
    for array in make_tensors(Case.parse(f"conv2d_n2_c3_o4_i5x7_k3x2_b_{dtype}")).named().values():
        assert array.flags.c_contiguous
        assert array.flags.writeable


@every_dtype
def test_channels_last(dtype: str) -> None:
    """Channels last: the channel axis has stride one and the spatial axes follow, for input and weight alike."""
    tensors = make_tensors(Case.parse(f"conv2d_n2_c3_o4_i5x7_k3x2_b_{dtype}_cl"))
    assert tensors.x.shape == (2, 3, 5, 7)
    assert in_elements(tensors.x) == (5 * 7 * 3, 1, 7 * 3, 3)
    assert tensors.w.shape == (4, 3, 3, 2)
    assert in_elements(tensors.w) == (3 * 2 * 3, 1, 2 * 3, 3)
    assert tensors.b is not None
    assert in_elements(tensors.b) == (1,)


def test_channels_last_unbatched_and_transposed() -> None:
    """Without a batch the channels are the first axis; a transposed weight is laid out by its second axis."""
    tensors = make_tensors(Case.parse("convt2d_n-_c4_o6_g2_i5x7_k3x2_f32_cl"))
    assert tensors.x.shape == (4, 5, 7)
    assert in_elements(tensors.x) == (1, 7 * 4, 4)
    assert tensors.w.shape == (4, 3, 3, 2)
    assert in_elements(tensors.w) == (3 * 2 * 3, 1, 2 * 3, 3)


@every_dtype
def test_non_contiguous(dtype: str) -> None:
    """Non-contiguous: input and bias skip every second element of a larger array, the weight's axes are reversed in memory."""
    tensors = make_tensors(Case.parse(f"conv2d_n2_c3_o4_i5x7_k3x2_b_{dtype}_nc"))
    assert in_elements(tensors.x) == (3 * 5 * 15, 5 * 15, 15, 2)
    assert tensors.b is not None
    assert in_elements(tensors.b) == (2,)
    assert in_elements(tensors.w) == (1, 4, 4 * 3, 4 * 3 * 3)


@every_dtype
def test_gaps_are_nan(dtype: str) -> None:
    """Between the elements of a non-contiguous input or bias lies NaN, for whoever takes it for contiguous."""
    tensors = make_tensors(Case.parse(f"conv2d_n2_c3_o4_i5x7_k3x2_b_{dtype}_nc@normal.1"))
    assert tensors.b is not None
    for array in (tensors.x, tensors.b):
        backing = array.base
        assert isinstance(backing, np.ndarray)
        assert backing.shape == (*array.shape[:-1], 2 * array.shape[-1] + 1)
        assert np.isnan(backing[..., ::2].astype(np.float64)).all()
        assert np.isfinite(array.astype(np.float64)).all()
