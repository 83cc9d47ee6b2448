"""The child's side of a campaign: a process that draws and checks rounds, or answers a supervisor's questions.

Messages between the two are JSON; nothing is pickled beside the bytes themselves.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
import numpy as np
from hypothesis.strategies import SearchStrategy

from convfuzz.backends import Backend, resolve_all
from convfuzz.canary import plant
from convfuzz.case import Case
from convfuzz.checking import Checker, fold_check
from convfuzz.child import CANNOT_WRITE, FULL, Descriptors, Memory, detach, end, leave
from convfuzz.drawing import Batch, PairCoverage, draw_round, round_seeds
from convfuzz.error_map import ErrorMap
from convfuzz.errors import ConvfuzzError
from convfuzz.events import BackendEnded, Event, RoundEnded, RoundStarted
from convfuzz.evidence import locate
from convfuzz.findings import Element, Finding
from convfuzz.journal import JournalWriter
from convfuzz.judging import Judge, comparable
from convfuzz.ledger import Entry, Ledger
from convfuzz.plugins import load_strategy
from convfuzz.records import Real, decode, encode
from convfuzz.reproduction import Draft, draft, reproduction_script
from convfuzz.shares import Shares
from convfuzz.tensors import make_tensors

_WORST_ELEMENTS = 8


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


# -- answering ------------------------------------------------------------------------------------------------------------


class Opened(msgspec.Struct, frozen=True, tag=True):
    """The backends are loaded: their names and versions."""

    backends: list[str]
    versions: dict[str, dict[str, str]]


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The backends or the strategy cannot be loaded: why."""

    message: str


class Ask(msgspec.Struct, frozen=True, tag=True):
    """Ask for the results of some backends on one case; one case in ``repeated_share`` runs twice."""

    case: str
    backends: list[str]
    repeated_share: int = 1


class Checked(msgspec.Struct, frozen=True, tag=True):
    """The results of one case, as :class:`~convfuzz.checking.CheckResult` has them."""

    results: tuple[BackendEnded, ...]
    pairs: tuple[tuple[str, str, Real], ...] = ()
    skipped: str = ""


class Document(msgspec.Struct, frozen=True, tag=True):
    """Ask for the evidence of a finding."""

    finding: Finding


class Evidence(msgspec.Struct, frozen=True, tag=True):
    """The worst elements of a finding's minimal case, its reproduction script, and what a bug report says of it."""

    elements: list[Element]
    script: str | None
    draft: Draft


class Locate(msgspec.Struct, frozen=True, tag=True):
    """Ask where in the failing result of ``finding``, on the case that it was found on, the errors sit."""

    finding: Finding


class Located(msgspec.Struct, frozen=True, tag=True):
    """The map of the errors, where there are any to be seen."""

    error_map: ErrorMap | None


Question = Ask | Document | Locate


def answer(connection: Connection, names: list[str], strategy: str | None, log: str, quarantine: bytes) -> None:
    """Load the backends called ``names``, then answer questions until the connection closes; a process's entry point.

    A ``strategy`` is only looked up, so that a campaign learns at once that there is none of that name. ``quarantine`` holds
    the ledger's entries that keep cases from backends, as JSON.
    """
    detach(Path(log))
    ledger = Ledger(decode(quarantine, tuple[Entry, ...]))
    try:
        backends = {backend.name: backend for backend in resolve_all(names)}
        if strategy is not None:
            load_strategy(strategy)
    except ConvfuzzError as error:
        connection.send_bytes(encode(Refused(str(error))))
        return
    connection.send_bytes(encode(Opened(list(backends), {n: {k: str(v) for k, v in b.versions.items()} for n, b in backends.items()})))
    descriptors = Descriptors(connection.fileno())
    while True:
        try:
            question: Question = decode(connection.recv_bytes(), Question)  # type: ignore[arg-type]
        except (EOFError, OSError):
            return
        if isinstance(question, Document):
            finding = question.finding
            backend = backends[finding.backend]
            elements = worst_elements(Case.parse(finding.case), backend, finding.in_pass) if finding.discrepancy else []
            connection.send_bytes(encode(Evidence(elements, reproduction_script(finding, backend), draft(finding, backend))))
        elif isinstance(question, Locate):
            finding = question.finding
            connection.send_bytes(encode(Located(locate(Case.parse(finding.first_case), backends[finding.backend], finding.in_pass))))
        else:
            case = Case.parse(question.case)
            asked = [backends[name] for name in question.backends]
            checker = Checker(asked, interruptible=False, repeated_share=question.repeated_share, ledger=ledger)
            result = fold_check(case, checker.events(case))
            descriptors.require()
            connection.send_bytes(encode(Checked(result.results, result.pairs, result.skipped)))


def worst_elements(case: Case, backend: Backend, in_pass: str) -> list[Element]:
    """Run ``case`` once more and return the elements of one pass that are furthest off."""
    tensors = make_tensors(case)
    try:
        output = backend.run(case, tensors)[in_pass]
    except Exception:  # noqa: BLE001 - it computed a moment ago; without its output there are no elements to show
        return []
    if output.shape != case.shape_of(in_pass):
        return []
    y, values = Judge(case, tensors).of(in_pass).expected.y, comparable(output)
    with np.errstate(all="ignore"):
        same = (values == y) | (np.isnan(values) & np.isnan(y))
        error = np.where(same, 0.0, np.nan_to_num(np.abs(values.astype(np.float64) - y), nan=np.inf)).reshape(-1)
    order = np.argsort(-error, kind="stable")[:_WORST_ELEMENTS]
    return [
        Element(tuple(int(i) for i in np.unravel_index(k, y.shape)), Real(y.reshape(-1)[k]), Real(values.reshape(-1)[k]))
        for k in order
        if error[k] > 0.0
    ]
