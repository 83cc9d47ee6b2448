"""Kernels that multiply and add the right numbers in the wrong arithmetic, or lose small values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np

from convfuzz.case.dtypes import FLOATS

from .dense import convolve, finish, plus_bias, total
from .precision import rounded
from .receptive_field import gather, input_sites, with_batch
from .registry import planted
from .summation import output_terms
from .winograd import convolve_3x3

if TYPE_CHECKING:
    from convfuzz import ConvConfig

    from .receptive_field import Array


def with_significand(values: Array, bits: int) -> Array:
    """Return float32 values rounded to nearest even with so many significand bits; subnormals, NaN and Inf stay."""
    values = np.ascontiguousarray(values, np.float32)
    dropped = 24 - bits
    word = values.view(np.uint32)
    nearest = word + np.uint32((1 << dropped - 1) - 1) + ((word >> np.uint32(dropped)) & np.uint32(1))
    short = (nearest & np.uint32(0xFFFFFFFF ^ (1 << dropped) - 1)).view(np.float32)
    normal = np.isfinite(values) & (np.abs(values) >= np.finfo(np.float32).tiny)
    return np.where(normal, short, values)


@planted("imprecise", "non-finite", trigger="float16, more than a few taps")
def accumulates_in_float16(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Keeps a float16 convolution's products and partial sums in float16."""
    if config.dtype != "float16":
        return convolve(x, w, b, config)
    terms = output_terms(x, w, b, config, np.float16)
    return terms.sum_in_order(range(len(terms)))


@planted("imprecise", trigger="bfloat16, more than a few taps")
def accumulates_in_bfloat16(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Keeps a bfloat16 convolution's products and partial sums in bfloat16."""
    if config.dtype != "bfloat16":
        return convolve(x, w, b, config)
    terms = output_terms(x, w, b, config, ml_dtypes.bfloat16)
    return terms.sum_in_order(range(len(terms)))


@planted("imprecise", "non-finite", trigger="float16 or bfloat16, more than 32 input channels per group")
def rounds_between_channel_blocks(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Rounds the running sum to the 16-bit output type after every 32 input channels."""
    if config.dtype not in ("float16", "bfloat16") or w.shape[1] <= 32:
        return convolve(x, w, b, config)
    sums: Array | None = None
    for first in range(0, w.shape[1], 32):
        block = np.zeros_like(w)
        block[:, first : first + 32] = w[:, first : first + 32]
        part = total(x, block, config)
        sums = rounded(part if sums is None else sums + part, x.dtype).astype(float)
    assert sums is not None
    return finish(sums, b, config, x.dtype)


@planted("imprecise", trigger="float32")
def silent_tf32(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Rounds float32 inputs and weights to TF32's 11 significand bits."""
    if config.dtype == "float32":
        return finish(total(with_significand(x, 11), with_significand(w, 11), config), b, config, x.dtype)
    return convolve(x, w, b, config)


@planted("imprecise", trigger="float32")
def silent_bfloat16(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Rounds float32 inputs and weights to bfloat16's 8 significand bits."""
    if config.dtype == "float32":
        return finish(total(with_significand(x, 8), with_significand(w, 8), config), b, config, x.dtype)
    return convolve(x, w, b, config)


@planted("imprecise", trigger="float32, 2-D 3x3 kernel, stride 1, input channels a multiple of 32")
def tf32_for_whole_channel_blocks(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Takes a TF32 path for the 3x3 layers whose channels fill whole blocks of 32."""
    special = (config.dtype, config.kernel_size, config.stride) == ("float32", (3, 3), (1, 1))
    if special and config.in_channels and config.in_channels % 32 == 0:
        return finish(total(with_significand(x, 11), with_significand(w, 11), config), b, config, x.dtype)
    return convolve(x, w, b, config)


@planted("imprecise", trigger="float32, batch of 16 or more")
def large_batch_loses_precision(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Hands batches of 16 and more to another library, which keeps 11 significand bits of its inputs."""
    if config.dtype == "float32" and (config.batch or 1) >= 16:
        return finish(total(with_significand(x, 11), with_significand(w, 11), config), b, config, x.dtype)
    return convolve(x, w, b, config)


@planted("imprecise", "wrong", "non-finite", trigger="float64; data beyond float32's range vanish or overflow")
def float64_in_float32(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Computes a float64 convolution in float32."""
    return convolve(x, w, b, config, dtype=np.float32 if config.dtype == "float64" else np.float64)


@planted("imprecise", "wrong", "non-finite", trigger="float32; results beyond float16's range vanish or overflow")
def result_through_float16(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Rounds a float32 result to float16 on the way out."""
    y = convolve(x, w, b, config)
    return rounded(y, np.dtype(np.float16)).astype(y.dtype) if config.dtype == "float32" else y


@planted("imprecise", trigger="bfloat16, results that are not representable")
def bfloat16_result_truncated(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Drops a float32 sum's low 16 bits instead of rounding it to the nearest bfloat16."""
    if config.dtype != "bfloat16":
        return convolve(x, w, b, config)
    sums = rounded(plus_bias(total(x, w, config), b), np.dtype(np.float32))
    high = np.where(np.isnan(sums), np.float32(np.nan), sums).view(np.uint32) & np.uint32(0xFFFF0000)
    return finish(high.view(np.float32), None, config, x.dtype)


@planted("imprecise", "non-finite", trigger="float32, 2-D 3x3 kernel, stride and dilation 1")
def undeclared_winograd(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Uses Winograd's F(4x4, 3x3) in float32 where a direct algorithm is declared."""
    shape = (config.dtype, config.kernel_size, config.stride, config.dilation)
    if shape != ("float32", (3, 3), (1, 1), (1, 1)):
        return convolve(x, w, b, config)
    read = gather(with_batch(x, config), input_sites(config), np.float32)
    return finish(convolve_3x3(read, w, config.groups), b, config, x.dtype)


@planted("imprecise", "wrong", trigger="results below about 1 (unexplained where they are tiny)")
def epsilon_added(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Adds the 1e-6 that a fused normalisation would need."""
    return finish(total(x, w, config) + 1e-6, b, config, x.dtype)


@planted("imprecise", "wrong", trigger="results below 1e-6 in magnitude, as with tiny data")
def small_results_flushed(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Sets results below 1e-6 in magnitude to zero."""
    sums = plus_bias(total(x, w, config), b)
    sums[np.abs(sums) < 1e-6] = 0
    return finish(sums, None, config, x.dtype)


@planted("imprecise", "wrong", trigger="subnormal inputs or weights")
def subnormal_inputs_flushed(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Reads subnormal inputs and weights as zero without declaring it."""
    tiny = FLOATS[config.dtype].tiny
    wide_x, wide_w = x.astype(float), w.astype(float)
    wide_x[np.abs(wide_x) < tiny] = 0
    wide_w[np.abs(wide_w) < tiny] = 0
    return finish(total(wide_x, wide_w, config), b, config, x.dtype)
