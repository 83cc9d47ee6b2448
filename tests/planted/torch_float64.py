"""What a convolution's value is and how far a correct sum may be from it, from PyTorch in float64 and Higham's bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from convfuzz.dtypes import FLOATS

if TYPE_CHECKING:
    from convfuzz import ConvConfig
    from convfuzz.tensors import Tensors

    from .receptive_field import Array

_CONVOLUTIONS: dict[int, Any] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def widened(y: Array) -> Array:
    """Return the values in float64, silent about signalling NaN in memory that nobody wrote."""
    with np.errstate(invalid="ignore"):
        return y.astype(np.float64)


@dataclass(frozen=True)
class Allowed:
    """The value of every output and the largest error that rounding explains: γ_n·S of the sum, then one rounding of the output."""

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


def allowed(config: ConvConfig, tensors: Tensors) -> Allowed:
    """Return what a correct kernel may give for these tensors."""
    value = _convolve(config, *(None if t is None else t.astype(np.float64) for t in (tensors.x, tensors.w, tensors.b)))
    bias = None if tensors.b is None else np.abs(tensors.b.astype(np.float64))
    magnitude = _convolve(config, np.abs(tensors.x.astype(np.float64)), np.abs(tensors.w.astype(np.float64)), bias)
    form = FLOATS[config.dtype]
    u_out = form.unit_roundoff
    u = 2.0**-53 if config.dtype == "float64" else 2.0**-24
    n = config.taps + config.bias
    gamma = n * u / (1 - n * u) * (2 if config.dtype == "float64" else 1)  # PyTorch's own sum is one of float64 too
    error = gamma * magnitude
    with np.errstate(invalid="ignore"):
        error = error + u_out * (np.abs(value) + error) + form.smallest_subnormal
    return Allowed(_with_overflow(value, form.max, u_out), error)


def _with_overflow(value: Array, most: float, u_out: float) -> Array:
    """Return the values with those that round beyond the largest finite number replaced by Inf."""
    return np.where(np.abs(value) > most * (1 + u_out), np.copysign(np.inf, value), value)


def _convolve(config: ConvConfig, x: Array | None, w: Array | None, b: Array | None) -> Array:
    assert x is not None
    assert w is not None
    if 0 in x.shape or 0 in w.shape:
        bias = np.zeros(config.out_channels) if b is None else b
        return np.broadcast_to(bias.reshape(-1, *[1] * config.dims), config.output_shape).copy()
    image = torch.from_numpy(np.ascontiguousarray(x if config.batch is not None else x[None]))
    sides = [side for pads in reversed(config.pads) for side in pads]
    mode = "constant" if config.padding_mode == "zeros" else config.padding_mode
    if any(sides):
        image = functional.pad(image, sides, mode=mode)
    bias_tensor = None if b is None else torch.from_numpy(b.copy())
    weight = torch.from_numpy(np.ascontiguousarray(w))
    convolution = _CONVOLUTIONS[config.dims]
    y: Array = convolution(image, weight, bias_tensor, config.stride, 0, config.dilation, config.groups).numpy()
    return y.reshape(config.output_shape)
