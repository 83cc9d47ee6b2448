"""What a framework compiled for the latest configurations, so that its data recipes and repeats do not compile again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from convfuzz.case.config import ConvConfig


class Compiled:
    """Functions by configuration and whether gradients are wanted; all are dropped when there are ``most`` of them.

    Args:
        make: returns the function of a configuration; ``make(config, grad)``.
        most: how many are kept.
        forget: has the framework drop what it keeps of them by itself.
    """

    def __init__(self, make: Callable[[ConvConfig, bool], Any], *, most: int, forget: Callable[[], object]) -> None:
        self._make, self._most, self._forget = make, most, forget
        self._kept: dict[tuple[ConvConfig, bool], Any] = {}

    def of(self, config: ConvConfig, *, grad: bool) -> Any:
        """Return the function for ``config``, made now or kept from an earlier case."""
        key = (config, grad)
        if key not in self._kept:
            if len(self._kept) >= self._most:
                self._kept.clear()
                self._forget()
            self._kept[key] = self._make(config, grad)
        return self._kept[key]
