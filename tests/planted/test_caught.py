"""Quality: campaigns of 1,500 cases find every planted mistake and accuse no correct kernel."""

from __future__ import annotations

import pytest

from convfuzz.backends.kernels.backend import KernelBackend

from .bugs import PLANTED
from .campaigns import CASES, SPACES, Outcome, campaigns
from .correct import CORRECT, dense
from .registry import Planted


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """Run all kernels side by side over the same cases of their space: the correct ones for one campaign, the others until caught."""
    return campaigns(PLANTED, [KernelBackend(kernel.__name__, kernel) for kernel in (*CORRECT, dense)])


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
