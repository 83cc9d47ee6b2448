"""``convfuzz compare``: what changed from one run to another, and by what that is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from convfuzz.backends import resolve_all
from convfuzz.case import Case
from convfuzz.checking.checker import Checker
from convfuzz.record.confirmation import Confirmation, Tally
from convfuzz.record.events import FindingKept, RoundStarted
from convfuzz.record.finding import Finding, ReductionOutcome, fingerprint
from convfuzz.record.journal import JournalWriter
from convfuzz.record.run_directory import RunInfo, write_finding, write_run_info
from convfuzz.record.summary import Summary
from convfuzz.verdicts import Verdict

from .conftest import Call

BATCHED, PLAIN = "conv1d_n2_c1_o1_i4_k2_f32@integers.1", "conv1d_c1_o1_i4_k2_f32@integers.1"
OTHER = "conv1d_n2_c1_o1_i5_k2_f32@integers.2"
WRONG, RIGHT = "kernels.py::wrong_when_batched", "kernels.py::right"
CONFIRMED = Confirmation(alone=Tally(5, 5))
FLAKY = Confirmation(alone=Tally(2, 8))


def found(case: str = BATCHED, backend: str = WRONG, *, first: str = "", confirmation: Confirmation = CONFIRMED) -> Finding:
    """Return a finding that a kernel is wrong on batches."""
    features = ["batch=2-14"]
    return Finding(
        fingerprint=fingerprint(Case.parse(case), backend, Verdict.WRONG, "forward", "", features),
        verdict=Verdict.WRONG, backend=backend, case=case, first_case=first or case, features=features, confirmation=confirmation,
    )  # fmt: skip


def run(directory: Path, cases: list[str], findings: list[Finding], *, computed_by: str = WRONG, backend: str = WRONG, **info: Any) -> Path:
    """Write a run in which ``computed_by`` ran the cases under the name of ``backend``, through the real checker and journal."""
    (directory / "findings").mkdir(parents=True)
    (kernel,) = resolve_all([computed_by])
    summary = Summary()
    with JournalWriter(directory, "0") as journal:
        for event in [RoundStarted(0, 1, 1e9), *(event for case in cases for event in Checker([kernel]).events(Case.parse(case)))]:
            named = msgspec.structs.replace(event, backend=backend) if hasattr(event, "backend") else event
            journal.write(named)
            summary.add(named)
    with JournalWriter(directory, "findings") as journal:
        for one in findings:
            write_finding(directory, one)
            kept = FindingKept(fingerprint=one.fingerprint, backend=one.backend, verdict=one.verdict, case=one.first_case, minimal=one.case)
            journal.write(kept)
            summary.add(kept)
    fields: dict[str, Any] = {
        "seed": 1, "strategy": "default", "backends": [backend], "arguments": {}, "versions": {"numpy": "2.3"}, "machine": {},
        "started": 1e9, "tool_version": "0.1.0", "stopped": "time", "backend_versions": {backend: {}},
    }  # fmt: skip
    write_run_info(directory, RunInfo(**(fields | info)).with_totals(summary, findings, elapsed_s=1.0, stopped="max-cases"))
    return directory


@pytest.fixture
def a(call: Call) -> Path:
    """Run A: the kernel is wrong on a batch, and that is a finding."""
    del call  # it goes to the folder with the kernels
    return run(Path("a"), [BATCHED, PLAIN], [found()])


def changes(output: str) -> dict[str, str]:
    """Return what became of each finding, by fingerprint."""
    return {one["finding"]["fingerprint"]: one["change"] for one in json.loads(output)["findings"]}


def test_a_finding_in_both_is_still_there(call: Call, a: Path) -> None:
    """The same fingerprint in both runs is no change, and exits with 0."""
    b = run(Path("b"), [BATCHED], [found()])
    called = call("compare", str(a), str(b))
    assert called.status == 0
    assert "1 still there" in called.stdout


def test_the_same_kind_under_another_name_is_still_there(call: Call, a: Path) -> None:
    """A failure that one run would count to the other's finding is no new one: its case has the features and one more."""
    other = found("conv1d_n2_c1_o1_i4_k2_s2_f32@integers.1")
    narrower = msgspec.structs.replace(other, features=["batch=2-14", "stride=more than 1"], fingerprint="00c0ffee")
    b = run(Path("b"), [], [narrower])
    called = call("compare", str(a), str(b))
    assert called.status == 0
    assert f"A has it as {found().fingerprint}" in called.stdout


