"""Kernels under test: the planted mistakes, and correct ones, as they come and with an arithmetic that they declare."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from of_tests.planted.bugs import PLANTED
from of_tests.planted.correct import CORRECT, dense
from of_tests.planted.dense import finish
from of_tests.planted.receptive_field import Array, gather, input_sites, with_batch

import convfuzz
from convfuzz import ConvConfig, Numerics
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.backends.torch.call import TorchCall

BUGS = {planted.name: planted for planted in PLANTED}


@convfuzz.backend(ops=("conv",), dtypes=("float32",), gradients=False)
def im2col_gemm(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """One float32 matrix product per group, by the BLAS."""
    read = gather(with_batch(x, config), input_sites(config), np.float32)
    sites, taps = read.shape[2 : config.dims + 2], read.shape[config.dims + 2 :]
    batch, width, size, count = read.shape[0], config.in_channels // config.groups, math.prod(sites), math.prod(taps)
    columns = np.moveaxis(read.reshape(batch, config.groups, width, size, count), 2, 3).reshape(batch, config.groups, size, width * count)
    rows = w.reshape(config.groups, config.out_channels // config.groups, width * count)
    y = rows @ np.moveaxis(columns, 2, 3)
    return finish(y.reshape(batch, config.out_channels, *sites), b, config, x.dtype)


def _has_fft(config: ConvConfig) -> bool:
    return (
        0 not in (*config.input_shape, *config.weight_shape)
        and set(config.stride) == {1}
        and config.padding_mode == "zeros"
        and 0 not in config.output_shape
    )


@convfuzz.backend(ops=("conv",), dtypes=("float32",), gradients=False, supports=_has_fft, numerics=Numerics(algorithm="transform"))
def fft(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Multiplies spectra in complex64."""
    at = torch.from_numpy(np.array(with_batch(x, config)))
    pads = [side for sides in reversed(config.pads) for side in sides]
    at, kernel = torch.nn.functional.pad(at, pads), torch.from_numpy(w.copy())
    spread = kernel.new_zeros(*kernel.shape[:2], *config.effective_kernel)
    spread[(..., *(slice(None, None, d) for d in config.dilation))] = kernel
    axes, sizes = tuple(range(2, config.dims + 2)), at.shape[2:]
    spectrum = torch.fft.rfftn(at, sizes, axes).unflatten(1, (config.groups, -1))
    spectra = torch.fft.rfftn(spread, sizes, axes).conj().unflatten(0, (config.groups, -1))
    y = torch.fft.irfftn(torch.einsum("ngc...,goc...->ngo...", spectrum, spectra).flatten(1, 2), sizes, axes)
    y = y[(..., *(slice(size) for size in config.output_size))]
    return finish(y.numpy(), b, config, x.dtype)


@convfuzz.backend(tensors="torch", ops=("conv", "conv_transpose"))
def pytorch(x: Any, w: Any, b: Any, config: ConvConfig) -> Any:
    """PyTorch itself."""
    return TorchCall(config).layer().function("layer", {"torch": torch})(x, w, b)


def _declaring(name: str, planted: str, numerics: Numerics) -> KernelBackend:
    """Return a planted kernel that declares what it does: then it is correct."""
    mistaken: Any = BUGS[planted].function

    @convfuzz.backend(ops=("conv",), dtypes=("float32", "float16"), gradients=False, numerics=numerics)
    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        y: Array = mistaken(x, w, b, config)
        return y

    return KernelBackend(name, kernel)


CORRECT_KERNEL = KernelBackend("dense", dense)
"""What every planted mistake is made in."""
DIRECT = [KernelBackend(kernel.__name__, kernel) for kernel in (*CORRECT, dense, im2col_gemm)]
"""Direct sums in the accumulator's dtype, in several orders."""
DECLARED = [
    KernelBackend("fft", fft),
    _declaring("winograd", "undeclared_winograd", Numerics(algorithm="transform")),
    _declaring("tf32_inputs", "silent_tf32", Numerics(inputs="tfloat32")),
    _declaring("bfloat16_inputs", "silent_bfloat16", Numerics(inputs="bfloat16")),
    _declaring("float16_sums", "accumulates_in_float16", Numerics(accumulator="float16")),
]
"""Correct for what they declare; where a test cannot be told, its tolerance has to cover them."""
