"""A sandbox: a child process that evaluates single cases, and whose death is an answer like any other."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import msgspec

from convfuzz.case import Case
from convfuzz.checking.calls import JUDGING_SECONDS
from convfuzz.checking.case_run import REPEAT_ONE_IN
from convfuzz.checking.checker import CheckResult
from convfuzz.checking.limits import Limits, tensor_nbytes
from convfuzz.errors import BackendError
from convfuzz.processes.endings import beyond_memory, death, kill_with_children, overdue, resident
from convfuzz.processes.evaluator import (
    Ask,
    Checked,
    Document,
    Evidence,
    Explain,
    Explained,
    Judging,
    Locate,
    Located,
    Measure,
    Measured,
    Opened,
    Question,
    Refused,
    Reveal,
    Revealed,
    Setup,
    answer,
    notice_of,
)
from convfuzz.processes.forkserver import STARTING, prepare_forkserver
from convfuzz.processes.output_log import OutputLog
from convfuzz.processes.overruns import may_be_overrun, overrun
from convfuzz.processes.pace import Pace
from convfuzz.record.arithmetic import Arithmetic
from convfuzz.record.confirmation import Step
from convfuzz.record.error_map import ErrorMap
from convfuzz.record.events import BackendEnded
from convfuzz.record.finding import Finding
from convfuzz.record.ledger import Entry
from convfuzz.reproduction import draft_of_finding
from convfuzz.system.interrupts import interrupts_held
from convfuzz.system.json_records import decode, encode
from convfuzz.tensors.guards import Guards
from convfuzz.verdicts import Verdict

_LOADING_SECONDS = 300.0
_ENDING_SECONDS = 5.0
"""How long a child that has closed its connection may take to end."""
_TIMES_TENSORS = 8
"""A hasty run may take so many times a case's tensors and results besides: operands are kept, guarded and computed again to judge it."""
_FOR_PROBES = 0.8
"""The part of its time that a child measures arithmetic in; what is under way when it is over may take the rest."""
WATCH_SECONDS = 0.05
"""The time between two looks at a child: a backend can fill a gigabyte in a few tenths of a second."""


@dataclass(frozen=True)
class _Death:
    """How a child died instead of answering, and after how many seconds."""

    verdict: Verdict
    reason: str
    seconds: float

    def of(self, backend: str) -> BackendEnded:
        """Return it as the result of the backend that ran."""
        return BackendEnded(backend=backend, verdict=self.verdict, seconds=self.seconds, reason=self.reason)


