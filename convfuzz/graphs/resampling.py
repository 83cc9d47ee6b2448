"""Rules of resampling: the nearest element, or a mean of neighbours weighted by how near they are, axis by axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from convfuzz.graphs.bounded import Bounded, Floats, Place
from convfuzz.graphs.functions import FEW

Sites = npt.NDArray[np.int64]

_OF_POSITION = 4.0 * 2.0**-24
"""What rounding the step, the product with it and the half that is subtracted costs a position, relative to one more than it is."""


def _step(size: int, wanted: int, factor: float | None) -> float:
    """Return how far two neighbours of the result are apart in the source: 1 / factor where that is given, else by the sizes."""
    return 1.0 / factor if factor else size / wanted


def _positions(size: int, wanted: int, factor: float | None, *, align_corners: bool) -> Floats:
    """Return where the middles of the result's elements lie along an axis of the source, in elements."""
    sites = np.arange(wanted, dtype=np.float64)
    if align_corners:
        return sites * ((size - 1) / (wanted - 1) if wanted > 1 else 0.0)
    return (sites + 0.5) * _step(size, wanted, factor) - 0.5


def _nearest(dims: int, at: Place, x: Bounded, output_size: Sequence[int] | None, scale_factors: Sequence[float] | None = None) -> Bounded:
    """Take the element at ⌊site · step⌋; where a rounding of that product decides which one, either is right.

    Nothing is rounded where float32 has the step, such as that of a factor of 2, and all products.
    """
    del output_size  # as the shape says
    for axis, wanted in enumerate(at.shape[-dims:], start=x.value.ndim - dims):
        size = x.value.shape[axis]
        exact = np.arange(wanted) * _step(size, wanted, scale_factors[axis - x.value.ndim + dims] if scale_factors else None)
        is_rounded = not np.array_equal(exact.astype(np.float32), exact)
        slack = _OF_POSITION * (exact + 1.0) * is_rounded
        sites, others = (np.clip(np.floor(exact + side * slack), 0, size - 1).astype(np.int64) for side in (1.0, -1.0))
        first, second = (x.moved(partial(np.take, indices=of, axis=axis)) for of in (sites, others))
        x = Bounded(first.value, np.maximum(first.error, np.abs(second.value - first.value) + second.error))
    return at.opened(x.value, x.error)


def _linear(
    dims: int,
    at: Place,
    x: Bounded,
    output_size: Sequence[int] | None,
    align_corners: bool,  # noqa: FBT001 - ATen's
    scale_factors: Sequence[float] | None = None,
) -> Bounded:
    """Weight the two neighbours along each axis: the weight is a position's fraction, which is off by roundings of the position."""
    del output_size
    for axis, wanted in enumerate(at.shape[-dims:], start=x.value.ndim - dims):
        size = x.value.shape[axis]
        factor = scale_factors[axis - x.value.ndim + dims] if scale_factors else None
        position = np.maximum(_positions(size, wanted, factor, align_corners=align_corners), 0.0)
        low = np.minimum(np.floor(position), size - 1).astype(np.int64)
        off = _OF_POSITION * (position + 1.0)
        x = _between_neighbours(x, axis, (low, np.minimum(low + 1, size - 1)), position - low, off, FEW * at.u)
    return at.rounded(x.value, x.error)


def _between_neighbours(x: Bounded, axis: int, sites: tuple[Sites, Sites], weight: Floats, off: Floats, u: float) -> Bounded:
    low, high = sites
    weight, off = (of.reshape(-1, *(1,) * (x.value.ndim - 1 - axis)) for of in (weight, off))
    a, b = (x.moved(partial(np.take, indices=of, axis=axis)) for of in (low, high))
    # A position that is rounded across an element has the neighbours beyond it, and next to no weight for one of them.
    steps = np.abs(np.diff(x.value, axis=axis)) + np.maximum(*(np.delete(x.error, end, axis=axis) for end in (0, -1)))
    steep = np.abs(b.value - a.value)
    if steps.shape[axis]:
        around = [np.take(steps, np.clip(low + shift, 0, steps.shape[axis] - 1), axis=axis) for shift in (-1, 0, 1)]
        steep = np.maximum.reduce([steep, *around])
    error = (1.0 - weight) * a.error + weight * b.error + off * steep + u * (np.abs(a.value) + np.abs(b.value))
    return Bounded((1.0 - weight) * a.value + weight * b.value, error)


_BEND = -0.75
"""The slope that a cubic has at a neighbour's neighbour, as most libraries have it."""
_STEEPEST, _ON_THE_WAY = 3.0, (16.0, 4.0, 4.0, 16.0)
"""What the slopes of the four weights add up to at most, and what the roundings of each weight's polynomial cost: its terms cancel."""


def _cubic_weights(t: Floats) -> Floats:
    """Return the weights of the four elements around a position, which is a fraction ``t`` beyond the second (Keys 1981)."""

    def near(d: Floats) -> Floats:
        return ((_BEND + 2.0) * d - (_BEND + 3.0)) * d * d + 1.0

    def far(d: Floats) -> Floats:
        return ((_BEND * d - 5.0 * _BEND) * d + 8.0 * _BEND) * d - 4.0 * _BEND

    return np.stack([far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)])


def _bicubic(
    at: Place,
    x: Bounded,
    output_size: Sequence[int] | None,
    align_corners: bool,  # noqa: FBT001 - ATen's
    scale_factors: Sequence[float] | None = None,
) -> Bounded:
    """Weight the four neighbours along each axis; a position that is off moves along a curve without corners."""
    del output_size
    for axis, wanted in enumerate(at.shape[-2:], start=x.value.ndim - 2):
        size = x.value.shape[axis]
        scale = scale_factors[axis - x.value.ndim + 2] if scale_factors else None
        position = _positions(size, wanted, scale, align_corners=align_corners)
        low = np.floor(position)
        tail = (1,) * (x.value.ndim - 1 - axis)
        weights = _cubic_weights(position - low)
        # Two more on either side, among which a position that is rounded across an element may have its four.
        around = [x.moved(partial(np.take, indices=np.clip(low + k, 0, size - 1).astype(np.int64), axis=axis)) for k in range(-2, 4)]
        most, least = (pick([one.value for one in around]) for pick in (np.maximum.reduce, np.minimum.reduce))
        slack = (_OF_POSITION * (np.abs(position) + 1.0)).reshape(-1, *tail)
        value, error = np.zeros(most.shape), 0.5 * _STEEPEST * slack * (most - least)
        for weight, one, rounded in zip(weights, around[1:5], _ON_THE_WAY, strict=True):
            factor = weight.reshape(-1, *tail)
            value = value + factor * one.value
            error = error + np.abs(factor) * one.error + at.u * (FEW * np.abs(factor) + rounded) * np.abs(one.value)
        # Of the two beyond, the weight is no more than what a position is off.
        error = error + _STEEPEST * slack * np.maximum.reduce([one.error for one in around])
        x = Bounded(value, error)
    return at.rounded(x.value, x.error)


RULES: dict[str, Callable[..., Bounded]] = {
    **{f"upsample_nearest{dims}d": partial(_nearest, dims) for dims in (1, 2, 3)},
    "upsample_bicubic2d": _bicubic,
    **{f"upsample_{name}": partial(_linear, dims) for dims, name in ((1, "linear1d"), (2, "bilinear2d"), (3, "trilinear3d"))},
}
