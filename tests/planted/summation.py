"""The terms of every sum of a layer, so that a kernel can choose in which order and precision it adds them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .dense import by_group
from .receptive_field import (
    Array,
    Table,
    combined,
    flattened,
    gather,
    input_sites,
    inverted,
    output_sites,
    resolve_padding,
    scatter,
    with_batch,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from convfuzz import ConvConfig

_AT_ONCE = 2**16
"""About how many terms are made at a time."""
_MOST_KEPT = 2**22
"""Of how many products the terms are kept, for further orders."""


class Summands(ABC):
    """The terms of many sums at once: an array ``shape_of_terms`` for each, whose sum is a result of ``shape``.

    All arithmetic is in ``dtype``, rounded after every single operation.
    """

    shape: tuple[int, ...]
    shape_of_terms: tuple[int, ...]
    dtype: npt.DTypeLike

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def terms(self, indices: npt.NDArray[np.intp]) -> Array:
        """Return a new array of the terms with these indices."""

    def sum_in_order(self, order: Iterable[int]) -> Array:
        """Return the sums that add the terms one after the other."""
        total = np.zeros(self.shape_of_terms, self.dtype)
        with np.errstate(all="ignore"):
            if self._kept is not None:
                for index in order:
                    total += self._kept[index]
                return total.reshape(self.shape)
            for terms in self._blocks(np.fromiter(order, np.intp)):
                for term in terms:
                    total += term
        return total.reshape(self.shape)

    def sum_pairwise(self) -> Array:
        """Return the sums that add neighbouring terms, then neighbouring sums of two, of four, and so on."""
        partial: list[tuple[int, Array]] = []
        with np.errstate(all="ignore"):
            for terms in self._blocks(np.arange(len(self))) if self._kept is None else [self._kept][: len(self)]:
                level, total = 0, _tree(terms)
                while partial and partial[-1][0] == level:
                    level, total = level + 1, partial.pop()[1] + total
                partial.append((level, total))
            total = partial.pop()[1] if partial else np.zeros(self.shape_of_terms, self.dtype)
            while partial:
                total = partial.pop()[1] + total
        return total.reshape(self.shape)

    def _blocks(self, indices: npt.NDArray[np.intp]) -> Iterable[Array]:
        """Make the terms block by block; the size is a power of two, so that a tree of pairs has the same form for any."""
        size = 1 << max(_AT_ONCE // max(math.prod(self.shape), 1), 1).bit_length() - 1
        return (self.terms(indices[first : first + size]) for first in range(0, len(indices), size))

    @cached_property
    def _kept(self) -> Array | None:
        """All terms, where they are few."""
        return self.terms(np.arange(len(self))) if len(self) * math.prod(self.shape) <= _MOST_KEPT else None


def _tree(terms: Array) -> Array:
    while len(terms) > 1:
        pairs = terms[:-1:2] + terms[1::2]
        terms = np.concatenate([pairs, terms[-1:]]) if len(terms) % 2 else pairs
    sums: Array = terms[0]
    return sums


class TapTerms(Summands):
    """One term per channel and kernel tap of ``source`` read through ``tables``, in the order of the weight's memory; the bias last.

    The weight is (targets, sources / groups, *kernel). ``taps`` are tables like those of the sites, of the kernel taps
    that read them; by default each is its own. Padded zeros are multiplied like any other value, as a GEMM does, so an
    infinite weight on padding gives NaN. The bias is the weight of one more channel, of ones.
    """

    def __init__(
        self,
        source: Array,
        tables: Sequence[Table],
        w: Array,
        b: Array | None,
        config: ConvConfig,
        dtype: npt.DTypeLike,
        *,
        taps: Sequence[Table] | None = None,
    ) -> None:
        kernel, channels, groups, rows = w.shape[2:], w.shape[1], config.groups, len(w) // config.groups
        values, places = flattened(with_batch(source, config), tables, dtype)
        batch, self._sites, self._kernel = len(values), values.shape[-1], math.prod(kernel)
        windows = places.shape[config.dims :]
        of_taps = combined(taps or [np.arange(size)[None, :] for size in kernel], kernel)
        self._taps = of_taps.reshape(math.prod(of_taps.shape[: config.dims]), math.prod(of_taps.shape[config.dims :]))
        self._places = places.reshape(len(self._taps), math.prod(windows)) % self._sites
        with_ones = np.ones((batch, groups, channels + 1, self._sites), dtype)
        with_ones[:, :, :-1] = values.reshape(batch, groups, channels, self._sites)
        self._values = with_ones.reshape(batch, groups, (channels + 1) * self._sites)
        with_bias = np.zeros((groups, rows, channels + 1, self._kernel), dtype)
        with_bias[:, :, :-1] = w.reshape(groups, rows, channels, self._kernel)
        if b is not None:
            with_bias[:, :, -1] = b.reshape(groups, rows, 1)
        self._weights = with_bias.reshape(groups, rows, (channels + 1) * self._kernel)
        self._count: int = channels * len(self._taps) + (b is not None)
        # Tables of taps name one for windows that have fewer: what it would multiply is nowhere, not on padding.
        self._absent = None if taps is None or np.isfinite(w).all() else self._places == self._sites - 1
        self.dtype = dtype
        self.shape_of_terms = (batch, groups, rows, math.prod(windows))
        self.shape = (*source.shape[: -config.dims - 1], len(w), *windows)

    def __len__(self) -> int:
        return self._count

    def terms(self, indices: npt.NDArray[np.intp]) -> Array:
        """Read the taps, and multiply."""
        channels, taps = np.divmod(indices, len(self._taps))
        read = self._values.take(channels[:, None] * self._sites + self._places[taps], axis=-1)
        weights = self._weights.take(channels[:, None] * self._kernel + self._taps[taps], axis=-1)
        made: Array = np.multiply(np.moveaxis(read, 2, 0)[:, :, :, None], np.moveaxis(weights, 2, 0)[:, None], order="C")
        if self._absent is not None:
            of_channels = channels < self._values.shape[-1] // self._sites - 1
            made[np.broadcast_to((self._absent[taps] & of_channels[:, None])[:, None, None, None], made.shape)] = 0
        return made


class WindowTerms(Summands):
    """One term per sample and window: the products of two factors that broadcast."""

    def __init__(self, left: Array, right: Array, shape: tuple[int, ...]) -> None:
        self._left, self._right = left, right
        self.shape, self.shape_of_terms = shape, np.broadcast_shapes(left.shape[1:], right.shape[1:])
        self.dtype = left.dtype

    def __len__(self) -> int:
        return len(self._left)

    def terms(self, indices: npt.NDArray[np.intp]) -> Array:
        """Multiply."""
        products: Array = self._left[indices] * self._right[indices]
        return products


# -- the terms of each pass ----------------------------------------------------------------------------------------------


def output_terms(x: Array, w: Array, b: Array | None, config: ConvConfig, dtype: npt.DTypeLike) -> Summands:
    """Return the terms of every output."""
    if config.op == "conv":
        return TapTerms(x, input_sites(config), w, b, config, dtype)
    sites, taps = _inverted(output_sites(config), config.output_size)
    return TapTerms(x, sites, _exchanged(w, config.groups), b, config, dtype, taps=taps)


def grad_input_terms(w: Array, dy: Array, config: ConvConfig, dtype: npt.DTypeLike) -> Summands:
    """Return the terms of every element of the input's gradient; of a convolution's, those of the padded input: see :func:`folded`."""
    if config.op == "conv_transpose":
        return TapTerms(dy, output_sites(config), np.conj(w), None, config, dtype)
    padded = tuple(size + lo + hi for size, (lo, hi) in zip(config.input_size, config.pads, strict=True))
    unpadded = config.replace(input_size=padded, padding=0, padding_mode="zeros")
    sites, taps = _inverted(input_sites(unpadded), padded)
    return TapTerms(dy, sites, _exchanged(np.conj(w), config.groups), None, config, dtype, taps=taps)


def folded(gradient: Array, config: ConvConfig) -> Array:
    """Return the input's gradient from the sums of :func:`grad_input_terms`: each copy in the padding is added to what it copies."""
    if config.op == "conv_transpose":
        return gradient
    copies = [
        resolve_padding(np.arange(-lo, size + hi), size, config.padding_mode)[:, None]
        for size, (lo, hi) in zip(config.input_size, config.pads, strict=True)
    ]
    return scatter(gradient.reshape(*gradient.shape, *[1] * config.dims), copies, config.input_size)


