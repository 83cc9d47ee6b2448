"""Backward passes that are wrong behind a correct output: each returns one gradient of Σ y·dy, from (x, w, dy, config)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np

from .backward import grad_bias, grad_input, grad_weight, weight_total
from .precision import rounded
from .receptive_field import PADDING, input_positions, input_sites, with_batch
from .registry import BOTH, COMPLEX, MISREAD, TRANSPOSED, planted_gradient
from .summation import grad_weight_terms
from .transposed_bugs import exchanged_in_groups

if TYPE_CHECKING:
    from convfuzz import ConvConfig

    from .receptive_field import Array

# -- to the input -------------------------------------------------------------------------------------------------


@planted_gradient(*MISREAD, of="grad_input", trigger="last stride above 1 that leaves input columns over, a window near the end")
def stride_tail_of_the_input_unwritten(x: Array, w: Array, dy: Array, config: ConvConfig) -> Array:
    """Leaves zeros in the last columns, as many as the stride, when it does not divide the input evenly."""
    gradient = grad_input(x, w, dy, config)
    left_over = (config.input_size[-1] + sum(config.pads[-1]) - config.effective_kernel[-1]) % config.stride[-1]
    if left_over:
        gradient[..., max(config.input_size[-1] - config.stride[-1], 0) :] = 0
    return gradient


@planted_gradient(*MISREAD, of="grad_input", trigger="more than one group, each of more than one input channel")
def input_gradient_groups_interleaved(x: Array, w: Array, dy: Array, config: ConvConfig) -> Array:
    """Stores the first channel of every group, then the second, where whole groups follow each other."""
    dealt = np.arange(config.in_channels).reshape(config.groups, -1).T.ravel()
    return np.take(grad_input(x, w, dy, config), dealt, axis=0 if config.batch is None else 1)


@planted_gradient(*MISREAD, of="grad_input", trigger="more than 16 input channels, width below 17, last stride above 1")
def narrow_wide_channel_input_gradient(x: Array, w: Array, dy: Array, config: ConvConfig) -> Array:
    """Takes neighbouring columns whatever the stride in the path for many channels and narrow images."""
    special = config.in_channels > 16 and config.input_size[-1] < 17
    return grad_input(x, w, dy, config, sites=input_sites(config, stride=(*config.stride[:-1], 1)) if special else None)


@planted_gradient(*MISREAD, of="grad_input", trigger="kernel larger than 1 on some axis", ops=BOTH)
def input_gradient_kernel_flipped(x: Array, w: Array, dy: Array, config: ConvConfig) -> Array:
    """Flips the kernel once too often."""
    return grad_input(x, np.flip(w, axis=tuple(range(2, w.ndim))), dy, config)


@planted_gradient(*MISREAD, of="grad_input", trigger="padding mode reflect with padding above 0")
def reflected_share_dropped(x: Array, w: Array, dy: Array, config: ConvConfig) -> Array:
    """Crops the padded input's gradient where the mirrored border has to be added to what it mirrors."""
    return grad_input(x, w, dy, config, sites=input_sites(config, padding_mode="zeros" if config.padding_mode == "reflect" else None))


@planted_gradient(*MISREAD, of="grad_input", trigger="padding mode circular with padding above 0 at the high end")
def circular_share_of_one_end(x: Array, w: Array, dy: Array, config: ConvConfig) -> Array:
    """Wraps the share of the low padding back and drops the high padding's."""
    sites = input_sites(config)
    if config.padding_mode == "circular":
        for table, position, size in zip(sites, input_positions(config), config.input_size, strict=True):
            table[position >= size] = PADDING
    return grad_input(x, w, dy, config, sites=sites)


@planted_gradient(*MISREAD, of="grad_input", trigger="expanded input, whose images or channels share memory", ops=BOTH)
def input_gradient_with_the_inputs_strides(x: Array, w: Array, dy: Array, config: ConvConfig) -> Array:
    """Allocates the gradient with the strides of an expanded input, so that the last image overwrites the others."""
    gradient = grad_input(x, w, dy, config)
    for axis, (step, size) in enumerate(zip(x.strides, x.shape, strict=True)):
        if step == 0 and size > 1:
            gradient[...] = np.take(gradient, [-1], axis=axis)
    return gradient


# -- to the weight ------------------------------------------------------------------------------------------------


@planted_gradient(*MISREAD, of="grad_weight", trigger="two or more images", ops=BOTH)
def weight_gradient_of_the_first_image(x: Array, w: Array, dy: Array, config: ConvConfig) -> Array:
    """Sums over the windows of the first image only."""
    return grad_weight(x, w, dy, config) if config.batch is None else grad_weight(x[:1], w, dy[:1], config)


@planted_gradient(*MISREAD, of="grad_weight", trigger="two or more images", ops=BOTH)
def weight_gradient_averaged(x: Array, w: Array, dy: Array, config: ConvConfig) -> Array:
    """Takes the mean over the batch where the sum is asked for."""
    return rounded(weight_total(x, dy, config) / max(config.batch or 1, 1), x.dtype)


@planted_gradient(*MISREAD, of="grad_weight", trigger="three or more groups, strides that differ between axes")
def last_groups_weight_gradient(x: Array, w: Array, dy: Array, config: ConvConfig) -> Array:
    """Uses the first axis's stride on every axis for the last of three or more groups."""
    gradient = grad_weight(x, w, dy, config)
    if config.groups > 2:
        first = len(w) - len(w) // config.groups
        sites = input_sites(config, stride=config.stride[:1] * config.dims)
        gradient[first:] = grad_weight(x, w, dy, config, sites=sites)[first:]
    return gradient


