"""What Winograd and FFT see of a layer: whole maps, with the sites that no tap reads and the taps that meet no site."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import is_complex
from convfuzz.tensors.generator import Array, Tensors

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def magnitudes(config: ConvConfig, tensors: Tensors, in_pass: str) -> tuple[Floats, Bools]:
    """Return, for each map of a result, the magnitude that a transform's rounding is relative to, and whether NaN or Inf is in it.

    The magnitude is Σ max|x|·Σ|w|, the outer sum over the channels that meet (over the samples in a weight's gradient). Every
    output of a bilinear algorithm is Σ A·(G·w ∘ B·x), so that its rounding is at most a factor of the algorithm times that. NaN
    and Inf are left out of it. Both broadcast against the result.
    """
    if in_pass == "grad_bias":  # a sum, which nobody transforms
        return np.zeros(()), np.zeros((), dtype=bool)
    values = {name: _absolute(array) for name, array in tensors.named().items()}
    groups, columns = config.groups, config.weight_shape[1]
    shape: tuple[int, ...]
    rows = config.weight_shape[0] // groups
    is_conv = config.op == "conv"
    output = values.get("dy", np.zeros(0))
    narrow, wide = (output, values["x"]) if is_conv else (values["x"], output)
    if in_pass == "grad_weight":
        first, second, how, shape = (narrow, "sum", rows), (wide, "max", columns), "ngr,ngc->grc", (groups * rows, columns)
    else:
        to_narrow = (in_pass == "forward") == is_conv
        first = (wide, "max", columns) if to_narrow else (narrow, "max", rows)
        second = (values["w"], "weight", columns)
        how = "ngc,grc->ngr" if to_narrow else "ngr,grc->ngc"
        shape = (-1, groups * (rows if to_narrow else columns))
    left, right = (_reduced(*operand, config) for operand in (first, second))
    magnitude = np.einsum(how, left[0], right[0])
    smeared = np.einsum(how, left[1], np.ones_like(right[1])) + np.einsum(how, np.ones_like(left[1]), right[1]) > 0.0
    if in_pass != "grad_weight" and config.batch is None:
        shape = (shape[1],)
    ones = (1,) * (config.dims + is_complex(config.dtype))
    return _shaped(magnitude, shape, ones), _shaped(smeared, shape, ones)


def _shaped(values: Array, shape: tuple[int, ...], ones: tuple[int, ...]) -> Array:
    if values.size == 0:  # -1 says nothing then
        return np.zeros((1,) * len(shape) + ones, values.dtype)
    return values.reshape(*shape, *ones)


def _reduced(values: Floats, how: str, channels: int, config: ConvConfig) -> tuple[Floats, Floats]:
    """Reduce an operand to a number for each of its maps, (samples or groups, groups or rows, channels), and count its NaN and Inf."""
    bad = ~np.isfinite(values)
    finite = np.where(bad, 0.0, values)
    if how == "weight":
        lead: tuple[int, ...] = (config.groups, config.weight_shape[0] // config.groups, channels)
    else:
        lead = (math.prod(values.shape[: -config.dims - 1]), config.groups, channels)
    sites = math.prod(values.shape[-config.dims :])
    finite, bad = finite.reshape(*lead, sites), bad.reshape(*lead, sites)
    return (finite.max(axis=-1, initial=0.0) if how == "max" else finite.sum(axis=-1)), bad.sum(axis=-1, dtype=np.float64)


def _absolute(array: Array) -> Floats:
    if array.dtype.kind == "c":
        return _absolute(array.real) + _absolute(array.imag)
    absolute: Floats = np.abs(array.astype(np.float64))
    return absolute
