"""From failures to findings: what is run again, in which process, and what is made of the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import msgspec
import pytest

from convfuzz.case import Case
from convfuzz.record.confirmation import ProcessRuns, Recurrence, Step, Tally
from convfuzz.record.events import BackendEnded
from convfuzz.record.finding import Finding
from convfuzz.triage.reduction import Budget
from convfuzz.triage.reruns import Reruns
from convfuzz.triage.triage import Triage, reduce_finding, renamed
from convfuzz.verdicts import Verdict

KERNEL, OTHER = "k.py::kernel", "k.py::other"
FIRST = "conv2d_n2_c8_o16_g2_i17x19_k3_s2x1_p1_b_f32@normal.42"
PLAIN = "conv1d_c1_o1_i1_k1_f32@zeros"
TRIGGER = Step(KERNEL, "conv2d_n3_c4_o4_i9_k3_f32@normal.7")

Rule = Callable[[Case, list[Step]], bool]


@dataclass
class FakeProcesses:
    """Processes in which a kernel fails by a rule: on a case, given what its process has run before."""

    rule: Rule
    verdict: Verdict = Verdict.WRONG
    deadly: bool = False
    shared: list[Step] = field(default_factory=list)
    fresh: list[tuple[Case, int]] = field(default_factory=list)

    def evaluate(self, case: Case, backend: str, *, hasty: bool = False) -> BackendEnded:
        """Run a case in the process that all share."""
        del hasty
        failed = self.rule(case, self.shared)
        self.shared = [] if failed and self.deadly else [*self.shared, Step(backend, str(case))]
        return result(self.verdict if failed else Verdict.AGREE)

    def rerun(self, case: Case, backend: str, history: Sequence[Step], seconds: float, *, hasty: bool = False) -> BackendEnded | None:
        """Run a case in a process of its own, which the next case of :meth:`evaluate` finds."""
        assert seconds > 0
        self.fresh.append((case, len(history)))
        self.shared = list(history)
        return self.evaluate(case, backend, hasty=hasty)


def result(verdict: Verdict) -> BackendEnded:
    """Return what the kernel made of some case."""
    return BackendEnded(backend=KERNEL, verdict=verdict, seconds=0.0, reason="because")


def other_runs(count: int) -> list[Step]:
    """Return runs that do no harm."""
    return [Step(KERNEL if number % 2 else OTHER, f"conv1d_c1_o1_i{number + 1}_k1_f32") for number in range(count)]


def considered(processes: FakeProcesses, before: Sequence[Step] = (), *, line: str = FIRST, triage: Triage | None = None) -> Finding:
    """Hand one failure over, whose process had run ``before``, and return its finding."""
    runs = ProcessRuns()
    for step in (*before, Step(KERNEL, line)):
        runs.add(step)
    triage = triage or Triage(processes, seconds=600.0, per_finding=60.0)
    finding, _, _ = triage.consider(Case.parse(line), result(processes.verdict), runs.until(Step(KERNEL, line)), lambda _: None)
    return finding


def in_turn(answers: Sequence[bool]) -> Rule:
    """Fail by a list of answers, one for each run, and then over again."""
    asked = iter(range(10**6))
    return lambda *_: answers[next(asked) % len(answers)]


def test_what_always_fails_is_confirmed() -> None:
    """A deterministic failure is reduced, and its minimal case fails in each of five fresh processes."""
    processes = FakeProcesses(lambda case, _: case.config.bias)
    found = considered(processes, other_runs(30))
    assert found.confirmation.recurrence is Recurrence.CONFIRMED
    assert found.confirmation.alone == Tally(5, 5)
    assert (found.case, found.reduction) == ("conv1d_c1_o1_i1_k1_b_f32@zeros", "minimal")
    assert found.confirmation.preceding == []
    assert processes.fresh.count((Case.parse(found.case), 0)) == 5


@pytest.mark.parametrize("rate", [3, 4, 7])
def test_what_fails_now_and_then_is_flaky_with_its_rate(rate: int) -> None:
    """A failure that shows in one process out of several is counted over eight, and left as it was found."""
    answers = [False] * (rate - 1) + [True]
    found = considered(FakeProcesses(in_turn(answers)))
    assert found.confirmation.recurrence is Recurrence.FLAKY
    assert found.confirmation.alone == Tally(8 // rate, 8)
    assert (found.case, found.reduction, found.features) == (FIRST, "not reduced", [])


def test_what_comes_back_at_first_and_then_does_not_is_flaky() -> None:
    """A minimal case that fails in some of its fresh processes is flaky, however well it could be reduced."""
    minimal = Case.parse(PLAIN)
    turn = in_turn([True, True, False])
    found = considered(FakeProcesses(lambda case, before: turn(case, before) if case == minimal else True))
    assert (found.case, found.reduction) == (PLAIN, "minimal")
    assert found.confirmation.recurrence is Recurrence.FLAKY
    assert found.confirmation.alone.tried == 8
    assert 0 < found.confirmation.alone.failed < 8


def test_what_never_comes_back_says_how_often_it_was_tried() -> None:
    """A failure that shows neither alone nor after what had run before keeps its first case and both counts."""
    found = considered(FakeProcesses(lambda *_: False), other_runs(100))
    assert found.confirmation.recurrence is Recurrence.NOT_REPRODUCED
    assert found.confirmation.alone == Tally(0, 8)
    assert found.confirmation.after == Tally(0, 3)  # after the kernel's last 8 runs, after all of them, after everybody's
    assert (found.case, found.reduction) == (FIRST, "not reproduced")


@pytest.mark.parametrize("place", [0, 5, 70, 139])
def test_the_history_is_minimised(place: int) -> None:
    """Of 140 runs before a failure the one that it takes is left, wherever it was; then the case is reduced behind it."""
    before = other_runs(140)
    before[place] = TRIGGER
    found = considered(FakeProcesses(lambda _, ran: TRIGGER in ran), before)
    assert found.confirmation.recurrence is Recurrence.DEPENDS
    assert found.confirmation.preceding == [TRIGGER]
    assert found.confirmation.preceding_is_minimal
    assert (found.confirmation.alone, found.confirmation.after) == (Tally(0, 5), Tally(5, 5))
    assert (found.case, found.reduction, found.first_case) == (PLAIN, "minimal", FIRST)


def test_a_history_keeps_its_order() -> None:
    """Two runs that matter only one behind the other are kept in that order."""
    first, second = Step(KERNEL, "conv1d_c3_o1_i9_k2_f32"), Step(OTHER, "conv1d_c1_o1_i9_k2_f32@integers.1")

    def rule(case: Case, ran: list[Step]) -> bool:
        return first in ran and second in ran[ran.index(first) :]

    before = [second, *other_runs(20), first, *other_runs(7), second, *other_runs(3)]
    assert considered(FakeProcesses(rule), before).confirmation.preceding == [first, second]


def test_another_backend_s_run_can_be_what_it_takes() -> None:
    """Where the backend's own earlier runs do not bring the failure back, all backends' are tried, on the same case too."""
    trigger = Step(OTHER, FIRST)
    found = considered(FakeProcesses(lambda _, ran: trigger in ran), [*other_runs(10), trigger])
    assert found.confirmation.preceding == [trigger]
    assert found.shown_by == ([FIRST, found.case], [OTHER, KERNEL])


def test_a_crash_that_takes_a_history() -> None:
    """A death that takes an earlier run is found and reduced like any other failure, each candidate in its own process."""
    processes = FakeProcesses(lambda case, ran: TRIGGER in ran and case.config.bias, verdict=Verdict.CRASH, deadly=True)
    found = considered(processes, [*other_runs(12), TRIGGER, *other_runs(3)])
    assert (found.verdict, found.case) == (Verdict.CRASH, "conv1d_c1_o1_i1_k1_b_f32@zeros")
    assert found.confirmation.preceding == [TRIGGER]


def test_a_case_that_fails_only_behind_other_candidates_is_no_minimal_case() -> None:
    """Where the reduction in one process went astray by what it had run, it is done again with a process for each candidate."""

    def rule(case: Case, ran: list[Step]) -> bool:
        return case.config.bias or any("_b_" in step.case for step in ran)

    found = considered(FakeProcesses(rule))
    assert found.case == "conv1d_c1_o1_i1_k1_b_f32@zeros"
    assert found.confirmation.recurrence is Recurrence.CONFIRMED


def test_a_failure_that_comes_back_at_once_takes_one_fresh_process() -> None:
    """It is run once in a process of its own and once more in the same one, in which candidates follow; only the minimal case has more."""
    processes = FakeProcesses(lambda case, _: case.config.bias)
    considered(processes)
    assert [str(case) == FIRST for case, _ in processes.fresh] == [True, False, False, False, False, False]


def test_a_failure_of_the_first_run_only_is_reduced_in_fresh_processes() -> None:
    """What fails only in a process that has run nothing is minimal after each candidate had a process of its own."""
    found = considered(FakeProcesses(lambda case, ran: case.config.bias and not ran))
    assert found.case == "conv1d_c1_o1_i1_k1_b_f32@zeros"
    assert (found.reduction, found.confirmation.recurrence) == ("minimal", Recurrence.CONFIRMED)


def test_later_failures_of_a_poisoned_process_are_instances() -> None:
    """Once a failure of a process is explained by a history, its others are counted without being run."""
    processes = FakeProcesses(lambda _, ran: TRIGGER in ran)
    triage = Triage(processes, seconds=600.0, per_finding=60.0)
    runs, lines = ProcessRuns(), [f"conv1d_c1_o1_i{size}_k1_f32" for size in range(2, 6)]
    runs.add(TRIGGER)
    asked = []
    for line in lines:
        runs.add(Step(KERNEL, line))
        triage.consider(Case.parse(line), result(Verdict.WRONG), runs.until(Step(KERNEL, line)), lambda _: None)
        asked.append(len(processes.fresh))
    (finding,) = triage.findings.values()
    assert finding.count == 4
    assert asked == asked[:1] * 4


def test_the_same_history_in_another_process_is_recognised() -> None:
    """In another process, a failure that does not come back alone but does after a known finding's history is one more of it."""
    processes = FakeProcesses(lambda _, ran: TRIGGER in ran)
    triage = Triage(processes, seconds=600.0, per_finding=60.0)
    considered(processes, [TRIGGER], triage=triage)
    assert considered(processes, [TRIGGER, *other_runs(50)], triage=triage).count == 2
    assert len(triage.findings) == 1


