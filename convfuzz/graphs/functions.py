"""Rules of functions of one number: each is exact, or monotone between turning points, and as accurate as its textbook formula."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from convfuzz.errors import NotCovered
from convfuzz.graphs.bounded import Bounded, Floats, Place, between

Function = Callable[[Floats], Floats]
Rule = Callable[..., Bounded]

FEW = 8.0
"""How many roundings a formula of a handful of operations makes, relative to the largest number on its way."""


@dataclass(frozen=True)
class Elementwise:
    """A function of one number.

    ``turning`` lists where it stops to rise or to fall. ``loss`` gives, from argument and result, what evaluating it costs in
    units of u; ``None`` says that the result is one of the operands or a constant, so that nothing is rounded.
    """

    function: Function
    turning: tuple[float, ...] = ()
    loss: Callable[[Floats, Floats], Floats] | None = None
    underflows: bool = False
    """Whether an exponential on the way may vanish or overflow, which costs what is below the normal range."""

    def apply(self, at: Place, x: Bounded) -> Bounded:
        """Carry the bound through: the farthest that the function gets on the argument's interval, and its evaluation."""
        y = self.function(x.value)
        reach = np.zeros(y.shape)
        if x.error.any():
            low, high = x.low, x.high
            ends = self.function(low), self.function(high)
            reach = between(np.minimum(*ends), y, np.maximum(*ends))
            for point in self.turning:
                there = abs(self.function(np.asarray(point)) - y)
                reach = np.where((low < point) & (point < high), np.maximum(reach, there), reach)
        if self.loss is None:
            return at.opened(y, reach)
        reach = reach + at.u * self.loss(x.value, y)
        if self.underflows:
            reach = reach + at.stored.tiny * (1.0 + np.abs(x.value))
        return at.rounded(y, reach)


def _relative(_: Floats, y: Floats) -> Floats:
    return FEW * np.abs(y)


def _of_argument(x: Floats, _: Floats) -> Floats:
    return FEW * np.abs(x)


def _absolute(_: Floats, y: Floats) -> Floats:
    return FEW * (1.0 + np.abs(y))


def _exponential(x: Floats, y: Floats) -> Floats:
    """2^(x·log2 e): rounding the argument costs u·|x| relative to the result."""
    return (FEW + 2.0 * np.minimum(np.abs(x), 2000.0)) * np.abs(y)


def _sigmoid(x: Floats) -> Floats:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0.0, 1.0 / (1.0 + small), small / (1.0 + small))


def _softplus(x: Floats) -> Floats:
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


def _finite_times(x: Floats, factor: Floats) -> Floats:
    return np.where(factor == 0.0, 0.0 * np.sign(x), x * factor)


_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _gelu(x: Floats) -> Floats:
    return _finite_times(x, 0.5 * _erfc(-x / math.sqrt(2.0)))


