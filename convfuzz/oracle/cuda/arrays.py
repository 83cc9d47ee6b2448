"""Arrays in a device's memory: copied there from NumPy, or found there by their ``__cuda_array_interface__``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import ml_dtypes
import numpy as np
import numpy.typing as npt
from numba import cuda

_BFLOAT16 = "<V2"
"""How the interface names bfloat16, which neither it nor Numba's kernels have."""


@dataclass(frozen=True, eq=False)
class DeviceArray:
    """Elements on the device, and how they are arranged.

    ``layout`` has this array's shape, and one byte per element where the elements lie, which nobody reads or writes: it
    is there for NumPy's arithmetic on views.
    """

    memory: Any
    layout: npt.NDArray[np.int8]

    @classmethod
    def copied(cls, array: npt.NDArray[Any]) -> Self:
        """Copy a C-contiguous array to the device."""
        return cls(cuda.to_device(array.reshape(-1)), np.empty(array.shape, np.int8))

    @property
    def shape(self) -> tuple[int, ...]:
        """The extent of each axis."""
        return self.layout.shape

    @property
    def strides(self) -> tuple[int, ...]:
        """How many elements apart neighbours along each axis lie."""
        return self.layout.strides

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.layout.size

    def reshape(self, *shape: int) -> Self:
        """Return a view with axes split, merged or added.

        Raises:
            ValueError: there is no such view.
        """
        return replace(self, layout=self.layout.reshape(shape, copy=False))

    def transpose(self, *axes: int) -> Self:
        """Return a view with the axes in this order."""
        return replace(self, layout=self.layout.transpose(axes))


def found(values: Any) -> Any:
    """Return an operand that lies on the device as a :class:`DeviceArray`, or as NumPy's if kernels cannot read its elements.

    Anything else is returned as it is.

    Raises:
        ValueError: it lies there in descending order.
    """
    interface = getattr(values, "__cuda_array_interface__", None)
    if interface is None:
        return values
    dtype = np.dtype(interface["typestr"])
    # Wider integers may lie beyond 2^53, which is for the host to find out.
    readable = dtype.kind == "f" or (dtype.kind in "iu" and dtype.itemsize < 8)
    return _view(values, interface) if readable else on_host(values)


def on_host(values: Any) -> Any:
    """Return a NumPy copy of an array on the device; anything else as it is."""
    interface = getattr(values, "__cuda_array_interface__", None)
    if interface is None:
        return values
    bfloat16 = interface["typestr"] == _BFLOAT16
    view = _view(values, {**interface, "typestr": "<u2"} if bfloat16 else interface)
    memory = view.memory.copy_to_host()
    array = np.ndarray(view.shape, memory.dtype, memory, 0, [step * memory.itemsize for step in view.strides])
    return array.view(ml_dtypes.bfloat16) if bfloat16 else array


def _view(values: Any, interface: Mapping[str, Any]) -> DeviceArray:
    """Return the elements of ``values`` where they lie, from the first to the last in memory."""
    shape, dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
    if math.prod(shape) == 0:
        return DeviceArray.copied(np.empty(shape, dtype))
    strides = interface.get("strides")
    if strides is None:
        layout = np.empty(shape, np.int8)
        extent = layout.size
    else:
        if min(strides) < 0 or any(stride % dtype.itemsize for stride in strides):
            raise ValueError(f"strides {strides} of {dtype} elements on the device: make the array contiguous first")
        steps = [stride // dtype.itemsize for stride in strides]
        extent = 1 + sum((size - 1) * step for size, step in zip(shape, steps, strict=True))
        layout = np.ndarray(shape, np.int8, np.empty(extent, np.int8), 0, steps)
    memory = cuda.from_cuda_array_interface({**interface, "shape": (extent,), "strides": None}, owner=values)
    return DeviceArray(memory, layout)