def test_a_failure_that_needs_no_history_is_not_taken_for_one_that_does() -> None:
    """A case that fails alone is a finding of its own beside one of the same kind that takes a history."""
    processes = FakeProcesses(lambda case, ran: TRIGGER in ran or case.config.groups > 1)
    triage = Triage(processes, seconds=600.0, per_finding=60.0)
    considered(processes, [TRIGGER], line="conv1d_c3_o1_i5_k3_f32", triage=triage)
    considered(processes, [], line="conv1d_c4_o4_g4_i5_k1_f32", triage=triage)
    kinds = {finding.confirmation.recurrence: finding.case for finding in triage.findings.values()}
    assert set(kinds) == {Recurrence.DEPENDS, Recurrence.CONFIRMED}
    assert "_g" in kinds[Recurrence.CONFIRMED]


def test_failures_that_come_and_go_are_one_finding() -> None:
    """Failures of a kind that do not come back are one finding, whose counts add up; soon they are only counted."""
    processes = FakeProcesses(lambda *_: False)
    triage = Triage(processes, seconds=600.0, per_finding=60.0)
    found = [considered(processes, line=f"conv1d_c{n}_o1_i5_k3_f32", triage=triage) for n in range(1, 6)]
    assert len({finding.fingerprint for finding in found}) == 1
    assert found[-1].count == 5
    assert found[-1].confirmation.alone == Tally(0, 24)
    assert len(processes.fresh) == 3 * 8 + 2, "the fourth and the fifth are run once each, in case they come back"


