"""One worker's place in a campaign, as the supervisor sees it: its journal, its process, and who comes after it.

The supervisor writes nothing into a living worker's journal. When the process is gone, its orphaned start is closed
there with the verdict that its death is, so that the journal alone tells the whole story.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from convfuzz.case import Case
from convfuzz.drawing import PairCoverage
from convfuzz.errors import ConvfuzzError
from convfuzz.events import BackendEnded, BackendStarted, CaseStarted, Event, RoundEnded, RoundStarted
from convfuzz.journal import JournalTail, append_events
from convfuzz.judging import Verdict
from convfuzz.records import Real, encode
from convfuzz.sandbox import beyond_memory, death
from convfuzz.worker import Assignment, work

if TYPE_CHECKING:
    from convfuzz.campaign import Plan

_MEMORY_SECONDS = 0.25
_MOST_INTERNAL_DEATHS = 3
_LOG_LINES = 12


class Workplace:
    """A worker process and its replacements."""

    def __init__(
        self, context: ForkServerContext, plan: Plan, directory: Path, index: int, cases: int | None, deadline: float | None
    ) -> None:
        self._context, self._plan = context, plan
        self._assignment = Assignment(
            directory=str(directory), worker=str(index), backends=list(plan.backends), strategy=plan.strategy, seed=plan.seed,
            first_round=index, workers=plan.workers, cases=cases, deadline=deadline,
            quarantine=plan.ledger.about(plan.backends).quarantine,
        )  # fmt: skip
        self._log = directory / f"worker-{index}.log"
        self._tail = JournalTail(directory / f"journal-{index}.jsonl")
        self._process: BaseProcess | None = None
        self._running: str | None = None
        self._round = index
        self._ratios: list[float] = []
        self._coverage = PairCoverage()
        self._met_before = self._coverage.counts()
        self._done = 0
        self._killed: tuple[Verdict, str] | None = None
        self._internal_deaths = 0
        self._active = self._memory_looked_at = time.monotonic()
        self.case: Case | None = None
        self.is_open = True
        self._start()

    def poll(self) -> Iterator[Event]:
        """Yield the new events; replace the worker where it died, with the events that its death amounts to.

        Raises:
            ConvfuzzError: the worker keeps dying outside of any backend.
        """
        if not self.is_open:
            yield from self._read()
            return
        assert self._process is not None, "an open workplace has a process"
        alive = self._process.is_alive()  # before reading: what a dead process wrote is all there
        yield from self._read()
        if alive:
            self._watch()
            return
        self._process.join()
        if self._process.exitcode == 0 and self._running is None and self._killed is None:
            self.is_open = False
            return
        yield from self._bury()

    def close(self) -> None:
        """End the worker; its journal stays as it is."""
        self.is_open = False
        if self._process is not None:
            self._process.kill()
            self._process.join()

    # -- following ----------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._process = self._context.Process(target=work, args=(encode(self._assignment),), daemon=True)
        self._process.start()
        self._active = time.monotonic()

    def _read(self) -> Iterator[Event]:
        for event in self._tail.read():
            self._active = time.monotonic()
            match event:
                case RoundStarted(number=number):
                    if number != self._round:
                        self._begin_round(number)
                case CaseStarted(case=line):
                    self.case = Case.parse(line)
                    self._coverage.add(self.case.config)
                    self._ratios.append(0.0)
                    self._done += 1
                    self._running = None
                case BackendStarted(backend=name):
                    self._running = name
                case BackendEnded():
                    self._ratios[-1] = max(self._ratios[-1], event.worst_ratio)
                    self._running = None
                    self._internal_deaths = 0
                case RoundEnded(number=number):
                    self._begin_round(number + self._plan.workers)
                case _:
                    pass
            yield event

    def _begin_round(self, number: int) -> None:
        self._round, self._ratios, self._met_before = number, [], self._coverage.counts()

    def _watch(self) -> None:
        """Kill a worker whose backend hangs or whose memory grows beyond the limit."""
        assert self._process is not None, "an open workplace has a process"
        now = time.monotonic()
        if self._running is not None and now - self._active > self._plan.case_timeout:
            self._killed = Verdict.TIMEOUT, f"no result after {self._plan.case_timeout:g} s"
            self._process.kill()
        elif now - self._memory_looked_at > _MEMORY_SECONDS:
            self._memory_looked_at = now
            beyond = beyond_memory(self._process, self._plan.memory_limit)
            if beyond:
                self._killed = Verdict.MEMORY, beyond
                self._process.kill()

    def _bury(self) -> Iterator[Event]:
        """Close the dead worker's journal and put another in its place."""
        assert self._process is not None, "an open workplace has a process"
        verdict, reason = self._killed or (Verdict.CRASH, death(self._process.exitcode))
        self._killed = after = None
        if self._running is None:
            self._internal_deaths += 1
            if self._internal_deaths >= _MOST_INTERNAL_DEATHS:
                raise ConvfuzzError(
                    f"worker {self._assignment.worker} died outside of any backend: {reason}; its last words:\n{self._last_words()}"
                )
        else:
            trace = self._last_words() if verdict is Verdict.CRASH else ""
            ended = BackendEnded(
                backend=self._running, verdict=verdict, seconds=time.monotonic() - self._active, reason=f"{reason}. {trace}".strip()
            )
            append_events(self._tail.path, [ended])
            yield from self._read()
            after = ended.backend
        # The case in flight is gone on with, behind the backend that died of it.
        redone = after is not None
        done = self._done - redone
        left = None if self._assignment.cases is None else max(self._assignment.cases - done, 0)
        self._done = redone
        passed = [Real(ratio) for ratio in self._ratios[: len(self._ratios) - redone]]
        if redone:
            self._ratios[-1] = 0.0  # what the dead process saw of this case, the next one does not
        self._assignment = msgspec.structs.replace(
            self._assignment, first_round=self._round, passed=passed, met=self._met_before, after=after, cases=left
        )
        if left == 0 or (self._assignment.deadline is not None and time.time() >= self._assignment.deadline):
            self.is_open = False
        else:
            self._start()

    def _last_words(self) -> str:
        """Return the end of what the worker printed: faulthandler's traceback, mostly."""
        try:
            lines = self._log.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        fatal = [i for i, line in enumerate(lines) if line.startswith("Fatal Python error")]
        shown = lines[fatal[-1] :] if fatal else lines[-_LOG_LINES:]
        return "\n".join(shown[:_LOG_LINES])
