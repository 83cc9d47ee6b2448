"""Kernels that pair the wrong channels, groups, images or biases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .dense import convolve, finish, plus_bias, total
from .registry import MISREAD, planted

if TYPE_CHECKING:
    from convfuzz import ConvConfig

    from .receptive_field import Array


def channel_axis(config: ConvConfig) -> int:
    """Return which axis of input and output holds the channels."""
    return 0 if config.batch is None else 1


@planted(*MISREAD, trigger="more than one group, each of more than one input channel")
def groups_interleaved(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Deals the input channels out to the groups in turn instead of in blocks."""
    dealt = np.arange(config.in_channels).reshape(-1, config.groups).T.ravel()
    return convolve(np.take(x, dealt, axis=channel_axis(config)), w, b, config)


@planted(*MISREAD, trigger="more than one group")
def last_group_reads_its_neighbour(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Gives the last group the input channels of the group before it."""
    per_group = config.in_channels // config.groups
    channels = np.arange(config.in_channels)
    if config.groups > 1:
        channels[config.in_channels - per_group :] -= per_group
    return convolve(np.take(x, channels, axis=channel_axis(config)), w, b, config)


@planted(*MISREAD, trigger="depthwise with a channel multiplier above 1, two or more groups")
def depthwise_multiplier_order(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Orders a depthwise output by multiplier first and channel second."""
    sums = total(x, w, config)
    if config.groups == config.in_channels > 1:
        order = np.arange(config.out_channels).reshape(config.groups, -1).T.ravel()
        sums = sums[:, order]
    return finish(sums, b, config, x.dtype)


@planted(*MISREAD, trigger="depthwise, a channel count above 16 that leaves 8 over from 16, one output per channel")
def depthwise_half_block_repeated(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Uses the previous block's weights for the last 8 channels when they fill half a vector, as with 24 channels."""
    channels = config.out_channels
    if config.groups == config.in_channels == channels > 16 and channels % 16 == 8:
        w = np.concatenate([w[:-8], w[-16:-8]])
    return convolve(x, w, b, config)


@planted(*MISREAD, trigger="more than 16 input channels per group, not a multiple of 16")
def channel_tail_ignored(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Adds whole blocks of 16 input channels and leaves out the rest."""
    per_group = w.shape[1]
    if per_group <= 16 or per_group % 16 == 0:
        return convolve(x, w, b, config)
    kept = w.copy()
    kept[:, per_group - per_group % 16 :] = 0
    return convolve(x, kept, b, config)


@planted(*MISREAD, trigger="more than 8 output channels, not a multiple of 8")
def output_block_repeated(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Stores the previous block's values in the last, partial block of 8 output channels."""
    y = convolve(x, w, b, config)
    channels = np.arange(config.out_channels)
    if config.out_channels > 8 and config.out_channels % 8:
        channels[config.out_channels - config.out_channels % 8 :] -= 8
    return np.take(y, channels, axis=channel_axis(config))


@planted(*MISREAD, trigger="more than 16 images, not a multiple of 16")
def batch_tail_repeats_an_image(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Reads the images beyond the last whole block of 16 one image too early."""
    images = config.batch or 1
    if images <= 16 or images % 16 == 0:
        return convolve(x, w, b, config)
    order = np.arange(images)
    order[images - images % 16 :] -= 1
    return convolve(x[order], w, b, config)


@planted(*MISREAD, trigger="odd number of groups above 1")
def odd_group_left_over(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Works on pairs of groups and leaves the sums of an odd last group at zero."""
    sums = total(x, w, config)
    if config.groups > 1 and config.groups % 2:
        sums[:, config.out_channels - config.out_channels // config.groups :] = 0
    return finish(sums, b, config, x.dtype)


@planted(*MISREAD, trigger="bias, two or more images")
def bias_on_first_image_only(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Adds the bias to the first image of a batch and to no other."""
    sums = total(x, w, config)
    sums[:1] = plus_bias(sums[:1], b)
    return finish(sums, None, config, x.dtype)


@planted(*MISREAD, trigger="bias, more than one group")
def bias_missing_when_grouped(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Forgets the bias of a grouped convolution."""
    return convolve(x, w, b if config.groups == 1 else None, config)


@planted(*MISREAD, trigger="bias, more than 32 input channels per group")
def bias_added_per_channel_block(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Adds the bias again with every further block of 32 input channels."""
    blocks = max(1, -(-w.shape[1] // 32))
    return convolve(x, w, None if b is None else b.astype(float) * blocks, config)


@planted(*MISREAD, trigger="bias, two or more groups, two or more outputs per group")
def bias_indexed_within_the_group(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Adds the first group's biases to every group."""
    if b is not None:
        b = np.tile(b[: config.out_channels // config.groups], config.groups)
    return convolve(x, w, b, config)


@planted(*MISREAD, trigger="zero input channels, bias")
def zero_channels_forget_the_bias(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Returns zeros instead of the bias when there is nothing to sum."""
    return convolve(x, w, b if config.in_channels else None, config)
