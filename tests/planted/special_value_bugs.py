"""Kernels that are right on ordinary numbers and mishandle NaN, Inf or overflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from convfuzz.case.dtypes import FLOATS

from .dense import convolve, finish, plus_bias, total
from .registry import planted

if TYPE_CHECKING:
    from convfuzz import ConvConfig

    from .receptive_field import Array


@planted("non-finite", trigger="a NaN among the inputs")
def nan_input_read_as_zero(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Reads a NaN in the input as zero."""
    wide = x.astype(float)
    wide[np.isnan(wide)] = 0
    return finish(total(wide, w, config), b, config, x.dtype)


@planted("non-finite", trigger="an infinite result, from an Inf among the data or from overflow")
def infinity_clamped(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Saturates to the largest finite number instead of giving Inf."""
    most = FLOATS[config.dtype].max
    return finish(np.clip(plus_bias(total(x, w, config), b), -most, most), None, config, x.dtype)


@planted("non-finite", trigger="a NaN or Inf among the inputs that some windows of its row do not read")
def banded_matrix_smears_nan(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Multiplies whole rows with a banded weight matrix, whose zeros turn one NaN or Inf into a row of NaN."""
    sums = total(x, w, config)
    with np.errstate(invalid="ignore"):
        poison = (x.astype(float) * 0).sum(axis=-1, keepdims=True) + np.zeros(x.shape)
    if poison.any():
        # A window of full rows reads the NaN wherever it is, unless the window lies wholly in the padding.
        sums += total(poison, np.ones(w.shape), config)
    return finish(sums, b, config, x.dtype)


@planted("non-finite", trigger="a NaN among the weights")
def nan_weight_pruned(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Keeps the weights that are above or below zero, as in a sparse format, and so loses a NaN."""
    with np.errstate(invalid="ignore"):
        kept = (w > 0) | (w < 0)
    return convolve(x, np.where(kept, w, w.dtype.type(0)), b, config)


@planted("non-finite", trigger="a NaN among the data")
def nan_lost_in_a_maximum(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Takes the maximum of the result and the lowest number, as a fused activation does, which drops NaN."""
    lowest = -FLOATS[config.dtype].max
    return finish(np.fmax(plus_bias(total(x, w, config), b), lowest), None, config, x.dtype)


@planted("non-finite", trigger="an Inf among the inputs")
def infinite_input_clamped(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Brings the input into the finite range before it multiplies."""
    most = FLOATS[config.dtype].max
    return finish(total(np.clip(x.astype(float), -most, most), w, config), b, config, x.dtype)


@planted("non-finite", trigger="float16, results beyond the largest number from finite data")
def float16_overflow_saturates(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Converts a finite sum that float16 does not hold to its largest number."""
    sums = plus_bias(total(x, w, config), b)
    most = FLOATS["float16"].max
    if config.dtype == "float16":
        sums = np.where(np.isfinite(sums), np.clip(sums, -most, most), sums)
    return finish(sums, None, config, x.dtype)


@planted("non-finite", trigger="an infinite result from an Inf among the data")
def compensation_of_infinity(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Adds the error of a compensated sum, which is Inf - Inf where the sum is Inf."""
    sums = plus_bias(total(x, w, config), b)
    with np.errstate(invalid="ignore"):
        error = sums - sums
    return finish(sums + error, None, config, x.dtype)
