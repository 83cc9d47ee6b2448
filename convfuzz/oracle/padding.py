"""The padding modes that copy input elements: an explicit pad before a contraction, its adjoint after one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from convfuzz.oracle.contraction import Device, Operand, Sums
from convfuzz.oracle.expectation import Float64Array, Int64Array
from convfuzz.oracle.jit import compiled
from convfuzz.oracle.kernels import DOUBLE, MOMENTS
from convfuzz.oracle.relation import Axis


class PaddedAxis(NamedTuple):
    """An input axis of ``size`` sites and its padded form: the site that each position copies, and who meets them."""

    size: int
    sites: Int64Array
    relation: Axis

    @classmethod
    def of(cls, axis: Axis, hi: int, mode: str) -> Self:
        """Pad the wide side of ``axis`` by its ``lo`` and by ``hi``.

        If the windows skip positions, only the positions that they meet are laid out, window by window: a stride of 2^31
        with as much padding needs no more memory than the result.
        """
        wide, narrow, kernel, stride, dilation, lo = axis
        if wide + lo + hi <= narrow * kernel:
            positions = np.arange(-lo, wide + hi)
            relation = Axis(positions.size, narrow, kernel, stride, dilation, 0)
        else:
            positions = (np.arange(narrow)[:, None] * stride + np.arange(kernel) * dilation - lo).ravel()
            relation = Axis(positions.size, narrow, kernel, stride=kernel, dilation=1, lo=0)
        return cls(wide, _copied_sites(positions, wide, mode), relation)


def pad(device: Device[Operand], x: Operand, axes: Sequence[PaddedAxis]) -> Operand:
    """Pad the last axes of ``x`` by copies of its elements."""
    return device.take(x, [padded.sites for padded in axes])


def fold(padded: Sums, axes: Sequence[PaddedAxis]) -> Sums:
    """Add what each copy received to the element it copies: the adjoint of :func:`pad`.

    In the canonical order: last axis first, and along it the copies by ascending position.
    """
    words, tap_counts = padded.words, padded.tap_counts
    for axis in range(-1, -1 - len(axes), -1):
        words, tap_counts = _fold_axis(words, tap_counts, axis, axes[axis])
    return Sums(words, tap_counts)


def _copied_sites(positions: Int64Array, size: int, mode: str) -> Int64Array:
    """Return the site that each position copies, where position 0 is site 0."""
    if mode == "replicate":
        return np.clip(positions, 0, size - 1)
    if mode == "circular":
        return positions % size
    last = size - 1
    reflected: Int64Array = last - np.abs(last - np.abs(positions))
    return reflected


def _fold_axis(words: Float64Array, counts: Int64Array, axis: int, padded: PaddedAxis) -> tuple[Float64Array, Int64Array]:
    before, after = words.shape[1:axis], words.shape[words.ndim + axis + 1 :]
    in_rows = words.reshape(len(words), math.prod(before), padded.sites.size, math.prod(after))
    folded = _folded(np.ascontiguousarray(in_rows), padded.sites, padded.size).reshape(len(words), *before, padded.size, *after)
    folded_counts = np.zeros((*counts.shape[:axis], padded.size, *counts.shape[counts.ndim + axis + 1 :]), np.int64)
    np.add.at(np.moveaxis(folded_counts, axis, 0), padded.sites, np.moveaxis(counts, axis, 0))
    return folded, folded_counts


@compiled
def _folded(words: Float64Array, sites: Int64Array, size: int) -> Float64Array:
    """Add up the copies of each site, by ascending position, of (accumulators, before, positions, behind)."""
    folded = np.zeros((words.shape[0], words.shape[1], size, words.shape[3]))
    for row in range(words.shape[1]):
        for position in range(sites.size):
            site = sites[position]
            for i in range(words.shape[3]):
                if words.shape[0] == DOUBLE:
                    high, low = folded[0, row, site, i], folded[3, row, site, i]
                    high, low = _sum_of_two(high, low, words[0, row, position, i], words[3, row, position, i])
                    folded[0, row, site, i], folded[3, row, site, i] = high, low
                else:
                    folded[0, row, site, i] += words[0, row, position, i]
                for k in range(1, min(words.shape[0], MOMENTS)):
                    folded[k, row, site, i] += words[k, row, position, i]
    return folded


@compiled
def _sum_of_two(high: float, low: float, other_high: float, other_low: float) -> tuple[float, float]:
    """Add as :func:`.double_double.add` does."""
    total = high + other_high
    part = total - high
    low = ((high - (total - part)) + (other_high - part)) + (low + other_low)
    result = total + low
    return (result, low - (result - total)) if math.isfinite(result) else (total, 0.0)
