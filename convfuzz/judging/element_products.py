"""The products that chosen elements of a result are the sums of, gathered through the relation of sites and taps.

Axis by axis, tap k connects the narrow site o (a convolution's output) with the wide site i (its input) where
i = o·stride + k·dilation − lo. Each pass is a sum over two of the three: wide sites and taps, narrow sites and taps, or both
kinds of sites.
"""

from __future__ import annotations

import math
from functools import reduce

import numpy as np
import numpy.typing as npt

from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import is_complex
from convfuzz.tensors.generator import Array, Tensors

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
_NOWHERE = -1


def products_in_two_orders(config: ConvConfig, tensors: Tensors, in_pass: str, elements: Indices) -> Floats:
    """Return the products of each element, in float64, channel by channel, then site by site: (2, products, elements).

    ``elements`` has a line for each element: its index in the result as the reference has it, complex ones with the part last.
    What falls on padding is 0. The bias is the last product of a forward pass.
    """
    has_parts = is_complex(config.dtype)
    left, right, there = _factors(config, tensors, in_pass, elements[:, :-1] if has_parts else elements)
    if has_parts:
        kinds = _complex_products(left, right, there, elements[:, -1], conjugate=in_pass != "forward")
    else:
        kinds = [np.where(there, left * right, 0.0)]
    each = math.prod(kinds[0].shape[1:])
    made = np.empty((2, len(kinds) * each, len(elements)))
    for kind, products in enumerate(kinds):
        of_kind = slice(kind * each, (kind + 1) * each)
        made[0, of_kind] = products.reshape(len(elements), each).T
        made[1, of_kind] = np.moveaxis(products, 1, -1).reshape(len(elements), each).T
    if in_pass == "forward" and tensors.b is not None:
        bias = _wide(tensors.b)[elements[:, -config.dims - 1 - has_parts]]
        bias = np.where(elements[:, -1] == 0, bias.real, bias.imag) if has_parts else bias
        made = np.concatenate([made, np.broadcast_to(bias, (2, 1, len(elements)))], axis=1)
    return made