@pytest.mark.parametrize("verdict", [Verdict.TIMEOUT, Verdict.MEMORY])
def test_a_hang_is_run_again_only_as_often_as_it_has_to_be(verdict: Verdict) -> None:
    """Where each run goes to a limit, the first case is run once before it is reduced, and the minimal one twice."""
    processes = FakeProcesses(lambda *_: True, verdict=verdict)
    found = considered(processes)
    assert [case for case, _ in processes.fresh] == [Case.parse(FIRST), *[Case.parse(found.case)] * 2]
    assert found.confirmation.alone == Tally(2, 2)


def test_no_budget_no_runs() -> None:
    """When no time is left a failure is kept as it was found, and said not to be confirmed."""
    processes = FakeProcesses(lambda *_: True)
    triage = Triage(processes, seconds=600.0)
    triage.finish(0.0)
    found = considered(processes, triage=triage)
    assert processes.fresh == []
    assert (found.case, found.reduction) == (FIRST, "budget spent")
    assert found.confirmation.recurrence is Recurrence.NOT_CONFIRMED


def test_some_time_reduces_what_is_left_when_the_workers_are_done() -> None:
    """As far as it goes."""
    triage = Triage(processes := FakeProcesses(lambda *_: True), seconds=600.0)
    triage.finish(60.0)
    assert considered(processes, triage=triage).case == PLAIN


