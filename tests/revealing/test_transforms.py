"""Kernels that compute by a transform, which have no order to tell, and kernels that only look like it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from convfuzz import ConvConfig
from convfuzz.errors import UsageError
from convfuzz.revealing.measurement import reveal

from .kernels import Array, Kernel, backend, to_bits

CASE = "conv2d_n16_c4_o1_i5_k3_p1_f32"


INPUT = np.array(
    [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]],
    np.float32,
)
WEIGHT = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.float32) / np.float32(24)
WEIGHT[0] = 0.25, 0, 0
OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float32)
"""The matrices of F(4, 3) (Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016)."""


def winograd(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Winograd's F(4, 3) along one axis, with padding 1, for sizes that four divides."""
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1)])
    tiles = np.lib.stride_tricks.sliding_window_view(padded, 6, axis=2)[:, :, ::4]  # (N, C, tiles, 6)
    data, kernel = tiles @ INPUT.T, w @ WEIGHT.T
    y = np.einsum("nctk,ock->notk", data, kernel) @ OUTPUT.T
    return y.reshape(len(x), len(w), -1).astype(np.float32)


INPUT_2 = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
WEIGHT_2 = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
OUTPUT_2 = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])
"""The matrices of F(2, 3), whose factors are powers of two: only its additions round."""


def smallest_winograd(accumulator: npt.DTypeLike) -> Callable[..., Array]:
    """Return Winograd's F(2×2, 3×3) with padding 1, for sizes that two divides, computed in a type."""
    data_of, kernel_of, output_of = (matrix.astype(accumulator) for matrix in (INPUT_2, WEIGHT_2, OUTPUT_2))

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)]).astype(accumulator)
        tiles = np.lib.stride_tricks.sliding_window_view(padded, (4, 4), axis=(2, 3))[:, :, ::2, ::2]
        data, weights = data_of @ tiles @ data_of.T, kernel_of @ w.astype(accumulator) @ kernel_of.T
        y = output_of @ np.einsum("ncijkl,ockl->noijkl", data, weights) @ output_of.T
        return y.swapaxes(3, 4).reshape(len(x), len(w), *config.output_size).astype(x.dtype)

    return kernel


def fourier(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """By the discrete Fourier transform in float32, with padding 1."""
    size = (x.shape[2] + 4, x.shape[3] + 4)
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])
    spectrum = np.fft.rfft2(padded, size)[:, None] * np.conj(np.fft.rfft2(w, size))[None]
    y = np.fft.irfft2(spectrum.sum(axis=2).astype(np.complex64), size)
    return y[..., : x.shape[2], : x.shape[3]].astype(x.dtype)


def test_winograd_is_a_transform() -> None:
    """Winograd's filtering is told as a transform, with no order and no formats."""
    sheet = reveal(backend(winograd), "conv1d_n2_c8_o2_i8_k3_p1_f32", invariance=False, advice=False)
    assert (sheet.order, sheet.tree, sheet.bias, sheet.accumulator, sheet.fma) == ("transform", "", None, "unknown", None)
    assert sheet.notes.not_understood == []


@pytest.mark.parametrize(
    ("dtype", "accumulator"),
    [("f32", np.float32), ("f32", np.float64), ("f64", np.float64), ("f16", np.float32), ("bf16", np.float32)],
)
def test_the_smallest_winograd_is_a_transform(dtype: str, accumulator: npt.DTypeLike) -> None:
    """So is F(2, 3), whatever it is computed in."""
    sheet = reveal(backend(smallest_winograd(accumulator)), f"conv2d_n2_c8_o2_i8_k3_p1_{dtype}", invariance=False, advice=False)
    assert (sheet.order, sheet.tree, sheet.notes.not_understood) == ("transform", "", [])


def test_a_transform_beyond_the_operands_range_has_no_order() -> None:
    """In float64 float16 operands have too narrow a range to show it: it is then taken for no named sum either."""
    sheet = reveal(backend(smallest_winograd(np.float64)), "conv2d_n2_c8_o2_i8_k3_p1_f16", invariance=False, advice=False)
    assert (sheet.order, sheet.tree) == ("unknown", "")


def test_fourier_is_a_transform() -> None:
    """So is Fourier's."""
    assert reveal(backend(fourier), CASE, invariance=False, advice=False).order == "transform"


def test_a_misplaced_tap_is_no_transform() -> None:
    """A kernel that takes another weight for small ones is wrong there, and not taken for a transform."""

    def wrong(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        if np.abs(w).max() > 2.0**10:
            w = w.copy()
            w[..., 0, 0] = w[..., 2, 2]
        return Kernel()(x, w, b, config)

    sheet = reveal(backend(wrong), CASE, invariance=False, advice=False)
    assert sheet.order != "transform"
    assert any("this is no rounding" in line for line in sheet.notes.not_understood)


@pytest.mark.parametrize("factor", [0.0, np.nan, 2.0])
def test_a_wrong_kernel_is_not_measured(factor: float) -> None:
    """A kernel whose sums of small integers are wrong has no arithmetic to tell: it is refused, with the command that says more."""

    def wrong(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        return Kernel()(x, w, b, config) * np.float32(factor)

    with pytest.raises(UsageError, match=f"it is wrong, and its arithmetic is not measured; convfuzz check {CASE}"):
        reveal(backend(wrong), CASE)


def test_coarse_formats_are_no_transform() -> None:
    """Inputs in bfloat16, or sums in float16 with its narrow range, are told as what they are."""
    coarse = reveal(backend(Kernel(inputs=to_bits(8))), CASE, invariance=False, advice=False)
    narrow = reveal(backend(Kernel(accumulator=np.float16)), CASE, invariance=False, advice=False)
    assert (coarse.order, coarse.inputs) == ("sequential", "bfloat16")
    assert (narrow.order, narrow.accumulator) == ("sequential", "float16")
    assert coarse.notes.not_understood == narrow.notes.not_understood == []
