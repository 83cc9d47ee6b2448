"""Which failures of a finding nothing explains, as a campaign's journal tells it, and what that does to the exit status."""

from __future__ import annotations

from convfuzz.campaign.unexplained import Unexplained
from convfuzz.record.events import BackendEnded, BackendStarted, CaseStarted, Event, FailureExplained, FindingKept
from convfuzz.record.outcome import exit_status
from convfuzz.record.summary import Summary
from convfuzz.verdicts import Verdict

ONE, TWO = "11111111", "22222222"
SMALL, LARGE = "conv1d_c1_o1_i1_k1_s2_f32", "conv2d_n3_c8_o4_i40_k5_s2_b_f32"


def kept(fingerprint: str, case: str, known_as: str = "", **more: object) -> FindingKept:
    """Return the event of a failure that has become part of a finding."""
    record = {"backend": "torch", "verdict": Verdict.WRONG, "minimal": case, "known_as": known_as, **more}
    return FindingKept(fingerprint=fingerprint, case=case, **record)


def failed(case: str) -> list[Event]:
    """Return the events of a failing case."""
    ended = BackendEnded(backend="torch", verdict=Verdict.WRONG, seconds=0.0)
    return [CaseStarted(case, 1.0), BackendStarted("torch"), ended]


def unexplained(*events: Event) -> Unexplained:
    """Return the fold of some events."""
    fold = Unexplained()
    for event in events:
        fold.add(event)
    return fold


def test_what_is_neither_tolerated_nor_known_is_unexplained() -> None:
    """Each failure counts by itself, by its own case, as often as it failed."""
    fold = unexplained(
        kept(ONE, SMALL), kept(ONE, SMALL), kept(ONE, LARGE, "strides"), kept(ONE, LARGE, tolerated_by=TWO), kept(TWO, LARGE)
    )
    assert (fold.of(ONE), fold.of(TWO)) == ([SMALL, SMALL], [LARGE])


def test_what_is_explained_later_no_longer_is() -> None:
    """An explanation is of one failure; the failures of a finding that became part of another one are that one's."""
    told: list[Event] = [kept(ONE, LARGE), kept(ONE, SMALL), kept(TWO, SMALL, "strides", absorbs=[ONE])]
    fold = unexplained(*told)
    assert (fold.of(ONE), fold.of(TWO)) == ([], [LARGE, SMALL])
    fold.add(FailureExplained(fingerprint=TWO, case=LARGE, known_as="strides"))
    assert fold.of(TWO) == [SMALL]


def test_a_run_does_not_fail_for_what_was_explained_in_the_end() -> None:
    """A finding is known once all its failures are; with `tolerate` the exit status is 0 then, and 1 before."""
    events = [*failed(SMALL), *failed(LARGE), kept(ONE, SMALL), kept(ONE, LARGE, "strides")]
    summary = Summary.of(events)
    assert (summary.known_as(ONE), exit_status(summary, "time", "tolerate")) == ("", 1)
    summary.add(FailureExplained(fingerprint=ONE, case=SMALL, known_as="strides"))
    assert (summary.known_as(ONE), exit_status(summary, "time", "tolerate"), exit_status(summary, "time")) == ("strides", 0, 1)
