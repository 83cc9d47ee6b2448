"""The JUnit XML that CI servers read."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import msgspec
import pytest

from convfuzz.errors import UsageError
from convfuzz.record.events import BackendEnded, BackendStarted, CaseStarted
from convfuzz.record.journal import append_events
from convfuzz.record.ledger import Entry
from convfuzz.record.run_directory import Canary, LedgerLine, Run
from convfuzz.reports import junit
from convfuzz.verdicts import Verdict

# What the schema allows that Jenkins's xUnit plugin and pytest hold such files against: element → (required, further) attributes.
ATTRIBUTES: dict[str, tuple[set[str], set[str]]] = {
    "testsuites": (set(), {"name", "time", "tests", "failures", "errors"}),
    "testsuite": (
        {"name", "tests", "failures", "errors"},
        {"group", "time", "skipped", "timestamp", "hostname", "id", "package", "file", "log", "url", "version"},
    ),
    "properties": (set(), set()),
    "property": ({"name", "value"}, set()),
    "testcase": ({"name"}, {"time", "classname", "group"}),
    "failure": (set(), {"type", "message"}),
    "skipped": (set(), {"type", "message"}),
}
CHILDREN: dict[str, set[str]] = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase"},
    "properties": {"property"},
    "testcase": {"failure", "skipped"},
}
SECONDS = re.compile(r"\d+\.\d{3}")


def checked(data: bytes) -> ET.Element:
    """Parse JUnit XML and hold it against the schema, and against what GitLab and Jenkins ask for beyond it."""
    root = ET.fromstring(data)  # noqa: S314 - we have just written it
    assert root.tag == "testsuites"
    for element in root.iter():
        required, further = ATTRIBUTES[element.tag]
        assert required <= set(element.attrib) <= required | further
        assert {child.tag for child in element} <= CHILDREN.get(element.tag, set())
        if "time" in element.attrib:
            assert SECONDS.fullmatch(element.attrib["time"])
    for suite in root:
        cases = suite.findall("testcase")
        assert int(suite.attrib["tests"]) == len(cases)
        assert int(suite.attrib["failures"]) == len(suite.findall("testcase/failure"))
        assert int(suite.attrib["skipped"]) == len(suite.findall("testcase/skipped"))
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
        assert all(len(case) <= 1 and case.attrib["classname"] for case in cases)
        assert all(outcome.attrib["message"] for case in cases for outcome in case)
    for total in ("tests", "failures"):
        assert int(root.attrib[total]) == sum(int(suite.attrib[total]) for suite in root)
    names = [(case.attrib["classname"], case.attrib["name"]) for case in root.iter("testcase")]
    assert len(names) == len(set(names)), "of two tests of one name GitLab shows the first"
    return root


def outcomes(data: bytes, suite: str) -> dict[str, str]:
    """Return the tests of a suite by name: ``passed``, ``failure`` or ``skipped``."""
    return {case.attrib["name"]: (case[0].tag if len(case) else "passed") for case in _cases(data, suite)}


def message(data: bytes, suite: str, name: str) -> str:
    """Return what is wrong with a test."""
    return next(case[0].attrib["message"] for case in _cases(data, suite) if case.attrib["name"] == name)


def _cases(data: bytes, suite: str) -> list[ET.Element]:
    return next(one for one in checked(data) if one.attrib["name"] == suite).findall("testcase")


def entry(fingerprint: str = "0123abcd") -> Entry:
    """Return a quarantine of what the made-up campaign has as its crash."""
    return Entry(
        action="quarantine",
        fingerprint=fingerprint,
        backend="torch",
        verdict=Verdict.CRASH,
        case="conv2d_n32_c4_o8_i32_k1_s2_f32_cl_grad",
        features=["kernel=1x1"],
        reason="writes beyond its workspace",
        link="https://example.org/issues/1",
    )


def test_every_finding_is_a_failing_test_named_by_its_fingerprint(full: Run, synthetic: ModuleType) -> None:
    """Each backend is a suite; its failing tests are its findings, and one more test stands for all other cases."""
    data = junit([full])
    for backend in synthetic.BACKENDS:
        found = {one.fingerprint for one in full.findings if one.backend == backend}
        tests = outcomes(data, backend)
        assert {name.partition(":")[0] for name, outcome in tests.items() if outcome == "failure" and ":" in name} == found
        assert "other cases agree" in tests
    winograd = next(one for one in full.findings if one.backend == "torch:native")
    text = message(data, "torch:native", f"{winograd.fingerprint}: imprecise")
    assert text == f"imprecise (TF32 inputs) on {winograd.case} · max-abs 9.13e-4 · confirmed (5 of 5)"


def test_a_failure_says_all_that_the_server_will_show(full: Run) -> None:
    """GitLab shows the text and not the message: it has both, the command and where the script is."""
    finding = next(one for one in full.findings if one.companion)
    name = f"{finding.fingerprint}: {finding.verdict}"
    (failure,) = next(case for case in _cases(junit([full]), finding.backend) if case.attrib["name"] == name)
    assert failure.text is not None
    lines = failure.text.splitlines()
    assert lines[0] == failure.attrib["message"]
    assert f"{finding.boundary}: {finding.companion}" in lines
    assert f"shows it: convfuzz check {finding.case} --backends {finding.backend}" in lines
    assert f"script: {full.directory.name}/repro/{finding.fingerprint}.py" in lines


def test_names_are_the_same_every_night(full: Run, synthetic: ModuleType, tmp_path: Path) -> None:
    """Another night that finds the same bugs on other cases has the same tests."""
    later = [msgspec.structs.replace(one, case=one.first_case, count=7) for one in synthetic.findings()]
    night = Run.load(synthetic.write_campaign(tmp_path, found=later, seed=2, cases=300))
    names = [[(c.attrib["classname"], c.attrib["name"]) for c in checked(junit([run])).iter("testcase")] for run in (full, night)]
    assert sorted(names[0]) == sorted(names[1])


def test_a_clean_run_has_passing_tests_only(clean: Run, synthetic: ModuleType) -> None:
    """Where nothing was found each backend has one passing test, which took what the backend took."""
    data = junit([clean])
    assert checked(data).attrib["failures"] == "0"
    assert [outcomes(data, name) for name in synthetic.BACKENDS] == [{"other cases agree": "passed"}] * len(synthetic.BACKENDS)
    (case,) = _cases(data, "torch")
    assert case.attrib["time"] == f"{clean.summary.backends['torch'].seconds:.3f}"
    assert outcomes(data, "convfuzz") == {"runs end": "passed", "cases are compared": "passed", "canary is caught": "passed"}


def test_a_canary_that_was_missed_fails(synthetic: ModuleType, tmp_path: Path) -> None:
    """A run that did not see a deliberately wrong backend would not have seen another one."""
    data = junit([Run.load(synthetic.write_campaign(tmp_path, cases=20, canary=Canary(12, 11)))])
    assert outcomes(data, "convfuzz")["canary is caught"] == "failure"
    assert "only 11 of 12 times" in message(data, "convfuzz", "canary is caught")


def test_nothing_compared_is_no_success(empty: Run) -> None:
    """An empty run has a failing test, and none of its backends a passing one."""
    data = junit([empty])
    assert outcomes(data, "convfuzz") == {"runs end": "failure", "cases are compared": "failure", "canary is caught": "skipped"}
    assert outcomes(data, "torch") == {"other cases agree": "skipped"}


def test_what_the_ledger_knows_is_skipped_with_its_reason(synthetic: ModuleType, tmp_path: Path) -> None:
    """A tolerated finding keeps its test's name and is skipped; a quarantine is skipped too."""
    found = next(one for one in synthetic.findings() if one.backend == "torch:native")
    known = entry(found.fingerprint)
    known = msgspec.structs.replace(
        known, action="tolerate", backend=found.backend, verdict=found.verdict, model=found.model, case=found.case, features=[]
    )
    directory = synthetic.write_campaign(tmp_path, found=[found], ledger=[LedgerLine(known), LedgerLine(entry())])
    journal = directory / "journal-w0.jsonl"
    mark = f'"tolerated_by":"{known.fingerprint}","fingerprint":"{found.fingerprint}"'
    journal.write_text(journal.read_text().replace(f'"fingerprint":"{found.fingerprint}"', mark))
    data = junit([Run.load(directory)])
    name = f"{found.fingerprint}: imprecise"
    assert outcomes(data, "torch:native")[name] == "skipped"
    assert message(data, "torch:native", name) == "known: writes beyond its workspace · https://example.org/issues/1"
    assert outcomes(data, "torch")["0123abcd: crash"] == "skipped"
    assert "no case of this run had its features" in message(data, "torch", "0123abcd: crash")


