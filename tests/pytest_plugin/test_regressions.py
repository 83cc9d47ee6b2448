"""Finding files: as tests, and for ``convfuzz replay``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

from convfuzz.case import Case
from convfuzz.record.finding import Finding, decode_finding, encode_finding, fingerprint
from convfuzz.record.nights import read_replays
from convfuzz.verdicts import Verdict

from .conftest import Folder

LINE = "conv1d_c1_o1_i1_k1_s2_f32@integers.0"


def write_finding(folder: Folder, name: str, backend: str, verdict: Verdict = Verdict.WRONG, line: str = LINE) -> Path:
    """Write a finding file as a run leaves it."""
    found = Finding(
        fingerprint=fingerprint(Case.parse(line), backend, verdict), verdict=verdict, backend=backend, case=line, first_case=line
    )
    path = folder.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_finding(found))
    return path


@pytest.fixture(scope="module")
def corpus(shared_folder: Folder) -> Folder:
    """A project with findings that are there, fixed, deadly, unreadable, and about what is not installed."""
    write_finding(shared_folder, "tests/a-wrong.convfuzz.json", "kernels.py::wrong")
    write_finding(shared_folder, "tests/b-fixed.convfuzz.json", "kernels.py::right")
    write_finding(shared_folder, "tests/c-dies.convfuzz.json", "kernels.py::dies", Verdict.CRASH)
    write_finding(shared_folder, "tests/d-gone.convfuzz.json", "gone.py::kernel")
    write_finding(shared_folder, "tests/e-declined.convfuzz.json", "kernels.py::only_double")
    shared_folder.write("tests/f-broken.convfuzz.json", '{"format": 1, "case": "import os"}')
    shared_folder.write("tests/other.json", "{}")
    return shared_folder


def test_finding_file_is_a_test_that_fails_while_the_bug_is_there(corpus: Folder) -> None:
    """What still fails fails, and a crash takes nothing along; what is fixed passes; what cannot be said is no pass."""
    session = corpus.pytest("tests", "-rA", "--continue-on-collection-errors")
    assert session.outcomes() == {"failed": 4, "passed": 1, "error": 1}
    passed = re.findall(r"^PASSED (\S+)", session.output, re.MULTILINE)
    assert passed == ["tests/b-fixed.convfuzz.json::kernels.py::right"]
    assert "is still there" in session.output
    assert re.search(r"kernels.py::dies +crash", session.output)
    assert f"Reproduce: convfuzz check {LINE} --backends kernels.py::wrong" in session.output
    assert "there is no file gone.py" in session.output
    assert "the backend declines its case now: dtype float32" in session.output


def test_broken_file_is_a_collection_error_without_a_traceback(corpus: Folder) -> None:
    """A file that is no finding is named with what is wrong with it."""
    session = corpus.pytest("tests/f-broken.convfuzz.json")
    assert session.status == 2
    assert "is not a finding" in session.output
    assert "Traceback" not in session.output


def test_kernel_is_found_from_below_the_project(corpus: Folder) -> None:
    """A kernel's file is looked for in the folders above the finding where it is not in the current one."""
    below = Folder(corpus.path / "below")
    (below.path / "kernels.py").unlink()
    session = below.pytest("../tests/a-wrong.convfuzz.json", "../tests/b-fixed.convfuzz.json")
    assert session.outcomes() == {"failed": 1, "passed": 1}


def test_finding_of_a_framework_that_is_not_installed_is_skipped(folder: Folder) -> None:
    """Where the framework is missing the test is skipped, and says for what."""
    path = write_finding(folder, "x.convfuzz.json", "jax")
    folder.write("conftest.py", "import sys\nsys.modules['jax'] = None\n")
    path.write_text(path.read_text().replace('"jax"', '"nowhere_to_be_found"'))
    session = folder.pytest("-rs")
    assert session.outcomes() == {"skipped": 1}
    assert "nowhere_to_be_found is not installed" in session.output


def test_known_findings_neither_stop_a_fuzzing_test_nor_get_lost_in_a_report(folder: Folder) -> None:
    """Beside a failing finding file a test goes on to look for others; the report has both, in workers too, which get a file each."""
    write_finding(folder, "x.convfuzz.json", "kernels.py::wrong")
    folder.write("test_it.py", 'import convfuzz\nfrom kernels import right\ntest_it = convfuzz.fuzz("smoke", cases=15)(right)\n')
    session = folder.pytest("-n", "2", "--dist", "loadscope", "--convfuzz-report", "out.html")
    assert session.outcomes() == {"failed": 1, "passed": 1}
    assert session.run.info.cases == 16
    assert [finding.backend for finding in session.run.findings] == ["kernels.py::wrong"]


def test_replay_says_of_each_file_what_became_of_it(corpus: Folder) -> None:
    """One line per file, and exit status 2 where of one it cannot be said."""
    session = corpus.convfuzz_warm("replay", "tests")
    lines = dict(reversed(match) for match in re.findall(r"^(FIXED|STILL FAILING|ERROR) +tests/(\S+)", session.output, re.MULTILINE))
    assert lines == {
        "a-wrong.convfuzz.json": "STILL FAILING",
        "b-fixed.convfuzz.json": "FIXED",
        "c-dies.convfuzz.json": "STILL FAILING",
        "d-gone.convfuzz.json": "ERROR",
        "e-declined.convfuzz.json": "ERROR",
        "f-broken.convfuzz.json": "ERROR",
    }
    assert session.output.endswith("1 fixed · 2 still failing · 3 error")
    assert session.status == 2


