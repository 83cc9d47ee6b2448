"""The passes of a convolution layer as a caller asks for them: forward, and the gradient of each operand."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import is_complex, is_integer
from convfuzz.errors import Unsupported
from convfuzz.oracle import complex_layers, double_double, modular, operands
from convfuzz.oracle.contraction import Axes, Device, Sums, forward, input_gradient, weight_gradient
from convfuzz.oracle.cpu import CPU
from convfuzz.oracle.expectation import Expectation, Float64Array
from convfuzz.oracle.kernels import DOUBLE, MOMENTS, VALUE
from convfuzz.oracle.padding import PaddedAxis, fold, pad
from convfuzz.oracle.relation import Axis

_EXACT_PRODUCTS = frozenset({"float32", "float16", "bfloat16"})
"""Dtypes whose products float64 represents; float64's own are summed in double-double."""

_ieee_arithmetic = np.errstate(over="ignore", invalid="ignore")
"""NaN and Inf are valid results here, so NumPy must not warn of them."""

GRADIENTS = ("grad_input", "grad_weight", "grad_bias")

_POINT = Axis(1, 1, 1, 1, 1, 0)
"""A spatial axis that a layer of fewer dimensions lacks."""


@_ieee_arithmetic
def reference(
    config: ConvConfig,
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    b: npt.ArrayLike | None = None,
    *,
    moments: bool = True,
    exact: bool = False,
    device: Device[Any] = CPU,
) -> Expectation:
    """Compute the layer's output from operands that are already rounded to ``config.dtype``.

    ``x`` has ``config.input_shape``, ``w`` ``config.weight_shape`` and ``b`` ``(config.out_channels,)``, in any memory
    layout and any NumPy dtype that holds numbers of ``config.dtype``; the results have ``config.output_shape``, and one
    more axis of size 2 where that dtype is complex. It alone decides whether ``y_lo`` is there. Without ``moments``,
    ``S`` and ``Q`` are ``None``. ``exact`` is for operands of which float64 is certain to hold every partial sum, such as small
    integers: plain sums say it all then, and there are neither moments nor ``y_lo``. ``device`` adds the taps.

    Raises:
        ValueError: an operand has another shape, or numbers that are none of ``config.dtype``.
        Unsupported: stride, dilation or padding reach beyond int64.
    """
    if is_complex(config.dtype):
        return complex_layers.reference(config, x, w, b, partial(reference, moments=moments, exact=exact, device=device))
    if is_integer(config.dtype):
        return modular.reference(config, x, w, b, partial(reference, device=device), moments=moments)
    layer = _Layer(config, moments=moments, exact=exact, device=device)
    inputs, weights = layer.input(x), layer.weight(w)
    if config.op == "conv":
        sums = forward(device, layer.padded(inputs), weights, layer.axes, config.groups, layer.mode)
    else:
        sums = input_gradient(device, inputs, weights, layer.axes, config.groups, layer.mode)
    if b is not None:
        sums = _with_bias(sums, operands.real("b", b, (config.out_channels,)))
    return layer.expectation(sums, config.output_shape)


@_ieee_arithmetic
def gradients(
    config: ConvConfig,
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    dy: npt.ArrayLike,
    *,
    moments: bool = True,
    exact: bool = False,
    passes: Collection[str] = GRADIENTS,
    device: Device[Any] = CPU,
) -> dict[str, Expectation]:
    """Compute the gradients of Σ y·dy that ``passes`` names: ``"grad_input"``, ``"grad_weight"`` and ``"grad_bias"``.

    ``dy`` has ``config.output_shape``; otherwise as :func:`reference`. Where padding copies an input element, the
    element gathers the taps of all its copies. Complex gradients are PyTorch's, those of Re Σ y·conj(dy) by the real and
    by the imaginary part: ``dy`` contracted with conj(w), with conj(x), and summed.

    Raises:
        ValueError: as :func:`reference`.
        Unsupported: as :func:`reference`, or the dtype is an integer one.
    """
    if is_complex(config.dtype):
        real = partial(gradients, moments=moments, exact=exact, passes=passes, device=device)
        return complex_layers.gradients(config, x, w, dy, real)
    if is_integer(config.dtype):
        raise Unsupported(f"dtype {config.dtype} has no gradients: a convolution of integers cannot be differentiated")
    layer = _Layer(config, moments=moments, exact=exact, device=device)
    dys = layer.output("dy", dy)
    computed: dict[str, tuple[Callable[[], Sums], tuple[int, ...]]] = {
        "grad_input": (lambda: layer.input_gradient(layer.weight(w), dys), config.input_shape),
        "grad_weight": (lambda: layer.weight_gradient(layer.input(x), dys), config.weight_shape),
        "grad_bias": (lambda: _bias_gradient(device, dys, layer.mode), (config.out_channels,)),
    }
    return {name: layer.expectation(sums(), shape) for name, (sums, shape) in computed.items() if name in passes}


