"""Bisection over releases of which some cannot be tried: where does the answer change?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, log2
from typing import Generic, TypeVar

Release = TypeVar("Release")


class Answer(StrEnum):
    """What a script says of one release."""

    BAD = "bad"
    GOOD = "good"
    UNKNOWN = "cannot be said"


@dataclass(frozen=True)
class Change(Generic[Release]):
    """Between which two releases, next to each other but for those of which nothing can be said, the answer changes.

    ``before`` is the last release with the old answer and ``after`` the first with the ``new`` one; ``between`` are those
    in between, any of which may be the first.
    """

    before: Release
    after: Release
    new: Answer
    between: tuple[Release, ...] = ()


@dataclass(frozen=True)
class Unchanged:
    """Both ends give the same answer, or, where it is :attr:`Answer.UNKNOWN`, no two releases could be told apart."""

    answer: Answer


def bisect(releases: Sequence[Release], answer: Callable[[Release], Answer]) -> Change[Release] | Unchanged:
    """Return where the answer changes in ``releases``, oldest first.

    The two ends are asked first, then the middle of what is left, as for a value that changes once. A release of which
    nothing can be said is passed over for the nearest one to it that has not been asked: at the ends inwards.
    """
    asked: dict[int, Answer] = {}

    def known(at: int) -> Answer:
        if at not in asked:
            asked[at] = answer(releases[at])
        return asked[at]

    count = len(releases)
    low = next((at for at in range(count) if known(at) is not Answer.UNKNOWN), None)
    if low is None:
        return Unchanged(Answer.UNKNOWN)
    high = next(at for at in reversed(range(low, count)) if known(at) is not Answer.UNKNOWN)
    if known(low) is known(high):
        return Unchanged(known(low) if low < high else Answer.UNKNOWN)
    while True:
        middle = next((at for at in _from_the_middle(low, high) if known(at) is not Answer.UNKNOWN), None)
        if middle is None:
            return Change(releases[low], releases[high], known(high), tuple(releases[low + 1 : high]))
        if known(middle) is known(low):
            low = middle
        else:
            high = middle


def most_tries(count: int) -> int:
    """Return how many of ``count`` releases are tried where something can be said of each."""
    return min(count, 2 + ceil(log2(max(count - 1, 1))))


def _from_the_middle(low: int, high: int) -> Iterator[int]:
    """Yield what lies between two indices, the middle first, then to either side of it."""
    return iter(sorted(range(low + 1, high), key=lambda at: (abs(2 * at - low - high), at)))
