"""A worker process of this machine, and the processes that replace it when it dies.

The supervisor writes nothing into a living worker's journal. When the process is gone, the supervisor closes the start that it
left open with the verdict that its death is, so that the journal alone tells the whole story. A resumed campaign finds open
starts too: those workers were killed together with their supervisor, and their backends start again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from convfuzz.campaign.assignment import carry_out
from convfuzz.campaign.deaths import Deaths
from convfuzz.campaign.plan import Plan
from convfuzz.campaign.slot import Slot
from convfuzz.campaign.worker_state import Position
from convfuzz.checking.calls import JUDGING_SECONDS
from convfuzz.errors import ConvfuzzError
from convfuzz.processes.child_setup import CANNOT_WRITE, FULL
from convfuzz.processes.endings import beyond_memory, death, kill_with_children, overdue
from convfuzz.processes.forkserver import STARTING
from convfuzz.processes.output_log import OutputLog
from convfuzz.processes.sandbox import WATCH_SECONDS
from convfuzz.record.events import BackendEnded, CaseEnded, Event
from convfuzz.record.journal import append_events, require_room
from convfuzz.system.json_records import encode
from convfuzz.verdicts import Verdict

_TRIES_OF_A_CASE = 2
_MOST_INTERNAL_DEATHS = 3
_LONG_SECONDS = 1.0
_SILENT_SECONDS = JUDGING_SECONDS
"""How long a worker may take between two backends, for drawing, and to judge one."""


class LocalSlot(Slot):
    """A worker process of this machine, and its replacements.

    With ``only_round`` it does one round of another machine's campaign, which begins at that position. ``deaths`` learns what ends
    processes, for several slots; it says after how many seconds a call hangs, where that is plain before the limit, and which cases a
    new process leaves out for now.
    """

    def __init__(
        self,
        context: ForkServerContext,
        plan: Plan,
        directory: Path,
        index: int,
        cases: int | None,
        *,
        only_round: Position | None = None,
        deaths: Deaths | None = None,
    ) -> None:
        super().__init__(plan, directory, index, cases, only_round)
        self._context, self._deaths = context, deaths or Deaths(plan.limits, spares=plan.seconds is not None)
        self._only_round = None if only_round is None else only_round.round
        self._log = OutputLog(directory / f"worker-{index}.log")
        self._process: BaseProcess | None = None
        self._killed: tuple[Verdict, str, str | None] | None = None
        self._internal_deaths = 0
        self._last_event = self._last_look = time.monotonic()

    def read(self) -> Iterator[Event]:
        """Yield what the journal has that has not been read yet."""
        for event in super().read():
            self._last_event = time.monotonic()
            self._deaths.add(self.name, self._state.case, event)
            if isinstance(event, BackendEnded):
                self._internal_deaths = 0
            yield event

    def poll(self) -> Iterator[Event]:
        """Yield the new events; replace the worker where it died, with the events that its death amounts to.

        Raises:
            ConvfuzzError: the worker keeps dying outside of any backend.
            OSError: it died because its journal cannot be written any more.
        """
        if not self.is_open:
            yield from self.read()
            return
        assert self._process is not None, "an open slot has a process"
        with STARTING:
            alive = self._process.is_alive()  # before reading: what a dead process wrote is all there
        yield from self.read()
        self._enforce_limits(alive=alive)
        if alive:
            return
        with STARTING:
            self._process.join()
        left_by_itself = self._process.exitcode == FULL or (self._process.exitcode == 0 and self._is_over())
        if not left_by_itself or self._state.running is not None or self._killed is not None:
            yield from self._record_death()
        self._resume()

    def close(self) -> None:
        """End the worker; its journal stays as it is."""
        self.is_open = False
        if self._process is not None:
            kill_with_children(self._process)
            with STARTING:
                self._process.join()

    # -- the process --------------------------------------------------------------------------------------------------

    def _is_over(self) -> bool:
        return super()._is_over() or self._only_round not in (None, self._state.position.round)

    def _resume(self) -> None:
        self.is_open = not self._is_over()
        if not self.is_open:
            return
        assignment = self._assignment(one_round=self._only_round is not None, deadly=self._deaths.deadly(self.name))
        self._log.begin()
        with STARTING:
            self._process = self._context.Process(target=carry_out, args=(encode(assignment),), daemon=True)
            self._process.start()
        self._last_event = time.monotonic()

    def _enforce_limits(self, *, alive: bool) -> None:
        """Kill a worker whose backend hangs or whose memory exceeds the limit; keep its log small."""
        assert self._process is not None, "an open slot has a process"
        now = time.monotonic()
        if alive and now - self._last_look < WATCH_SECONDS:
            return
        self._last_look = now
        self._log.limit()
        if not alive or self._killed:
            return
        running, limits = None if self._state.is_judging else self._state.running, self._plan.limits
        compiling = self._state.compile_limit
        case = self._state.case
        seconds = _SILENT_SECONDS if running is None else compiling or (limits.seconds_of(case) if case else limits.case_timeout)
        if compiling is None and running is not None and case is not None and now - self._last_event > _LONG_SECONDS:
            seconds = min(seconds, self._deaths.patience(case, running))
        too_large = beyond_memory(self._process.pid, limits.memory_of(case) if case else limits.memory)
        if too_large:
            self._killed = Verdict.MEMORY, too_large, running
        elif now - self._last_event > seconds:
            self._killed = Verdict.TIMEOUT, overdue(seconds, is_compiling=compiling is not None), running
        if self._killed:
            kill_with_children(self._process)

    def _record_death(self) -> Iterator[Event]:
        """Write into the dead worker's journal what its death amounts to."""
        assert self._process is not None, "an open slot has a process"
        running = self._state.running
        verdict, reason, blamed = self._killed or (Verdict.CRASH, death(self._process.exitcode), running)
        self._killed = None
        if self._process.exitcode == CANNOT_WRITE:
            require_room(self._tail.path)
        if running is not None and running == blamed:
            trace = self._log.last_words() if verdict is Verdict.CRASH else ""
            seconds = time.monotonic() - self._last_event
            yield from self._append(BackendEnded(backend=running, verdict=verdict, seconds=seconds, reason=f"{reason}. {trace}".strip()))
            return
        self._internal_deaths += 1
        if self._internal_deaths >= _MOST_INTERNAL_DEATHS:
            raise ConvfuzzError(f"worker {self._index} died outside of any backend: {reason}{self._remedy(verdict)}")
        if self._state.position.in_flight and self._internal_deaths >= _TRIES_OF_A_CASE:
            yield from self._append(CaseEnded(skipped="the worker died of it outside of any backend"))

    def _remedy(self, verdict: Verdict) -> str:
        """Return what ends the message about a worker that keeps dying outside of any backend: what to do, or what it printed last."""
        if verdict is Verdict.MEMORY:
            return ". The backends, loaded, leave nothing of that: give a greater --memory-limit, or run fewer backends at a time"
        last = self._log.last_words()
        return f"; its last words:\n{last}" if last else f"; it printed nothing. Its log: {self._log.path}"

    def _append(self, event: Event) -> Iterator[Event]:
        append_events(self._tail.path, [event])
        yield from self.read()
