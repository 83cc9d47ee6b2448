"""A run made of what tests have checked: the journals of their processes become findings, scripts and ``run.json``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from convfuzz import __version__
from convfuzz.backends.kernel import leads_to_kernel
from convfuzz.campaign import Stopped, exit_status
from convfuzz.case import Case
from convfuzz.confirmation import Preceding, ProcessRuns, Step
from convfuzz.environment import machine, versions
from convfuzz.errors import BackendError
from convfuzz.events import BackendEnded, BackendStarted, CaseEnded, CaseStarted, FindingKept
from convfuzz.findings import Finding
from convfuzz.journal import JournalWriter, append_events, read_journal
from convfuzz.judging import Verdict
from convfuzz.reduce import complexity
from convfuzz.run_directory import (
    SANDBOX_LOG,
    Canary,
    FindingLine,
    Run,
    RunInfo,
    write_atomically,
    write_finding,
    write_run_info,
)
from convfuzz.sandbox import Sandbox
from convfuzz.signature import Signature
from convfuzz.summary import REFERENCE, Summary
from convfuzz.triage import Triage

END_OF_TESTS = "the end of the tests"
_SECONDS = 60.0
"""What running the failures of a session again may take in all."""


class _Failure(NamedTuple):
    case: Case
    result: BackendEnded
    preceding: Preceding


@dataclass
class _Triages:
    """One triage per backend, for each loads on its own; a kernel that no name leads to, or that does not load, has none."""

    log: Path
    seconds: float
    open: ExitStack
    by_backend: dict[str, tuple[Triage, Sandbox] | None] = field(default_factory=dict)

    def of(self, backend: str) -> tuple[Triage, Sandbox] | None:
        if backend not in self.by_backend:
            sandbox = Sandbox([backend], None, self.log)
            self.open.callback(sandbox.close)
            can_run = self.seconds > 0 and leads_to_kernel(backend)
            try:
                if can_run:
                    sandbox.open()
            except BackendError:
                can_run = False
            self.by_backend[backend] = (Triage(sandbox, seconds=self.seconds, at_least=0.0), sandbox) if can_run else None
        return self.by_backend[backend]


class _AsFound:
    """The findings of kernels that cannot be run again: one for each kind of failure, on its simplest case."""

    def __init__(self) -> None:
        self._nowhere = Triage(_Nowhere(), seconds=0.0, at_least=0.0)
        self._by_signature: dict[Signature, FindingKept] = {}

    @property
    def findings(self) -> dict[str, Finding]:
        return self._nowhere.findings

    def consider(self, failure: _Failure) -> tuple[FindingKept, bool]:
        """Take a failure in, the simplest first; return its event, and whether its finding is new."""
        signature = Signature.of(failure.result)
        known = self._by_signature.get(signature)
        if known is None:
            _, self._by_signature[signature], is_new = self._nowhere.consider(*failure, lambda _: None)
            return self._by_signature[signature], is_new
        finding = self.findings[known.fingerprint]
        self.findings[known.fingerprint] = msgspec.structs.replace(finding, count=finding.count + 1)
        return msgspec.structs.replace(known, case=str(failure.case)), False


class _Nowhere:
    """Runs nothing: what would run a case again where there is no time."""

    def evaluate(self, case: Case, backend: str) -> BackendEnded:
        raise AssertionError(f"{backend} is not run again on {case}")

    def rerun(self, case: Case, backend: str, history: Sequence[Step], seconds: float) -> BackendEnded | None:
        del history, seconds
        return self.evaluate(case, backend)


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

    A backend that a process was in when it ended has crashed. Failures are sorted, the simplest first, since tests have
    shrunk them already; then they are run again, reduced and grouped as a campaign's, for about a minute in all and not at
    all where the session was ``interrupted``. ``own_versions`` gives the versions behind a backend's name; ``progress``
    is told how many failures there are.

    Returns:
        The run, as :meth:`convfuzz.run_directory.Run.load` reads it.
    """
    failures = [failure for journal in sorted(directory.glob("journal-*.jsonl")) for failure in _failures(journal)]
    failures.sort(key=lambda failure: _size(failure.case))
    if failures:
        progress(len(failures))
    names = {failure.result.backend for failure in failures}
    with ExitStack() as stack:
        journal = stack.enter_context(JournalWriter(directory, "findings"))
        triages, as_found = _Triages(directory / SANDBOX_LOG, 0.0 if interrupted else _SECONDS / max(len(names), 1), stack), _AsFound()
        for failure in failures:
            able = triages.of(failure.result.backend)
            if able is None:
                kept, is_new = as_found.consider(failure)
                findings, sandbox = as_found.findings, None
            else:
                (triage, sandbox), findings = able, able[0].findings
                _, kept, is_new = triage.consider(*failure, lambda _: None)
            if is_new:
                findings[kept.fingerprint] = _documented(directory, findings[kept.fingerprint], sandbox, own_versions)
            journal.write(kept)
        everything = list(as_found.findings.values())
        for triage, _ in filter(None, triages.by_backend.values()):
            list(triage.confirm_others(lambda _: None))
            everything += triage.findings.values()
    for finding in everything:
        write_finding(directory, finding)
    summary = Run.load(directory).summary
    stopped = str(Stopped.INTERRUPTED) if interrupted else END_OF_TESTS
    write_run_info(directory, _closed(info, summary, everything, stopped, own_versions))
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


def _documented(directory: Path, finding: Finding, sandbox: Sandbox | None, own_versions: Callable[[str], Mapping[str, str]]) -> Finding:
    known = dict(own_versions(finding.backend)) | {"numpy": versions({}).get("numpy", "")}
    if sandbox is None:
        return msgspec.structs.replace(finding, versions=known)
    evidence = sandbox.document(finding)
    if evidence.script is not None:
        write_atomically(directory / "repro" / f"{finding.fingerprint}.py", evidence.script.encode())
    return msgspec.structs.replace(finding, elements=evidence.elements, versions=known)


def _closed(
    info: RunInfo, summary: Summary, findings: list[Finding], stopped: str, own_versions: Callable[[str], Mapping[str, str]]
) -> RunInfo:
    seconds = {REFERENCE: summary.reference_seconds} | {name: backend.seconds for name, backend in summary.backends.items()}
    return msgspec.structs.replace(
        info,
        backends=list(summary.backends),
        versions=versions({name: own_versions(name) for name in summary.backends}),
        stopped=stopped,
        exit_status=exit_status(summary, stopped),
        cases=summary.cases,
        configs=summary.configs,
        comparisons=summary.comparisons,
        elapsed_s=round(time.time() - info.started, 3),
        backend_s={name: round(s, 6) for name, s in seconds.items()},
        verdicts={name: {str(v): n for v, n in backend.verdicts.items()} for name, backend in summary.backends.items()},
        skipped={name: dict(backend.skips) for name, backend in summary.backends.items() if backend.skips},
        canary=Canary(summary.canary_planted, summary.canary_caught),
        findings=[
            FindingLine(f.fingerprint, f.verdict, f.backend, f.case, f.max_abs) for f in sorted(findings, key=lambda f: f.fingerprint)
        ],
    )
