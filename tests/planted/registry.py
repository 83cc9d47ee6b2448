"""The list that every planted kernel enters, with what may be said about it and when it goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .receptive_field import Array

Kernel = Callable[..., "Array | None"]

MISREAD = ("wrong", "non-finite")
"""Verdicts for a kernel that adds the wrong numbers: wrong, or non-finite when NaN or Inf is among those it takes or misses."""

_entered: list[Planted] = []


@dataclass(frozen=True)
class Planted:
    """One deliberately wrong kernel: the verdicts that are right for it, and the configurations and data it fails on."""

    name: str
    function: Kernel
    verdicts: frozenset[str]
    trigger: str


def planted(*verdicts: str, trigger: str) -> Callable[[Kernel], Kernel]:
    """Enter the decorated kernel in the list; it stays a plain function."""

    def enter(function: Kernel) -> Kernel:
        _entered.append(Planted(function.__name__, function, frozenset(verdicts), trigger))
        return function

    return enter


def entered() -> tuple[Planted, ...]:
    """Return every kernel entered so far, in the order of its definition."""
    return tuple(_entered)
