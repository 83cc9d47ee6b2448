"""Which input site every kernel tap reads, as one table per spatial axis, and the gathering of the values read there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convfuzz import ConvConfig

Array = npt.NDArray[Any]
Table = npt.NDArray[np.intp]

PADDING = -1
"""The table entry of a tap that falls on zero padding."""


def input_sites(
    config: ConvConfig,
    *,
    stride: Sequence[int] | None = None,
    dilation: Sequence[int] | None = None,
    low: Sequence[int] | None = None,
    padding_mode: str | None = None,
) -> list[Table]:
    """Return per spatial axis the (output site, kernel tap) table of input sites; `PADDING` marks zero padding.

    Every parameter of ``config`` can be replaced, which is how a kernel mistakes one for another: the table keeps the
    right output size, and a tap beyond the input reads what the padding mode says.
    """
    mode = padding_mode or config.padding_mode
    tables = []
    for axis, size in enumerate(config.input_size):
        outputs = np.arange(config.output_shape[axis - config.dims])[:, None]
        taps = np.arange(config.kernel_size[axis])[None, :]
        first = -(low[axis] if low else config.pads[axis][0])
        step = (stride or config.stride)[axis]
        sites = first + outputs * step + taps * (dilation or config.dilation)[axis]
        tables.append(resolve_padding(sites, size, mode))
    return tables


def resolve_padding(sites: Table, size: int, padding_mode: str) -> Table:
    """Return the sites of an axis of ``size`` with those outside replaced by what the padding mode puts there."""
    if padding_mode == "reflect":
        sites = np.abs(sites)
        sites = np.where(sites >= size, 2 * (size - 1) - sites, sites)
    elif padding_mode == "replicate":
        sites = np.clip(sites, 0, size - 1)
    elif padding_mode == "circular":
        sites = sites % size if size else sites
    return np.where((sites >= 0) & (sites < size), sites, PADDING).astype(np.intp)


def gather(x: Array, tables: Sequence[Table], dtype: npt.DTypeLike) -> Array:
    """Return the value every tap reads: (N, C, *spatial) becomes (N, C, *output, *kernel), zeros on padding."""
    with np.errstate(all="ignore"):
        values = x.astype(dtype)
    dims = len(tables)
    for axis in range(x.ndim - 1, x.ndim - 1 - dims, -1):
        table = tables[axis - x.ndim]
        if values.shape[axis] == 0:
            values = np.zeros((*values.shape[:axis], *table.shape, *values.shape[axis + 1 :]), dtype)
            continue
        values = np.take(values, table, axis=axis)
        if (outside := table == PADDING).any():
            values[(slice(None),) * axis + (outside,)] = 0
    lead = x.ndim - dims
    return values.transpose(*range(lead), *range(lead, values.ndim, 2), *range(lead + 1, values.ndim, 2))


def with_batch(x: Array, config: ConvConfig) -> Array:
    """Return the input with a batch axis, adding one of length 1 when the configuration is unbatched."""
    return x[None] if config.batch is None else x
