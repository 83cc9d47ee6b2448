"""The child's side of a campaign: a process that draws and checks rounds, or answers a supervisor's questions.

Messages between the two are JSON; nothing is pickled beside the bytes themselves.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path

import msgspec
import numpy as np
from hypothesis.strategies import SearchStrategy

from convfuzz.backends import Backend, resolve_all
from convfuzz.canary import plant
from convfuzz.case import Case
from convfuzz.checking import Checker, fold_check
from convfuzz.drawing import Batch, PairCoverage, draw_round, round_seeds
from convfuzz.errors import ConvfuzzError
from convfuzz.events import BackendEnded, Event, RoundEnded, RoundStarted
from convfuzz.findings import Element, Finding
from convfuzz.journal import JournalWriter
from convfuzz.judging import Judge, comparable
from convfuzz.ledger import Entry, Ledger
from convfuzz.plugins import load_strategy
from convfuzz.records import Real, decode, encode
from convfuzz.reproduction import reproduction_script
from convfuzz.tensors import make_tensors

_WORST_ELEMENTS = 8


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is to do: rounds ``first_round``, ``first_round + workers``, … of the campaign with ``seed``.

    Where an earlier process did a part of its first round, ``passed`` holds the largest error of each case of that part, in
    units of its bound; these are drawn and passed over. It goes on with the next one behind the backend ``after``, in which
    that process died, and ends after ``cases`` more or at ``deadline`` (seconds since the epoch). ``met`` is the coverage
    of pairs when the first round began. ``quarantine`` holds the ledger's entries that keep cases from backends.
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
    after: str | None = None
    cases: int | None = None
    deadline: float | None = None
    quarantine: tuple[Entry, ...] = ()


def work(assignment: bytes) -> None:
    """Carry out an :class:`Assignment`; the entry point of a worker process."""
    task = decode(assignment, Assignment)
    _detach(Path(task.directory, f"worker-{task.worker}.log"))
    checker = Checker(resolve_all(task.backends), interruptible=False, ledger=Ledger(task.quarantine))
    batches = load_strategy(task.strategy)
    with JournalWriter(Path(task.directory), task.worker) as journal:
        _Rounds(task, checker, batches, journal.write).run()


class _Enough(KeyboardInterrupt):
    """Ends Hypothesis's run at once; derived from KeyboardInterrupt so that it is neither caught nor shrunk."""


class _Rounds:
    """The rounds of one worker."""

    def __init__(self, task: Assignment, checker: Checker, batches: SearchStrategy[Batch], write: Callable[[Event], None]) -> None:
        self._task, self._checker, self._batches, self._write = task, checker, batches, write
        self._passed = deque(task.passed)
        self._coverage = PairCoverage(task.met)
        self._after = task.after
        self._left = task.cases

    def run(self) -> None:
        task = self._task
        for number, round_seed in enumerate(round_seeds(task.seed)):
            if number < task.first_round or (number - task.first_round) % task.workers:
                continue
            self._round(number, round_seed)
            if self._is_over():
                return

    def _is_over(self) -> bool:
        if self._left is not None and self._left <= 0:
            return True
        return self._task.deadline is not None and time.time() >= self._task.deadline

    def _round(self, number: int, round_seed: int) -> None:
        done, canary_due = 0, True

        def run_batch(batch: Batch) -> float:
            nonlocal done, canary_due
            worst = 0.0
            for case in batch:
                if not self._passed and self._is_over():
                    raise _Enough
                self._coverage.add(case.config)
                if self._passed:
                    worst = max(worst, self._passed.popleft())
                    continue
                for event in self._checker.events(case, after=self._after):
                    self._write(event)
                    if isinstance(event, BackendEnded):
                        worst = max(worst, event.worst_ratio)
                self._after = None
                if canary_due and (sighting := plant(case)):
                    self._write(sighting)
                    canary_due = False
                done += 1
                if self._left is not None:
                    self._left -= 1
            return worst

        self._write(RoundStarted(number, round_seed, time.time()))
        with contextlib.suppress(_Enough):
            draw_round(number, round_seed, self._batches, self._coverage, run_batch)
        self._write(RoundEnded(number, done, time.time(), len(self._coverage)))


# -- answering ------------------------------------------------------------------------------------------------------------


class Opened(msgspec.Struct, frozen=True, tag=True):
    """The backends are loaded: their names and versions."""

    backends: list[str]
    versions: dict[str, dict[str, str]]


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The backends or the strategy cannot be loaded: why."""

    message: str


class Evaluate(msgspec.Struct, frozen=True, tag=True):
    """Ask for one backend's result on one case."""

    case: str
    backend: str


class CheckAll(msgspec.Struct, frozen=True, tag=True):
    """Ask for the results of all backends on one case."""

    case: str


class Checked(msgspec.Struct, frozen=True, tag=True):
    """The results of one case, as :class:`~convfuzz.checking.CheckResult` has them."""

    results: tuple[BackendEnded, ...]
    pairs: tuple[tuple[str, str, Real], ...] = ()
    skipped: str = ""


class Document(msgspec.Struct, frozen=True, tag=True):
    """Ask for the evidence of a finding."""

    finding: Finding


class Evidence(msgspec.Struct, frozen=True, tag=True):
    """The worst elements of a finding's minimal case and its reproduction script."""

    elements: list[Element]
    script: str | None


Question = Evaluate | CheckAll | Document


def answer(connection: Connection, names: list[str], strategy: str | None, log: str, quarantine: bytes) -> None:
    """Load the backends called ``names``, then answer questions until the connection closes; a process's entry point.

    A ``strategy`` is only looked up, so that a campaign learns at once that there is none of that name. ``quarantine`` holds
    the ledger's entries that keep cases from backends, as JSON.
    """
    _detach(Path(log))
    ledger = Ledger(decode(quarantine, tuple[Entry, ...]))
    try:
        backends = {backend.name: backend for backend in resolve_all(names)}
        if strategy is not None:
            load_strategy(strategy)
    except ConvfuzzError as error:
        connection.send_bytes(encode(Refused(str(error))))
        return
    connection.send_bytes(encode(Opened(list(backends), {n: {k: str(v) for k, v in b.versions.items()} for n, b in backends.items()})))
    while True:
        try:
            question: Question = decode(connection.recv_bytes(), Question)  # type: ignore[arg-type]
        except (EOFError, OSError):
            return
        if isinstance(question, Document):
            finding = question.finding
            backend = backends[finding.backend]
            elements = worst_elements(Case.parse(finding.case), backend, finding.in_pass) if finding.discrepancy else []
            connection.send_bytes(encode(Evidence(elements, reproduction_script(finding, backend))))
        else:
            case = Case.parse(question.case)
            asked = [backends[question.backend]] if isinstance(question, Evaluate) else list(backends.values())
            result = fold_check(case, Checker(asked, interruptible=False, repeated_share=1, ledger=ledger).events(case))
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


# -- the process ------------------------------------------------------------------------------------------------------------


def _detach(log: Path) -> None:
    """Make this process the campaign's alone: Ctrl-C is the supervisor's, output goes to ``log``, crashes leave a trace."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    faulthandler.enable(file=sys.__stderr__ or 2, all_threads=False)
    threading.Thread(target=_die_with_the_supervisor, daemon=True).start()


def _die_with_the_supervisor() -> None:
    """End this process when the supervisor is gone, whatever a kernel is doing."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)
