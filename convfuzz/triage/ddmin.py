"""Delta debugging: the shortest part of a list that still fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

from convfuzz.triage.reduction import Budget

T = TypeVar("T")


def ddmin(items: Sequence[T], fails: Callable[[list[T]], bool], budget: Budget) -> tuple[list[T], bool]:
    """Leave out of ``items``, which fail, as many as possible; the order of the others stays.

    The algorithm ddmin of Zeller and Hildebrandt, *Simplifying and Isolating Failure-Inducing Input* (2002), section 3.

    Returns:
        The shortest list found, and whether it is 1-minimal: no single item of it can be left out. The empty list is
        taken not to fail.
    """
    left, parts = list(items), 2
    while len(left) > 1:
        bounds = [len(left) * k // parts for k in range(parts + 1)]
        pieces = [left[lo:hi] for lo, hi in pairwise(bounds)]
        rests = [left[:lo] + left[hi:] for lo, hi in pairwise(bounds)] if parts > 2 else []  # of two, the pieces again
        for number, candidate in enumerate([*pieces, *rests]):
            if not budget.spend():
                return left, False
            if fails(candidate):
                left, parts = candidate, 2 if number < len(pieces) else max(parts - 1, 2)
                break
        else:
            if parts == len(left):
                break
            parts = min(2 * parts, len(left))
    return left, True
