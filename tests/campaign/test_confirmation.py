"""Findings are run again in fresh processes: what always fails, what comes and goes, and what takes another run before it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from convfuzz.case import Case
from convfuzz.errors import BackendError
from convfuzz.processes.sandbox import Sandbox
from convfuzz.record.confirmation import Recurrence, Step, Tally
from convfuzz.record.finding import Finding
from convfuzz.verdicts import Verdict

from .kernel_sources import CORRECT
from .launch import Finished, Place

REMEMBERING = """
import ctypes

seen = set()


def steady(x, w, b, config):
    return correct(x, w, b, config) + (max(config.stride) > 1)


def haunted(x, w, b, config):
    \"\"\"Is wrong on one sample once it has seen several.\"\"\"
    y = correct(x, w, b, config) + ("several" in seen and config.batch == 1)
    if config.batch > 1:
        seen.add("several")
    return y.astype(x.dtype)


def bursts(x, w, b, config):
    \"\"\"Reads address 0 at a stride once it has seen groups.\"\"\"
    if "groups" in seen and max(config.stride) > 1:
        ctypes.string_at(0)
    if config.groups > 1:
        seen.add("groups")
    return correct(x, w, b, config)
"""
ONE_PROCESS_IN_THREE = """
from pathlib import Path

order = []


def flaky(x, w, b, config):
    \"\"\"Is wrong in the first process that calls it, in the fourth, the seventh and so on.\"\"\"
    if not order:
        with Path(__file__).with_name("processes").open("ab") as file:
            file.write(b".")
            order.append(file.tell())
    return correct(x, w, b, config) + (order[0] % 3 == 1)
"""
QUIET = tuple(f"conv1d_c{c}_o2_i7_k3_f32@integers.0" for c in range(1, 5))
BATCH, GROUPS = "conv1d_n4_c3_o2_i9_k2_f32@integers.0", "conv1d_c4_o4_g2_i9_k2_f32@integers.0"
STRIDED = "conv1d_c2_o2_i9_k3_s2_f32@integers.0"
CASES = (*QUIET[:2], STRIDED, BATCH, QUIET[2], GROUPS, QUIET[3], f"{STRIDED[:-1]}1", f"{STRIDED[:-1]}2")


@pytest.fixture(scope="module")
def remembered(session_place: Place) -> Finished:
    """A campaign of nine cases over a kernel that is always wrong at a stride and two that depend on earlier cases."""
    return session_place.run_warm(REMEMBERING, ["steady", "haunted", "bursts"], "--seed", "1", cases=CASES)


@pytest.fixture(scope="module")
def came_and_went(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A campaign of one case over a kernel that is wrong in one process out of three."""
    return Place(tmp_path_factory.mktemp("flaky")).run_warm(ONE_PROCESS_IN_THREE, ["flaky"], "--seed", "1", cases=QUIET[:1])


def finding_of(done: Finished, function: str) -> Finding:
    """Return the one finding on a kernel."""
    (found,) = [f for f in done.run.findings if f.backend.endswith(f"::{function}")]
    return found


def test_deterministic_failure_is_confirmed(remembered: Finished) -> None:
    """A kernel that is always wrong at a stride is so in every fresh process."""
    found = finding_of(remembered, "steady")
    assert found.confirmation.recurrence is Recurrence.CONFIRMED
    assert found.confirmation.alone == Tally(5, 5)
    assert (found.case, found.count) == ("conv1d_c1_o1_i1_k1_s2_f32@zeros", 3)
    assert "confirmed (5 of 5)" in remembered.stdout


@pytest.mark.parametrize(
    ("function", "verdict", "culprit", "minimal"),
    [
        ("haunted", Verdict.WRONG, BATCH, "conv1d_c1_o1_i1_k1_f32@zeros"),
        ("bursts", Verdict.CRASH, GROUPS, "conv1d_c1_o1_i1_k1_s2_f32@zeros"),
    ],
)
def test_failure_that_takes_an_earlier_case(remembered: Finished, function: str, verdict: Verdict, culprit: str, minimal: str) -> None:
    """A kernel that keeps state is found with the one earlier case that it takes, a crash like a wrong result."""
    found = finding_of(remembered, function)
    assert (found.verdict, found.case, found.reduction) == (verdict, minimal, "minimal")
    assert found.confirmation.recurrence is Recurrence.DEPENDS
    assert found.confirmation.preceding == [Step(found.backend, culprit)]
    assert (found.confirmation.after, found.confirmation.alone) == (Tally(5, 5), Tally(0, 5))


def test_all_failures_of_one_history_are_one_finding(remembered: Finished) -> None:
    """Each failing verdict is counted once, and what one earlier case does to a process is one finding."""
    for function, least in (("steady", 3), ("haunted", 4), ("bursts", 1)):
        failing = sum(n for verdict, n in remembered.verdicts(function).items() if verdict != "agree")
        assert finding_of(remembered, function).count == failing >= least


def test_history_is_shown_in_the_terminal_and_in_the_report(remembered: Finished) -> None:
    """The close of the run and the report name the earlier case and a command that runs both in one process."""
    found = finding_of(remembered, "haunted")
    assert "depends on what ran before (5 of 5)" in remembered.stdout
    command = f"convfuzz check {BATCH} {found.case} --backends {found.backend}"
    assert command in remembered.stdout
    page = (remembered.directory / "report.html").read_text()
    assert "depends on what ran before: failed 5 of 5 times after 1 other run, 0 of 5 times alone" in page