def grad_weight_terms(x: Array, dy: Array, config: ConvConfig, dtype: npt.DTypeLike) -> Summands:
    """Return the terms of every element of the weight's gradient."""
    x, dy = with_batch(np.conj(x), config), with_batch(dy, config)
    many, one, tables = (x, dy, input_sites(config)) if config.op == "conv" else (dy, x, output_sites(config))
    groups, windows = config.groups, one.shape[2:]
    read = np.moveaxis(by_group(gather(many, tables, dtype), groups, windows), -1, 1)
    values = one.astype(dtype).reshape(len(one), groups, one.shape[1] // groups, math.prod(windows)).transpose(0, 3, 1, 2)
    samples_and_windows = len(one) * math.prod(windows)
    left = read.reshape(samples_and_windows, groups, 1, read.shape[-1])
    return WindowTerms(left, values.reshape(samples_and_windows, groups, values.shape[-1], 1), config.weight_shape)


def grad_bias_terms(dy: Array, config: ConvConfig, dtype: npt.DTypeLike) -> Summands:
    """Return the terms of every element of the bias's gradient, each times one."""
    batched = with_batch(dy, config).astype(dtype)
    values = np.moveaxis(batched, 1, -1).reshape(len(batched) * math.prod(config.output_size), config.out_channels)
    return WindowTerms(values, np.ones((len(values), 1), values.dtype), (config.out_channels,))


def _inverted(tables: Sequence[Table], sizes: Sequence[int]) -> tuple[tuple[Table, ...], tuple[Table, ...]]:
    sites, taps = zip(*(inverted(table, size) for table, size in zip(tables, sizes, strict=True)), strict=True)
    return sites, taps


def _exchanged(w: Array, groups: int) -> Array:
    """Return a weight (rows, columns / groups, *kernel) as (columns, rows / groups, *kernel)."""
    rows, per_group, *kernel = w.shape
    swapped = w.reshape(groups, rows // groups, per_group, *kernel).swapaxes(1, 2)
    return swapped.reshape(groups * per_group, rows // groups, *kernel)
