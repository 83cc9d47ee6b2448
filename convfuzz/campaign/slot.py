"""One of a campaign's places, as the supervisor sees it: a journal, how far it has come, and what is left to do there.

Who appends to the journal is another matter: a process of this machine (:mod:`.local_slot`) or an executor (:mod:`.remote_slot`).
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from convfuzz.campaign.plan import Plan
from convfuzz.campaign.worker import Assignment
from convfuzz.campaign.worker_state import Position
from convfuzz.case import Case
from convfuzz.record.confirmation import Preceding, ProcessRuns, Step
from convfuzz.record.events import BackendStarted, Event, JournalOpened
from convfuzz.record.journal import JournalTail
from convfuzz.system.json_records import Real

WORKER_MODULE = "convfuzz.campaign.worker"
"""What the forkserver imports for the workers."""


class Slot(ABC):
    """Slot number ``index`` of a campaign, which does ``share`` cases in all, or as many as there is time for."""

    def __init__(self, plan: Plan, directory: Path, index: int, share: int | None) -> None:
        self._plan, self._directory, self._index, self._share = plan, directory, index, share
        self._tail = JournalTail(directory / f"journal-{index}.jsonl")
        self._position = Position(round=index, workers=plan.workers)
        self._runs = ProcessRuns()
        self._deadline: float | None = None
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
            self._position.add(event)
            match event:
                case JournalOpened():
                    self._runs = ProcessRuns()
                case BackendStarted(backend=name):
                    self._runs.add(Step(name, str(self.case)))
                case _:
                    pass
            yield event

    def preceding(self, backend: str) -> Preceding:
        """Return what the process that has just run ``backend`` on :attr:`case` had run before."""
        return self._runs.until(Step(backend, str(self.case)))

    def open(self, deadline: float | None) -> None:
        """Go on where the journal ends until the share is done or ``deadline``, in seconds since the epoch, is reached."""
        self._deadline = deadline
        self._go_on()

    @abstractmethod
    def poll(self) -> Iterator[Event]:
        """Yield the new events, and see to it that the work goes on."""

    @abstractmethod
    def close(self) -> None:
        """End the work; the journal stays as it is."""

    @abstractmethod
    def _go_on(self) -> None:
        """Have somebody go on where the journal ends, if anything is left to do."""

    @property
    def _left(self) -> int | None:
        """Cases still to do, the one in flight included."""
        return None if self._share is None else max(self._share - self._position.begun, 0) + self._position.in_flight

    def _is_over(self) -> bool:
        return self._left == 0 or (self._deadline is not None and time.time() >= self._deadline)

    def _assignment(self) -> Assignment:
        """Return what is left to do."""
        plan, position = self._plan, self._position
        return Assignment(
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
