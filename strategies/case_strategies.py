"""Strategies for cases: one at a time, and a configuration with several data recipes."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Unpack

from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument
from hypothesis.strategies import SearchStrategy

from convfuzz.case import REGIMES, Case, DataRecipe, regimes_of
from convfuzz.case.batch import Exchangeable
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import is_integer
from convfuzz.strategies.choices import DTYPES
from convfuzz.strategies.config_strategies import ConfigOptions, bounded, chosen, configs
from convfuzz.strategies.corpus_file import shapes_of_past_bugs, shapes_of_wrong_gradients
from convfuzz.strategies.recipe_strategies import checked_regimes, recipe_sets, recipes
from convfuzz.strategies.weighted import weighted

_GRAIN = 120
"""A share of gradients is rounded to this fraction."""


def cases(
    *, regimes: Collection[str] = tuple(REGIMES), grad: Collection[bool] = (False, True), **options: Unpack[ConfigOptions]
) -> SearchStrategy[Case]:
    """Draw cases: a configuration, the data it runs on, and which passes run.

    This is the strategy for a test: ``@given(case=convfuzz.strategies.cases())``. A dtype without values in any of the
    regimes is left out. An integer dtype is left out if ``grad`` has only ``True``, since it has no gradients.

    Args:
        regimes: the regimes of data to choose among. Default: all.
        grad: whether the backward passes run too. Default: either, one case in three with them.
        **options: those of :func:`configs`.

    Raises:
        hypothesis.errors.InvalidArgument: an option is unknown or has no meaning; the message names it and its value.
    """
    configs(**options)  # for its checks, before the dtypes are others
    known = tuple(checked_regimes(regimes))
    runs = weighted({run: n for run, n in {False: 2, True: 1}.items() if run in chosen("grad", grad, (False, True))})
    wanted = options.get("dtypes", DTYPES)
    dtypes = [dtype for dtype in wanted if _among(known, dtype) and (False in grad or not is_integer(dtype))]
    if not dtypes:
        raise InvalidArgument(f"dtypes={wanted!r} with regimes={regimes!r} and grad={grad!r} leave nothing to draw")
    return _cases(configs(**options | {"dtypes": dtypes}), known, runs)


def batches(
    configs: SearchStrategy[ConvConfig], *, recipes: int = 3, grad_share: float = 0.0, exchangeable: bool = False
) -> SearchStrategy[tuple[Case, ...]]:
    """Draw one configuration with several data recipes: ``integers`` first, then different others.

    A configuration costs more than its data to draw, and more to run the first time, so that a campaign compares several
    recipes of each. An invalid one comes with one recipe only and without gradients, since no output depends on them.

    Args:
        configs: draws the configuration.
        recipes: how many recipes, 1 … 10; fewer where the dtype has not as many regimes.
        grad_share: of how many of the configurations the backward passes run too, 0 … 1. Past bugs of a gradient run them
            whenever this is more than 0.
        exchangeable: whether any valid configuration may as well have the dtype and the layouts of any other, so that a campaign may
            put them together anew; past bugs stay as they are.

    Raises:
        hypothesis.errors.InvalidArgument: an argument is of another kind.
    """
    if not isinstance(configs, SearchStrategy):
        raise InvalidArgument(f"configs={configs!r} is not a strategy")
    recipes = bounded("recipes", recipes, 1, len(REGIMES))
    if not isinstance(grad_share, int | float) or isinstance(grad_share, bool) or not 0 <= grad_share <= 1:
        raise InvalidArgument(f"grad_share={grad_share!r} is not a number in 0 … 1")
    often = round(_GRAIN * grad_share)
    grad = weighted({False: _GRAIN - often, True: often}) if often else None
    return _batches(configs, recipes, grad, Exchangeable if exchangeable else tuple)


@st.composite
def _cases(draw: st.DrawFn, configs: SearchStrategy[ConvConfig], regimes: tuple[str, ...], grad: SearchStrategy[bool]) -> Case:
    config = draw(configs)
    recipe = draw(_recipes(regimes, config.dtype))
    return Case(config, recipe, _has_gradients(config) and draw(grad))


@st.composite
def _batches(
    draw: st.DrawFn, configs: SearchStrategy[ConvConfig], count: int, grad: SearchStrategy[bool] | None, kind: type[tuple[Case, ...]]
) -> tuple[Case, ...]:
    config = draw(configs)
    if not config.is_valid:
        return (Case(config, DataRecipe("integers")),)
    recipes = draw(recipe_sets(count, regimes_of(config.dtype)))
    runs = grad is not None and _has_gradients(config) and (config in shapes_of_wrong_gradients() or draw(grad))
    cases = tuple(Case(config, recipe, runs) for recipe in recipes)
    return cases if config in shapes_of_past_bugs() else kind(cases)


def _has_gradients(config: ConvConfig) -> bool:
    return config.is_valid and not is_integer(config.dtype)


@cache
def _recipes(regimes: tuple[str, ...], dtype: str) -> SearchStrategy[DataRecipe]:
    return recipes(regimes=_among(regimes, dtype))


def _among(regimes: tuple[str, ...], dtype: str) -> list[str]:
    """Return those of the regimes that have values of ``dtype``."""
    return [regime for regime in regimes if regime in regimes_of(dtype)]
