"""What the runs of a failure in fresh processes say, and what is kept of a process's history."""

from __future__ import annotations

import pytest

from convfuzz.record.confirmation import MOST_STEPS, Confirmation, ProcessRuns, Recurrence, Step, Tally

STEP = Step("torch", "conv1d_c1_o1_i1_k1_f32")


@pytest.mark.parametrize(
    ("alone", "after", "recurrence"),
    [
        ((0, 0), (0, 0), Recurrence.NOT_CONFIRMED),
        ((1, 1), (0, 0), Recurrence.CONFIRMED),
        ((5, 5), (0, 1), Recurrence.CONFIRMED),
        ((3, 8), (0, 0), Recurrence.FLAKY),
        ((7, 8), (8, 8), Recurrence.FLAKY),
        ((1, 8), (8, 8), Recurrence.FLAKY),
        ((0, 5), (5, 5), Recurrence.DEPENDS),
        ((0, 8), (6, 8), Recurrence.DEPENDS),
        ((0, 8), (5, 8), Recurrence.FLAKY),
        ((0, 8), (0, 2), Recurrence.NOT_REPRODUCED),
        ((0, 8), (0, 0), Recurrence.NOT_REPRODUCED),
    ],
)
def test_recurrence(alone: tuple[int, int], after: tuple[int, int], recurrence: Recurrence) -> None:
    """It is confirmed when it always fails alone, depends on a history when that is what it takes, and flaky in between."""
    assert Confirmation(alone=Tally(*alone), after=Tally(*after), preceding=[STEP]).recurrence is recurrence


def test_no_history_no_dependence() -> None:
    """Failures after runs of which none is known to matter are flaky, and all runs count for the rate."""
    found = Confirmation(alone=Tally(0, 8), after=Tally(2, 2))
    assert found.recurrence is Recurrence.FLAKY
    assert str(found.rate) == "2 of 10"


def test_the_words() -> None:
    """The text has the rate, and for a history both: with it and without."""
    assert str(Confirmation(alone=Tally(5, 5))) == "confirmed: failed in 5 of 5 fresh processes"
    assert str(Confirmation(alone=Tally(3, 8))) == "flaky: failed in 3 of 8 fresh processes"
    assert Confirmation(alone=Tally(3, 8)).label == "flaky (3 of 8)"
    depends = Confirmation(alone=Tally(0, 5), after=Tally(5, 5), preceding=[STEP])
    assert str(depends) == "depends on what ran before: failed 5 of 5 times after 1 other run, 0 of 5 times alone"
    gone = Confirmation(alone=Tally(0, 8), after=Tally(0, 3))
    assert str(gone) == "not reproduced: failed in 0 of 8 fresh processes, and 0 of 3 times after what had run before it"
    assert Confirmation().label == "not confirmed"


def _step(number: int) -> Step:
    return Step("torch", f"conv1d_c1_o1_i{number}_k1_f32")


@pytest.mark.parametrize(
    "count", [0, 1, MOST_STEPS - 1, MOST_STEPS, MOST_STEPS + 1, 2 * MOST_STEPS, 2 * MOST_STEPS + 1, 5 * MOST_STEPS + 7]
)
def test_the_last_steps_are_kept(count: int) -> None:
    """However long a process has lived, the last steps before a failure are there, without the failing one."""
    runs = ProcessRuns()
    for number in range(count):
        runs.add(_step(number))
    failing = _step(count)
    runs.add(failing)
    assert runs.until(failing).steps == [_step(number) for number in range(max(0, count - MOST_STEPS), count)]


def test_what_came_later_is_not_before() -> None:
    """A failure's history ends before it, whatever the process runs while the failure waits to be looked at."""
    runs = ProcessRuns()
    runs.add(_step(1))
    runs.add(_step(2))
    before = runs.until(_step(2))
    for number in range(3, 3 * MOST_STEPS):
        runs.add(_step(number))
    assert before.steps == [_step(1)]


def test_a_backend_that_declined_has_not_run() -> None:
    """Where the failing step never began, the latest step is part of the history."""
    runs = ProcessRuns()
    runs.add(_step(1))
    assert runs.until(_step(2)).steps == [_step(1)]