def test_replay_exits_with_1_while_a_bug_is_there_and_0_when_all_are_fixed(corpus: Folder) -> None:
    """The exit status can be a gate."""
    assert corpus.convfuzz("replay", "tests/a-wrong.convfuzz.json", "tests/b-fixed.convfuzz.json").status == 1
    assert corpus.convfuzz("replay", "tests/b-fixed.convfuzz.json").status == 0


def test_prune_removes_what_is_fixed_and_nothing_else(folder: Folder) -> None:
    """``--prune`` deletes the files of fixed findings; a run directory is understood as its findings."""
    folder.write("run/run.json", "{}")
    (folder.path / "run" / "findings").mkdir()  # as every run has one; where it is lost, run.json is asked
    fixed = write_finding(folder, "run/findings/0000000a.json", "kernels.py::right")
    there = write_finding(folder, "run/findings/0000000b.json", "kernels.py::wrong")
    assert folder.convfuzz_warm("replay", "run").status == 1
    assert fixed.exists()
    session = folder.convfuzz_warm("replay", "run", "--prune")
    assert (session.status, fixed.exists(), there.exists()) == (1, False, True)


def test_what_the_ledger_knows_is_no_failure(folder: Folder) -> None:
    """A tolerated finding runs, and is FIXED or KNOWN; a quarantined one is not even started; others count as ever."""
    known = write_finding(folder, "known.convfuzz.json", "kernels.py::wrong")
    fixed = write_finding(folder, "fixed.convfuzz.json", "kernels.py::right")
    deadly = write_finding(folder, "deadly.convfuzz.json", "kernels.py::dies", Verdict.CRASH)
    why = ("--reason", "takes [b]long[/b]", "--link", "https://example.org/issues/1")
    for path, action in ((known, "--tolerate"), (fixed, "--tolerate"), (deadly, "--quarantine")):
        path.write_text(path.read_text().replace('"features": []', '"features": ["stride=more than 1"]'))
        assert folder.convfuzz_warm("ledger", "add", "l.toml", str(path), action, *why).status == 0
    session = folder.convfuzz_warm("replay", ".", "--ledger", "l.toml")
    lines = [line for line in session.output.splitlines() if line.split() and line.split()[0] in ("KNOWN", "FIXED", "STILL", "ERROR")]
    assert [line.split()[:2] for line in lines] == [
        ["KNOWN", "deadly.convfuzz.json"],
        ["FIXED", "fixed.convfuzz.json"],
        ["KNOWN", "known.convfuzz.json"],
    ]
    assert "quarantined" in lines[0]
    assert lines[2].endswith("takes [b]long[/b] · https://example.org/issues/1")
    assert session.status == 0
    write_finding(folder, "new.convfuzz.json", "kernels.py::wrong", line="conv1d_c1_o1_i1_k1_f32@integers.0")
    session = folder.convfuzz_warm("replay", ".", "--ledger", "l.toml")
    assert session.output.endswith("1 fixed · 1 still failing · 2 known")
    assert session.status == 1


def test_a_record_says_what_became_of_each_finding(corpus: Folder) -> None:
    """``--record`` keeps the outcomes for a history; a file that is no finding has none."""
    corpus.convfuzz_warm("replay", "tests", "--record", "replays.json")
    outcomes = {(one.backend, str(one.outcome)) for one in read_replays(corpus.path / "replays.json")}
    assert outcomes == {
        ("kernels.py::wrong", "still failing"),
        ("kernels.py::right", "fixed"),
        ("kernels.py::dies", "still failing"),
        ("gone.py::kernel", "error"),
        ("kernels.py::only_double", "error"),
    }
    session = corpus.convfuzz_warm("replay", "tests/b-fixed.convfuzz.json", "--record", "nowhere/replays.json")
    assert session.status == 2
    assert "nowhere/replays.json cannot be written" in session.output


def test_folder_without_findings_is_an_error_of_usage(folder: Folder) -> None:
    """Nothing that was run is not all fixed; a run directory may have none."""
    session = folder.convfuzz_warm("replay", ".")
    assert session.status == 2
    assert "holds no finding (*.convfuzz.json)" in session.output
    folder.write("run/run.json", "{}")
    (folder.path / "run" / "findings").mkdir()  # as every run has one; where it is lost, run.json is asked
    assert folder.convfuzz_warm("replay", "run").status == 0
    assert folder.convfuzz_warm("replay", "nowhere").status == 2


def test_finding_that_fails_otherwise_is_still_failing(folder: Folder) -> None:
    """A backend that is wrong in another way than it was is not fixed, and that is said."""
    path = write_finding(folder, "x.convfuzz.json", "kernels.py::wrong", Verdict.WRONG_SHAPE)
    session = folder.convfuzz_warm("replay", str(path))
    assert session.status == 1
    assert "wrong-shape on" in session.output
    assert "; now wrong" in session.output
    assert json.loads(path.read_text())["verdict"] == "wrong-shape"


def test_prune_keeps_what_was_not_reduced(folder: Folder) -> None:
    """That the case of an unreduced finding passes does not say that all is fixed that goes by its name."""
    folder.write("run/run.json", "{}")
    (folder.path / "run" / "findings").mkdir()  # as every run has one; where it is lost, run.json is asked
    file = write_finding(folder, "run/findings/0000000a.json", "kernels.py::right")
    file.write_bytes(encode_finding(msgspec.structs.replace(decode_finding(file.read_bytes(), "it"), reduction="budget spent")))
    session = folder.convfuzz_warm("replay", "run", "--prune")
    assert session.status == 0
    assert file.exists()
    assert "kept: it was not reduced" in session.output
