"""A campaign: workers draw and check, this process follows their journals, and every finding is kept.

Data flow one way: strategy → case → checker → events → journal → summary → findings, scripts, ``run.json``, report.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Protocol

import msgspec

from convfuzz import __version__
from convfuzz.campaign.documents import document
from convfuzz.campaign.local_slot import LocalSlot
from convfuzz.campaign.plan import Plan, different_versions
from convfuzz.campaign.remote_slot import RemoteSlot
from convfuzz.campaign.slot import WORKER_MODULE, Slot
from convfuzz.case import Case
from convfuzz.errors import RunDirectoryError, UsageError
from convfuzz.processes.forkserver import prepare_forkserver
from convfuzz.processes.sandbox import Sandbox
from convfuzz.record.confirmation import Preceding
from convfuzz.record.events import BackendEnded, Event, FindingKept
from convfuzz.record.failure_kind import Signature
from convfuzz.record.finding import Finding
from convfuzz.record.journal import JournalWriter, read_journal
from convfuzz.record.ledger import recheck
from convfuzz.record.outcome import Stopped, exit_status
from convfuzz.record.run_directory import SANDBOX_LOG, RunInfo, read_findings, read_run_info, remove_finding, write_finding, write_run_info
from convfuzz.record.summary import Summary
from convfuzz.record.versions import machine, versions
from convfuzz.triage.reduction import complexity
from convfuzz.triage.triage import Triage
from convfuzz.verdicts import Verdict

_POLL_SECONDS = 0.02
_INFO_SECONDS = 1.0
"""How often ``run.json`` is brought up to date: a killed run has taken at most this much longer than it says."""
_CLOSING_SECONDS, _CLOSING_SHARE = 10.0, 0.06
"""What further reductions and confirmations take at most when the time is up: so much, or that part of the run's time."""
_REPORTING_SECONDS, _REPORTING_SHARE = 30.0, 0.1
"""What running the code of bug reports may take at the end, and which part of the run's time; the reports of findings beyond that
do not say what it prints."""


class Watcher(Protocol):
    """Whoever follows a campaign live, such as the progress display."""

    def begun(self, summary: Summary, elapsed: float) -> None:
        """Take note that the backends are loaded; earlier sittings took ``elapsed`` seconds and left ``summary``."""
        ...

    def event(self, event: Event, summary: Summary) -> None:
        """Take note of an event that is already in the journal and in ``summary``."""
        ...

    def reducing(self, case: Case) -> None:
        """Take note of a candidate that the reduction tries."""
        ...


@dataclass(frozen=True, order=True)
class _Failure:
    """A failure that is still to be looked at; the simplest comes first, since it is reduced soonest and may cover others."""

    complexity: tuple[int, int, str]
    serial: int
    case: Case = field(compare=False)
    result: BackendEnded = field(compare=False)
    preceding: Preceding = field(compare=False)


