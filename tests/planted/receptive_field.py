"""Which site every kernel tap reads or writes, as one table per spatial axis; gathering what is read, scattering what is written."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convfuzz import ConvConfig

Array = npt.NDArray[Any]
Table = npt.NDArray[np.intp]

PADDING = -1
"""The table entry of a tap that falls on zero padding, or on what a transposed convolution crops."""


def input_sites(
    config: ConvConfig,
    *,
    stride: Sequence[int] | None = None,
    dilation: Sequence[int] | None = None,
    low: Sequence[int] | None = None,
    padding_mode: str | None = None,
) -> list[Table]:
    """Return per spatial axis the (output site, kernel tap) table of the input sites that a convolution reads.

    Every parameter of ``config`` can be replaced, which is how a kernel mistakes one for another: the table keeps the
    right output size, and a tap beyond the input reads what the padding mode says.
    """
    tables = _tap_sites(config, config.output_size, stride, dilation, low)
    return [
        resolve_padding(table, size, padding_mode or config.padding_mode) for table, size in zip(tables, config.input_size, strict=True)
    ]


def output_sites(
    config: ConvConfig, *, stride: Sequence[int] | None = None, dilation: Sequence[int] | None = None, low: Sequence[int] | None = None
) -> list[Table]:
    """Return per spatial axis the (input site, kernel tap) table of the output sites that a transposed convolution adds to."""
    tables = _tap_sites(config, config.input_size, stride, dilation, low)
    return [resolve_padding(table, size, "zeros") for table, size in zip(tables, config.output_size, strict=True)]


def window_sites(config: ConvConfig) -> list[Table]:
    """Return the tables of either op: the input sites of a convolution, the output sites of a transposed one."""
    return input_sites(config) if config.op == "conv" else output_sites(config)


def input_positions(config: ConvConfig) -> list[Table]:
    """Return what :func:`input_sites` would without padding: negative before the input, and its size or more behind it."""
    return _tap_sites(config, config.output_size, None, None, None)


def _tap_sites(
    config: ConvConfig,
    windows: Sequence[int],
    stride: Sequence[int] | None,
    dilation: Sequence[int] | None,
    low: Sequence[int] | None,
) -> list[Table]:
    tables = []
    for axis, count in enumerate(windows):
        step, spread = (stride or config.stride)[axis], (dilation or config.dilation)[axis]
        first = -(low[axis] if low else config.pads[axis][0])
        tables.append(first + np.arange(count)[:, None] * step + np.arange(config.kernel_size[axis]) * spread)
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


def inverted(table: Table, size: int) -> tuple[Table, Table]:
    """Return who meets each of ``size`` sites, as two tables (site, meeting): of windows, `PADDING` where there are fewer, and of taps."""
    windows, taps = np.nonzero(table != PADDING)
    sites = table[windows, taps]
    order = np.argsort(sites, kind="stable")
    windows, taps, sites = windows[order], taps[order], sites[order]
    meeting = np.arange(sites.size) - np.searchsorted(sites, sites)
    shape = (size, meeting.max(initial=0) + 1)
    of_windows, of_taps = np.full(shape, PADDING, np.intp), np.zeros(shape, np.intp)
    of_windows[sites, meeting], of_taps[sites, meeting] = windows, taps
    return of_windows, of_taps


def gather(x: Array, tables: Sequence[Table], dtype: npt.DTypeLike) -> Array:
    """Return the value every tap reads: (N, C, *sites) becomes (N, C, *windows, *kernel), zeros on padding."""
    values, places = flattened(x, tables, dtype)
    dims, read = len(tables), np.take(values, places, axis=-1)
    return np.moveaxis(read, range(-dims, 0), range(-2 * dims, -dims))


def flattened(x: Array, tables: Sequence[Table], dtype: npt.DTypeLike) -> tuple[Array, Table]:
    """Return the values (N, C, sites and a zero), and where every tap reads among them: (*kernel, *windows)."""
    dims = len(tables)
    lead, sizes = x.shape[:-dims], x.shape[-dims:]
    values = np.zeros((*lead, math.prod(sizes) + 1), dtype)  # one more, which is where PADDING points
    with np.errstate(all="ignore"):
        values[..., :-1] = x.reshape(*lead, math.prod(sizes))
    padding = combined([table == PADDING for table in tables], (1,) * dims) > 0
    return values, np.where(padding, PADDING, combined(tables, sizes))


def combined(tables: Sequence[Table], sizes: Sequence[int]) -> Table:
    """Return one table (*kernel, *windows) of an array's flat indices, its axes being of ``sizes``; windows go last, near each other."""
    dims = len(tables)
    flat = np.zeros((1,) * 2 * dims, np.intp)
    for axis, (table, size) in enumerate(zip(tables, sizes, strict=True)):
        flat = flat * size + np.expand_dims(table.T, tuple(a for a in range(2 * dims) if a not in (axis, axis + dims)))
    return flat


def scatter(written: Array, tables: Sequence[Table], sizes: Sequence[int]) -> Array:
    """Return what every site receives, the adjoint of :func:`gather`: (N, C, *windows, *kernel) becomes (N, C, *sizes)."""
    dims = len(tables)
    lead = written.ndim - 2 * dims
    pairs = [axis for window in range(lead, lead + dims) for axis in (window, window + dims)]
    values = written.transpose(*range(lead), *pairs).reshape(*written.shape[:lead], *(table.size for table in tables))
    for axis in range(-1, -1 - dims, -1):
        values = _add_up(values, tables[axis].ravel(), sizes[axis], axis)
    return values


def _add_up(values: Array, sites: Table, size: int, axis: int) -> Array:
    """Return the sums of the values along ``axis`` that go to the same site; those of padding go nowhere."""
    values = np.moveaxis(values, axis, 0)
    received = np.zeros((size, *values.shape[1:]), values.dtype)
    order = np.argsort(sites, kind="stable")
    order = order[sites[order] != PADDING]
    if order.size:
        met, first = np.unique(sites[order], return_index=True)
        with np.errstate(all="ignore"):
            received[met] = np.add.reduceat(values[order], first, axis=0)
    return np.moveaxis(received, 0, axis)


def with_batch(x: Array, config: ConvConfig) -> Array:
    """Return the input with a batch axis, adding one of length 1 when the configuration is unbatched."""
    return x[None] if config.batch is None else x
