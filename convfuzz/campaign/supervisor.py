"""The supervisor of a campaign: workers draw and check, and this process follows their journals until the run ends.

Data flow one way: strategy → case → checker → events → journal → summary → findings, scripts, ``run.json``, report.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path

import msgspec

from convfuzz.campaign.arithmetic import measured
from convfuzz.campaign.assignment import WORKER_MODULE
from convfuzz.campaign.clock import Clock
from convfuzz.campaign.deaths import Deaths
from convfuzz.campaign.failures import FailureReader
from convfuzz.campaign.findings import Findings
from convfuzz.campaign.local_slot import LocalSlot
from convfuzz.campaign.plan import Plan, different_versions
from convfuzz.campaign.reducers import DEADLY_SHARE, SHARE, cores, idle_cores, seconds_each_second
from convfuzz.campaign.remote_slot import RemoteSlot
from convfuzz.campaign.slot import Slot
from convfuzz.campaign.watcher import Watcher
from convfuzz.errors import RunDirectoryError, UsageError
from convfuzz.processes.forkserver import prepare_forkserver
from convfuzz.processes.sandbox import Sandbox
from convfuzz.record.events import Event
from convfuzz.record.journal import JournalWriter, read_journal
from convfuzz.record.known_upstream import KnownUpstream, known_upstream
from convfuzz.record.outcome import Stopped, stopped_by
from convfuzz.record.run_directory import SANDBOX_LOG, RunInfo, read_run_info, write_run_info
from convfuzz.record.summary import Summary
from convfuzz.system.interrupts import interrupts_held

_POLL_SECONDS = 0.02
_INFO_SECONDS = 1.0
"""How often ``run.json`` is brought up to date: a killed run has taken at most this much longer than it says."""


class Campaign:
    """Runs a :class:`~convfuzz.campaign.plan.Plan` in worker processes and leaves a complete run directory, however it ends.

    It resumes what the directory already holds; a new run resumes nothing. With an ``executor`` its rounds are tasks of that,
    as many at a time as the plan has workers; findings are examined here all the same.

    Raises:
        UnreadableFile: the directory's ``run.json`` is damaged or of another format version.
    """

    def __init__(self, plan: Plan, directory: Path, watcher: Watcher | None = None, executor: Executor | None = None) -> None:
        self.plan, self.directory = plan, directory
        self.summary = Summary(plan.ledger.about(plan.backends))
        self.had_nothing_to_do = False
        self._watcher = watcher or Watcher()
        self._before = read_run_info(directory) if (directory / "run.json").exists() else None
        self._clock = Clock(plan.seconds, self._before.elapsed_s if self._before else 0.0)
        self._facts = self._before or self._facts_of_run({})
        self._causes = self._before.causes if self._before else []
        self._info_written = math.inf  # not before the backends have loaded: a run that cannot begin leaves nothing
        context = prepare_forkserver(plan.backends, plan.limits.memory, [WORKER_MODULE], plan.strategy)
        deaths = Deaths(plan.limits, spares=plan.seconds is not None)
        self._slots: list[Slot] = [
            LocalSlot(context, plan, directory, index, cases, deaths=deaths)
            if executor is None
            else RemoteSlot(executor, plan, directory, index, cases)
            for index, cases in enumerate(_divided(plan.max_cases, plan.workers))
        ]
        self._readers = {slot.name: FailureReader() for slot in self._slots}
        self._workers_here = 0 if executor else plan.workers
        self._sandbox = self._make_sandbox(0, self._poll)
        known = KnownUpstream() if plan.known == "ignore" else known_upstream()
        self._findings = Findings(directory, self._sandbox, self._make_sandbox, self.summary, self._watcher, known, deaths)
        deaths.findings = lambda: self._findings.all
        self._granted = 0.0

    def run(self) -> RunInfo:
        """Run until a limit is reached or the user interrupts; return what ``run.json`` says then.

        Raises:
            UnreadableFile: the directory holds a run that is damaged or of another format version.
            BackendError: a backend or the strategy cannot be loaded; nothing has run.
            UsageError: a run is resumed with other versions than it began with; nothing has run.
            ConvfuzzError: a worker keeps dying outside of any backend.
            RunDirectoryError: the run directory cannot be written any more, such as on a full disk; what it holds stays valid.
        """
        self._read_journals()
        try:
            return self._run()
        except OSError as error:
            raise RunDirectoryError(
                f"the run cannot continue: {error.strerror or error}. What {self.directory} holds stays valid; "
                f"to resume the run where it stopped: convfuzz run --resume {self.directory}"
            ) from error
        finally:
            with interrupts_held():  # or a child would be left
                for slot in self._slots:
                    slot.close()
                self._findings.close()
                self._sandbox.close()

    def _make_sandbox(self, number: int, meanwhile: Callable[[], None]) -> Sandbox:
        """Return the sandbox of that number; that of number 0 is the supervisor's own."""
        plan, log = self.plan, self.directory / SANDBOX_LOG
        return Sandbox(
            list(plan.backends),
            None if number else plan.strategy,
            log.with_stem(f"{log.stem}-{number}") if number else log,
            limits=plan.limits,
            meanwhile=meanwhile,
            quarantine=self.summary.ledger.quarantine,
        )

    def _run(self) -> RunInfo:
        self._facts = self._facts_of_run(self._sandbox.open().versions)
        self._findings.versions = self._facts.backend_versions
        changed = different_versions(self._before.versions, self._facts.versions) if self._before else ""
        if changed:
            raise UsageError(f"{self.directory} cannot be resumed: {changed}. The results of one run are of one set of versions")
        self._clock.begin()
        self._write_info()
        self._watcher.begun(self.summary, self._clock.before)
        with JournalWriter(self.directory, "findings") as journal:
            try:
                stopped = self._follow(journal)
            except BaseException as error:
                why = stopped_by(error) if isinstance(error, KeyboardInterrupt) else f"error: {type(error).__name__}: {error}"
                with contextlib.suppress(OSError):  # which may be the reason itself
                    self._write_info(why)
                raise
        with interrupts_held():  # or a run that is over would not say so
            return self._write_info(stopped)

    def _follow(self, journal: JournalWriter) -> Stopped:
        try:
            deadline = None if self.plan.seconds is None else time.time() + self._clock.sitting
            for slot in self._slots:
                slot.open(deadline)
            self.had_nothing_to_do = not self._is_working and not self._findings.is_waiting
            self._examine_until_done(journal)
            self._findings.confirm_others()
            self._findings.recheck_ledger(journal)
            if not self.had_nothing_to_do:
                self._findings.explain_others(self._clock.experiments, journal)
                self._causes = self._findings.causes(self._clock.experiments)
                self._facts = msgspec.structs.replace(self._facts, gone=self._findings.gone_upstream(self._clock.experiments))
                self._findings.report_bugs(self._clock.reporting)
                self._measure_arithmetic()
        except KeyboardInterrupt as error:
            for slot in self._slots:
                slot.close()
            self._poll()
            self._findings.stop(journal)
            self._findings.report_bugs(0.0)
            return stopped_by(error)
        reached = self.plan.max_cases is not None and self.summary.cases >= self.plan.max_cases
        return Stopped.MAX_CASES if reached else Stopped.TIME

    def _measure_arithmetic(self) -> None:
        """Measure how the backends compute; those that an earlier sitting has measured are not asked again."""
        if self.plan.arithmetic:
            known = {one.backend: one for one in self._facts.arithmetic if not one.unmeasured}
            found = measured(self.plan.backends, self._facts.backend_versions, self._sandbox.reveal, known, self._clock.arithmetic)
            self._facts = msgspec.structs.replace(self._facts, arithmetic=found)

    def _examine_until_done(self, journal: JournalWriter) -> None:
        """Examine failures while the workers find more of them, then the rest in the time that is left."""
        workers_are_done = False
        self._granted = time.monotonic()
        while self._is_working or self._findings.is_waiting:
            self._poll()
            if self._is_working:
                self._grant()
            elif not workers_are_done:
                workers_are_done = True
                self._findings.finish(self._clock.closing, cores())
            self._findings.examine(journal)
            time.sleep(_POLL_SECONDS)

    def _grant(self) -> None:
        """Give reducing its share of the time that has gone by."""
        now = time.monotonic()
        share = DEADLY_SHARE if self._findings.holds_workers_up else SHARE
        self._findings.grant((now - self._granted) * seconds_each_second(self._workers_here, share), max(idle_cores(self._workers_here), 1))
        self._granted = now

    # -- journals -----------------------------------------------------------------------------------------------------

    @property
    def _is_working(self) -> bool:
        return any(slot.is_open for slot in self._slots)

    def _read_journals(self) -> None:
        """Fold what earlier sittings have left; failures that did not become findings then are still to be examined."""
        told = list(read_journal(self.directory / "journal-findings.jsonl"))
        for event in told:
            self.summary.add(event)
        for slot in self._slots:
            for event in slot.read():
                self._add(event, slot)
        self._findings.restore(told)

    def _poll(self) -> None:
        """Read what the workers have written since, and replace those that died."""
        with interrupts_held():
            for slot in self._slots:
                for event in slot.poll():
                    self._add(event, slot)
                    self._watcher.event(event, self.summary)
        if time.monotonic() - self._info_written > _INFO_SECONDS:
            self._write_info()

    def _add(self, event: Event, slot: Slot) -> None:
        self.summary.add(event, slot.name)
        failure = self._readers[slot.name].add(event)
        if failure is not None:
            self._findings.add(failure)

    # -- run.json -----------------------------------------------------------------------------------------------------

    def _facts_of_run(self, backend_versions: dict[str, dict[str, str]]) -> RunInfo:
        plan = self.plan
        facts = RunInfo.here(
            seed=plan.seed,
            strategy=plan.strategy,
            backends=plan.backends,
            arguments=plan.arguments,
            started=self._before.started if self._before else time.time(),
            backend_versions=backend_versions,
        )
        return msgspec.structs.replace(facts, arithmetic=self._before.arithmetic) if self._before else facts

    def _write_info(self, stopped: str = "") -> RunInfo:
        info = self._facts.with_totals(
            self.summary, self._findings.all, elapsed_s=self._clock.elapsed, stopped=stopped, causes=self._causes
        )
        self._info_written = time.monotonic()
        write_run_info(self.directory, info)
        return info


def _divided(total: int | None, workers: int) -> Iterator[int | None]:
    """Divide ``total`` cases among ``workers``, so that they add up to it."""
    for index in range(workers):
        yield None if total is None else total // workers + (index < total % workers)