def _gelu_by_tanh(x: Floats) -> Floats:
    return _finite_times(x, _sigmoid(2.0 * math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def _mish(x: Floats) -> Floats:
    return _finite_times(x, np.tanh(_softplus(x)))


def _hardswish(x: Floats) -> Floats:
    return _finite_times(x, np.clip(x + 3.0, 0.0, 6.0) / 6.0)


def _hardswish_loss(x: Floats, _: Floats) -> Floats:
    return np.where(x <= -3.0, 0.0, FEW * np.abs(x))


def _sigmoid_loss(x: Floats, y: Floats) -> Floats:
    return FEW * y + 2.0 * np.minimum(np.abs(x), 2000.0) * y * (1.0 - y)


_PLAIN: dict[str, Elementwise] = {
    "relu": Elementwise(lambda x: np.maximum(x, 0.0)),
    "relu6": Elementwise(lambda x: np.clip(x, 0.0, 6.0)),
    "neg": Elementwise(np.negative),
    "abs": Elementwise(np.abs, (0.0,)),
    "square": Elementwise(np.square, (0.0,), _relative),
    "sqrt": Elementwise(np.sqrt, (), _relative),
    "rsqrt": Elementwise(lambda x: 1.0 / np.sqrt(x), (), _relative),
    "exp": Elementwise(np.exp, (), _exponential, underflows=True),
    "exp2": Elementwise(np.exp2, (), _exponential, underflows=True),
    "expm1": Elementwise(np.expm1, (), lambda x, y: FEW + _exponential(x, y), underflows=True),
    "log": Elementwise(np.log, (), _absolute),
    "log1p": Elementwise(np.log1p, (), _absolute),
    "erf": Elementwise(lambda x: 1.0 - _erfc(x), (), lambda _, y: FEW * np.ones_like(y)),
    "sigmoid": Elementwise(_sigmoid, (), _sigmoid_loss, underflows=True),
    "log_sigmoid": Elementwise(lambda x: -_softplus(-x), (), _absolute),
    "tanh": Elementwise(np.tanh, (), lambda _, y: FEW / 2.0 * (1.0 + np.abs(y))),
    "silu": Elementwise(
        lambda x: _finite_times(x, _sigmoid(x)), (-1.2784645427610738,), lambda x, _: np.abs(x) * _sigmoid_loss(x, _sigmoid(x)),
        underflows=True,
    ),
    "mish": Elementwise(_mish, (-1.1924312151,), _of_argument, underflows=True),
    "hardswish": Elementwise(_hardswish, (-1.5,), _hardswish_loss),
    "hardsigmoid": Elementwise(lambda x: np.clip(x + 3.0, 0.0, 6.0) / 6.0, (), lambda _, y: FEW * (y > 0.0) * (y + 1.0)),
    "softsign": Elementwise(lambda x: x / (1.0 + np.abs(x)), (), _relative),
    "atan": Elementwise(np.arctan, (), _relative),
    # What rises in steps has all of them between the ends of an interval.
    "sign": Elementwise(np.sign),
    "floor": Elementwise(np.floor),
    "ceil": Elementwise(np.ceil),
    "round": Elementwise(np.rint),
    "trunc": Elementwise(np.trunc),
}  # fmt: skip
"""Functions without parameters, by their ATen names."""


def _plain(name: str) -> Rule:
    def rule(at: Place, x: Bounded) -> Bounded:
        return _PLAIN[name].apply(at, x)

    return rule


def _gelu_rule(at: Place, x: Bounded, *, approximate: str = "none") -> Bounded:
    function, turning = (_gelu, -0.7517915246935645) if approximate == "none" else (_gelu_by_tanh, -0.7524614078592)
    return Elementwise(function, (turning,), _of_argument, underflows=True).apply(at, x)


def _clamp(at: Place, x: Bounded, min: object = None, max: object = None) -> Bounded:  # noqa: A002 - the operation's own names
    if isinstance(min, Bounded) or isinstance(max, Bounded):
        raise NotCovered("clamp by tensors")
    low = -math.inf if min is None else _stored(at, min)
    high = math.inf if max is None else _stored(at, max)
    return Elementwise(lambda v: np.minimum(np.maximum(v, low), high)).apply(at, x)


def _stored(at: Place, number: object) -> float:
    """Return a number as the tensor's format has it, which is what it is compared with there."""
    return float(at.stored.round(np.asarray(float(number)))) if isinstance(number, int | float) else math.nan


def _hardtanh(at: Place, x: Bounded, min_val: float = -1.0, max_val: float = 1.0) -> Bounded:
    return _clamp(at, x, min_val, max_val)


def _clamp_min(at: Place, x: Bounded, min: object) -> Bounded:  # noqa: A002 - as above
    return _clamp(at, x, min)


def _clamp_max(at: Place, x: Bounded, max: object) -> Bounded:  # noqa: A002 - as above
    return _clamp(at, x, None, max)


def _leaky_relu(at: Place, x: Bounded, negative_slope: float = 0.01) -> Bounded:
    turning = (0.0,) if negative_slope < 0.0 else ()
    function = Elementwise(lambda v: np.where(v > 0.0, v, v * negative_slope), turning, lambda v, y: FEW * np.abs(y) * (v <= 0.0))
    return function.apply(at, x)


def _elu(at: Place, x: Bounded, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Bounded:
    if alpha < 0.0 or scale <= 0.0 or input_scale <= 0.0:
        raise NotCovered(f"elu with alpha={alpha}, scale={scale}, input_scale={input_scale}")
    function = Elementwise(
        lambda v: np.where(v > 0.0, scale * v, scale * alpha * np.expm1(np.minimum(v, 0.0) * input_scale)),
        (),
        lambda v, y: FEW * np.where(v > 0.0, np.abs(y), scale * alpha),
        underflows=True,
    )
    return function.apply(at, x)


def _celu(at: Place, x: Bounded, alpha: float = 1.0) -> Bounded:
    return _elu(at, x, alpha, 1.0, 1.0 / alpha)


def _selu(at: Place, x: Bounded) -> Bounded:
    return _elu(at, x, 1.6732632423543772, 1.0507009873554805)


def _softplus_rule(at: Place, x: Bounded, beta: float = 1.0, threshold: float = 20.0) -> Bounded:
    if threshold < 20.0 or beta <= 0.0:
        raise NotCovered(f"softplus with beta={beta}, threshold={threshold}")
    # Beyond the threshold it is x, which is less than 2.1e-9 off; `log(1 + exp(x))` costs u relative to 1.
    function = Elementwise(
        lambda v: _softplus(beta * v) / beta, (), lambda _, y: FEW * (np.abs(y) + 1.0 / beta), underflows=True,
    )  # fmt: skip
    return function.apply(at, x)


def _pow(at: Place, x: Bounded, exponent: object) -> Bounded:
    if exponent == 0.5:
        return _PLAIN["sqrt"].apply(at, x)
    if exponent == -0.5:
        return _PLAIN["rsqrt"].apply(at, x)
    if not isinstance(exponent, int | float) or isinstance(exponent, bool) or not 0.0 < abs(exponent) <= 8.0:
        raise NotCovered(f"pow with exponent {exponent}")
    if not float(exponent).is_integer() or exponent < 0.0:
        return _real_power(at, x, float(exponent))
    power = int(exponent)
    return Elementwise(lambda v: v**power, (0.0,) if power % 2 == 0 else (), _relative).apply(at, x)


def _real_power(at: Place, x: Bounded, power: float) -> Bounded:
    """Return 2^(p·log2 x), whose argument is rounded; open where x may be negative, or zero of a negative power."""
    function = Elementwise(
        lambda v: np.where(v >= 0.0, np.abs(v) ** power, np.nan),
        (),
        lambda v, y: (FEW + 2.0 * np.abs(power * np.log(np.maximum(np.abs(v), 2.0**-1074)))) * np.abs(y),
        underflows=power > 0.0,
    )
    found = function.apply(at, x)
    is_open = (x.low < 0.0) | ((x.low <= 0.0) & (power < 0.0))
    return at.opened(found.value, np.where(is_open, np.inf, found.error))


def _prelu(at: Place, x: Bounded, weight: Bounded) -> Bounded:
    """Scale what is negative, by channel where there are several numbers."""
    if weight.error.any():
        raise NotCovered("prelu by numbers that are computed")
    slope = weight.value.reshape(-1, *(1,) * (x.value.ndim - 2)) if weight.value.size > 1 else weight.value.reshape(())
    function = Elementwise(lambda v: np.where(v > 0.0, v, v * slope), (0.0,), lambda v, y: FEW * np.abs(y) * (v <= 0.0))
    return function.apply(at, x)


def _wave(function: Function) -> Rule:
    def rule(at: Place, x: Bounded) -> Bounded:
        # Its slope is 1 at most; reducing the argument is charged relative to that.
        return at.rounded(function(x.value), np.minimum(x.error, 2.0) + FEW * at.u * (1.0 + np.abs(x.value)))

    return rule


def _hardshrink(at: Place, x: Bounded, lambd: float = 0.5) -> Bounded:
    limit = _stored(at, lambd)
    return Elementwise(lambda v: np.where(np.abs(v) <= limit, 0.0, v)).apply(at, x)


def _softshrink(at: Place, x: Bounded, lambd: float = 0.5) -> Bounded:
    limit = _stored(at, lambd)
    function = Elementwise(lambda v: np.sign(v) * np.maximum(np.abs(v) - limit, 0.0), (), lambda v, _: np.abs(v) + limit)
    return function.apply(at, x)


def _reciprocal(at: Place, x: Bounded) -> Bounded:
    holds_zero = (x.low <= 0.0) & (x.high >= 0.0)
    found = Elementwise(lambda v: 1.0 / v, (), _relative).apply(at, x)
    return at.opened(found.value, np.where(holds_zero, np.inf, found.error))


RULES: dict[str, Rule] = {name: _plain(name) for name in _PLAIN} | {
    "gelu": _gelu_rule,
    "clamp": _clamp,
    "clip": _clamp,
    "clamp_min": _clamp_min,
    "clamp_max": _clamp_max,
    "hardtanh": _hardtanh,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "celu": _celu,
    "selu": _selu,
    "softplus": _softplus_rule,
    "pow": _pow,
    "reciprocal": _reciprocal,
    "prelu": _prelu,
    "sin": _wave(np.sin),
    "cos": _wave(np.cos),
    "hardshrink": _hardshrink,
    "softshrink": _softshrink,
}
