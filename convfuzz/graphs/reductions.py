"""Rules of reductions: sums, means, extremes, softmax and logsumexp."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from convfuzz.errors import NotCovered
from convfuzz.graphs.bounded import Bounded, Floats, Place, between
from convfuzz.graphs.functions import FEW
from convfuzz.graphs.sums import added_up

Axes = int | Sequence[int] | None


class Indices:
    """The second result of ``max`` and ``min``: which element it was. Nothing may be computed from it."""


def _axes(given: Axes, ndim: int) -> tuple[int, ...]:
    if given is None or (not isinstance(given, int) and not list(given)):
        return tuple(range(ndim))
    return tuple(sorted(axis % max(ndim, 1) for axis in ([given] if isinstance(given, int) else given)))


def _reduced(array: Floats, axes: tuple[int, ...], *, keepdim: bool) -> Floats:
    return array if keepdim else np.squeeze(array, axis=axes)


def total(at: Place, x: Bounded, dim: Axes = None, keepdim: bool = False, *, dtype: object = None) -> Bounded:  # noqa: FBT001, FBT002 - ATen's
    """Sum over axes."""
    del dtype  # the place knows the result's
    axes = _axes(dim, x.value.ndim)
    found = added_up(x, axes, at.u)
    return at.rounded(_reduced(found.value, axes, keepdim=keepdim), _reduced(found.error, axes, keepdim=keepdim))


def mean(at: Place, x: Bounded, dim: Axes = None, keepdim: bool = False, *, dtype: object = None) -> Bounded:  # noqa: FBT001, FBT002 - as above
    """Average over axes."""
    del dtype
    axes = _axes(dim, x.value.ndim)
    found = added_up(x, axes, at.u)
    count = float(np.prod([x.value.shape[axis] for axis in axes]))
    value = _reduced(found.value, axes, keepdim=keepdim) / count
    return at.rounded(value, _reduced(found.error, axes, keepdim=keepdim) / count + at.u * np.abs(value))


def _extreme(pick: Callable[..., Floats]) -> Callable[..., Bounded]:
    def rule(at: Place, x: Bounded, dim: Axes = None, keepdim: bool = False) -> Bounded:  # noqa: FBT001, FBT002 - as above
        axes = _axes(dim, x.value.ndim)
        low, value, high = (pick(of, axis=axes, keepdims=keepdim) for of in (x.low, x.value, x.high))
        return at.opened(value, between(low, value, high))

    return rule


amax, amin = _extreme(np.max), _extreme(np.min)


def _with_indices(rule: Callable[..., Bounded]) -> Callable[..., Any]:
    def of_axis(at: Place, x: Bounded, dim: int, keepdim: bool = False) -> tuple[Bounded, Indices]:  # noqa: FBT001, FBT002 - as above
        return rule(at, x, dim, keepdim), Indices()

    return of_axis


def softmax(at: Place, x: Bounded, dim: int, dtype: object = None) -> Bounded:
    """Divide each exponential by the sum of all.

    It is largest where the element is as large and all others are as small as they may be, which is computed from both ends.
    """
    del dtype
    shares = _shares(x.value, x.value, dim)
    least, most = _shares(x.low, x.high, dim), _shares(x.high, x.low, dim)
    depth = np.abs(x.value - x.value.max(axis=dim, keepdims=True))
    evaluated = at.u * (3.0 * FEW + 2.0 * np.minimum(depth, 2000.0) + math.log2(x.value.shape[dim]) + x.value.shape[dim] ** 0.5) * shares
    return at.rounded(shares, between(least, shares, most) + evaluated + at.stored.tiny)


def _shares(own: Floats, others: Floats, dim: int) -> Floats:
    """Return e^own / (e^own + Σ e^others over the other elements)."""
    top = np.maximum(own.max(axis=dim, keepdims=True), others.max(axis=dim, keepdims=True))
    mine, theirs = np.exp(own - top), np.exp(others - top)
    rest = np.maximum(theirs.sum(axis=dim, keepdims=True) - theirs, 0.0)
    whole = mine + rest
    return np.where(whole > 0.0, mine / np.where(whole > 0.0, whole, 1.0), 0.0)


def logsumexp(at: Place, x: Bounded, dim: Axes, keepdim: bool = False) -> Bounded:  # noqa: FBT001, FBT002 - as above
    """Return log Σ exp, which rises with each element."""
    axes = _axes(dim, x.value.ndim)
    low, value, high = (_logsumexp(of, axes) for of in (x.low, x.value, x.high))
    count = float(np.prod([x.value.shape[axis] for axis in axes]))
    evaluated = at.u * (FEW * (1.0 + np.abs(value)) + 2.0 * np.abs(x.value).max(axis=axes, keepdims=True) + count**0.5)
    reach = between(low, value, high) + evaluated
    return at.rounded(_reduced(value, axes, keepdim=keepdim), _reduced(reach, axes, keepdim=keepdim))


def _logsumexp(x: Floats, axes: tuple[int, ...]) -> Floats:
    top = x.max(axis=axes, keepdims=True)
    found: Floats = top + np.log(np.exp(x - top).sum(axis=axes, keepdims=True))
    return found


def log_softmax(at: Place, x: Bounded, dim: int, dtype: object = None) -> Bounded:
    """Return x − logsumexp(x): of its own element it depends on the difference to the others only."""
    del dtype
    value = x.value - _logsumexp(x.value, (dim,))
    low, high = np.log(_shares(x.low, x.high, dim)), np.log(_shares(x.high, x.low, dim))
    size = np.abs(x.value).max(axis=dim, keepdims=True)
    return at.rounded(value, between(low, value, high) + at.u * (FEW * (1.0 + np.abs(value)) + 4.0 * size + x.value.shape[dim] ** 0.5))


def argument_of_extreme(at: Place, *_: object, **__: object) -> Bounded:
    """Refuse: which element is largest may turn on a rounding."""
    del at
    raise NotCovered("argmax and argmin, which a rounding may turn")


RULES: dict[str, Callable[..., Any]] = {
    "sum": total,
    "mean": mean,
    "amax": amax,
    "amin": amin,
    "max.dim": _with_indices(amax),
    "min.dim": _with_indices(amin),
    "max.default": amax,
    "min.default": amin,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "logsumexp": logsumexp,
    "argmax": argument_of_extreme,
    "argmin": argument_of_extreme,
}
