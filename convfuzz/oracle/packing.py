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
    sites, packed = source.ravel(), image.ravel()  # which are no copies: views of rows, made by the thousand, would take most of the time
    at = plane = 0
    for _ in range(batch * groups):
        for _ in range(fan):
            for d0 in origins_d:
                for h0 in origins_h:
                    for a in range(origins_w.size):
                        for i in range(extent[0]):
                            for j in range(extent[1]):
                                # A site beyond int64 wraps around to one that is outside the source as well.
                                d, h = d0 + i * step[0], h0 + j * step[1]
                                site = ((plane + d) * size_h + h) * size_w + origins_w[a] + begin[a] * step[2]
                                first, last = (begin[a], end[a]) if 0 <= d < size_d and 0 <= h < size_h else (row, row)
                                _pack_row(packed, at, row, first, last, sites, site, step[2])
                                at += row
            plane += size_d
        packed[at : at + LANES] = 0.0
        at += LANES
    return image


@compiled
def _pack_row(packed: Float64Array, at: int, row: int, first: int, last: int, sites: Float64Array, site: int, step: int) -> None:
    """Fill in a row from element ``at`` on: its elements ``first`` to ``last`` with sites ``step`` apart, the others with zeros."""
    for q in range(at, at + first):
        packed[q] = 0.0
    for q in range(at + first, at + last):
        packed[q] = sites[site]
        site += step
    for q in range(at + last, at + row):
        packed[q] = 0.0
