"""The packed image of a source: what consecutive output sites read lies consecutively, whatever stride and padding."""

from __future__ import annotations

import numpy as np

from convfuzz.oracle.expectation import Float64Array, Int64Array
from convfuzz.oracle.jit import compiled

LANES = 8
"""Elements of the widest vector: runs are rounded up to whole vectors, and an image has as many elements to spare."""


@compiled
def pack(
    source: Float64Array,
    groups: int,
    step: tuple[int, int, int],
    extent: tuple[int, int, int],
    origins_d: Int64Array,
    origins_h: Int64Array,
    origins_w: Int64Array,
) -> Float64Array:
    """Lay out the source as (N · groups, channels · planes · extent), zero where a plane reaches outside it."""
    batch, channels, size_d, size_h, size_w = source.shape
    fan, row = channels // groups, extent[2]
    rows = fan * origins_d.size * origins_h.size * origins_w.size * extent[0] * extent[1]
    image = np.empty((batch * groups, rows * row + LANES), np.float64)
    # Positions begin[a] to end[a] of plane a lie inside the source along the last axis.
    begin = np.minimum(np.maximum(-(origins_w // step[2]), 0), row)
    end = np.maximum(np.minimum((size_w - 1 - origins_w) // step[2] + 1, row), begin)
    for b in range(batch * groups):
        image[b, rows * row :] = 0.0
        at = 0
        for c in range(fan):
            planes = source[b // groups, (b % groups) * fan + c]
            for d0 in origins_d:
                for h0 in origins_h:
                    for a in range(origins_w.size):
                        for i in range(extent[0]):
                            for j in range(extent[1]):
                                # A site beyond int64 wraps around to one that is outside the source as well.
                                d, h = d0 + i * step[0], h0 + j * step[1]
                                packed = image[b, at : at + row]
                                if 0 <= d < size_d and 0 <= h < size_h:
                                    _pack_row(packed, planes[d, h], origins_w[a], step[2], begin[a], end[a])
                                else:
                                    packed[:] = 0.0
                                at += row
    return image


@compiled
def _pack_row(packed: Float64Array, line: Float64Array, origin: int, step: int, begin: int, end: int) -> None:
    for q in range(begin):
        packed[q] = 0.0
    for q in range(end, packed.size):
        packed[q] = 0.0
    inside, part = packed[begin:end], line[origin + begin * step :]
    for q in range(inside.size):
        inside[q] = part[q * step]
