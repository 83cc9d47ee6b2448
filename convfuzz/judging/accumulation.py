"""What sums kept in a short format really lose on given products: float16 and bfloat16 accumulators.

A sum with 8 or 11 significant bits is a multiple of its own spacing, so that each addition rounds the term to a multiple of
that: terms of less than half of it vanish, others grow. What becomes of a sum depends on the products and on how large the
partial sums get, which no formula in y, S, Q and n knows. So the sums are added up in that format, in the orders that
kernels use, and the others are as far from those as mean-zero rounding can be. ``docs/numerics.md`` says why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

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
_AT_ONCE = 64
"""So many sums are added up at a time: their products stay in a processor's cache from one order to the next."""
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

    ``lines`` is (lines, terms of each), -1 where a line is shorter. The terms are products, in the first or the second order that is
    ``given`` of them, and ``rounded`` first or added as they are.
    """

    lines: Indices
    in_pairs: bool = False
    given: int = 0
    rounded: bool = False

    @property
    def numbers(self) -> tuple[int, ...]:
        """All but the lines, as compiled code takes it."""
        return (*self.lines.shape, self.in_pairs, self.given, self.rounded)

    def add_up(self, terms: Floats, precision: int) -> tuple[Floats, Floats]:
        """Return the sums of ``terms``, (terms, sums), with so many bits, and the squares of the roundings of each."""
        (sums,), (squares,) = Orders([self]).add_up(terms[None], precision)
        return sums, squares


class Orders:
    """Several orders, in which products are added up together: a few sums in all of them while their products are at hand."""

    def __init__(self, orders: Sequence[Order]) -> None:
        self._numbers = np.array([order.numbers for order in orders], dtype=np.int64).reshape(-1, 5)
        self._lines = np.concatenate([order.lines.reshape(-1) for order in orders])

    def add_up(self, products: Floats, precision: int) -> tuple[Floats, Floats]:
        """Return the sums of ``products``, (orders given, products, sums), with so many bits, and the squares of the roundings of each.

        Both are (orders, sums).
        """
        return _added_up(np.ascontiguousarray(products), self._numbers, self._lines, _splitter(precision))


def running(terms: Indices) -> Order:
    """Return the order that adds one term after the other."""
    return Order(terms[None])


def in_blocks(terms: Indices, size: int) -> Order:
    """Return the order that adds up blocks of neighbours, then their sums one after the other."""
    return Order(_cut(terms, size))


def in_lanes(terms: Indices, lanes: int) -> Order:
    """Return the order that deals the terms out to lanes, as vector code does, and adds these up in pairs."""
    return Order(_cut(terms, lanes).T, in_pairs=True)


def as_tree(terms: Indices) -> Order:
    """Return the order that adds neighbours, then the sums of two, and so on."""
    return Order(terms[:, None], in_pairs=True)


def lost(products: Floats, precision: int, *, few: bool = False) -> tuple[Floats, Floats]:
    """Return by how much sums with ``precision`` bits may be below and above the exact ones.

    ``products`` is (orders, products, sums): the products of each sum in one or more orders of their own; those that a sum does
    not have are 0. With ``few`` it is what the first orders say, which is no more than all say.
    """
    exact = products[0].sum(axis=0)
    sums, of_roundings = _usual(*products.shape[:2], few=few).add_up(products, precision)
    errors, by_chance = sums - exact, BY_CHANCE * np.sqrt(of_roundings)
    below, above = (np.maximum(most, 0.0) for most in ((-errors - by_chance).max(axis=0), (errors - by_chance).max(axis=0)))
    squares = of_roundings.max(axis=0)
    spread = _by_chance(products[0], 2.0**-precision, squares)
    return below + spread, above + spread


def many_orders(given: int, count: int) -> list[Order]:
    """Return running sums, lanes, blocks and pairs of so many products, which are ``given`` in one or more orders of their own."""
    terms = np.arange(count)
    made: list[Order] = []
    for rounds_first in (False, True):  # multiplied and added at once, or one after the other
        plain = [in_blocks(terms, size) for size in sorted({*_BLOCKS, round(count**0.5)}) if 1 < size < count]
        plain += [in_lanes(terms, lanes) for lanes in _LANES if lanes < count]
        made += [Order(line, given=which, rounded=rounds_first) for which in range(given) for line in (terms[None], terms[None, ::-1])]
        made += [replace(order, rounded=rounds_first) for order in (*plain, as_tree(terms))]
    return made


@lru_cache(maxsize=4)
def _usual(given: int, count: int, *, few: bool) -> Orders:
    return Orders(many_orders(given, count)[: _FIRST if few else None])


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
def _added_up(products: Floats, orders: Indices, lines: Indices, splitter: float) -> tuple[Floats, Floats]:
    """Add up as :meth:`Orders.add_up` says, rounding as :func:`rounded` does, as many sums at a time as stay in a processor's cache."""
    _, count, columns = products.shape
    sums, squares = np.zeros((2, orders.shape[0], columns))
    width, most = min(_AT_ONCE, columns), count // 2 + 1
    for k in range(orders.shape[0]):
        most = max(most, orders[k, 0])
    terms, parts, lost = np.empty((count, width)), np.empty((most, width)), np.empty(width)
    for first in range(0, columns, width):
        size, begin, read = min(width, columns - first), 0, -1
        for k in range(orders.shape[0]):
            many, each, in_pairs, given, rounds_first = orders[k]
            if read != 2 * given + rounds_first:
                read = 2 * given + rounds_first
                _read(products[given], first, size, terms, splitter if rounds_first else 0.0)
            parts[0] = 0.0
            lost[:] = 0.0
            of_order = lines[begin : begin + many * each]
            left = _add_lines(parts, terms, of_order, each, in_pairs, lost, splitter)
            _add_parts(parts, left, in_pairs, lost, splitter)
            sums[k, first : first + size] = parts[0, :size]
            squares[k, first : first + size] = lost[:size]
            begin += many * each
    return sums, squares


