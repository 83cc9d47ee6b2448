"""Rules of patches: what a window reads is taken out as a column, and columns are added up where their windows lie."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from types import EllipsisType

import numpy as np

from convfuzz.graphs.bounded import Array, Bounded, Floats, Place
from convfuzz.judging.bounds import statistical

Sizes = int | Sequence[int]


def _pair(given: Sizes) -> tuple[int, int]:
    sizes = [given, given] if isinstance(given, int) else list(given)
    first, second = sizes * 2 if len(sizes) == 1 else sizes
    return first, second


class _Windows:
    """Windows over a padded map: for each tap the sites that it has in all of them."""

    def __init__(self, size: Sequence[int], kernel: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes) -> None:
        self.kernel, self.gaps, self.pads, self.steps = map(_pair, (kernel, dilation, padding, stride))
        self.padded = [length + 2 * pad for length, pad in zip(size, self.pads, strict=True)]
        spans = [gap * (length - 1) + 1 for gap, length in zip(self.gaps, self.kernel, strict=True)]
        self.count = [(length - span) // step + 1 for length, span, step in zip(self.padded, spans, self.steps, strict=True)]

    def taps(self) -> Iterator[tuple[EllipsisType | slice, ...]]:
        for tap in itertools.product(*map(range, self.kernel)):
            starts = [i * gap for i, gap in zip(tap, self.gaps, strict=True)]
            ends = [start + step * (count - 1) + 1 for start, step, count in zip(starts, self.steps, self.count, strict=True)]
            yield (..., *(slice(start, end, step) for start, end, step in zip(starts, ends, self.steps, strict=True)))


def im2col(at: Place, x: Bounded, kernel_size: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes) -> Bounded:
    """Take out what each window reads, with zeros for its padding (``F.unfold``): nothing is rounded."""
    windows = _Windows(x.value.shape[-2:], kernel_size, dilation, padding, stride)
    widths = [(0, 0)] * (x.value.ndim - 2) + [(pad, pad) for pad in windows.pads]

    def columns(v: Array) -> Array:
        padded = np.pad(v, widths)
        return np.stack([padded[tap] for tap in windows.taps()], axis=-3).reshape(at.shape)

    return x.moved(columns)


def col2im(at: Place, x: Bounded, output_size: Sizes, kernel_size: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes) -> Bounded:
    """Add columns up where their windows lie (``F.fold``): a sum of as many terms as windows that meet there."""
    size = _pair(output_size)
    windows = _Windows(size, kernel_size, dilation, padding, stride)
    lead = at.shape[:-2]
    inside: tuple[EllipsisType | slice, ...] = (..., *(slice(pad, pad + length) for pad, length in zip(windows.pads, size, strict=True)))
    taps = list(windows.taps())

    def added(columns: Floats) -> Floats:
        parts = columns.reshape(*lead, len(taps), *windows.count)
        found = np.zeros((*lead, *windows.padded))
        for k, tap in enumerate(taps):
            found[tap] += parts[..., k, :, :]
        return found[inside]

    value, n = added(x.value), added(np.ones(x.value.shape)).astype(np.int64)
    rounding = np.where(n > 1, statistical(0.0, value, added(np.abs(x.value)), added(np.square(x.value)), n, u=at.u), 0.0)
    if at.stored.unit_roundoff > at.u:  # in 16 bits each term may be added to a rounded sum
        rounding = rounding + at.stored.unit_roundoff * (n - 1) * added(np.abs(x.value)) * (n > 1)
    return at.rounded(value, added(x.error) + rounding)


def unfold(at: Place, x: Bounded, dimension: int, size: int, step: int) -> Bounded:
    """Return windows along one axis as a further axis (``Tensor.unfold``)."""
    del at
    axis = dimension % x.value.ndim

    def windows(v: Array) -> Array:
        seen = np.lib.stride_tricks.sliding_window_view(v, size, axis=axis)
        return seen[(slice(None),) * axis + (slice(None, None, step),)]

    return x.moved(windows)


VIEWS = {"unfold": unfold}
"""Rules whose result may share memory with the operand."""
RULES: dict[str, Callable[..., Bounded]] = {"im2col": im2col, "col2im": col2im, **VIEWS}
