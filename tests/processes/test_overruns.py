"""Which operand a kernel overran is found out by running it again under other guards; here it is a rule instead of a kernel."""

from __future__ import annotations

import pytest

from convfuzz.processes.evaluator import Measured
from convfuzz.processes.overruns import may_be_overrun, overrun
from convfuzz.record.events import BackendEnded
from convfuzz.tensors.guards import Guards
from convfuzz.verdicts import Verdict

DEAD = BackendEnded(backend="k", verdict=Verdict.CRASH, seconds=0.0, reason="the process was killed by SIGSEGV")
ALIVE = BackendEnded(backend="k", verdict=Verdict.AGREE, seconds=0.0)


class Overrunning:
    """A kernel that touches an array up to ``reach`` bytes beyond one side, whose page lies ``gap`` bytes from it."""

    def __init__(self, operand: str, side: str, reach: int, *, writes: bool = False, gap: int = 0) -> None:
        self.operand, self.side, self.reach, self.writes, self.gap = operand, side, reach, writes, gap
        self.calls = 0

    def __call__(self, guards: Guards) -> BackendEnded:
        """Die where a guard page is in reach."""
        self.calls += 1
        is_there = guards.pages and guards.operand in ("", self.operand) and guards.side == self.side
        is_met = is_there and self.reach > guards.room + self.gap and (self.writes or not guards.readable)
        return DEAD if is_met else ALIVE


@pytest.mark.parametrize("reach", [4, 8, 12, 64, 100, 4096])
@pytest.mark.parametrize("side", ["end", "beginning"])
@pytest.mark.parametrize("operand", ["x", "w", "b", "out"])
def test_the_operand_the_side_and_the_reach_are_found(operand: str, side: str, reach: int) -> None:
    """In few calls, since a call that dies costs a process."""
    kernel = Overrunning(operand, side, reach)
    found = overrun(kernel, Measured({"x": (0, 0), "w": (0, 0), "b": (0, 0)}, 4, 4))
    place, behind = {"end": ("beyond the end", "behind"), "beginning": ("before the beginning", "before")}[side]
    assert found == f"reads {place} of {operand}, as far as {reach} bytes {behind} it"
    assert kernel.calls < 40


def test_all_that_is_overrun_is_named() -> None:
    """Two overruns that one case shows are one finding, which says both."""
    kernels = (Overrunning("x", "end", 4), Overrunning("w", "beginning", 8))

    def both(guards: Guards) -> BackendEnded:
        return max((kernel(guards) for kernel in kernels), key=lambda result: result.verdict is Verdict.CRASH)

    said = "reads beyond the end of x, as far as 4 bytes behind it; reads before the beginning of w, as far as 8 bytes before it"
    assert overrun(both, Measured({"x": (0, 0), "w": (0, 0)}, 4, 4)) == said


def test_writing_is_told_from_reading() -> None:
    """A page that can be read ends only what writes."""
    assert overrun(Overrunning("x", "end", 4, writes=True), Measured({"x": (0, 0)}, 4, 4)).startswith("writes beyond the end of x")


def test_what_alignment_leaves_before_the_page_is_counted() -> None:
    """Where room comes in steps larger than an element the reach is an upper bound."""
    found = overrun(Overrunning("x", "end", 20, gap=8), Measured({"x": (8, 0)}, 16, 4))
    assert found == "reads beyond the end of x, at most 24 bytes behind it"


def test_an_overrun_without_end_is_not_followed_for_ever() -> None:
    """Beyond 64 KiB it is only said to be further."""
    assert "further than 64 KiB behind it" in overrun(Overrunning("x", "end", 2**30), Measured({"x": (0, 0)}, 4, 4))


def test_a_crash_of_its_own_is_no_overrun() -> None:
    """What dies without guard pages too, or without any operand being guarded, is left as it is."""
    assert overrun(lambda _: DEAD, Measured({"x": (0, 0)})) == ""
    assert overrun(lambda _: ALIVE, Measured({"x": (0, 0)})) == ""
    assert overrun(lambda _: DEAD, Measured({})) == ""


@pytest.mark.parametrize(
    ("verdict", "reason", "may"),
    [
        (Verdict.CRASH, "the process was killed by SIGSEGV", True),
        (Verdict.CRASH, "the process was killed by SIGBUS", True),
        (Verdict.CRASH, "the process was killed by SIGABRT", False),
        (Verdict.CRASH, "reads beyond the end of x, as far as 4 bytes behind it: the process was killed by SIGSEGV", False),
        (Verdict.ERROR, "the process was killed by SIGSEGV", False),
    ],
)
def test_only_a_fault_in_memory_is_looked_into(verdict: Verdict, reason: str, *, may: bool) -> None:
    """And that once."""
    assert may_be_overrun(BackendEnded(backend="k", verdict=verdict, seconds=0.0, reason=reason)) is may
