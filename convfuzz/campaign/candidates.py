"""Which of the batches that were drawn runs next: the one with the rarest pairs of feature values for the root of its cost.

One layer in five that ``default`` draws has more than half of the cost. Some mistakes show in such layers only, so that they are not
left out: a share of the time goes to the batches with the rarest pairs, whatever they cost.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from convfuzz.campaign.expected_cost import expected_cost
from convfuzz.campaign.pair_coverage import PairCoverage
from convfuzz.case import Case

Batch: TypeAlias = tuple[Case, ...]

SHARE_AT_ANY_COST = 0.25
"""The share of a round's expected cost that goes to batches that are chosen whatever they cost."""
DEAR = 8.0
"""What a batch is expected to cost that is large: one in five of ``default`` costs more."""
_WEIGHT_OF_COST = 0.5
"""Its root: the whole cost runs many small layers and misses what takes a middling one, no cost spends the time on few large ones."""
_MOST_WAITING = 24
"""So many batches wait, the latest: what is not worth its cost now may be so when others have run."""


class Budget:
    """What the batches of a round are expected to have cost, and how much of it is free for some at any cost."""

    def __init__(self) -> None:
        self._spent = self._spent_at_any_cost = 0.0

    @property
    def has_room_at_any_cost(self) -> bool:
        """Whether enough has been saved for a large batch; a larger one still is paid back before the next."""
        return self._spent_at_any_cost + DEAR <= SHARE_AT_ANY_COST * self._spent

    def spend(self, cost: float, *, at_any_cost: bool) -> None:
        """Count a batch."""
        self._spent += cost
        self._spent_at_any_cost += cost if at_any_cost else 0.0


@dataclass(frozen=True, eq=False)
class _Candidate:
    batch: Batch
    cost: float
    numbers: NDArray[np.intp]


class Candidates:
    """The batches of a round that were drawn and have not run."""

    def __init__(self, coverage: PairCoverage) -> None:
        self._coverage = coverage
        self._budget = Budget()
        self._waiting: list[_Candidate] = []
        self._lists: list[Batch] = []

    def add(self, batches: Iterable[Batch]) -> None:
        """Add batches that are not there yet; where there are too many, the eldest leave."""
        known = {candidate.batch for candidate in self._waiting}
        for batch in dict.fromkeys(batches):
            if is_list(batch):
                self._lists.append(batch)
            elif batch and batch not in known:
                self._waiting.append(_Candidate(batch, batch_cost(batch), self._coverage.numbers(batch[0].config)))
        del self._waiting[:-_MOST_WAITING]

    def take(self) -> Batch | None:
        """Take the batch that runs next, lists of configurations first; ``None`` where there is none."""
        while self._lists:
            batch = self._lists.pop(0)
            if not is_done(batch, self._coverage):
                return batch
        if not self._waiting:
            return None
        worth = self._coverage.rarities(np.stack([candidate.numbers for candidate in self._waiting]))
        at_any_cost = self._budget.has_room_at_any_cost
        if not at_any_cost:
            worth /= np.array([candidate.cost for candidate in self._waiting]) ** _WEIGHT_OF_COST
        best = self._waiting.pop(int(np.argmax(worth)))
        self._budget.spend(best.cost, at_any_cost=at_any_cost)
        return best.batch


def batch_cost(batch: Batch) -> float:
    """Return what running a batch is expected to cost."""
    return sum(map(expected_cost, batch))


def part_of_list(batch: Batch, worker: int, workers: int) -> Batch:
    """Return every so-manieth of a list's cases, so that the workers of a campaign run it together; another batch as it is."""
    return batch[worker::workers] if is_list(batch) else batch


def is_list(batch: Batch) -> bool:
    """Whether a batch is a list of configurations, such as the corpus, and not one with several data recipes."""
    return len({case.config for case in batch}) > 1


def is_done(batch: Batch, coverage: PairCoverage) -> bool:
    """Whether a batch is a list of configurations of which each has been tried, or all that meets in it."""
    return is_list(batch) and not any(coverage.has_new_pair(case.config) for case in batch)