class Campaign:
    """Runs a :class:`~convfuzz.campaign.plan.Plan` in worker processes and leaves a complete run directory, however it ends.

    What the directory already holds is where it goes on: a new run is the resumption of nothing. With an ``executor`` its
    rounds are tasks of that, as many at a time as the plan has workers; findings are looked into here all the same.

    Raises:
        UnreadableFile: the directory holds a run that is damaged or of another format version.
    """

    def __init__(self, plan: Plan, directory: Path, watcher: Watcher | None = None, executor: Executor | None = None) -> None:
        self.plan = plan
        self.directory = directory
        self._ledger = plan.ledger.about(plan.backends)
        self.summary = Summary(self._ledger)
        self.had_nothing_to_do = False
        self._watcher = watcher
        self._before = read_run_info(directory) if (directory / "run.json").exists() else None
        self._elapsed_before = self._before.elapsed_s if self._before else 0.0
        self._started = self._before.started if self._before else time.time()
        self._context = prepare_forkserver(plan.backends, plan.memory_limit, [WORKER_MODULE])
        self._failures: list[_Failure] = []
        self._serial = itertools.count()
        self._places: list[Slot] = [
            LocalSlot(self._context, plan, directory, index, share)
            if executor is None
            else RemoteSlot(executor, plan, directory, index, share)
            for index, share in enumerate(_shares(plan.max_cases, plan.workers))
        ]
        self._sandbox = Sandbox(
            list(plan.backends),
            plan.strategy,
            directory / SANDBOX_LOG,
            case_timeout=plan.case_timeout,
            memory_limit=plan.memory_limit,
            meanwhile=self._poll,
            quarantine=self._ledger.quarantine,
        )
        self._triage = Triage(self._sandbox, seconds=120.0 if plan.seconds is None else max(self._seconds_left / 2, 10.0))
        self._began = time.monotonic()
        self._info_written = 0.0
        self._versions: dict[str, str] = {}
        self._own_versions: dict[str, dict[str, str]] = {}
        self._read_back()

    def run(self) -> RunInfo:
        """Run until a limit is reached or the user interrupts; return what ``run.json`` says then.

        Raises:
            BackendError: a backend or the strategy cannot be loaded; nothing has run.
            UsageError: the run is to go on with other versions than it began with; nothing has run.
            ConvfuzzError: a worker keeps dying outside of any backend.
            RunDirectoryError: the run directory cannot be written any more, such as on a full disk; what is there stays valid.
        """
        try:
            return self._run()
        except BrokenPipeError:  # nobody reads what is printed any more
            raise
        except OSError as error:
            raise RunDirectoryError(
                f"the run cannot go on: {error.strerror or error}. What {self.directory} holds stays valid; "
                f"to go on where it stopped: convfuzz run --resume {self.directory}"
            ) from error
        finally:
            for place in self._places:
                place.close()
            self._sandbox.close()

    def _run(self) -> RunInfo:
        opened = self._sandbox.open()
        self._versions, self._own_versions = versions(opened.versions), opened.versions
        changed = different_versions(self._before.versions, self._versions) if self._before else ""
        if changed:
            raise UsageError(f"{self.directory} cannot be gone on with: {changed}. The results of one run are of one set of versions")
        self._began = time.monotonic()
        write_run_info(self.directory, self._info(""))
        if self._watcher:
            self._watcher.begun(self.summary, self._elapsed_before)
        with JournalWriter(self.directory, "findings") as journal:
            try:
                stopped = self._follow(journal)
            except BaseException as error:
                why = Stopped.INTERRUPTED if isinstance(error, KeyboardInterrupt) else f"error: {type(error).__name__}: {error}"
                with contextlib.suppress(OSError):  # which may be the reason itself
                    write_run_info(self.directory, self._info(why))
                raise
        info = self._info(stopped)
        write_run_info(self.directory, info)
        return info

    def _read_back(self) -> None:
        """Fold what earlier sittings have left; failures that had not become findings then are still to be looked at."""
        kept: Counter[tuple[str, str]] = Counter()
        for event in read_journal(self.directory / "journal-findings.jsonl"):
            self.summary.add(event)
            if isinstance(event, FindingKept):
                kept[event.case, event.backend] += 1
        for place in self._places:
            for event in place.read():
                self._add(event, place)
        fresh = []
        for failure in sorted(self._failures, key=lambda failure: failure.serial):
            known = kept[str(failure.case), failure.result.backend] > 0
            kept[str(failure.case), failure.result.backend] -= known
            if not known:
                fresh.append(failure)
        heapq.heapify(fresh)
        self._failures = fresh
        for finding in read_findings(self.directory):
            counted = self.summary.findings.get(finding.fingerprint)  # the file is written before the event
            self._triage.findings[finding.fingerprint] = msgspec.structs.replace(finding, count=counted.count if counted else 0)

    @property
    def _closing_seconds(self) -> float:
        """What reducing and confirming may take when the workers are done: the rest of the run's time, or a part of it on top."""
        if self.plan.seconds is None:
            return math.inf
        left = self.plan.seconds - self._elapsed_before - (time.monotonic() - self._began)
        return max(left, _CLOSING_SHARE * self.plan.seconds, _CLOSING_SECONDS)

    @property
    def _seconds_left(self) -> float:
        return math.inf if self.plan.seconds is None else max(self.plan.seconds - self._elapsed_before, 0.0)

    def _follow(self, journal: JournalWriter) -> Stopped:
        try:
            for place in self._places:
                place.open(None if self.plan.seconds is None else time.time() + self._seconds_left)
            self.had_nothing_to_do = not self._failures and not any(place.is_open for place in self._places)
            are_done = False
            while any(place.is_open for place in self._places) or self._failures:
                self._poll()
                if not are_done and not any(place.is_open for place in self._places):
                    are_done = True
                    self._triage.finish(self._closing_seconds)
                if self._failures:
                    self._triage_one(journal)
                else:
                    time.sleep(_POLL_SECONDS)
            for finding in self._triage.confirm_others(self._between_candidates):
                write_finding(self.directory, finding)
            self._recheck(journal)
            if not self.had_nothing_to_do:
                self._report_bugs()
        except KeyboardInterrupt:
            for place in self._places:
                place.close()
            self._poll()
            self._triage.finish(0.0)
            while self._failures:
                self._triage_one(journal)
            return Stopped.INTERRUPTED
        reached = self.plan.max_cases is not None and self.summary.cases >= self.plan.max_cases
        return Stopped.MAX_CASES if reached else Stopped.TIME

    def _poll(self) -> None:
        """Read what the workers have written since, and replace those that died."""
        with _interrupts_held():
            for place in self._places:
                for event in place.poll():
                    self._add(event, place)
                    if self._watcher:
                        self._watcher.event(event, self.summary)
        if time.monotonic() - self._info_written > _INFO_SECONDS:
            self._info_written = time.monotonic()
            write_run_info(self.directory, self._info(""))

    def _add(self, event: Event, place: Slot) -> None:
        self.summary.add(event, place.name)
        if isinstance(event, BackendEnded) and event.verdict.failing:
            assert place.case is not None, "a backend ends inside a case"
            failure = _Failure(complexity(place.case), next(self._serial), place.case, event, place.preceding(event.backend))
            heapq.heappush(self._failures, failure)

    def _triage_one(self, journal: JournalWriter) -> None:
        failure, is_kept = heapq.heappop(self._failures), False
        try:
            finding, kept, is_new = self._triage.consider(failure.case, failure.result, failure.preceding, self._between_candidates)
            # The minimal case speaks for the failure where its features tell its kind, else the failing case for itself.
            told = Case.parse(finding.case) if finding.is_telling else failure.case
            entry = self._ledger.tolerating(Signature.of(finding), told)
            kept = msgspec.structs.replace(kept, tolerated_by=entry.fingerprint if entry else "")
            with _interrupts_held():
                is_kept = True
                self._keep(finding, kept, journal, is_new=is_new)
        finally:
            if not is_kept:  # Ctrl-C, in the middle of a reduction
                heapq.heappush(self._failures, failure)

    def _keep(self, finding: Finding, kept: FindingKept, journal: JournalWriter, *, is_new: bool) -> None:
        if is_new:
            finding = self._document(finding)
        self._triage.findings[finding.fingerprint] = finding
        write_finding(self.directory, finding)
        self._record(kept, journal)
        for absorbed in kept.absorbs:
            remove_finding(self.directory, absorbed)

    def _recheck(self, journal: JournalWriter) -> None:
        """Run the cases of the tolerated entries that nothing was tolerated for: an entry whose case passes can go."""
        for entry in self._ledger.tolerate:
            if not self.summary.uses[entry.fingerprint].matched:
                self._record(recheck(entry, self._sandbox.evaluate), journal)

    def _report_bugs(self) -> None:
        """Write scripts and bug reports again, now that everything is known, with what their code prints; the gravest first."""
        began, order = time.monotonic(), list(Verdict)
        for finding in sorted(self._triage.findings.values(), key=lambda finding: order.index(finding.verdict)):
            if time.monotonic() - began > min(_REPORTING_SECONDS, (self.plan.seconds or math.inf) * _REPORTING_SHARE):
                return
            self._document(finding, execute=True)
            self._between_candidates(Case.parse(finding.case))

    def _document(self, finding: Finding, *, execute: bool = False) -> Finding:
        """Add the evidence to a new finding and write its script and its bug report."""
        known = self._own_versions.get(finding.backend, {}) | {"numpy": self._versions.get("numpy", "")}
        return document(self.directory, self._sandbox, finding, known, execute=execute)

    def _between_candidates(self, candidate: Case) -> None:
        if self._watcher:
            self._watcher.reducing(candidate)

    def _record(self, event: Event, journal: JournalWriter) -> None:
        journal.write(event)
        self.summary.add(event)
        if self._watcher:
            self._watcher.event(event, self.summary)

    # -- run.json ---------------------------------------------------------------------------------------------------

    def _info(self, stopped: str) -> RunInfo:
        plan = self.plan
        info = RunInfo(
            seed=plan.seed,
            strategy=plan.strategy,
            backends=list(plan.backends),
            arguments=dict(plan.arguments),
            versions=self._versions,
            backend_versions=self._own_versions,
            machine=machine(),
            started=self._started,
            tool_version=__version__,
            stopped=str(stopped),
            exit_status=exit_status(self.summary, stopped) if stopped else None,
            elapsed_s=round(self._elapsed_before + time.monotonic() - self._began, 3),
        )
        return info.with_totals(self.summary, self._triage.findings.values())


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let Ctrl-C wait for the end of what must not be cut in two; only the main thread can be interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[FrameType | None] = []
    before = signal.signal(signal.SIGINT, lambda _, frame: held.append(frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held and callable(before):
        before(signal.SIGINT, held[0])  # raises, or holds it in its turn


def _shares(total: int | None, workers: int) -> Iterator[int | None]:
    """Share ``total`` cases out among ``workers``, so that they add up to it."""
    for index in range(workers):
        yield None if total is None else total // workers + (index < total % workers)