def test_a_finding_that_was_not_drawn_is_not_fixed(call: Call, a: Path) -> None:
    """Other cases in B say nothing of A's finding; how many there were like it is said."""
    b = run(Path("b"), [PLAIN, OTHER], [], computed_by=RIGHT)
    called = call("compare", str(a), str(b))
    assert called.status == 0
    assert "1 not met again" in called.stdout
    assert "in B 1 case with its features ran, all agreed" in called.stdout
    assert "fixed" not in called.stdout


def test_a_finding_whose_own_case_agrees_is_fixed(call: Call, a: Path) -> None:
    """The same case on the same backend, run in B and right there, is evidence."""
    b = run(Path("b"), [BATCHED], [], computed_by=RIGHT)
    called = call("compare", str(a), str(b), "--json")
    assert changes(called.stdout) == {found().fingerprint: "fixed"}


def test_any_case_that_was_counted_to_it_is_its_own(call: Call) -> None:
    """Not the minimal case alone: the case that the finding was made on ran in B and agreed."""
    a = run(Path("a"), [OTHER], [found(first=OTHER)])
    b = run(Path("b"), [OTHER], [], computed_by=RIGHT)
    assert changes(call("compare", str(a), str(b), "--json").stdout) == {found(first=OTHER).fingerprint: "fixed"}


def test_what_comes_and_goes_is_not_fixed_by_one_run(call: Call) -> None:
    """A flaky finding's case that agrees once shows nothing."""
    a = run(Path("a"), [BATCHED], [found(confirmation=FLAKY)])
    b = run(Path("b"), [BATCHED], [], computed_by=RIGHT)
    called = call("compare", str(a), str(b))
    assert "1 not met again" in called.stdout
    assert "it comes and goes" in called.stdout


def test_a_case_that_fails_without_a_finding_is_still_there(call: Call, a: Path) -> None:
    """Its own case fails in B too, though no finding of that name was kept."""
    b = run(Path("b"), [BATCHED], [])
    assert changes(call("compare", str(a), str(b), "--json").stdout) == {found().fingerprint: "still there"}


def test_new_takes_a_case_that_agreed_before(call: Call, a: Path) -> None:
    """A finding of B whose own case ran in A and agreed is new; one that A never ran is only newly met. Both exit with 1."""
    del a
    before = run(Path("before"), [BATCHED], [], computed_by=RIGHT)
    elsewhere = run(Path("elsewhere"), [PLAIN], [], computed_by=RIGHT)
    b = run(Path("b"), [BATCHED], [found()])
    new, met = (call("compare", str(one), str(b), "--json") for one in (before, elsewhere))
    assert (new.status, changes(new.stdout)) == (1, {found().fingerprint: "new"})
    assert (met.status, changes(met.stdout)) == (1, {found().fingerprint: "newly met"})


def test_versions_and_figures_of_each_backend(call: Call, a: Path) -> None:
    """What changed in the installation, and each backend's figures side by side."""
    b = run(Path("b"), [PLAIN], [], computed_by=RIGHT, versions={"numpy": "2.4"}, seed=2)
    called = call("compare", str(a), str(b))
    assert "versions: numpy 2.3 → 2.4" in called.stdout
    assert "The runs draw different cases" in called.stdout
    assert "2 → 1" in called.stdout


@pytest.mark.parametrize(
    ("now", "words"),
    [("wrong_when_batched", "its minimal case was run again and fails"), ("right", "its minimal case was run again and passes")],
)
def test_a_replay_decides(call: Call, a: Path, now: str, words: str) -> None:
    """What B did not meet is run again: the kernel as it is now fails, or passes."""
    source = Path("kernels.py").read_text()
    Path("kernels.py").write_text(f"{source}\n\nwrong_when_batched = {now}\n")
    b = run(Path("b"), [PLAIN], [], computed_by=RIGHT)
    called = call("compare", str(a), str(b), "--replay")
    assert called.status == 0
    assert words in called.stdout


