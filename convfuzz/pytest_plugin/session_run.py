"""A run made of what tests have checked: the journals of their processes become findings, scripts and ``run.json``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from convfuzz import __version__
from convfuzz.backends.kernels.loading import leads_to_kernel
from convfuzz.campaign.documents import document
from convfuzz.case import Case
from convfuzz.errors import BackendError
from convfuzz.processes.sandbox import Sandbox
from convfuzz.record.confirmation import Preceding, ProcessRuns, Step
from convfuzz.record.events import BackendEnded, BackendStarted, CaseEnded, CaseStarted, FindingKept
from convfuzz.record.failure_kind import Signature
from convfuzz.record.finding import Finding
from convfuzz.record.journal import JournalWriter, append_events, read_journal
from convfuzz.record.outcome import Stopped, exit_status
from convfuzz.record.run_directory import SANDBOX_LOG, Run, RunInfo, write_finding, write_run_info
from convfuzz.record.summary import Summary
from convfuzz.record.versions import machine, versions
from convfuzz.triage.reduction import complexity
from convfuzz.triage.triage import Triage
from convfuzz.verdicts import Verdict

END_OF_TESTS = "the end of the tests"
_SECONDS = 60.0
"""What running the findings of a session again may take in all."""


class _Failure(NamedTuple):
    case: Case
    result: BackendEnded
    preceding: Preceding


def begin(directory: Path, *, strategy: str, seed: int, arguments: Mapping[str, object]) -> RunInfo:
    """Write the ``run.json`` of a session that begins, so that its directory can be read whatever happens to it."""
    info = RunInfo(
        seed=seed,
        strategy=strategy,
        backends=[],
        arguments=dict(arguments),
        versions=versions({}),
        machine=machine(),
        started=time.time(),
        tool_version=__version__,
    )
    write_run_info(directory, info)
    return info


def finish(
    directory: Path,
    info: RunInfo,
    own_versions: Callable[[str], Mapping[str, str]],
    *,
    interrupted: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Run:
    """Close the run in ``directory``, whose processes are gone.

    A backend that a process was in when it ended has crashed. Failures of one signature are one finding, as they are one to
    Hypothesis, which has shrunk them mostly: the simplest is run again, reduced and confirmed as a campaign's, for about a
    minute in all and not at all where the session was ``interrupted``. ``own_versions`` gives the versions behind a backend's
    name; ``progress`` is told how many findings there are.

    Returns:
        The run, as :meth:`convfuzz.record.run_directory.Run.load` reads it.
    """
    groups: dict[Signature, list[_Failure]] = {}
    failures = [failure for journal in sorted(directory.glob("journal-*.jsonl")) for failure in _failures(journal)]
    for failure in sorted(failures, key=lambda failure: _size(failure.case)):
        groups.setdefault(Signature.of(failure.result), []).append(failure)
    if groups:
        progress(len(groups))
    findings: list[Finding] = []
    with JournalWriter(directory, "findings") as journal:
        for group in groups.values():
            finding, kept = _examined(directory, group, 0.0 if interrupted else _SECONDS / len(groups), own_versions)
            write_finding(directory, finding)
            findings.append(finding)
            for failure in group:
                journal.write(msgspec.structs.replace(kept, case=str(failure.case)))
    summary = Run.load(directory).summary
    stopped = str(Stopped.INTERRUPTED) if interrupted else END_OF_TESTS
    write_run_info(directory, _closed(info, summary, findings, stopped, own_versions))
    return Run.load(directory)


def _size(case: Case) -> tuple[object, ...]:
    """Order cases as Hypothesis's shrinking does, from small to large."""
    not_default, size, line = complexity(case)
    return case.grad, case.config.dims, size, not_default, line


def _failures(journal: Path) -> Iterator[_Failure]:
    """Yield what failed in one process, the backend that it died in last; its end is written into its journal."""
    runs, case, running = ProcessRuns(), None, ""
    for event in read_journal(journal):
        match event:
            case CaseStarted(case=line):
                case, running = Case.parse(line), ""
            case BackendStarted(backend=name):
                running = name
                runs.add(Step(name, str(case)))
            case BackendEnded():
                running = ""
                if event.verdict.failing and case is not None:
                    yield _Failure(case, event, runs.until(Step(event.backend, str(case))))
            case CaseEnded():
                running = ""
            case _:
                pass
    if running and case is not None:
        ended = BackendEnded(backend=running, verdict=Verdict.CRASH, seconds=0.0, reason="the process of the test ended while it ran")
        append_events(journal, [ended, CaseEnded()])
        yield _Failure(case, ended, runs.until(Step(running, str(case))))


def _examined(
    directory: Path, group: list[_Failure], seconds: float, own_versions: Callable[[str], Mapping[str, str]]
) -> tuple[Finding, FindingKept]:
    """Run the simplest failure of a kind again, for about ``seconds``; one that cannot be run elsewhere stays as it was found."""
    backend = group[0].result.backend
    sandbox = Sandbox([backend], None, directory / SANDBOX_LOG)
    try:
        can_run = seconds > 0 and leads_to_kernel(backend) and _loads(sandbox)
        triage = Triage(sandbox, seconds=seconds if can_run else 0.0, per_finding=seconds, at_least=0.0, share=1)
        finding, kept, _ = triage.consider(*group[0], lambda _: None)
        finding = next(triage.confirm_others(lambda _: None), finding)
        known = dict(own_versions(backend)) | {"numpy": versions({}).get("numpy", "")}
        finding = msgspec.structs.replace(finding, count=len(group))
        return document(directory, sandbox if can_run else None, finding, known, execute=True), kept
    finally:
        sandbox.close()


def _loads(sandbox: Sandbox) -> bool:
    try:
        sandbox.open()
    except BackendError:
        return False
    return True


def _closed(
    info: RunInfo, summary: Summary, findings: list[Finding], stopped: str, own_versions: Callable[[str], Mapping[str, str]]
) -> RunInfo:
    known = {name: dict(own_versions(name)) for name in summary.backends}
    closed = msgspec.structs.replace(
        info,
        backends=list(summary.backends),
        versions=versions(known),
        backend_versions=known,
        stopped=stopped,
        exit_status=exit_status(summary, stopped),
        elapsed_s=round(time.time() - info.started, 3),
    )
    return closed.with_totals(summary, findings)
