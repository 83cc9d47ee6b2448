"""One worker of a campaign as the supervisor sees it: its journal, how far it has come, and what is left for it to do.

Who appends to the journal differs: a process of this machine (``local_slot.py``) or an executor (``remote_slot.py``).
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from convfuzz.campaign.assignment import Assignment
from convfuzz.campaign.deaths import Deadly
from convfuzz.campaign.plan import Plan
from convfuzz.campaign.worker_state import Position, WorkerState
from convfuzz.record.events import Event
from convfuzz.record.journal import JournalTail


class Slot(ABC):
    """Slot number ``index`` of a campaign, which runs ``cases`` cases in all, or as many as there is time for.

    It is open while somebody works in it. It starts at ``position``, by default at the beginning of its first round.
    """

    def __init__(self, plan: Plan, directory: Path, index: int, cases: int | None, position: Position | None = None) -> None:
        self._plan, self._directory, self._index, self._cases = plan, directory, index, cases
        self._tail = JournalTail(directory / f"journal-{index}.jsonl")
        self._state = WorkerState(position or Position(round=index), plan.workers)
        self._deadline: float | None = None
        self.is_open = False

    @property
    def name(self) -> str:
        """The name of its journal."""
        return self._tail.path.name

    def read(self) -> Iterator[Event]:
        """Yield what the journal has that has not been read yet."""
        for event in self._tail.read():
            self._state.add(event)
            yield event

    def open(self, deadline: float | None) -> None:
        """Resume where the journal ends, until all cases are done or ``deadline``, in seconds since the epoch, is reached."""
        self._deadline = deadline
        self._resume()

    @abstractmethod
    def poll(self) -> Iterator[Event]:
        """Yield the new events, and replace whoever has ended while work is left."""

    @abstractmethod
    def close(self) -> None:
        """End the work; the journal stays as it is."""

    @abstractmethod
    def _resume(self) -> None:
        """Start somebody who resumes where the journal ends, if anything is left to do."""

    @property
    def _cases_left(self) -> int | None:
        """Cases still to run, the one in flight included."""
        if self._cases is None:
            return None
        return max(self._cases - self._state.begun, 0) + self._state.position.in_flight

    def _is_over(self) -> bool:
        return self._cases_left == 0 or (self._deadline is not None and time.time() >= self._deadline)

    def _assignment(self, *, one_round: bool = False, deadly: list[Deadly] | None = None) -> Assignment:
        """Return what is left to do."""
        return Assignment(
            plan=self._plan,
            directory=str(self._directory),
            worker=self._index,
            position=self._state.position,
            cases=self._cases_left,
            deadline=self._deadline,
            one_round=one_round,
            deadly=deadly or [],
        )
