"""JUnit XML: causes as tests, so that a CI server shows what is new, what is known, and since when.

Each backend is a suite. A cause is a failing test, named by the fingerprint of the simplest finding that it has made, which makes
it the same test every night. It is a skipped test where the run does not fail for any of its findings: the ledger tolerates them,
or they are known upstream and the run tolerates that; so is a quarantine. One more test stands for all other cases of the
backend. The suite ``convfuzz`` is about the runs: whether they ended, compared
anything and caught the canary. Whatever makes ``convfuzz run`` exit with another status than 0 is a failing test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal
from xml.etree import ElementTree as ET

from convfuzz.errors import UsageError
from convfuzz.record.cause import Cause
from convfuzz.record.counts import BackendSummary
from convfuzz.record.ledger import Entry
from convfuzz.record.outcome import ended_early
from convfuzz.record.run_directory import Run
from convfuzz.reports import commands
from convfuzz.reports import result_axes as places
from convfuzz.reports.formatting import max_abs, plural
from convfuzz.reports.merged import Found, Merged
from convfuzz.reports.sections import headline
from convfuzz.system.safe_text import lines, one_line

RUNS = "convfuzz"
"""The suite about the runs themselves."""
OTHER_CASES = "other cases agree"
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class _Test:
    """One test: ``outcome`` says what is wrong with it, and ``kind`` of what kind that is; it has passed without one."""

    name: str
    outcome: Literal["", "failure", "skipped"] = ""
    message: str = ""
    kind: str = ""
    details: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class _Suite:
    name: str
    tests: list[_Test]
    properties: list[tuple[str, str]] = field(default_factory=list)

    def count(self, outcome: str) -> int:
        return sum(test.outcome == outcome for test in self.tests)

    @property
    def seconds(self) -> float:
        return sum(test.seconds for test in self.tests)


def render(runs: Sequence[Run]) -> bytes:
    """Return ``runs``, merged, as the JUnit XML that Jenkins, GitLab and GitHub's test reporters read.

    Raises:
        UsageError: there is no run to report on.
    """
    if not runs:
        raise UsageError("a report needs at least one run")
    merged = Merged.of(runs)
    names = dict.fromkeys([*merged.backends, *(found.finding.backend for found in merged.findings)])
    suites = [_about_runs(merged), *(_about_backend(merged, name) for name in names)]
    root = ET.Element("testsuites", _attributes(RUNS, suites))
    for suite in suites:
        _write_suite(root, suite, merged)
    ET.indent(root)
    data: bytes = ET.tostring(root, encoding="UTF-8", xml_declaration=True)
    return data + b"\n"


# -- what is a test ---------------------------------------------------------------------------------------------------------


def _about_runs(merged: Merged) -> _Suite:
    compared = merged.summary.comparisons
    ended = [line.text for line in headline.state_lines(merged) if line.tone == "bad"]
    ended += [f"{run.directory.name} has not ended, or died" for run in merged.runs if not run.info.stopped]
    ended += [f"{run.directory.name} was interrupted" for run in merged.runs if ended_early(run.info.stopped)]
    tests = [
        _test("runs end", "; ".join(ended), kind="unfinished"),
        _test("cases are compared", "" if compared else "nothing was compared", kind="nothing compared", seconds=merged.elapsed),
        _canary(merged),
    ]
    return _Suite(RUNS, tests, [(f"repeat {run.directory.name}", commands.rerun(run.info)) for run in merged.runs])


def _canary(merged: Merged) -> _Test:
    line = headline.canary_line(merged)
    if not merged.summary.canary_planted:
        return _Test("canary is caught", "skipped", line.text)
    return _test("canary is caught", line.text if line.tone == "bad" else "", kind="canary missed")


def _about_backend(merged: Merged, name: str) -> _Suite:
    found = [one for one in merged.findings if one.finding.backend == name]
    met = {one.in_run for one in found}
    tests = [_cause(merged, cause) for cause in merged.causes if merged.by_fingerprint[cause.lead].finding.backend == name]
    tests += [_quarantine(entry, said) for entry, said in _quarantines(merged, name) if entry.fingerprint not in met]
    summary = merged.summary.backends.get(name, BackendSummary())
    in_findings = sum(one.count for one in merged.summary.findings.values() if one.backend == name)
    little = "" if found or not merged.summary.comparisons else summary.shortcoming(name)
    tests.append(_other_cases(summary, summary.failures - in_findings, little=little, explains_itself=bool(found)))
    versions = {version for run in merged.runs for version in [run.info.versions.get(name.partition(":")[0].partition("+")[0])] if version}
    return _Suite(name, tests, [("version", version) for version in sorted(versions)])


def _cause(merged: Merged, cause: Cause) -> _Test:
    members = [merged.by_fingerprint[name] for name in cause.members]
    found = merged.by_fingerprint[cause.lead]
    finding, known, upstream = found.finding, merged.known(found), merged.upstream(found)
    name = f"{finding.fingerprint}: {finding.verdict}{places.suffix(finding.in_pass)}"
    label = f"known: {known.reason} · {known.link}" if known else upstream.said if upstream else ""
    others = [_member(one) for one in members if one is not found]
    if all(map(merged.is_tolerated, members)):
        return _Test(name, "skipped", label, details="\n".join(others))
    off = f" · max-abs {max_abs(found.max_abs)}" if found.has_output else ""
    model = f" ({finding.model})" if finding.model else ""
    message = f"{finding.verdict}{model}{places.suffix(finding.in_pass)} on {finding.case}{off} · {finding.confirmation.label}"
    message += f" · {label}" if label else ""
    return _Test(name, "failure", message, str(finding.verdict), "\n".join([*_details(found), *others]))


def _member(found: Found) -> str:
    finding = found.finding
    what = f"{finding.verdict}{places.suffix(finding.in_pass)} on {finding.case}"
    return f"of the same cause: {finding.fingerprint} {finding.backend}: {what}"


def _details(found: Found) -> Iterator[str]:
    """Yield what somebody who sees only the CI server needs to know."""
    finding = found.finding
    yield finding.reason or headline.MEANING.get(finding.verdict, "")
    if finding.first_case != finding.case:
        yield f"found on: {finding.first_case}"
    if finding.companion:
        yield f"{finding.boundary}: {finding.companion}"
    yield f"failed on {plural(found.count, 'case')}; run again: {finding.confirmation}"
    yield f"shows it: {commands.check(finding)}"
    yield f"file: {found.run.directory.name}/findings/{found.in_run}.json"
    if found.script_file is not None:
        yield f"script: {found.run.directory.name}/repro/{found.in_run}.py"
    if finding.versions:
        yield f"versions: {', '.join(f'{name} {version}' for name, version in sorted(finding.versions.items()))}"


def _quarantines(merged: Merged, name: str) -> Iterator[tuple[Entry, str]]:
    for use in merged.summary.uses.values():
        if use.entry.backend == name and use.entry.action == "quarantine":
            yield use.entry, use.said


def _quarantine(entry: Entry, said: str) -> _Test:
    name = f"{entry.fingerprint}: {entry.verdict}{places.suffix(entry.in_pass)}"
    return _Test(name, "skipped", f"quarantined, {said}: {entry.reason} · {entry.link}")


def _other_cases(summary: BackendSummary, unexamined: int, *, little: str, explains_itself: bool) -> _Test:
    """Return the test that every backend has: whatever is no finding agreed, and enough was compared, or else ``little`` says why not."""
    if unexamined > 0:
        message = f"{plural(unexamined, 'failure')} of which no finding was made: the run ended before"
        return _Test(OTHER_CASES, "failure", message, "not examined", seconds=summary.seconds)
    if little:
        return _Test(OTHER_CASES, "failure", f"this proves {little}", "little compared", seconds=summary.seconds)
    if not summary.compared and not explains_itself:
        return _Test(OTHER_CASES, "skipped", "nothing was compared")
    return _Test(OTHER_CASES, seconds=summary.seconds)


def _test(name: str, wrong: str, *, kind: str, seconds: float = 0.0) -> _Test:
    return _Test(name, "failure" if wrong else "", wrong, kind if wrong else "", seconds=seconds)


# -- as XML -----------------------------------------------------------------------------------------------------------------


def _write_suite(root: ET.Element, suite: _Suite, merged: Merged) -> None:
    started = datetime.fromtimestamp(merged.runs[0].info.started, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    attributes = _attributes(suite.name, [suite]) | {"skipped": str(suite.count("skipped")), "timestamp": started}
    element = ET.SubElement(root, "testsuite", attributes)
    if suite.properties:
        properties = ET.SubElement(element, "properties")
        for name, value in suite.properties:
            ET.SubElement(properties, "property", {"name": _line(name), "value": _line(value)})
    for test in suite.tests:
        case = ET.SubElement(element, "testcase", {"classname": _line(suite.name), "name": _line(test.name), "time": f"{test.seconds:.3f}"})
        if test.outcome:
            outcome = ET.SubElement(case, test.outcome, {"message": _line(test.message)} | ({"type": test.kind} if test.kind else {}))
            outcome.text = _xml(lines("\n".join(filter(None, [test.message, test.details]))))


def _attributes(name: str, suites: Sequence[_Suite]) -> dict[str, str]:
    return {
        "name": _line(name),
        "tests": str(sum(len(suite.tests) for suite in suites)),
        "failures": str(sum(suite.count("failure") for suite in suites)),
        "errors": "0",
        "time": f"{sum(suite.seconds for suite in suites):.3f}",
    }


def _line(text: str) -> str:
    return _xml(one_line(text))


def _xml(text: str) -> str:
    """Return ``text`` with the few characters that XML 1.0 has no way to write, such as U+FFFF, as their escapes."""
    return _NO_XML.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