class Sandbox:
    """Evaluates cases in a child process, which is replaced when it dies, hangs or is closed.

    A thread may have one of its own; ``meanwhile`` then runs in that thread, and what it raises ends the child.
    Making one sets this process's environment, see :func:`~convfuzz.processes.forkserver.prepare_forkserver`.

    Args:
        backends: the names of the backends that the child loads.
        strategy: a search space that has to exist as well, if any, when the first child opens.
        log: the file that keeps what the child prints.
        limits: what a case may take; a child that exceeds them is killed.
        meanwhile: is called many times a second while the child loads and while it is at work.
        quarantine: the ledger's entries that keep cases from backends; such a case is ``unsupported`` and is not run.
    """

    def __init__(
        self,
        backends: list[str],
        strategy: str | None,
        log: Path,
        *,
        limits: Limits | None = None,
        meanwhile: Callable[[], None] = lambda: None,
        quarantine: Sequence[Entry] = (),
    ) -> None:
        self._limits = limits or Limits()
        self._context = prepare_forkserver(backends, self._limits.memory)
        self._backends, self._log, self._meanwhile = backends, OutputLog(log), meanwhile
        self._setup = Setup(backends=backends, strategy=strategy, log=str(log), limits=self._limits, quarantine=tuple(quarantine))
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._paces: defaultdict[str, Pace] = defaultdict(Pace)
        self._seconds, self._growth = 0.0, 0  # what the latest answer took, and by how many bytes the child grew in it
        self.versions: dict[str, dict[str, str]] = {}
        """The libraries behind each backend with their versions, once the child has loaded them."""

    def open(self) -> Opened:
        """Start the child and have it load the backends.

        Raises:
            BackendError: a backend or the strategy is unknown or cannot be loaded, or loading it ends the process.
        """
        ours, theirs = self._context.Pipe()
        arguments = (theirs, encode(self._setup))
        with STARTING:
            process: BaseProcess = self._context.Process(target=answer, args=arguments, daemon=True)
            try:
                process.start()
            except (ConnectionError, EOFError):  # loading has ended the forkserver; a process of its own can say what it was
                process = multiprocessing.get_context("spawn").Process(target=answer, args=arguments, daemon=True)
                process.start()
        self._process = process
        theirs.close()
        self._connection = ours
        try:
            return self._opened(ours)
        except BaseException:
            self.close()  # a late message must not be taken for an answer
            raise

    def _opened(self, connection: Connection) -> Opened:
        names = ", ".join(self._backends)
        began = time.monotonic()
        while not connection.poll(WATCH_SECONDS):
            if time.monotonic() - began > _LOADING_SECONDS:
                raise BackendError(f"loading {names} takes more than {_LOADING_SECONDS:g} s")
            self._meanwhile()
        try:
            opened: Opened | Refused = decode(connection.recv_bytes(), Opened | Refused)  # type: ignore[arg-type]
        except EOFError:
            last = self._log.last_words()
            said = f"; its last words:\n{last}" if last else "; it printed nothing"
            raise BackendError(f"loading {names} ended the process: {self._why()}{said}") from None
        if isinstance(opened, Refused):
            raise BackendError(opened.message)
        self._setup = msgspec.structs.replace(self._setup, strategy=None)  # to look it up again reads what every package declares
        self.versions = opened.versions
        return opened

    def evaluate(self, case: Case, backend: str, *, hasty: bool = False) -> BackendEnded:
        """Run ``backend`` on ``case``: the verdict is ``crash``, ``timeout`` or ``memory`` where that ends the child.

        In a ``hasty`` run a call hangs once it takes far longer than the backend's other calls in this sandbox have taken, and fills the
        memory once the child has grown by far more than in those.
        """
        pace = self._paces[backend]
        patience = min(pace.patience, self._limits.case_timeout) if hasty else None
        growth = pace.most_growth + _TIMES_TENSORS * tensor_nbytes(case) if hasty else math.inf
        reply = self._ask(Ask(str(case), [backend]), patience, growth)
        if isinstance(reply, _Death):
            return reply.of(backend)
        pace.add(self._seconds, self._growth)
        checked = decode(reply, Checked)
        if not checked.results:
            return BackendEnded(backend=backend, verdict=Verdict.UNSUPPORTED, seconds=0.0, reason=checked.skipped)
        return checked.results[0]

    def rerun(self, case: Case, backend: str, preceding: Sequence[Step], seconds: float, *, hasty: bool = False) -> BackendEnded | None:
        """Run ``backend`` on ``case`` as :meth:`evaluate` does, in a child that has run ``preceding`` and nothing else.

        Returns:
            ``None`` where the child does not get that far: it cannot be started, or ``preceding`` kills it or takes more than
            ``seconds``.
        """
        self.close()
        try:
            self.open()
        except BackendError:
            return None
        try:
            return self.evaluate(case, backend, hasty=hasty) if self._run(preceding, seconds) else None
        finally:
            if preceding:
                self.close()  # no other result may depend on it

    def _run(self, preceding: Sequence[Step], seconds: float) -> bool:
        """Run the steps as a worker does, those on one case together; return whether the child survives them in time."""
        began = time.monotonic()
        for line, steps in groupby(preceding, key=lambda step: step.case):
            if time.monotonic() - began > seconds:
                return False
            if isinstance(self._ask(Ask(line, [step.backend for step in steps], REPEAT_ONE_IN)), _Death):
                return False
        return True

    def check(self, case: Case) -> CheckResult:
        """Run every backend on ``case``; where one of several kills the child, each runs alone, and outputs are not compared in pairs."""
        reply = self._ask(Ask(str(case), self._backends))
        if not isinstance(reply, _Death):
            checked = decode(reply, Checked)
            return CheckResult(case, checked.results, checked.pairs, checked.skipped)
        if len(self._backends) == 1:
            results = [reply.of(self._backends[0])]
        else:
            results = [self.evaluate(case, backend) for backend in self._backends]
        return CheckResult(case, tuple(self.placed(case, result) for result in results), ())

    def placed(self, case: Case, result: BackendEnded) -> BackendEnded:
        """Return the result of a kernel that a guard page has ended with what it overran in its reason, found out by running it again."""
        if not may_be_overrun(result):
            return result

        def run(guards: Guards) -> BackendEnded:
            reply = self._ask(Ask(str(case), [result.backend], guards=guards))
            if isinstance(reply, _Death):
                return reply.of(result.backend)
            return next(iter(decode(reply, Checked).results), result)

        reply = self._ask(Measure(str(case), result.backend))
        where = "" if isinstance(reply, _Death) else overrun(run, decode(reply, Measured))
        return msgspec.structs.replace(result, reason=f"{where}: {result.reason}") if where else result

    def document(self, finding: Finding) -> Evidence:
        """Return the worst elements and the script of ``finding``; nothing where gathering them kills the child.

        Where the finding depends on what ran before it, that runs first.
        """
        preceding = finding.confirmation.preceding
        if preceding:
            self.close()
        try:
            reply = self._ask(Document(finding)) if self._run(preceding, math.inf) else _Death(Verdict.CRASH, "", 0.0)
        finally:
            if preceding:
                self.close()
        return Evidence([], None, draft_of_finding(finding)) if isinstance(reply, _Death) else decode(reply, Evidence)

    def locate(self, finding: Finding) -> ErrorMap | None:
        """Return where the errors of ``finding`` are on the case that it was found on; ``None`` where they take other runs first.

        This is a question of its own, so that a backend that dies of that case costs no other evidence.
        """
        if finding.discrepancy is None or finding.confirmation.preceding:
            return None
        reply = self._ask(Locate(finding))
        return None if isinstance(reply, _Death) else decode(reply, Located).error_map

    def explain(self, case: Case, backend: str) -> list[str]:
        """Return the mistakes that explain every element that ``backend`` computes for the configuration of ``case``.

        See :mod:`convfuzz.checking.mechanisms`; there is none where it kills the child.
        """
        reply = self._ask(Explain(str(case), backend))
        return [] if isinstance(reply, _Death) else decode(reply, Explained).mistakes

    def reveal(self, backend: str, seconds: float) -> Arithmetic:
        """Return what can be measured of a backend's arithmetic within so many seconds; the child ends where it takes longer."""
        reply = self._ask(Reveal(backend, _FOR_PROBES * seconds), seconds)
        if isinstance(reply, _Death):
            return Arithmetic(backend=backend, unmeasured=reply.reason)
        return decode(reply, Revealed).arithmetic

    def close(self) -> None:
        """End the child."""
        with interrupts_held():  # or it would be left half closed
            connection, process = self._connection, self._process
            self._process = self._connection = None
            if connection is not None:
                connection.close()
            if process is not None:
                kill_with_children(process)
                wait([process.sentinel])
                with STARTING:
                    process.join()

    def _ask(self, question: Question, patience: float | None = None, growth: float = math.inf) -> bytes | _Death:
        if self._connection is None:
            try:
                self.open()
            except BackendError as error:  # it did load before; the campaign continues without this answer
                return _Death(Verdict.UNSUPPORTED, str(error), 0.0)
        assert self._connection is not None, "open() connects"
        try:
            reply = self._reply(self._connection, question, patience, growth)
        except BaseException:
            self.close()  # a late answer must not be taken for that to the next question
            raise
        if isinstance(reply, _Death):
            self.close()
        return reply

    def _reply(self, connection: Connection, question: Question, patience: float | None, growth: float) -> bytes | _Death:
        case, limits, pid = _case_of(question), self._limits, self._process.pid if self._process else None
        if patience is None:
            patience = limits.case_timeout if case is None else limits.seconds_of(case)
        before = resident(pid)
        memory = int(min(limits.memory if case is None else limits.memory_of(case), before + growth))
        asked = began = time.monotonic()
        limit, is_compiling = patience, False
        with contextlib.suppress(OSError):  # a child that is gone is noticed below
            connection.send_bytes(encode(question))
        while (seconds := time.monotonic() - began) < limit:
            try:
                if connection.poll(min(WATCH_SECONDS, limit)):
                    reply = connection.recv_bytes()
                    notice = notice_of(reply)
                    if notice is None:
                        self._seconds, self._growth = time.monotonic() - asked, resident(pid) - before
                        return reply
                    began, is_compiling = time.monotonic(), False
                    if isinstance(notice, Judging):
                        limit = JUDGING_SECONDS if notice.begins else patience
                    else:  # with a limit of its own; the call then has all of its time
                        asked, is_compiling = began, notice.limit is not None
                        limit = patience if notice.limit is None else notice.limit
                    continue
            except (EOFError, OSError):
                return _Death(Verdict.CRASH, self._why(), seconds)
            self._log.limit()
            self._meanwhile()
            too_large = beyond_memory(pid, memory)
            if too_large:
                return _Death(Verdict.MEMORY, too_large, seconds)
        return _Death(Verdict.TIMEOUT, overdue(limit, is_compiling=is_compiling), seconds)

    def _why(self) -> str:
        process = self._process
        assert process is not None, "a child that answered exists"
        deadline = time.monotonic() + _ENDING_SECONDS
        wait([process.sentinel], _ENDING_SECONDS)
        while True:  # the sentinel says that the process closes its files; its exit status comes a moment later
            with STARTING:
                process.join(0.0)
                exitcode = process.exitcode
            if exitcode is not None or time.monotonic() > deadline:
                return death(exitcode)
            time.sleep(_ENDING_SECONDS / 500)


def _case_of(question: Question) -> Case | None:
    """Return the case that a question is about, if it is about one."""
    match question:
        case Ask(case=line) | Explain(case=line) | Measure(case=line):
            return Case.parse(line)
        case Document(finding=finding) | Locate(finding=finding):
            return Case.parse(finding.case)
        case _:
            return None
