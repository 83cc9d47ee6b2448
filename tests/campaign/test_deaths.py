"""What ends worker processes is learned from the journals, and such cases run now and then only."""

from __future__ import annotations

import math

import msgspec

import convfuzz
from convfuzz.backends import Backend
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.campaign.deadly_kinds import DeadlyKinds
from convfuzz.campaign.deaths import Deadly, Deaths, Sparing
from convfuzz.case import Case
from convfuzz.case.features import particular
from convfuzz.checking.checker import Checker, fold_check
from convfuzz.checking.limits import Limits
from convfuzz.record.confirmation import Confirmation, Tally
from convfuzz.record.events import BackendEnded, BackendStarted
from convfuzz.record.finding import Finding, ReductionOutcome, fingerprint
from convfuzz.verdicts import Verdict

STRIDED, STRIDED_TOO = Case.parse("conv2d_c2_o2_i9_k3_s2_b_f32"), Case.parse("conv1d_c4_o4_g2_i9_k3_s3_f16")
STRIDED_ANYWAY = Case.parse("conv3d_c1_o1_i9_k3_s1x2x1_f32")
GROUPED, PLAIN = Case.parse("conv2d_c4_o4_g2_i9_k3_b_f32"), Case.parse("conv2d_c2_o2_i9_k3_b_f32")
OTHERWISE = Case.parse("conv1d_c2_o2_i9_k3_d2_f32")


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        """Return what it shows."""
        return self.seconds


class Worker:
    """A worker whose calls of one kernel are told to what learns from them."""

    def __init__(self, deaths: Deaths, clock: Clock, name: str = "journal-0.jsonl") -> None:
        self.deaths, self.clock, self.name = deaths, clock, name

    def call(self, case: Case, verdict: Verdict = Verdict.AGREE, seconds: float = 0.01) -> None:
        """Call the kernel once."""
        self.deaths.add(self.name, case, BackendStarted("k"))
        self.clock.seconds += seconds
        self.deaths.add(self.name, case, BackendEnded(backend="k", verdict=verdict, seconds=seconds))

    def die(self, case: Case, seconds: float = 0.01, replaced_in: float = 0.0, verdict: Verdict = Verdict.CRASH) -> None:
        """Call the kernel, which ends the process; another one takes over."""
        self.call(case, verdict, seconds)
        self.clock.seconds += replaced_in


def finding(line: str, **fields: object) -> Finding:
    """Return the reduced finding of a crash."""
    found = Finding(
        fingerprint=fingerprint(Case.parse(line), "k", Verdict.CRASH, "forward", ""),
        verdict=Verdict.CRASH,
        backend="k",
        case=line,
        first_case=line,
        reduction=ReductionOutcome.MINIMAL,
        features=particular(Case.parse(line).config),
        confirmation=Confirmation(alone=Tally(5, 5)),
    )
    return msgspec.structs.replace(found, **fields)


def test_kind_is_what_deaths_have_in_common() -> None:
    """Of two deaths with a stride, one with a bias and one with groups, the stride is left, by whichever measure."""
    kinds = DeadlyKinds()
    kinds.add_death(STRIDED)
    assert not kinds.covers(STRIDED_TOO)
    kinds.add_return(PLAIN)
    kinds.add_death(STRIDED_TOO)
    assert kinds.covers(STRIDED_ANYWAY)
    assert not kinds.covers(GROUPED)


def test_deaths_without_anything_in_common_that_is_deadly_are_two_kinds() -> None:
    """A stride that kills and a dilation that kills are told apart, and neither makes what returned deadly."""
    kinds = DeadlyKinds()
    kinds.add_return(Case.parse("conv1d_c2_o2_i9_k3_f32"))
    kinds.add_death(STRIDED)
    kinds.add_death(OTHERWISE)
    assert len(kinds.all) == 2
    assert kinds.covers(OTHERWISE)
    assert kinds.covers(STRIDED)
    assert not kinds.covers(PLAIN)


def test_kind_that_was_too_wide_is_made_anew() -> None:
    """Where a case returns that has all of a kind, the kind was not what kills."""
    kinds = DeadlyKinds()
    kinds.add_death(STRIDED)
    kinds.add_death(GROUPED)
    assert kinds.covers(PLAIN)
    kinds.add_return(PLAIN)
    assert not kinds.covers(PLAIN)
    assert kinds.covers(STRIDED)
    assert kinds.covers(GROUPED)


def test_death_that_no_trait_tells_from_what_returned_is_of_no_kind() -> None:
    """What kills by its size or by its data is left to the finding that it is reduced to."""
    kinds = DeadlyKinds()
    kinds.add_return(PLAIN)
    kinds.add_death(PLAIN)
    assert kinds.all == []


def test_backward_pass_is_a_trait() -> None:
    """What kills with gradients alone leaves the forward pass alone."""
    kinds = DeadlyKinds()
    kinds.add_return(PLAIN)
    kinds.add_death(PLAIN.changed(grad=True))
    assert kinds.covers(PLAIN.changed(grad=True))
    assert not kinds.covers(PLAIN)


