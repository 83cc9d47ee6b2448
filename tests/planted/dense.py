"""A fast correct convolution, in steps that a planted mistake can replace one at a time: gather, contract, finish."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .receptive_field import Array, Table, gather, input_sites, with_batch
from .summation import rounded

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from convfuzz import ConvConfig


def convolve(
    x: Array,
    w: Array,
    b: Array | None,
    config: ConvConfig,
    *,
    sites: Sequence[Table] | None = None,
    dtype: npt.DTypeLike = np.float64,
) -> Array:
    """Return the convolution, summed in ``dtype`` and rounded once; ``sites`` replaces the input sites its taps read."""
    return finish(total(x, w, config, sites=sites, dtype=dtype), b, config, x.dtype)


def total(x: Array, w: Array, config: ConvConfig, *, sites: Sequence[Table] | None = None, dtype: npt.DTypeLike = np.float64) -> Array:
    """Return the sums of products without bias, (N, out, *output), still in ``dtype``."""
    return contract(gather(with_batch(x, config), sites or input_sites(config), dtype), w, config.groups)


def contract(read: Array, w: Array, groups: int) -> Array:
    """Return the sums over channels of the group and taps of ``read`` (N, C, *output, *kernel) times ``w``."""
    dims = w.ndim - 2
    batch, channels, window = read.shape[0], w.shape[1], w.shape[2:]
    sites = read.shape[2 : 2 + dims]
    rows, points, taps = w.shape[0] // groups, math.prod(sites), w.shape[1] * math.prod(window)
    read = read.reshape(batch, groups, channels, points, math.prod(window)).transpose(1, 0, 3, 2, 4)
    read = read.reshape(groups, batch * points, taps)
    with np.errstate(all="ignore"):
        weights = w.astype(read.dtype).reshape(groups, rows, taps).transpose(0, 2, 1)
        sums: Array = np.matmul(read, weights)
    return sums.reshape(groups, batch, points, rows).transpose(1, 0, 3, 2).reshape(batch, groups * rows, *sites)


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
