"""The padding modes that copy input elements: an explicit pad before a contraction, its adjoint after one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convfuzz.oracle import double_double
from convfuzz.oracle.contraction import Sums
from convfuzz.oracle.expectation import Float64Array, Int64Array
from convfuzz.oracle.kernels import DOUBLE

Pads = Sequence[tuple[int, int]]

_NUMPY_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(x: Float64Array, pads: Pads, mode: str) -> Float64Array:
    """Pad the last axes of ``x`` by copies of its elements."""
    for axis, sides in enumerate(pads, start=x.ndim - len(pads)):
        if any(sides):
            x = np.take(x, _copied_sites(x.shape[axis], sides, mode), axis=axis)
    return np.ascontiguousarray(x)


def fold(padded: Sums, pads: Pads, mode: str) -> Sums:
    """Add what each copy received to the element it copies: the adjoint of :func:`pad`.

    In the canonical order: last axis first, and along it the copies by ascending position, after the element itself.
    """
    words, tap_counts = padded.words, padded.tap_counts
    for axis, sides in reversed(list(enumerate(pads))):
        if any(sides):
            words, tap_counts = _fold_axis(words, tap_counts, axis - len(pads), sides, mode)
    return Sums(words, tap_counts)


def _copied_sites(size: int, sides: tuple[int, int], mode: str) -> Int64Array:
    copied: Int64Array = np.pad(np.arange(size), sides, mode=_NUMPY_MODES[mode])  # type: ignore[call-overload]
    return copied


def _fold_axis(
    padded: Float64Array, padded_counts: Int64Array, axis: int, sides: tuple[int, int], mode: str
) -> tuple[Float64Array, Int64Array]:
    size = padded.shape[axis] - sum(sides)
    sites = _copied_sites(size, sides, mode)
    # Views with the folded axis first; the results of the assignments below land in words and counts.
    padded, padded_counts = np.moveaxis(padded, axis, 0), np.moveaxis(padded_counts, axis, 0)
    inner = slice(sides[0], sides[0] + size)
    words, counts = padded[inner].copy(), padded_counts[inner].copy()
    for copy in [*range(sides[0]), *range(inner.stop, len(sites))]:
        element = words[sites[copy]]
        if len(element) == DOUBLE:
            element[0], element[3] = double_double.add(element[0], element[3], padded[copy, 0], padded[copy, 3])
            element[1:3] += padded[copy, 1:3]
        else:
            element += padded[copy]
        counts[sites[copy]] += padded_counts[copy]
    return np.moveaxis(words, 0, axis), np.moveaxis(counts, 0, axis)
