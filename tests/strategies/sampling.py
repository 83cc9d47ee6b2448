"""A fixed sample of a search space, drawn from random bytes as a campaign's steered rounds do: the same wherever and after whatever it runs.

Hypothesis's engine would mix in constants of the code that happens to be loaded.
"""

from __future__ import annotations

from random import Random
from typing import TypeVar

from hypothesis import given
from hypothesis.strategies import SearchStrategy

T = TypeVar("T")

_BYTES = 2**13
"""What an example is drawn from; it takes what it needs."""
_MOST_IN_VAIN = 20
"""Strings of bytes for each example: what is filtered away in most of them is a fault of the search space."""


def sample(strategy: SearchStrategy[T], count: int) -> list[T]:
    """Draw ``count`` examples with a fixed seed."""
    drawn: list[T] = []

    @given(strategy)
    def collect(example: T) -> None:
        drawn.append(example)

    source = Random(20_240_517)
    buffer = bytes(_BYTES)  # zeros stand for the simplest of everything
    for _ in range(_MOST_IN_VAIN * count):
        if len(drawn) == count:
            return drawn
        collect.hypothesis.fuzz_one_input(buffer)  # type: ignore[attr-defined]
        buffer = source.randbytes(_BYTES)
    raise AssertionError(f"{len(drawn)} examples instead of {count}, from {_MOST_IN_VAIN * count} strings of bytes")
