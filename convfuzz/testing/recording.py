"""Keeping what tests check: the events of every case, in a journal of each process's own."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from convfuzz.case import Case
from convfuzz.checking.canary import plant
from convfuzz.record.events import CaseEnded, Event
from convfuzz.record.journal import JournalWriter


class Recorder:
    """Appends the events of each checked case to ``journal-<worker>.jsonl`` in ``directory``, as they happen.

    A process that a test forks off gets a journal of its own, and threads take turns: within one journal events are strictly
    sequential. The first case of a process that shows a missing tap meets the canary too.
    """

    def __init__(self, directory: Path, worker: str) -> None:
        self._directory, self._worker = directory, worker
        self._first_process = os.getpid()
        self._writers: dict[int, JournalWriter] = {}
        self._turn = threading.RLock()
        self._canary_due = True

    def record(self, case: Case, events: Iterable[Event]) -> Iterator[Event]:
        """Pass the events of a case on, each after it has been written.

        A case that is broken off, as by Ctrl-C, is closed: only a process that is gone leaves one open.
        """
        with self._turn:
            journal = self._journal()
            try:
                for event in events:
                    journal.write(event)
                    yield event
            except BaseException as error:
                with contextlib.suppress(OSError):
                    journal.write(CaseEnded(skipped=f"broken off by {type(error).__name__}"))
                raise
            if self._canary_due and (sighting := plant(case)):
                journal.write(sighting)
                self._canary_due = False

    def close(self) -> None:
        """Close the journals."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _journal(self) -> JournalWriter:
        process = os.getpid()
        if process not in self._writers:
            forked = "" if process == self._first_process else f"-{process}"
            self._writers[process] = JournalWriter(self._directory, f"{self._worker}{forked}")
        return self._writers[process]


_recorder: Recorder | None = None


def start(directory: Path, worker: str) -> None:
    """Keep the events of every case that is checked in this process from now on."""
    global _recorder  # noqa: PLW0603 - one session per process
    _recorder = Recorder(directory, worker)


def stop() -> None:
    """Keep no more."""
    global _recorder  # noqa: PLW0603 - as above
    if _recorder is not None:
        _recorder.close()
    _recorder = None


def recorded(case: Case, events: Iterable[Event]) -> Iterable[Event]:
    """Return the events of a case, which are kept as they happen where anybody has asked for that."""
    return events if _recorder is None else _recorder.record(case, events)
