"""Kernels that put the wrong values, or the right values in the wrong place, around the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .dense import contract, convolve, finish
from .precision import wide
from .receptive_field import PADDING, gather, input_positions, input_sites, resolve_padding, with_batch
from .registry import MISREAD, planted

if TYPE_CHECKING:
    from convfuzz import ConvConfig

    from .receptive_field import Array


@planted(*MISREAD, trigger="explicit padding that differs between the two sides of an axis")
def padding_sides_swapped(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Takes an asymmetric (lo, hi) padding as (hi, lo)."""
    explicit = not isinstance(config.padding, str)
    return convolve(x, w, b, config, sites=input_sites(config, low=[hi for _, hi in config.pads] if explicit else None))


@planted(*MISREAD, trigger="padding 'same' with an odd total, as for an even kernel")
def same_pads_the_wrong_side(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Puts the odd zero of 'same' at the low end."""
    same = config.padding == "same"
    return convolve(x, w, b, config, sites=input_sites(config, low=[hi for _, hi in config.pads] if same else None))


@planted(*MISREAD, trigger="padding 'same' with a stride above 1 whose low padding differs from stride 1's")
def same_subsampled_from_stride_one(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Pads 'same' as for stride 1 and keeps every stride-th output."""
    low = [(extent - 1) // 2 for extent in config.effective_kernel] if config.padding == "same" else None
    return convolve(x, w, b, config, sites=input_sites(config, low=low))


@planted(*MISREAD, trigger="padding mode reflect with padding above 0")
def reflect_as_replicate(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Repeats the edge where it should mirror."""
    mode = "replicate" if config.padding_mode == "reflect" else None
    return convolve(x, w, b, config, sites=input_sites(config, padding_mode=mode))


@planted(*MISREAD, trigger="padding mode circular with padding above 0, input larger than 1")
def circular_off_by_one(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Wraps around to the site one too far."""
    sites = input_sites(config)
    if config.padding_mode == "circular":
        for table, inside, size in zip(sites, input_sites(config, padding_mode="zeros"), config.input_size, strict=True):
            table[inside == PADDING] = (table[inside == PADDING] + 1) % max(size, 1)
    return convolve(x, w, b, config, sites=sites)


@planted(*MISREAD, trigger="padding mode circular in 2-D or 3-D, low padding that differs between first and last axis")
def circular_axes_swapped(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Applies the circular padding amounts to the axes in reversed order."""
    low = [lo for lo, _ in reversed(config.pads)] if config.padding_mode == "circular" else None
    return convolve(x, w, b, config, sites=input_sites(config, low=low))


@planted(*MISREAD, trigger="padding mode replicate with padding above 0 in 3-D")
def replicate_is_zero_in_3d(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Pads a volume with zeros where it should repeat the edge."""
    mode = "zeros" if config.dims == 3 and config.padding_mode == "replicate" else None
    return convolve(x, w, b, config, sites=input_sites(config, padding_mode=mode))


@planted(*MISREAD, trigger="negative padding at the low end of an axis")
def negative_padding_ignored(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Starts at the input's first site where it should crop."""
    return convolve(x, w, b, config, sites=input_sites(config, low=[max(lo, 0) for lo, _ in config.pads]))


@planted(*MISREAD, trigger="zero padding of at least the dilated kernel's extent, so that a window lies wholly in it")
def empty_window_reads_the_edge(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Clamps a window that lies wholly in the padding to the input's edge instead of giving the bias."""
    sites = input_sites(config)
    for axis, (table, size) in enumerate(zip(sites, config.input_size, strict=True)):
        empty = (table == PADDING).all(axis=1)
        outputs, taps = np.nonzero(empty)[0][:, None], np.arange(table.shape[1])
        raw = outputs * config.stride[axis] + taps * config.dilation[axis] - config.pads[axis][0]
        if size:
            table[empty] = resolve_padding(raw, size, "replicate")
    return convolve(x, w, b, config, sites=sites)


@planted(*MISREAD, trigger="zero padding, a window that sticks out at both ends of an axis")
def overhang_on_both_sides(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Clips a window at one end only, so that one which sticks out at both ends reads the last site again."""
    sites = input_sites(config)
    for table, size in zip(sites, config.input_size, strict=True):
        both = (table[:, 0] == PADDING) & (table[:, -1] == PADDING) & (table != PADDING).any(axis=1)
        table[both, -1] = size - 1
    return convolve(x, w, b, config, sites=sites)


@planted(*MISREAD, trigger="padding mode reflect with padding above 0")
def reflect_repeats_the_edge(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Mirrors at the border between the sites, so that the edge comes twice."""
    sites = input_sites(config)
    if config.padding_mode == "reflect":
        for table, position, size in zip(sites, input_positions(config), config.input_size, strict=True):
            table[position < 0] -= 1
            table[position >= size] += 1
    return convolve(x, w, b, config, sites=sites)


@planted(*MISREAD, trigger="padding mode circular with padding above 0 at the high end")
def circular_at_the_low_end_only(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Wraps around at the low end and has zeros at the high end."""
    sites = input_sites(config)
    if config.padding_mode == "circular":
        for table, position, size in zip(sites, input_positions(config), config.input_size, strict=True):
            table[position >= size] = PADDING
    return convolve(x, w, b, config, sites=sites)


@planted(*MISREAD, trigger="padding mode replicate with padding above 0 on two axes")
def replicate_leaves_the_corners_zero(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Repeats the edges of the unpadded input, axis by axis, which leaves zeros in the corners."""
    read = gather(with_batch(x, config), input_sites(config), wide(x.dtype))
    if config.padding_mode == "replicate":
        outside = np.zeros(read.shape[2:], int)
        for axis, (position, size) in enumerate(zip(input_positions(config), config.input_size, strict=True)):
            others = tuple(a for a in range(outside.ndim) if a not in (axis, axis + config.dims))
            outside += np.expand_dims((position < 0) | (position >= size), others)
        read[:, :, outside > 1] = 0
    return finish(contract(read, w, config.groups), b, config, x.dtype)


@planted(*MISREAD, trigger="padding mode other than zeros, more padding at the high end of an axis than at the low end")
def copies_as_far_as_the_low_padding(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Fills the padding of the high end only as far as the low end's goes, and leaves zeros behind it."""
    sites = input_sites(config)
    if config.padding_mode != "zeros":
        for table, position, size, (lo, _) in zip(sites, input_positions(config), config.input_size, config.pads, strict=True):
            table[position >= size + lo] = PADDING
    return convolve(x, w, b, config, sites=sites)
