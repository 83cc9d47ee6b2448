"""Strategies for the data of a case: regimes of values and seeds."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from itertools import combinations
from math import prod

from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument
from hypothesis.strategies import SearchStrategy

from convfuzz.case import REGIMES, DataRecipe
from convfuzz.strategies.weighted import weighted

_WEIGHTS = {
    "normal": 5,
    "cancellation": 4,
    "special": 3,
    "positive": 3,
    "huge": 3,
    "one-hot": 3,
    "tiny": 2,
    "sparse": 2,
    "subnormal": 1,
}
"""Relative frequencies beside ``integers``, in the order of shrinking; subnormal data are slow on many processors."""

_SEEDS = st.integers(0, 9999)


def recipes(*, regimes: Collection[str] = tuple(REGIMES)) -> SearchStrategy[DataRecipe]:
    """Draw data recipes: one of the regimes, and a seed below 10,000.

    Raises:
        hypothesis.errors.InvalidArgument: a regime is unknown, or there is none.
    """
    return st.builds(DataRecipe, weighted({r: n for r, n in ({"integers": 4} | _WEIGHTS).items() if r in checked_regimes(regimes)}), _SEEDS)


@cache
def recipe_sets(count: int, regimes: tuple[str, ...]) -> SearchStrategy[tuple[DataRecipe, ...]]:
    """Draw ``count`` recipes of one seed, fewer where there are not as many regimes: ``integers``, then different others."""
    others = [regime for regime in _WEIGHTS if regime in regimes]
    sets = combinations(others, min(count - 1, len(others)))
    return st.builds(_of_one_seed, weighted((some, prod(_WEIGHTS[r] for r in some)) for some in sets), _SEEDS)


def _of_one_seed(regimes: tuple[str, ...], seed: int) -> tuple[DataRecipe, ...]:
    return (DataRecipe("integers", seed), *(DataRecipe(regime, seed) for regime in regimes))


def checked_regimes(regimes: Collection[str]) -> Collection[str]:
    """Return the regimes.

    Raises:
        hypothesis.errors.InvalidArgument: a regime is unknown, or there is none.
    """
    expected = ", ".join(REGIMES)
    if isinstance(regimes, str) or not isinstance(regimes, Collection):
        raise InvalidArgument(f"regimes={regimes!r} is not a collection of {expected}")
    for regime in regimes:
        if regime not in REGIMES:
            raise InvalidArgument(f"regimes={regimes!r}: {regime!r} is not one of {expected}")
    if not regimes:
        raise InvalidArgument(f"regimes={regimes!r} is empty: expected some of {expected}")
    return regimes
