"""Transposed convolutions that add the right products in the wrong place, add them the wrong way, or leave sites out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .dense import expand, finish, plus_bias, transpose, transposed_total
from .precision import rounded
from .receptive_field import PADDING, output_sites, scatter, with_batch
from .registry import MISREAD, TRANSPOSED, planted

if TYPE_CHECKING:
    from convfuzz import ConvConfig

    from .receptive_field import Array


def exchanged_in_groups(w: Array, groups: int) -> Array:
    """Return a weight (rows, columns / groups, *kernel) whose memory is read with the two channel axes of each group exchanged."""
    rows, columns = w.shape[0] // groups, w.shape[1]
    return w.reshape(groups, columns, rows, *w.shape[2:]).swapaxes(1, 2).reshape(w.shape)


@planted(*MISREAD, trigger="output padding on the last axis that a window or a bias reaches", ops=TRANSPOSED)
def output_padding_left_zero(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Writes the columns up to the output padding of the last axis and leaves zeros in it."""
    y = transpose(x, w, b, config)
    y[..., y.shape[-1] - config.output_padding[-1] :] = 0
    return y


@planted(*MISREAD, trigger="output padding on the first axis, bias", ops=TRANSPOSED)
def output_padding_lacks_the_bias(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Adds the bias before the rows of the output padding are appended."""
    sums = transposed_total(x, w, config)
    rows = config.output_size[0] - config.output_padding[0]
    sums[:, :, :rows] = plus_bias(sums[:, :, :rows], b)
    return finish(sums, None, config, x.dtype)


@planted(*MISREAD, trigger="output padding, more than one output on that axis", ops=TRANSPOSED)
def output_padding_at_the_low_end(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Makes room for the output padding before the first output instead of behind the last."""
    low = [lo - extra for (lo, _), extra in zip(config.pads, config.output_padding, strict=True)]
    return transpose(x, w, b, config, sites=output_sites(config, low=low))


@planted(*MISREAD, trigger="stride and dilation that differ on an axis of more than one site or tap", ops=TRANSPOSED)
def stride_and_dilation_exchanged(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Spreads the taps by the stride and the sites by the dilation."""
    return transpose(x, w, b, config, sites=output_sites(config, stride=config.dilation, dilation=config.stride))


@planted(*MISREAD, trigger="explicit padding that differs between the two sides of an axis", ops=TRANSPOSED)
def crop_sides_swapped(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Crops an asymmetric padding (lo, hi) as (hi, lo)."""
    low = [hi for _, hi in config.pads] if not isinstance(config.padding, str) else None
    return transpose(x, w, b, config, sites=output_sites(config, low=low))


@planted(*MISREAD, trigger="padding 'same' with an odd total, as for an odd kernel and stride 2", ops=TRANSPOSED)
def same_crops_the_wrong_side(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Crops the odd site of 'same' at the low end."""
    low = [hi for _, hi in config.pads] if config.padding == "same" else None
    return transpose(x, w, b, config, sites=output_sites(config, low=low))


@planted(*MISREAD, trigger="more than one group, each of several input and output channels", ops=TRANSPOSED)
def grouped_weight_axes_confused(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Reads each group's weight as (out, in), as a convolution's is, when there are groups."""
    return transpose(x, exchanged_in_groups(w, config.groups) if config.groups > 1 else w, b, config)


@planted(*MISREAD, trigger="kernel larger than 1 on some axis", ops=TRANSPOSED)
def transposed_kernel_flipped(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Runs a convolution over the stuffed input without flipping the kernel for it."""
    return transpose(x, np.flip(w, axis=tuple(range(2, w.ndim))), b, config)


@planted(*MISREAD, trigger="windows that overlap: a dilated kernel that meets a site from two inputs", ops=TRANSPOSED)
def overlaps_overwritten(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Stores what a window contributes where it should add, so that the last window wins."""
    sites = output_sites(config)
    for table, size in zip(sites, config.output_size, strict=True):
        windows = np.broadcast_to(np.arange(len(table))[:, None], table.shape)
        last = np.full(size + 1, PADDING)  # one more, which is where PADDING points
        np.maximum.at(last, table, windows)
        table[windows != last[table]] = PADDING
    return transpose(x, w, b, config, sites=sites)


@planted(*MISREAD, trigger="odd input width above 1", ops=TRANSPOSED)
def odd_column_left_over(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Spreads the input columns in pairs and leaves an odd last one out."""
    sites = output_sites(config)
    if (width := config.input_size[-1]) > 1:
        sites[-1][width - width % 2 :] = PADDING
    return transpose(x, w, b, config, sites=sites)


@planted(*MISREAD, trigger="dilation and kernel above 1 on the last axis", ops=TRANSPOSED)
def last_dilation_ignored(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Takes neighbouring sites for the taps of the last axis whatever its dilation."""
    return transpose(x, w, b, config, sites=output_sites(config, dilation=(*config.dilation[:-1], 1)))


@planted(*MISREAD, trigger="bias, an output that no window meets, as with a stride above the dilated kernel", ops=TRANSPOSED)
def gaps_lack_the_bias(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Adds the bias where a window contributes and leaves zeros where none does."""
    sums = transposed_total(x, w, config)
    met = (np.isin(np.arange(size), table) for table, size in zip(output_sites(config), config.output_size, strict=True))
    sites: tuple[Any, ...] = (slice(None), slice(None), *np.ix_(*met))
    sums[sites] = plus_bias(sums[sites], b)
    return finish(sums, None, config, x.dtype)


@planted(*MISREAD, trigger="bias, windows that overlap on the first axis", ops=TRANSPOSED)
def bias_added_by_every_window(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Adds the bias with every window along the first axis that contributes to an output."""
    y = transposed_total(x, w, config)
    if b is not None:
        table = output_sites(config)[0]
        windows = np.bincount(table[table != PADDING], minlength=config.output_size[0]).clip(1)
        bias = np.multiply.outer(b.astype(y.dtype), windows)
        with np.errstate(all="ignore"):
            y += bias.reshape(*bias.shape, *[1] * (config.dims - 1))
    return finish(y, None, config, x.dtype)


@planted("imprecise", "non-finite", trigger="float16 or bfloat16, windows that overlap", ops=TRANSPOSED, dtypes=("float16", "bfloat16"))
def windows_rounded_before_they_are_added(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Rounds what each window contributes to the 16-bit type, so that Inf meets -Inf where the sum may be small."""
    columns = rounded(expand(with_batch(x, config).astype(float), w, config.groups), x.dtype).astype(float)
    return finish(scatter(columns, output_sites(config), config.output_size), b, config, x.dtype)
