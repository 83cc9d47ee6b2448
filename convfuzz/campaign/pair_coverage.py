"""What a campaign has tried: how often each two feature values, such as stride 2 and channels-last memory, have met."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from convfuzz.case.config import ConvConfig
from convfuzz.case.features import AXES, OF_OPERANDS, features

_ROOM = 128
_UNIT = 2**40
"""Rarity is counted in this part of 1, in whole numbers below 2^53: a sum is the same in whatever order it is added up."""
_IS_OF_OPERANDS = np.array([axis in OF_OPERANDS for axis in AXES])


class PairCoverage:
    """How many configurations each pair of feature values has met in.

    Feature values are numbered as they come. A symmetric matrix counts for each two of them; what a value has met of itself, on
    the diagonal, is no pair.
    """

    def __init__(self, met: Iterable[tuple[str, str, int]] = ()) -> None:
        self._numbers: dict[str, int] = {}
        self._met = np.zeros((_ROOM, _ROOM), np.int64)
        self._latest: ConvConfig | None = None
        self._added: list[NDArray[np.intp]] = []
        for one, other, times in met:
            i, j = self._number(one), self._number(other)
            self._met[i, j] = self._met[j, i] = times
        self._rarity = _rarity(self._met)  # kept beside the counts: it is asked for far more often

    def __len__(self) -> int:
        self._count()
        return int(np.count_nonzero(np.triu(self._met, 1)))

    def add(self, config: ConvConfig) -> None:
        """Count one more configuration; one that comes several times in a row, with other data, counts once."""
        if config != self._latest:
            self._latest = config
            self._added.append(self.numbers(config))

    def rarities(self, ones: NDArray[np.intp], others: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return how rare the pairs of configurations are that are put together: Σ 1 / (1 + times met)².

        Each row of ``ones`` has the :meth:`numbers` of a part of a configuration, each row of ``others`` those of the part that it lacks;
        the result has a row for each of the ones and a column for each of the others.
        """
        self._count()
        near_ones, near_others = self._rarity[ones[:, :, None], ones[:, None, :]], self._rarity[others].sum(1)
        within_ones = near_ones.sum((1, 2)) - near_ones.diagonal(axis1=1, axis2=2).sum(1)
        within_others = near_others[np.arange(len(others))[:, None], others].sum(1) - self._rarity[others, others].sum(1)
        between = near_others[:, ones].sum(2).T
        rarities: NDArray[np.float64] = ((within_ones[:, None] + within_others) / 2 + between) / _UNIT
        return rarities

    def parts(self, config: ConvConfig) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the :meth:`numbers` of ``config`` in two parts: of the layer, and of its operands."""
        numbers = self.numbers(config)
        return numbers[~_IS_OF_OPERANDS], numbers[_IS_OF_OPERANDS]

    def numbers(self, config: ConvConfig) -> NDArray[np.intp]:
        """Return the numbers of the feature values of ``config``, one for each axis."""
        return np.array([self._number(f"{axis}={value}") for axis, value in features(config).items()])

    def has_new_pair(self, config: ConvConfig) -> bool:
        """Whether a pair of ``config`` has not been met yet."""
        self._count()
        values = self.numbers(config)
        among = self._met[values[:, None], values]
        return bool(np.any(among[np.triu_indices(len(values), 1)] == 0))

    def counts(self) -> list[tuple[str, str, int]]:
        """Return what another coverage can be made of."""
        self._count()
        pairs = combinations(self._numbers.items(), 2)
        return [(one, other, int(self._met[i, j])) for (one, i), (other, j) in pairs if self._met[i, j]]

    def _count(self) -> None:
        """Count what has been added since it was last asked for: the supervisor asks once a round only."""
        if self._added:
            added = np.array(self._added)
            cells = added[:, :, None], added[:, None, :]
            np.add.at(self._met, cells, 1)
            self._rarity[cells] = _rarity(self._met[cells])
            self._added.clear()

    def _number(self, value: str) -> int:
        number = self._numbers.setdefault(value, len(self._numbers))
        if number == len(self._met):
            self._met = np.pad(self._met, (0, _ROOM))
            self._rarity = _rarity(self._met)
        return number


def _rarity(met: NDArray[np.int64]) -> NDArray[np.float64]:
    return (_UNIT // (1 + met) ** 2).astype(np.float64)
