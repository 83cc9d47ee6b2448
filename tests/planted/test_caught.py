"""Quality: every planted mistake is found within 1,500 cases of the default space, and no correct kernel is accused."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from convfuzz.backends.kernel import KernelBackend
from convfuzz.case import Case
from convfuzz.checking import Checker
from convfuzz.events import BackendEnded
from convfuzz.plugins import load_strategy
from convfuzz.worker import draw, round_seeds

from .bugs import PLANTED
from .correct import CORRECT
from .registry import Planted

MOST_CASES = 1500
SEED = 20261122


@dataclass
class Outcome:
    """What one run over the drawn cases showed: the first finding of each planted kernel and all of the correct ones'."""

    caught: dict[str, tuple[int, Case, BackendEnded]] = field(default_factory=dict)
    accused: list[tuple[Case, BackendEnded]] = field(default_factory=list)
    cases: int = 0


class _Enough(KeyboardInterrupt):
    pass


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    """Run all kernels side by side over the same cases, each planted one until it is caught."""
    found = Outcome()
    correct = [KernelBackend(kernel.__name__, kernel) for kernel in CORRECT]
    waiting = {planted.name: KernelBackend(planted.name, planted.function) for planted in PLANTED}

    def run_batch(batch: tuple[Case, ...]) -> None:
        for case in batch:
            if found.cases == MOST_CASES:
                raise _Enough
            found.cases += 1
            for event in Checker([*correct, *waiting.values()]).events(case):
                if not isinstance(event, BackendEnded) or not event.verdict.failing:
                    continue
                if event.backend in waiting:
                    found.caught[event.backend] = (found.cases, case, event)
                    del waiting[event.backend]
                else:
                    found.accused.append((case, event))

    batches = load_strategy("default")
    for round_seed in round_seeds(SEED):
        try:
            draw(run_batch, batches, round_seed)
        except _Enough:
            return found
    raise AssertionError("rounds have no end")


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_planted_kernel_is_caught(planted: Planted, outcome: Outcome) -> None:
    """A campaign catches the mistake within 1,500 cases, with a verdict that fits it."""
    assert planted.name in outcome.caught, f"not caught in {outcome.cases} cases; trigger: {planted.trigger}"
    count, case, event = outcome.caught[planted.name]
    assert str(event.verdict) in planted.verdicts, f"case {count}, {case}: {event.verdict}, {event.reason}"


def test_no_correct_kernel_is_accused(outcome: Outcome) -> None:
    """Five correct kernels that differ in their order of summation get no finding in 1,500 cases each."""
    assert outcome.cases == MOST_CASES
    assert [f"{event.backend} on {case}: {event.verdict}, {event.reason}" for case, event in outcome.accused] == []