def operand_pairs(config: ConvConfig, tensors: Tensors, in_pass: str, element: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Return the two factors of every product of one element of a real layer, without the bias and what falls on padding."""
    left, right, there = np.broadcast_arrays(*_factors(config, tensors, in_pass, np.array([element], dtype=np.int64)))
    return left[there].real, right[there].real


def product_count(config: ConvConfig, in_pass: str) -> int:
    """Return how many products are gathered for an element, those on padding among them."""
    kernel, narrow = math.prod(config.kernel_size), config.output_size if config.op == "conv" else config.input_size
    rows, columns = config.weight_shape[:2]
    per_group = rows // max(config.groups, 1)
    parts = 1 + is_complex(config.dtype)
    if in_pass in ("grad_weight", "grad_bias"):
        return parts * (config.batch or 1) * math.prod(narrow if in_pass == "grad_weight" else config.output_size)
    to_narrow = (in_pass == "forward") == (config.op == "conv")
    copies = math.prod(1 + max(lo, 0) + max(hi, 0) for lo, hi in config.pads) if config.padding_mode != "zeros" and not to_narrow else 1
    return parts * (columns if to_narrow else per_group * copies) * kernel + config.bias


def _complex_products(a: Array, b: Array, there: Array, part: Indices, *, conjugate: bool) -> list[Floats]:
    """Return the real products of complex ones: those of real parts, and those of imaginary ones."""
    b = np.conj(b) if conjugate else b
    part = _lifted(part, there.ndim - 1)
    first = a.real * np.where(part == 0, b.real, b.imag)
    second = a.imag * np.where(part == 0, -b.imag, b.real)
    return [np.where(there, first, 0.0), np.where(there, second, 0.0)]


def _factors(config: ConvConfig, tensors: Tensors, in_pass: str, elements: Indices) -> tuple[Array, Array, Array]:
    """Return both factors of every product and where there is one, each (elements, channels or samples, axes of the sum…)."""
    x, w, dy = (np.zeros(0) if a is None else _wide(a) for a in (tensors.x, tensors.w, tensors.dy))
    dims, is_conv = config.dims, config.op == "conv"
    if in_pass == "grad_bias":
        samples = dy if config.batch is not None else dy[None]
        values = np.moveaxis(samples, 1, 0)[elements[:, 0]]
        return values, np.ones((1,) * values.ndim), np.ones(values.shape, dtype=bool)
    if config.batch is None:
        x, dy = x[None], dy[None] if tensors.dy is not None else dy
        if in_pass != "grad_weight":
            elements = np.concatenate([np.zeros((len(elements), 1), dtype=np.int64), elements], axis=1)
    x, output = _with_sites(x), _with_sites(dy)  # of a gradient; the forward pass sums the input into it
    narrow, wide = (output, x) if is_conv else (x, output)
    columns, rows = w.shape[1], w.shape[0] // config.groups
    at = [elements[:, 2 + axis] for axis in range(dims)]
    if in_pass == "grad_weight":
        row, column = elements[:, 0], elements[:, 1]
        sites = [_wide_sites(config, a, np.arange(_narrow(config)[a])[None, :], at[a][:, None]) for a in range(dims)]
        there = reduce(np.logical_and, _spread([s != _NOWHERE for s in sites]))
        samples = np.arange(len(x)).reshape(1, -1, *(1,) * dims)
        channel = _lifted(row // rows * columns + column, dims + 1)
        read = wide[(samples, channel, *(s[:, None] for s in _spread(sites)))]
        values = np.moveaxis(narrow, 1, 0)[row]
        return (values, read, there[:, None]) if is_conv else (read, values, there[:, None])
    sample, channel, target = elements[:, 0], elements[:, 1], dims + 1
    if (in_pass == "forward") == is_conv:  # wide sites and taps
        sites = [_wide_sites(config, a, at[a][:, None], np.arange(config.kernel_size[a])[None, :]) for a in range(dims)]
        there = reduce(np.logical_and, _spread([s != _NOWHERE for s in sites]))
        channels = (channel // rows * columns)[:, None] + np.arange(columns)
        read = wide[(_lifted(sample, target), channels.reshape(*channels.shape, *(1,) * dims), *(s[:, None] for s in _spread(sites)))]
        return read, w[channel], there[:, None]
    pairs = [_narrow_sites(config, a, at[a]) for a in range(dims)]  # narrow sites and taps
    there = reduce(np.logical_and, _spread([o != _NOWHERE for o, _ in pairs]))
    group, column = channel // columns, channel % columns
    many = ((group * rows)[:, None] + np.arange(rows)).reshape(len(elements), rows, *(1,) * dims)
    read = narrow[(_lifted(sample, target), many, *(o[:, None] for o in _spread([o for o, _ in pairs])))]
    weights = w[(many, _lifted(column, target), *(k[:, None] for k in _spread([k for _, k in pairs])))]
    return read, weights, there[:, None]


def _with_sites(array: Array) -> Array:
    """Return an array that can be indexed: where an axis has no sites nothing is read, and one site stands for nowhere."""
    return array if 0 not in array.shape[2:] else np.zeros((*array.shape[:2], *(max(size, 1) for size in array.shape[2:])), array.dtype)


def _narrow(config: ConvConfig) -> tuple[int, ...]:
    return config.output_size if config.op == "conv" else config.input_size


def _wide_size(config: ConvConfig, axis: int) -> int:
    return (config.input_size if config.op == "conv" else config.output_size)[axis]


def _wide_sites(config: ConvConfig, axis: int, narrow: Indices, taps: Indices) -> Indices:
    """Return the wide site of every narrow site and tap, copies resolved."""
    size = _wide_size(config, axis)
    sites = narrow * config.stride[axis] + taps * config.dilation[axis] - config.pads[axis][0]
    if config.padding_mode == "zeros":
        return np.where((sites >= 0) & (sites < size), sites, _NOWHERE)
    return copied(sites, size, config.padding_mode)


def _narrow_sites(config: ConvConfig, axis: int, wide: Indices) -> tuple[Indices, Indices]:
    """Return the narrow site and the tap of each way to a wide site, through every copy of it: (elements, ways)."""
    kernel, (lo, hi), size = config.kernel_size[axis], config.pads[axis], _wide_size(config, axis)
    stride, dilation, narrow = config.stride[axis], config.dilation[axis], _narrow(config)[axis]
    positions = wide[:, None]
    if config.padding_mode != "zeros":
        every = np.arange(-lo, size + hi)
        matches = copied(every, size, config.padding_mode) == wide[:, None]
        ways = int(matches.sum(axis=1).max(initial=0))
        order = np.argsort(~matches, axis=1, kind="stable")[:, :ways]
        positions = np.where(np.take_along_axis(matches, order, axis=1), every[order], -(2**62))
    taps = np.broadcast_to(np.arange(kernel), (*positions.shape, kernel))
    reach = positions[:, :, None] + lo - taps * dilation
    sites = reach // stride
    there = (reach % stride == 0) & (sites >= 0) & (sites < narrow) & (positions[:, :, None] > -(2**61))
    return (np.where(there, sites, _NOWHERE).reshape(len(wide), -1), taps.reshape(len(wide), -1))


def copied(sites: Indices, size: int, mode: str) -> Indices:
    """Return the site that each padded position copies."""
    if mode == "replicate":
        return np.clip(sites, 0, size - 1)
    if mode == "circular":
        return sites % size
    reflected: Indices = size - 1 - np.abs(size - 1 - np.abs(sites))
    return reflected


def _spread(per_axis: list[Array]) -> list[Array]:
    """Give each axis' (elements, choices) an axis of its own."""
    dims = len(per_axis)
    return [a.reshape(len(a), *(a.shape[1] if other == axis else 1 for other in range(dims))) for axis, a in enumerate(per_axis)]


def _lifted(index: Indices, axes: int) -> Indices:
    return index.reshape(-1, *(1,) * axes)


def _wide(array: Array) -> Array:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
