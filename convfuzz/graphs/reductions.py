"""Rules of reductions: sums, means, extremes, softmax and logsumexp."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from convfuzz.errors import NotCovered
from convfuzz.graphs.arithmetic import div, mul
from convfuzz.graphs.bounded import Bounded, Floats, Place, between
from convfuzz.graphs.functions import FEW
from convfuzz.graphs.functions import RULES as FUNCTIONS
from convfuzz.graphs.sums import added_up
from convfuzz.judging.bounds import statistical

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

    It is largest where the element is as large and all others are as small as they may be, which is computed from both ends. As
    e^(x - logsumexp), or by e^x = 2^(x·log2 e), each exponent is off by roundings of numbers as large as the largest element.
    """
    del dtype
    shares = _shares(x.value, x.value, dim)
    least, most = _shares(x.low, x.high, dim), _shares(x.high, x.low, dim)
    depth = np.abs(x.value - x.value.max(axis=dim, keepdims=True))
    # An element of −Inf, such as a mask puts there, has no share, whatever the roundings.
    size, n = np.abs(np.where(np.isfinite(x.value), x.value, 0.0)).max(axis=dim, keepdims=True), x.value.shape[dim]
    evaluated = at.u * (3.0 * FEW + 2.0 * np.minimum(depth, 2000.0) + 4.0 * size + math.log2(n) + n**0.5) * shares
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


def vector_norm(
    at: Place,
    x: Bounded,
    ord: float = 2,  # noqa: A002 - the operation's own name
    dim: Axes = None,
    keepdim: bool = False,  # noqa: FBT001, FBT002 - as above
    *,
    dtype: object = None,
) -> Bounded:
    """Return the norm over axes: the root of the sum of squares, the sum of magnitudes, or the largest one."""
    del dtype
    size = Bounded(np.abs(x.value), x.error)
    if ord == math.inf:
        return amax(at, size, dim, keepdim)
    if ord == 1:
        return total(at, size, dim, keepdim)
    if ord != 2:
        raise NotCovered(f"a norm of order {ord}")
    axes = _axes(dim, x.value.ndim)
    # A square may vanish below the normal range.
    off = 2.0 * size.value * x.error + x.error**2 + at.u * size.value**2 + at.stored.tiny
    squares = added_up(Bounded(size.value**2, off), axes, at.u)
    value, low, high = (_reduced(np.sqrt(np.maximum(of, 0.0)), axes, keepdim=keepdim) for of in (squares.value, squares.low, squares.high))
    # The squares may overflow where their root does not.
    high = np.where(high > math.sqrt(at.stored.max), np.inf, high)
    return at.rounded(value, between(low, value, high) + FEW * at.u * value)


def weight_norm(at: Place, v: Bounded, g: Bounded, dim: int = 0) -> Bounded:
    """Scale each slice along an axis to a given norm."""
    others = [axis for axis in range(v.value.ndim) if axis != dim % v.value.ndim]
    of_slices = tuple(size if axis not in others else 1 for axis, size in enumerate(v.value.shape))
    inside = Place(of_slices, at.dtype, at.numerics)
    factor = div(inside, g.moved(lambda a: a.reshape(of_slices)), vector_norm(inside, v, 2, others, True))  # noqa: FBT003 - as above
    return mul(at, v, factor)


def cumsum(at: Place, x: Bounded, dim: int, *, dtype: object = None) -> Bounded:
    """Sum up to each element."""
    del dtype
    value = np.cumsum(x.value, axis=dim)
    size, squares = np.cumsum(np.abs(x.value), axis=dim), np.cumsum(np.square(x.value), axis=dim)
    counts = np.cumsum(np.ones(x.value.shape, np.int64), axis=dim)
    adding = np.where(counts > 1, statistical(0.0, value, size, squares, counts, u=at.u), 0.0)
    # In 16 bits each sum may be rounded before it is the next one's first term.
    carried = at.stored.unit_roundoff * np.cumsum(np.abs(value), axis=dim) if at.stored.unit_roundoff > at.u else 0.0
    return at.rounded(value, np.cumsum(x.error, axis=dim) + adding + carried)


def logcumsumexp(at: Place, x: Bounded, dim: int) -> Bounded:
    """Return log Σ exp up to each element, which rises with all of them; each step adds to a result that is rounded, and passes on less."""
    low, value, high = (np.logaddexp.accumulate(of, axis=dim) for of in (x.low, x.value, x.high))
    size = np.maximum.accumulate(np.abs(x.value), axis=dim)
    steps = np.cumsum(at.u * FEW * (1.0 + np.abs(value)), axis=dim)
    carried = at.stored.unit_roundoff * np.cumsum(np.abs(value), axis=dim) if at.stored.unit_roundoff > at.u else 0.0
    return at.rounded(value, between(low, value, high) + steps + 2.0 * at.u * size + carried + at.stored.tiny)


def _in_order(x: Bounded, dim: int, *, descending: bool) -> tuple[Floats, Floats, Floats]:
    """Return the ends and the values of what comes first, second, …: each rises with every element."""
    low, value, high = (np.sort(of, axis=dim) for of in (x.low, x.value, x.high))
    is_open = ~np.isfinite(x.error).all(axis=dim, keepdims=True)  # of what has no place, the others have none either
    low, value, high = (np.where(is_open, np.nan, of) for of in (low, value, high))
    return (np.flip(low, dim), np.flip(value, dim), np.flip(high, dim)) if descending else (low, value, high)


def sort(at: Place, x: Bounded, dim: int = -1, descending: bool = False) -> tuple[Bounded, Indices]:  # noqa: FBT001, FBT002 - as above
    """Put elements in order."""
    low, value, high = _in_order(x, dim, descending=descending)
    return at.opened(value, between(low, value, high)), Indices()


def topk(at: Place, x: Bounded, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Bounded, Indices]:  # noqa: A002, FBT001, FBT002 - as above
    """Return the largest or smallest elements, in order."""
    if not sorted:
        raise NotCovered("topk in any order")
    low, value, high = (np.take(of, np.arange(k), axis=dim) for of in _in_order(x, dim, descending=largest))
    return at.opened(value, between(low, value, high)), Indices()


def median(at: Place, x: Bounded, dim: int, keepdim: bool = False) -> tuple[Bounded, Indices]:  # noqa: FBT001, FBT002 - as above
    """Return the middle element, the lower of two."""
    middle = (x.value.shape[dim] - 1) // 2
    low, value, high = (np.take(of, [middle] if keepdim else middle, axis=dim) for of in _in_order(x, dim, descending=False))
    return at.opened(value, between(low, value, high)), Indices()


def aminmax(at: Place, x: Bounded, *, dim: int | None = None, keepdim: bool = False) -> tuple[Bounded, Bounded]:
    """Return both extremes."""
    return amin(at, x, dim, keepdim), amax(at, x, dim, keepdim)


def glu(at: Place, x: Bounded, dim: int = -1) -> Bounded:
    """Weight the first half by the sigmoid of the second."""
    half = x.value.shape[dim] // 2
    first, second = (x.moved(partial(np.take, indices=sites, axis=dim)) for sites in (np.arange(half), np.arange(half, 2 * half)))
    return mul(at, first, FUNCTIONS["sigmoid"](at, second))


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
    "linalg_vector_norm": vector_norm,
    "_weight_norm": weight_norm,
    "cumsum": cumsum,
    "logcumsumexp": logcumsumexp,
    "sort": sort,
    "topk": topk,
    "median.dim": median,
    "aminmax": aminmax,
    "glu": glu,
    "argmax": argument_of_extreme,
    "argmin": argument_of_extreme,
}
