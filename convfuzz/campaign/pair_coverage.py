"""What a campaign has tried: how often each two feature values, such as stride 2 and channels-last memory, have met."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from convfuzz.case.config import ConvConfig
from convfuzz.case.features import features

_ROOM = 128
_UNIT = 2**40
"""Rarity is counted in this part of 1, in whole numbers: a sum is the same in whatever order values came."""


class PairCoverage:
    """How many configurations each pair of feature values has met in.

    Feature values are numbered as they come. A symmetric matrix counts for each two of them; what a value has met of itself, on
    the diagonal, is how often it came.
    """

    def __init__(self, met: Iterable[tuple[str, str, int]] = ()) -> None:
        self._numbers: dict[str, int] = {}
        self._met = np.zeros((_ROOM, _ROOM), np.int64)
        self._rarity = np.full((_ROOM, _ROOM), _UNIT)  # 1 / (1 + times met)², kept beside the counts: it is asked for far more often
        self._latest: ConvConfig | None = None
        for one, other, times in met:
            both = np.array([self._number(one), self._number(other)])
            self._count(both[:1], both[1:], times)
            self._count(both[1:], both[:1], times)

    def __len__(self) -> int:
        return int(np.count_nonzero(np.triu(self._met, 1)))

    def add(self, config: ConvConfig) -> None:
        """Count one more configuration; one that comes several times in a row, with other data, counts once."""
        if config != self._latest:
            self._latest = config
            values = self.numbers(config)
            self._count(values, values, 1)

    def rarities(self, numbers: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return how rare the pairs of configurations are: Σ 1 / (1 + times met)² for each row of their :meth:`numbers`."""
        among = self._rarity[numbers[:, :, None], numbers[:, None, :]]
        of_themselves = self._rarity[numbers, numbers]
        rarities: NDArray[np.float64] = (among.sum((1, 2)) - of_themselves.sum(1)) / (2 * _UNIT)
        return rarities

    def numbers(self, config: ConvConfig) -> NDArray[np.intp]:
        """Return the numbers of the feature values of ``config``, one for each axis."""
        return np.array([self._number(f"{axis}={value}") for axis, value in features(config).items()])

    def has_new_pair(self, config: ConvConfig) -> bool:
        """Whether a pair of ``config`` has not been met yet."""
        values = self.numbers(config)
        among = self._met[values[:, None], values]
        return bool(np.any(among[np.triu_indices(len(values), 1)] == 0))

    def counts(self) -> list[tuple[str, str, int]]:
        """Return what another coverage can be made of."""
        pairs = combinations(self._numbers.items(), 2)
        return [(one, other, int(self._met[i, j])) for (one, i), (other, j) in pairs if self._met[i, j]]

    def _number(self, value: str) -> int:
        number = self._numbers.setdefault(value, len(self._numbers))
        if number == len(self._met):
            self._met = np.pad(self._met, (0, _ROOM))
            self._rarity = np.pad(self._rarity, (0, _ROOM), constant_values=_UNIT)
        return number

    def _count(self, ones: NDArray[np.intp], others: NDArray[np.intp], times: int) -> None:
        """Count that each of ``ones`` has met each of ``others``, in that order."""
        cells = ones[:, None], others
        self._met[cells] += times
        self._rarity[cells] = _UNIT // (1 + self._met[cells]) ** 2
