"""Kernels whose arithmetic is known, since it is written here: orders, formats, roundings, biases and kinds of flushing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from convfuzz import ConvConfig, Numerics
from convfuzz.backends.kernels.backend import KernelBackend

Array = npt.NDArray[Any]
Terms = list[Array]
"""One array for each term, all of them of one output's shape."""
Add = Callable[[Array, Array], Array]
Rounded = Callable[[Array], Array]


def windows(x: Array, w: Array, config: ConvConfig) -> tuple[Array, Array]:
    """Return x at every tap, (batch, 1, taps, sites), and w likewise, (1, out, taps, 1): of a plain convolution, in the weight's order."""
    pads = [(0, 0), (0, 0), *config.pads]
    padded = np.pad(x, pads)
    strided = np.lib.stride_tricks.sliding_window_view(padded, config.kernel_size, axis=tuple(range(2, x.ndim)))
    step = tuple(slice(None, None, s) for s in config.stride)
    strided = strided[(slice(None), slice(None), *step)]
    batch, channels, sites = x.shape[0], x.shape[1], config.output_size
    order = (0, 1, *range(2 + len(sites), 2 + 2 * len(sites)), *range(2, 2 + len(sites)))
    read = strided.transpose(order).reshape(batch, channels * int(np.prod(config.kernel_size)), int(np.prod(sites)))
    return read[:, None], w.reshape(len(w), -1)[None, :, :, None]


# -- orders: each adds a list of terms with a given addition -------------------------------------------------------------


def sequential(terms: Terms, add: Add) -> Array:
    """Adds one after the other."""
    total = terms[0]
    for term in terms[1:]:
        total = add(total, term)
    return total


def backwards(terms: Terms, add: Add) -> Array:
    """Adds one after the other from the last on."""
    return sequential(terms[::-1], add)


def pairwise(terms: Terms, add: Add) -> Array:
    """Adds neighbours first."""
    while len(terms) > 1:
        pairs = [add(a, b) for a, b in zip(terms[::2], terms[1::2], strict=False)]
        terms = pairs + terms[len(terms) - len(terms) % 2 :]
    return terms[0]


def halves(terms: Terms, add: Add) -> Array:
    """Adds term i to term i + n/2, as a reduction on a GPU does."""
    while len(terms) > 1:
        half = (len(terms) + 1) // 2
        terms = [add(a, b) for a, b in zip(terms[:half], terms[half:], strict=False)] + terms[len(terms) - half : half]
    return terms[0]


def lanes(count: int, last: Callable[[Terms, Add], Array] = pairwise) -> Callable[[Terms, Add], Array]:
    """Add every count-th term, then the sums of these."""
    return lambda terms, add: last([sequential(terms[lane::count], add) for lane in range(min(count, len(terms)))], add)


def split(parts: int, last: Callable[[Terms, Add], Array] = pairwise) -> Callable[[Terms, Add], Array]:
    """Add runs of neighbours, then the sums of these."""

    def added(terms: Terms, add: Add) -> Array:
        edges = np.linspace(0, len(terms), parts + 1).astype(int)
        return last([sequential(terms[a:b], add) for a, b in itertools.pairwise(edges) if a < b], add)

    return added


def blocked(size: int) -> Callable[[Terms, Add], Array]:
    """Add runs of so many neighbours, and each run to the sum so far."""
    return lambda terms, add: sequential([sequential(terms[at : at + size], add) for at in range(0, len(terms), size)], add)


def shuffled(terms: Terms, add: Add) -> Array:
    """Adds one after the other, in a shuffled order."""
    return sequential([terms[i] for i in np.random.default_rng(3).permutation(len(terms))], add)


def ragged(terms: Terms, add: Add) -> Array:
    """A tree of no name: a random one."""
    draws = np.random.default_rng(5)
    terms = list(terms)
    while len(terms) > 1:
        a = terms.pop(int(draws.integers(len(terms))))
        at = int(draws.integers(len(terms)))
        terms[at] = add(terms[at], a)
    return terms[0]


def by(axes: Sequence[int], shape: Sequence[int], order: Callable[[Terms, Add], Array]) -> Callable[[Terms, Add], Array]:
    """Deal the terms, in the order of the weight's memory, in that of a nest of loops over ``axes`` of ``shape``."""
    places = np.arange(int(np.prod(shape))).reshape(shape).transpose(axes).reshape(-1)
    return lambda terms, add: order([terms[i] for i in places], add)


# -- roundings -----------------------------------------------------------------------------------------------------------


def cut(bits: int) -> Rounded:
    """Truncate float32 values, or wider ones, to so many significant bits."""

    def truncated(values: Array) -> Array:
        m, e = np.frexp(values.astype(np.float64))
        return np.ldexp(np.trunc(np.ldexp(m, bits)), e - bits).astype(values.dtype)

    return truncated


