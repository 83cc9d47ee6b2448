"""What sums kept in a short format really lose on given products: float16 and bfloat16 accumulators.

A sum with 8 or 11 significant bits is a multiple of its own spacing, so that each addition rounds the term to a multiple of
that: terms of less than half of it vanish, others grow. What becomes of a sum depends on the products and on how large the
partial sums get, which no formula in y, S, Q and n knows. So the sums are added up in that format, in the orders that
kernels use, and the others are as far from those as mean-zero rounding can be. ``docs/numerics.md`` says why.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from convfuzz.judging.bounds import LAMBDA
from convfuzz.judging.short_sums import add_in_pairs, add_running

Floats = npt.NDArray[np.float64]

_LANES = (2, 4, 16, 64)
_BLOCKS = (16, 32, 128)
_BY_CHANCE = 2.0
"""How much of an order's error, in standard deviations of its roundings, is no drift but may have come out like that by chance."""
_FEW, _SEVERAL = 16, 4.0


def lost(products: Floats, precision: int) -> tuple[Floats, Floats]:
    """Return by how much sums with ``precision`` bits may be below and above the exact ones.

    ``products`` is (orders, products, sums): the products of each sum in one or more orders of their own; those that a sum does
    not have are 0.
    """
    exact = products[0].sum(axis=0)
    below, above, squares = np.zeros_like(exact), np.zeros_like(exact), np.zeros_like(exact)
    for terms in (products, rounded(products, precision)):  # multiplied and added at once, or one after the other
        for sums, of_roundings in _in_many_orders(terms, precision):
            error, by_chance = sums - exact, _BY_CHANCE * np.sqrt(of_roundings)
            below, above = np.maximum(below, -error - by_chance), np.maximum(above, error - by_chance)
            squares = np.maximum(squares, of_roundings)
    spread = LAMBDA * np.sqrt(_squares(products[0], 2.0**-precision, squares))
    return below + spread, above + spread


def rounded(values: Floats, precision: int) -> Floats:
    """Round to so many significant bits, to nearest (Dekker's splitting), whatever the exponent."""
    scaled = values * (2.0 ** (53 - precision) + 1.0)
    return scaled - (scaled - values)


def _in_many_orders(terms: Floats, precision: int) -> list[tuple[Floats, Floats]]:
    """Return sums, and the squares of their roundings, as running sums, lanes, blocks and pairs make them."""
    forth_and_back = np.concatenate([terms, terms[:, ::-1]])
    ways = [
        (s, q) for sums, squares in [_running(np.moveaxis(forth_and_back, 1, 0), precision)] for s, q in zip(sums, squares, strict=True)
    ]
    first, count = terms[0], terms.shape[1]
    for size in sorted({*_BLOCKS, round(count**0.5)}):
        if 1 < size < count:
            within, squares = _running(_cut(first, size).swapaxes(0, 1), precision)
            total, more = _running(within, precision)
            ways.append((total, more + squares.sum(axis=0)))
    for lanes in _LANES:
        if lanes < count:
            within, squares = _running(_cut(first, lanes), precision)
            total, more = _in_pairs(within, precision)
            ways.append((total, more + squares.sum(axis=0)))
    return [*ways, _in_pairs(first, precision)]


def _cut(terms: Floats, size: int) -> Floats:
    """Cut the terms into rows of ``size``, the last one filled with zeros."""
    missing = -len(terms) % size
    return np.concatenate([terms, np.zeros((missing, *terms.shape[1:]))]).reshape(-1, size, *terms.shape[1:])


def _running(terms: Floats, precision: int) -> tuple[Floats, Floats]:
    """Add along the first axis, one term after the other."""
    total, squares = add_running(_flat(np.ascontiguousarray(terms)), precision)
    return total.reshape(terms.shape[1:]), squares.reshape(terms.shape[1:])


def _in_pairs(terms: Floats, precision: int) -> tuple[Floats, Floats]:
    """Add neighbours along the first axis, then the sums of two, and so on."""
    total, squares = add_in_pairs(_flat(terms).copy(), precision)
    return total.reshape(terms.shape[1:]), squares.reshape(terms.shape[1:])


def _flat(terms: Floats) -> Floats:
    """Give the sums one axis, also where there is no term."""
    return terms.reshape(len(terms), math.prod(terms.shape[1:]))


def _squares(products: Floats, u: float, seen: Floats) -> Floats:
    """Return Σ(rounding)² as it may be in an order that was not added up, given the most that was ``seen`` in those that were.

    In a random order Σ(u·s_k)²/3 + Σ(u·p)²/3 is expected, each rounding being uniform within u of its sum; partial sums of
    mean zero wander, so that one order can have several times what another has. Where sums are so long that terms vanish, what
    was seen stands for their growth; where many roundings were seen to be nearly none, as of round numbers, they are.
    """
    n = np.maximum((products != 0.0).sum(axis=0), 1.0)
    q = (products * products).sum(axis=0)
    mean = products.sum(axis=0) / n
    steady = np.where(n * u <= 0.5, (2.0 * n + 1.0) * mean * mean, 0.0)
    walk = n * (n + 1.0) / 6.0 * (np.maximum(q / n - mean * mean, 0.0) + steady)
    expected = u * u / 3.0 * (walk + q)
    likely: Floats = np.maximum(seen, np.where(n > _FEW, np.minimum(expected, _SEVERAL * seen), expected))
    return likely
