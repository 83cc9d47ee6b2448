"""What a search space must reach, as predicates on a configuration with a name each."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from convfuzz.case.config import ConvConfig

EDGES = {15, 16, 17, 23, 24, 25, 31, 32, 33, 63, 64, 65}


def padded(config: ConvConfig) -> list[int]:
    """Return the padded input size per axis."""
    return [size + lo + hi for size, (lo, hi) in zip(config.input_size, config.pads, strict=True)]


def span(config: ConvConfig) -> list[tuple[int, int]]:
    """Return the padded input size and the dilated kernel's extent per axis."""
    return list(zip(padded(config), config.effective_kernel, strict=True))


def has_tail(config: ConvConfig) -> bool:
    """Whether strides leave input sites unread at the end of an axis."""
    return config.op == "conv" and any((size - extent) % stride for (size, extent), stride in zip(span(config), config.stride, strict=True))


def has_empty_window(config: ConvConfig) -> bool:
    """Whether some window lies entirely in padding."""
    return config.op == "conv" and any(max(pads) >= extent for pads, extent in zip(config.pads, config.effective_kernel, strict=True))


def at_most_padding(config: ConvConfig) -> bool:
    """Whether a padding mode is at its limit: the input size, less one for reflect."""
    most = {"reflect": -1, "circular": 0}.get(config.padding_mode)
    return most is not None and any(max(pads) == size + most for pads, size in zip(config.pads, config.input_size, strict=True))


def unequal(values: tuple[object, ...]) -> bool:
    """Whether a parameter differs between axes."""
    return len(set(values)) > 1


def per_group(config: ConvConfig) -> int:
    """Return the input channels of a group."""
    return config.in_channels // config.groups


def depthwise(config: ConvConfig) -> bool:
    """Whether each group has one input channel, with several groups."""
    return config.groups > 1 and per_group(config) == 1


def plain(config: ConvConfig) -> bool:
    """Whether nothing is special but sizes, dtype and bias."""
    return (
        config.groups == 1
        and prod(config.stride) == prod(config.dilation) == 1
        and config.padding_mode == "zeros"
        and not any(map(any, config.pads))
        and config.layout == "contiguous"
        and config.is_valid
        and 0 not in config.output_shape
        and 0 not in config.input_shape
    )


def equals_padded_input(config: ConvConfig) -> bool:
    """Whether the kernel is equal to the padded input on every axis."""
    return config.op == "conv" and config.is_valid and all(size == extent for size, extent in span(config))


def dilated_to_padded_input(config: ConvConfig) -> bool:
    """Whether it is the dilation that makes the kernel equal to the padded input on some axis."""
    fits = any(size == extent > k for (size, extent), k in zip(span(config), config.kernel_size, strict=True))
    return config.op == "conv" and config.is_valid and fits


def at_output_padding_limit(config: ConvConfig) -> bool:
    """Whether some axis has the most output padding that stride and dilation allow."""
    limits = map(max, config.stride, config.dilation)
    return any(0 < extra == limit - 1 for extra, limit in zip(config.output_padding, limits, strict=True))


def extends(config: ConvConfig) -> bool:
    """Whether padding adds sites to the output of a transposed convolution."""
    return transposed(config) and min(map(min, config.pads)) < 0


def apart(config: ConvConfig) -> bool:
    """Whether the stride of a transposed convolution leaves gaps between the places of its kernel."""
    gaps = any(extent < stride for extent, stride in zip(config.effective_kernel, config.stride, strict=True))
    return transposed(config) and config.is_valid and gaps


def transposed(config: ConvConfig) -> bool:
    """Whether the convolution is transposed."""
    return config.op == "conv_transpose"


def narrow_and_strided(config: ConvConfig) -> bool:
    """Whether there are more than 16 channels, fewer than 17 columns, and a stride (a wrong input gradient in oneDNN)."""
    return config.in_channels > 16 and config.input_size[-1] < 17 and config.stride[-1] > 1


def padded_zeros(config: ConvConfig) -> bool:
    """Whether there is numeric zero padding."""
    return config.padding_mode == "zeros" and any(map(any, config.pads))


