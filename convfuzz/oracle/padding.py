"""The padding modes that copy input elements: an explicit pad before a contraction, its adjoint after one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

import numpy as np

from convfuzz.oracle import double_double
from convfuzz.oracle.contraction import Device, Operand, Sums
from convfuzz.oracle.expectation import Float64Array, Int64Array
from convfuzz.oracle.kernels import DOUBLE
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
    words, counts = np.moveaxis(words, axis, 0), np.moveaxis(counts, axis, 0)
    folded, folded_counts = np.zeros((padded.size, *words.shape[1:])), np.zeros((padded.size, *counts.shape[1:]), np.int64)
    for positions in _without_repetition(padded.sites):
        sites = padded.sites[positions]
        if words.shape[1] == DOUBLE:
            high, low = double_double.add(folded[sites, 0], folded[sites, 3], words[positions, 0], words[positions, 3])
            folded[sites, 0], folded[sites, 3] = high, low
            folded[sites, 1:3] += words[positions, 1:3]
        else:
            folded[sites] += words[positions]
        folded_counts[sites] += counts[positions]
    return np.moveaxis(folded, 0, axis), np.moveaxis(folded_counts, 0, axis)


def _without_repetition(sites: Int64Array) -> Iterable[Int64Array]:
    """Split the positions into runs in which no site is copied twice: the first copy of every site, the second, and so on."""
    order = np.argsort(sites, kind="stable")
    ranks = np.arange(sites.size) - np.searchsorted(sites[order], sites[order])
    return np.split(order[np.argsort(ranks, kind="stable")], np.bincount(ranks).cumsum()[:-1])