class _Layer:
    """One configuration in the terms of the contractions: three spatial axes, a batch axis, float64."""

    def __init__(self, config: ConvConfig, *, moments: bool, exact: bool, device: Device[Any]) -> None:
        self.config = config
        self.moments = moments and not exact
        self.device = device
        self.mode = DOUBLE if config.dtype not in _EXACT_PRODUCTS and not exact else MOMENTS if self.moments else VALUE
        axes = _spatial_axes(config)
        self.copies: list[PaddedAxis] = []
        if config.padding_mode != "zeros":
            self.copies = [PaddedAxis.of(axis, hi, config.padding_mode) for axis, (_, hi) in zip(axes, config.pads, strict=True)]
            axes = tuple(padded.relation for padded in self.copies)
        depth, height, width = (_POINT,) * (3 - config.dims) + axes
        self.axes: Axes = (depth, height, width)

    def input(self, x: npt.ArrayLike) -> Any:
        return _lifted(self.device.operand("x", x, self.config.input_shape), self.config)

    def output(self, name: str, y: npt.ArrayLike) -> Any:
        return _lifted(self.device.operand(name, y, self.config.output_shape), self.config)

    def weight(self, w: npt.ArrayLike) -> Any:
        weights = self.device.operand("w", w, self.config.weight_shape)
        return weights.reshape(*weights.shape[:2], *_spatial(weights.shape[2:]))

    def padded(self, x: Any) -> Any:
        return pad(self.device, x, self.copies) if self.copies else x

    def input_gradient(self, weights: Any, dys: Any) -> Sums:
        if self.config.op == "conv_transpose":
            return forward(self.device, dys, weights, self.axes, self.config.groups, self.mode)
        sums = input_gradient(self.device, dys, weights, self.axes, self.config.groups, self.mode)
        return fold(sums, self.copies) if self.copies else sums

    def weight_gradient(self, inputs: Any, dys: Any) -> Sums:
        wide, narrow = (self.padded(inputs), dys) if self.config.op == "conv" else (dys, inputs)
        return weight_gradient(self.device, wide, narrow, self.axes, self.config.groups, self.mode)

    def expectation(self, sums: Sums, shape: tuple[int, ...]) -> Expectation:
        """Give the sums the caller's shape, which lacks the leading axes of size one."""
        spatial = shape[len(shape) - self.config.dims :] if len(shape) > 1 else ()
        y, *others = (word.reshape(shape) for word in sums.words)
        s, q = others[:2] if self.moments else (None, None)
        return Expectation(
            y=y,
            y_lo=others[2] if self.mode == DOUBLE else None,
            S=s,
            Q=q,
            n=np.broadcast_to(sums.tap_counts.reshape(spatial), shape),
        )


@lru_cache(maxsize=64)
def _spatial_axes(config: ConvConfig) -> tuple[Axis, ...]:
    axes = []
    for axis in range(config.dims):
        size, other = config.input_size[axis], config.output_size[axis]
        wide, narrow = (size, other) if config.op == "conv" else (other, size)
        stride, dilation, lo = config.stride[axis], config.dilation[axis], config.pads[axis][0]
        axes.append(Axis.between(wide, narrow, config.kernel_size[axis], stride=stride, dilation=dilation, lo=lo))
    return tuple(axes)


def _spatial(size: tuple[int, ...]) -> tuple[int, ...]:
    return (1,) * (3 - len(size)) + size


def _lifted(operand: Any, config: ConvConfig) -> Any:
    batch = () if config.batch is not None else (1,)
    leading = operand.shape[: -config.dims]
    return operand.reshape(*batch, *leading, *_spatial(operand.shape[-config.dims :]))


def _with_bias(sums: Sums, b: Float64Array) -> Sums:
    """Add the bias, the last tap of every element."""
    words, b = sums.words, b[:, None, None, None]
    if len(words) == DOUBLE:
        words[0], words[3] = double_double.add(words[0], words[3], b)
    else:
        words[0] += b
    if len(words) > VALUE:
        words[1] += np.abs(b)
        words[2] += b * b
    return Sums(words, sums.tap_counts + 1)


def _bias_gradient(device: Device[Any], dy: Any, mode: int) -> Sums:
    """Contract dy with ones: every output site of a channel is a tap of its bias."""
    batch, _, *size = dy.shape
    d, h, w = (Axis(extent, extent, 1, 1, 1, 0) for extent in size)
    ones = np.ones((batch, 1, *size))
    return weight_gradient(device, device.operand("ones", ones, ones.shape), dy, (d, h, w), 1, mode)