TRAITS: dict[str, Callable[[ConvConfig], bool]] = {
    "plain": plain,
    "transposed": transposed,
    "valid": lambda c: c.is_valid,
    "invalid": lambda c: not c.is_valid,
    "1-D": lambda c: c.dims == 1,
    "2-D": lambda c: c.dims == 2,
    "3-D": lambda c: c.dims == 3,
    "3-D, depth differs": lambda c: c.dims == 3 and c.input_size[0] != c.input_size[1] and c.kernel_size[0] != c.kernel_size[2],
    "float32": lambda c: c.dtype == "float32",
    "float64": lambda c: c.dtype == "float64",
    "float16": lambda c: c.dtype == "float16",
    "bfloat16": lambda c: c.dtype == "bfloat16",
    "complex": lambda c: c.dtype.startswith("complex"),
    "whole numbers": lambda c: c.dtype.startswith("int"),
    "contiguous": lambda c: c.layout == "contiguous",
    "channels last": lambda c: c.layout == "channels_last",
    "non-contiguous": lambda c: c.layout == "non_contiguous",
    "transposed axes": lambda c: c.layout == "transposed",
    "expanded": lambda c: c.layout == "expanded",
    "offset": lambda c: c.layout == "offset",
    "loose strides": lambda c: c.layout == "loose_strides",
    "weight with another layout": lambda c: c.weight_layout is not None,
    "bias": lambda c: c.bias,
    "spatial size at an edge": lambda c: not EDGES.isdisjoint(c.input_size),
    "square": lambda c: c.dims > 1 and len(set(c.input_size)) == 1,
    "last axis at an edge": lambda c: c.input_size[-1] in EDGES,
    "channels at an edge": lambda c: c.in_channels in EDGES or c.out_channels in EDGES,
    "batch 15, 16, 17": lambda c: c.batch in {15, 16, 17},
    "batch 0": lambda c: c.batch == 0,
    "batch 1": lambda c: c.batch == 1,
    "unbatched": lambda c: c.batch is None,
    "no input channels": lambda c: c.in_channels == 0,
    "no output channels": lambda c: c.out_channels == 0,
    "no sites": lambda c: 0 in c.input_size,
    "kernel unequal": lambda c: unequal(c.kernel_size),
    "stride unequal": lambda c: unequal(c.stride),
    "dilation unequal": lambda c: unequal(c.dilation),
    "padding unequal": lambda c: unequal(c.pads),
    "stride above kernel": lambda c: any(s > k for s, k in zip(c.stride, c.kernel_size, strict=True)),
    "stride equal to kernel": lambda c: c.stride == c.kernel_size and prod(c.stride) > 1,
    "stride tail": lambda c: c.is_valid and has_tail(c),
    "1x1": lambda c: prod(c.kernel_size) == 1,
    "1x1 with padding": lambda c: prod(c.kernel_size) == 1 and any(map(any, c.pads)),
    "kernel 5, 7, 11": lambda c: not {5, 7, 11}.isdisjoint(c.kernel_size),
    "even kernel": lambda c: any(k % 2 == 0 for k in c.kernel_size),
    "kernel equal to padded input": equals_padded_input,
    "dilated kernel equal to padded input": dilated_to_padded_input,
    "kernel larger than padded input": lambda c: not transposed(c) and any(size < extent for size, extent in span(c)),
    "output size 1": lambda c: c.is_valid and prod(c.output_size) == 1,
    "last output size 1, strided": lambda c: c.output_size[-1] == 1 and c.stride[-1] > 1,
    "window entirely in padding": has_empty_window,
    "same": lambda c: c.padding == "same",
    "same, even kernel": lambda c: c.padding == "same" and any(k % 2 == 0 for k in c.kernel_size),
    "same, strided": lambda c: c.padding == "same" and prod(c.stride) > 1,
    "same, dilated": lambda c: c.padding == "same" and prod(c.dilation) > 1,
    "valid padding": lambda c: c.padding == "valid",
    "asymmetric padding": lambda c: not isinstance(c.padding, str) and any(lo != hi for lo, hi in c.pads),
    "cropping": lambda c: not transposed(c) and min(map(min, c.pads)) < 0,
    "symmetric zero padding": padded_zeros,
    "reflect": lambda c: c.padding_mode == "reflect",
    "replicate": lambda c: c.padding_mode == "replicate",
    "circular": lambda c: c.padding_mode == "circular",
    "padding mode at its limit": at_most_padding,
    "dense": lambda c: c.groups == 1,
    "per-group channels 1": lambda c: c.groups > 1 and per_group(c) == 1,
    "per-group channels 2": lambda c: c.groups > 1 and per_group(c) == 2,
    "per-group channels 3": lambda c: c.groups > 1 and per_group(c) == 3,
    "per-group channels at an edge": lambda c: c.groups > 1 and per_group(c) in {7, 8, 9, 15, 16, 17, 31, 32, 33},
    "odd groups": lambda c: c.groups > 1 and c.groups % 2 == 1,
    "depthwise": lambda c: depthwise(c) and c.out_channels == c.groups,
    "depthwise with multiplier": lambda c: depthwise(c) and c.out_channels > c.groups,
    "stride, dilation and groups": lambda c: prod(c.stride) > 1 and prod(c.dilation) > 1 and c.groups > 1,
    "batch from 16, padded, 1-D or 2-D": lambda c: (c.batch or 0) >= 16 and c.dims < 3 and any(map(any, c.pads)),
    "24 channels depthwise, strided, padded": lambda c: depthwise(c) and c.groups == 24 and c.stride[-1] > 1 and any(map(any, c.pads)),
    "groups 3, 3-D, strides unequal": lambda c: c.groups == 3 and c.dims == 3 and unequal(c.stride),
    "stride 1, 16 outputs and more": lambda c: prod(c.stride) == 1 and c.out_channels >= 16,
    "size from 4095": lambda c: max(*c.input_size, c.batch or 0, c.in_channels, c.out_channels) >= 4095,
    "narrow and strided, more than 16 channels": narrow_and_strided,
    "stride 2^31 and more": lambda c: max(c.stride) >= 2**31,
    "transposed, output padding": lambda c: any(c.output_padding),
    "transposed, output padding from the stride on": lambda c: any(e >= s for e, s in zip(c.output_padding, c.stride, strict=True)),
    "transposed, output padding at its limit": at_output_padding_limit,
    "transposed, same": lambda c: transposed(c) and c.padding == "same",
    "transposed, padding": lambda c: transposed(c) and any(map(any, c.pads)),
    "transposed, asymmetric padding": lambda c: transposed(c) and c.padding != "same" and any(lo != hi for lo, hi in c.pads),
    "transposed, output extended": extends,
    "transposed, stride above kernel": apart,
    "transposed, stride and dilation": lambda c: transposed(c) and any(s > 1 < d for s, d in zip(c.stride, c.dilation, strict=True)),
    "transposed, grouped": lambda c: transposed(c) and c.groups > 1 and per_group(c) > 1,
    "transposed, depthwise": lambda c: transposed(c) and depthwise(c),
    "transposed, unbatched": lambda c: transposed(c) and c.batch is None,
    "transposed, output size 1": lambda c: transposed(c) and c.is_valid and prod(c.output_size) == 1,
    "transposed, last output size 1": lambda c: transposed(c) and c.is_valid and c.output_size[-1] == 1,
}
