"""Rules of normalisations: by stored statistics, or by those of the tensor itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convfuzz.errors import NotCovered
from convfuzz.graphs.bounded import Bounded, Floats, Place, between
from convfuzz.graphs.functions import FEW
from convfuzz.graphs.sums import added_up, rounding


def _by_channel(of: Bounded | None, ndim: int, default: float) -> Bounded:
    if of is None:
        return Bounded.exact(np.full((1,) * (ndim - 1), default))
    return of.moved(lambda v: v.reshape(-1, *(1,) * (ndim - 2)))


def batch_norm(  # noqa: PLR0913, PLR0917 - ATen's
    at: Place,
    x: Bounded,
    weight: Bounded | None,
    bias: Bounded | None,
    running_mean: Bounded | None,
    running_var: Bounded | None,
    training: bool,  # noqa: FBT001 - ATen's
    momentum: float,
    eps: float,
    cudnn_enabled: bool = False,  # noqa: FBT001, FBT002 - ATen's
) -> Bounded:
    """Scale and shift each channel: by numbers that are all known, free to be folded into two, or by the statistics of the batch."""
    del momentum, cudnn_enabled
    ndim = x.value.ndim
    if training:
        value, off = _standardised(at, x, (0, *range(2, ndim)), eps)
        return _affine(at, value, off, *(None if of is None else _by_channel(of, ndim, 0.0) for of in (weight, bias)))
    if running_mean is None or running_var is None:
        raise NotCovered("batch_norm without statistics")
    factor, shift, mean, variance = (
        _by_channel(of, ndim, default) for of, default in ((weight, 1.0), (bias, 0.0), (running_mean, 0.0), (running_var, 1.0))
    )
    if any(of.error.any() for of in (factor, shift, mean, variance)):
        raise NotCovered("batch_norm by numbers that are computed")
    scale = factor.value / np.sqrt(variance.value + eps)
    value = (x.value - mean.value) * scale + shift.value
    on_the_way = (np.abs(x.value) + np.abs(mean.value)) * np.abs(scale) + np.abs(shift.value)
    return at.rounded(value, np.abs(scale) * x.error + FEW * at.u * on_the_way)


@dataclass(frozen=True, eq=False)
class _Moments:
    """Mean and variance over some axes, kept as axes of size 1, and how far they may be off.

    ``moved`` is how far an element may be from the mean beyond that, ``rounding`` what adding up costs the mean alone.
    """

    mean: Floats
    moved: Floats
    rounding: Floats
    variance: Floats
    off: Floats


def _moments(at: Place, x: Bounded, axes: tuple[int, ...]) -> _Moments:
    """Return the moments; a variance may be computed in two passes or as the difference of mean(x²) and mean²."""
    count = int(np.prod([x.value.shape[axis] for axis in axes]))
    mean = x.value.mean(axis=axes, keepdims=True)
    centred = x.value - mean
    variance = np.square(centred).mean(axis=axes, keepdims=True)
    squares = np.square(x.value)
    off_mean = rounding(mean * count, x.value, axes, count, at.u) / count + 2.0 * at.u * np.abs(mean)
    off_squares = rounding(squares.sum(axis=axes, keepdims=True), squares, axes, count, at.u) / count
    off_squares = off_squares + FEW * at.u * (squares.mean(axis=axes, keepdims=True) + mean * mean)
    of_mean = x.error.mean(axis=axes, keepdims=True)
    moved = x.error + of_mean
    off = 2.0 * (np.abs(centred) * moved).mean(axis=axes, keepdims=True) + np.square(moved).mean(axis=axes, keepdims=True)
    return _Moments(mean, moved, off_mean, variance, off + off_squares + 2.0 * np.abs(mean) * off_mean + off_mean**2)


def _standardised(at: Place, x: Bounded, axes: tuple[int, ...], eps: float) -> tuple[Floats, Floats]:
    """Return (x − mean) / √(var + eps) over ``axes``, and how far it may be off before it is rounded."""
    of = _moments(at, x, axes)
    centred, deviation = x.value - of.mean, np.sqrt(of.variance + eps)
    least, most = np.sqrt(np.maximum(of.variance - of.off, 0.0) + eps), np.sqrt(of.variance + of.off + eps)
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.abs(centred) * np.maximum(1.0 / least - 1.0 / deviation, 1.0 / deviation - 1.0 / most) + (of.moved + of.rounding) / least
        # As x·(1/σ) − mean/σ, whose two parts cancel.
        off = off + FEW * at.u * (np.abs(x.value) + np.abs(of.mean)) / least
        return centred / deviation, np.where(np.isnan(off), np.inf, off)


def _dispersion(*, root: bool, with_mean: bool = False) -> Callable[..., Any]:
    """Return the rule of a variance or a deviation, with the mean where that is returned too."""

    def rule(
        at: Place,
        x: Bounded,
        dim: int | Sequence[int] | None = None,
        unbiased: bool = True,  # noqa: FBT001, FBT002 - ATen's
        keepdim: bool = False,  # noqa: FBT001, FBT002 - ATen's
        *,
        correction: float | None = None,
    ) -> Any:
        if isinstance(dim, bool):  # the overload without axes
            return rule(at, x, None, dim)
        given = list(range(x.value.ndim)) if dim is None else [dim] if isinstance(dim, int) else list(dim)
        axes = tuple(axis % x.value.ndim for axis in given or range(x.value.ndim))
        count = float(np.prod([x.value.shape[axis] for axis in axes]))
        less = float(unbiased) if correction is None else float(correction)
        if count <= less:
            raise NotCovered("the variance of one element")
        of, factor = _moments(at, x, axes), count / (count - less)
        value, off = of.variance * factor, of.off * factor + FEW * at.u * of.variance * factor
        if root:
            low, high = np.sqrt(np.maximum(value - off, 0.0)), np.sqrt(value + off)
            value = np.sqrt(value)
            off = between(low, value, high) + FEW * at.u * value
        shaped = (value, off, of.mean, of.moved.mean(axis=axes, keepdims=True) / 2.0 + of.rounding)
        value, off, mean, of_mean = shaped if keepdim else (np.squeeze(one, axis=axes) for one in shaped)
        found = at.rounded(value, off)
        return (found, at.rounded(mean, of_mean)) if with_mean else found

    return rule


def _affine(at: Place, value: Floats, off: Floats, weight: Bounded | None, bias: Bounded | None) -> Bounded:
    if weight is not None:
        off = off * np.abs(weight.value) + np.abs(value) * weight.error + off * weight.error + 2.0 * at.u * np.abs(value * weight.value)
        value = value * weight.value
    if bias is not None:
        value, off = value + bias.value, off + bias.error + at.u * (np.abs(value) + np.abs(bias.value))
    return at.rounded(value, off)


def layer_norm(
    at: Place,
    x: Bounded,
    normalized_shape: Sequence[int],
    weight: Bounded | None = None,
    bias: Bounded | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,  # noqa: FBT001, FBT002 - ATen's
) -> Bounded:
    """Standardise over the last axes."""
    del cudnn_enable
    axes = tuple(range(x.value.ndim - len(normalized_shape), x.value.ndim))
    return _affine(at, *_standardised(at, x, axes, eps), weight, bias)


def group_norm(
    at: Place,
    x: Bounded,
    num_groups: int,
    weight: Bounded | None = None,
    bias: Bounded | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,  # noqa: FBT001, FBT002 - ATen's
) -> Bounded:
    """Standardise over the sites and channels of each group of a sample."""
    del cudnn_enabled
    shape = x.value.shape
    grouped = x.moved(lambda v: v.reshape(shape[0], num_groups, -1))
    value, off = (part.reshape(shape) for part in _standardised(at, grouped, (2,), eps))
    return _affine(at, value, off, *(None if of is None else _by_channel(of, x.value.ndim, 0.0) for of in (weight, bias)))


def instance_norm(  # noqa: PLR0913, PLR0917 - ATen's
    at: Place,
    x: Bounded,
    weight: Bounded | None,
    bias: Bounded | None,
    running_mean: Bounded | None,
    running_var: Bounded | None,
    use_input_stats: bool,  # noqa: FBT001 - ATen's
    momentum: float,
    eps: float,
    cudnn_enabled: bool = False,  # noqa: FBT001, FBT002 - ATen's
) -> Bounded:
    """Standardise each map on its own, or by stored statistics."""
    if not use_input_stats:
        return batch_norm(at, x, weight, bias, running_mean, running_var, False, momentum, eps, cudnn_enabled)  # noqa: FBT003 - ATen's
    value, off = _standardised(at, x, tuple(range(2, x.value.ndim)), eps)
    return _affine(at, value, off, *(None if of is None else _by_channel(of, x.value.ndim, 0.0) for of in (weight, bias)))


def rms_norm(at: Place, x: Bounded, normalized_shape: Sequence[int], weight: Bounded | None = None, eps: float | None = None) -> Bounded:
    """Divide by the root of the mean of squares over the last axes."""
    axes = tuple(range(x.value.ndim - len(normalized_shape), x.value.ndim))
    count = float(np.prod([x.value.shape[axis] for axis in axes]))
    if eps is None and at.dtype != "float32":
        raise NotCovered("rms_norm without eps, which is that of a format in between")
    least = 2.0 * at.stored.unit_roundoff if eps is None else eps
    size = np.abs(x.value)
    off = 2.0 * size * x.error + x.error**2 + 2.0 * at.u * size**2 + at.stored.tiny
    squares = added_up(Bounded(size**2, off), axes, at.u)
    mean = squares.value / count + least
    off = squares.error / count + FEW * at.u * mean
    root, shortest = np.sqrt(mean), np.sqrt(np.maximum(mean - off, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        # As (mean + off)^-1/2 and (mean - off)^-1/2, and an element of its own error over the shortest root.
        reach = size * np.maximum(1.0 / shortest - 1.0 / root, 1.0 / root - 1.0 / np.sqrt(mean + off)) + x.error / shortest
        value = x.value / root
        reach = np.where(np.isnan(reach), np.inf, reach) + FEW * at.u * np.abs(value)
    return _affine(at, value, reach, weight, None)


RULES: dict[str, Callable[..., Any]] = {
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "group_norm": group_norm,
    "instance_norm": instance_norm,
    "rms_norm": rms_norm,
    "var": _dispersion(root=False),
    "std": _dispersion(root=True),
    "var_mean": _dispersion(root=False, with_mean=True),
    "std_mean": _dispersion(root=True, with_mean=True),
}
