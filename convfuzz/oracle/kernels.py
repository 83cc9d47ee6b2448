"""The compiled sums over taps: many output sites at a time, many output channels at a time, or one element at a time.

All add the taps of an element in the same order and start from 0.0, so they give the same bits: different elements are
vectorised, never different taps of one element. They are in one module because Numba's cache recompiles a function only
when the file that holds it changes.

Shapes: an *image* is a source as :mod:`.packing` lays it out; *rows* are the other operand, (groups, rows per group,
taps); *sums* are (accumulators, N, channels, D, H, W). All are C-contiguous, so that each function is compiled once.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz.oracle.expectation import Float64Array, Int64Array
from convfuzz.oracle.jit import compiled, fma
from convfuzz.oracle.packing import LANES
from convfuzz.oracle.relation import BEGIN, COUNT, END, FIRST, KERNEL, PLANE, SHIFT, START, STEP

VALUE, MOMENTS, DOUBLE = 1, 3, 4
"""What to sum, as the number of accumulators: y; y, S, Q; y, S, Q and the low word of y."""

Sizes = tuple[int, int, int]
Taps = tuple[Int64Array, Int64Array, Int64Array]
"""*taps* of each axis as :mod:`.relation` has them. *targets* are the first columns of a line of its *table*, a line per axis."""

CALL_COST = 40
"""Overhead of one run, in the time it takes to accumulate so many elements (measured)."""

SITE_BLOCK, CHANNEL_BLOCK, TAP_BLOCK = 512, 128, 128
"""Block sizes that keep a run's accumulators in the first-level cache, and transposed rows in the second (measured)."""


@compiled
def sum_phases(  # noqa: PLR0913, PLR0917 - compiled code takes arrays and tuples, no records
    source: Float64Array,
    image: Float64Array,
    steps: Sizes,
    extent: Sizes,
    planes: Sizes,
    tables: tuple[Int64Array, Int64Array, Int64Array],
    taps: Taps,
    rows: Float64Array,
    clipped: bool,  # noqa: FBT001 - Numba has no keywords
    sums: Float64Array,
) -> None:
    """Sum every phase of three axes, whose *tables* and *taps* are those of :class:`.relation.AxisPlan`, from the packed image.

    Where padding meets Inf or NaN, which ``clipped`` makes possible, elements are summed one by one from the source.
    """
    affected = _non_finite_rows(rows) if clipped else np.zeros(0, np.int64)
    targets = np.empty((3, 3), np.int64)
    pitch = np.array([extent[1] * extent[2], extent[2], 1])
    for d in tables[0]:
        for h in tables[1]:
            for w in tables[2]:
                for column in range(COUNT + 1):
                    targets[0, column], targets[1, column], targets[2, column] = d[column], h[column], w[column]
                along = taps[0][d[BEGIN] : d[END]], taps[1][h[BEGIN] : h[END]], taps[2][w[BEGIN] : w[END]]
                offsets = _offsets(rows.shape[2], along, extent, planes)
                _sum_packed(image, pitch, offsets, _selected(rows, along), targets, sums)
                if affected.size:
                    _sum_one_by_one(source, steps, along, rows, affected, targets, sums)


