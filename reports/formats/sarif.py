"""SARIF 2.1.0, in which code scanning shows findings: that of a kernel in a file stands at the line of its function.

The format is OASIS's *Static Analysis Results Interchange Format Version 2.1.0*; its sections are named where they say why.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from convfuzz import __version__
from convfuzz.errors import UnreadableFile, UsageError
from convfuzz.record.run_directory import Run
from convfuzz.reports import commands
from convfuzz.reports import result_axes as places
from convfuzz.reports.formatting import max_abs, plural
from convfuzz.reports.merged import Found, Merged
from convfuzz.reports.sections import headline
from convfuzz.system.files import read_regular
from convfuzz.system.json_records import encode_indented
from convfuzz.system.safe_text import lines, one_line
from convfuzz.verdicts import Verdict

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_FINGERPRINT = "convfuzzFinding/v1"
_MOST_SOURCE_BYTES = 2**20


def render(runs: Sequence[Run]) -> bytes:
    """Return ``runs``, merged, as one SARIF run.

    Paths of kernels are relative to the folder that convfuzz runs in, which is the root of the repository in CI.

    Raises:
        UsageError: there is no run to report on.
    """
    if not runs:
        raise UsageError("a report needs at least one run")
    merged = Merged.of(runs)
    verdicts = sorted({found.finding.verdict for found in merged.findings}, key=lambda verdict: verdict.gravity)
    rules = {verdict: index for index, verdict in enumerate(verdicts)}
    run = {
        "tool": {"driver": {"name": "convfuzz", "version": __version__, "rules": [_rule(verdict) for verdict in verdicts]}},
        "invocations": [_invocation(one) for one in merged.runs],
        "columnKind": "unicodeCodePoints",
        "results": [_result(merged, found, rules[found.finding.verdict]) for found in merged.findings],
    }
    return encode_indented({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def _rule(verdict: Verdict) -> dict[str, Any]:
    meaning = headline.MEANING.get(verdict, str(verdict))
    return {
        "id": _rule_id(verdict),
        "shortDescription": {"text": f"A convolution backend's verdict is: {verdict}"},
        "fullDescription": {"text": meaning},
        "defaultConfiguration": {"level": "error"},
    }


def _rule_id(verdict: Verdict) -> str:
    return f"convfuzz/{verdict}"


def _invocation(run: Run) -> dict[str, Any]:
    """Section 3.20: how a run was started, and whether it did what it was started for; findings are no failure of the tool."""
    info = run.info
    found: dict[str, Any] = {
        "executionSuccessful": info.exit_status in (0, 1),
        "commandLine": one_line(commands.rerun(info)),
        "startTimeUtc": datetime.fromtimestamp(info.started, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return found if info.exit_status is None else found | {"exitCode": info.exit_status}


def _result(merged: Merged, found: Found, rule: int) -> dict[str, Any]:
    finding = found.finding
    result = {
        "ruleId": _rule_id(finding.verdict),
        "ruleIndex": rule,
        "level": "error",
        "message": {"text": lines("\n".join(_message(found)))},
        "locations": [_location(found)],
        "partialFingerprints": {_FINGERPRINT: finding.fingerprint},
        "occurrenceCount": max(found.count, 1),
        "properties": {"backend": one_line(finding.backend), "case": finding.case, "check": one_line(commands.check(finding))},
    }
    why = _accepted(merged, found)
    return result | {"suppressions": [{"kind": "external", "justification": one_line(why)}]} if why else result


def _message(found: Found) -> Iterator[str]:
    """Yield the lines of a message; the first one is a sentence of its own, which is all that some viewers show (section 3.11.2)."""
    finding = found.finding
    model = f" ({finding.model})" if finding.model else ""
    off = f", max-abs {max_abs(found.max_abs)}" if found.has_output else ""
    yield f"{finding.backend} is {finding.verdict}{model}{places.suffix(finding.in_pass)} on {finding.case}{off}."
    if finding.reason:
        yield finding.reason
    if finding.companion:
        yield f"{finding.boundary}: {finding.companion}"
    yield f"It failed on {plural(found.count, 'case')}; run again it is {finding.confirmation.label}."
    yield f"Show it: {commands.check(finding)}"


def _accepted(merged: Merged, found: Found) -> str:
    """Return why a finding is no news to the team (section 3.35); empty where it is one."""
    known, upstream = merged.known(found), merged.upstream(found)
    if known is not None:
        return f"{known.reason} · {known.link}"
    if upstream and found.run.info.arguments.get("known") == "tolerate":
        return upstream.said
    return ""


def _location(found: Found) -> dict[str, Any]:
    """Return where a finding is: the function of a kernel, else its file in the run directory, since a framework has no line here."""
    finding = found.finding
    logical = [{"fullyQualifiedName": one_line(finding.backend), "kind": "function"}]
    file, separator, rest = finding.backend.partition("::")
    line = _line_of(file, rest.partition("+")[0]) if separator and file.endswith(".py") else 0
    if not line:
        file, line = str(found.run.directory / "findings" / f"{found.in_run}.json"), 1
    physical = {"artifactLocation": {"uri": _uri(file)}, "region": {"startLine": line}}
    return {"physicalLocation": physical, "logicalLocations": logical}


def _line_of(file: str, function: str) -> int:
    """Return the line of a function in a file of this folder, which is read and not run; 0 where it is not to be found."""
    path = Path(file)
    if path.is_absolute() or ".." in path.parts:
        return 0
    try:
        tree = ast.parse(read_regular(path, _MOST_SOURCE_BYTES))
    except (OSError, UnreadableFile, SyntaxError, ValueError, RecursionError, MemoryError):
        return 0
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == function:
            return node.lineno
        if isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == function for target in node.targets):
            return node.lineno
    return 1


def _uri(file: str) -> str:
    """Return a path as a URI reference (section 3.4.3): relative to the root of the repository, or ``file:`` where it lies elsewhere."""
    path = Path(file)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return path.as_uri() if path.is_absolute() else quote(str(PurePosixPath(path)))