def test_time_is_kept_to_confirm_what_came_last() -> None:
    """Findings that came up when the time for reductions was spent are run in fresh processes at the end, as far as time goes."""
    processes = FakeProcesses(lambda case, _: case.config.dtype != "float64")
    triage = Triage(processes, seconds=600.0, per_finding=-1.0, at_least=0.0)
    lines = ["conv1d_c1_o1_i5_k3_f16", "conv1d_c1_o1_i5_k3_f64"]
    for line in lines:
        assert considered(processes, line=line, triage=triage).confirmation.recurrence is Recurrence.NOT_CONFIRMED
    assert processes.fresh == []
    confirmed = {finding.case: finding.confirmation.label for finding in triage.confirm_others(lambda _: None)}
    assert confirmed == {lines[0]: "confirmed (5 of 5)", lines[1]: "not reproduced (0 of 5)"}
    assert {finding.case: finding.confirmation.label for finding in triage.findings.values()} == confirmed
    assert list(triage.confirm_others(lambda _: None)) == []


def test_a_spent_budget_ends_the_search_with_the_best_so_far() -> None:
    """Where time runs out while a history is searched, what has been found out so far is kept, and nothing is called minimal."""

    class Slow(FakeProcesses):
        def rerun(self, case: Case, backend: str, history: Sequence[Step], seconds: float, *, hasty: bool = False) -> BackendEnded | None:
            clock.now += 1.0
            return super().rerun(case, backend, history, seconds, hasty=hasty)

    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr("convfuzz.triage.reduction.search.time", SimpleNamespace(monotonic=lambda: clock.now))
        processes = Slow(lambda _, ran: TRIGGER in ran)
        found = considered(processes, [*other_runs(50), TRIGGER, *other_runs(60)], triage=Triage(processes, seconds=60.0))
    assert found.confirmation.recurrence is Recurrence.DEPENDS
    assert TRIGGER in found.confirmation.preceding
    assert len(found.confirmation.preceding) > 1
    assert not found.confirmation.preceding_is_minimal
    assert found.reduction == "budget spent"
    assert clock.now < 25.0


