"""How far the sums of a layer may be off *together*, where all are added up in one order in a short format.

A kernel adds up all of its sums alike. So the errors of many elements are those of one order, and their sums and norms vary far
less than each of them: a layer whose sums are all a little too small, or off by what one in a million is off by, was not added up
like that. What orders do to the layer is seen by adding it up in them, and by shuffling them. ``docs/numerics.md`` derives it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from convfuzz.judging import accumulation
from convfuzz.judging.accumulation import BY_CHANCE, FEW, Floats, Indices
from convfuzz.judging.bounds import LAMBDA

_SHUFFLES, _MORE_RUNNING = 8, 2
_BLOCK, _LANES = 32, 16
_MORE_BLOCKS, _MORE_LANES = (4, 8, 64, 256, 512), (8, 32)
_FEWEST_INDEPENDENT = 16
_ALIKE = 1.0 / 16.0
"""The least that the squares of an element's roundings in one running sum are of those in another, where the elements are asked."""
_UNSURE, _WANDERING = 1.25, 1.4
"""How much larger the spread of a sum of errors, and that of the logarithm of their squares, may be than they were estimated."""
_QUESTIONS = 3
_LOSING, _GAINING = 0.5, 1.0
"""By how much of itself, or of what it leaves of a sum, the drift of other orders may be beyond that of the ones that were added up."""
FEWEST = 24
"""With fewer elements nothing is asked of them together."""
MOST = 256
"""How many elements of a layer are asked: their errors together are certain enough then."""

Range = tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class JointLimits:
    """What the errors of a layer's ``elements`` may be together, for :func:`.bounds.together`.

    ``scale`` is one over the largest spread that rounding gives each element. ``slope`` is the range of the share of y by which the sums
    are off, ``error`` the largest norm of the errors and ``output`` the range of the norm of the results, in that scale.
    """

    elements: Indices
    y: Floats
    scale: Floats
    slope: Range
    error: float
    output: Range


