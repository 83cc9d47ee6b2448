"""What sums kept in a short format really lose on given products: float16 and bfloat16 accumulators.

A sum with 8 or 11 significant bits is a multiple of its own spacing, so that each addition rounds the term to a multiple of
that: terms of less than half of it vanish, others grow. What becomes of a sum depends on the products and on how large the
partial sums get, which no formula in y, S, Q and n knows. So the sums are added up in that format, in the orders that
kernels use, and the others are as far from those as mean-zero rounding can be. ``docs/numerics.md`` says why.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from convfuzz.judging.bounds import LAMBDA
from convfuzz.oracle.jit import compiled

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

BY_CHANCE = 2.0
"""How much of an order's error, in standard deviations of its roundings, is no drift but may have come out like that by chance."""
_FIRST = 2
"""How many orders are added up first: a running sum from either end."""
_LANES = (2, 4, 16, 64)
_BLOCKS = (16, 32, 128)
FEW, _SEVERAL = 16, 4.0
"""Up to so many products, and by so much beyond that, roundings that were seen say little of those in other orders."""
_NONE = -1
_ANGLES = (
    angle := np.concatenate([np.geomspace(0.1, 2.4, 24), np.linspace(2.45, 3.13, 24)]),
    np.log(angle / np.sin(angle)) / 2.0,
    (1.0 - angle / np.tan(angle)) / 4.0,
)
"""Angles φ below π, and of a Brownian bridge's ∫B² and a line's: ½·log(φ/sin φ) and (1 − φ·cot φ)/4 (Anderson and Darling 1952)."""
_SPREAD_OUT = 0.75 / math.log(4.0)
"""Of (u·s)² what roundings of s are within, squared, on average of sums that wander through all magnitudes: ∫ 4^−t dt from 0 to 1."""
_WANDERS = 1e-4
"""The least share of Σ s_k² that wanders, below which it is as if none did."""


@dataclass(frozen=True, slots=True)
class Order:
    """An order of adding up: the terms of each line one after the other, then the lines' sums, in pairs or likewise.

    ``lines`` is (lines, terms of each), -1 where a line is shorter.
    """

    lines: Indices
    in_pairs: bool = False

    def add_up(self, terms: Floats, precision: int) -> tuple[Floats, Floats]:
        """Return the sums of ``terms``, (terms, sums), with so many bits, and the squares of the roundings of each."""
        return _added_up(terms, self.lines, self.in_pairs, _splitter(precision))


def running(terms: Indices) -> Order:
    """Return the order that adds one term after the other."""
    return Order(terms[None])


def in_blocks(terms: Indices, size: int) -> Order:
    """Return the order that adds up blocks of neighbours, then their sums one after the other."""
    return Order(_cut(terms, size))


def in_lanes(terms: Indices, lanes: int) -> Order:
    """Return the order that deals the terms out to lanes, as vector code does, and adds these up in pairs."""
    return Order(np.ascontiguousarray(_cut(terms, lanes).T), in_pairs=True)


def as_tree(terms: Indices) -> Order:
    """Return the order that adds neighbours, then the sums of two, and so on."""
    return Order(terms[:, None], in_pairs=True)


def lost(products: Floats, precision: int, *, few: bool = False) -> tuple[Floats, Floats]:
    """Return by how much sums with ``precision`` bits may be below and above the exact ones.

    ``products`` is (orders, products, sums): the products of each sum in one or more orders of their own; those that a sum does
    not have are 0. With ``few`` it is what the first orders say, which is no more than all say.
    """
    exact = products[0].sum(axis=0)
    below, above, squares = np.zeros_like(exact), np.zeros_like(exact), np.zeros_like(exact)
    for sums, of_roundings in islice(in_many_orders(products, precision), _FIRST if few else None):
        error, by_chance = sums - exact, BY_CHANCE * np.sqrt(of_roundings)
        below, above = np.maximum(below, -error - by_chance), np.maximum(above, error - by_chance)
        squares = np.maximum(squares, of_roundings)
    spread = _by_chance(products[0], 2.0**-precision, squares)
    return below + spread, above + spread


def in_many_orders(products: Floats, precision: int) -> Iterator[tuple[Floats, Floats]]:
    """Yield sums, and the squares of their roundings, as running sums, lanes, blocks and pairs make them."""
    terms = np.arange(products.shape[1])
    for round_first in (False, True):  # multiplied and added at once, or one after the other
        values = rounded(products, precision) if round_first else products
        for order in values:
            yield running(terms).add_up(order, precision)
            yield running(terms[::-1]).add_up(order, precision)
        for size in sorted({*_BLOCKS, round(len(terms) ** 0.5)}):
            if 1 < size < len(terms):
                yield in_blocks(terms, size).add_up(values[0], precision)
        for lanes in _LANES:
            if lanes < len(terms):
                yield in_lanes(terms, lanes).add_up(values[0], precision)
        yield as_tree(terms).add_up(values[0], precision)


def rounded(values: Floats, precision: int) -> Floats:
    """Round to so many significant bits, to nearest (Dekker's splitting), whatever the exponent."""
    scaled = values * _splitter(precision)
    return scaled - (scaled - values)


def _splitter(precision: int) -> float:
    return float(2.0 ** (53 - precision) + 1.0)


