"""Kernels that combine the right tensors with the wrong taps: dropped, doubled, misplaced, or not computed at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .dense import contract, convolve, finish
from .receptive_field import PADDING, gather, input_sites, with_batch
from .registry import MISREAD, planted

if TYPE_CHECKING:
    from convfuzz import ConvConfig

    from .receptive_field import Array


@planted(*MISREAD, trigger="more than one product per output")
def last_tap_dropped(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Leaves out the last product of every output, like a loop that ends one short."""
    if config.taps < 2:
        return convolve(x, w, b, config)
    kept = w.reshape(len(w), config.taps).copy()
    kept[:, -1] = 0
    return convolve(x, kept.reshape(w.shape), b, config)


@planted(*MISREAD, trigger="more than one product per output")
def first_tap_doubled(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Adds the first product of every output twice, like an accumulator initialised with it."""
    if config.taps < 2:
        return convolve(x, w, b, config)
    weights = w.reshape(len(w), config.taps).astype(float)
    weights[:, 0] *= 2
    return convolve(x, weights.reshape(w.shape), b, config)


@planted(*MISREAD, trigger="2-D or 3-D, last two kernel sizes equal and above 1")
def kernel_axes_transposed(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Swaps height and width of a square kernel."""
    square = config.dims > 1 and config.kernel_size[-1] == config.kernel_size[-2]
    return convolve(x, w.swapaxes(-1, -2) if square else w, b, config)


@planted(*MISREAD, trigger="kernel larger than 1 on some axis")
def kernel_flipped(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Computes the mathematician's convolution instead of cross-correlation."""
    return convolve(x, np.flip(w, axis=tuple(range(2, w.ndim))), b, config)


@planted(*MISREAD, trigger="output width above 8 and no multiple of 8")
def output_width_tail_missing(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Computes whole tiles of 8 columns and leaves zeros in the rest of the row."""
    y = convolve(x, w, b, config)
    width = y.shape[-1]
    if width > 8:
        y[..., width - width % 8 :] = 0
    return y


@planted(*MISREAD, trigger="stride above 1 on the first axis that leaves input rows over, two or more output rows")
def tail_row_repeated(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Leaves the previous row's values in the last row when the stride does not divide the input evenly."""
    y = convolve(x, w, b, config)
    rows = y.ndim - config.dims
    left_over = (config.input_size[0] + sum(config.pads[0]) - config.effective_kernel[0]) % config.stride[0]
    if left_over and y.shape[rows] > 1:
        y[(slice(None),) * rows + (-1,)] = y[(slice(None),) * rows + (-2,)]
    return y


@planted(*MISREAD, trigger="strides differ between axes, more than one output on a later axis")
def first_stride_everywhere(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Uses the first axis's stride on every axis."""
    return convolve(x, w, b, config, sites=input_sites(config, stride=config.stride[:1] * config.dims))


@planted(*MISREAD, trigger="dilations differ between axes, kernel above 1 on a later axis")
def first_dilation_everywhere(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Uses the first axis's dilation on every axis."""
    return convolve(x, w, b, config, sites=input_sites(config, dilation=config.dilation[:1] * config.dims))


@planted(*MISREAD, trigger="dilation and stride both above 1 somewhere, kernel above 1")
def dilation_ignored_when_strided(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Forgets the dilation as soon as any stride is above 1."""
    strided = max(config.stride) > 1
    return convolve(x, w, b, config, sites=input_sites(config, dilation=(1,) * config.dims if strided else None))


@planted(*MISREAD, trigger="output wider than 16, kernel above 1 on the last axis")
def halo_one_column_short(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Loads tiles of 16 output columns one input column short, so the last tap of each full tile's last column is zero."""
    sites = input_sites(config)
    width, taps = sites[-1].shape
    if taps > 1:
        sites[-1][15 : width - 1 : 16, -1] = PADDING
    return convolve(x, w, b, config, sites=sites)


@planted(*MISREAD, trigger="kernel above 7 on some axis")
def large_kernel_truncated(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Has room for 7 taps per axis and leaves out the others."""
    window = (slice(None), slice(None), *[slice(7)] * config.dims)
    read = gather(with_batch(x, config), [table[:, :7] for table in input_sites(config)], float)
    return finish(contract(read, w[window], config.groups), b, config, x.dtype)
