"""The map of the errors in a result: how many elements are off at each index of each axis, and at each site of a plane."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]

MOST_BINS = 24
"""The most marks for an axis: a longer axis is divided into stretches of equal length."""
_MOST_INDICES = 6
_NONE = "."
_MOST_MARKS = 64
"""The most marks that are read: a file may come from a version that writes more."""

Marks = Annotated[str, msgspec.Meta(pattern=r"\A[.1-9]*\Z", max_length=_MOST_MARKS)]
"""One mark for each index or stretch: ``.`` where no element is off, else their number in ninths of the largest, rounded up."""


class Axis(msgspec.Struct, frozen=True):
    """One axis of a result: its ``size``, its marks, and in words the indices at which an element is off."""

    size: int
    marks: Marks
    indices: Annotated[str, msgspec.Meta(max_length=200)]


class ErrorMap(msgspec.Struct, frozen=True, kw_only=True):
    """Which of the ``elements`` of the result of ``case`` are off: ``over`` of them beyond their tolerance.

    ``axes`` are those of the result in their order; ``plane`` has a row of marks for each index of its last axis but one,
    where its last two are both sites.
    """

    case: str
    elements: int
    over: int
    axes: list[Axis]
    plane: Annotated[list[Marks], msgspec.Meta(max_length=_MOST_MARKS)] = []


def map_errors(case: str, off: Bools, *, sites: int) -> ErrorMap | None:
    """Return the map of a result of ``case`` whose elements are ``off`` where that is true; ``None`` where none is.

    ``sites`` is how many of the last axes are spatial.
    """
    if not off.any():
        return None
    axes = [_axis(off, axis) for axis in range(off.ndim)]
    plane = off.reshape(-1, *off.shape[-2:]).sum(axis=0) if sites >= 2 else np.zeros((0, 0), np.int64)
    return ErrorMap(case=case, elements=off.size, over=int(off.sum()), axes=axes, plane=_marks(_in_stretches(plane)))


def _axis(off: Bools, axis: int) -> Axis:
    counts = off.sum(axis=tuple(other for other in range(off.ndim) if other != axis))
    (marks,) = _marks(_in_stretches(counts.reshape(1, -1)))
    return Axis(off.shape[axis], marks, _indices([int(i) for i in np.nonzero(counts)[0]], off.shape[axis]))


def _in_stretches(counts: Counts) -> Counts:
    """Return the largest count of each stretch, along each axis that has more indices than a map has marks."""
    for axis, size in enumerate(counts.shape):
        each = -(-size // MOST_BINS)
        if each > 1:
            counts = np.maximum.reduceat(counts, np.arange(0, size, each), axis=axis)
    return counts


def _marks(counts: Counts) -> list[str]:
    most = int(counts.max(initial=0))
    return ["".join(str(-(-9 * int(n) // most)) if n else _NONE for n in row) for row in counts]


def _indices(found: list[int], size: int) -> str:
    """Describe the indices in words: ``all``, a list of a few, a range, a range with a step, or their number."""
    if len(found) == size:
        return "all"
    first, last, count = found[0], found[-1], len(found)
    steps = {b - a for a, b in pairwise(found)}
    if count <= 2 or (count <= _MOST_INDICES and len(steps) > 1):
        return ", ".join(map(str, found))
    if steps == {1}:
        return f"{first} to {last}"
    if len(steps) == 1:
        return f"{first} to {last}, every {steps.pop()}"
    return f"{count} of {size}, from {first} to {last}"
