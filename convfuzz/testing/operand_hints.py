"""What a caller who handed in operands that make no layer has probably meant: another dtype, or other axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz.case.config import DTYPES, ConvConfig
from convfuzz.case.dtypes import dtype_name, numpy_dtype
from convfuzz.errors import InvalidConfig

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


def other_dtype(name: str, dtype: np.dtype[Any], given: Mapping[str, Array]) -> str:
    """Say which dtype all operands have without a change of value, for the operand ``name`` that has another than x; or nothing."""
    own = given["x"].dtype
    if np.can_cast(dtype, own):
        return f"hand in {name} as {dtype_name(own)} too, which changes no value"
    if np.can_cast(own, dtype) and dtype_name(dtype) in DTYPES:
        others = " and ".join(other for other, array in given.items() if array.dtype != dtype)
        return (
            f"a layer that widens {dtype_name(own)} to {dtype_name(dtype)} is judged in the wider dtype: hand in {others} as "
            f"{dtype_name(dtype)} too, which changes no value, with an output that is {dtype_name(dtype)}"
        )
    return f"neither holds all values of the other: convert {name} to {dtype_name(own)} as the layer does"


def widened(dtype: np.dtype[Any]) -> str:
    """Say which dtype of a case holds all values of ``dtype``, which is none; or nothing."""
    kinds = (
        ("int32", "int64")
        if dtype.kind in "iu"
        else ("float32", "float64", "complex128")
        if dtype.kind in "fcV" and not dtype.names
        else ()
    )
    wider = next((name for name in kinds if np.can_cast(dtype, numpy_dtype(name))), "")
    return f"{wider} holds all its values: hand in every operand as that" if wider else ""


def other_axes(given: Mapping[str, Array], config: ConvConfig, *, last: bool) -> str:
    """Say which transposition of w, and of x, gives a layer that exists; nothing where none of the usual ones does."""
    x, w = given["x"], given["w"]
    for x_order, x_called, w_order, w_called in _orders(config, x.ndim, last=last):
        if _fits(_permuted(x.shape, x_order), _permuted(w.shape, w_order), config, last=last):
            meant = [
                f"numpy.transpose({name}, {order}) if {name} is {called}"
                for name, order, called in (("x", x_order, x_called), ("w", w_order, w_called))
                if called
            ]
            return f"the shapes fit with {' and '.join(meant)}"
    return ""


def _orders(config: ConvConfig, ndim: int, *, last: bool) -> Iterator[tuple[Shape, str, Shape, str]]:
    """Yield permutations of x and w to the expected order, and what they are called before; the fewest changes first."""
    dims, batched = config.dims, ndim == config.dims + 2
    kernel, lead = tuple(range(dims)), (0,) * batched
    x_own, w_own = (tuple(range(ndim)), ""), (tuple(range(dims + 2)), "")
    outer, inner = ("out", "in / groups") if config.op == "conv" else ("in", "out / groups")
    spatial = tuple(range(len(lead), ndim - 1))
    if last:  # expected: (N, *spatial, C) and (*kernel, inner, outer)
        x_others = [((*lead, *(a + 1 for a in spatial), len(lead)), f"({'N, ' * batched}C, *spatial)")]
        w_others = [
            ((*(a + 2 for a in kernel), 1, 0), f"({outer}, {inner}, *kernel)"),
            ((*(a + 1 for a in kernel), dims + 1, 0), f"({outer}, *kernel, {inner})"),
            ((*kernel, dims + 1, dims), f"(*kernel, {outer}, {inner})"),
        ]
    else:
        x_others = [((*lead, ndim - 1, *spatial), f"({'N, ' * batched}*spatial, C)")]
        w_others = [
            ((0, dims + 1, *(a + 1 for a in kernel)), f"({outer}, *kernel, {inner})"),
            ((dims + 1, dims, *kernel), f"(*kernel, {inner}, {outer})"),
            ((1, 0, *(a + 2 for a in kernel)), f"({inner}, {outer}, *kernel)"),
        ]
    yield from ((*x_own, *other) for other in w_others)
    yield from ((*other, *w_own) for other in x_others)
    yield from ((*x_other, *w_other) for x_other in x_others for w_other in w_others)


def _permuted(shape: Shape, order: Shape) -> Shape:
    return tuple(shape[axis] for axis in order)


def _fits(x: Shape, w: Shape, config: ConvConfig, *, last: bool) -> bool:
    """Whether operands of these shapes make a layer with the other parameters as they are."""
    dims = config.dims
    lead, spatial, channels = (x[: -dims - 1], x[-dims - 1 : -1], x[-1]) if last else (x[: -dims - 1], x[-dims:], x[-dims - 1])
    kernel, inner, outer = (w[:dims], w[dims], w[dims + 1]) if last else (w[2:], w[1], w[0])
    out = outer if config.op == "conv" else inner * config.groups
    if (outer if config.op == "conv" else channels) == 0:
        return False
    try:
        layer = config.replace(
            batch=lead[0] if lead else None, in_channels=channels, out_channels=out, input_size=spatial, kernel_size=kernel
        )
    except InvalidConfig:
        return False
    return layer.is_valid and layer.weight_shape == (outer, inner, *kernel)
