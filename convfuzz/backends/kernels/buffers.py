"""The memory that a kernel is handed: what it may ask of it, its operands in its own order of axes, and the output that it fills."""

from __future__ import annotations

from typing import Any

from convfuzz.backends.kernels.axes import axes_of
from convfuzz.case import Case
from convfuzz.case.dtypes import numpy_dtype
from convfuzz.errors import InvalidConfig
from convfuzz.tensors.generator import Array
from convfuzz.tensors.guards import PAGE, GuardedMemory
from convfuzz.tensors.layouts import Placement, placement, placements
from convfuzz.tensors.poison import unwritten

_ALIGNMENTS = tuple(2**n for n in range(PAGE.bit_length()))


def require_buffers(out: object, alignment: object, extra_bytes: object) -> None:
    """Check what is said of a kernel's buffers.

    Raises:
        InvalidConfig: an option is none of its allowed values.
    """
    if not isinstance(out, bool) and out != "strided":
        raise InvalidConfig(f"out={out!r} is not True or False, nor 'strided'")
    if (alignment is not None and alignment not in _ALIGNMENTS) or isinstance(alignment, bool):
        raise InvalidConfig(f"alignment={alignment!r} is not a power of two from 1 to {PAGE}: bytes, such as 64")
    if not isinstance(extra_bytes, int) or isinstance(extra_bytes, bool) or not 0 <= extra_bytes <= PAGE:
        raise InvalidConfig(f"extra_bytes={extra_bytes!r} is not a number of bytes from 0 to {PAGE}, such as 16")


def misaligned(case: Case, alignment: int) -> str:
    """Say which operand does not begin at a multiple of ``alignment`` bytes in the layout of ``case``; nothing where all do."""
    size = numpy_dtype(case.config.dtype).itemsize
    for name, placed in placements(case.config).items():
        if placed.offset * size % alignment:
            return f"{name} is not aligned to {alignment} bytes in this memory layout, as alignment={alignment} asks"
    return ""


def moved_placements(case: Case, layout: str | None, weight_layout: str | None) -> dict[str, Placement]:
    """Return where each operand lies whose axes are moved: in the memory layout of ``case``, as the kernel sees it."""
    axes = axes_of(case.config, layout, weight_layout)
    placed = placements(case.config, axes)
    return {name: placed[name] for name in axes}


def output_placement(case: Case, layout: str | None, *, strided: bool) -> Placement:
    """Return where the output lies that a kernel fills, its axes in the kernel's order.

    An invalid configuration may have a negative size, which then is none.
    """
    shape = tuple(max(size, 0) for size in case.config.output_shape)
    order = axes_of(case.config, layout, None).get("dy")
    if strided:
        placed = placements(case.config, {"dy": order} if order else None)["dy"]
        if 0 not in placed.strides:  # an output that repeats itself cannot be written
            return placed
    return placement("contiguous", tuple(shape[axis] for axis in order) if order else shape, channels=-1, expanded=-1)


def output_array(placed: Placement, dtype: Any, memory: GuardedMemory | None) -> Array:
    """Return an output that nobody has written to, in ``memory`` where there is one."""
    fresh = unwritten(placed.shape, dtype)
    if memory is None:
        return placed.place(fresh)
    size = dtype.itemsize
    array = memory.allocate("out", placed.shape, tuple(stride * size for stride in placed.strides), dtype, placed.offset * size)
    array[...] = fresh
    return array