@compiled
def _read(products: Floats, first: int, size: int, terms: Floats, splitter: float) -> None:
    """Copy the products of some sums, rounded where there is a splitter; in columns that are left of an earlier block nothing is."""
    for row in range(terms.shape[0]):
        terms[row, :size] = products[row, first : first + size]
        if splitter != 0.0:
            for j in range(size):
                scaled = terms[row, j] * splitter
                terms[row, j] = scaled - (scaled - terms[row, j])


@compiled
def _add_lines(parts: Floats, terms: Floats, lines: Indices, each: int, in_pairs: int, lost: Floats, splitter: float) -> int:
    """Fill in the sum of each line, or of lines of one term each, which are a tree's leaves, those of two; return how many there are."""
    if each != 1:
        count = lines.size // each if each else 0
        for line in range(count):
            parts[line] = 0.0
            for k in range(line * each, (line + 1) * each):
                if lines[k] >= 0:
                    _add(parts, line, terms, lines[k], lost, splitter)
        return count
    count = lines.size
    if not in_pairs or count < 2:
        for line in range(count):
            parts[line] = terms[lines[line]]
        return count
    for pair in range(count // 2):
        _add_two(parts, pair, terms, lines[2 * pair], lines[2 * pair + 1], lost, splitter)
    if count % 2:
        parts[count // 2] = terms[lines[count - 1]]
    return (count + 1) // 2


@compiled
def _add_parts(parts: Floats, count: int, in_pairs: int, lost: Floats, splitter: float) -> None:
    """Add up the sums of lines, the result first."""
    while in_pairs and count > 1:
        for pair in range(count // 2):
            _add_two(parts, pair, parts, 2 * pair, 2 * pair + 1, lost, splitter)
        if count % 2:
            parts[count // 2] = parts[count - 1]
        count = (count + 1) // 2
    for line in range(1, count):
        _add(parts, 0, parts, line, lost, splitter)


@compiled
def _add(sums: Floats, at: int, terms: Floats, one: int, squares: Floats, splitter: float) -> None:
    """Add a term, without views of rows, which would take as long as adding."""
    for j in range(squares.size):
        exact = sums[at, j] + terms[one, j]
        scaled = exact * splitter
        result = scaled - (scaled - exact)
        sums[at, j] = result
        exact -= result
        squares[j] += exact * exact


@compiled
def _add_two(sums: Floats, at: int, terms: Floats, one: int, other: int, squares: Floats, splitter: float) -> None:
    """Add two terms; apart from :func:`_add`, since what is written must not be what is read for vector code."""
    for j in range(squares.size):
        exact = terms[one, j] + terms[other, j]
        scaled = exact * splitter
        result = scaled - (scaled - exact)
        sums[at, j] = result
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