def test_what_deaths_cost_is_waited_for() -> None:
    """The first three cost nothing; then a call that kills waits until a worker has lost a quarter of its time with it at most."""
    clock = Clock()
    deaths = Deaths(Limits(), clock)
    worker = Worker(deaths, clock)
    for _ in range(3):
        worker.die(STRIDED, replaced_in=1.0)
    (deadly,) = deaths.deadly(worker.name)
    begun = deadly.until
    worker.die(STRIDED, seconds=20.0)
    (deadly,) = deaths.deadly(worker.name)
    assert 55.0 < deadly.until - begun < 57.5  # 4 times 20 s, less the 23 s that have gone by
    clock.seconds += 4.99
    deaths.deadly(worker.name)  # what it is told when it is replaced changes nothing of what that costs
    worker.call(PLAIN, seconds=0.0)
    (deadly,) = deaths.deadly(worker.name)
    assert 70.0 < deadly.until - begun < 72.5  # 4 times 25 s, less the 28 s that have gone by
    (elsewhere,) = deaths.deadly("journal-1.jsonl")
    assert elsewhere.kinds == deadly.kinds
    assert elsewhere.until <= begun + 1.0


def test_run_without_a_limit_of_time_leaves_nothing_out() -> None:
    """Where cases are counted and no time is, a worker is told of nothing that ends processes, so that a seed's results stay the same."""
    clock = Clock()
    deaths = Deaths(Limits(), clock, spares=False)
    worker = Worker(deaths, clock)
    for _ in range(5):
        worker.die(STRIDED, seconds=20.0)
    assert deaths.deadly(worker.name) == []


def test_known_case_runs_when_its_time_has_come() -> None:
    """Until then such a case is left out, with the reason; others run, and so do those of other backends."""
    clock = Clock()
    kind = ["stride=more than 1"]
    sparing = Sparing([Deadly(backend="k", until=2000.0, kinds=[kind], findings=[])], clock)
    assert sparing.reason("k", STRIDED) == "known to end its process: run now and then only"
    assert sparing.reason("k", GROUPED) == sparing.reason("other", STRIDED) == ""
    clock.seconds = 2000.0
    assert sparing.reason("k", STRIDED) == ""


def test_reduced_finding_says_by_size_what_kills() -> None:
    """What has the features and the sizes of a minimal case is known to kill; an unreduced one says nothing of the kind."""
    clock = Clock()
    deaths = Deaths(Limits(), clock)
    Worker(deaths, clock).die(Case.parse("conv1d_c9_o2_i9_k3_f32"))
    minimal = finding("conv1d_c8_o1_i1_k1_f32@zeros", first_case="conv1d_c9_o2_i9_k3_f32")
    deaths.findings = lambda: [minimal, finding("conv1d_c1_o1_i1_k1_f32@zeros", reduction=ReductionOutcome.BUDGET_SPENT)]
    (deadly,) = deaths.deadly("journal-0.jsonl")
    assert deadly.findings == [minimal]
    sparing = Sparing([msgspec.structs.replace(deadly, until=2000.0, kinds=[])], clock)
    assert sparing.reason("k", Case.parse("conv1d_c8_o2_i4_k2_f32"))
    assert not sparing.reason("k", Case.parse("conv1d_c7_o2_i4_k2_f32"))


def test_patience_is_learned_once_a_call_has_hung() -> None:
    """On cases like those that hung it is a hundred times what others take two seconds at least, more for a large layer; on no other."""
    clock = Clock()
    deaths = Deaths(Limits(), clock)
    worker = Worker(deaths, clock)
    worker.call(PLAIN)
    worker.die(STRIDED)
    assert deaths.patience(STRIDED, "k") == math.inf
    worker.die(STRIDED, seconds=20.0, verdict=Verdict.TIMEOUT)
    assert deaths.patience(STRIDED, "k") == 2.0
    assert deaths.patience(GROUPED, "k") == deaths.patience(STRIDED, "other") == math.inf
    worker.die(STRIDED_TOO, seconds=20.0, verdict=Verdict.TIMEOUT)
    large = Case.parse("conv2d_c512_o512_i256_k3_s2_p1_f32")
    assert 2.0 * large.config.flops / 2e10 == deaths.patience(large, "k") > 3.0
    for _ in range(9):
        worker.call(PLAIN, seconds=0.3)
    assert deaths.patience(STRIDED, "k") > 20.0


def test_spared_backend_is_not_called_and_said_to_be_spared() -> None:
    """The others run the case; the spared one is unsupported, with the reason, and what it does not compute stays that."""
    called: list[str] = []

    def kernel(name: str) -> Backend:
        @convfuzz.backend(bias=(False,))
        def fails(x: object, w: object, b: object, config: object) -> None:
            called.append(name)
            raise ValueError("called")

        return KernelBackend(name, fails)

    checker = Checker([kernel("k"), kernel("other")], spares=lambda backend, _: "known to end" if backend == "k" else "")
    results = fold_check(STRIDED_TOO, checker.events(STRIDED_TOO)).results
    assert [(result.backend, str(result.verdict), result.reason[:12]) for result in results] == [
        ("k", "unsupported", "known to end"), ("other", "error", "ValueError: "),
    ]  # fmt: skip
    assert called == ["other"]
    assert {result.reason for result in fold_check(PLAIN, checker.events(PLAIN)).results}.isdisjoint({"known to end", ""})