def _cut(terms: Indices, size: int) -> Indices:
    """Cut the terms into rows of ``size``, the last one filled up."""
    return np.concatenate([terms, np.full(-len(terms) % size, _NONE)]).reshape(-1, size)


@compiled
def _added_up(terms: Floats, lines: Indices, in_pairs: bool, splitter: float) -> tuple[Floats, Floats]:  # noqa: FBT001 - Numba has no keywords
    """Add up the lines, then their sums, rounding as :func:`rounded` does."""
    squares = np.zeros(terms.shape[1])
    if in_pairs and lines.shape[1] == 1 and lines.shape[0] > 1:
        parts = _pairs(terms, lines[:, 0], squares, splitter)
    else:
        parts = _sums_of_lines(terms, lines, squares, splitter)
    count = parts.shape[0]
    while in_pairs and count > 1:
        for pair in range(count // 2):
            _add_two(parts[pair], parts[2 * pair], parts[2 * pair + 1], squares, splitter)
        if count % 2:
            parts[count // 2] = parts[count - 1]
        count = (count + 1) // 2
    for line in range(1, count):
        _add(parts[0], parts[line], squares, splitter)
    return parts[0], squares


@compiled
def _sums_of_lines(terms: Floats, lines: Indices, squares: Floats, splitter: float) -> Floats:
    parts = np.zeros((max(lines.shape[0], 1), terms.shape[1]))
    for line in range(lines.shape[0]):
        for k in range(lines.shape[1]):
            if lines.shape[1] == 1:
                parts[line] = terms[lines[line, k]]
            elif lines[line, k] >= 0:
                _add(parts[line], terms[lines[line, k]], squares, splitter)
    return parts


@compiled
def _pairs(terms: Floats, order: Indices, squares: Floats, splitter: float) -> Floats:
    """Return the sums of neighbours, which is where a tree begins: its leaves need no copies."""
    count = order.size
    parts = np.empty(((count + 1) // 2, terms.shape[1]))
    for pair in range(count // 2):
        _add_two(parts[pair], terms[order[2 * pair]], terms[order[2 * pair + 1]], squares, splitter)
    if count % 2:
        parts[count // 2] = terms[order[count - 1]]
    return parts


@compiled
def _add(total: Floats, term: Floats, squares: Floats, splitter: float) -> None:
    for j in range(total.size):
        exact = total[j] + term[j]
        scaled = exact * splitter
        total[j] = scaled - (scaled - exact)
        exact -= total[j]
        squares[j] += exact * exact


@compiled
def _add_two(total: Floats, one: Floats, other: Floats, squares: Floats, splitter: float) -> None:
    """Add as :func:`_add` does, which is faster where the total is one of the two."""
    for j in range(total.size):
        exact = one[j] + other[j]
        scaled = exact * splitter
        result = scaled - (scaled - exact)
        total[j] = result
        exact -= result
        squares[j] += exact * exact


def _by_chance(products: Floats, u: float, seen: Floats) -> Floats:
    """Return how far roundings may take a sum in an order that was not added up, given the most Σ(rounding)² that was ``seen``.

    In a random order each rounding is uniform within half the spacing at its sum s_k, u·s_k and less, and Σ(u·s_k)²/3 + Σ(u·p)²/3 is
    expected at most. Partial sums of mean zero wander, so that one order can have many times that: see :func:`_deviations`. Where sums
    are so long that terms vanish, what was seen stands for their growth; where many roundings were seen to be nearly none, as of round
    numbers, they are.
    """
    n = np.maximum((products != 0.0).sum(axis=0), 1.0)
    q = (products * products).sum(axis=0)
    mean = products.sum(axis=0) / n
    steady = np.where(n * u <= 0.5, n * (n + 1.0) * (2.0 * n + 1.0) / 6.0 * mean * mean, 0.0)
    walk = _SPREAD_OUT * n * (n + 1.0) / 6.0 * np.maximum(q / n - mean * mean, 0.0)
    expected = u * u / 3.0 * (walk + steady + q)
    likely = np.where(n > FEW, np.minimum(expected, _SEVERAL * seen), expected)
    chance: Floats = np.maximum(LAMBDA * np.sqrt(seen), _deviations(walk, steady, q) * np.sqrt(likely))
    return chance


def _deviations(walk: Floats, steady: Floats, q: Floats) -> Floats:
    """Return how many times √(E R) an error is at most, but for the probability of λ standard deviations, where R is itself a chance.

    The partial sums of a random order are a line to the sum, whose squares are ``steady``, and a Brownian bridge beside it, whose
    squares ``walk`` are expected. Chernoff's bound with E exp(θ²R/2) of that process, which :data:`_ANGLES` has the parts of.
    """
    whole = walk + steady + q
    safe = np.where(whole > 0.0, whole, 1.0)
    share, rest = walk / safe, q / safe
    line = 1.0 - share - rest
    # With φ = θ·√(6·walk), so that φ² is the share times 6·θ²; the least over the angles, of which each is a bound.
    angle, bridge, slant = (values[:, None] for values in _ANGLES)
    with np.errstate(divide="ignore", invalid="ignore"):
        exponent = LAMBDA**2 / 2.0 + bridge + slant * line / share + angle**2 * rest / (12.0 * share)
        most = (np.sqrt(6.0 * share) / angle * exponent).min(axis=0)
    found: Floats = np.where(share > _WANDERS, most, LAMBDA)
    return np.maximum(found, LAMBDA)
