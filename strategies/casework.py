"""Strategies for cases: one at a time, and a configuration with several data recipes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Unpack

from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument
from hypothesis.strategies import SearchStrategy

from convfuzz.case import REGIMES, Case, DataRecipe
from convfuzz.config import ConvConfig

from .configurations import ConfigOptions, configs
from .regimes import recipe_sets, recipes


def cases(*, regimes: Collection[str] = tuple(REGIMES), **options: Unpack[ConfigOptions]) -> SearchStrategy[Case]:
    """Draw cases: a configuration and the data it runs on.

    This is the strategy for a test: ``@given(case=convfuzz.strategies.cases())``.

    Args:
        regimes: the regimes of data to choose among. Default: all.
        **options: those of :func:`configs`.

    Raises:
        hypothesis.errors.InvalidArgument: an option is unknown or has no meaning; the message names it and its value.
    """
    return st.builds(Case, configs(**options), recipes(regimes=regimes))


def batches(configs: SearchStrategy[ConvConfig], *, recipes: int = 3) -> SearchStrategy[tuple[Case, ...]]:
    """Draw one configuration with several data recipes: ``integers`` first, then different others.

    An invalid configuration comes with one recipe only, since no output depends on it. A configuration costs more than its
    data to draw, and more to run the first time, so that a campaign compares several recipes of each.

    Args:
        configs: draws the configuration.
        recipes: how many recipes, 1 … 10.

    Raises:
        hypothesis.errors.InvalidArgument: an argument is of another kind.
    """
    if not isinstance(configs, SearchStrategy):
        raise InvalidArgument(f"configs={configs!r} is not a strategy")
    if not isinstance(recipes, int) or isinstance(recipes, bool) or not 1 <= recipes <= len(REGIMES):
        raise InvalidArgument(f"recipes={recipes!r} is not a whole number in 1 … {len(REGIMES)}")
    return _batches(configs, recipe_sets(count=recipes))


@st.composite
def _batches(draw: st.DrawFn, configs: SearchStrategy[ConvConfig], recipe_sets: SearchStrategy[tuple[DataRecipe, ...]]) -> tuple[Case, ...]:
    config = draw(configs)
    recipes = draw(recipe_sets)
    return tuple(Case(config, recipe) for recipe in (recipes if config.is_valid else recipes[:1]))
