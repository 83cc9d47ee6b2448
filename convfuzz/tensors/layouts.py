"""How an array lies in memory: the layouts of a case as buffer size, offset and strides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz.case.config import ConvConfig
from convfuzz.tensors.poison import canary_value

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Placement:
    """A view of ``shape`` in a one-dimensional buffer of ``size`` elements, in units of elements."""

    shape: tuple[int, ...]
    size: int
    offset: int
    strides: tuple[int, ...]

    @property
    def is_plain(self) -> bool:
        """Whether this is what a freshly allocated array has."""
        return self.offset == 0 and self.strides == _row_major(self.shape)

    def empty(self, dtype: np.dtype[Any]) -> Array:
        """Return the view of a new buffer, in which what lies between is NaN, or the largest integer."""
        is_dense = self.size == math.prod(self.shape) and 0 not in self.strides  # so that nothing lies between
        buffer = np.empty(self.size, dtype) if is_dense else np.full(self.size, canary_value(dtype), dtype)
        strides = tuple(stride * buffer.itemsize for stride in self.strides)
        # As bytes, since bfloat16 is nothing that the buffer protocol knows.
        view: Array = np.ndarray(self.shape, buffer.dtype, buffer.view(np.uint8), self.offset * buffer.itemsize, strides)
        return view

    def place(self, values: Array) -> Array:
        """Copy ``values`` into a new buffer and return the view of them; what lies between is NaN, or the largest integer.

        Along an axis of stride 0 the first slice serves for all.
        """
        view = self.empty(values.dtype)
        view[...] = values[tuple(slice(1) if stride == 0 else slice(None) for stride in self.strides)]
        return view


def placement(layout: str, shape: tuple[int, ...], *, channels: int, expanded: int) -> Placement:
    """Return where an array of ``shape`` lies in one of :data:`~convfuzz.case.config.LAYOUTS`.

    ``channels`` is the axis that goes last in ``channels_last``, ``expanded`` the one with stride 0 in ``expanded``;
    either is negative where the array has none.
    """
    elements = math.prod(shape)
    strides = list(_row_major(shape))
    size, offset = elements, 0
    if layout == "channels_last" and channels >= 0:
        strides = _in_order(shape, [*(axis for axis in range(len(shape)) if axis != channels), channels])
    elif layout == "transposed":
        strides = _in_order(shape, range(len(shape))[::-1])
    elif layout == "non_contiguous":  # every second element of longer rows: code that takes it for contiguous reads the gaps
        row = 2 * shape[-1] + 1
        strides = [*_row_major((*shape[:-1], row))[:-1], 2]
        size, offset = math.prod(shape[:-1]) * row, 1
    elif layout == "offset":  # at an odd element of the buffer, so that no vector of it is aligned
        size, offset = elements + 1, 1
    elif layout == "expanded" and expanded >= 0 and shape[expanded] > 1:
        strides = list(_row_major((*shape[:expanded], 1, *shape[expanded + 1 :])))
        strides[expanded] = 0
    elif layout == "loose_strides":  # the stride of an axis of size 1 is never used, and so may be anything
        strides = [7 * elements + 3 if extent == 1 else stride for extent, stride in zip(shape, strides, strict=True)]
    return Placement(shape, max(size, 1), offset, tuple(strides))


def placements(config: ConvConfig, axes: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, Placement]:
    """Return the placement of every operand of a layer: ``x``, ``w``, ``b`` and the output's gradient ``dy``.

    With ``axes`` an operand's axes are in that order, and its layout is that of the array that results.
    """
    batched = config.batch is not None
    weight_layout = config.weight_layout or config.layout
    images = {"channels": int(batched), "expanded": int(batched and (config.batch or 0) < 2)}
    kernels = {"channels": 1, "expanded": 0 if config.op == "conv" else 1}
    gradients = {"channels": int(batched), "expanded": int(batched)}
    output_shape = tuple(max(size, 0) for size in config.output_shape)

    def placed(name: str, layout: str, shape: tuple[int, ...], special: Mapping[str, int]) -> Placement:
        order = (axes or {}).get(name)
        if order is None:
            return placement(layout, shape, **special)
        where = {axis: order.index(special[axis]) for axis in special}
        return placement(layout, tuple(shape[axis] for axis in order), **where)

    return {
        "x": placed("x", config.layout, config.input_shape, images),
        "w": placed("w", weight_layout, config.weight_shape, kernels),
        "b": placed("b", config.layout, (config.out_channels,), {"channels": -1, "expanded": -1}),
        "dy": placed("dy", _gradient_layout(config), output_shape, gradients),
    }


def expands_gradient(config: ConvConfig) -> bool:
    """Whether the output's gradient repeats its first channel.

    It never repeats its first sample, nor a channel if the weight repeats a kernel: the rounding errors in a sum of equal
    products all go to the same side, unlike those in a sum of random products.
    """
    return config.layout == "expanded" and config.weight_layout is not None


def _gradient_layout(config: ConvConfig) -> str:
    return config.layout if config.layout != "expanded" or expands_gradient(config) else "contiguous"


def _row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(_in_order(shape, range(len(shape))))


def _in_order(shape: tuple[int, ...], axes: Any) -> list[int]:
    """Return the strides of an array that is dense with ``axes`` from the slowest to the fastest."""
    strides, step = [0] * len(shape), 1
    for axis in reversed(list(axes)):
        strides[axis] = step
        step *= max(shape[axis], 1)
    return strides
