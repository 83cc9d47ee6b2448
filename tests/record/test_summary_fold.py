"""The fold over a campaign's events, by hand over a few of them."""

from __future__ import annotations

import math

import pytest

from convfuzz.record.events import (
    BackendEnded,
    BackendStarted,
    CanaryEnded,
    CaseEnded,
    CaseStarted,
    Event,
    FindingKept,
    JournalOpened,
    RoundEnded,
    RoundStarted,
)
from convfuzz.record.summary import Summary
from convfuzz.system.json_records import Real
from convfuzz.verdicts import Discrepancy, Verdict

FIRST = "conv1d_c2_o2_i9_k3_f32@integers.1"
SECOND = "conv1d_c2_o2_i9_k3_f32@normal.2"
THIRD = "conv2d_c4_o4_g4_i9_k3_s2_f16@normal.3"


def ended(backend: str, verdict: Verdict, seconds: float = 0.0, **discrepancy: float) -> BackendEnded:
    """Make the end of a backend, with the discrepancy of its forward pass where one is given."""
    found = {name: Real(value) for name, value in discrepancy.items() if name in ("max_abs", "ratio")}
    counts = {name: int(value) for name, value in discrepancy.items() if name == "non_finite"}
    passes = {"forward": Discrepancy(elements=9, **found, **counts)} if discrepancy else {}  # type: ignore[arg-type]
    return BackendEnded(backend=backend, verdict=verdict, seconds=seconds, discrepancies=passes)


EVENTS: list[Event] = [
    JournalOpened(1, "0", 100.0),
    RoundStarted(0, 5, 101.0),
    CaseStarted(FIRST, 102.0),
    BackendStarted("a"),
    ended("a", Verdict.AGREE, 0.5, max_abs=0.0),
    BackendStarted("b"),
    ended("b", Verdict.WRONG, 0.25, max_abs=3.0),
    CaseEnded(pairs=[("a", "b", Real(3.0))], reference_seconds=0.125, overhead_seconds=0.0625),
    CanaryEnded(caught=True, verdict=Verdict.WRONG),
    FindingKept(fingerprint="0123abcd", backend="b", verdict=Verdict.WRONG, case=FIRST, minimal=FIRST, max_abs=Real(3.0)),
    CaseStarted(SECOND, 103.0),
    BackendStarted("a"),
    ended("a", Verdict.AGREE, 0.5, max_abs=1e-7, ratio=0.3),
    BackendStarted("b"),
    ended("b", Verdict.IMPRECISE, 0.25, max_abs=1e-3, ratio=40.0),
    CaseEnded(pairs=[("b", "a", Real(9e-4))], reference_seconds=0.125),
    FindingKept(fingerprint="0123abcd", backend="b", verdict=Verdict.WRONG, case=SECOND, minimal=SECOND, max_abs=Real(2.0)),
    CaseStarted(THIRD, 104.0),
    BackendEnded(backend="a", verdict=Verdict.UNSUPPORTED, seconds=0.0, reason="no groups"),
    BackendStarted("b"),
    ended("b", Verdict.NON_FINITE, 0.25, max_abs=2.0, ratio=0.5, non_finite=1),
    CaseEnded(),
    CaseStarted(THIRD, 104.5),
    CaseEnded(skipped="too large"),
    RoundEnded(0, 4, 105.0, pairs=210),
]


@pytest.fixture
def summary() -> Summary:
    """The fold of the events above."""
    return Summary.of(EVENTS)


def test_totals(summary: Summary) -> None:
    """Cases, distinct configurations in a row, comparisons, rounds and the span of time are counted."""
    assert (summary.cases, summary.configs, summary.comparisons, summary.rounds) == (4, 2, 5, 1)
    assert summary.pairs_met == 210
    assert (summary.started, summary.ended) == (100.0, 105.0)
    assert (summary.reference_seconds, summary.overhead_seconds) == (0.25, 0.0625)
    assert summary.backend_seconds == 0.5 + 0.25 + 0.5 + 0.25 + 0.25
    assert summary.failures == 3
    assert (summary.canary_planted, summary.canary_caught) == (1, 1)
    assert summary.skipped == {"too large": 1}
    assert summary.regimes == {"integers": 1, "normal": 3}


def test_backends(summary: Summary) -> None:
    """Each backend has its verdicts, its time, its skips with their reasons, and what was compared."""
    a, b = summary.backends["a"], summary.backends["b"]
    assert a.verdicts == {Verdict.AGREE: 2, Verdict.UNSUPPORTED: 1}
    assert b.verdicts == {Verdict.WRONG: 1, Verdict.IMPRECISE: 1, Verdict.NON_FINITE: 1}
    assert (a.compared, a.failures, a.seconds) == (2, 0, 1.0)
    assert (b.compared, b.failures, b.seconds) == (3, 3, 0.75)
    assert a.skips == {"no groups": 1}


