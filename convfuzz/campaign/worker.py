"""The child's side of a campaign: a process that draws and checks rounds, or answers a supervisor's questions.

Messages between the two are JSON; nothing is pickled beside the bytes themselves.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec
from hypothesis.strategies import SearchStrategy

from convfuzz.backends import resolve_all
from convfuzz.campaign.rounds import Batch, PairCoverage, draw_round, round_seeds
from convfuzz.case import Case
from convfuzz.checking.canary import plant
from convfuzz.checking.checker import Checker
from convfuzz.checking.shares import Shares
from convfuzz.entry_points import load_strategy
from convfuzz.processes.child_setup import CANNOT_WRITE, FULL, Descriptors, Memory, detach, end, leave
from convfuzz.record.events import BackendEnded, Event, RoundEnded, RoundStarted
from convfuzz.record.journal import JournalWriter
from convfuzz.record.ledger import Entry, Ledger
from convfuzz.system.json_records import Real, decode


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is to do: rounds ``first_round``, ``first_round + workers``, … of the campaign with ``seed``.

    Where earlier processes did a part of its first round, ``passed`` holds the largest error of each case of that part, in
    units of its bound; these are drawn and passed over. The last of them was ``last``. Where it is not over, ``through``
    names the backends that have ended, and the worker goes on with it; ``None`` goes on with the next. ``met`` is the
    coverage of pairs when the first round began. ``quarantine`` holds the ledger's entries that keep cases from backends.
    It ends after ``cases``, that one included, at ``deadline`` (seconds since the epoch), or after the one round where it is
    to do ``one_round``, and gives way to another process once its resident memory is near ``memory_limit`` bytes.
    """

    directory: str
    worker: str
    backends: list[str]
    strategy: str
    seed: int
    first_round: int
    workers: int = 1
    passed: list[Real] = []
    met: list[tuple[str, str, int]] = []
    last: str = ""
    through: list[str] | None = None
    cases: int | None = None
    deadline: float | None = None
    one_round: bool = False
    memory_limit: int = 4 * 2**30
    quarantine: tuple[Entry, ...] = ()


def work(assignment: bytes) -> None:
    """Carry out an :class:`Assignment`; the entry point of a worker process, which it ends."""
    task = decode(assignment, Assignment)
    detach(Path(task.directory, f"worker-{task.worker}.log"))
    backends = resolve_all(task.backends)
    checker = Checker(backends, interruptible=False, ledger=Ledger(task.quarantine), shares=Shares(backends))
    batches = load_strategy(task.strategy)
    journal = _Journal(JournalWriter(Path(task.directory), task.worker))
    memory = Memory(task.memory_limit)
    _Rounds(task, checker, batches, journal.write, memory).run()
    leave(FULL if memory.is_full else 0)


class _Journal:
    """The worker's own journal, in a process that it shares with the backends under test.

    A worker whose journal cannot be written must end at once: an exception would be one more to Hypothesis.
    """

    def __init__(self, writer: JournalWriter) -> None:
        self._writer = writer
        self._descriptors = Descriptors(writer.fileno())

    def write(self, event: Event) -> None:
        if isinstance(event, BackendEnded):
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
    ) -> None:
        self._task, self._checker, self._batches, self._write, self._memory = task, checker, batches, write, memory
        self._passed = deque(task.passed)
        self._coverage = PairCoverage(task.met)
        self._left = task.cases
        self._done = 0
        self._canary_due = True

    def run(self) -> None:
        task = self._task
        for number, round_seed in enumerate(round_seeds(task.seed)):
            if number < task.first_round or (number - task.first_round) % task.workers:
                continue
            self._round(number, round_seed)
            if task.one_round or self._is_over():
                return

    def _is_over(self) -> bool:
        if self._memory.is_full or (self._left is not None and self._left <= 0):
            return True
        return self._task.deadline is not None and time.time() >= self._task.deadline

    def _round(self, number: int, round_seed: int) -> None:
        self._done, self._canary_due, cut_short = 0, True, False

        def run_batch(batch: Batch) -> float:
            return max([self._run_case(case) for case in batch], default=0.0)

        self._write(RoundStarted(number, round_seed, time.time()))
        try:
            draw_round(number, round_seed, self._batches, self._coverage, run_batch)
        except _Enough:
            cut_short = True
        self._write(RoundEnded(number, self._done, time.time(), len(self._coverage), cut_short))

    def _run_case(self, case: Case) -> float:
        """Run a case, or pass over it; return its largest error in units of its bound."""
        if not self._passed and self._is_over():
            raise _Enough
        self._coverage.add(case.config)
        worst, through = 0.0, None
        if self._passed:
            worst = self._passed.popleft()
            through = None if self._passed else self._through(case)
            if through is None:
                return worst
        for event in self._memory.watch(self._checker.events(case, through=through)):
            self._write(event)
            if isinstance(event, BackendEnded):
                worst = max(worst, event.worst_ratio)
        if self._canary_due and (sighting := plant(case)):
            self._write(sighting)
            self._canary_due = False
        self._done += 1
        if self._left is not None:
            self._left -= 1
        return worst

    def _through(self, case: Case) -> list[str] | None:
        """Return the backends that are through with the last case that has begun, ``None`` where it is over."""
        if str(case) != self._task.last:
            end(1, f"the strategy {self._task.strategy!r} draws {case} where it drew {self._task.last} before: it has changed")
        return self._task.through
