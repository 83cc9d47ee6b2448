"""A valid configuration changed in one place: made empty, which is still valid, or broken on purpose."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from convfuzz.config import ConvConfig

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


def kernel_too_large(config: ConvConfig) -> ConvConfig:
    """Make the dilated kernel larger than the padded input on the first axis, by as little as possible."""
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


def groups_that_do_not_divide(config: ConvConfig) -> ConvConfig:
    """Choose one group more than there are output channels."""
    return config.replace(groups=config.out_channels + 1)


def no_groups(config: ConvConfig) -> ConvConfig:
    """Ask for 0 groups of one channel."""
    return config.replace(in_channels=1, out_channels=1, groups=0)


def no_stride(config: ConvConfig) -> ConvConfig:
    """Ask for stride 0, on an axis with a single output so that nothing grows."""
    extent = config.effective_kernel[0]
    size = min(extent, config.input_size[0])
    return config.replace(
        input_size=_first(size, config.input_size),
        stride=_first(0, config.stride),
        padding=((0, extent - size), *config.pads[1:]),
        padding_mode="zeros",
    )


def no_dilation(config: ConvConfig) -> ConvConfig:
    """Ask for dilation 0, which would read one input site for every tap."""
    size = _first(1, config.input_size)
    return config.replace(input_size=size, dilation=_first(0, config.dilation), padding=((0, 0), *config.pads[1:]), padding_mode="zeros")


def no_kernel(config: ConvConfig) -> ConvConfig:
    """Ask for a kernel without taps on the first axis."""
    return config.replace(kernel_size=_first(0, config.kernel_size))


def reflection_too_wide(config: ConvConfig) -> ConvConfig:
    """Reflect more sites than the input has on the first axis."""
    extent = config.effective_kernel[0]
    size = min((extent + 1) // 2, config.input_size[0])
    padding = ((max(size, extent - size), 0), *((0, 0),) * (config.dims - 1))
    return config.replace(input_size=_first(size, config.input_size), padding=padding, padding_mode="reflect")


EMPTY: tuple[Twist, ...] = (no_samples, no_inputs, no_outputs)
FLAWS: tuple[Twist, ...] = (
    kernel_too_large,
    groups_that_do_not_divide,
    no_groups,
    no_stride,
    no_dilation,
    no_kernel,
    reflection_too_wide,
)
