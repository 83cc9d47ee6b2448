"""The products of a convolution one tap at a time, so that a kernel can choose in which order and precision it adds them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .receptive_field import Array, gather, input_sites, with_batch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from convfuzz import ConvConfig


class Summands:
    """The terms of every output at once: one array (N, groups, out / groups, sites) per tap, the bias last.

    Padded zeros are multiplied like any other input, as a GEMM does, so an infinite weight on padding gives NaN.
    All arithmetic is in ``dtype``, rounded after every single operation.
    """

    def __init__(self, x: Array, w: Array, b: Array | None, config: ConvConfig, dtype: npt.DTypeLike) -> None:
        self._config = config
        self._result_dtype = x.dtype
        self.dtype = np.dtype(dtype)
        groups, per_group = config.groups, config.in_channels // config.groups
        read = gather(with_batch(x, config), input_sites(config), self.dtype)
        batch, sites, window = read.shape[0], read.shape[2 : 2 + config.dims], read.shape[2 + config.dims :]
        self.taps = per_group * math.prod(window)
        points, rows = math.prod(sites), config.out_channels // groups
        read = read.reshape(batch, groups, per_group, points, math.prod(window))
        self._inputs = np.ascontiguousarray(read.transpose(2, 4, 0, 1, 3)).reshape(self.taps, batch, groups, 1, points)
        weights = w.astype(self.dtype).reshape(groups, rows, self.taps).transpose(2, 0, 1)
        self._weights = np.ascontiguousarray(weights).reshape(self.taps, 1, groups, rows, 1)
        self._bias = None if b is None else b.astype(self.dtype).reshape(1, groups, rows, 1)
        self.shape = (batch, groups, rows, points)

    def __len__(self) -> int:
        return self.taps + (self._bias is not None)

    def write(self, index: int, out: Array) -> None:
        """Write the term of one tap, or the bias after the last tap, to ``out``."""
        if index < self.taps:
            np.multiply(self._inputs[index], self._weights[index], out=out)
        else:
            np.copyto(out, self._bias)  # type: ignore[arg-type]

    def sum_in_order(self, order: Iterable[int]) -> Array:
        """Return the sum that adds the terms one after the other."""
        total = np.zeros(self.shape, self.dtype)
        term = np.empty(self.shape, self.dtype)
        with np.errstate(all="ignore"):
            for index in order:
                self.write(index, term)
                np.add(total, term, out=total)
        return total

    def sum_pairwise(self) -> Array:
        """Return the sum that adds neighbouring terms, then neighbouring sums of two, of four, and so on."""
        partial: list[tuple[int, Array]] = []
        with np.errstate(all="ignore"):
            for index in range(len(self)):
                term = np.empty(self.shape, self.dtype)
                self.write(index, term)
                level = 0
                while partial and partial[-1][0] == level:
                    np.add(partial.pop()[1], term, out=term)
                    level += 1
                partial.append((level, term))
            total = partial.pop()[1] if partial else np.zeros(self.shape, self.dtype)
            while partial:
                total = partial.pop()[1] + total
        return total

    def result(self, total: Array) -> Array:
        """Return a sum as the convolution's output: rounded once to the input's dtype and in the output's shape."""
        return rounded(total, self._result_dtype).reshape(self._config.output_shape)


def rounded(values: Array, dtype: np.dtype[np.generic]) -> Array:
    """Return the values rounded to nearest in ``dtype``, overflowing to infinity."""
    with np.errstate(all="ignore"):
        return values.astype(dtype)


def accumulator(dtype: np.dtype[np.generic]) -> np.dtype[np.generic]:
    """Return the dtype sums are kept in: float64 for float64, float32 for every narrower one."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)
