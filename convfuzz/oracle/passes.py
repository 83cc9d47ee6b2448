"""The passes of a convolution layer as a caller asks for them: forward, and the gradient of each operand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from convfuzz.config import ConvConfig
from convfuzz.errors import Unsupported
from convfuzz.oracle import double_double, padding
from convfuzz.oracle.contraction import Axes, Sums, forward, input_gradient, weight_gradient
from convfuzz.oracle.expectation import Expectation, Float64Array
from convfuzz.oracle.kernels import DOUBLE, MOMENTS, VALUE
from convfuzz.oracle.relation import Axis

_EXACT_PRODUCTS = frozenset({"float32", "float16", "bfloat16", "int8"})
"""Dtypes whose products float64 represents; the others are summed in double-double."""

_ieee_arithmetic = np.errstate(over="ignore", invalid="ignore")
"""NaN and Inf are results here, nothing to warn of."""

_FLOAT64_INTEGERS = 2**53


@_ieee_arithmetic
def reference(
    config: ConvConfig, x: npt.ArrayLike, w: npt.ArrayLike, b: npt.ArrayLike | None = None, *, moments: bool = True
) -> Expectation:
    """Compute the layer's output from operands that are already rounded to ``config.dtype``.

    ``x`` has ``config.input_shape``, ``w`` ``config.weight_shape`` and ``b`` ``(config.out_channels,)``, in any NumPy
    dtype and memory layout; the results have ``config.output_shape``. ``config.dtype`` alone decides whether ``y_lo``
    is there. Without ``moments``, ``S`` and ``Q`` are ``None``.

    Raises:
        ValueError: an operand has another shape, or an integer that float64 does not represent.
        Unsupported: the dtype is complex.
    """
    layer = _Layer(config, moments=moments)
    x, w = layer.input(x), layer.weight(w)
    if config.op == "conv":
        sums = forward(layer.padded(x), w, layer.axes, config.groups, layer.mode)
    else:
        sums = input_gradient(x, w, layer.axes, config.groups, layer.mode)
    if b is not None:
        sums = _with_bias(sums, _operand("b", b, (config.out_channels,)))
    return layer.expectation(sums, config.output_shape)


@_ieee_arithmetic
def gradients(config: ConvConfig, x: npt.ArrayLike, w: npt.ArrayLike, dy: npt.ArrayLike, *, moments: bool = True) -> dict[str, Expectation]:
    """Compute the gradients of Σ y·dy: ``"grad_input"``, ``"grad_weight"`` and ``"grad_bias"``.

    ``dy`` has ``config.output_shape``; otherwise as :func:`reference`. Where padding copies an input element, the
    element gathers the taps of all its copies.
    """
    layer = _Layer(config, moments=moments)
    x, w, dy = layer.padded(layer.input(x)), layer.weight(w), layer.output("dy", dy)
    axes, groups, mode = layer.axes, config.groups, layer.mode
    if config.op == "conv":
        grad_input = layer.folded(input_gradient(dy, w, axes, groups, mode))
        grad_weight = weight_gradient(x, dy, axes, groups, mode)
    else:
        grad_input = forward(dy, w, axes, groups, mode)
        grad_weight = weight_gradient(dy, x, axes, groups, mode)
    return {
        "grad_input": layer.expectation(grad_input, config.input_shape),
        "grad_weight": layer.expectation(grad_weight, config.weight_shape),
        "grad_bias": layer.expectation(_bias_gradient(dy, mode), (config.out_channels,)),
    }


class _Layer:
    """One configuration in the terms of the contractions: three spatial axes, a batch axis, float64."""

    def __init__(self, config: ConvConfig, *, moments: bool) -> None:
        if config.dtype.startswith("complex"):
            raise Unsupported(f"the reference sums real products: compute dtype {config.dtype} from real and imaginary parts")
        self.config = config
        self.moments = moments
        self.mode = (MOMENTS if moments else VALUE) if config.dtype in _EXACT_PRODUCTS else DOUBLE
        self.copies = config.op == "conv" and config.padding_mode != "zeros"
        self.axes = _axes(config, copies=self.copies)

    def input(self, x: npt.ArrayLike) -> Float64Array:
        return _lifted(_operand("x", x, self.config.input_shape), self.config)

    def output(self, name: str, y: npt.ArrayLike) -> Float64Array:
        return _lifted(_operand(name, y, self.config.output_shape), self.config)

    def weight(self, w: npt.ArrayLike) -> Float64Array:
        w = _operand("w", w, self.config.weight_shape)
        return w.reshape(*w.shape[:2], *_spatial(w.shape[2:]))

    def padded(self, x: Float64Array) -> Float64Array:
        return padding.pad(x, self.config.pads, self.config.padding_mode) if self.copies else x

    def folded(self, sums: Sums) -> Sums:
        return padding.fold(sums, self.config.pads, self.config.padding_mode) if self.copies else sums

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


def _axes(config: ConvConfig, *, copies: bool) -> Axes:
    axes = []
    for axis in range(config.dims):
        lo, hi = config.pads[axis]
        size, other = config.input_size[axis], config.output_size[axis]
        wide, narrow = (size, other) if config.op == "conv" else (other, size)
        if copies:
            wide, lo = wide + lo + hi, 0
        axes.append(Axis(wide, narrow, config.kernel_size[axis], config.stride[axis], config.dilation[axis], lo))
    d, h, w = [Axis(1, 1, 1, 1, 1, 0)] * (3 - config.dims) + axes
    return d, h, w


def _operand(name: str, values: npt.ArrayLike, shape: tuple[int, ...]) -> Float64Array:
    array = np.asarray(values)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, the configuration says {shape}")
    if array.dtype.kind in "iu" and array.itemsize == 8 and array.size:
        most = max(abs(int(array.min())), abs(int(array.max())))
        if most > _FLOAT64_INTEGERS:
            raise ValueError(f"{name} holds {most}, beyond 2^53: float64 does not represent every such integer")
    return np.ascontiguousarray(array, dtype=np.float64)


def _spatial(size: tuple[int, ...]) -> tuple[int, ...]:
    return (1,) * (3 - len(size)) + size


def _lifted(array: Float64Array, config: ConvConfig) -> Float64Array:
    batch = () if config.batch is not None else (1,)
    leading = array.shape[: array.ndim - config.dims]
    return array.reshape(*batch, *leading, *_spatial(array.shape[array.ndim - config.dims :]))


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


def _bias_gradient(dy: Float64Array, mode: int) -> Sums:
    """Contract dy with ones: every output site of a channel is a tap of its bias."""
    batch, _, *size = dy.shape
    d, h, w = (Axis(extent, extent, 1, 1, 1, 0) for extent in size)
    return weight_gradient(np.ones((batch, 1, *size)), dy, (d, h, w), 1, mode)
