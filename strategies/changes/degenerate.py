"""A valid configuration changed in one place, at no greater cost: made as small as possible, or made invalid on one axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from convfuzz.case.config import ConvConfig

Twist: TypeAlias = Callable[[ConvConfig], ConvConfig]


def _first(value: int, values: tuple[int, ...]) -> tuple[int, ...]:
    return (value, *values[1:])


def no_twist(config: ConvConfig) -> ConvConfig:
    """Leave the configuration as it is."""
    return config


def no_samples(config: ConvConfig) -> ConvConfig:
    """Make the batch empty."""
    return config.replace(batch=0)


def no_inputs(config: ConvConfig) -> ConvConfig:
    """Take the input channels away: every output is the bias or zero."""
    return config.replace(in_channels=0, groups=1)


def no_outputs(config: ConvConfig) -> ConvConfig:
    """Take the output channels away."""
    return config.replace(out_channels=0, groups=1)


def no_sites(config: ConvConfig) -> ConvConfig:
    """Take the sites of a convolution's first axis away, with as much padding as the kernel needs: every output is the bias or zero."""
    extent = config.effective_kernel[0]
    padding = ((extent // 2, extent - extent // 2), *config.pads[1:])
    return config.replace(input_size=_first(0, config.input_size), padding=padding, padding_mode="zeros")


def one_output(config: ConvConfig) -> ConvConfig:
    """Take all but one site from the output of a transposed convolution, whose input has one."""
    beyond = [extent + extra - 1 for extent, extra in zip(config.effective_kernel, config.output_padding, strict=True)]
    return config.replace(input_size=(1,) * config.dims, padding=tuple((b // 2, b - b // 2) for b in beyond))


def kernel_too_large(config: ConvConfig) -> ConvConfig:
    """Make the dilated kernel of a convolution larger than the padded input on the first axis, by as little as possible."""
    if isinstance(config.padding, str) or config.padding_mode != "zeros":
        config = config.replace(padding=((0, 0), *config.pads[1:]), padding_mode="zeros")
    pads = sum(config.pads[0])
    size = config.effective_kernel[0] - pads - 1
    if 1 <= size < config.input_size[0] and min(config.pads[0]) >= 0:
        return config.replace(input_size=_first(size, config.input_size))
    if config.kernel_size[0] > 1:
        # With kernel 2 the extent is dilation + 1; the tensors stay as small as they are.
        return config.replace(dilation=_first(max(config.input_size[0] + pads, 1), config.dilation))
    return config.replace(padding=((-config.input_size[0], 0), *config.pads[1:]))


def output_padding_too_large(config: ConvConfig) -> ConvConfig:
    """Make the output padding of a transposed convolution as large as stride and dilation are on the first axis."""
    if config.padding == "same":
        config = config.replace(padding=((0, 0), *config.pads[1:]))
    return config.replace(output_padding=_first(max(config.stride[0], config.dilation[0]), config.output_padding))


EMPTY: tuple[Twist, ...] = (no_samples, no_inputs, no_outputs, no_sites)
MISFITS: dict[str, Twist] = {"conv": kernel_too_large, "conv_transpose": output_padding_too_large}
"""For each operation, the window that does not fit."""
