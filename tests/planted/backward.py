"""The gradients of a layer of either op, in the same steps as its output; each is a function of (x, w, dy, config)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .dense import contract, correlate, expand, summed_once
from .precision import rounded, wide
from .receptive_field import Array, Table, gather, scatter, window_sites, with_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convfuzz import ConvConfig

Gradients = tuple[Array, Array, Array]


def gradients(x: Array, w: Array, b: Array | None, dy: Array, config: ConvConfig) -> Gradients:
    """Return the gradients of Σ y·dy to input, weight and bias, each rounded once; of a complex layer PyTorch's, with conjugates."""
    return grad_input(x, w, dy, config), grad_weight(x, w, dy, config), grad_bias(x, w, dy, config)


def grad_input(x: Array, w: Array, dy: Array, config: ConvConfig, *, sites: Sequence[Table] | None = None) -> Array:
    """Return the input's gradient; ``sites`` replaces the sites that the forward pass's taps read or add to."""
    gradient = rounded(input_total(w, dy, config, sites=sites), dy.dtype)
    return gradient[0] if config.batch is None else gradient


@summed_once
def input_total(w: Array, dy: Array, config: ConvConfig, *, sites: Sequence[Table] | None = None) -> Array:
    """Return the input's gradient (N, in, *input) in the widest dtype: a convolution scatters it, a transposed one gathers."""
    sites, received = sites or window_sites(config), with_batch(dy, config).astype(wide(dy.dtype))
    if config.op == "conv":
        return scatter(expand(received, np.conj(w), config.groups), sites, config.input_size)
    return contract(gather(received, sites, received.dtype), np.conj(w), config.groups)


def grad_weight(x: Array, w: Array, dy: Array, config: ConvConfig, *, sites: Sequence[Table] | None = None) -> Array:
    """Return the weight's gradient; ``sites`` replaces the sites that the forward pass's taps read or add to."""
    return rounded(weight_total(x, dy, config, sites=sites), dy.dtype)


@summed_once
def weight_total(x: Array, dy: Array, config: ConvConfig, *, sites: Sequence[Table] | None = None) -> Array:
    """Return the weight's gradient in the widest dtype: the products of what meets through each tap, summed over all windows."""
    sites = sites or window_sites(config)
    x, dy = (with_batch(array, config).astype(wide(array.dtype)) for array in (x, dy))
    many, one = (np.conj(x), dy) if config.op == "conv" else (dy, np.conj(x))
    return correlate(gather(many, sites, many.dtype), one, config.groups)


def grad_bias(x: Array, w: Array, dy: Array, config: ConvConfig) -> Array:
    """Return the bias's gradient: the output's, summed over samples and sites."""
    return rounded(bias_total(dy, config), dy.dtype)


def bias_total(dy: Array, config: ConvConfig) -> Array:
    """Return the bias's gradient in the widest dtype."""
    received = with_batch(dy, config).astype(wide(dy.dtype))
    with np.errstate(all="ignore"):
        sums: Array = received.sum(axis=(0, *range(2, received.ndim)))
    return sums
