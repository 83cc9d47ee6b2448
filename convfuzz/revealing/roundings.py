"""The rules by which a number between two representable ones is rounded, and which of them explains what was seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import groupby

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_RULES: Mapping[str, Callable[[Floats], Floats]] = {
    "nearest-even": np.rint,
    "half-away": lambda s: np.copysign(np.floor(np.abs(s) + 0.5), s),
    "truncation": np.trunc,
    "down": np.floor,
    "up": np.ceil,
    "odd": lambda s: np.where(s == np.trunc(s), s, 2.0 * np.floor(s / 2.0) + 1.0),
}
"""What becomes of numbers counted in units in the last place; ``odd`` takes the odd neighbour of what is between two."""

RULES: Mapping[str, Callable[[float], float]] = {name: lambda s, rule=rule: float(rule(np.asarray(s))) for name, rule in _RULES.items()}  # type: ignore[misc]
"""The same of one number."""

TELLING = (0.25, 0.5, 0.75, 1.25, 1.5, 1.75)
"""Numbers, in units in the last place, on which the rules differ, with their negatives."""


def rule_of(seen: Mapping[float, float]) -> str:
    """Return the rule that gives all that was seen, ``stochastic`` if chance decides, or ``unknown``.

    Chance decides where each number becomes a neighbour, and two with the same fraction, sign and parity do not go the same way.
    """
    for name, rule in RULES.items():
        if all(rule(exact) == got for exact, got in seen.items()):
            return name
    if any(got not in (np.floor(exact), np.ceil(exact)) for exact, got in seen.items()):
        return "unknown"

    def alike(exact: float) -> tuple[float, float, bool]:
        return abs(exact) % 1.0, np.sign(exact), abs(exact) % 2.0 >= 1.0

    alike_ones = groupby(sorted(seen, key=alike), key=alike)
    return "stochastic" if any(len({seen[exact] - np.floor(exact) for exact in ones}) > 1 for _, ones in alike_ones) else "unknown"


def round_to(values: Floats, bits: int, rule: str) -> Floats:
    """Round to so many significant bits, whatever the exponent.

    Raises:
        KeyError: nobody can predict that rule.
    """
    _, exponent = np.frexp(values)
    quantum = exponent - bits
    rounded: Floats = np.ldexp(_RULES[rule](np.ldexp(values, -quantum)), quantum)
    return np.where(np.isfinite(values), rounded, values)
