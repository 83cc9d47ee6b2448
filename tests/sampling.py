"""A fixed sample of a search space, drawn from random bytes as a campaign's steered rounds do.

It is the same wherever it runs, and after whatever: Hypothesis's engine would mix in constants of the code that is loaded. So
tests draw from it that run real frameworks, or state how often something is drawn. What has to hold for every draw is
better left to ``@given`` itself, which draws anew and shrinks.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from convfuzz import Case
from convfuzz.case.features import features

T = TypeVar("T")

SEED = 20_240_517
_GROUP = 8
"""Examples of one string of bytes: a call of Hypothesis costs as much as drawing one or two."""
_BYTES = 2**13
"""What a group is drawn from."""
_MOST_IN_VAIN = 20
"""Strings of bytes for each example: what is filtered away in most of them is a fault of the search space."""


def sample(strategy: SearchStrategy[T], count: int, seed: int = SEED) -> list[T]:
    """Draw ``count`` examples, the simplest one first; another ``seed`` draws others."""
    drawn: list[T] = []

    @st.composite
    def several(draw: st.DrawFn) -> None:
        for _ in range(_GROUP if drawn else 1):
            drawn.append(draw(strategy))  # at once, so that it counts where the bytes do not last for the rest  # noqa: PERF401

    @given(several())
    def collect(_: None) -> None:
        pass

    source = Random(seed)  # noqa: S311 - a reproducible sequence is what is wanted
    buffer = bytes(_BYTES)  # zeros stand for the simplest of everything
    for _ in range(_MOST_IN_VAIN * count):
        collect.hypothesis.fuzz_one_input(buffer)  # type: ignore[attr-defined]
        if len(drawn) >= count:
            return drawn[:count]
        buffer = source.randbytes(_BYTES)
    raise AssertionError(f"{len(drawn)} examples instead of {count}, from {_MOST_IN_VAIN * count} strings of bytes")


def covering(drawn: Sequence[Case], shown_before: Sequence[Case] = ()) -> list[Case]:
    """Choose few of the cases that show all that they show together: each value of each feature, both kinds of passes, each regime.

    Tests take these where every layer costs a second, such as a compiler's; what ``shown_before`` shows has been run elsewhere.
    """
    shown = {case: _shown(case) for case in drawn}
    missing, chosen = set().union(*shown.values()).difference(*map(_shown, shown_before)), []
    while missing:
        chosen.append(max(shown, key=lambda case: len(shown[case] & missing)))
        missing -= shown[chosen[-1]]
    return chosen


def _shown(case: Case) -> set[tuple[str, str]]:
    return {*features(case.config).items(), ("grad", str(case.grad)), ("regime", case.recipe.regime)}
