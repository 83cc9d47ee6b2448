"""How the cases of a round are drawn: from its seed alone, steered to what a campaign has tried least.

Most rounds draw four times as many configurations as they run. A configuration counts as new by the *pairs* of feature
values that meet in it, such as stride 2 with channels-last memory: most mistakes take two parameters, few take more
(Kuhn, Wallace and Gallo, IEEE TSE 2004). Every eighth round climbs instead: Hypothesis's ``target()`` turns it towards
larger errors relative to the bound.

A batch of several configurations is a list, such as the corpus, that a search space begins every round with; it runs in a
worker's first round only.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from random import Random

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings, target
from hypothesis.strategies import SearchStrategy

from convfuzz.campaign.pair_coverage import PairCoverage
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig

BATCHES_PER_ROUND = 200
"""Configurations that run in one round, about: Hypothesis's memory grows with a run's examples, so that a round is bounded."""
CLIMBING = 8
"""One round of so many climbs. It finds larger errors, and fewer mistakes of any other kind: see ``benchmarks/steering.py``."""

_DRAWN_FOR_ONE = 4
_COMPARED_WITH = 32
_AT_FIRST = 8

Batch = tuple[Case, ...]


class _Steering:
    """Lets through about one in four configurations, those that are rarer than the last few that were drawn."""

    def __init__(self, coverage: PairCoverage) -> None:
        self._coverage = coverage
        self._latest: deque[float] = deque(maxlen=_COMPARED_WITH)

    def wants(self, batch: Batch) -> bool:
        rarity = max((self._coverage.rarity(config) for config in _configs(batch)), default=0.0)
        self._latest.append(rarity)
        if len(self._latest) < _AT_FIRST:
            return True
        return rarity >= sorted(self._latest)[len(self._latest) - len(self._latest) // _DRAWN_FOR_ONE]


def _configs(batch: Batch) -> set[ConvConfig]:
    return {case.config for case in batch}


def _is_done(batch: Batch, coverage: PairCoverage) -> bool:
    """Whether a batch is a list of configurations, such as the corpus, of which each has been tried, or all that meets in it."""
    configs = _configs(batch)
    return len(configs) > 1 and not any(map(coverage.has_new_pair, configs))


def round_seeds(base: int) -> Iterator[int]:
    """Yield the seed of each round of a campaign with seed ``base``."""
    source = Random(base)  # noqa: S311 - a reproducible sequence is what is wanted
    while True:
        yield source.getrandbits(63)


def draw_round(
    number: int, round_seed: int, batches: SearchStrategy[Batch], coverage: PairCoverage, run_batch: Callable[[Batch], float]
) -> None:
    """Draw the batches of round ``number`` and have each one run; the same arguments draw the same ones.

    Args:
        number: which round of the campaign it is; every eighth climbs, the others are steered.
        round_seed: what Hypothesis draws from; it remembers nothing between rounds.
        batches: the search space.
        coverage: what has been tried so far; ``run_batch`` adds to it.
        run_batch: runs a batch and returns its largest error in units of its bound, 0 where there is none. What it raises
            ends the round.
    """
    climbs = number % CLIMBING == CLIMBING - 1
    steering = _Steering(coverage)

    @seed(round_seed)
    @settings(
        max_examples=BATCHES_PER_ROUND * (1 if climbs else _DRAWN_FOR_ONE),
        phases=[Phase.generate, Phase.target] if climbs else [Phase.generate],
        database=None,
        deadline=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(batches)
    def drawn(batch: Batch) -> None:
        if _is_done(batch, coverage) or not (climbs or steering.wants(batch)):
            return
        worst = run_batch(batch)
        if climbs:
            target(math.log2(max(min(1.0, worst), 2.0**-20)), label="error ratio")  # beyond 1 it is a finding, which is enough

    drawn()