def test_a_replay_on_other_versions_is_refused(call: Call, a: Path) -> None:
    """A replay on what is installed says nothing of a run of another installation."""
    b = run(Path("b"), [PLAIN], [], computed_by=RIGHT, backend_versions={WRONG: {"torch": "1.0"}})
    called = call("compare", str(a), str(b), "--replay")
    assert called.status == 2
    assert "torch was 1.0 and is not there here" in called.stderr


def test_a_run_that_is_none_is_refused(call: Call, a: Path) -> None:
    """Both have to be run directories."""
    called = call("compare", str(a), "nowhere")
    assert called.status == 2
    assert "nowhere is not a run directory" in called.stderr


def cut_off(case: str, first: str = "") -> Finding:
    """Return a finding of which the reduction was cut off: its name is that of any wrong result of the kernel."""
    name = fingerprint(Case.parse(case), WRONG, Verdict.WRONG, "forward", "", [])
    return msgspec.structs.replace(found(case, first=first), fingerprint=name, features=[], reduction=ReductionOutcome.BUDGET_SPENT)


def test_one_name_of_two_that_were_not_reduced_is_no_identity(call: Call) -> None:
    """Two failures that share a name, since neither was reduced, are not called the same: it cannot be said, and exits with 2."""
    a = run(Path("a"), [BATCHED], [cut_off(BATCHED)])
    b = run(Path("b"), [OTHER], [cut_off(OTHER)])
    called = call("compare", str(a), str(b))
    assert called.status == 2
    assert "2 cannot be said" in called.stdout
    assert "still there" not in called.stdout
    assert "--replay reduces them" in called.stdout


def test_a_replay_reduces_what_was_not(call: Call) -> None:
    """Both turn out to be the one bug of the kernel."""
    a = run(Path("a"), [BATCHED], [cut_off(BATCHED)])
    b = run(Path("b"), [OTHER], [cut_off(OTHER)])
    called = call("compare", str(a), str(b), "--replay", "--json")
    assert called.status == 0, called.stdout
    assert list(changes(called.stdout).values()) == ["still there"]


def test_what_was_not_reduced_is_known_by_its_own_case(call: Call) -> None:
    """The same case that fails in both runs is still there, and one that agrees in B is fixed."""
    a = run(Path("a"), [BATCHED], [cut_off(BATCHED)])
    b = run(Path("b"), [BATCHED], [cut_off(BATCHED)])
    c = run(Path("c"), [BATCHED], [], computed_by=RIGHT)
    assert list(changes(call("compare", str(a), str(b), "--json").stdout).values()) == ["still there"]
    assert list(changes(call("compare", str(a), str(c), "--json").stdout).values()) == ["fixed"]


def test_what_was_not_reduced_counts_to_a_finding_that_covers_it(call: Call, a: Path) -> None:
    """A case with all that A's finding needs is a failure of its kind."""
    b = run(Path("b"), [OTHER], [cut_off(OTHER)])
    assert list(changes(call("compare", str(a), str(b), "--json").stdout).values()) == ["still there"]


def test_another_way_in_which_a_cause_shows_is_nothing_new(call: Call, a: Path) -> None:
    """A finding of B whose cause A had is folded under it, and exits with 0; without that cause it is new."""
    other = found("conv1d_n2_c1_o1_i4_k2_f64@integers.1")
    other = msgspec.structs.replace(other, fingerprint="89ab0123", features=["batch=2-14", "dtype=float64"], verdict=Verdict.NON_FINITE)
    b = run(Path("b"), [BATCHED], [found(), other])
    assert call("compare", str(a), str(b)).status == 1
    path = b / "run.json"
    names = [found().fingerprint, other.fingerprint]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"causes": [{"cause": names[0], "lead": names[0], "members": names}]}))
    called = call("compare", str(a), str(b))
    assert called.status == 0, called.stdout
    assert "1 still there" in called.stdout
    assert f"of the same cause: {other.fingerprint}" in called.stdout
