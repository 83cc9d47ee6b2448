"""Campaigns in one process over many kernels side by side: the first finding of each wrong one, and every accusation of a correct one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from convfuzz.backends import Backend
from convfuzz.campaign.candidates import Batch
from convfuzz.campaign.pair_coverage import PairCoverage
from convfuzz.campaign.rounds import draw_round, round_seeds
from convfuzz.case import Case
from convfuzz.checking.checker import Checker
from convfuzz.entry_points import load_strategy
from convfuzz.record.events import BackendEnded

from .registry import Planted

CASES = 1500
SEEDS = (20261122, 20261123, 20261124)
"""A seed for each of the campaigns: one misses a mistake now and then that takes a rare shape."""
SPACES = {"forward": "default", "gradients": "default", "invalid": "invalid"}
"""Where the mistakes show: invalid calls have a space of their own."""


@dataclass
class Outcome:
    """What the campaigns in one space showed: the first finding of each planted kernel, and all of the correct ones'."""

    caught: dict[str, tuple[int, Case, BackendEnded]] = field(default_factory=dict)
    accused: list[tuple[Case, BackendEnded]] = field(default_factory=list)
    cases: int = 0


class _Enough(KeyboardInterrupt):
    pass


def campaigns(
    wrong: Sequence[Planted], correct: Sequence[Backend], backends: Mapping[str, Backend] | None = None, *, of_correct: int = CASES
) -> dict[str, Outcome]:
    """Run all kernels over the same cases of their space: the correct ones for ``of_correct``, the others until caught.

    ``backends`` has what runs in a wrong kernel's place, by its name, where that is not the kernel as it was entered.
    """
    outcomes = {}
    for space in dict.fromkeys(SPACES.values()):
        outcomes[space] = Outcome()
        waiting = {planted.name: planted for planted in wrong if SPACES[planted.shows] == space}
        for seed in SEEDS:
            judged = correct if outcomes[space].cases < of_correct else ()
            if judged or waiting:
                _campaign(space, seed, judged, waiting, backends or {}, outcomes[space])
    return outcomes


def _campaign(
    space: str, seed: int, correct: Sequence[Backend], waiting: dict[str, Planted], backends: Mapping[str, Backend], found: Outcome
) -> None:
    """Draw ``CASES`` cases and run every kernel on those that may show something of it; who is caught no longer waits."""
    last = found.cases + CASES
    coverage = PairCoverage()

    def run_batch(batch: Batch) -> float:
        worst = 0.0
        for case in batch:
            if found.cases == last or not (correct or waiting):
                raise _Enough
            found.cases += 1
            coverage.add(case.config)
            asked = [backends.get(p.name, p.backend) for p in waiting.values() if case.grad or p.shows != "gradients"]
            for event in verdicts([*correct, *asked], case):
                if event.verdict.failing and event.backend in waiting:
                    found.caught[event.backend] = (found.cases, case, event)
                    del waiting[event.backend]
                elif event.verdict.failing:
                    found.accused.append((case, event))
                worst = max(worst, event.worst_ratio)
        return worst

    batches = load_strategy(space)
    with contextlib.suppress(_Enough):
        for number, round_seed in enumerate(round_seeds(seed)):
            draw_round(number, round_seed, batches, coverage, run_batch)


def verdicts(backends: Sequence[Backend], case: Case) -> Iterator[BackendEnded]:
    """Yield what becomes of every backend, and leave the comparison of each two out: there are thousands."""
    events = (event for event in Checker(list(backends)).events(case) if isinstance(event, BackendEnded))
    return islice(events, len(backends))
