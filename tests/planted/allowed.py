"""What the results of a layer are, from PyTorch in its widest dtypes, and how far a correct sum may be from them, by Higham's bound."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from convfuzz.case.dtypes import component_format, is_complex, is_integer, numpy_dtype

from .dense import layer

if TYPE_CHECKING:
    from convfuzz import Case, ConvConfig
    from convfuzz.tensors.generator import Tensors

    from .receptive_field import Array

_LAYERS: dict[str, tuple[Any, ...]] = {
    "conv": (functional.conv1d, functional.conv2d, functional.conv3d),
    "conv_transpose": (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d),
}


def widened(y: Array) -> Array:
    """Return the values in the widest dtype of their kind, silent about signalling NaN in memory that nobody wrote."""
    with np.errstate(invalid="ignore"):
        return y.astype(np.complex128 if y.dtype.kind == "c" else np.int64 if y.dtype.kind in "iu" else np.float64)


@dataclass(frozen=True)
class Allowed:
    """The value of every element and the largest error that rounding explains: γ_n·S of the sum, then one rounding of the result.

    Of integers the error is zero, and the value wrapped to their dtype.
    """

    value: Array
    error: Array

    def deviates(self, y: Array) -> bool:
        """Return whether some finite element is further from its value than the bound."""
        y = widened(y)
        both = np.isfinite(y) & np.isfinite(self.value)
        error = np.abs(np.subtract(y, self.value, where=both, out=np.zeros_like(y)))
        return bool(np.any(error > self.error, where=both))

    def misplaces_non_finite(self, y: Array) -> bool:
        """Return whether NaN or Inf are elsewhere than in the value."""
        y = widened(y)
        same = (y == self.value) | (np.isnan(y) & np.isnan(self.value))
        return bool(np.any(~same & ~(np.isfinite(y) & np.isfinite(self.value))))


def allowed(case: Case, tensors: Tensors) -> dict[str, Allowed]:
    """Return what a correct kernel may give for these tensors, by pass."""
    config = case.config
    operands = {name: widened(array) for name, array in tensors.named().items()}
    values = _results(case, operands)
    if is_integer(config.dtype):
        wrapped = {name: value.astype(numpy_dtype(config.dtype)).astype(np.int64) for name, value in values.items()}
        return {name: Allowed(value, np.zeros(value.shape)) for name, value in wrapped.items()}
    magnitudes = _results(case, {name: np.abs(array) for name, array in operands.items()})
    return {name: _rounding(config, values[name], magnitudes[name], _terms(case, name)) for name in values}


def _rounding(config: ConvConfig, value: Array, magnitude: Array, n: int) -> Allowed:
    form = component_format(config.dtype)
    u_out = form.unit_roundoff
    widest = form.name == "float64"
    u = 2.0**-53 if widest else 2.0**-24
    if is_complex(config.dtype):
        n *= 4  # real products, with |z| for the magnitude of either part
    gamma = n * u / (1 - n * u) * (2 if widest else 1)  # PyTorch's own sum is one of float64 too
    error = gamma * magnitude
    with np.errstate(invalid="ignore"):
        error = error + u_out * (np.abs(value) + error) + form.smallest_subnormal
    return Allowed(value if is_complex(config.dtype) else _with_overflow(value, form.max, u_out), error)


def _with_overflow(value: Array, most: float, u_out: float) -> Array:
    """Return the values with those that round beyond the largest finite number replaced by Inf."""
    return np.where(np.abs(value) > most * (1 + u_out), np.copysign(np.inf, value), value)


def _terms(case: Case, in_pass: str) -> int:
    """Return the most terms that a sum of the pass has."""
    config = case.config
    per_group, kernel = {"forward": config.in_channels, "grad_input": config.out_channels}, math.prod(config.kernel_size)
    if in_pass in per_group:
        copied = in_pass == "grad_input" and config.padding_mode != "zeros"
        copies = math.prod(1 + max(lo, 0) + max(hi, 0) for lo, hi in config.pads) if copied else 1
        return per_group[in_pass] // config.groups * kernel * copies + config.bias
    windows = config.input_size if (config.op, in_pass) == ("conv_transpose", "grad_weight") else config.output_size
    return (config.batch or 1) * math.prod(windows)


def _results(case: Case, operands: dict[str, Array]) -> dict[str, Array]:
    config = case.config
    if any(0 in array.shape for array in operands.values()):
        return _empty_results(case, operands)
    if config.is_extreme:  # PyTorch lays out the whole output before it is cropped
        return {"forward": layer(operands["x"], operands["w"], operands.get("b"), config)}
    tensors: dict[str, Any] = {name: torch.from_numpy(array.copy()) for name, array in operands.items()}
    x, w, b, dy = (tensors.get(name) for name in ("x", "w", "b", "dy"))
    leaves = {name: leaf for name, leaf in (("grad_input", x), ("grad_weight", w), ("grad_bias", b)) if leaf is not None}
    for leaf in leaves.values():
        leaf.requires_grad_(case.grad)
    batched = tensors["x"] if config.batch is not None else tensors["x"][None]
    y = _layer(config, batched, w, b).reshape(config.output_shape)
    results = {"forward": y.detach().numpy()}
    if case.grad:
        results |= {name: g.numpy() for name, g in zip(leaves, torch.autograd.grad(y, list(leaves.values()), dy), strict=True)}
    return results


def _layer(config: ConvConfig, x: Any, w: Any, b: Any) -> Any:
    compute = _LAYERS[config.op][config.dims - 1]
    if config.op == "conv_transpose":
        # All of it, then cropped: PyTorch takes neither uneven nor negative padding here.
        y = compute(x, w, None, config.stride, 0, 0, config.groups, config.dilation)
        extra = [e for (lo, hi), op in zip(config.pads[::-1], config.output_padding[::-1], strict=True) for e in (-lo, op - hi)]
        y = functional.pad(y, extra)
        return y if b is None else y + b.reshape(-1, *[1] * config.dims)
    sides = [side for pads in reversed(config.pads) for side in pads]
    if any(sides):
        x = functional.pad(x, sides, mode="constant" if config.padding_mode == "zeros" else config.padding_mode)
    return compute(x, w, b, config.stride, 0, config.dilation, config.groups)


def _empty_results(case: Case, operands: dict[str, Array]) -> dict[str, Array]:
    """Return the results of a layer without samples, channels or sites: biases and sums of nothing."""
    results: dict[str, Array] = {name: np.zeros(case.shape_of(name), operands["x"].dtype) for name in case.passes}
    if "b" in operands:
        results["forward"] += operands["b"].reshape(-1, *[1] * case.config.dims)
    if "dy" in operands and "grad_bias" in results:
        batched = operands["dy"] if case.config.batch is not None else operands["dy"][None]
        results["grad_bias"] = batched.sum(axis=(0, *range(2, batched.ndim)))
    return results