@planted_gradient(*MISREAD, of="grad_weight", trigger="depthwise, channels above 16 that leave 8 over from 16, one output per channel")
def depthwise_weight_gradient_half_block(x: Array, w: Array, dy: Array, config: ConvConfig) -> Array:
    """Leaves zeros in the last 8 channels when they fill half a vector, as with 24 channels."""
    gradient = grad_weight(x, w, dy, config)
    if config.groups == config.in_channels == config.out_channels > 16 and config.groups % 16 == 8:
        gradient[-8:] = 0
    return gradient


@planted_gradient(*MISREAD, of="grad_weight", trigger="dilation above 1 on an axis whose kernel is larger than 1")
def weight_gradient_without_dilation(x: Array, w: Array, dy: Array, config: ConvConfig) -> Array:
    """Takes neighbouring sites for the taps whatever the dilation."""
    return grad_weight(x, w, dy, config, sites=input_sites(config, dilation=(1,) * config.dims))


@planted_gradient(*MISREAD, of="grad_weight", trigger="1x1 kernel, stride above 1, more than one output")
def pointwise_weight_gradient_ignores_stride(x: Array, w: Array, dy: Array, config: ConvConfig) -> Array:
    """Multiplies neighbouring sites whatever the stride of a 1x1 kernel."""
    pointwise = max(config.kernel_size) == 1
    return grad_weight(x, w, dy, config, sites=input_sites(config, stride=(1,) * config.dims) if pointwise else None)


@planted_gradient(
    "wrong", "non-finite", "imprecise", "nondeterministic", of="grad_weight", trigger="whatever the memory held before", ops=BOTH
)
def weight_gradient_into_uninitialised_memory(x: Array, w: Array, dy: Array, config: ConvConfig) -> Array:
    """Adds to memory that nobody has set to zero."""
    gradient: Array = np.empty(config.weight_shape, x.dtype)
    with np.errstate(all="ignore"):
        gradient += grad_weight(x, w, dy, config)
    return gradient


@planted_gradient("imprecise", "wrong", of="grad_weight", trigger="float32, more than a few windows", ops=BOTH)
def weight_gradient_summed_in_bfloat16(x: Array, w: Array, dy: Array, config: ConvConfig) -> Array:
    """Keeps the products and partial sums of a float32 weight's gradient in bfloat16."""
    if config.dtype != "float32":
        return grad_weight(x, w, dy, config)
    terms = grad_weight_terms(x, dy, config, ml_dtypes.bfloat16)
    return rounded(terms.sum_in_order(range(len(terms))), x.dtype)


@planted_gradient(*MISREAD, of="grad_weight", trigger="several input channels and several output channels per group", ops=TRANSPOSED)
def transposed_weight_gradient_axes(x: Array, w: Array, dy: Array, config: ConvConfig) -> Array:
    """Writes each group's gradient as (out, in), as a convolution's weight is."""
    return exchanged_in_groups(grad_weight(x, w, dy, config), config.groups)


@planted_gradient(*MISREAD, of="grad_weight", trigger="output padding on the last axis that a window reaches", ops=TRANSPOSED)
def output_padding_left_out_of_the_gradient(x: Array, w: Array, dy: Array, config: ConvConfig) -> Array:
    """Ignores the output's gradient in the columns of the output padding."""
    received = dy.copy()
    received[..., dy.shape[-1] - config.output_padding[-1] :] = 0
    return grad_weight(x, w, received, config)


@planted_gradient("wrong", of="grad_weight", trigger="complex", ops=BOTH, dtypes=COMPLEX)
def weight_gradient_not_conjugated(x: Array, w: Array, dy: Array, config: ConvConfig) -> Array:
    """Multiplies with the input where its conjugate belongs."""
    return grad_weight(np.conj(x), w, dy, config)


@planted_gradient("non-finite", of="grad_weight", trigger="a NaN in the output's gradient", ops=BOTH)
def nan_in_the_output_gradient_skipped(x: Array, w: Array, dy: Array, config: ConvConfig) -> Array:
    """Skips windows whose output gradient is NaN as if it were zero."""
    return grad_weight(x, w, np.where(np.isnan(dy), dy.dtype.type(0), dy), config)


# -- to the bias --------------------------------------------------------------------------------------------------


@planted_gradient("wrong-shape", of="grad_bias", trigger="bias", ops=BOTH)
def bias_gradient_keeps_its_sites(x: Array, w: Array, dy: Array, config: ConvConfig) -> Array:
    """Sums the output's gradient over the batch only."""
    return rounded(with_batch(dy, config).astype(float).sum(axis=0), dy.dtype)


@planted_gradient("imprecise", "non-finite", of="grad_bias", trigger="float16 or bfloat16, bias, more than a few sites", ops=BOTH)
def bias_gradient_summed_in_16_bits(x: Array, w: Array, dy: Array, config: ConvConfig) -> Array:
    """Keeps the running sum of a bias's gradient in the 16-bit type."""
    if config.dtype not in ("float16", "bfloat16"):
        return grad_bias(x, w, dy, config)
    sums = np.zeros(config.out_channels, dy.dtype)
    for site in np.moveaxis(with_batch(dy, config), 1, -1).reshape(-1, config.out_channels):
        with np.errstate(all="ignore"):
            sums += site
    return sums
