"""Which of a campaign's failures is examined next."""

from __future__ import annotations

from convfuzz.campaign.waiting import Queue, Waiting, way_of
from convfuzz.case import Case
from convfuzz.record.confirmation import ProcessRuns, Step
from convfuzz.record.events import BackendEnded
from convfuzz.triage.examination import Failure
from convfuzz.verdicts import Verdict

SIMPLE, LARGE = "conv1d_c1_o1_i4_k2_f32@integers.1", "conv2d_n3_c4_o4_i9_k3_s2_b_f32@integers.1"


def failure(verdict: Verdict, line: str = LARGE) -> Failure:
    """Return a failure of one kernel."""
    return Failure(Case.parse(line), BackendEnded(backend="k", verdict=verdict, seconds=1.0), ProcessRuns().until(Step("k", line)))


def queue(*failures: Failure) -> Queue:
    """Return a queue of these."""
    waiting = Queue()
    for each in failures:
        waiting.add(each)
    return waiting


def taken(waiting: Queue) -> list[tuple[str, str]]:
    """Take all out, and return each one's verdict and case."""
    order: list[Waiting] = []
    while (one := waiting.next(())) is not None:
        order.append(one)
    return [(str(one.failure.result.verdict), str(one.failure.case)) for one in order]


def test_cheap_before_slow_and_grave_before_light() -> None:
    """A crash comes before a wrong result, and both before what runs into a limit, whatever their cases are."""
    waiting = queue(*map(failure, (Verdict.TIMEOUT, Verdict.IMPRECISE, Verdict.CRASH, Verdict.WRONG)))
    assert [verdict for verdict, _ in taken(waiting)] == ["crash", "wrong", "imprecise", "timeout"]


def test_each_way_to_fail_has_its_turn_the_simplest_case_first() -> None:
    """The second failure of one way comes after the first of each other way."""
    waiting = queue(failure(Verdict.CRASH), failure(Verdict.CRASH, SIMPLE), failure(Verdict.IMPRECISE))
    assert taken(waiting) == [("crash", SIMPLE), ("imprecise", LARGE), ("crash", LARGE)]


def test_of_one_way_to_fail_one_is_examined_at_a_time() -> None:
    """What fails as a failure that is being examined waits, and what is slow until that can be afforded; by time or by size is one way."""
    waiting = queue(failure(Verdict.MEMORY), failure(Verdict.WRONG))
    assert way_of(failure(Verdict.MEMORY)) == way_of(failure(Verdict.TIMEOUT))
    assert waiting.next({way_of(failure(Verdict.WRONG))}, slow=False) is None
    busy = {way_of(failure(Verdict.TIMEOUT)), way_of(failure(Verdict.WRONG))}
    assert waiting.next(busy) is None
    assert len(waiting) == 2


def test_what_turns_out_to_be_known_no_longer_waits() -> None:
    """Failures that are taken when they are shown leave the queue, and the others keep their order."""
    waiting = queue(failure(Verdict.WRONG), failure(Verdict.WRONG, SIMPLE), failure(Verdict.CRASH))
    waiting.sift(lambda each: str(each.case) == SIMPLE)
    assert taken(waiting) == [("crash", LARGE), ("wrong", LARGE)]


def test_what_is_put_back_keeps_its_place() -> None:
    """A failure whose examination was cut off comes again before a later one like it."""
    waiting = queue(failure(Verdict.WRONG, SIMPLE), failure(Verdict.WRONG, SIMPLE))
    first = waiting.next(())
    assert first is not None
    waiting.put_back(first)
    assert waiting.next(()) is first


def test_what_is_not_known_upstream_comes_first() -> None:
    """Rounding that nobody knows of is examined before a crash that is known, however often it had its turn."""
    waiting = queue(failure(Verdict.IMPRECISE), failure(Verdict.IMPRECISE, SIMPLE))
    waiting.add(failure(Verdict.CRASH), is_known=True)
    assert [verdict for verdict, _ in taken(waiting)] == ["imprecise", "imprecise", "crash"]


def test_what_ends_processes_and_is_not_known_is_told() -> None:
    """Only what waits counts, and nothing that is known upstream."""
    waiting = queue(failure(Verdict.WRONG))
    waiting.add(failure(Verdict.CRASH), is_known=True)
    assert not waiting.holds((Verdict.CRASH, Verdict.TIMEOUT))
    waiting.add(failure(Verdict.TIMEOUT))
    assert waiting.holds((Verdict.CRASH, Verdict.TIMEOUT))
    taken(waiting)
    assert not waiting.holds((Verdict.CRASH, Verdict.TIMEOUT))
