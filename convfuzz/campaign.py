"""A campaign: rounds of drawn cases until it is stopped, every event journalled, every finding kept.

Data flow one way: strategy → case → checker → events → journal and summary → findings, scripts and ``run.json``.
"""

from __future__ import annotations

import contextlib
import os
import platform
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import psutil
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.strategies import SearchStrategy

from convfuzz import __version__
from convfuzz.backends import Backend
from convfuzz.canary import plant
from convfuzz.case import Case
from convfuzz.check import Checker
from convfuzz.errors import UsageError
from convfuzz.events import BackendEnded, CaseEnded, Event, RoundEnded, RoundStarted
from convfuzz.findings import Finding
from convfuzz.journal import JournalWriter
from convfuzz.reproduction import reproduction_script
from convfuzz.run_directory import Canary, FindingLine, RunInfo, write_atomically, write_finding, write_run_info
from convfuzz.summary import REFERENCE, Summary
from convfuzz.triage import Triage

BATCHES_PER_ROUND = 200
"""Configurations drawn in one round; Hypothesis's memory grows with the examples of a run, so that a round is bounded."""
_INFO_EVERY = 10.0


class Stopped(StrEnum):
    """Why a campaign ended."""

    TIME = "time"
    MAX_CASES = "max-cases"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a campaign is asked to do.

    ``batches`` yields tuples of cases that share one configuration. The run ends after ``seconds`` or ``max_cases``,
    whichever comes first; with neither it goes on until it is interrupted.

    Raises:
        UsageError: a limit is not positive, or the seed is negative.
    """

    batches: SearchStrategy[tuple[Case, ...]]
    strategy: str
    backends: Sequence[Backend]
    seed: int
    seconds: float | None = None
    max_cases: int | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.seconds is not None and not self.seconds > 0:
            raise UsageError(f"time={self.seconds:g}s is not positive")
        if self.max_cases is not None and self.max_cases < 1:
            raise UsageError(f"max_cases={self.max_cases} is less than 1")
        if self.seed < 0:
            raise UsageError(f"seed={self.seed} is negative")
        if not self.backends:
            raise UsageError("no backend to compare with the reference")


class Watcher(Protocol):
    """Whoever follows a campaign live, such as the progress display."""

    def event(self, event: Event, summary: Summary) -> None:
        """Take note of an event that is already in the journal and in ``summary``."""
        ...

    def reducing(self, case: Case) -> None:
        """Take note of a candidate that the reduction tries."""
        ...


class _Enough(KeyboardInterrupt):
    """Ends Hypothesis's run at once; derived from KeyboardInterrupt so that it neither catches nor shrinks it."""