@compiled
def _non_finite_rows(rows: Float64Array) -> Int64Array:
    """Return the numbers of the rows that hold Inf or NaN."""
    groups, rows_per_group = rows.shape[:2]
    affected = np.empty(groups * rows_per_group, np.int64)
    count = 0
    for row in range(affected.size):
        for weight in rows[row // rows_per_group, row % rows_per_group].ravel():
            if not math.isfinite(weight):
                affected[count] = row
                count += 1
                break
    return affected[:count]


@compiled
def _offsets(fan: int, along: Taps, extent: Sizes, planes: Sizes) -> Int64Array:
    """Return where in the image the first target of a phase meets each tap, in canonical order."""
    taps_d, taps_h, taps_w = along
    offsets = np.empty(fan * len(taps_d) * len(taps_h) * len(taps_w), np.int64)
    volume = extent[0] * extent[1] * extent[2]  # from one plane along the last axis to the next
    at = 0
    for channel in range(fan):
        for d in range(len(taps_d)):
            plane_d = channel * planes[0] + taps_d[d, PLANE]
            for h in range(len(taps_h)):
                plane_h = plane_d * planes[1] + taps_h[h, PLANE]
                line = (taps_d[d, SHIFT] * extent[1] + taps_h[h, SHIFT]) * extent[2]
                for w in range(len(taps_w)):
                    offsets[at] = (plane_h * planes[2] + taps_w[w, PLANE]) * volume + line + taps_w[w, SHIFT]
                    at += 1
    return offsets


@compiled
def _selected(rows: Float64Array, along: Taps) -> Float64Array:
    """Return the weights of a phase's taps, (groups, rows per group, taps) in canonical order."""
    groups, rows_per_group, fan, size_d, size_h, size_w = rows.shape
    taps_d, taps_h, taps_w = along
    count = fan * len(taps_d) * len(taps_h) * len(taps_w)
    if count == fan * size_d * size_h * size_w:
        return rows.reshape(groups, rows_per_group, count)
    selected = np.empty((groups, rows_per_group, count), np.float64)
    for g in range(groups):
        for r in range(rows_per_group):
            at = 0
            for channel in range(fan):
                for d in range(len(taps_d)):
                    for h in range(len(taps_h)):
                        line = rows[g, r, channel, taps_d[d, KERNEL], taps_h[h, KERNEL]]
                        for w in range(len(taps_w)):
                            selected[g, r, at] = line[taps_w[w, KERNEL]]
                            at += 1
    return selected


@compiled
def _sum_packed(
    image: Float64Array, pitch: Int64Array, offsets: Int64Array, rows: Float64Array, targets: Int64Array, sums: Float64Array
) -> None:
    """Sum one phase, vectorised over whichever of output sites and output channels costs less."""
    rows_per_group = rows.shape[1]
    count_d, count_h, count_w = targets[:, COUNT]
    planes, lines, columns = _run_shape(pitch, targets)
    runs = -(-count_d // planes) * -(-count_h // lines) * -(-count_w // columns)
    length = (planes - 1) * pitch[0] + (lines - 1) * pitch[1] + columns
    over_sites = rows_per_group * runs * (CALL_COST + length)
    over_rows = count_d * count_h * count_w * (CALL_COST + rows_per_group) * 1.5 + 8 * rows_per_group
    if over_rows < over_sites:
        _sum_over_rows(image, pitch, offsets, rows, targets, sums)
    else:
        _sum_over_sites(image, pitch, offsets, rows, targets, sums)


@compiled
def _sum_over_sites(
    image: Float64Array, pitch: Int64Array, offsets: Int64Array, rows: Float64Array, targets: Int64Array, sums: Float64Array
) -> None:
    """Vectorise over output sites: a run covers several output lines, or planes, and what lies between them is discarded."""
    groups, rows_per_group, _ = rows.shape
    count_d, count_h, count_w = targets[:, COUNT]
    planes, lines, columns = _run_shape(pitch, targets)
    longest = (planes - 1) * pitch[0] + (lines - 1) * pitch[1] + columns
    accumulators = np.empty((sums.shape[0], longest + LANES), np.float64)
    flat, shape = sums.ravel(), sums.shape[1:]
    for b in range(image.shape[0]):
        n, g = b // groups, b % groups
        for d in range(0, count_d, planes):
            for h in range(0, count_h, lines):
                for w in range(0, count_w, columns):
                    depth, height, width = min(planes, count_d - d), min(lines, count_h - h), min(columns, count_w - w)
                    length = ((depth - 1) * pitch[0] + (height - 1) * pitch[1] + width + LANES - 1) // LANES * LANES
                    values = image[b, d * pitch[0] + h * pitch[1] + w :]
                    for r in range(rows_per_group):
                        accumulators[:, :length] = 0.0
                        _add_taps(accumulators, values, offsets, rows[g, r], length)
                        channel = n * shape[1] + g * rows_per_group + r
                        _store_run(flat, shape, channel, targets, (d, h, w), accumulators, pitch, (depth, height, width))


@compiled
def _store_run(
    flat: Float64Array,
    shape: tuple[int, ...],
    channel: int,
    targets: Int64Array,
    at: Sizes,
    runs: Float64Array,
    pitch: Int64Array,
    size: Sizes,
) -> None:
    """Store the runs of every accumulator, so many planes, lines and columns each, from the target number ``at`` of the phase on.

    ``flat`` are sums of (N, channels, D, H, W) for each, and ``channel`` counts through samples too.
    """
    batch, channels, size_d, size_h, size_w = shape
    first_d, first_h, first_w = (
        targets[0, FIRST] + at[0] * targets[0, STEP],
        targets[1, FIRST] + at[1] * targets[1, STEP],
        targets[2, FIRST] + at[2] * targets[2, STEP],
    )
    # Nothing to discard: one copy instead of many short ones, which took as long as a 1×1 convolution itself. A phase that is cut
    # (:attr:`.relation.AxisPlan.inside`) does not fill its lines, and what lies between belongs to another.
    is_dense = pitch[1] == size_w == size[2] and targets[1, STEP] == targets[2, STEP] == 1
    lines, columns = (1, (size[1] - 1) * pitch[1] + size[2]) if is_dense else (size[1], size[2])
    for k in range(runs.shape[0]):
        for plane in range(size[0]):
            begin = (((k * batch * channels + channel) * size_d + first_d + plane * targets[0, STEP]) * size_h + first_h) * size_w + first_w
            for line in range(lines):
                target, source = begin + line * targets[1, STEP] * size_w, plane * pitch[0] + line * pitch[1]
                for column in range(columns):
                    flat[target + column * targets[2, STEP]] = runs[k, source + column]


@compiled
def _run_shape(pitch: Int64Array, targets: Int64Array) -> Sizes:
    """Return how many planes, lines and columns make a run: a gap between them is crossed if that costs less than a new run."""
    count_d, count_h, count_w = targets[:, COUNT]
    if count_w + CALL_COST < pitch[1] or count_w >= SITE_BLOCK:
        return 1, 1, min(count_w, SITE_BLOCK)
    lines = max(1, min(count_h, SITE_BLOCK // pitch[1]))
    length = (lines - 1) * pitch[1] + count_w
    if lines < count_h or length + CALL_COST < pitch[0]:
        return 1, lines, count_w
    return max(1, min(count_d, SITE_BLOCK // pitch[0])), lines, count_w


@compiled
def _sum_over_rows(
    image: Float64Array, pitch: Int64Array, offsets: Int64Array, rows: Float64Array, targets: Int64Array, sums: Float64Array
) -> None:
    """Vectorise over output channels: for many of them and few sites. The rows are transposed block by block."""
    groups, rows_per_group, taps = rows.shape
    sites = _sites(image.shape[0] // groups, pitch, targets)
    width = min(CHANNEL_BLOCK, (rows_per_group + LANES - 1) // LANES * LANES)
    accumulators = np.empty((sites.shape[0], sums.shape[0], width), np.float64)
    # Transposed rows lie an odd number of vectors apart: at a power of two they would compete for the same cache sets.
    block_pitch = (width // LANES | 1) * LANES
    block = np.zeros(TAP_BLOCK * block_pitch, np.float64)
    block_offsets = np.arange(TAP_BLOCK) * block_pitch
    values = np.empty(TAP_BLOCK, np.float64)
    for g in range(groups):
        for r0 in range(0, rows_per_group, width):
            used = min(width, rows_per_group - r0)
            accumulators[:] = 0.0
            for t0 in range(0, taps, TAP_BLOCK):
                depth = min(TAP_BLOCK, taps - t0)
                _transpose(rows[g, r0 : r0 + used, t0 : t0 + depth], block, block_pitch)
                for i in range(sites.shape[0]):
                    for t in range(depth):
                        values[t] = image[sites[i, 0] * groups + g, sites[i, 1] + offsets[t0 + t]]
                    _add_taps(accumulators[i], block, block_offsets[:depth], values[:depth], width)
            for i in range(sites.shape[0]):
                n, _, d, h, w = sites[i]
                for k in range(sums.shape[0]):
                    for r in range(used):
                        sums[k, n, g * rows_per_group + r0 + r, d, h, w] = accumulators[i, k, r]


@compiled
def _transpose(rows: Float64Array, block: Float64Array, pitch: int) -> None:
    whole = rows.shape[0] // LANES * LANES
    for r in range(0, whole, LANES):  # few rows at a time: as many as the hardware prefetches
        for t in range(rows.shape[1]):
            line = block[t * pitch + r :]
            for j in range(LANES):
                line[j] = rows[r + j, t]
    for r in range(whole, rows.shape[0]):
        for t in range(rows.shape[1]):
            block[t * pitch + r] = rows[r, t]


@compiled
def _sites(batch: int, pitch: Int64Array, targets: Int64Array) -> Int64Array:
    """Return (batch index, position in the packed image, target d, h, w) of every output site."""
    count_d, count_h, count_w = targets[:, COUNT]
    sites = np.empty((batch * count_d * count_h * count_w, 5), np.int64)
    i = 0
    for n in range(batch):
        for d in range(count_d):
            for h in range(count_h):
                for w in range(count_w):
                    sites[i, 0], sites[i, 1] = n, d * pitch[0] + h * pitch[1] + w
                    sites[i, 2] = targets[0, FIRST] + d * targets[0, STEP]
                    sites[i, 3] = targets[1, FIRST] + h * targets[1, STEP]
                    sites[i, 4] = targets[2, FIRST] + w * targets[2, STEP]
                    i += 1
    return sites


@compiled
def _sum_one_by_one(
    source: Float64Array, steps: Sizes, along: Taps, rows: Float64Array, affected: Int64Array, targets: Int64Array, sums: Float64Array
) -> None:
    """Sum each element of the ``affected`` output channels over the taps inside the source: for padding that meets Inf or NaN.

    The vectorised sums multiply the zeros of the padding too, which changes no bit as long as the other factor is finite.
    """
    rows_per_group, fan = rows.shape[1:3]
    first, step, count = targets[:, FIRST], targets[:, STEP], targets[:, COUNT]
    for n in range(source.shape[0]):
        for row in affected:
            g, r = row // rows_per_group, row % rows_per_group
            channels = source[n, g * fan : (g + 1) * fan]
            for d in range(count[0]):
                for h in range(count[1]):
                    for w in range(count[2]):
                        site = (d * steps[0], h * steps[1], w * steps[2])
                        element = _sum_element(channels, site, along, rows[g, r], sums.shape[0])
                        for k in range(sums.shape[0]):
                            sums[k, n, row, first[0] + d * step[0], first[1] + h * step[1], first[2] + w * step[2]] = element[k]


@compiled
def _sum_element(channels: Float64Array, site: Sizes, along: Taps, row: Float64Array, mode: int) -> tuple[float, float, float, float]:
    _, size_d, size_h, size_w = channels.shape
    y = low = s = q = 0.0
    for c in range(channels.shape[0]):
        for tap_d in along[0]:
            d = tap_d[START] + site[0]
            for tap_h in along[1]:
                h = tap_h[START] + site[1]
                for tap_w in along[2]:
                    w = tap_w[START] + site[2]
                    if 0 <= d < size_d and 0 <= h < size_h and 0 <= w < size_w:
                        weight, value = row[c, tap_d[KERNEL], tap_h[KERNEL], tap_w[KERNEL]], channels[c, d, h, w]
                        if mode == DOUBLE:
                            p, y, low = _add_product(y, low, weight, value)
                        else:
                            p = weight * value
                            y += p
                        s += abs(p)
                        q += p * p
    return y, s, q, low


@compiled
def _add_taps(accumulators: Float64Array, values: Float64Array, offsets: Int64Array, weights: Float64Array, length: int) -> None:
    """Add ``weights[t] * values[offsets[t] + i]`` to element i for every tap, in ``accumulators[:, :length]``.

    Taps go eight at a time, so that the accumulators are loaded and stored once per eight products.
    """
    eights = offsets.size // 8 * 8
    if accumulators.shape[0] == VALUE:
        _add_values(accumulators, values, offsets, weights, length, eights)
    elif accumulators.shape[0] == MOMENTS:
        _add_moments(accumulators, values, offsets, weights, length, eights)
    else:
        _add_double(accumulators, values, offsets, weights, length)


@compiled
def _eight(a: npt.NDArray[Any], t: int) -> tuple[Any, ...]:
    return a[t], a[t + 1], a[t + 2], a[t + 3], a[t + 4], a[t + 5], a[t + 6], a[t + 7]


@compiled
def _add_values(
    accumulators: Float64Array, values: Float64Array, offsets: Int64Array, weights: Float64Array, length: int, eights: int
) -> None:
    y = accumulators[0, :length]
    for t in range(0, eights, 8):
        o, w = _eight(offsets, t), _eight(weights, t)
        for i in range(length):
            yi = y[i]
            for j in range(8):
                # An unsigned index spares the test for negative ones, which would keep the loop from vectorising.
                yi += w[j] * values[np.uint64(o[j] + i)]
            y[i] = yi
    for t in range(eights, offsets.size):
        run = values[offsets[t] :]
        for i in range(length):
            y[i] += weights[t] * run[i]


@compiled
def _add_moments(
    accumulators: Float64Array, values: Float64Array, offsets: Int64Array, weights: Float64Array, length: int, eights: int
) -> None:
    y, s, q = accumulators[0, :length], accumulators[1, :length], accumulators[2, :length]
    for t in range(0, eights, 8):
        o, w = _eight(offsets, t), _eight(weights, t)
        for i in range(length):
            yi, si, qi = y[i], s[i], q[i]
            for j in range(8):
                p = w[j] * values[np.uint64(o[j] + i)]
                yi += p
                si += abs(p)
                qi += p * p
            y[i], s[i], q[i] = yi, si, qi
    for t in range(eights, offsets.size):
        run, w1 = values[offsets[t] :], weights[t]
        for i in range(length):
            p = w1 * run[i]
            y[i] += p
            s[i] += abs(p)
            q[i] += p * p


@compiled
def _add_double(accumulators: Float64Array, values: Float64Array, offsets: Int64Array, weights: Float64Array, length: int) -> None:
    y, s, q, low = accumulators[0, :length], accumulators[1, :length], accumulators[2, :length], accumulators[3, :length]
    for t in range(offsets.size):
        run, w = values[offsets[t] :], weights[t]
        for i in range(length):
            p, y[i], low[i] = _add_product(y[i], low[i], w, run[i])
            s[i] += abs(p)
            q[i] += p * p


@compiled
def _add_product(high: float, low: float, a: float, b: float) -> tuple[float, float, float]:
    """Return the rounded product a·b and the double-double (high, low) + a·b.

    The product's error comes exactly from one fused multiply-add, the sum's from Knuth's TwoSum; renormalising after
    every tap keeps the relative error of each addition near 2^-105 (Hida, Li and Bailey, ARITH-15 2001, §3).
    """
    p = a * b
    product_error = fma(a, b, -p)
    total = high + p
    part = total - high
    sum_error = (high - (total - part)) + (p - part)
    low += sum_error + product_error
    high = total + low
    return p, high, low - (high - total)
