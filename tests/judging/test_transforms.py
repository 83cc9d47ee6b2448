"""Transforms see whole maps: what is padded away, multiplied by zero or read by no tap is in their rounding, and in their NaN."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import convfuzz
from convfuzz import Case, Numerics, Verdict, check
from convfuzz.case.config import ConvConfig
from convfuzz.judging.judge import Judge
from convfuzz.tensors.generator import make_tensors

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from tolerances import winograd_matrices

Array = npt.NDArray[Any]
TRANSFORM = Numerics(algorithm="transform")
SHORT_TRANSFORM = Numerics(algorithm="transform", accumulator="float16")


@np.errstate(all="ignore")
def by_fft(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Convolve 1-D maps by FFT in single precision."""
    (lo, hi), extent, stride = config.pads[0], config.dilation[0], config.stride[0]
    padded = np.pad(x, ((0, 0), (0, 0), (lo, hi)))
    kernels = np.zeros((*w.shape[:2], padded.shape[-1]), w.dtype)
    kernels[..., np.arange(config.kernel_size[0]) * extent] = w
    data, spectrum = (np.fft.rfft(a).astype(np.complex64) for a in (padded, kernels))
    y = np.fft.irfft(np.einsum("ncf,ocf->nof", data, spectrum.conj()).astype(np.complex64), n=padded.shape[-1])
    y = y[..., : (config.output_size[0] - 1) * stride + 1 : stride]
    return (y if b is None else y + b[:, None]).astype(np.float32)


def by_winograd(m: int, x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Convolve 2-D maps by F(m, 3), every number kept in the operands' dtype."""
    output, weight, data = (matrix.astype(x.dtype) for matrix in winograd_matrices(m))
    rows, columns = (-(-size // m) for size in config.output_size)
    padded = np.zeros((*x.shape[:2], rows * m + 2, columns * m + 2), x.dtype)
    (top, _), (left, _) = config.pads
    padded[..., top : top + x.shape[2], left : left + x.shape[3]] = x
    tiles = np.lib.stride_tricks.sliding_window_view(padded, (m + 2, m + 2), axis=(2, 3))[:, :, ::m, ::m]
    seen, kernels = data @ tiles @ data.T, weight @ w @ weight.T
    total = np.zeros((len(x), len(w), *seen.shape[2:]), x.dtype)
    for channel in range(x.shape[1]):
        total = total + seen[:, None, channel] * kernels[None, :, channel, None, None]
    y = (output @ total @ output.T).transpose(0, 1, 2, 4, 3, 5).reshape(len(x), len(w), rows * m, columns * m)
    y = np.ascontiguousarray(y[..., : config.output_size[0], : config.output_size[1]])
    return y if b is None else y + b[:, None, None]


def fft(numerics: Numerics) -> Any:
    """Return the FFT kernel with a declaration."""
    return convfuzz.backend(dims=(1,), dtypes=("float32",), numerics=numerics)(by_fft)


def winograd(numerics: Numerics, m: int = 4, dtype: str = "float32") -> Any:
    """Return a Winograd kernel with a declaration."""
    return convfuzz.backend(dims=(2,), dtypes=(dtype,), numerics=numerics)(partial(by_winograd, m))


HIDDEN = [
    "conv1d_c1_o1_i1_k3_p1_f32@x0=0.7_w0=1000_w1=0.3",
    "conv1d_c1_o1_i1_k3_p1_f32@x0=0.7_w0=1e6_w1=0.3",
]
UNREAD = ["conv1d_c1_o1_i3_k2_d2_f32@x0=1_x1=nan_w0=1", "conv1d_c1_o1_i2_k1_s2_f32@x0=1_x1=inf_w0=1"]


@pytest.mark.parametrize("line", [*HIDDEN, *UNREAD])
def test_a_declared_transform_sees_more_than_taps(line: str) -> None:
    """Large weights on padding, and NaN and Inf where no tap reads, are part of what a declared FFT computes with."""
    assert check(line, [fft(TRANSFORM)]).results[0].verdict is Verdict.AGREE


@pytest.mark.parametrize("line", HIDDEN)
def test_an_undeclared_transform_is_named(line: str) -> None:
    """Undeclared, the same rounding is laid to a transform."""
    found = check(line, [fft(Numerics())]).results[0]
    assert (found.verdict, found.model) == (Verdict.IMPRECISE, "Winograd or FFT")


def test_nan_is_smeared_over_its_own_maps_only() -> None:
    """A declared transform may not lose a NaN, nor have one in the map of another sample."""
    case = Case.parse("conv1d_n2_c1_o1_i4_k1_f32@x0=nan_x4=1_x5=2_w0=1")
    judge, y = Judge(case, make_tensors(case)), np.array([[[np.nan] * 4], [[1, 2, 0, 0]]], np.float32)
    assert not judge.judge(y, TRANSFORM).verdict.failing
    kept, lost = y.copy(), y.copy()
    kept[0, 0, 1:], lost[0, 0, 0] = 0.0, 0.0
    assert not judge.judge(kept, TRANSFORM).verdict.failing
    assert judge.judge(lost, TRANSFORM).verdict is Verdict.NON_FINITE
    y[1, 0, 3] = np.nan
    assert judge.judge(y, TRANSFORM).verdict is Verdict.NON_FINITE


@pytest.mark.parametrize("declared", [True, False])
def test_one_hot_kernels_below_a_large_border(declared: bool) -> None:  # noqa: FBT001 - the case under test
    """Winograd with values of 10,000 under zero weights is clean where it is declared, and named where it is not."""
    border = "_".join(f"x{i}={10000 if {i // 8, i % 8} & {0, 7} else 0.1 * (1 + i % 5)}" for i in range(64))
    found = check(f"conv2d_c1_o1_i8_k3_f32@{border}_w4=1", [winograd(TRANSFORM if declared else Numerics())]).results[0]
    assert (found.verdict, found.model) == ((Verdict.AGREE, "") if declared else (Verdict.IMPRECISE, "Winograd or FFT"))


@pytest.mark.parametrize("m", [2, 4, 6])
@pytest.mark.parametrize("regime", ["integers", "normal", "positive"])
def test_transforms_with_short_tiles_are_clean(m: int, regime: str) -> None:
    """Winograd with float16 tiles is off by more than 0.5 on integers, which is no missing tap where it is declared."""
    line = f"conv2d_n2_c32_o8_i14_k3_p1_f16@{regime}.0"
    assert check(line, [winograd(SHORT_TRANSFORM, m, "float16")]).results[0].verdict is Verdict.AGREE


def test_half_a_unit_is_wrong_in_single_precision() -> None:
    """The 0.5 rule stands where tiles are not kept in 16 bits."""
    case = Case.parse("conv2d_n2_c32_o8_i14_k3_p1_f32@integers.0")
    judge = Judge(case, make_tensors(case))
    y = judge.expected.y.astype(np.float32)
    for off, verdict in ((0.375, Verdict.AGREE), (0.5, Verdict.WRONG)):
        assert judge.judge(y + np.float32(off), TRANSFORM).verdict is verdict
