"""Operands in the memory of a PyTorch device: as they lie on the host, amid poison; what a call does to them is brought back."""

from __future__ import annotations

import inspect
import math
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from convfuzz.backends.arrays import to_numpy, to_torch
from convfuzz.case import Case
from convfuzz.tensors.generator import Tensors

AROUND = 256
"""Bytes of poison behind an operand; its place in its buffer is kept up to multiples of this, which no alignment that matters exceeds."""
_BLOCKS = 2
_SMALL, _RESERVE = 2**20, 2**27
"""The largest block that comes from segments for small ones, and how much of the others is reserved."""
_POISON = 0xFF
"""A byte of which NaN is made in every format, and −1."""


def placed(array: npt.NDArray[Any], host: Any, device: str) -> Any:
    """Return a tensor of the host on a device, in a buffer of its own: with its strides, and as far from the buffer's beginning.

    ``host`` shares the memory of ``array``. What lies between its elements is as it is there; what lies around them is NaN, or
    the largest integer.
    """
    buffer = array
    while isinstance(buffer.base, np.ndarray):
        buffer = buffer.base
    offset = (array.ctypes.data - buffer.ctypes.data) % 256 // array.itemsize
    extent = 1 + sum((size - 1) * stride for size, stride in zip(host.shape, host.stride(), strict=True)) if host.numel() else 0
    is_whole = not (host.is_floating_point() or host.is_complex() or host.dtype == torch.bool)
    around = torch.iinfo(host.dtype).max if is_whole else float("nan")
    size = offset + max(extent, host.numel()) + 256 // array.itemsize  # room for code that takes a repeated axis for a real one
    room = torch.full((size,), around, dtype=host.dtype, device=device)
    room[offset : offset + extent].copy_(host.as_strided((extent,), (1,)))
    return room.as_strided(host.shape, host.stride(), offset)


@cache
def placed_source() -> str:
    """Return the source of :func:`placed` for a reproduction script, where NumPy is ``np`` and PyTorch is imported."""
    return "def placed(array, host, device):\n" + inspect.getsource(placed).partition(":\n")[2]


def poison(sizes: list[int], device: str) -> None:
    """Fill free memory of a device with NaN: two blocks of each size in bytes, from where the next tensors of these sizes come.

    PyTorch's allocator keeps what is freed and hands it out again on the same stream. All blocks are held at once, so that none
    is filled twice.
    """
    held = [torch.empty(size, dtype=torch.uint8, device=device).fill_(_POISON) for size in sizes for _ in range(_BLOCKS)]
    del held


def poison_everything(device: str) -> None:
    """Fill what PyTorch's allocator holds and has not handed out on a CUDA device with NaN, and have it hold more.

    For calls whose outputs have sizes that nobody knows: small ones come from the first blocks, large ones from the last, and what is
    free between others from blocks of its very size.
    """
    free, _ = torch.cuda.mem_get_info()
    poison([*[_SMALL] * 8, min(_RESERVE, free // 8)], device)
    sizes = []
    snapshot: Any = torch.cuda.memory_snapshot  # as untyped as it is
    for segment in snapshot():
        for block in segment["blocks"]:
            if block["state"] == "inactive":
                most = _SMALL if segment["segment_type"] == "small" else block["size"]
                sizes += [most] * (block["size"] // most) + [block["size"] % most] * (block["size"] % most > 0)
    held = [torch.empty(size, dtype=torch.uint8, device=device).fill_(_POISON) for size in sorted(sizes, reverse=True)]
    del held


class HandOver:
    """The operands of one call on a device."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._there: dict[int, tuple[Any, Any]] = {}

    def begin(self, case: Case, tensors: Tensors) -> None:
        """Poison the device's memory before a call: where its operands, its results and its working memory will come from."""
        self._there.clear()
        if self._device == "meta":
            return
        sizes = [array.nbytes + AROUND for array in tensors.named().values()]
        if case.config.is_valid:
            sizes += [math.prod(case.shape_of(in_pass)) * tensors.x.itemsize for in_pass in case.passes]
        poison(sizes, self._device)

    def tensor(self, array: npt.NDArray[Any]) -> Any:
        """Return an operand on the device."""
        there = placed(array, to_torch(array), self._device)
        if self._device != "meta":
            self._there[id(array)] = there, _bytes(there).clone()
        return there

    def end(self, tensors: Tensors) -> None:
        """Bring back operands that the call has changed, so that the change is seen on the host."""
        for array in tensors.named().values():
            there, before = self._there.get(id(array), (None, None))
            if there is not None and not torch.equal(_bytes(there), before):  # compared there: one truth value comes back
                array[...] = to_numpy(there)
        self._there.clear()


def _bytes(there: Any) -> Any:
    """Return the buffer around a tensor as bytes."""
    size = there.untyped_storage().nbytes() // there.element_size()
    return there.detach().as_strided((size,), (1,), 0).view(torch.uint8)
