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
from convfuzz.judging.bounds import LAMBDA, along_sums, together

_SHUFFLES, _MORE_RUNNING = 8, 2
_BLOCK, _LANES = 32, 16
_MORE_BLOCKS, _MORE_LANES = (4, 8, 64, 256, 512), (8, 32)
_FEWEST_INDEPENDENT = 16
_ALIKE = 1.0 / 16.0
"""The least that the squares of an element's roundings in one running sum are of those in another, where the elements are asked."""
_UNSURE, _UNSURE_OF_MANY, _WANDERING = 1.25, 1.1, 1.4
"""How much larger the spread of errors in one direction or in many, and of the logarithm of their squares, may be than estimated."""
_QUESTIONS = 3
_STEPS, _FAR = 3.0, 0.25
"""How finely directions are cut, in steps of their root mean square, and how large errors are beside y whose orders give one.

Any direction will do, and small whole numbers are short in a script. Where errors are smaller all directions are that of y.
"""
_LOSING, _GAINING = 0.5, 1.0
"""By how much of itself, or of what it leaves of a sum, the drift of other orders may be beyond that of the ones that were added up."""
FEWEST = 24
"""With fewer elements nothing is asked of them together."""
MOST = 256
"""How many elements of a layer are asked: their errors together are certain enough then."""

