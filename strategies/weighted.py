"""Weighted choices as one cheap draw each: tables of repeated entries, and ladders that are cut at a limit."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, Self, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

T = TypeVar("T")


def repeated(weights: Mapping[T, int] | Iterable[tuple[T, int]]) -> tuple[T, ...]:
    """Return each entry as often as its weight says, in the given order: the first is what a failing example shrinks to."""
    pairs = weights.items() if isinstance(weights, Mapping) else weights
    return tuple(entry for entry, weight in pairs for _ in range(weight))


def weighted(weights: Mapping[T, int] | Iterable[tuple[T, int]]) -> SearchStrategy[T]:
    """Draw one entry with a probability in proportion to its weight.

    Hypothesis prefers small numbers in wide ranges: of a table of many hundreds of entries the first are drawn more often.
    """
    return st.sampled_from(repeated(weights))


class Ladder(Generic[T]):
    """Entries of growing size, such as channel counts; the part that a budget can pay for is one strategy.

    Every ladder has a step of size 1, so that there is always something to draw.
    """

    def __init__(self, weights: Mapping[T, int], size: Callable[[T], int]) -> None:
        self._steps = sorted(repeated(weights), key=size)
        self._sizes = [size(step) for step in self._steps]
        self._size = size
        self._shortest = bisect_right(self._sizes, 1)
        if not self._shortest:
            raise ValueError(f"a ladder without a step of size 1: its smallest is {self._sizes[0]}")
        self._upto: dict[int, SearchStrategy[T]] = {}

    def upto(self, limit: int) -> SearchStrategy[T]:
        """Draw a step of at most ``limit``, the smallest being the simplest; a limit below 1 counts as 1."""
        count = max(bisect_right(self._sizes, limit), self._shortest)
        strategy = self._upto.get(count)
        if strategy is None:
            strategy = self._upto[count] = st.sampled_from(self._steps[:count])
        return strategy

    def only(self, admits: Callable[[T], bool]) -> Self:
        """Return the ladder with the steps that ``admits`` takes."""
        kept: dict[T, int] = {}
        for step in filter(admits, self._steps):
            kept[step] = kept.get(step, 0) + 1
        return type(self)(kept, self._size)


def ladder(weights: Mapping[int, int]) -> Ladder[int]:
    """Return a ladder of plain numbers with their weights."""
    return Ladder(weights, int)
