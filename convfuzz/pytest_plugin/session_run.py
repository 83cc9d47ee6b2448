"""Makes a run of what tests have checked: findings, scripts and ``run.json`` from the journals of their processes."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import msgspec

from convfuzz.backends.kernels.loading import leads_to_kernel
from convfuzz.campaign.documents import document
from convfuzz.campaign.failures import FailureReader
from convfuzz.campaign.reducers import cores
from convfuzz.case import Case
from convfuzz.errors import BackendError
from convfuzz.processes.program import PROGRAM_SECONDS
from convfuzz.processes.sandbox import Sandbox
from convfuzz.record.cause import Cause
from convfuzz.record.events import BackendEnded, CaseEnded, FindingKept
from convfuzz.record.failure_kind import Signature
from convfuzz.record.finding import Finding
from convfuzz.record.journal import JournalWriter, append_events, read_journal
from convfuzz.record.known_upstream import known_upstream
from convfuzz.record.outcome import Stopped
from convfuzz.record.run_directory import SANDBOX_LOG, Run, RunInfo, ledger_links, upstream_links, write_finding, write_run_info
from convfuzz.record.summary import Summary
from convfuzz.triage.causes import causes
from convfuzz.triage.examination import Failure
from convfuzz.triage.reduction import Budget, complexity
from convfuzz.triage.triage import Triage
from convfuzz.verdicts import Verdict

END_OF_TESTS = "the end of the tests"
_SECONDS = 60.0
"""The most time for examining the findings of a session."""
_EXPERIMENTS_SECONDS, _MOST_EXPERIMENTS = 10.0, 10_000
"""The most time, and cases, for finding out which of them have one cause."""


def begin(directory: Path, *, strategy: str, seed: int, arguments: Mapping[str, object]) -> RunInfo:
    """Write the first ``run.json`` of a session, so that its directory can be read whatever happens later."""
    info = RunInfo.here(seed=seed, strategy=strategy, backends=[], arguments=arguments, started=time.time(), backend_versions={})
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

    A backend that was running when its process ended has crashed. Failures of one signature are one finding, since they are
    one bug to Hypothesis, which has shrunk most of them: the simplest is run again, reduced and confirmed as in a campaign, on
    all cores, for about a minute in all and not at all where the session was ``interrupted``; then experiments tell which have one
    cause. ``own_versions`` gives the versions behind a backend's name; ``progress`` is told how many findings there are.

    Returns:
        The run, as :meth:`convfuzz.record.run_directory.Run.load` reads it.
    """
    groups: dict[Signature, list[Failure]] = {}
    failures = [failure for journal in sorted(directory.glob("journal-*.jsonl")) for failure in _failures(journal)]
    for failure in sorted(failures, key=lambda failure: _size(failure.case)):
        groups.setdefault(Signature.of(failure.result), []).append(failure)
    if groups:
        progress(len(groups))
    findings: list[Finding] = []
    with JournalWriter(directory, "findings") as journal:
        for group, (finding, kept) in _examined_side_by_side(directory, list(groups.values()), own_versions, interrupted=interrupted):
            write_finding(directory, finding)
            findings.append(finding)
            bug = known_upstream().explaining(Signature.of(finding), Case.parse(finding.case), own_versions(finding.backend))
            for failure in group:
                journal.write(msgspec.structs.replace(kept, case=str(failure.case), known_as=bug.name if bug else ""))
    summary = Run.load(directory).summary
    told = [] if interrupted else _causes(directory, findings, summary)
    facts = RunInfo.here(
        seed=info.seed,
        strategy=info.strategy,
        backends=summary.backends,
        arguments=info.arguments,
        started=info.started,
        backend_versions={name: own_versions(name) for name in summary.backends},
    )
    stopped = Stopped.INTERRUPTED if interrupted else END_OF_TESTS
    facts = msgspec.structs.replace(facts, tests=info.tests)
    write_run_info(directory, facts.with_totals(summary, findings, elapsed_s=time.time() - info.started, stopped=stopped, causes=told))
    return Run.load(directory)


def _size(case: Case) -> tuple[object, ...]:
    """Order cases as Hypothesis's shrinking does, from small to large."""
    not_default, size, line = complexity(case)
    return case.grad, case.config.dims, size, not_default, line


