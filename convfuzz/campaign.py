"""A campaign: workers draw and check, this process follows their journals, and every finding is kept.

Data flow one way: strategy → case → checker → events → journal → summary → findings, scripts, ``run.json``, report.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import msgspec
import psutil

from convfuzz import __version__
from convfuzz.case import Case
from convfuzz.errors import UsageError
from convfuzz.events import BackendEnded, Event
from convfuzz.findings import Finding
from convfuzz.journal import JournalWriter
from convfuzz.ledger import Ledger, recheck
from convfuzz.run_directory import (
    SANDBOX_LOG,
    Canary,
    FindingLine,
    LedgerLine,
    RunInfo,
    write_atomically,
    write_finding,
    write_run_info,
)
from convfuzz.sandbox import Sandbox, process_context
from convfuzz.signature import Signature
from convfuzz.summary import REFERENCE, Summary
from convfuzz.triage import Triage, is_telling
from convfuzz.workplace import Workplace

_POLL_SECONDS = 0.02
_INFO_SECONDS = 10.0


class Stopped(StrEnum):
    """Why a campaign ended."""

    TIME = "time"
    MAX_CASES = "max-cases"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a campaign is asked to do.

    The run ends after ``seconds`` or ``max_cases``, whichever comes first; with neither it goes on until it is
    interrupted. ``case_timeout`` is in seconds and ``memory_limit`` in bytes of resident memory per worker. ``ledger`` holds
    the known findings: what it quarantines is not run, what it tolerates is reported and is no failure of the run.

    Raises:
        UsageError: a limit is not positive, the seed is negative, or there is no backend.
    """

    backends: Sequence[str]
    strategy: str
    seed: int
    seconds: float | None = None
    max_cases: int | None = None
    workers: int = 1
    case_timeout: float = 20.0
    memory_limit: int = 4 * 2**30
    ledger: Ledger = field(default_factory=Ledger)
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in (("time", self.seconds), ("case_timeout", self.case_timeout), ("memory_limit", self.memory_limit)):
            if value is not None and not value > 0:
                raise UsageError(f"{name}={value:g} is not positive")
        for name, count in (("max_cases", self.max_cases), ("workers", self.workers)):
            if count is not None and count < 1:
                raise UsageError(f"{name}={count} is less than 1")
        if self.seed < 0:
            raise UsageError(f"seed={self.seed} is negative")
        if not self.backends:
            raise UsageError("no backend to compare with the reference; name some, such as torch,torch+split")


class Watcher(Protocol):
    """Whoever follows a campaign live, such as the progress display."""

    def event(self, event: Event, summary: Summary) -> None:
        """Take note of an event that is already in the journal and in ``summary``."""
        ...

    def reducing(self, case: Case) -> None:
        """Take note of a candidate that the reduction tries."""
        ...


