"""How a case's tensors are filled: a named regime and a seed, or element by element."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from convfuzz.case.arguments import whole_number
from convfuzz.case.explicit_data import ZEROS, Entry, Number, canonical, format_entries, parse_entries
from convfuzz.case.line import shown
from convfuzz.errors import CaseSyntaxError, InvalidConfig, closest

REGIMES = {
    "integers": "small integers, chosen so that every product and partial sum is exactly representable",
    "normal": "approximately normal, mean 0, variance 1",
    "positive": "uniform on (0, 1]",
    "cancellation": "products that nearly cancel: |y| is far below the sum of magnitudes",
    "tiny": "normal, scaled down; products stay normal numbers",
    "huge": "normal, scaled up so that float16 sums come near overflow",
    "sparse": "normal, four of five inputs zero",
    "one-hot": "a single non-zero input, so that the output shows the kernel itself",
    "subnormal": "subnormal inputs",
    "special": "normal, with a few NaN and ±Inf",
}
EXPLICIT = "explicit"
"""Not drawn: the elements that are not zero are named one by one, as a reduction leaves them."""
_WHOLE_REGIMES = ("integers", "normal", "positive", "huge", "sparse", "one-hot")
_RECIPE = re.compile(r"([a-z-]+)\.(\d{1,99})", re.ASCII)


def regimes_of(dtype: str) -> tuple[str, ...]:
    """Return the regimes that have values of ``dtype``, in the order of :data:`REGIMES`.

    Integers are never tiny nor special, and do not cancel by rounding. Where a complex product of Inf is NaN is left to the
    implementation.
    """
    if dtype.startswith("int"):
        return tuple(regime for regime in REGIMES if regime in _WHOLE_REGIMES)
    return tuple(regime for regime in REGIMES if regime != "special" or not dtype.startswith("complex"))


@dataclass(frozen=True)
class DataRecipe:
    """How a case's tensors are filled: a named regime and a seed, the same bytes on every machine, or element by element.

    ``entries`` are the elements that are not zero where the regime is :data:`EXPLICIT`; see :meth:`explicit`.

    Raises:
        InvalidConfig: the regime is unknown, the seed is not in 0 … 2^63 − 1, or the entries contradict them or each other.
    """

    regime: str = "normal"
    seed: int = 0
    entries: tuple[Entry, ...] = ()

    def __post_init__(self) -> None:
        if self.regime not in (*REGIMES, EXPLICIT):
            raise InvalidConfig(f"regime={self.regime!r} is not one of {', '.join(REGIMES)}{closest(self.regime, REGIMES)}")
        seed = whole_number(self.seed)
        if seed is None or not 0 <= seed < 2**63:
            raise InvalidConfig(f"seed={self.seed!r} is not a whole number in 0 … 2^63 - 1")
        object.__setattr__(self, "seed", seed)
        if self.regime == EXPLICIT:
            if self.seed:
                raise InvalidConfig(f"seed={self.seed} with explicit data, which are not drawn")
            object.__setattr__(self, "entries", canonical(self.entries))
        elif self.entries:
            raise InvalidConfig(f"entries={self.entries!r} with regime={self.regime!r}, which draws every element")

    @classmethod
    def explicit(cls, entries: Iterable[tuple[str, int, Number]]) -> Self:
        """Return the recipe of tensors that are zero but for ``entries``: (tensor, flat index in C order, value).

        Raises:
            InvalidConfig: an entry is malformed or given twice, or there are too many.
        """
        return cls(EXPLICIT, entries=tuple(entries))  # type: ignore[arg-type]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``regime.seed``, or explicit data: ``zeros``, or the elements that are not zero, such as ``x12=1_w3=-0.5``.

        Raises:
            CaseSyntaxError: the text has another form.
        """
        if text == ZEROS or "=" in text:
            return cls.explicit(parse_entries(text))
        match = _RECIPE.fullmatch(text)
        if match is None:
            raise CaseSyntaxError(
                f"data recipe {shown(text)}: expected regime.seed, such as normal.42, {ZEROS}, or elements such as x12=1_w3=1"
            )
        if match[1] not in REGIMES:
            raise CaseSyntaxError(
                f"data recipe {shown(text)}: regime {shown(match[1])} is not one of {', '.join(REGIMES)}{closest(match[1], REGIMES)}"
            )
        if int(match[2]) >= 2**63:
            raise CaseSyntaxError(f"data recipe {shown(text)}: seed {shown(match[2])} is not in 0 … 2^63 - 1")
        return cls(match[1], int(match[2]))

    def __str__(self) -> str:
        return format_entries(self.entries) if self.regime == EXPLICIT else f"{self.regime}.{self.seed}"

    @property
    def has_integers(self) -> bool:
        """Whether every element is a whole number, whatever the dtype, so that small sums are exact."""
        parts = (part for entry in self.entries for part in entry.parts)
        return self.regime == "integers" or (self.regime == EXPLICIT and all(float(part).is_integer() for part in parts))

    @property
    def has_non_finite(self) -> bool:
        """Whether NaN or Inf may be among the elements."""
        return self.regime == "special" or not all(math.isfinite(part) for entry in self.entries for part in entry.parts)