def _failures(journal: Path) -> Iterator[Failure]:
    """Yield the failures in one process. Where it died in a backend, that is the last of them, and is added to its journal."""
    reader = FailureReader()
    yield from filter(None, map(reader.add, read_journal(journal)))
    if reader.running:
        ended = BackendEnded(
            backend=reader.running, verdict=Verdict.CRASH, seconds=0.0, reason="the process of the test ended while it ran"
        )
        append_events(journal, [ended, CaseEnded()])
        yield from filter(None, [reader.add(ended)])


class _Stopped(Exception):
    """Another thread was interrupted or has failed."""


def _examined_side_by_side(
    directory: Path, groups: list[list[Failure]], own_versions: Callable[[str], Mapping[str, str]], *, interrupted: bool
) -> Iterator[tuple[list[Failure], tuple[Finding, FindingKept]]]:
    """Examine the kinds of failure in as many threads as there are cores, each with a sandbox; yield them in their order."""
    threads = min(cores(), len(groups)) or 1
    seconds = 0.0 if interrupted else _SECONDS * threads / max(len(groups), 1)
    stopped = threading.Event()

    def go_on() -> None:
        if stopped.is_set():
            raise _Stopped

    def examined(number: int, group: list[Failure]) -> tuple[Finding, FindingKept]:
        go_on()
        log = directory / SANDBOX_LOG
        sandbox = Sandbox([group[0].result.backend], None, log.with_stem(f"{log.stem}-{number}") if number else log, meanwhile=go_on)
        return _examined(directory, sandbox, group, seconds, own_versions)

    with ThreadPoolExecutor(threads) as pool:
        try:
            yield from zip(groups, pool.map(examined, itertools.count(), groups), strict=False)
        except BaseException:
            stopped.set()
            raise


def _examined(
    directory: Path, sandbox: Sandbox, group: list[Failure], seconds: float, own_versions: Callable[[str], Mapping[str, str]]
) -> tuple[Finding, FindingKept]:
    """Examine the simplest failure of a kind for about ``seconds``; one that cannot run in another process stays as it was found."""
    backend = group[0].result.backend
    try:
        can_run = seconds > 0 and leads_to_kernel(backend) and _loads(sandbox)
        triage = Triage(sandbox, seconds=seconds if can_run else 0.0, per_finding=seconds, at_least=0.0, share=1)
        simplest = group[0]
        finding, kept, _ = triage.consider(simplest.case, simplest.result, simplest.preceding, lambda _: None)
        finding = next(triage.confirm_others(lambda _: None), finding)
        finding = msgspec.structs.replace(finding, count=len(group))
        return document(directory, sandbox if can_run else None, finding, own_versions(backend), seconds=PROGRAM_SECONDS), kept
    finally:
        sandbox.close()


def _causes(directory: Path, findings: Sequence[Finding], summary: Summary) -> list[Cause]:
    """Find out by experiment which findings have one cause; each backend that can run in another process has a sandbox of its own."""
    known = upstream_links(summary, findings), ledger_links(summary, findings)
    with ExitStack() as stack:
        sandboxes: dict[str, Sandbox | None] = {}

        def runs(backend: str) -> Sandbox | None:
            if backend not in sandboxes:
                sandbox = Sandbox([backend], None, directory / SANDBOX_LOG)
                stack.callback(sandbox.close)
                sandboxes[backend] = sandbox if leads_to_kernel(backend) and _loads(sandbox) else None
            return sandboxes[backend]

        def evaluate(case: Case, backend: str) -> BackendEnded:
            runner = runs(backend)
            if runner is None:
                return BackendEnded(backend=backend, verdict=Verdict.UNSUPPORTED, seconds=0.0, reason="it runs in its test only")
            return runner.evaluate(case, backend, hasty=True)

        def explain(case: Case, backend: str) -> list[str]:
            runner = runs(backend)
            return [] if runner is None else runner.explain(case, backend)

        return causes(findings, evaluate, Budget(_EXPERIMENTS_SECONDS, _MOST_EXPERIMENTS), *known, explain=explain)


def _loads(sandbox: Sandbox) -> bool:
    try:
        sandbox.open()
    except BackendError:
        return False
    return True
