"""One worker's place in a campaign, as the supervisor sees it: its journal, its process, and who comes after it.

The supervisor writes nothing into a living worker's journal. When the process is gone, its orphaned start is closed
there with the verdict that its death is, so that the journal alone tells the whole story. A campaign that goes on after
its supervisor was killed finds an orphaned start too: that worker was killed with it, and its backend starts again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from convfuzz.case import Case
from convfuzz.child import CANNOT_WRITE, FULL
from convfuzz.confirmation import Preceding, ProcessRuns, Step
from convfuzz.errors import ConvfuzzError
from convfuzz.events import BackendEnded, BackendStarted, CaseEnded, Event, JournalOpened
from convfuzz.journal import JournalTail, append_events, require_room
from convfuzz.judging import Verdict
from convfuzz.output_log import OutputLog
from convfuzz.plan import Plan
from convfuzz.position import Position
from convfuzz.records import Real, encode
from convfuzz.sandbox import WATCH_SECONDS, beyond_memory, death
from convfuzz.worker import Assignment, work

_TRIES_OF_A_CASE = 2
_MOST_INTERNAL_DEATHS = 3
_SILENT_SECONDS = 300.0
"""How long a worker may be at something else than a backend: drawing, the reference, judging."""


class Workplace:
    """A worker process and its replacements: ``share`` cases in all, or as many as there is time for."""

    def __init__(self, context: ForkServerContext, plan: Plan, directory: Path, index: int, share: int | None) -> None:
        self._context, self._plan, self._directory, self._index, self._share = context, plan, directory, index, share
        self._log = OutputLog(directory / f"worker-{index}.log")
        self._tail = JournalTail(directory / f"journal-{index}.jsonl")
        self._position = Position(round=index, workers=plan.workers)
        self._process: BaseProcess | None = None
        self._killed: tuple[Verdict, str, str | None] | None = None
        self._internal_deaths = 0
        self._deadline: float | None = None
        self._runs = ProcessRuns()
        self._active = self._looked_at = time.monotonic()
        self.is_open = False

    @property
    def name(self) -> str:
        """The name of its journal."""
        return self._tail.path.name

    @property
    def case(self) -> Case | None:
        """The case that the last event was about."""
        return self._position.case

    def read(self) -> Iterator[Event]:
        """Yield what the journal has that has not been read yet."""
        for event in self._tail.read():
            self._active = time.monotonic()
            self._position.add(event)
            match event:
                case JournalOpened():
                    self._runs = ProcessRuns()
                case BackendStarted(backend=name):
                    self._runs.add(Step(name, str(self.case)))
                case BackendEnded():
                    self._internal_deaths = 0
                case _:
                    pass
            yield event

    def open(self, deadline: float | None) -> None:
        """Go on where the journal ends until the share is done or ``deadline``, in seconds since the epoch, is reached."""
        self._deadline = deadline
        self._go_on()

    def poll(self) -> Iterator[Event]:
        """Yield the new events; replace the worker where it died, with the events that its death amounts to.

        Raises:
            ConvfuzzError: the worker keeps dying outside of any backend.
            OSError: it died because its journal cannot be written any more.
        """
        if not self.is_open:
            yield from self.read()
            return
        assert self._process is not None, "an open workplace has a process"
        alive = self._process.is_alive()  # before reading: what a dead process wrote is all there
        yield from self.read()
        self._watch(alive=alive)
        if alive:
            return
        self._process.join()
        left_by_itself = self._process.exitcode == FULL or (self._process.exitcode == 0 and self._is_over())
        if not left_by_itself or self._position.running is not None or self._killed is not None:
            yield from self._bury()
        self._go_on()

    def preceding(self, backend: str) -> Preceding:
        """Return what the process that has just run ``backend`` on :attr:`case` had run before."""
        return self._runs.until(Step(backend, str(self.case)))

    def close(self) -> None:
        """End the worker; its journal stays as it is."""
        self.is_open = False
        if self._process is not None:
            self._process.kill()
            self._process.join()

    # -- the process --------------------------------------------------------------------------------------------------

    @property
    def _left(self) -> int | None:
        """Cases still to do, the one in flight included."""
        return None if self._share is None else max(self._share - self._position.begun, 0) + self._position.in_flight

    def _is_over(self) -> bool:
        return self._left == 0 or (self._deadline is not None and time.time() >= self._deadline)

    def _go_on(self) -> None:
        """Start a process where the journal ends, if anything is left to do."""
        self.is_open = not self._is_over()
        if not self.is_open:
            return
        plan, position = self._plan, self._position
        assignment = Assignment(
            directory=str(self._directory),
            worker=str(self._index),
            backends=list(plan.backends),
            strategy=plan.strategy,
            seed=plan.seed,
            workers=plan.workers,
            first_round=position.round,
            passed=[Real(ratio) for ratio in position.ratios],
            met=position.met_before,
            last=str(position.case or ""),
            through=position.ended if position.in_flight else None,
            cases=self._left,
            deadline=self._deadline,
            memory_limit=plan.memory_limit,
            quarantine=plan.ledger.about(plan.backends).quarantine,
        )
        self._log.begin()
        self._process = self._context.Process(target=work, args=(encode(assignment),), daemon=True)
        self._process.start()
        self._active = time.monotonic()

    def _watch(self, *, alive: bool) -> None:
        """Kill a worker whose backend hangs or whose memory grows beyond the limit; keep its log within bounds."""
        assert self._process is not None, "an open workplace has a process"
        now = time.monotonic()
        if alive and now - self._looked_at < WATCH_SECONDS:
            return
        self._looked_at = now
        self._log.limit()
        if not alive or self._killed:
            return
        running = self._position.running
        limit = _SILENT_SECONDS if running is None else self._plan.case_timeout
        beyond = beyond_memory(self._process, self._plan.memory_limit)
        if beyond:
            self._killed = Verdict.MEMORY, beyond, running
        elif now - self._active > limit:
            self._killed = Verdict.TIMEOUT, f"no result after {limit:g} s", running
        if self._killed:
            self._process.kill()

    def _bury(self) -> Iterator[Event]:
        """Say in the dead worker's journal what its death amounts to."""
        assert self._process is not None, "an open workplace has a process"
        running = self._position.running
        verdict, reason, blamed = self._killed or (Verdict.CRASH, death(self._process.exitcode), running)
        self._killed = None
        if self._process.exitcode == CANNOT_WRITE:
            require_room(self._tail.path)
        if running is not None and running == blamed:
            trace = self._log.last_words() if verdict is Verdict.CRASH else ""
            seconds = time.monotonic() - self._active
            yield from self._append(BackendEnded(backend=running, verdict=verdict, seconds=seconds, reason=f"{reason}. {trace}".strip()))
            return
        self._internal_deaths += 1
        if self._internal_deaths >= _MOST_INTERNAL_DEATHS:
            raise ConvfuzzError(f"worker {self._index} died outside of any backend: {reason}; its last words:\n{self._log.last_words()}")
        if self._position.in_flight and self._internal_deaths >= _TRIES_OF_A_CASE:
            yield from self._append(CaseEnded(skipped="the worker died of it outside of any backend"))

    def _append(self, event: Event) -> Iterator[Event]:
        append_events(self._tail.path, [event])
        yield from self.read()
