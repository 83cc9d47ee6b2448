"""Complex layers as real ones with twice the channels.

Channel c becomes the channels 2c, its real part, and 2c + 1, its imaginary part; a weight w becomes the 2×2 matrix
(wr −wi; wi wr) that multiplies by it. So an element's taps are the products of the textbook formula, xr·wr − xi·wi and
xr·wi + xi·wr, and NaN and Inf are what these sums make of them, also where C's Annex G would recover an Inf.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import COMPONENTS
from convfuzz.oracle import double_double, operands
from convfuzz.oracle.expectation import Expectation, Float64Array

Array = npt.NDArray[Any]
RealReference = Callable[[ConvConfig, Float64Array, Float64Array, Float64Array | None], Expectation]
RealGradients = Callable[[ConvConfig, Float64Array, Float64Array, Float64Array], dict[str, Expectation]]


def reference(config: ConvConfig, x: npt.ArrayLike, w: npt.ArrayLike, b: npt.ArrayLike | None, real: RealReference) -> Expectation:
    """Compute a complex layer's output by ``real``, the reference of real layers."""
    bias = None if b is None else operands.parts("b", b, (config.out_channels,)).ravel()
    found = real(_real_layer(config), _input(config, x), _weight(config, w), bias)
    return _with_parts(found, _channel_axis(config))


def gradients(config: ConvConfig, x: npt.ArrayLike, w: npt.ArrayLike, dy: npt.ArrayLike, real: RealGradients) -> dict[str, Expectation]:
    """Compute a complex layer's gradients by ``real``, the gradients of real layers."""
    axis = _channel_axis(config)
    output_gradient = _as_channels(operands.parts("dy", dy, config.output_shape), axis)
    found = real(_real_layer(config), _input(config, x), _weight(config, w), output_gradient)
    in_parts: dict[str, Callable[[Expectation], Expectation]] = {
        "grad_input": lambda sums: _with_parts(sums, axis),
        "grad_weight": lambda sums: _weight_gradient(config, sums),
        "grad_bias": lambda sums: _with_parts(sums, 0),
    }
    return {name: in_parts[name](sums) for name, sums in found.items()}


def _real_layer(config: ConvConfig) -> ConvConfig:
    return config.replace(in_channels=2 * config.in_channels, out_channels=2 * config.out_channels, dtype=COMPONENTS[config.dtype])


def _channel_axis(config: ConvConfig) -> int:
    return 0 if config.batch is None else 1


def _input(config: ConvConfig, x: npt.ArrayLike) -> Float64Array:
    return _as_channels(operands.parts("x", x, config.input_shape), _channel_axis(config))


def _weight(config: ConvConfig, w: npt.ArrayLike) -> Float64Array:
    """Return every weight as its matrix: two rows and two columns of channels."""
    parts = operands.parts("w", w, config.weight_shape)
    rows, columns, *kernel = config.weight_shape
    matrices = np.empty((rows, 2, columns, 2, *kernel))
    matrices[:, 0, :, 0] = matrices[:, 1, :, 1] = parts[..., 0]
    matrices[:, 0, :, 1] = _upper_sign(config) * parts[..., 1]
    matrices[:, 1, :, 0] = -_upper_sign(config) * parts[..., 1]
    return matrices.reshape(2 * rows, 2 * columns, *kernel)


def _upper_sign(config: ConvConfig) -> float:
    """Return the sign of wi in the matrix's upper right corner; a transposed convolution's weight has input channels as rows."""
    return -1.0 if config.op == "conv" else 1.0


def _weight_gradient(config: ConvConfig, found: Expectation) -> Expectation:
    """Add up what the entries of each weight's matrix receive: wr is in those of the diagonal, ±wi in the other two."""
    rows, columns, *kernel = config.weight_shape

    def entries(*places: tuple[int, int]) -> Expectation:
        def gathered(values: Array) -> Array:
            matrices = values.reshape(rows, 2, columns, 2, *kernel)
            return np.stack([matrices[:, row, :, column] for row, column in places], axis=-1)

        return _each(found, gathered)

    upper, lower = entries((0, 0), (0, 1)), entries((1, 1), (1, 0))
    above, below = np.array([1.0, _upper_sign(config)]), np.array([1.0, -_upper_sign(config)])
    y, y_lo = above * upper.y + below * lower.y, None
    if upper.y_lo is not None and lower.y_lo is not None:
        y, y_lo = double_double.add(above * upper.y, above * upper.y_lo, below * lower.y, below * lower.y_lo)
    return Expectation(y, y_lo, S=_total(upper.S, lower.S), Q=_total(upper.Q, lower.Q), n=upper.n + lower.n)


def _total(a: Float64Array | None, b: Float64Array | None) -> Float64Array | None:
    return None if a is None or b is None else a + b


def _as_channels(parts: Float64Array, axis: int) -> Float64Array:
    """Give the parts, the last axis, neighbouring places on the channel axis."""
    shape = parts.shape[:-1]
    return np.moveaxis(parts, -1, axis + 1).reshape(*shape[:axis], 2 * shape[axis], *shape[axis + 1 :])


def _with_parts(found: Expectation, axis: int) -> Expectation:
    """Undo :func:`_as_channels` in every array."""
    shape = found.y.shape
    split = (*shape[:axis], shape[axis] // 2, 2, *shape[axis + 1 :])
    return _each(found, lambda values: np.moveaxis(values.reshape(split), axis + 1, -1))


def _each(found: Expectation, change: Callable[[Array], Array]) -> Expectation:
    y_lo, s, q = (None if values is None else change(values) for values in (found.y_lo, found.S, found.Q))
    return Expectation(change(found.y), y_lo, s, q, change(found.n))