class Campaign:
    """Runs a :class:`Plan` in this process and leaves a complete run directory, however it ends."""

    def __init__(self, plan: Plan, directory: Path, watcher: Watcher | None = None) -> None:
        self.plan = plan
        self.directory = directory
        self.summary = Summary()
        self._watcher = watcher
        self._backends = {backend.name: backend for backend in plan.backends}
        self._triage = Triage(self._backends, seconds=120.0 if plan.seconds is None else max(plan.seconds / 2, 5.0))
        self._checker = Checker(plan.backends)
        self._started = time.time()
        self._began = time.monotonic()
        self._info_written = 0.0

    def run(self) -> RunInfo:
        """Run until a limit is reached or the user interrupts; return what ``run.json`` says then.

        Raises:
            OSError: the run directory cannot be written any more, such as on a full disk; what is there stays valid.
        """
        stopped = Stopped.INTERRUPTED
        write_run_info(self.directory, self._info(""))
        with JournalWriter(self.directory, "0") as journal:
            try:
                for number, round_seed in enumerate(round_seeds(self.plan.seed)):
                    reached = self._round(number, round_seed, journal)
                    if reached:
                        stopped = reached
                        break
            except KeyboardInterrupt:
                stopped = Stopped.INTERRUPTED
            except BaseException as error:
                write_run_info(self.directory, self._info(f"error: {type(error).__name__}: {error}"))
                raise
        info = self._info(stopped)
        write_run_info(self.directory, info)
        return info

    # -- rounds -----------------------------------------------------------------------------------------------------

    def _round(self, number: int, round_seed: int, journal: JournalWriter) -> Stopped | None:
        before = self.summary.cases
        canary_due = True
        reached: Stopped | None = None
        self._record(RoundStarted(number, round_seed, time.time()), journal)

        def run_batch(batch: tuple[Case, ...]) -> None:
            nonlocal canary_due, reached
            for case in batch:
                reached = self._limit_reached()
                if reached:
                    raise _Enough
                self._case(case, journal)
                if canary_due and (sighting := plant(case)):
                    self._record(sighting, journal)
                    canary_due = False

        with contextlib.suppress(_Enough):
            _drawn(run_batch, self.plan.batches, round_seed)
        self._record(RoundEnded(number, self.summary.cases - before, time.time()), journal)
        if self.summary.cases == before and reached is None:
            raise UsageError(f"strategy {self.plan.strategy!r} drew no case")
        return reached or self._limit_reached()

    def _limit_reached(self) -> Stopped | None:
        if self.plan.max_cases is not None and self.summary.cases >= self.plan.max_cases:
            return Stopped.MAX_CASES
        if self.plan.seconds is not None and time.monotonic() - self._began >= self.plan.seconds:
            return Stopped.TIME
        return None

    def _case(self, case: Case, journal: JournalWriter) -> None:
        failures: list[BackendEnded] = []
        for event in self._checker.events(case):
            if isinstance(event, BackendEnded) and event.verdict.failing:
                failures.append(event)
            self._record(event, journal)
            if isinstance(event, CaseEnded):
                break
        for failure in failures:
            finding, kept = self._triage.consider(case, failure, self._watcher.reducing if self._watcher else None)
            self._record(kept, journal)
            self._keep(finding)
        if time.monotonic() - self._info_written > _INFO_EVERY:
            write_run_info(self.directory, self._info(""))
            self._info_written = time.monotonic()

    def _record(self, event: Event, journal: JournalWriter) -> None:
        journal.write(event)
        self.summary.add(event)
        if self._watcher:
            self._watcher.event(event, self.summary)

    def _keep(self, finding: Finding) -> None:
        write_finding(self.directory, finding)
        path = self.directory / "repro" / f"{finding.fingerprint}.py"
        if finding.count > 1 and path.exists():
            return
        script = reproduction_script(finding, self._backends[finding.backend])
        if script is not None:
            write_atomically(path, script.encode())

    # -- run.json ---------------------------------------------------------------------------------------------------

    def _info(self, stopped: str) -> RunInfo:
        summary, plan = self.summary, self.plan
        seconds = {REFERENCE: summary.reference_seconds} | {name: backend.seconds for name, backend in summary.backends.items()}
        findings = sorted(self._triage.findings.values(), key=lambda f: f.fingerprint)
        return RunInfo(
            seed=plan.seed,
            strategy=plan.strategy,
            backends=[backend.name for backend in plan.backends],
            arguments=dict(plan.arguments),
            versions=versions(plan.backends),
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
            canary=Canary(summary.canary_planted, summary.canary_caught),
            findings=[FindingLine(f.fingerprint, f.verdict, f.backend, f.case, f.max_abs) for f in findings],
        )


def exit_status(summary: Summary, stopped: str) -> int:
    """Return the command line's exit status: 0 clean, 1 findings, 2 when the run proves nothing, 130 interrupted."""
    if stopped == Stopped.INTERRUPTED:
        return 130
    if summary.failures:
        return 1
    return 2 if proves_nothing(summary) else 0


def proves_nothing(summary: Summary) -> str | None:
    """Say why a run without findings is not green: nothing was compared, or the canary was not seen."""
    if summary.comparisons == 0:
        return "nothing was compared"
    if summary.canary_caught < summary.canary_planted:
        return f"the planted canary was caught only {summary.canary_caught} of {summary.canary_planted} times"
    return None


def round_seeds(base: int) -> Iterator[int]:
    """Yield the seed of each round of a campaign with seed ``base``."""
    source = random.Random(base)  # noqa: S311 - a reproducible sequence is what is wanted
    while True:
        yield source.getrandbits(63)


def _drawn(run_batch: Callable[[tuple[Case, ...]], None], batches: SearchStrategy[tuple[Case, ...]], round_seed: int) -> None:
    """Let Hypothesis draw a round's batches from ``round_seed`` alone: nothing is remembered between runs."""

    @seed(round_seed)
    @settings(
        max_examples=BATCHES_PER_ROUND,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(batches)
    def draw(batch: tuple[Case, ...]) -> None:
        run_batch(batch)

    draw()


def versions(backends: Sequence[Backend]) -> dict[str, str]:
    """Return the versions of everything that has a part in a verdict."""
    known = {"convfuzz": __version__, "python": platform.python_version()}
    for package in ("numpy", "numba", "hypothesis", "ml_dtypes"):
        with contextlib.suppress(PackageNotFoundError):
            known[package] = version(package)
    for backend in backends:
        known.update({name: str(text) for name, text in backend.versions.items()})
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