def to_bits(bits: int) -> Rounded:
    """Round to so many significant bits, to nearest."""

    def near(values: Array) -> Array:
        m, e = np.frexp(values.astype(np.float64))
        return np.ldexp(np.rint(np.ldexp(m, bits)), e - bits).astype(values.dtype)

    return near


def away(bits: int) -> Rounded:
    """Round to so many significant bits, ties away from zero."""

    def near(values: Array) -> Array:
        m, e = np.frexp(values.astype(np.float64))
        scaled = np.ldexp(m, bits)
        return np.ldexp(np.copysign(np.floor(np.abs(scaled) + 0.5), scaled), e - bits).astype(values.dtype)

    return near


def stochastic(bits: int) -> Rounded:
    """Round up with the probability of what is cut off."""
    draws = np.random.default_rng(11)

    def rounded(values: Array) -> Array:
        m, e = np.frexp(values.astype(np.float64))
        return np.ldexp(np.floor(np.ldexp(m, bits) + draws.random(np.shape(values))), e - bits).astype(values.dtype)

    return rounded


def flushed(dtype: npt.DTypeLike) -> Rounded:
    """Take what is subnormal in a dtype for zero."""
    tiny = float(ml_dtypes.finfo(dtype).tiny)
    return lambda values: np.where(np.abs(values) < tiny, np.copysign(values.dtype.type(0), values), values).astype(values.dtype)


def kept(values: Array) -> Array:
    """Rounds nothing."""
    return values


# -- a kernel of these ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kernel:
    """A convolution whose every choice is named; see :meth:`__call__` for their order."""

    order: Callable[[Terms, Add], Array] = sequential
    accumulator: npt.DTypeLike = np.float32
    bias: str = "last"
    fma: bool = False
    inputs: Rounded = kept
    weights: Rounded | None = None
    products: Rounded = kept
    sums: Rounded = kept
    store: Rounded = kept
    results: Rounded = kept
    saturates: bool = False

    def __call__(self, x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        """Round inputs, multiply, add bias and products, store."""
        acc = np.dtype(self.accumulator)
        with np.errstate(all="ignore"):
            read, weights = windows(self.inputs(x), (self.weights or self.inputs)(w), config)
            if self.fma:
                total = self._fused(read, weights, b, acc)
            else:
                taps_first = [np.moveaxis(factor, 2, 0).astype(acc) for factor in (read, weights)]
                total = self._added(list(self.products(np.multiply(*taps_first))), b, acc)
            if self.saturates:
                limit = ml_dtypes.finfo(x.dtype).max
                total = np.clip(total, acc.type(-limit), acc.type(limit))
            y = self.results(self.store(total).astype(x.dtype))
            if b is not None and self.bias == "separate":
                y = (y.astype(acc) + b[None, :, None].astype(acc)).astype(x.dtype)
        return y.reshape(x.shape[0], len(w), *config.output_size)

    def _added(self, terms: Terms, b: Array | None, acc: np.dtype[Any]) -> Array:
        def rounded(one: Array, other: Array) -> Array:
            return self.sums(one + other)

        add: Add = np.add if self.sums is kept else rounded
        column = None if b is None else np.broadcast_to(b[None, :, None].astype(acc), terms[0].shape)
        if column is not None and self.bias == "first":
            terms = [add(column, terms[0]), *terms[1:]]
        total = self.order(terms, add)
        return add(total, column) if column is not None and self.bias == "last" else total

    @staticmethod
    def _fused(read: Array, weights: Array, b: Array | None, acc: np.dtype[Any]) -> Array:
        """Add one product after the other with one rounding for both, in float64, of which float32 is left with few double roundings."""
        total = np.zeros(np.broadcast_shapes(read[:, :, 0].shape, weights[:, :, 0].shape), acc)
        for t in range(read.shape[2]):
            exact = read[:, :, t].astype(np.float64) * weights[:, :, t].astype(np.float64) + total.astype(np.float64)
            total = exact.astype(acc)
        return total if b is None else (total + b[None, :, None].astype(acc)).astype(acc)


def backend(kernel: Callable[..., Array], numerics: Numerics | None = None) -> KernelBackend:
    """Return a kernel as a backend that computes plain convolutions."""
    import convfuzz  # noqa: PLC0415 - the front door, for its decorator

    declared = convfuzz.backend(
        supports=lambda c: c.groups == 1 and c.batch is not None and c.padding_mode == "zeros" and not any(d != 1 for d in c.dilation),
        ops=("conv",),
        numerics=numerics or Numerics(),
    )

    def called(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        return kernel(x, w, b, config)

    return KernelBackend("planted", declared(called))
