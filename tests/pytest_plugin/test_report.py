"""``--convfuzz-report``: one report over every case of every worker, whatever becomes of a worker."""

from __future__ import annotations

import re

import pytest

from convfuzz.record.events import CaseStarted
from convfuzz.record.journal import read_journal
from convfuzz.verdicts import Verdict

from .conftest import Folder, Session

TESTS = """
import convfuzz
import pytest
from kernels import dies, right, two_bugs


@convfuzz.fuzz("smoke", cases=40, seed=2)
def test_two_bugs(case):
    case.check(two_bugs)


@pytest.mark.parametrize("seed", range(4))
def test_right(seed):
    convfuzz.fuzz("smoke", cases=10, seed=seed)(right)()


def test_crash():
    convfuzz.Case.parse("conv2d_n2_c3_o2_i9_k2_s2_f32@normal.7").check(right, dies)


def test_local():
    def local(x, w, b, config):
        return right(x, w, b, config) + 1

    for line in ("conv2d_c2_o3_i5_k3_b_f32@normal.1", "conv1d_c1_o1_i2_k1_f32@integers.0"):
        try:
            convfuzz.Case.parse(line).check(local)
        except convfuzz.Disagreement:
            pass
"""
CRASH = "conv2d_n2_c3_o2_i9_k2_s2_f32@normal.7"


@pytest.fixture(scope="module")
def session(shared_folder: Folder) -> Session:
    """A session in two workers, one of which a kernel kills."""
    shared_folder.write("test_kernels.py", TESTS)
    return shared_folder.pytest("-n", "2", "--convfuzz-report", "out.html")


def found(session: Session) -> set[tuple[str, str, str]]:
    """Return kernel, verdict and minimal configuration of every finding of a session."""
    findings = session.run.findings
    return {(finding.backend.rpartition("::")[2], str(finding.verdict), finding.case.partition("@")[0]) for finding in findings}


FOUND = {
    ("two_bugs", "wrong", "conv1d_c1_o1_i1_k1_s2_f32"),
    ("two_bugs", "wrong-shape", "conv1d_c1_o1_i1_k1_d2_f32"),
    ("dies", "crash", "conv1d_c1_o1_i1_k1_s2_f32"),
    ("test_local.<locals>.local", "wrong", "conv1d_c1_o1_i2_k1_f32"),
}


def test_findings_of_all_workers_are_minimal_and_grouped(session: Session) -> None:
    """Each bug is one finding on its minimal case, the crash too; a kernel that cannot be loaded keeps its simplest case."""
    assert session.status == 1
    assert found(session) == FOUND
    (crash,) = [finding for finding in session.run.findings if finding.verdict is Verdict.CRASH]
    assert crash.first_case == CRASH
    assert "SIGABRT" in crash.reason
    assert "confirmed" in crash.confirmation.label


def test_case_in_flight_of_a_dead_worker_is_in_its_journal(session: Session) -> None:
    """A worker that aborts loses nothing: what it had checked before counts, and its last case ends as the crash."""
    run = session.run
    started = [e.case for path in run.directory.glob("journal-gw*.jsonl") for e in read_journal(path) if isinstance(e, CaseStarted)]
    assert run.info.cases == len(started) > 40 + 40
    assert started.count(CRASH) == 1
    assert run.info.verdicts["kernels.py::dies"] == {"crash": 1}
    assert run.info.verdicts["kernels.py::right"]["agree"] == 41
    assert run.summary.running is None


def test_report_is_where_it_was_asked_for_and_can_be_rendered_again(session: Session) -> None:
    """The page is written to the file and into the run directory, from which ``convfuzz report`` renders the same."""
    page, (directory,) = (session.folder / "out.html").read_text(), (session.folder / "convfuzz-runs").iterdir()
    assert all(finding.fingerprint in page for finding in session.run.findings)
    again = Folder(session.folder).convfuzz("report", str(directory), "--out", "again.html")
    assert again.status == 0, again.output
    assert (session.folder / "again.html").read_text() == page


