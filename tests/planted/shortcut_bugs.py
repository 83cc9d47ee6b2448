"""Kernels whose fast path for a special shape is wrong, while their general path is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .dense import contract, convolve, finish
from .receptive_field import PADDING, gather, input_sites, with_batch
from .registry import MISREAD, planted

if TYPE_CHECKING:
    from convfuzz import ConvConfig

    from .receptive_field import Array


def is_pointwise(config: ConvConfig) -> bool:
    """Return whether the kernel has a single tap per channel."""
    return max(config.kernel_size) == 1


@planted(*MISREAD, trigger="1x1 kernel, stride above 1, more than one output")
def pointwise_ignores_stride(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Multiplies a 1x1 kernel with neighbouring sites whatever the stride."""
    stride = (1,) * config.dims if is_pointwise(config) else None
    return convolve(x, w, b, config, sites=input_sites(config, stride=stride))


@planted(*MISREAD, trigger="1x1 kernel, padding above 0 at the low end")
def pointwise_ignores_padding(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Starts a 1x1 kernel at the input's first site whatever the padding."""
    low = [min(lo, 0) for lo, _ in config.pads] if is_pointwise(config) else None
    return convolve(x, w, b, config, sites=input_sites(config, low=low))


@planted(*MISREAD, trigger="1x1 kernel, stride above 1, two or more input channels per group")
def strided_pointwise_drops_a_channel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Leaves out the last channel of each group in the path for strided 1x1 kernels."""
    if not is_pointwise(config) or max(config.stride) == 1 or w.shape[1] < 2:
        return convolve(x, w, b, config)
    kept = w.copy()
    kept[:, -1] = 0
    return convolve(x, kept, b, config)


@planted(*MISREAD, trigger="kernel equal to the input, no padding, two or more channels per group, more than one tap")
def whole_input_flattened_channels_last(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Treats a kernel as large as the input as a matrix product, flattening input and weight in different axis orders."""
    whole = config.kernel_size == config.input_size and not any(map(any, config.pads)) and max(config.dilation) == 1
    if not whole or w.size == 0:
        return convolve(x, w, b, config)
    flat = np.moveaxis(w, 1, -1).reshape(w.shape)
    return convolve(x, flat, b, config)


@planted(*MISREAD, trigger="output of exactly one site, padding other than 0 at the low end")
def single_output_ignores_padding(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Starts at the input's first site when there is only one output."""
    single = max(config.output_shape[-config.dims :]) == 1
    return convolve(x, w, b, config, sites=input_sites(config, low=(0,) * config.dims if single else None))


@planted(*MISREAD, trigger="float16 or bfloat16, output one column wide, last stride and kernel above 1")
def single_column_reads_at_stride(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Steps by the stride from tap to tap when a 16-bit output has one column."""
    narrow = config.output_shape[-1] == 1 and config.dtype in ("float16", "bfloat16") and config.stride[-1] > 1
    dilation = (*config.dilation[:-1], config.stride[-1]) if narrow else None
    return convolve(x, w, b, config, sites=input_sites(config, dilation=dilation))


@planted(*MISREAD, trigger="kernel equal to the stride and above 1 on every axis, padding above 0 at the low end")
def patches_ignore_padding(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Cuts the unpadded input into patches when kernel and stride are equal, as in a patch embedding."""
    patches = config.kernel_size == config.stride and min(config.stride) > 1
    low = [min(lo, 0) for lo, _ in config.pads] if patches else None
    return convolve(x, w, b, config, sites=input_sites(config, low=low))


@planted(*MISREAD, trigger="3-D, first stride above 1, two or more output planes")
def depth_stride_ignored(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Runs a volume plane by plane with stride 1 in depth."""
    stride = (1, *config.stride[1:]) if config.dims == 3 else None
    return convolve(x, w, b, config, sites=input_sites(config, stride=stride))


@planted(*MISREAD, trigger="1-D, dilation above 1, two or more taps, more outputs than the dilation")
def dilated_phases_not_interleaved(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Computes a dilated 1-D convolution phase by phase and leaves the phases one after the other."""
    y = convolve(x, w, b, config)
    step = config.dilation[0]
    if config.dims > 1 or step == 1 or config.kernel_size == (1,):
        return y
    return y[..., np.concatenate([np.arange(phase, y.shape[-1], step) for phase in range(step)])]


@planted(*MISREAD, trigger="depthwise, 3x3 kernel, stride 2, zero padding of 1 on every side, odd input height")
def depthwise_stride_two_skips_the_last_row(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Takes the input's last row for padding in the depthwise 3x3 stride 2 path, which was written for even heights."""
    special = (
        config.groups == config.in_channels
        and (config.dims, config.kernel_size, config.stride, config.dilation) == (2, (3, 3), (2, 2), (1, 1))
        and config.pads == ((1, 1), (1, 1))
        and config.padding_mode == "zeros"
        and config.input_size[0] % 2 == 1
    )
    sites = input_sites(config)
    if special:
        sites[0][sites[0] == config.input_size[0] - 1] = PADDING
    return convolve(x, w, b, config, sites=sites)


@planted(*MISREAD, trigger="unbatched 2-D or 3-D with equal last two output sizes above 1")
def unbatched_output_transposed(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Swaps the last two axes of a square output when it squeezes the batch axis away."""
    y = finish(contract(gather(with_batch(x, config), input_sites(config), float), w, config.groups), b, config, x.dtype)
    square = config.dims > 1 and y.shape[-1] == y.shape[-2]
    return y.swapaxes(-1, -2) if config.batch is None and square else y
