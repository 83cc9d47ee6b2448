"""Rules of poolings: the largest or the average of each window, axis by axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from convfuzz.errors import NotCovered
from convfuzz.graphs.bounded import Bounded, Floats, Place, between
from convfuzz.graphs.reductions import Indices
from convfuzz.judging.bounds import statistical

Taps = npt.NDArray[np.int64]
"""(windows, elements of each): the sites of one axis that each window reads; the axis's size stands for none."""
Sizes = int | Sequence[int]


def _per_axis(given: Sizes | None, dims: int, default: Sequence[int] | int = 1) -> list[int]:
    if given is None or (not isinstance(given, int) and len(given) == 0):
        given = default
    values = [given] if isinstance(given, int) else list(given)
    return values * dims if len(values) == 1 else values


def _taps(size: int, windows: int, kernel: int, stride: int, pad: int, dilation: int = 1) -> Taps:
    sites = np.arange(windows)[:, None] * stride - pad + np.arange(kernel) * dilation
    return np.where((sites >= 0) & (sites < size), sites, size)


def _adaptive_taps(size: int, windows: int) -> Taps:
    starts = [window * size // windows for window in range(windows)]
    ends = [-(-(window + 1) * size // windows) for window in range(windows)]
    longest = max(end - start for start, end in zip(starts, ends, strict=True))
    return np.array([[start + i if start + i < end else size for i in range(longest)] for start, end in zip(starts, ends, strict=True)])


def _over_windows(x: Floats, taps: Sequence[Taps], filler: float, reduce: Callable[..., Floats]) -> Floats:
    """Reduce the windows of the last axes, one axis after the other."""
    for axis, sites in enumerate(taps, start=x.ndim - len(taps)):
        beyond = np.full((*x.shape[:axis], 1, *x.shape[axis + 1 :]), filler)
        x = reduce(np.take(np.concatenate([x, beyond], axis=axis), sites, axis=axis), axis=axis + 1)
    return x


def _largest(at: Place, x: Bounded, taps: Sequence[Taps]) -> Bounded:
    low, value, high = (_over_windows(of, taps, -math.inf, np.max) for of in (x.low, x.value, x.high))
    return at.opened(value, between(low, value, high))


def _average(at: Place, x: Bounded, taps: Sequence[Taps], divisor: Floats) -> Bounded:
    added = partial(_over_windows, taps=taps, filler=0.0, reduce=np.sum)
    total, error = added(x.value), added(x.error)
    counts = np.ones(())
    for axis, sites in enumerate(taps):
        there = np.count_nonzero(sites < x.value.shape[x.value.ndim - len(taps) + axis], axis=1)
        counts = counts[..., None] * there
    n = np.broadcast_to(counts.astype(np.int64), total.shape)
    adding = statistical(0.0, total, added(np.abs(x.value)), added(np.square(x.value)), n, u=at.u)
    value = total / divisor
    return at.rounded(value, (error + adding) / np.abs(divisor) + 2.0 * at.u * np.abs(value))


def _max_pool(
    dims: int,
    at: Place,
    x: Bounded,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,  # noqa: FBT001, FBT002 - ATen's
) -> Bounded:
    del ceil_mode  # the result's shape says how many windows there are
    kernel = _per_axis(kernel_size, dims)
    steps, pads, gaps = _per_axis(stride, dims, kernel), _per_axis(padding, dims), _per_axis(dilation, dims)
    sizes, windows = x.value.shape[-dims:], at.shape[-dims:]
    return _largest(at, x, [_taps(*of) for of in zip(sizes, windows, kernel, steps, pads, gaps, strict=True)])


def _avg_pool(
    dims: int,
    at: Place,
    x: Bounded,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,  # noqa: FBT001, FBT002 - ATen's
    count_include_pad: bool = True,  # noqa: FBT001, FBT002 - ATen's
    divisor_override: int | None = None,
) -> Bounded:
    del ceil_mode
    kernel = _per_axis(kernel_size, dims)
    steps, pads = _per_axis(stride, dims, kernel), _per_axis(padding, dims)
    sizes, windows = x.value.shape[-dims:], at.shape[-dims:]
    taps = [_taps(*of) for of in zip(sizes, windows, kernel, steps, pads, strict=True)]
    divisor = np.ones(())
    for size, window, length, step, pad, sites in zip(sizes, windows, kernel, steps, pads, taps, strict=True):
        first = np.arange(window) * step - pad
        counted = np.minimum(first + length, size + pad) - first if count_include_pad else np.count_nonzero(sites < size, axis=1)
        divisor = divisor[..., None] * counted
    if divisor_override is not None:
        divisor = np.full(divisor.shape, float(divisor_override))
    return _average(at, x, taps, divisor)


def _adaptive_max(dims: int, at: Place, x: Bounded, output_size: Sizes) -> tuple[Bounded, Indices]:
    del output_size  # as the shape says
    return _largest(at, x, _adaptive(dims, at, x)), Indices()


def _adaptive_avg(dims: int, at: Place, x: Bounded, output_size: Sizes) -> Bounded:
    del output_size
    taps = _adaptive(dims, at, x)
    divisor = np.ones(())
    for sites, size in zip(taps, x.value.shape[-dims:], strict=True):
        divisor = divisor[..., None] * np.count_nonzero(sites < size, axis=1)
    return _average(at, x, taps, divisor)


def _adaptive(dims: int, at: Place, x: Bounded) -> list[Taps]:
    if 0 in at.shape or 0 in x.value.shape:
        raise NotCovered("adaptive pooling of nothing")
    return [_adaptive_taps(size, windows) for size, windows in zip(x.value.shape[-dims:], at.shape[-dims:], strict=True)]


def _of_max_with_indices(dims: int, *given: object, **named: object) -> tuple[Bounded, Indices]:
    return _max_pool(dims, *given, **named), Indices()  # type: ignore[arg-type] # as it comes


RULES: dict[str, Callable[..., object]] = {
    f"{name}{dims}d{suffix}": partial(rule, dims)
    for dims in (1, 2, 3)
    for name, suffix, rule in (
        ("max_pool", "", _max_pool),
        ("max_pool", "_with_indices", _of_max_with_indices),
        ("avg_pool", "", _avg_pool),
        ("adaptive_max_pool", "", _adaptive_max),
        ("adaptive_avg_pool", "", _adaptive_avg),
        ("_adaptive_avg_pool", "", _adaptive_avg),
    )
}