def test_terminal_names_findings_report_and_run_directory(session: Session) -> None:
    """The summary has a line and a command per finding, and says where the report is."""
    assert re.search(r"kernels.py::dies: crash .*confirmed", session.output)
    assert re.search(r"convfuzz check conv1d_c1_o1_i1_k1_s2_f32@\S+ --backends kernels.py::dies", session.output)
    assert f"report: {(session.folder / 'out.html').as_uri()}" in session.output
    assert re.search(r"run directory: convfuzz-runs/\S+", session.output)
    assert re.search(r"cp convfuzz-runs/\S+/findings/(\w+).json tests/\1.convfuzz.json", session.output)


def test_canary_is_caught_and_the_run_says_how_it_was_started(session: Session) -> None:
    """Each process plants a canary; ``run.json`` has the arguments and the end."""
    info = session.run.info
    assert info.canary.planted == info.canary.caught >= 2
    assert info.arguments["pytest"][-2:] == ["--convfuzz-report", "out.html"]
    assert (info.stopped, info.exit_status) == ("the end of the tests", 1)
    assert info.backends


def test_report_without_xdist_is_the_same(folder: Folder) -> None:
    """In one process the same tests lead to the same findings, but for the crash, of which that process would die."""
    folder.write("test_kernels.py", TESTS)
    session = folder.pytest("--convfuzz-report", "out.html", "--deselect", "test_kernels.py::test_crash")
    assert found(session) == {finding for finding in FOUND if finding[1] != "crash"}
    assert (folder.path / "out.html").is_file()


def test_a_mode_that_runs_tests_in_every_worker_counts_every_case(folder: Folder) -> None:
    """Every checked case is in the report once for each time that it ran; other tests count those of ``load`` and ``loadscope``."""
    folder.write("test_kernels.py", TESTS)
    session = folder.pytest("-n", "2", "--dist", "each", "-k", "test_right", "--convfuzz-report", "out.html")
    assert session.status == 0, session.output
    assert session.run.info.cases == 80
    assert session.run.findings == ()


def test_session_that_dies_leaves_a_readable_run(folder: Folder) -> None:
    """Without workers a crash takes pytest along; what it had checked can be reported on."""
    folder.write("test_kernels.py", TESTS)
    session = folder.pytest("--convfuzz-report", "out.html", "-k", "test_right or test_crash")
    assert session.status < 0
    run = session.run
    assert run.summary.running == "kernels.py::dies"
    assert str(run.summary.case) == CRASH
    assert Folder(folder.path).convfuzz("report", str(run.directory)).status == 0


def test_kernel_that_skips_or_is_interrupted_has_not_crashed(folder: Folder) -> None:
    """What pytest itself raises inside of a kernel closes the case, which counts as not run."""
    folder.write(
        "test_it.py",
        "import convfuzz, pytest\n\ndef skips(x, w, b, config):\n    pytest.skip('not today')\n\n"
        "def test_it():\n    convfuzz.Case.parse('conv1d_c1_o1_i1_k1_f32').check(skips, 'reference')\n",
    )
    session = folder.pytest("--convfuzz-report", "out.html")
    assert session.outcomes() == {"skipped": 1}
    assert session.run.findings == ()
    assert session.run.summary.skipped == {"broken off by Skipped": 1}


def test_session_without_a_case_leaves_nothing(folder: Folder) -> None:
    """Where no test checks a case there is no report, and no run directory stays."""
    folder.write("test_it.py", "def test_it():\n    pass\n")
    session = folder.pytest("--convfuzz-report", "out.html")
    assert session.status == 0
    assert "no case was checked, so there is no report" in session.output
    assert {path.name for path in folder.path.iterdir()} <= {"kernels.py", "test_it.py", "__pycache__"}


def test_report_into_a_missing_folder_is_refused_at_once(folder: Folder) -> None:
    """A report that could not be written is an error of usage before any test runs."""
    folder.write("test_it.py", "def test_it():\n    pass\n")
    session = folder.pytest("--convfuzz-report", "nowhere/out.html")
    assert session.status == 4
    assert "there is no folder" in session.output
