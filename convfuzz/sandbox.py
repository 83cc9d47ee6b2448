"""A process that evaluates single cases for the supervisor and may die of them: a crash is an answer like any other."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

from convfuzz.case import Case
from convfuzz.checking import CheckResult
from convfuzz.errors import BackendError
from convfuzz.events import BackendEnded
from convfuzz.findings import Finding
from convfuzz.judging import Verdict
from convfuzz.ledger import Entry
from convfuzz.records import decode, encode
from convfuzz.worker import CheckAll, Checked, Document, Evaluate, Evidence, Opened, Question, Refused, answer

_LOADING_SECONDS = 300.0
_MEMORY_SECONDS = 0.25


@dataclass(frozen=True)
class _Death:
    """What a child died of instead of answering, and after how many seconds."""

    verdict: Verdict
    reason: str
    seconds: float


class Sandbox:
    """Evaluates cases in a child process, which is replaced when it dies, hangs or is closed.

    What the ledger's entries in ``quarantine`` keep from a backend comes back as ``unsupported``, without having run.
    """

    def __init__(
        self,
        backends: list[str],
        strategy: str | None,
        log: Path,
        *,
        case_timeout: float = 20.0,
        memory_limit: int = 4 * 2**30,
        quarantine: Sequence[Entry] = (),
    ) -> None:
        self._context = process_context(backends)
        self._backends, self._strategy, self._log = backends, strategy, log
        self._quarantine = encode(quarantine)
        self._case_timeout, self._memory_limit = case_timeout, memory_limit
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None

    def open(self) -> Opened:
        """Start the child and have it load the backends.

        Raises:
            BackendError: a backend or the strategy is unknown or cannot be loaded, or loading it ends the process.
        """
        ours, theirs = self._context.Pipe()
        arguments = (theirs, self._backends, self._strategy, str(self._log), self._quarantine)
        process: BaseProcess
        try:
            process = self._started(arguments)
        except (ConnectionError, EOFError):  # loading has ended the forkserver; a process of its own can say what it was
            process = multiprocessing.get_context("spawn").Process(target=answer, args=arguments, daemon=True)
            process.start()
        self._process = process
        theirs.close()
        self._connection = ours
        try:
            if not ours.poll(_LOADING_SECONDS):
                raise BackendError(f"loading {', '.join(self._backends)} takes more than {_LOADING_SECONDS:g} s")
            opened: Opened | Refused = decode(ours.recv_bytes(), Opened | Refused)  # type: ignore[arg-type]
        except EOFError:
            why = self._why()
            raise BackendError(f"loading {', '.join(self._backends)} ended the process: {why}; see {self._log}") from None
        if isinstance(opened, Refused):
            self.close()
            raise BackendError(opened.message)
        return opened

    def _started(self, arguments: tuple[Any, ...]) -> BaseProcess:
        process = self._context.Process(target=answer, args=arguments, daemon=True)
        process.start()
        return process

    def evaluate(self, case: Case, backend: str) -> BackendEnded:
        """Run ``backend`` on ``case``; what kills the child comes back as ``crash``, what outlasts the limit as ``timeout``."""
        reply = self._ask(Evaluate(str(case), backend))
        if isinstance(reply, _Death):
            return BackendEnded(backend=backend, verdict=reply.verdict, seconds=reply.seconds, reason=reply.reason)
        checked = decode(reply, Checked)
        if not checked.results:
            return BackendEnded(backend=backend, verdict=Verdict.UNSUPPORTED, seconds=0.0, reason=checked.skipped)
        return checked.results[0]

    def check(self, case: Case) -> CheckResult:
        """Run every backend on ``case``; where one kills the child, each on its own and without pairwise discrepancies."""
        reply = self._ask(CheckAll(str(case)))
        if not isinstance(reply, _Death):
            checked = decode(reply, Checked)
            return CheckResult(case, checked.results, checked.pairs, checked.skipped)
        return CheckResult(case, tuple(self.evaluate(case, backend) for backend in self._backends), ())

    def document(self, finding: Finding) -> Evidence:
        """Return the worst elements and the script of ``finding``; nothing where gathering them kills the child."""
        reply = self._ask(Document(finding))
        return Evidence([], None) if isinstance(reply, _Death) else decode(reply, Evidence)

    def close(self) -> None:
        """End the child."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._process = self._connection = None

    def _ask(self, question: Question) -> bytes | _Death:
        if self._connection is None:
            self.open()
        assert self._connection is not None, "open() connects"
        began = time.monotonic()
        verdict = Verdict.CRASH
        try:
            self._connection.send_bytes(encode(question))
            while time.monotonic() - began < self._case_timeout:
                if self._connection.poll(min(_MEMORY_SECONDS, self._case_timeout)):
                    return self._connection.recv_bytes()
                beyond = beyond_memory(self._process, self._memory_limit)
                if beyond:
                    verdict, why = Verdict.MEMORY, beyond
                    break
            else:
                verdict, why = Verdict.TIMEOUT, f"no result after {self._case_timeout:g} s"
        except (EOFError, OSError):
            why = self._why()
        except BaseException:
            self.close()  # an answer that nobody waits for any more must not be taken for the next one's
            raise
        self.close()
        return _Death(verdict, why, time.monotonic() - began)

    def _why(self) -> str:
        assert self._process is not None, "a child that answered exists"
        self._process.join(5.0)
        return death(self._process.exitcode)


def process_context(backends: Sequence[str]) -> ForkServerContext:
    """Return the context in which processes start: a forkserver that has loaded what ``backends`` need.

    It is started with the first process; a later call with other backends does not make it load more.
    """
    os.environ["CONVFUZZ_PRELOAD"] = ",".join(backends)
    for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(threads, "1")  # read when a library loads: one thread per worker unless the user says otherwise
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["convfuzz.preload"])
    return context


def beyond_memory(process: BaseProcess | None, limit: int) -> str | None:
    """Say by how much the resident memory of ``process`` exceeds ``limit`` bytes; ``None`` when it does not."""
    if process is None or process.pid is None:
        return None
    try:
        resident = psutil.Process(process.pid).memory_info().rss
    except psutil.Error:
        return None
    return f"resident memory of {resident / 2**30:.1f} GiB, the limit is {limit / 2**30:.1f} GiB" if resident > limit else None


def death(exitcode: int | None) -> str:
    """Say in words how a process ended."""
    if exitcode is None:
        return "it stopped answering"
    if exitcode >= 0:
        return f"the process ended with exit status {exitcode}"
    try:
        return f"the process was killed by {signal.Signals(-exitcode).name}"
    except ValueError:
        return f"the process was killed by signal {-exitcode}"
