"""The failures that a journal tells of: each with its case, its result, and what its process had run before."""

from __future__ import annotations

from convfuzz.case import Case
from convfuzz.record.confirmation import ProcessRuns, Step
from convfuzz.record.events import BackendEnded, BackendStarted, CaseEnded, CaseStarted, Event, JournalOpened
from convfuzz.triage.examination import Failure


class FailureReader:
    """The fold over one journal that finds its failures; ``running`` is the backend that has started and not ended.

    The processes that write the journal one after the other are told apart: each begins with an event of its own.
    """

    def __init__(self) -> None:
        self.running = ""
        self._case: Case | None = None
        self._line = ""
        self._runs = ProcessRuns()

    def add(self, event: Event) -> Failure | None:
        """Fold one more event in; return the failure that it is, if any."""
        match event:
            case JournalOpened():
                self._runs = ProcessRuns()
            case CaseStarted(case=line):
                self._case, self._line, self.running = Case.parse(line), line, ""
            case BackendStarted(backend=name) if self._case is not None:
                self.running = name
                self._runs.add(Step(name, self._line))
            case BackendEnded():
                self.running = ""
                if event.verdict.failing and self._case is not None:
                    preceding = self._runs.until(Step(event.backend, self._line))
                    return Failure(self._case, event, preceding)
            case CaseEnded():
                self.running = ""
            case _:
                pass
        return None
