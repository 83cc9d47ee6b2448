"""What was probably done to an output that is not the layer's, as far as it can be told from its values alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import numpy.typing as npt

from convfuzz.case.config import ConvConfig

Floats = npt.NDArray[np.float64]

_FEW = 4
"""A fit of one number to fewer elements than this says nothing."""
_MOST_ELEMENTS = 2**22
"""Beyond this many elements nothing is tried: the answer is a convenience."""


@dataclass(frozen=True)
class _Activation:
    """A function of one number whose slope is at most ``slope``, so that an error in its argument grows by no more."""

    name: str
    apply: Callable[[Floats], Floats]
    slope: float = 1.0


def _tanh_gelu(y: Floats) -> Floats:
    inner: Floats = np.sqrt(2.0 / np.pi) * (y + 0.044715 * y**3)
    return 0.5 * y * (1.0 + np.tanh(inner))


def _gelu(y: Floats) -> Floats:
    erf = np.fromiter(map(math.erf, (y / np.sqrt(2.0)).flat), np.float64, y.size).reshape(y.shape)
    return 0.5 * y * (1.0 + erf)


def _sigmoid(y: Floats) -> Floats:
    return 0.5 * (1.0 + np.tanh(0.5 * y))


_ACTIVATIONS = (
    _Activation("|y|", np.abs),
    _Activation("tanh", np.tanh),
    _Activation("sigmoid", _sigmoid),
    _Activation("SiLU", lambda y: y * _sigmoid(y), 1.1),
    _Activation("GELU (tanh)", _tanh_gelu, 1.2),
    _Activation("GELU", _gelu, 1.2),
    _Activation("hardswish", lambda y: y * np.clip(y + 3.0, 0.0, 6.0) / 6.0, 1.5),
    _Activation("ELU", lambda y: np.where(y > 0.0, y, np.expm1(np.minimum(y, 0.0)))),
    _Activation("softplus", lambda y: np.logaddexp(0.0, y)),
    *(_Activation(f"leaky ReLU ({a:g})", lambda y, a=a: np.where(y > 0.0, y, a * y)) for a in (0.01, 0.1, 0.2)),  # type: ignore[misc]
)


@dataclass(frozen=True)
class LikelyCause:
    """What a real output was compared with: the layer, what was expected, the bias, and the tolerance of each element.

    ``rounding`` is the unit roundoff of the output's dtype. ``axes`` are the axes here in the order in which the caller has them.
    """

    config: ConvConfig
    expected: Floats
    tolerance: Floats
    bias: Floats | None
    rounding: float
    axes: tuple[int, ...]

    def of(self, actual: Floats) -> str:
        """Say what explains every element of an output of the expected shape; nothing where none of the usual things does."""
        if not 0 < actual.size <= _MOST_ELEMENTS or not np.isfinite(actual).all() or not np.isfinite(self.expected).all():
            return ""
        with np.errstate(all="ignore"):
            return next(filter(None, (explain(actual) for explain in (self._constant, self._clamped, self._activated, self._biased,
                        self._scaled, self._moved))), "")  # fmt: skip

    def in_other_order(self, actual: Floats) -> str:
        """Say which transposition of an output of another shape, as the caller has it, agrees; nothing where none does."""
        expected, tolerance = self.expected.transpose(self.axes), self.tolerance.transpose(self.axes)
        if actual.ndim != self.expected.ndim or not 0 < actual.size <= _MOST_ELEMENTS:
            return ""
        for order in permutations(range(actual.ndim)):
            moved = actual.transpose(order)
            if moved.shape == expected.shape and bool((np.abs(moved - expected) <= tolerance).all()):
                return f"its axes are in another order: numpy.transpose(actual, {order}) agrees"
        return ""

    def _fits(self, actual: Floats, other: Floats, slope: float = 1.0) -> bool:
        """Whether ``actual`` is ``other``, of which one more rounding and the error of a library's function may be left."""
        return bool((np.abs(actual - other) <= slope * self.tolerance + 8.0 * self.rounding * np.abs(other)).all())

    def _constant(self, actual: Floats) -> str:
        if actual.size >= _FEW and (actual == 0.0).all():
            return "every element is 0: nothing was written, or nothing was added up"
        return ""

    def _clamped(self, actual: Floats) -> str:
        low, high = float(actual.min()), float(actual.max())
        if low == high or not self._fits(actual, np.clip(self.expected, low, high)):
            return ""
        most = float(self.tolerance.max())
        below, above = float(self.expected.min()) < low - most, float(self.expected.max()) > high + most
        if low == 0.0 and below and not above:
            return "every wrong element is 0 where the expected value is negative: a ReLU was applied; judge the output before it"
        if low == 0.0 and high == 6.0:
            wrong = "every wrong element is 0 where the expected value is negative, or 6 where it is larger"
            return f"{wrong}: a ReLU6 was applied; judge the output before it"
        if below or above:
            ends = " or ".join([f"{low:g} where a smaller one is expected"] * below + [f"{high:g} where a larger one is expected"] * above)
            return f"every wrong element is {ends}: the output was clamped; judge it before that"
        return ""

    def _activated(self, actual: Floats) -> str:
        for activation in _ACTIVATIONS:
            if self._fits(actual, activation.apply(self.expected), activation.slope):
                return f"every element is {activation.name} of the expected value: judge the output before that"
        return ""

    def _biased(self, actual: Floats) -> str:
        if self.bias is None or not self.bias.any():
            return ""
        bias = self.bias.reshape(-1, *(1,) * self.config.dims)
        for sign, said in ((-1.0, "the bias is missing"), (1.0, "the bias is added twice"), (-2.0, "the bias is subtracted")):
            if self._fits(actual, self.expected + sign * bias):
                return f"the difference is the same for each output channel: {said}"
        return ""

    def _scaled(self, actual: Floats) -> str:
        y = self.expected
        factor = _factor(actual, y)
        if y.size >= _FEW and self._fits(actual, factor * y, 2.0 * max(1.0, abs(factor))):
            return (
                "every element has the wrong sign"
                if abs(factor + 1.0) < 1e-6
                else f"every element is {self._named(factor)} times the expected one"
            )
        axis = -self.config.dims - 1
        others = tuple(a for a in range(y.ndim) if a != axis % y.ndim)
        factors = (actual * y).sum(axis=others, keepdims=True) / np.maximum((y * y).sum(axis=others, keepdims=True), np.finfo(float).tiny)
        if y.size >= _FEW * y.shape[axis] and self._fits(actual, factors * y, 2.0 * max(1.0, float(np.abs(factors).max()))):
            spread = f"{factors.min():.3g} to {factors.max():.3g}"
            return f"every output channel is a multiple of the expected one, by {spread}: scales were applied"
        return ""

    def _named(self, factor: float) -> str:
        """Print a factor, as a fraction where it divides by a whole number, such as the count of taps."""
        whole = round(1.0 / factor) if factor else 0
        if abs(whole) > 1 and abs(whole * factor - 1.0) < 1e-3:
            counts = {self.config.taps: "taps", self.config.batch or 1: "samples", self.config.groups: "groups"}
            return f"1/{whole}" + (f" (there are {whole} {counts[whole]})" if whole in counts else "")
        return f"{factor:.6g}"

    def _moved(self, actual: Floats) -> str:
        """Find the expected values at other places: axes swapped or reversed."""
        expected, tolerance = self.expected.transpose(self.axes), self.tolerance.transpose(self.axes)
        for name, moved in self._orders(actual.transpose(self.axes)):
            if bool((np.abs(moved - expected) <= tolerance).all()):
                return f"the expected values are at other places: {name} agrees"
        return ""

    def _orders(self, actual: Floats) -> Iterator[tuple[str, Floats]]:
        plain = tuple(range(actual.ndim))
        for order in permutations(plain):
            if order != plain and tuple(actual.shape[axis] for axis in order) == actual.shape:
                yield f"numpy.transpose(actual, {order})", actual.transpose(order)
        spatial = tuple(place for place, axis in enumerate(self.axes) if axis >= actual.ndim - self.config.dims)
        for axis in spatial:
            yield f"numpy.flip(actual, {axis})", np.flip(actual, axis)
        yield f"numpy.flip(actual, {spatial})", np.flip(actual, spatial)


def _factor(actual: Floats, y: Floats) -> float:
    """Return the factor of the least squares fit."""
    norm = float((y * y).sum())
    return float((actual * y).sum()) / norm if norm else 1.0


def other_weights(w: npt.NDArray[np.generic], axes: tuple[int, ...]) -> Iterator[tuple[str, npt.NDArray[np.generic]]]:
    """Yield weights of the same shape that may be meant, and how the caller gets each: flipped, or with other axes.

    ``axes`` are the axes here in the order in which the caller has them.
    """
    spatial = tuple(place for place, axis in enumerate(axes) if axis >= 2)
    yield f"numpy.flip(w, {spatial}), as in the convolution of mathematics", np.flip(w, tuple(range(2, w.ndim)))
    inverse = tuple(np.argsort(axes).tolist())
    plain = tuple(range(w.ndim))
    for order in permutations(plain):
        if order != plain and tuple(w.shape[axis] for axis in order) == w.shape:
            theirs = tuple(inverse[order[axis]] for axis in axes)
            yield f"numpy.transpose(w, {theirs})", w.transpose(order)