Range = tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class JointLimits:
    """What the errors of a layer's ``elements`` may be together, for :func:`.bounds.together` and :func:`.bounds.along_sums`.

    ``scale`` is one over the largest spread that rounding gives each element. ``slope`` is the range of the share of y by which the sums
    are off, ``error`` the largest norm of the errors and ``output`` the range of the norm of the results, in that scale. ``directions``
    are those of the sums in some orders, and ``along`` the range of how far errors may go in each of them. Results and errors, from all
    but ``most`` times y, do not both have a cosine below −``against`` to one.
    """

    elements: Indices
    y: Floats
    scale: Floats
    slope: Range
    error: float
    output: Range
    directions: Indices
    along: tuple[Floats, Floats]
    against: float
    most: float

    def lowered(self, t: Floats, error: Floats, plain: Floats) -> Floats:
        """Return the tolerance ``t`` of the elements, lower where their errors cannot be those of one order."""
        t = together(t, error, plain, self.y, self.scale, slope=self.slope, largest=self.error, norm=self.output)
        return along_sums(t, error, plain, self.y, self.scale, self.directions, along=self.along, against=self.against, most=self.most)


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
    of_running = (in_turn[:, rounds] * scale**2).sum(axis=-1)
    if of_running.min() == of_running.max():
        return None
    running = np.r_[: 2 * len(products), first : first + size, len(errors) - _MORE_RUNNING * size : len(errors)]
    running = running[np.unique(squares[running].sum(axis=1), return_index=True)[1]]
    directions = _directions(y, errors[:first])
    # Half of the probability of a wrong answer is for what is asked of y, half for what is asked of the directions.
    certainty = LAMBDA**2 / 2.0 - math.log(len(y) / _QUESTIONS) + (math.log(2.0) if len(directions) else 0.0)
    spread_of = _Spread(first, running, size, certainty)
    slope, drift = _slopes(y, errors, squares, _in_common(y[:, None], shuffled, chance, _UNSURE), spread_of)
    along = np.zeros(0), np.zeros(0)
    if len(directions):
        certainty += math.log(len(directions))
        of_many, in_many = directions.T.astype(np.float64), _Spread(first, running, size, certainty)
        along = _along(of_many, y, errors, squares, _in_common(of_many, shuffled, chance, _UNSURE_OF_MANY), drift, in_many)
    return JointLimits(
        elements[rounds],
        exact[rounds],
        scale,
        slope,
        _largest_norm(errors, squares, independent, spread_of),
        _norms(y, errors, squares, independent, spread_of),
        directions,
        along,
        _cosine(certainty, independent),
        1.0 + drift[1],
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
        families = each[self.known :].reshape(-1, self.size, *each.shape[1:])
        return np.concatenate([each[: self.known], families.mean(axis=1)])

    def by_chance(self, spread: Floats) -> Floats:
        """Return how far those values may be from what they have in common with others of their kind."""
        found = BY_CHANCE * self.on_average(spread)
        found[self.known :] /= math.sqrt(self.size)
        return found

    def of(self, each: Floats, tail: Callable[[Floats], Floats]) -> Floats:
        """Return the most that chance may do, given each order's spread and how many times that it may be."""
        found: Floats = np.maximum(self.at_most(tail) * each[: self.known].max(axis=0), self.in_another(each, tail))
        return found

    def at_most(self, tail: Callable[[Floats], Floats]) -> float:
        """Return how many times its spread something may be in one order."""
        return float(tail(np.array([self.certainty]))[0])

    def in_another(self, each: Floats, tail: Callable[[Floats], Floats]) -> Floats:
        """Return the most in an order whose spread is unusual by k deviations and chance in it by the rest, for the worst k."""
        seen = np.log(each[self.running])
        varies = _WANDERING * np.std(seen, axis=0, ddof=1) if len(seen) > 1 else np.zeros(seen.shape[1:])
        unusual = np.linspace(0.0, math.sqrt(2.0 * self.certainty), 64, endpoint=False)
        more = tail(self.certainty - unusual**2 / 2.0) * np.exp(varies[..., None] * unusual)
        found: Floats = np.exp(seen.mean(axis=0)) * more.max(axis=-1)
        return found


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


@lru_cache(maxsize=8)
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


def _in_common(directions: Floats, errors: Floats, squares: Floats, unsure: float) -> float:
    """Return how much sums of errors in ``directions`` vary over shuffles beside what independent roundings make them vary."""
    varies = np.var(errors @ directions, axis=1, ddof=1) / np.maximum((squares @ (directions * directions)).mean(axis=1), 1e-300)
    return math.sqrt(max(unsure**2 * float(varies.mean()) - 1.0, 0.0))


def _slopes(y: Floats, errors: Floats, squares: Floats, in_common: float, spread_of: _Spread) -> tuple[Range, Range]:
    """Return the range of Σ e·y / Σ y², and of its drift alone: that in the orders that were added up, with a margin."""
    whole = float(y @ y)
    if whole == 0.0:
        return (-math.inf, math.inf), (-1.0, math.inf)
    slopes, spread = errors @ y / whole, np.sqrt(squares @ (y * y)) / whole
    drift, by_chance = spread_of.on_average(slopes), spread_of.by_chance(spread) * math.hypot(1.0, in_common)
    less, more = min(float((drift + by_chance).min()), 0.0), max(float((drift - by_chance).max()), 0.0)
    chance = math.hypot(float(spread_of.of(spread, _of_one)), in_common * spread_of.at_most(_of_one) * float(spread.max()))
    less, more = less - _LOSING * max(min(-less, 1.0 + less), 0.0), more + _GAINING * more
    return (less - chance, more + chance), (less, more)


def _directions(y: Floats, errors: Floats) -> Indices:
    """Return the directions of the sums, in small whole numbers, in which large errors make them another one than that of y."""
    sums = (y + errors)[(errors * errors).sum(axis=1) > _FAR**2 * (y @ y)]
    steps = np.rint(sums * (_STEPS / np.sqrt((sums * sums).mean(axis=1, keepdims=True)))).astype(np.int64)
    apart = {one.tobytes(): one for one in steps[steps @ y > 0.0]}
    return np.array(list(apart.values()), dtype=np.int64).reshape(-1, len(y))


def _along(
    directions: Floats, y: Floats, errors: Floats, squares: Floats, in_common: float, drift: Range, spread_of: _Spread
) -> tuple[Floats, Floats]:
    """Return how far errors may go against and along ``directions``: their drift, and chance.

    Errors of the order that a direction is of go along it by no chance. An order may be like that one in part and by chance in the rest.
    """
    along, of_y, spread = spread_of.on_average(errors @ directions), y @ directions, np.sqrt(squares @ (directions * directions))
    chance = np.hypot(spread_of.of(spread, _of_one), in_common * spread_of.at_most(_of_one) * spread.max(axis=0))
    drifting = along + spread_of.by_chance(spread) * math.hypot(1.0, in_common)
    like_it = np.maximum(along.max(axis=0), 0.0)
    least: Floats = np.minimum(drift[0] * of_y, drifting.min(axis=0)) - chance
    return least, drift[1] * of_y + np.hypot(like_it, chance)


def _cosine(certainty: float, independent: float) -> float:
    """Return what the cosine of a direction and so many independent errors is at most.

    A cap of the sphere in d dimensions that begins at height r ≥ 2/√d has a share of (1 − r²)^((d−1)/2) / (2r·√d) at most (Brieden et al.
    2001). Of the steps to the r where that is the probability every second one is above it.
    """
    least, height = 2.0 / math.sqrt(independent), 1.0
    for _ in range(8):
        left = max(certainty - math.log(2.0 * height * math.sqrt(independent)), 0.0)
        height = max(math.sqrt(1.0 - math.exp(-2.0 * left / (independent - 1.0))), least)
    return height


def _largest_norm(errors: Floats, squares: Floats, independent: float, spread_of: _Spread) -> float:
    """Return the largest norm of the errors: that of their drift and that of chance."""
    tail, known = _of_norm(independent), spread_of.known
    squared, expected = spread_of.on_average((errors**2).sum(axis=1)), np.sqrt(squares.sum(axis=1))
    by_chance = np.sqrt(spread_of.on_average(expected**2))
    for rows, among in ((slice(known), tail), (slice(known, None), _of_norm(independent * spread_of.size))):
        by_chance[rows] *= among(np.array([BY_CHANCE**2 / 2.0]))
    drift = max(float((np.sqrt(squared) - by_chance).max()), 0.0)
    return (1.0 + _GAINING) * drift + float(spread_of.of(expected, tail))


def _norms(y: Floats, errors: Floats, squares: Floats, independent: float, spread_of: _Spread) -> Range:
    """Return the range of the norm of the results: a norm of independent values varies no more than one of them.

    An order that rounds much makes the results larger and lets them vary, so that each has a range of its own.
    """
    exact = math.sqrt(float(y @ y))
    norms, spread = np.sqrt(((y + errors) ** 2).sum(axis=1)), np.sqrt(squares.sum(axis=1) / independent)
    drift, by_chance = spread_of.on_average(norms), spread_of.by_chance(spread)
    least, most = np.minimum(drift + by_chance, exact), np.maximum(drift - by_chance, exact)
    least, most = least - _LOSING * np.minimum(exact - least, least), most + _GAINING * (most - exact)
    known, another = spread_of.known, float(spread_of.in_another(spread, _of_one))
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
