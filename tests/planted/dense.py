"""A fast correct layer of either op, in steps that a planted mistake can replace one at a time: gather, contract, scatter, finish."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING

import numpy as np

from .precision import rounded, wide
from .receptive_field import Array, Table, gather, input_sites, output_sites, scatter, with_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from convfuzz import ConvConfig

Sums = Callable[..., Array]

_MOST_KEPT = 8
"""How many results of a sum are kept: those of the passes of a case, and of operands that a mistake has changed."""


def summed_once(sums: Sums) -> Sums:
    """Add up the same operands once for all kernels that run on a case one after the other: outside its trigger each does the same."""
    latest: dict[object, Array] = {}

    @wraps(sums)
    def computed(one: Array, other: Array, config: ConvConfig, **options: object) -> Array:
        if any(option is not None for option in options.values()):  # a mistake of its own
            return sums(one, other, config, **options)
        key = (config, *((array.dtype, array.shape, array.tobytes()) for array in (one, other)))
        found = latest.pop(key) if key in latest else sums(one, other, config)
        latest[key] = found
        while len(latest) > _MOST_KEPT:
            del latest[next(iter(latest))]
        return found.copy()

    return computed


def layer(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Return the output of either op."""
    return convolve(x, w, b, config) if config.op == "conv" else transpose(x, w, b, config)


def layer_total(x: Array, w: Array, config: ConvConfig, *, dtype: npt.DTypeLike | None = None) -> Array:
    """Return the sums of products of either op without bias, (N, out, *output), still in ``dtype``, which is the widest by default."""
    return (total if config.op == "conv" else transposed_total)(x, w, config, dtype=dtype)


def convolve(
    x: Array,
    w: Array,
    b: Array | None,
    config: ConvConfig,
    *,
    sites: Sequence[Table] | None = None,
    dtype: npt.DTypeLike | None = None,
) -> Array:
    """Return the convolution, summed in ``dtype`` and rounded once; ``sites`` replaces the input sites its taps read."""
    return finish(total(x, w, config, sites=sites, dtype=dtype), b, config, x.dtype)


@summed_once
def total(x: Array, w: Array, config: ConvConfig, *, sites: Sequence[Table] | None = None, dtype: npt.DTypeLike | None = None) -> Array:
    """Return a convolution's sums of products without bias, (N, out, *output), still in ``dtype``, which is the widest by default."""
    return contract(gather(with_batch(x, config), sites or input_sites(config), dtype or wide(x.dtype)), w, config.groups)


def transpose(x: Array, w: Array, b: Array | None, config: ConvConfig, *, sites: Sequence[Table] | None = None) -> Array:
    """Return the transposed convolution, rounded once; ``sites`` replaces the output sites its taps add to."""
    return finish(transposed_total(x, w, config, sites=sites), b, config, x.dtype)


@summed_once
def transposed_total(
    x: Array, w: Array, config: ConvConfig, *, sites: Sequence[Table] | None = None, dtype: npt.DTypeLike | None = None
) -> Array:
    """Return a transposed convolution's sums of products without bias, (N, out, *output), still in ``dtype``, as :func:`total`."""
    with np.errstate(over="ignore"):  # a narrower dtype is somebody's mistake, and infinity what comes of it
        written = expand(with_batch(x, config).astype(dtype or wide(x.dtype)), w, config.groups)
    return scatter(written, sites or output_sites(config), config.output_size)


# -- contractions; w is (rows, columns / groups, *kernel), its rows being outputs of a convolution, inputs of a transposed one --


def contract(read: Array, w: Array, groups: int) -> Array:
    """Return the sums over the group's columns and taps: ``read`` (N, columns, *windows, *kernel) becomes (N, rows, *windows)."""
    windows = read.shape[2 : read.ndim - w.ndim + 2]
    sums = _matmul(_matrices(w, groups, read.dtype), by_group(read, groups, windows))
    return sums.reshape(len(read), len(w), *windows)


def expand(values: Array, w: Array, groups: int) -> Array:
    """Return the sums over the group's rows: ``values`` (N, rows, *windows) become (N, columns, *windows, *kernel)."""
    windows, kernel = values.shape[2:], w.shape[2:]
    images = values.reshape(len(values), groups, len(w) // groups, math.prod(windows))
    products = _matmul(_matrices(w, groups, values.dtype).swapaxes(1, 2), images)
    products = products.reshape(len(values), groups * w.shape[1], *kernel, *windows)
    return np.moveaxis(products, range(2, 2 + len(kernel)), range(-len(kernel), 0))


def correlate(read: Array, values: Array, groups: int) -> Array:
    """Return the sums over samples and windows: ``read`` and ``values`` (N, rows, *windows) become (rows, columns / groups, *kernel)."""
    batch, rows, windows = len(values), values.shape[1], values.shape[2:]
    columns, kernel = read.shape[1] // groups, read.shape[2 + len(windows) :]
    sums: Array = np.zeros((groups, rows // groups, columns * math.prod(kernel)), read.dtype)
    images = values.reshape(batch, groups, rows // groups, math.prod(windows))
    with np.errstate(all="ignore"):
        for image, taken in zip(images, by_group(read, groups, windows), strict=True):
            sums += np.matmul(image, taken.swapaxes(1, 2))
    return sums.reshape(rows, columns, *kernel)


def by_group(read: Array, groups: int, windows: tuple[int, ...]) -> Array:
    """Return what the taps read, (N, columns, *windows, *kernel), as (N, groups, columns / groups · kernel, windows)."""
    dims = len(windows)
    kernel_first = np.moveaxis(read, range(2, 2 + dims), range(-dims, 0))
    batch, columns, *kernel = kernel_first.shape[: 2 + dims]
    return kernel_first.reshape(batch, groups, columns // groups * math.prod(kernel), math.prod(windows))


def _matmul(matrices: Array, images: Array) -> Array:
    """Return the products by image and group; NumPy would go through empty ones too, of which a call with 2^31 groups has as many."""
    if not matrices.size or not images.size:
        return np.zeros((len(images), *matrices.shape[:2], images.shape[-1]), images.dtype)
    with np.errstate(all="ignore"):
        products: Array = np.matmul(matrices, images)
    return products


def _matrices(w: Array, groups: int, dtype: npt.DTypeLike) -> Array:
    """Return the weight as one matrix per group: (groups, rows / groups, columns / groups · kernel)."""
    with np.errstate(all="ignore"):
        return w.astype(dtype).reshape(groups, w.shape[0] // groups, math.prod(w.shape[1:]))


# -- what follows the sums -----------------------------------------------------------------------------------------------


def plus_bias(sums: Array, b: Array | None) -> Array:
    """Return the sums with the bias of each output channel added."""
    if b is None:
        return sums
    with np.errstate(all="ignore"):
        biased: Array = sums + b.astype(sums.dtype).reshape(-1, *[1] * (sums.ndim - 2))
    return biased


def finish(sums: Array, b: Array | None, config: ConvConfig, dtype: np.dtype[np.generic]) -> Array:
    """Return the output: bias added, rounded once to ``dtype``, without the batch axis when unbatched."""
    y = rounded(plus_bias(sums, b), dtype)
    return y[0] if config.batch is None else y
