"""Kernels that break the contract around the numbers: shape, dtype, exceptions, determinism."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from .dense import convolve, finish, plus_bias, total
from .precision import accumulator, rounded
from .receptive_field import with_batch
from .registry import planted
from .summation import output_terms

if TYPE_CHECKING:
    from convfuzz import ConvConfig

    from .receptive_field import Array


@planted("wrong-dtype", trigger="float32, bias")
def bias_promotes_to_float64(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Returns float64 where a float32 convolution has a bias."""
    y = convolve(x, w, b, config)
    return y.astype(np.float64) if config.dtype == "float32" and b is not None else y


@planted("wrong-dtype", trigger="float16 or bfloat16")
def accumulator_returned(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Returns the float32 accumulator of a 16-bit convolution."""
    return finish(total(x, w, config), b, config, accumulator(x.dtype))


@planted("wrong-shape", trigger="unbatched")
def unbatched_keeps_its_batch_axis(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Returns a batch axis of length 1 for an unbatched input."""
    return rounded(plus_bias(total(x, w, config), b), x.dtype)


@planted("wrong-shape", trigger="stride above 1 on the last axis that leaves input columns over")
def output_size_rounded_up(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Returns one more column, of biases, where the stride does not divide the input evenly."""
    y = convolve(x, w, b, config)
    left_over = (config.input_size[-1] + sum(config.pads[-1]) - config.effective_kernel[-1]) % config.stride[-1]
    if not left_over:
        return y
    extra = finish(np.zeros((*with_batch(y, config).shape[:-1], 1)), b, config, x.dtype)
    return np.concatenate([y, extra], axis=-1)


@planted("wrong-shape", "wrong", trigger="channels-last input of two or more channels and sites")
def output_left_channels_last(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Returns the output's axes in channels-last order when the input's memory is."""
    y = convolve(x, w, b, config)
    channels = 0 if config.batch is None else 1
    dense = np.moveaxis(x, channels, -1).flags.c_contiguous and not x.flags.c_contiguous
    return np.moveaxis(y, channels, -1) if dense else y


@planted("error", "wrong-shape", "wrong-dtype", trigger="batch of 0")
def nothing_for_an_empty_batch(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array | None:
    """Returns None for a batch of no images."""
    return None if config.batch == 0 else convolve(x, w, b, config)


@planted("error", trigger="more than one group, dilation above 1")
def refuses_grouped_dilation(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Raises on a grouped convolution with dilation, which is valid."""
    if config.groups > 1 and max(config.dilation) > 1:
        raise NotImplementedError("dilation is only implemented for groups == 1")
    return convolve(x, w, b, config)


@planted("error", trigger="input smaller than the dilated kernel on some axis, made large enough by padding")
def refuses_kernel_larger_than_input(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Checks the kernel against the input without its padding."""
    for size, extent in zip(config.input_size, config.effective_kernel, strict=True):
        if size < extent:
            raise ValueError(f"kernel extent {extent} is larger than the input {size}")
    return convolve(x, w, b, config)


_shuffle = np.random.default_rng()


@planted("nondeterministic", trigger="three or more terms whose sum rounds")
def order_varies_between_calls(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Adds the products in another order each time, as atomic additions do."""
    terms = output_terms(x, w, b, config, accumulator(x.dtype))
    return rounded(terms.sum_in_order(_shuffle.permutation(len(terms))), x.dtype)


_calls = itertools.count(1)


@planted("wrong", "nondeterministic", trigger="every fifth call, whatever the configuration")
def rarely_doubles_an_element(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Stores one element twice as large on every fifth call, like a race."""
    y = convolve(x, w, b, config)
    if next(_calls) % 5 == 0 and y.size:
        with np.errstate(all="ignore"):
            y.flat[y.size // 2] *= 2
    return y
