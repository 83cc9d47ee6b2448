"""The rules by which a number between two representable ones is rounded, and which of them explains what was seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

RULES: Mapping[str, Callable[[float], float]] = {
    "nearest-even": lambda s: float(np.rint(s)),
    "half-away": lambda s: float(np.copysign(np.floor(abs(s) + 0.5), s)),
    "truncation": lambda s: float(np.trunc(s)),
    "down": lambda s: float(np.floor(s)),
    "up": lambda s: float(np.ceil(s)),
}
"""What becomes of a number counted in units in the last place."""

TELLING = (0.25, 0.5, 0.75, 1.25, 1.5, 1.75)
"""Numbers, in units in the last place, on which the rules differ, with their negatives."""


def rule_of(seen: Mapping[float, float]) -> str:
    """Return the rule that gives all that was seen, ``stochastic`` if each is a neighbour and no rule does, or ``unknown``."""
    for name, rule in RULES.items():
        if all(rule(exact) == got for exact, got in seen.items()):
            return name
    if all(got in (np.floor(exact), np.ceil(exact)) for exact, got in seen.items()):
        return "stochastic"
    return "unknown"
