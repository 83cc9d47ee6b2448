"""Which elements of a large result are judged: boxes of sites at every border, every residue and the ends of every plausible tile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

Interval = tuple[int, int]
Box = tuple[Interval, ...]

TILES = (4, 8, 16, 32, 64, 128, 256)
"""Sizes of tiles that kernels compute at a time; a mistake is often in the last one, which is not whole."""
RESIDUES = 64
"""So many indices in a row have every residue modulo 2 … 64."""
_DRAWN = 8
"""How many intervals of each axis are anywhere."""


def sampled_boxes(shape: Sequence[int], sites: int, draw: np.random.Generator) -> list[Box]:
    """Return disjoint boxes of about ``sites`` sites each, in a grid of ``shape``, whose first axis is the samples.

    All corners are among them, and of each axis: the first and last indices, the ends of its tiles, and a run of 64. Which
    indices of one axis meet which of another is drawn.
    """
    if 0 in shape:
        return []
    sides = _sides(shape, sites)
    first = [(0, min(side, size)) for side, size in zip(sides, shape, strict=True)]
    last = [(max(size - side, 0), size) for side, size in zip(sides, shape, strict=True)]
    corners = list(product(*(dict.fromkeys(ends) for ends in zip(first[1:], last[1:], strict=True))))
    ends = (first[0], last[0])
    boxes: list[Box] = [(first[0], *corners[0]), (last[0], *corners[-1])]
    boxes += [(ends[number % 2], *corner) for number, corner in enumerate(corners)]
    along = [_intervals(size, side, draw) for size, side in zip(shape, sides, strict=True)]
    boxes += list(zip(*_in_any_order(along, draw), strict=True))
    for axis, size in enumerate(shape):
        start = int(draw.integers(max(size - RESIDUES, 0) + 1))
        run = (start, min(start + RESIDUES, size))
        thin = _sides([1 if a == axis else extent for a, extent in enumerate(shape)], max(sites // RESIDUES, 1))
        boxes.append(tuple(run if a == axis else _at(int(draw.integers(shape[a])), thin[a], shape[a]) for a in range(len(shape))))
    return _disjoint(boxes)


def _sides(shape: Sequence[int], sites: int) -> list[int]:
    """Return the sides of a box of about so many sites in one sample: even ones, longer where another axis is too short for its own."""
    sides, left = [1] * len(shape), max(sites, 1)
    for number, axis in enumerate(sorted(range(1, len(shape)), key=lambda a: shape[a])):
        even = int(left ** (1.0 / (len(shape) - 1 - number)) + 1e-9)
        sides[axis] = max(min(even, shape[axis]), 1)
        left //= sides[axis]
    return sides


def _at(middle: int, side: int, size: int) -> Interval:
    start = min(max(middle - side // 2, 0), max(size - side, 0))
    return start, min(start + side, size)


def _intervals(size: int, side: int, draw: np.random.Generator) -> list[Interval]:
    """Return the intervals of an axis that the sample has to hold: both sides of each edge of a tile, borders, and drawn ones."""
    edges = [edge for tile in TILES for edge in (tile, size // tile * tile) if 0 < edge < size]
    middles = [0, size - 1, *edges, *([edge - 1 for edge in edges] if side == 1 else []), *draw.integers(size, size=_DRAWN).tolist()]
    return list(dict.fromkeys(_at(middle, side, size) for middle in middles))


def _in_any_order(along: list[list[Interval]], draw: np.random.Generator) -> list[list[Interval]]:
    """Put the intervals of each axis into an order that is drawn, as often as the axis with most of them takes."""
    most = max(map(len, along))
    return [[intervals[k % len(intervals)] for k in draw.permutation(most)] for intervals in along]


def _disjoint(boxes: Sequence[Box]) -> list[Box]:
    """Return boxes that cover the same sites, each once."""
    kept: list[Box] = []
    for box in boxes:
        parts = [box]
        for other in kept:
            parts = [rest for part in parts for rest in _without(part, other)]
        kept += parts
    return kept


def _without(box: Box, other: Box) -> Iterator[Box]:
    """Yield what is left of a box without another one, as boxes."""
    if any(stop <= low or start >= high for (start, stop), (low, high) in zip(box, other, strict=True)):
        yield box
        return
    inside = list(box)
    for axis, ((start, stop), (low, high)) in enumerate(zip(box, other, strict=True)):
        for part in ((start, low), (high, stop)):
            if part[0] < part[1]:
                yield (*inside[:axis], part, *inside[axis + 1 :])
        inside[axis] = (max(start, low), min(stop, high))