class Campaign:
    """Runs a :class:`Plan` in worker processes and leaves a complete run directory, however it ends.

    Raises:
        BackendError: a backend or the strategy cannot be loaded.
    """

    def __init__(self, plan: Plan, directory: Path, watcher: Watcher | None = None) -> None:
        self.plan = plan
        self.directory = directory
        self._ledger = plan.ledger.about(plan.backends)
        self.summary = Summary(self._ledger)
        self._watcher = watcher
        self._sandbox = Sandbox(
            list(plan.backends),
            plan.strategy,
            directory / SANDBOX_LOG,
            case_timeout=plan.case_timeout,
            memory_limit=plan.memory_limit,
            quarantine=self._ledger.quarantine,
        )
        self._context = process_context(plan.backends)
        self._triage = Triage(self._sandbox.evaluate, seconds=120.0 if plan.seconds is None else max(plan.seconds / 2, 10.0))
        self._failures: deque[tuple[Case, BackendEnded]] = deque()
        self._workplaces: list[Workplace] = []
        self._started = time.time()
        self._began = time.monotonic()
        self._info_written = 0.0

    def run(self) -> RunInfo:
        """Run until a limit is reached or the user interrupts; return what ``run.json`` says then.

        Raises:
            BackendError: a backend or the strategy cannot be loaded; nothing has run.
            ConvfuzzError: a worker keeps dying outside of any backend.
            OSError: the run directory cannot be written any more, such as on a full disk; what is there stays valid.
        """
        try:
            opened = self._sandbox.open()
            self._versions = versions(opened.versions)
            self._own_versions = opened.versions
            self._began = time.monotonic()
            write_run_info(self.directory, self._info(""))
            with JournalWriter(self.directory, "findings") as journal:
                try:
                    stopped = self._follow(journal)
                except BaseException as error:
                    write_run_info(self.directory, self._info(f"error: {type(error).__name__}: {error}"))
                    raise
            info = self._info(stopped)
            write_run_info(self.directory, info)
            return info
        finally:
            for workplace in self._workplaces:
                workplace.close()
            self._sandbox.close()

    def _follow(self, journal: JournalWriter) -> Stopped:
        try:
            self._workplaces = self._open_workplaces()
            while any(workplace.is_open for workplace in self._workplaces) or self._failures:
                self._poll()
                if not any(workplace.is_open for workplace in self._workplaces):
                    self._triage.finish(interrupted=False)
                if self._failures:
                    self._triage_one(journal)
                else:
                    time.sleep(_POLL_SECONDS)
            self._recheck(journal)
        except KeyboardInterrupt:
            for workplace in self._workplaces:
                workplace.close()
            self._poll()
            self._triage.finish(interrupted=True)
            while self._failures:
                self._triage_one(journal)
            return Stopped.INTERRUPTED
        reached = self.plan.max_cases is not None and self.summary.cases >= self.plan.max_cases
        return Stopped.MAX_CASES if reached else Stopped.TIME

    def _open_workplaces(self) -> list[Workplace]:
        plan = self.plan
        deadline = None if plan.seconds is None else time.time() + plan.seconds
        shares = _shares(plan.max_cases, plan.workers)
        return [
            Workplace(self._context, plan, self.directory, index, cases, deadline)
            for index, cases in enumerate(shares)
            if cases is None or cases
        ]

    def _poll(self) -> None:
        """Read what the workers have written since, and replace those that died."""
        with _interrupts_held():
            for workplace in self._workplaces:
                for event in workplace.poll():
                    self._take(event)
                    if isinstance(event, BackendEnded) and event.verdict.failing:
                        assert workplace.case is not None, "a backend ends inside a case"
                        self._failures.append((workplace.case, event))
        if time.monotonic() - self._info_written > _INFO_SECONDS:
            write_run_info(self.directory, self._info(""))
            self._info_written = time.monotonic()

    def _take(self, event: Event) -> None:
        self.summary.add(event)
        if self._watcher:
            self._watcher.event(event, self.summary)

    def _triage_one(self, journal: JournalWriter) -> None:
        case, failure = self._failures[0]  # it stays in the queue while it is reduced, or Ctrl-C would lose it
        finding, kept, is_new = self._triage.consider(case, failure, self._between_candidates)
        # The minimal case speaks for the failure where its features tell its kind, else the failing case for itself.
        told = Case.parse(finding.case) if is_telling(finding) else case
        entry = self._ledger.tolerating(Signature.of(finding), told)
        kept = msgspec.structs.replace(kept, tolerated_by=entry.fingerprint if entry else "")
        with _interrupts_held():
            self._failures.popleft()
            if is_new:
                finding = self._document(finding)
            self._triage.findings[finding.fingerprint] = finding
            write_finding(self.directory, finding)
            self._record(kept, journal)

    def _recheck(self, journal: JournalWriter) -> None:
        """Run the cases of the tolerated entries that nothing was tolerated for: an entry whose case passes can go."""
        for entry in self._ledger.tolerate:
            if not self.summary.uses[entry.fingerprint].matched:
                self._record(recheck(entry, self._sandbox.evaluate), journal)

    def _document(self, finding: Finding) -> Finding:
        """Add the evidence to a new finding and write its script."""
        evidence = self._sandbox.document(finding)
        if evidence.script is not None:
            write_atomically(self.directory / "repro" / f"{finding.fingerprint}.py", evidence.script.encode())
        known = self._own_versions.get(finding.backend, {}) | {"numpy": self._versions.get("numpy", "")}
        return msgspec.structs.replace(finding, elements=evidence.elements, versions=known)

    def _between_candidates(self, candidate: Case) -> None:
        """Keep following the workers while a case is reduced."""
        self._poll()
        if self._watcher:
            self._watcher.reducing(candidate)

    def _record(self, event: Event, journal: JournalWriter) -> None:
        journal.write(event)
        self._take(event)

    # -- run.json ---------------------------------------------------------------------------------------------------

    def _info(self, stopped: str) -> RunInfo:
        summary, plan = self.summary, self.plan
        seconds = {REFERENCE: summary.reference_seconds} | {name: backend.seconds for name, backend in summary.backends.items()}
        findings = sorted(self._triage.findings.values(), key=lambda f: f.fingerprint)
        return RunInfo(
            seed=plan.seed,
            strategy=plan.strategy,
            backends=list(plan.backends),
            arguments=dict(plan.arguments),
            versions=self._versions,
            machine=machine(),
            started=self._started,
            tool_version=__version__,
            stopped=str(stopped),
            exit_status=exit_status(summary, stopped) if stopped else None,
            cases=summary.cases,
            configs=summary.configs,
            comparisons=summary.comparisons,
            elapsed_s=round(time.monotonic() - self._began, 3),
            backend_s={name: round(s, 6) for name, s in seconds.items()},
            verdicts={name: {str(v): n for v, n in backend.verdicts.items()} for name, backend in summary.backends.items()},
            skipped={name: dict(backend.skips) for name, backend in summary.backends.items() if backend.skips},
            quarantined={name: dict(backend.quarantined) for name, backend in summary.backends.items() if backend.quarantined},
            ledger=[LedgerLine(use.entry, use.matched, use.is_stale) for use in summary.uses.values()],
            canary=Canary(summary.canary_planted, summary.canary_caught),
            findings=[FindingLine(f.fingerprint, f.verdict, f.backend, f.case, f.max_abs) for f in findings],
        )


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let Ctrl-C wait for the end of what must not be cut in two; only the main thread can be interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[bool] = []
    before = signal.signal(signal.SIGINT, lambda *_: held.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        raise KeyboardInterrupt


def exit_status(summary: Summary, stopped: str) -> int:
    """Return the command line's exit status: 0 clean, 1 findings outside the ledger, 2 when the run proves nothing, 130 interrupted."""
    if stopped == Stopped.INTERRUPTED:
        return 130
    if summary.new_failures:
        return 1
    return 2 if proves_nothing(summary) else 0


def proves_nothing(summary: Summary) -> str | None:
    """Say why a run without findings is not green: nothing was compared, or the canary was not seen."""
    if summary.comparisons == 0:
        return "nothing was compared"
    if summary.canary_caught < summary.canary_planted:
        return f"the planted canary was caught only {summary.canary_caught} of {summary.canary_planted} times"
    return None


def _shares(total: int | None, workers: int) -> Iterator[int | None]:
    """Share ``total`` cases out among ``workers``, so that they add up to it."""
    for index in range(workers):
        yield None if total is None else total // workers + (index < total % workers)


def versions(backends: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the versions of everything that has a part in a verdict."""
    known = {"convfuzz": __version__, "python": platform.python_version()}
    for package in ("numpy", "numba", "hypothesis", "ml_dtypes"):
        with contextlib.suppress(PackageNotFoundError):
            known[package] = version(package)
    for own in backends.values():
        known.update(own)
    return known


def machine() -> dict[str, str]:
    """Return what of this machine a reader of the report needs: processor, cores, memory, system; no names."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "byte order": sys.byteorder,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
