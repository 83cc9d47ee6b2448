"""What is written beside a finding: its reproduction script and its bug report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from convfuzz.case import Case
from convfuzz.processes.program import run_program
from convfuzz.processes.sandbox import Sandbox
from convfuzz.record.events import BackendEnded
from convfuzz.record.finding import Finding
from convfuzz.record.versions import environment, installed
from convfuzz.reproduction import bug_report, draft_of_finding, tensor_files
from convfuzz.system.files import write_atomically
from convfuzz.verdicts import Verdict


def document(directory: Path, sandbox: Sandbox | None, finding: Finding, versions: Mapping[str, str], *, seconds: float) -> Finding:
    """Write ``repro/<fingerprint>.py``, where the call can be written as code, and ``repro/<fingerprint>.md``.

    The data of a finding that was not reduced are in files beside them, ``repro/<fingerprint>-x.npy`` and so on.

    Args:
        directory: the run directory.
        sandbox: where the finding's backend runs; ``None`` where it cannot, so that the report holds only what the finding says.
        finding: what is documented.
        versions: those of the libraries behind its backend; NumPy's is added.
        seconds: how long the report's code may run, in a process of its own, so that the report shows what it prints; 0 where it
            does not run. A call that does not return or fills the memory is not repeated for that.

    Returns:
        The finding with its worst elements, the map of its errors, its versions, and where it is an overrun, of which operand.
    """
    drafted, script, printed, files = draft_of_finding(finding), None, None, tensor_files(finding)
    finding = msgspec.structs.replace(finding, versions={**versions, "numpy": installed().get("numpy", "")})
    if sandbox is not None:
        finding = _with_overrun(sandbox, finding)
        evidence = sandbox.document(finding)
        drafted, script = evidence.draft, evidence.script
        error_map = finding.error_map or sandbox.locate(finding)
        finding = msgspec.structs.replace(finding, elements=evidence.elements, error_map=error_map)
        if seconds and drafted.code and finding.verdict not in (Verdict.TIMEOUT, Verdict.MEMORY):
            printed = run_program(drafted.code, beside=files, seconds=seconds)
    name = directory / "repro" / finding.fingerprint
    for file, content in files.items():
        write_atomically(name.with_name(file), content)
    if script is not None:
        write_atomically(name.with_suffix(".py"), script.encode())
    write_atomically(name.with_suffix(".md"), bug_report(finding, drafted, environment(), printed).encode())
    return finding


def _with_overrun(sandbox: Sandbox, finding: Finding) -> Finding:
    """Return a crash on a guard page with what was overrun in its reason."""
    if finding.verdict is not Verdict.CRASH or finding.confirmation.preceding:
        return finding
    crash = BackendEnded(backend=finding.backend, verdict=finding.verdict, seconds=0.0, reason=finding.reason)
    return msgspec.structs.replace(finding, reason=sandbox.placed(Case.parse(finding.case), crash).reason)
