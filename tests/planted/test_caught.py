"""Quality: campaigns of 1,500 cases find every planted mistake and accuse no correct kernel."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import pytest

from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.campaign.pair_coverage import PairCoverage
from convfuzz.campaign.rounds import Batch, draw_round, round_seeds
from convfuzz.case import Case
from convfuzz.checking.checker import Checker
from convfuzz.entry_points import load_strategy
from convfuzz.record.events import BackendEnded

from .bugs import PLANTED
from .correct import CORRECT, dense
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


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """Run all kernels side by side over the same cases of their space: the correct ones for one campaign, the others until caught."""
    outcomes = {}
    for space in dict.fromkeys(SPACES.values()):
        outcomes[space] = Outcome()
        waiting = {planted.name: planted for planted in PLANTED if SPACES[planted.shows] == space}
        correct = [KernelBackend(kernel.__name__, kernel) for kernel in (*CORRECT, dense)]
        for seed in SEEDS:
            if correct or waiting:
                campaign(space, seed, correct, waiting, outcomes[space])
            correct = []
    return outcomes


def campaign(space: str, seed: int, correct: list[KernelBackend], waiting: dict[str, Planted], found: Outcome) -> None:
    """Draw ``CASES`` cases and run every kernel on those that may show something of it; who is caught no longer waits."""
    last = found.cases + CASES

    coverage = PairCoverage()

    def run_batch(batch: Batch) -> float:
        worst = 0.0
        for case in batch:
            if found.cases == last:
                raise _Enough
            found.cases += 1
            coverage.add(case.config)
            backends = [*correct, *(p.backend for p in waiting.values() if case.grad or p.shows != "gradients")]
            for event in verdicts(backends, case):
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


def verdicts(backends: list[KernelBackend], case: Case) -> Iterator[BackendEnded]:
    """Yield what becomes of every backend, and leave the comparison of each two out: there are thousands."""
    events = (event for event in Checker(backends).events(case) if isinstance(event, BackendEnded))
    return islice(events, len(backends))


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_planted_kernel_is_caught(planted: Planted, outcomes: dict[str, Outcome]) -> None:
    """A campaign of 1,500 cases catches the mistake, with a verdict that fits it; a rare one is caught by one of three."""
    outcome = outcomes[SPACES[planted.shows]]
    assert planted.name in outcome.caught, f"not caught in {outcome.cases} cases; trigger: {planted.trigger}"
    count, case, event = outcome.caught[planted.name]
    assert str(event.verdict) in planted.verdicts, f"case {count}, {case}: {event.verdict}, {event.reason}"


@pytest.mark.parametrize("space", ["default", "invalid"])
def test_no_correct_kernel_is_accused(space: str, outcomes: dict[str, Outcome]) -> None:
    """Five correct kernels that differ in their order of summation, and the one behind the mistakes, get no finding in 1,500 cases."""
    assert outcomes[space].cases >= CASES
    assert [f"{event.backend} on {case}: {event.verdict}, {event.reason}" for case, event in outcomes[space].accused] == []
