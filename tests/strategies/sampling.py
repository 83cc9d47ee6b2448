"""A fixed sample of a search space, as a campaign would draw it: generation only, no database, every health check on."""

from __future__ import annotations

from typing import TypeVar

from hypothesis import Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

T = TypeVar("T")


def sample(strategy: SearchStrategy[T], count: int) -> list[T]:
    """Draw ``count`` examples with a fixed seed."""
    drawn: list[T] = []

    @seed(20_240_517)
    @settings(max_examples=count, phases=[Phase.generate], database=None, deadline=None)
    @given(strategy)
    def collect(example: T) -> None:
        drawn.append(example)

    collect()
    return drawn