def test_failures_that_became_no_finding_fail(synthetic: ModuleType, tmp_path: Path) -> None:
    """A run that was killed before it looked into a failure is not green about it, nor about its end."""
    directory = synthetic.write_campaign(tmp_path, cases=20, stopped="", exit_status=None)
    case = CaseStarted("conv1d_c1_o1_i4_k2_f32", synthetic.STARTED)
    failed = BackendEnded(backend="torch", verdict=Verdict.WRONG, seconds=0.1)
    append_events(directory / "journal-w1.jsonl", [case, BackendStarted("torch"), failed])
    data = junit([Run.load(directory)])
    assert message(data, "torch", "other cases agree").startswith("1 failure of which no finding was made")
    assert message(data, "convfuzz", "runs end") == f"{directory.name} has not ended, or died"


def test_text_from_outside_is_xml(synthetic: ModuleType, tmp_path: Path) -> None:
    """Control characters, markup, half characters and the code points that XML has no way to write come through as text."""
    hostile = "a\x00\x08\x1b[31m\ufffe\uffff\u202e]]><failure/>&lt;\n  <testcase/>\t\"'"
    evil = msgspec.structs.replace(synthetic.findings()[0], backend=f"k.py::{hostile}", reason=f"{hostile} 💥", boundary=hostile)
    directory = synthetic.write_campaign(tmp_path, cases=3, found=[evil], backends=[f"k.py::{hostile}"])
    (_, suite) = checked(junit([Run.load(directory)]))
    shown = suite.attrib["name"]
    assert shown.startswith(r"k.py::a\x00\x08\x1b[31m\ufffe\uffff\u202e]]><failure/>&lt;\n  <testcase/>")
    text = suite.findtext("testcase/failure") or ""
    assert "💥" in text
    assert not set(text) & set("\x00\x08\x1b\ufffe\uffff\u202e")


def test_several_runs_are_one_report(full: Run, clean: Run) -> None:
    """Shards of a night are merged: each backend is one suite, and the command that repeats each run is kept."""
    root = checked(junit([full, clean]))
    assert len({suite.attrib["name"] for suite in root}) == len(root)
    repeated = [one.attrib["name"] for one in root[0].iter("property")]
    assert repeated == [f"repeat {run.directory.name}" for run in (full, clean)]


def test_a_report_needs_a_run() -> None:
    """No runs are an error of the caller."""
    with pytest.raises(UsageError, match="at least one run"):
        junit([])