@dataclass
class Clock:
    """A clock that tests move."""

    now: float = 0.0


def test_reduced_finding_takes_over_those_that_no_time_was_left_for() -> None:
    """A failure that was left as it was found counts to the minimal case that covers it, as soon as there is one."""
    processes = FakeProcesses(lambda case, _: case.config.bias)
    triage = Triage(processes, seconds=600.0, per_finding=0.0, at_least=0.0)
    unreduced = considered(processes, line="conv2d_n2_c4_o4_i9_k3_b_f16", triage=triage)
    other = considered(processes, line="conv2d_n2_c4_o4_i9_k3_f64", triage=triage)
    assert {unreduced.reduction, other.reduction} == {"budget spent"}
    triage._per_finding = 60.0
    runs = ProcessRuns()
    runs.add(Step(KERNEL, FIRST))
    found, kept, _ = triage.consider(Case.parse(FIRST), result(Verdict.WRONG), runs.until(Step(KERNEL, FIRST)), lambda _: None)
    assert kept.absorbs == [unreduced.fingerprint]
    assert found.count == 2
    assert set(triage.findings) == {found.fingerprint, other.fingerprint}


@pytest.mark.parametrize(
    ("line", "is_tried"), [("conv2d_n2_c4_o4_i9_k3_s2_b_f16@normal.3", True), ("conv2d_n2_c4_o4_i9_k3_f32@normal.3", False)]
)
def test_reduction_that_was_cut_off_is_gone_on_with(line: str, is_tried: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    """Where the next failure of its kind has all that is left, that is tried first; one that lacks some of it may be of another bug."""
    tried: list[Case] = []

    def fails(case: Case, _: Sequence[Step]) -> bool:
        tried.append(case)
        return True

    triage = Triage(FakeProcesses(fails), seconds=600.0, per_finding=60.0)
    left = "conv2d_c2_o2_i4_k2_b_f32@integers.0"
    found = considered(FakeProcesses(fails), line=left, triage=Triage(FakeProcesses(fails), seconds=0.0, at_least=0.0))
    assert found.reduction == "budget spent"
    triage.findings[found.fingerprint] = msgspec.structs.replace(found, first_case="conv2d_n9_c2_o2_i9_k3_b_f32@normal.3")
    considered(FakeProcesses(fails), line=line, triage=triage)
    assert (Case.parse(left) in tried[:4]) == is_tried


def test_minimal_case_of_another_backend_is_tried_first() -> None:
    """Two backends with the same mistake are reduced once: the second is tried on the first one's minimal case."""
    tried: list[Case] = []

    def fails(case: Case, _: Sequence[Step]) -> bool:
        tried.append(case)
        return case.config.bias

    triage = Triage(FakeProcesses(fails), seconds=600.0, per_finding=60.0)
    first = considered(FakeProcesses(fails), triage=triage)
    took = len(tried)
    runs = ProcessRuns()
    runs.add(Step(OTHER, FIRST))
    failure = msgspec.structs.replace(result(Verdict.WRONG), backend=OTHER)
    triage._processes = Elsewhere(fails)
    second, _, _ = triage.consider(Case.parse(FIRST), failure, runs.until(Step(OTHER, FIRST)), lambda _: None)
    assert (second.case, second.reduction) == (first.case, "minimal")
    assert Case.parse(first.case) in tried[took : took + 5]
    assert len(tried) - took < took


class Elsewhere(FakeProcesses):
    """Processes in which the other backend fails."""

    def evaluate(self, case: Case, backend: str, *, hasty: bool = False) -> BackendEnded:
        """Run a case."""
        return msgspec.structs.replace(super().evaluate(case, backend, hasty=hasty), backend=OTHER)


def considered_result(triage: Triage, line: str, failing: BackendEnded) -> Finding:
    """Hand over one failing result on a case, and return its finding."""
    runs = ProcessRuns()
    runs.add(Step(KERNEL, line))
    finding, _, _ = triage.consider(Case.parse(line), failing, runs.until(Step(KERNEL, line)), lambda _: None)
    return finding


def test_a_call_that_ends_by_its_time_or_by_its_size_is_one_finding() -> None:
    """A memory eater that a busy machine stopped for its time counts to the finding that it eats memory."""
    triage = Triage(FakeProcesses(lambda case, _: case.config.bias, verdict=Verdict.MEMORY), seconds=600.0, per_finding=60.0)
    first = considered_result(triage, FIRST, result(Verdict.MEMORY))
    second = considered_result(triage, "conv1d_n3_c2_o2_i9_k2_b_f32", result(Verdict.TIMEOUT))
    assert (second.fingerprint, second.verdict, second.count) == (first.fingerprint, Verdict.MEMORY, 2)


@dataclass
class Impatient(FakeProcesses):
    """Processes in which a kernel fills the memory, given all its time, and seems to hang in a hasty run."""

    hasty: list[bool] = field(default_factory=list)

    def evaluate(self, case: Case, backend: str, *, hasty: bool = False) -> BackendEnded:
        """Run a case."""
        ended = super().evaluate(case, backend, hasty=hasty)
        self.hasty.append(hasty)
        return msgspec.structs.replace(ended, verdict=Verdict.TIMEOUT) if hasty and ended.verdict.failing else ended


def test_what_hangs_is_reduced_in_haste_and_its_minimal_case_gets_all_its_time_once() -> None:
    """The verdict is that of the run which had all its time, however the failure was found."""
    processes = Impatient(lambda case, _: case.config.bias, verdict=Verdict.MEMORY)
    found = considered_result(Triage(processes, seconds=600.0, per_finding=60.0), FIRST, result(Verdict.TIMEOUT))
    assert (found.verdict, found.reduction) == (Verdict.MEMORY, "minimal")
    assert processes.hasty.count(False) == 1


def test_what_only_looks_like_a_hang_in_haste_is_not_called_minimal() -> None:
    """Where the minimal case returns once it has its time, the reduction begins anew with patience."""

    @dataclass
    class Slow(Impatient):
        def evaluate(self, case: Case, backend: str, *, hasty: bool = False) -> BackendEnded:
            if not hasty and case.config.groups == 1:
                return result(Verdict.AGREE)
            return super().evaluate(case, backend, hasty=hasty)

    found = considered_result(
        Triage(Slow(lambda *_: True, verdict=Verdict.TIMEOUT), seconds=600.0, per_finding=60.0), FIRST, result(Verdict.TIMEOUT)
    )
    assert Case.parse(found.case).config.groups > 1


def test_a_failure_like_a_finding_is_tried_on_its_configuration_first() -> None:
    """NaN where there is a finding of wrong numbers: the reduction goes on from that finding's configuration, with the failure's data."""
    tried: list[Case] = []

    def fails(case: Case, _: Sequence[Step]) -> bool:
        tried.append(case)
        return case.config.bias and case.recipe.regime == "special"

    triage = Triage(FakeProcesses(lambda case, _: case.config.bias), seconds=600.0, per_finding=60.0)
    standing = considered_result(triage, FIRST, result(Verdict.WRONG))
    triage._processes = FakeProcesses(fails, verdict=Verdict.NON_FINITE)
    line = f"{FIRST.partition('@')[0]}@special.5"
    found = considered_result(triage, line, result(Verdict.NON_FINITE))
    assert Case.parse(found.case).config == Case.parse(standing.case).config
    assert Case.parse(f"{standing.case.partition('@')[0]}@special.5") in tried[:5]


def test_a_bug_of_a_size_takes_no_other_failures() -> None:
    """Nothing but its size is particular about a minimal case; a smaller layer that fails alike has a finding of its own."""

    def fails(case: Case, _: Sequence[Step]) -> bool:
        return case.config.out_channels > 8 or max(case.config.stride) > 1

    triage = Triage(FakeProcesses(fails), seconds=600.0, per_finding=60.0)
    tail = considered(FakeProcesses(fails), line="conv2d_n2_c8_o16_i17x19_k3_f32@normal.42", triage=triage)
    stride = considered(FakeProcesses(fails), line="conv2d_n2_c8_o4_i17x19_k3_s2_f32@normal.42", triage=triage)
    again = considered(FakeProcesses(fails), line="conv2d_c8_o24_i17_k3_p1_f64@normal.7", triage=triage)
    assert (tail.case, stride.case) == ("conv1d_c1_o9_i1_k1_f32@zeros", "conv1d_c1_o1_i1_k1_s2_f32@zeros")
    assert (again.fingerprint, again.count) == (tail.fingerprint, 2)
    assert set(triage.findings) == {tail.fingerprint, stride.fingerprint}


def test_a_reduction_that_ends_at_a_known_case_is_over() -> None:
    """A failure in a dtype that was not seen is reduced as far as the finding's case and not confirmed anew; the next is counted."""
    processes = FakeProcesses(lambda case, _: case.config.dtype in ("float16", "bfloat16"))
    triage = Triage(processes, seconds=600.0, per_finding=60.0)
    first = considered(processes, line="conv2d_n2_c8_o4_i17x19_k3_f16@normal.42", triage=triage)
    ran = len(processes.fresh)
    second = considered(processes, line="conv2d_n2_c8_o4_i17x19_k3_bf16@normal.43", triage=triage)
    assert (second.fingerprint, second.case, second.confirmation) == (first.fingerprint, first.case, first.confirmation)
    assert len(processes.fresh) == ran + 1, "it came back, and that was enough"
    third = considered(processes, line="conv1d_c8_o4_i17_k3_bf16@normal.44", triage=triage)
    assert third.count == 3
    assert len(processes.fresh) == ran + 1


def test_a_finding_that_was_cut_off_is_reduced_later_to_the_same() -> None:
    """What a reduction ends with, and its name, do not depend on whether it was cut off in between."""
    processes = FakeProcesses(lambda case, _: case.config.bias)
    whole = considered(processes)
    cut = considered(processes, triage=Triage(processes, seconds=0.0, per_finding=0.0, at_least=0.0))
    assert cut.is_unreduced
    assert not whole.is_unreduced
    later = reduce_finding(processes, cut, 60.0, lambda _: None)
    assert (later.fingerprint, later.case, later.features) == (whole.fingerprint, whole.case, whole.features)
    assert renamed(later, OTHER).fingerprint != later.fingerprint
    assert renamed(renamed(later, OTHER), KERNEL) == later


@pytest.mark.parametrize("stop", [1, 8, 20])
def test_an_interrupted_reduction_ends_with_the_best_so_far(stop: int) -> None:
    """Whether it is reducing or confirming, nothing that was found out is lost; who is not asked to passes the interrupt on."""
    runs = iter(range(10**6))

    def rule(case: Case, _: list[Step]) -> bool:
        if next(runs) == stop:
            raise KeyboardInterrupt
        return case.config.bias

    def reruns(*, interruptible: bool) -> Reruns:
        failure = result(Verdict.WRONG)
        return Reruns(FakeProcesses(rule), Case.parse(FIRST), failure, Budget(600.0), lambda _: None, interruptible=interruptible)

    settled = reruns(interruptible=True).reduced_alone()
    assert next(runs) > stop
    assert settled.reduction.case.config.bias
    assert settled.reduction.case.config.working_nbytes <= Case.parse(FIRST).config.working_nbytes
    runs = iter(range(10**6))
    with pytest.raises(KeyboardInterrupt):
        reruns(interruptible=False).reduced_alone()
