"""Unusual kernels, though real ones: mixed levels of sums, compensation, operands in parts, orders that depend on the numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convfuzz import ConvConfig

from .kernels import Add, Array, Rounded, Terms, lanes, pairwise, sequential, to_bits, windows


def with_tail(count: int) -> Callable[[Terms, Add], Array]:
    """Add in lanes as far as these are full, reduce them, then add what is left over."""

    def order(terms: Terms, add: Add) -> Array:
        full = len(terms) // count * count
        return sequential([lanes(count)(terms[:full], add), *terms[full:]], add)

    return order


def with_own_tail(count: int) -> Callable[[Terms, Add], Array]:
    """Add in lanes as far as these are full, and what is left over by itself."""

    def order(terms: Terms, add: Add) -> Array:
        full = len(terms) // count * count
        return add(lanes(count)(terms[:full], add), sequential(terms[full:], add))

    return order


def blocks_of_blocks(size: int, count: int) -> Callable[[Terms, Add], Array]:
    """Add runs of neighbours, so many of these to a larger block, and the larger blocks, as two levels of tiles do."""

    def order(terms: Terms, add: Add) -> Array:
        sums = [sequential(terms[at : at + size], add) for at in range(0, len(terms), size)]
        return sequential([sequential(sums[at : at + count], add) for at in range(0, len(sums), count)], add)

    return order


def shuffled_lanes(terms: Terms, add: Add) -> Array:
    """Reduce eight lanes as a tree, in an order of their own."""
    sums = [sequential(terms[lane::8], add) for lane in range(8)]
    return pairwise([sums[lane] for lane in (3, 6, 0, 5, 1, 7, 2, 4)], add)


def last_channel_first(terms: Terms, add: Add) -> Array:
    """Add the sums of nine taps from the last channel on, as atomics may."""
    return sequential([sequential(terms[at : at + 9], add) for at in range(0, len(terms), 9)][::-1], add)


def stored_every(size: int, store: Rounded) -> Callable[[Terms, Add], Array]:
    """Round the sum so far after so many terms."""

    def order(terms: Terms, add: Add) -> Array:
        total = store(sequential(terms[:size], add))
        for at in range(size, len(terms), size):
            total = store(sequential([total, *terms[at : at + size]], add))
        return total

    return order


def kahan(terms: Terms, add: Add) -> Array:
    """Adds one after the other and carries on what is lost."""
    del add
    total, rest = terms[0], np.zeros_like(terms[0])
    for term in terms[1:]:
        corrected = term - rest
        larger = total + corrected
        rest = (larger - total) - corrected
        total = larger
    return total


def kahan_of_blocks(terms: Terms, add: Add) -> Array:
    """Carries on what is lost between plain sums of sixteen terms."""
    return kahan([sequential(terms[at : at + 16], add) for at in range(0, len(terms), 16)], add)


def neumaier(terms: Terms, add: Add) -> Array:
    """Adds one after the other, and all that is lost in a second sum, which is added at the end."""
    del add
    total, rest = terms[0], np.zeros_like(terms[0])
    for term in terms[1:]:
        larger = total + term
        rest = rest + np.where(np.abs(total) >= np.abs(term), (total - larger) + term, (term - larger) + total)
        total = larger
    return total + rest


def by_magnitude(terms: Terms, add: Add) -> Array:
    """Adds the smallest first: an order that the numbers decide."""
    stacked = np.stack(terms)
    return sequential(list(np.take_along_axis(stacked, np.argsort(np.abs(stacked), axis=0, kind="stable"), axis=0)), add)


def signs_apart(terms: Terms, add: Add) -> Array:
    """Adds the positive ones, the negative ones, and both sums."""
    return add(sequential([np.maximum(t, 0) for t in terms], add), sequential([np.minimum(t, 0) for t in terms], add))


def to_odd(bits: int) -> Rounded:
    """Round what is between two numbers to the odd one, so that a second rounding does no harm."""

    def rounded(values: Array) -> Array:
        m, e = np.frexp(values.astype(np.float64))
        scaled = np.ldexp(m, bits)
        whole = np.trunc(scaled)
        whole = np.where((whole != scaled) & (whole % 2 == 0), whole + np.sign(scaled), whole)
        return np.ldexp(whole, e - bits).astype(values.dtype)

    return rounded


def rounded_products(accumulator: np.dtype[np.generic] | type) -> Callable[..., Array]:
    """Return a kernel whose products are made in the operands' dtype and added in another, as ``sum += a[i] * b[i]`` does in C."""

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        read, weights = windows(x, w, config)
        total = sequential(list(np.moveaxis(read * weights, 2, 0).astype(accumulator)), np.add)
        total = total if b is None else total + b[None, :, None].astype(accumulator)
        return total.astype(x.dtype).reshape(len(x), len(w), *config.output_size)

    return kernel


def in_parts(count: int) -> Callable[..., Array]:
    """Return a float32 kernel made of bfloat16 parts of its operands, the products of the smallest left out."""

    def parts(values: Array) -> list[Array]:
        found = []
        for _ in range(count):
            found.append(to_bits(8)(values))
            values = values - found[-1]
        return found

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        of_x, of_w = parts(x), parts(w)
        sums = []
        for both in range(count - 1, -1, -1):
            for i in range(both + 1):
                read, weights = windows(of_x[i], of_w[both - i], config)
                sums.append(sequential(list(np.moveaxis(read * weights, 2, 0)), np.add))
        total = sequential(sums, np.add)
        return (total if b is None else total + b[None, :, None]).reshape(len(x), len(w), *config.output_size)

    return kernel


def double_between(size: int) -> Callable[..., Array]:
    """Return a kernel that adds blocks of products in float32, and the sums of blocks in float64."""

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        read, weights = windows(x, w, config)
        products = [read[:, :, t] * weights[:, :, t] for t in range(read.shape[2])]
        sums = [sequential(products[at : at + size], np.add).astype(np.float64) for at in range(0, len(products), size)]
        total = sequential(sums, np.add)
        return (total if b is None else total + b[None, :, None]).astype(x.dtype).reshape(len(x), len(w), *config.output_size)

    return kernel


def fused_every_other(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Add every other product unrounded, as a loop that a compiler has half fused."""
    read, weights = windows(x.astype(np.float64), w.astype(np.float64), config)
    total = np.zeros(np.broadcast_shapes(read[:, :, 0].shape, weights[:, :, 0].shape), np.float32)
    for t in range(read.shape[2]):
        product = read[:, :, t] * weights[:, :, t]
        total = ((product.astype(np.float32) if t % 2 else product) + total).astype(np.float32)
    return (total if b is None else total + b[None, :, None]).reshape(len(x), len(w), *config.output_size)


def in_fixed_point(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Round every product to a multiple of 2^−20."""
    read, weights = windows(x.astype(np.float64), w.astype(np.float64), config)
    total = np.rint(read * weights * 2.0**20).sum(axis=2) / 2.0**20
    return (total if b is None else total + b[None, :, None]).astype(x.dtype).reshape(len(x), len(w), *config.output_size)
