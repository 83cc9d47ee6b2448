"""Rules of losses: how far two tensors are apart, element by element, added up or averaged."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convfuzz.errors import NotCovered
from convfuzz.graphs.arithmetic import sub
from convfuzz.graphs.bounded import Bounded, Floats, Place
from convfuzz.graphs.functions import FEW, Elementwise
from convfuzz.graphs.reductions import mean, total

_NONE, _MEAN, _SUM = range(3)


def _loss(of: Elementwise) -> Callable[..., Bounded]:
    def rule(at: Place, x: Bounded, target: Bounded, reduction: int = _MEAN) -> Bounded:
        shape = np.broadcast_shapes(x.value.shape, target.value.shape)
        inside = Place(shape, at.dtype, at.numerics)
        each = of.apply(inside, sub(inside, x, target))
        if reduction == _NONE:
            return each
        return (mean if reduction == _MEAN else total)(at, each)

    return rule


def _bent(knee: float, *, is_scaled: bool) -> Elementwise:
    """Return a parabola with straight ends from ``knee`` on: Huber's, or that over the knee."""
    if not knee > 0.0:
        raise NotCovered(f"a loss that bends at {knee}")
    factor = 1.0 / knee if is_scaled else 1.0

    def function(v: Floats) -> Floats:
        size = np.abs(v)
        return np.where(size < knee, 0.5 * v * v, knee * (size - 0.5 * knee)) * factor

    return Elementwise(function, (0.0,), lambda v, y: FEW * (np.abs(y) + np.where(np.abs(v) < knee, 0.0, knee * knee * factor)))


def _smooth_l1(at: Place, x: Bounded, target: Bounded, reduction: int = _MEAN, beta: float = 1.0) -> Bounded:
    return (_l1 if beta == 0.0 else _loss(_bent(beta, is_scaled=True)))(at, x, target, reduction)


def _huber(at: Place, x: Bounded, target: Bounded, reduction: int = _MEAN, delta: float = 1.0) -> Bounded:
    return _loss(_bent(delta, is_scaled=False))(at, x, target, reduction)


_l1 = _loss(Elementwise(np.abs, (0.0,)))

RULES: dict[str, Callable[..., Bounded]] = {
    "mse_loss": _loss(Elementwise(np.square, (0.0,), lambda _, y: FEW * np.abs(y))),
    "l1_loss": _l1,
    "smooth_l1_loss": _smooth_l1,
    "huber_loss": _huber,
}