def joint_limits(products: Floats, precision: int, elements: Indices) -> JointLimits | None:
    """Return what the sums of ``products``, (orders, products, sums), may be off by together; ``None`` where they are too few to say."""
    exact = products[0].sum(axis=0)
    orders, first = _orders(*products.shape[:2])
    sums, squares = orders.add_up(products, precision)
    errors, size = sums - exact, _SHUFFLES
    spread, in_turn = squares.max(axis=0), squares[np.r_[: 2 * len(products), first : first + size]]
    # Of sums that hardly ever round, such as those of round numbers, too little is known.
    rounds = (in_turn.min(axis=0) > in_turn.max(axis=0) * _ALIKE) & np.isfinite(spread) & np.isfinite(errors).all(axis=0)
    rounds &= np.count_nonzero(products[0], axis=0) > FEW
    if np.count_nonzero(rounds) < max(FEWEST, len(rounds) / 2.0):
        return None
    scale = 1.0 / np.sqrt(spread[rounds])
    y, errors, squares = exact[rounds] * scale, errors[:, rounds] * scale, squares[:, rounds] * scale**2
    shuffled = np.stack([errors[k : k + size] for k in range(first, len(errors), size)])
    chance = np.stack([squares[k : k + size] for k in range(first, len(errors), size)])
    independent = _independent(shuffled[:-_MORE_RUNNING], chance[:-_MORE_RUNNING])
    if independent < _FEWEST_INDEPENDENT:
        return None
    if len(np.unique((in_turn[:, rounds] * scale**2).sum(axis=-1))) == 1:
        return None
    running = np.r_[: 2 * len(products), first : first + size, len(errors) - _MORE_RUNNING * size : len(errors)]
    spread_of = _Spread(first, running, size, LAMBDA**2 / 2.0 - math.log(len(y) / _QUESTIONS))
    return JointLimits(
        elements[rounds],
        exact[rounds],
        scale,
        _slopes(y, errors, squares, _in_common(y, shuffled, chance), spread_of),
        _largest_norm(errors, squares, independent, spread_of),
        _norms(y, errors, squares, independent, spread_of),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Spread:
    """What chance may do in the ``known`` orders, which come first, and in another that is like the ``running`` ones.

    ``size`` is how many shuffles of each family come behind. ``certainty`` is −log of the probability that chance does more.
    """

    known: int
    running: Indices
    size: int
    certainty: float

    def on_average(self, each: Floats) -> Floats:
        """Return the values of the known orders, and the means of each family of shuffles, which say what these have in common."""
        return np.concatenate([each[: self.known], each[self.known :].reshape(-1, self.size).mean(axis=1)])

    def by_chance(self, spread: Floats) -> Floats:
        """Return how far those values may be from what they have in common with others of their kind."""
        found = BY_CHANCE * self.on_average(spread)
        found[self.known :] /= math.sqrt(self.size)
        return found

    def of(self, each: Floats, tail: Callable[[Floats], Floats]) -> float:
        """Return the most that chance may do, given each order's spread and how many times that it may be."""
        return max(self.at_most(tail) * float(each[: self.known].max()), self.in_another(each, tail))

    def at_most(self, tail: Callable[[Floats], Floats]) -> float:
        """Return how many times its spread something may be in one order."""
        return float(tail(np.array([self.certainty]))[0])

    def in_another(self, each: Floats, tail: Callable[[Floats], Floats]) -> float:
        """Return the most in an order whose spread is unusual by k deviations and chance in it by the rest, for the worst k."""
        seen = np.log(np.unique(each[self.running]))
        varies = _WANDERING * float(np.std(seen, ddof=1)) if len(seen) > 1 else 0.0
        unusual = np.linspace(0.0, math.sqrt(2.0 * self.certainty), 64, endpoint=False)
        return math.exp(float(seen.mean())) * float((tail(self.certainty - unusual**2 / 2.0) * np.exp(unusual * varies)).max())


@lru_cache(maxsize=2)
def _orders(given: int, count: int) -> tuple[accumulation.Orders, int]:
    """Return the orders that a layer is added up in, and how many of them are not shuffled."""
    known = accumulation.many_orders(given, count) + _more(count)
    return accumulation.Orders([*known, *itertools.chain(*_shuffled(count))]), len(known)


def _shuffled(count: int) -> list[list[accumulation.Order]]:
    """Return shuffled orders of each family; of running sums, whose partial sums wander most, there are more behind all others."""
    draw = np.random.default_rng(count)
    families = (
        accumulation.running,
        lambda terms: accumulation.in_blocks(terms, _BLOCK),
        lambda terms: accumulation.in_lanes(terms, _LANES),
        accumulation.as_tree,
        *[accumulation.running] * _MORE_RUNNING,
    )
    return [[family(draw.permutation(count)) for _ in range(_SHUFFLES)] for family in families]


def _more(count: int) -> list[accumulation.Order]:
    """Return orders beside those that a single sum is added up in: what they lose and gain alike shows in a whole layer only."""
    terms = np.arange(count)
    blocks = [accumulation.in_blocks(terms, size) for size in _MORE_BLOCKS if size < count]
    return blocks + [accumulation.in_lanes(terms, lanes) for lanes in _MORE_LANES if lanes < count]


def _independent(errors: Floats, squares: Floats) -> float:
    """Return how many of the elements err independently: (tr Σ)² / tr Σ² of the errors' covariance Σ.

    E (a·b)² = tr Σ² for errors a, b of two orders; shuffles of different families are such, without what a family has in common.
    In one order some elements have larger roundings than in others, which makes fewer count: (Σ R)² / Σ R².
    """
    centred = (errors - errors.mean(axis=1, keepdims=True)) * math.sqrt(_SHUFFLES / (_SHUFFLES - 1.0))
    vectors = (centred / np.sqrt(squares.sum(axis=-1, keepdims=True))).reshape(-1, errors.shape[-1])
    family = np.arange(len(vectors)) // _SHUFFLES
    apart = family[:, None] != family[None, :]
    squared = float(np.mean(((vectors @ vectors.T) ** 2)[apart]))
    alike = float(np.mean(squares.mean(axis=-1) ** 2 / np.mean(squares**2, axis=-1)))
    return alike * float(np.clip(1.0 / squared if squared > 0.0 else 1.0, 1.0, errors.shape[-1]))


def _in_common(y: Floats, errors: Floats, squares: Floats) -> float:
    """Return how much the sum of errors in the direction of y varies over shuffles beside what independent roundings make it vary."""
    varies = np.var(errors @ y, axis=1, ddof=1) / np.maximum((squares @ (y * y)).mean(axis=1), 1e-300)
    return math.sqrt(max(_UNSURE**2 * float(varies.mean()) - 1.0, 0.0))


def _slopes(y: Floats, errors: Floats, squares: Floats, in_common: float, spread_of: _Spread) -> Range:
    """Return the range of Σ e·y / Σ y²: its drift in the orders that were added up, with a margin, and chance."""
    whole = float(y @ y)
    if whole == 0.0:
        return -math.inf, math.inf
    slopes, spread = errors @ y / whole, np.sqrt(squares @ (y * y)) / whole
    drift, by_chance = spread_of.on_average(slopes), spread_of.by_chance(spread) * math.hypot(1.0, in_common)
    less, more = min(float((drift + by_chance).min()), 0.0), max(float((drift - by_chance).max()), 0.0)
    chance = math.hypot(spread_of.of(spread, _of_one), in_common * spread_of.at_most(_of_one) * float(spread.max()))
    return less - _LOSING * max(min(-less, 1.0 + less), 0.0) - chance, more + _GAINING * more + chance


def _largest_norm(errors: Floats, squares: Floats, independent: float, spread_of: _Spread) -> float:
    """Return the largest norm of the errors: that of their drift and that of chance."""
    tail, known = _of_norm(independent), spread_of.known
    squared, expected = spread_of.on_average((errors**2).sum(axis=1)), np.sqrt(squares.sum(axis=1))
    by_chance = np.sqrt(spread_of.on_average(expected**2))
    for rows, among in ((slice(known), tail), (slice(known, None), _of_norm(independent * spread_of.size))):
        by_chance[rows] *= among(np.array([BY_CHANCE**2 / 2.0]))
    drift = max(float((np.sqrt(squared) - by_chance).max()), 0.0)
    return (1.0 + _GAINING) * drift + spread_of.of(expected, tail)


def _norms(y: Floats, errors: Floats, squares: Floats, independent: float, spread_of: _Spread) -> Range:
    """Return the range of the norm of the results: a norm of independent values varies no more than one of them.

    An order that rounds much makes the results larger and lets them vary, so that each has a range of its own.
    """
    exact = math.sqrt(float(y @ y))
    norms, spread = np.sqrt(((y + errors) ** 2).sum(axis=1)), np.sqrt(squares.sum(axis=1) / independent)
    drift, by_chance = spread_of.on_average(norms), spread_of.by_chance(spread)
    least, most = np.minimum(drift + by_chance, exact), np.maximum(drift - by_chance, exact)
    least, most = least - _LOSING * np.minimum(exact - least, least), most + _GAINING * (most - exact)
    known, another = spread_of.known, spread_of.in_another(spread, _of_one)
    chance = spread_of.at_most(_of_one) * spread[:known]
    return (
        min(float((least[:known] - chance).min()), float(least[known:].min()) - another),
        max(float((most[:known] + chance).max()), float(most[known:].max()) + another),
    )


def _of_one(certainty: Floats) -> Floats:
    """Return how many deviations a sum of errors is at most (Hoeffding)."""
    return np.sqrt(2.0 * certainty)


def _of_norm(independent: float) -> Callable[[Floats], Floats]:
    """Return how many times its expectation a norm of so many independent errors is at most.

    ‖e‖² ≤ x·E‖e‖² with d/2·(x − 1 − log x) = t but for a probability of exp(−t): Chernoff's bound of Σ e², whose moments are at most
    those of normal errors (Hsu, Kakade and Zhang 2012, section 2). Newton's method comes from above, where they bound x.
    """

    def tail(certainty: Floats) -> Floats:
        t = 2.0 * certainty / independent
        x = 1.0 + np.sqrt(2.0 * t) + t
        for _ in range(8):
            x = x - (x - 1.0 - np.log(x) - t) / (1.0 - 1.0 / x)
        return np.sqrt(x)

    return tail