def test_error_ratios(summary: Summary) -> None:
    """Ratios are binned by powers of two; a comparison without any error is exact, and the worst one is named."""
    a, b = summary.backends["a"], summary.backends["b"]
    assert (a.exact, a.ratios) == (1, {-2: 1})  # 2^-2 ≤ 0.3 < 2^-1
    assert (b.exact, b.ratios) == (0, {5: 1, -1: 1})  # 2^5 ≤ 40 < 2^6
    assert (b.worst_ratio, b.worst_ratio_case) == (40.0, SECOND)
    assert b.ratios_by_dtype == {"float32": 40.0, "float16": 0.5}


def test_pairs(summary: Summary) -> None:
    """Each pair has its largest discrepancy, per dtype, and the case of it; NaN and Inf where they are wrong count as infinite."""
    pairs = {names: (pair.compared, pair.max_abs, pair.case) for names, pair in summary.pairs.items()}
    assert pairs == {
        ("a", "reference", "float32"): (2, 1e-7, SECOND),
        ("b", "reference", "float32"): (2, 3.0, FIRST),
        ("b", "reference", "float16"): (1, math.inf, THIRD),
        ("a", "b", "float32"): (2, 3.0, FIRST),
    }


def test_coverage(summary: Summary) -> None:
    """Every axis counts each case once."""
    assert all(counts.total() == 4 for counts in summary.coverage.values())
    assert summary.coverage["groups"] == {"1": 2, "depthwise": 2}
    assert summary.coverage["dtype"] == {"float32": 2, "float16": 2}


def test_findings(summary: Summary) -> None:
    """A finding is counted each time it comes up, with its first case and its latest minimal one."""
    (found,) = summary.findings.values()
    assert (found.fingerprint, found.backend, found.verdict, found.count) == ("0123abcd", "b", Verdict.WRONG, 2)
    assert (found.first_case, found.minimal, found.max_abs) == (FIRST, SECOND, 2.0)


def test_where_a_process_died() -> None:
    """After the last event a backend that started and did not end is the one that took the process along."""
    for events, running in ((EVENTS[:4], "a"), (EVENTS[:5], None), (EVENTS[:6], "b"), (EVENTS[:8], None), (EVENTS, None)):
        assert Summary.of(events).running == running
    died = Summary.of(EVENTS[:6])
    assert str(died.case) == FIRST


def test_folding_in_parts(summary: Summary) -> None:
    """Adding events one by one gives the same as folding them at once."""
    other = Summary()
    for event in EVENTS:
        other.add(event)
    assert other == summary


def test_journals_of_several_workers() -> None:
    """Folding several journals one after the other adds them up and spans all their times."""
    earlier: list[Event] = [JournalOpened(1, "1", 50.0), RoundStarted(1, 6, 60.0), CaseStarted(SECOND, 70.0), RoundEnded(1, 1, 80.0)]
    merged = Summary.of([*EVENTS, *earlier])
    assert (merged.cases, merged.rounds) == (5, 2)
    assert (merged.started, merged.ended) == (50.0, 105.0)


@pytest.mark.parametrize(("ratio", "bin_"), [(math.inf, 20), (1e30, 20), (2.0**20, 20), (1.0, 0), (0.999, -1), (1e-30, -20)])
def test_extreme_ratios(ratio: float, bin_: int) -> None:
    """Ratios beyond the histogram, infinite ones included, go into its outermost bins."""
    found = Summary.of([CaseStarted(SECOND, 1.0), ended("b", Verdict.WRONG, max_abs=1.0, ratio=ratio)]).backends["b"]
    assert found.ratios == {bin_: 1}
    assert found.worst_ratio == ratio


def test_not_finite_is_not_exact() -> None:
    """An output that is NaN where a number is due is no comparison without error, even if its other elements are right."""
    events: list[Event] = [CaseStarted(SECOND, 1.0), ended("b", Verdict.NON_FINITE, max_abs=0.0, ratio=0.0, non_finite=3)]
    assert Summary.of(events).backends["b"].exact == 0


def test_nan_between_two_backends_stays() -> None:
    """A discrepancy that is NaN is the worst there is, whatever comes after."""
    ends = [CaseEnded(pairs=[("a", "b", Real(value))]) for value in (1.0, math.nan, 5.0)]
    assert math.isnan(Summary.of([CaseStarted(SECOND, 1.0), *ends]).pairs["a", "b", "float32"].max_abs)


def test_nothing_happened() -> None:
    """The fold of no events is empty."""
    summary = Summary.of([])
    assert (summary.cases, summary.comparisons, summary.failures, summary.backend_seconds) == (0, 0, 0, 0)
    assert summary.running is None
