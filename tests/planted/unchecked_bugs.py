"""Kernels that compute something where they have to reject the call: each repairs, or does not see, one thing that is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .dense import layer, transpose
from .receptive_field import output_sites
from .registry import MISREAD, planted_unchecked

if TYPE_CHECKING:
    from collections.abc import Callable

    from convfuzz import ConvConfig

    from .receptive_field import Array


def checked(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Return the layer's output.

    Raises:
        ValueError: the call is invalid.
    """
    require(config)
    return layer(x, w, b, config)


def require(config: ConvConfig) -> None:
    """Refuse an invalid configuration.

    Raises:
        ValueError: it is one.
    """
    if not config.is_valid:
        raise ValueError(config.invalid_reason)


def each(change: Callable[[int], int], values: tuple[int, ...]) -> tuple[int, ...]:
    """Return the values of every axis, changed."""
    return tuple(change(value) for value in values)


def channels(x: Array, count: int, config: ConvConfig) -> Array:
    """Return the first channels of the input."""
    return x[:count] if config.batch is None else x[:, :count]


# -- channels -----------------------------------------------------------------------------------------------------


@planted_unchecked("accepted-invalid", trigger="groups that do not divide the input or the output channels")
def groups_rounded_down(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Divides the channels among the groups with integer division and forgets the remainder."""
    if config.groups > 0:
        config = config.replace(
            in_channels=config.in_channels // config.groups * config.groups,
            out_channels=config.out_channels // config.groups * config.groups,
        )
    return checked(
        channels(x, config.in_channels, config), w[: config.weight_shape[0]], None if b is None else b[: config.out_channels], config
    )


@planted_unchecked("accepted-invalid", trigger="groups of 0")
def no_groups_taken_for_one(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Takes 0 groups, the value of an attribute that was never set, for 1."""
    return checked(x, w, b, config.replace(groups=config.groups or 1))


@planted_unchecked("accepted-invalid", trigger="an input with more channels than the weight takes")
def surplus_channels_ignored(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Takes as many input channels as the weight has use for."""
    if x.ndim == len(config.input_shape) and x.shape != config.input_shape:
        x, config = channels(x, config.in_channels, config), config.replace(flaw=None)
    return checked(x, w, b, config)


# -- windows ------------------------------------------------------------------------------------------------------


@planted_unchecked("accepted-invalid", trigger="stride 0")
def stride_zero_taken_for_one(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Steps by at least one site."""
    return checked(x, w, b, config.replace(stride=each(lambda stride: stride or 1, config.stride)))


@planted_unchecked("accepted-invalid", trigger="negative stride")
def sign_of_the_stride_ignored(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Takes a negative stride's magnitude."""
    return checked(x, w, b, config.replace(stride=each(abs, config.stride)))


@planted_unchecked("accepted-invalid", trigger="dilation 0, which leaves one site to read")
def dilation_zero_reads_one_site(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Reads the same site with every tap."""
    require(config.replace(dilation=each(lambda dilation: dilation or 1, config.dilation)))
    return layer(x, w, b, config)


@planted_unchecked("accepted-invalid", trigger="kernel larger than the padded input")
def output_of_at_least_one(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Gives one output where the kernel does not fit, reading zeros behind the padded input."""
    if config.op == "conv" and min(*config.stride, *config.dilation, *config.kernel_size) > 0:
        axes = zip(config.input_size, config.pads, config.effective_kernel, strict=True)
        config = config.replace(padding=tuple((lo, max(hi, extent - size - lo)) for size, (lo, hi), extent in axes))
    return checked(x, w, b, config)


@planted_unchecked("accepted-invalid", trigger="padding mode reflect with as much padding as there is input, or more")
def reflection_without_limit(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Reflects once and reads zeros beyond that."""
    require(config.replace(padding_mode="zeros") if config.padding_mode == "reflect" else config)
    return layer(x, w, b, config)


# -- outputs of a transposed convolution ----------------------------------------------------------------------------


@planted_unchecked("accepted-invalid", trigger="output padding as large as stride and dilation, or larger")
def output_padding_without_limit(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Appends as many rows as it is asked for."""
    require(config.replace(output_padding=each(lambda extra: min(extra, 0), config.output_padding)))
    return layer(x, w, b, config)


@planted_unchecked("accepted-invalid", trigger="negative output padding")
def negative_output_padding_crops(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Takes negative output padding for cropping."""
    require(config.replace(output_padding=each(lambda extra: max(extra, 0), config.output_padding)))
    return layer(x, w, b, config)


@planted_unchecked("accepted-invalid", trigger="transposed, padding that leaves nothing of the output")
def cropped_to_at_least_one(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Crops less at the high end where nothing would be left."""
    if config.op == "conv_transpose":
        sides = zip(config.pads, config.output_size, strict=True)
        config = config.replace(padding=tuple((lo, hi + min(size - 1, 0)) for (lo, hi), size in sides))
    return checked(x, w, b, config)


@planted_unchecked(*MISREAD, trigger="transposed, valid, two inputs a multiple of 2^32 apart")
def output_positions_in_32_bits(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Computes where the windows of a transposed convolution lie in 32-bit integers, which wrap around."""
    require(config)
    if config.op == "conv":
        return layer(x, w, b, config)

    def in_32_bits(value: int) -> int:
        return (value + 2**31) % 2**32 - 2**31

    low = each(in_32_bits, tuple(lo for lo, _ in config.pads))
    sites = output_sites(config, stride=each(in_32_bits, config.stride), dilation=each(in_32_bits, config.dilation), low=low)
    return transpose(x, w, b, config, sites=sites)


# -- operands and arguments -----------------------------------------------------------------------------------------


@planted_unchecked("accepted-invalid", trigger="a bias with one element too many")
def bias_of_any_size(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Adds the first element of a bias that does not fit to every channel."""
    if b is not None and b.shape != (config.out_channels,):
        b, config = np.repeat(b.ravel()[:1], config.out_channels), config.replace(flaw=None)
    return checked(x, w, b, config)


@planted_unchecked("accepted-invalid", trigger="a weight of another dtype than the input")
def weight_cast_to_the_inputs_dtype(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Converts a weight of another dtype."""
    if w.dtype != x.dtype:
        w, config = w.astype(x.dtype), config.replace(flaw=None)
    return checked(x, w, b, config)


@planted_unchecked("accepted-invalid", trigger="an input with one leading axis too many")
def leading_axis_dropped(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Takes the first of what an additional leading axis holds."""
    if x.ndim > len(config.input_shape):
        x, config = x[0], config.replace(flaw=None)
    return checked(x, w, b, config)
