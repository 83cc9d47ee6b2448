"""What a campaign has tried: how often each two feature values, such as stride 2 and channels-last memory, have met."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from itertools import combinations

from convfuzz.case.config import ConvConfig
from convfuzz.case.features import features

Pair = tuple[str, str]


class PairCoverage:
    """How many configurations each pair of feature values has met in."""

    def __init__(self, met: Iterable[tuple[str, str, int]] = ()) -> None:
        self._met: Counter[Pair] = Counter({(one, other): times for one, other, times in met})
        self._latest: ConvConfig | None = None

    def __len__(self) -> int:
        return len(self._met)

    def add(self, config: ConvConfig) -> None:
        """Count one more configuration; one that comes several times in a row, with other data, counts once."""
        if config != self._latest:
            self._latest = config
            self._met.update(_pairs(config))

    def rarity(self, config: ConvConfig) -> float:
        """Return how rare the pairs of ``config`` are: Σ 1 / (1 + times met)²."""
        return sum(1.0 / (1 + self._met[pair]) ** 2 for pair in _pairs(config))

    def has_new_pair(self, config: ConvConfig) -> bool:
        """Whether a pair of ``config`` has not been met yet."""
        return any(pair not in self._met for pair in _pairs(config))

    def counts(self) -> list[tuple[str, str, int]]:
        """Return what another coverage can be made of."""
        return [(one, other, times) for (one, other), times in self._met.items()]


@lru_cache(maxsize=64)
def _pairs(config: ConvConfig) -> tuple[Pair, ...]:
    return tuple(combinations([f"{axis}={value}" for axis, value in features(config).items()], 2))