@pytest.mark.parametrize("function", ["haunted", "bursts"])
def test_command_shows_the_failure(remembered: Finished, session_place: Place, function: str) -> None:
    """The command that is printed exits 1, and without the earlier case 0."""
    found = finding_of(remembered, function)
    cases, backends = found.shown_by
    (session_place.folder / "kernels.py").write_text(CORRECT + REMEMBERING)
    for lines, status in ((cases, 1), (cases[-1:], 0)):
        command = [sys.executable, "-m", "convfuzz", "check", *lines, "--backends", ",".join(backends)]
        done = subprocess.run(command, cwd=session_place.folder, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == status, done.stdout + done.stderr


@pytest.mark.parametrize("function", ["steady", "haunted", "bursts"])
def test_script_runs_first_what_has_to_run_before(remembered: Finished, session_place: Place, function: str) -> None:
    """The script of each finding shows its failure; of one that takes a history, only with it."""
    found = finding_of(remembered, function)
    script = remembered.directory / "repro" / f"{found.fingerprint}.py"
    (session_place.folder / "kernels.py").write_text(CORRECT + REMEMBERING)
    alone = script.with_name("alone.py")
    alone.write_text(script.read_text().replace("        ran_before()\n", "").replace("    ran_before()\n", ""))
    statuses = [subprocess.run([sys.executable, str(s)], capture_output=True, check=False, timeout=300).returncode for s in (script, alone)]
    assert statuses == [1, 0 if found.confirmation.preceding else 1]


def test_elements_of_a_failure_that_takes_a_history(remembered: Finished) -> None:
    """The worst elements are those of the case behind its history, where it fails."""
    found = finding_of(remembered, "haunted")
    assert [element.actual - element.expected for element in found.elements] == [1.0]


def test_flaky_failure_has_its_rate(came_and_went: Finished) -> None:
    """A kernel that is wrong in every third process is flaky: of the eight after the campaign's own, two fail."""
    found = finding_of(came_and_went, "flaky")
    assert found.confirmation.recurrence is Recurrence.FLAKY
    assert found.confirmation.alone == Tally(2, 8)
    assert (found.case, found.reduction) == (QUIET[0], "not reduced")
    assert "flaky (2 of 8)" in came_and_went.stdout
    assert "flaky: failed in 2 of 8 fresh processes" in (came_and_went.directory / "report.html").read_text()


def test_findings_file_has_it_all(remembered: Finished) -> None:
    """The file of a finding holds both counts and the runs that have to come first."""
    found = finding_of(remembered, "haunted")
    raw = json.loads((remembered.directory / "findings" / f"{found.fingerprint}.json").read_text())
    assert raw["confirmation"] == {
        "alone": {"failed": 0, "tried": 5},
        "after": {"failed": 5, "tried": 5},
        "history": [{"backend": found.backend, "case": BATCH}],
        "history_is_minimal": True,
    }


# -- the sandbox ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    """A sandbox for a kernel that remembers how many cases its process has run and dies of the fourth."""
    file = tmp_path / "kernels.py"
    file.write_text(
        f"{CORRECT}\n\nimport ctypes\n\ncases = []\n\n\ndef counts(x, w, b, config):\n    cases.append(config)\n"
        "    if len(cases) > 6:\n        ctypes.string_at(0)\n    return correct(x, w, b, config) + (len(cases) > 2)\n"
    )
    return Sandbox([f"{file}::counts"], None, tmp_path / "sandbox.log")


def test_rerun_is_in_a_process_that_has_run_the_history_only(sandbox: Sandbox) -> None:
    """However often a case is run again, its process has run exactly what it was told to."""
    case, name = Case.parse(QUIET[0]), sandbox_backend(sandbox)
    history = [Step(name, QUIET[1]), Step(name, QUIET[2])]
    try:
        for _ in range(2):
            assert verdict_of(sandbox, case, []) is Verdict.AGREE
            assert verdict_of(sandbox, case, history) is Verdict.WRONG
            assert sandbox.evaluate(case, name).verdict is Verdict.AGREE, "the history is not left to others"
    finally:
        sandbox.close()


def test_history_that_kills_or_takes_too_long_is_no_answer(sandbox: Sandbox) -> None:
    """Where the process does not survive its history, or has no time for it, nothing is said about the case."""
    case, name = Case.parse(QUIET[0]), sandbox_backend(sandbox)
    try:
        assert sandbox.rerun(case, name, [Step(name, line) for line in QUIET * 3], 60.0) is None
        assert sandbox.rerun(case, name, [Step(name, QUIET[1])], -1.0) is None
        assert verdict_of(sandbox, case, []) is Verdict.AGREE
    finally:
        sandbox.close()


def test_backend_that_no_longer_loads_is_no_answer(sandbox: Sandbox, tmp_path: Path) -> None:
    """A kernel file that is broken in the middle of a campaign ends neither it nor a case."""
    case, name = Case.parse(QUIET[0]), sandbox_backend(sandbox)
    sandbox.open()
    (tmp_path / "kernels.py").write_text("this is no Python")
    try:
        assert sandbox.rerun(case, name, [], 60.0) is None
        assert sandbox.evaluate(case, name).verdict is Verdict.UNSUPPORTED
        with pytest.raises(BackendError):
            sandbox.open()
    finally:
        sandbox.close()


def sandbox_backend(sandbox: Sandbox) -> str:
    """Return the name of the one backend of a sandbox."""
    (name,) = sandbox.open().backends
    return name


def verdict_of(sandbox: Sandbox, case: Case, history: list[Step]) -> Verdict:
    """Run a case again and return its verdict."""
    result = sandbox.rerun(case, sandbox_backend(sandbox), history, 60.0)
    assert result is not None
    return result.verdict
