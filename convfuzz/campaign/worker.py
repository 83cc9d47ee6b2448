"""A worker: a process of a campaign that draws rounds of cases, checks them, and writes a journal of what happens."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from hypothesis.strategies import SearchStrategy

from convfuzz.backends import resolve_all
from convfuzz.backends.compiling import watch
from convfuzz.backends.domains import domains_of, drawn_from
from convfuzz.campaign.assignment import Assignment
from convfuzz.campaign.candidates import Steering, part_of_list
from convfuzz.campaign.deaths import Sparing
from convfuzz.campaign.pair_coverage import PairCoverage
from convfuzz.campaign.rounds import draw_round, round_seeds
from convfuzz.campaign.runtimes import Batch, Runtimes
from convfuzz.case import Case
from convfuzz.case.domain import Domain, explore
from convfuzz.checking import calls
from convfuzz.checking.canary import plant
from convfuzz.checking.checker import Checker
from convfuzz.checking.shares import Shares
from convfuzz.entry_points import load_strategy
from convfuzz.processes.child_setup import CANNOT_WRITE, FULL, Descriptors, Memory, detach, end, leave
from convfuzz.record.events import (
    BackendEnded,
    CompileEnded,
    CompileStarted,
    DomainExplored,
    Event,
    JudgingEnded,
    JudgingStarted,
    RoundEnded,
    RoundStarted,
)
from convfuzz.record.journal import JournalWriter
from convfuzz.record.ledger import Ledger
from convfuzz.system.json_records import decode


def work(assignment: bytes) -> None:
    """Carry out an :class:`Assignment`, given as JSON; the entry point of a worker process, which it ends."""
    task = decode(assignment, Assignment)
    plan = task.plan
    detach(Path(task.directory, f"worker-{task.worker}.log"))
    backends = resolve_all(plan.backends)
    quarantine = Ledger(plan.ledger.about(plan.backends).quarantine)
    shares = Shares(backends)
    sparing = Sparing(task.deadly)
    checker = Checker(backends, interruptible=False, ledger=quarantine, shares=shares, spares=sparing.reason, limits=plan.limits)
    near = [Case.parse(line) for line in plan.near]
    domains = domains_of(backends, near)
    batches = load_strategy(plan.strategy, drawn_from(domains.values(), near))
    journal = _Journal(JournalWriter(Path(task.directory), str(task.worker)))
    watch(lambda limit: journal.write(CompileEnded() if limit is None else CompileStarted(limit)))
    calls.watch(lambda is_judging: journal.write(JudgingStarted() if is_judging else JudgingEnded()))
    for name, domain in domains.items():
        journal.write(_explored(name, domain, near))
    memory = Memory(plan.limits.memory)
    steering = Steering(on_all_data=shares.are_costly_for, runtimes=Runtimes.among(backends))
    _Rounds(task, checker, batches, journal.write, memory, steering).run()
    leave(FULL if memory.is_full else 0)


def _explored(backend: str, domain: Domain, near: Sequence[Case]) -> DomainExplored:
    """Say what a search knows of a backend's domain before the first case runs."""
    return DomainExplored(
        backend=backend,
        accepted=explore(domain).values(domain),
        declined={str(case): domain.declines(case.config) for case in near if not domain.accepts(case.config)},
    )


class _Journal:
    """The worker's own journal, in a process that it shares with the backends under test.

    A worker whose journal cannot be written must end at once: Hypothesis would take an exception for one of the test's own.
    """

    def __init__(self, writer: JournalWriter) -> None:
        self._writer = writer
        self._descriptors = Descriptors(writer.fileno())

    def write(self, event: Event) -> None:
        self._descriptors.require()
        try:
            self._writer.write(event)
        except OSError as error:
            end(CANNOT_WRITE, f"the journal cannot be written: {error.strerror}")


class _Enough(KeyboardInterrupt):
    """Ends Hypothesis's run at once; derived from KeyboardInterrupt so that it is neither caught nor shrunk."""


class _Rounds:
    """The rounds of one worker."""

    def __init__(
        self,
        task: Assignment,
        checker: Checker,
        batches: SearchStrategy[Batch],
        write: Callable[[Event], None],
        memory: Memory,
        steering: Steering,
    ) -> None:
        self._steering = steering
        self._task, self._checker, self._write, self._memory = task, checker, write, memory
        workers = task.plan.workers
        worker = task.position.round % workers
        self._batches = batches.map(lambda batch: part_of_list(steering.runtimes.fitted(batch), worker, workers))
        self._ratios_before = deque(task.position.ratios)
        self._coverage = PairCoverage(task.position.coverage)
        self._cases_left = task.cases
        self._cases_done = 0
        self._canary_due = True

    def run(self) -> None:
        first, workers = self._task.position.round, self._task.plan.workers
        for number, round_seed in enumerate(round_seeds(self._task.plan.seed)):
            if number < first or (number - first) % workers:
                continue
            self._round(number, round_seed)
            if self._task.one_round or self._is_over():
                return

    def _is_over(self) -> bool:
        if self._memory.is_full or (self._cases_left is not None and self._cases_left <= 0):
            return True
        return self._task.deadline is not None and time.time() >= self._task.deadline

    def _round(self, number: int, round_seed: int) -> None:
        self._cases_done, self._canary_due, cut_short = 0, True, False

        def run_batch(batch: Batch) -> float:
            return max([self._run_case(case) for case in batch], default=0.0)

        self._write(RoundStarted(number, round_seed, time.time()))
        try:
            draw_round(number, round_seed, self._batches, self._coverage, run_batch, self._steering)
        except _Enough:
            cut_short = True
        self._write(RoundEnded(number, self._cases_done, time.time(), len(self._coverage), cut_short))

    def _run_case(self, case: Case) -> float:
        """Run a case unless an earlier process has; return its largest error in units of its bound."""
        if not self._ratios_before and self._is_over():
            raise _Enough
        self._coverage.add(case.config)
        worst, already_ended = 0.0, None
        if self._ratios_before:
            worst = self._ratios_before.popleft()
            already_ended = None if self._ratios_before else self._ended_on_last(case)
            if already_ended is None:
                return worst
        for event in self._memory.watch(self._checker.events(case, already_ended=already_ended)):
            self._write(event)
            if isinstance(event, BackendEnded):
                worst = max(worst, event.worst_ratio)
        if self._canary_due and (sighting := plant(case)):
            self._write(sighting)
            self._canary_due = False
        self._cases_done += 1
        if self._cases_left is not None:
            self._cases_left -= 1
        return worst

    def _ended_on_last(self, case: Case) -> list[str] | None:
        """Return the backends that have run the last case that has begun; ``None`` where that case is over."""
        before, strategy = self._task.position, self._task.plan.strategy
        if str(case) != before.case:
            end(1, f"the strategy {strategy!r} draws {case} where it drew {before.case} before: it has changed")
        return before.ended if before.in_flight else None
