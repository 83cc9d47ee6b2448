"""How far the sums of a layer may be off *together*, where all are added up in one order in a short format.

A kernel adds up all of its sums alike. So the errors of many elements are those of one order, and their sums and norms vary far
less than each of them: a layer whose sums are all a little too small, or off by what one in a million is off by, was not added up
like that. What orders do to the layer is seen by adding it up in them, and by shuffling them. ``docs/numerics.md`` derives it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from convfuzz.judging import accumulation
from convfuzz.judging.accumulation import BY_CHANCE, FEW, Floats, Indices
from convfuzz.judging.bounds import LAMBDA

_SHUFFLES = 4
_BLOCK, _LANES = 32, 16
_MORE_BLOCKS, _MORE_LANES = (4, 8, 64, 256, 512), (8, 32)
_FEWEST_INDEPENDENT = 16
_ALIKE = 1.0 / 16.0
"""The least that the squares of an element's roundings in one running sum are of those in another, where the elements are asked."""
_WANDERING = 2.0
"""How many standard deviations, of their logarithms over running sums, an order's squares may be above those that were seen."""
_CORRELATED = 1.25
"""How much larger the spread of a sum of errors may be than it was estimated from twelve shuffles."""
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
    orders = list(accumulation.in_many_orders(products, precision))
    orders += [order.add_up(products[0], precision) for order in _more(products.shape[1])]
    families = [[order.add_up(products[0], precision) for order in family] for family in _shuffled(products.shape[1])]
    orders += [order for family in families for order in family]
    errors, squares = np.array([sums - exact for sums, _ in orders]), np.array([of_roundings for _, of_roundings in orders])
    spread, in_turn = squares.max(axis=0), np.concatenate([squares[: 2 * len(products)], squares[-4 * _SHUFFLES : -3 * _SHUFFLES]])
    # Of sums that hardly ever round, such as those of round numbers, too little is known.
    rounds = (in_turn.min(axis=0) > in_turn.max(axis=0) * _ALIKE) & np.isfinite(spread) & np.isfinite(errors).all(axis=0)
    rounds &= np.count_nonzero(products[0], axis=0) > FEW
    if np.count_nonzero(rounds) < max(FEWEST, len(rounds) / 2.0):
        return None
    scale = 1.0 / np.sqrt(spread[rounds])
    y, errors, squares = exact[rounds] * scale, errors[:, rounds] * scale, squares[:, rounds] * scale**2
    first, size = len(orders) - len(families) * _SHUFFLES, _SHUFFLES
    shuffled = np.stack([errors[k : k + size] for k in range(first, len(orders), size)])
    chance = np.stack([squares[k : k + size] for k in range(first, len(orders), size)])
    independent = _independent(shuffled, chance)
    if independent < _FEWEST_INDEPENDENT:
        return None
    traces = np.unique((in_turn[:, rounds] * scale**2).sum(axis=-1))
    if len(traces) == 1:
        return None
    wander = math.exp(_WANDERING * float(np.std(np.log(traces), ddof=1)))
    return JointLimits(
        elements[rounds],
        exact[rounds],
        scale,
        _slopes(y, errors, squares, _correlation(y, shuffled, chance), wander),
        _largest_norm(errors, squares, independent, wander),
        _norms(y, errors, squares, independent, wander),
    )


def _shuffled(count: int) -> list[list[accumulation.Order]]:
    """Return shuffled orders of each family."""
    draw = np.random.default_rng(count)
    families = (
        accumulation.running,
        lambda terms: accumulation.in_blocks(terms, _BLOCK),
        lambda terms: accumulation.in_lanes(terms, _LANES),
        accumulation.as_tree,
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
    """
    centred = (errors - errors.mean(axis=1, keepdims=True)) * math.sqrt(_SHUFFLES / (_SHUFFLES - 1.0))
    vectors = (centred / np.sqrt(squares.sum(axis=-1, keepdims=True))).reshape(-1, errors.shape[-1])
    family = np.arange(len(vectors)) // _SHUFFLES
    apart = family[:, None] != family[None, :]
    squared = float(np.mean(((vectors @ vectors.T) ** 2)[apart]))
    return float(np.clip(1.0 / squared if squared > 0.0 else 1.0, 1.0, errors.shape[-1]))


def _correlation(y: Floats, errors: Floats, squares: Floats) -> float:
    """Return how much more the sum of errors in the direction of y varies over shuffles than that of independent ones would."""
    varies = np.var(errors @ y, axis=1, ddof=1) / np.maximum((squares @ (y * y)).mean(axis=1), 1e-300)
    return max(1.0, _CORRELATED * math.sqrt(float(varies.mean())))


def _slopes(y: Floats, errors: Floats, squares: Floats, correlation: float, wander: float) -> Range:
    """Return the range of Σ e·y / Σ y²: its drift in the orders that were added up, with a margin, and chance."""
    whole = float(y @ y)
    if whole == 0.0:
        return -math.inf, math.inf
    slopes, spread = errors @ y / whole, correlation * np.sqrt(squares @ (y * y)) / whole
    less = min(float((slopes + BY_CHANCE * spread).min()), 0.0)
    more = max(float((slopes - BY_CHANCE * spread).max()), 0.0)
    chance = LAMBDA * math.sqrt(wander) * float(spread.max())
    return less - _LOSING * max(min(-less, 1.0 + less), 0.0) - chance, more + _GAINING * more + chance


def _largest_norm(errors: Floats, squares: Floats, independent: float, wander: float) -> float:
    """Return the largest norm of the errors: that of their drift and that of chance (Hsu, Kakade and Zhang, 2012)."""
    norms, expected = np.sqrt((errors**2).sum(axis=1)), np.sqrt(squares.sum(axis=1))
    drift = max(float((norms - expected * _tail(BY_CHANCE, independent)).max()), 0.0)
    return (1.0 + _GAINING) * drift + math.sqrt(wander) * float(expected.max()) * _tail(LAMBDA, independent)


def _tail(deviations: float, independent: float) -> float:
    """Return how many times its expectation a norm is at most: ‖e‖² ≤ tr Σ + 2·√(t·tr Σ²) + 2·t·‖Σ‖, t = λ²/2."""
    t = deviations**2 / 2.0 / independent
    return math.sqrt(1.0 + 2.0 * math.sqrt(t) + 2.0 * t)


def _norms(y: Floats, errors: Floats, squares: Floats, independent: float, wander: float) -> Range:
    """Return the range of the norm of the results: a norm of independent values varies no more than one of them."""
    exact = math.sqrt(float(y @ y))
    norms, spread = np.sqrt(((y + errors) ** 2).sum(axis=1)), np.sqrt(squares.sum(axis=1) / independent)
    least, most = min(float((norms + BY_CHANCE * spread).min()), exact), max(float((norms - BY_CHANCE * spread).max()), exact)
    chance = LAMBDA * math.sqrt(wander) * float(spread.max())
    return least - _LOSING * min(exact - least, least) - chance, most + _GAINING * (most - exact) + chance
