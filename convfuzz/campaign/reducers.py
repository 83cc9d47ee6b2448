"""Sandboxes that examine failures side by side, each with a thread that waits for its child.

The supervisor stays one thread that follows journals, and alone touches findings: it hands an examination over and gets it back
when that has ended. How many cores may be at it is said here too.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from convfuzz.case import Case
from convfuzz.processes.sandbox import Sandbox
from convfuzz.triage.examination import Examination

SHARE = 1 / 8
"""The share of all cores' time that reducing takes at most while the workers leave no core idle."""
DEADLY_SHARE = 1 / 4
"""The same while something waits that ends processes: until it is reduced, the workers lose more than that to it."""


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def idle_cores(workers: int) -> int:
    """Return on how many cores no worker is."""
    return max(cores() - workers, 0)


def seconds_each_second(workers: int, share: float = SHARE) -> float:
    """Return how many seconds of reducing each second of a run pays for while so many workers are at work."""
    return idle_cores(workers) or share * cores()


class _Stopped(Exception):
    """The examination is not to go on."""


class _Reducer:
    """One sandbox and the thread that uses it."""

    def __init__(self, make: Callable[[Callable[[], None]], Sandbox], progress: Callable[[Case], None]) -> None:
        self._sandbox = make(self._go_on)
        self._progress = progress
        self._thread: threading.Thread | None = None
        self._is_stopped = False
        self.examination: Examination | None = None
        self.error: BaseException | None = None

    @property
    def is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def begin(self, examination: Examination) -> None:
        self.examination, self.error, self._is_stopped = examination, None, False
        self._thread = threading.Thread(target=self._run, args=(examination,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop what it does within a moment; the child ends too."""
        self._is_stopped = True
        if self._thread is not None:
            self._thread.join()
        self._sandbox.close()

    def _run(self, examination: Examination) -> None:
        try:
            examination.run(self._sandbox, self._tell)
        except _Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - it is raised again where the examination is waited for
            self.error = error

    def _tell(self, case: Case) -> None:
        self._go_on()
        self._progress(case)

    def _go_on(self) -> None:
        if self._is_stopped:
            raise _Stopped


class Reducers:
    """The sandboxes of a campaign, made as they are needed.

    Args:
        make: makes the sandbox of that number, which calls a function while its child is at work.
        progress: is told each candidate, in whatever thread tries it.
    """

    def __init__(self, make: Callable[[int, Callable[[], None]], Sandbox], progress: Callable[[Case], None]) -> None:
        self._make, self._progress = make, progress
        self._all: list[_Reducer] = []

    @property
    def busy(self) -> int:
        """How many examinations have begun and have not been handed back."""
        return sum(reducer.examination is not None for reducer in self._all)

    def begin(self, examination: Examination) -> None:
        """Begin an examination, in a sandbox that has nothing to do."""
        free = next((reducer for reducer in self._all if reducer.examination is None), None)
        if free is None:
            number = len(self._all) + 1
            free = _Reducer(lambda meanwhile: self._make(number, meanwhile), self._progress)
            self._all.append(free)
        free.begin(examination)

    def ended(self) -> list[Examination]:
        """Hand back the examinations that have ended; what one of them raised is raised here."""
        return self._handed_back([reducer for reducer in self._all if reducer.examination is not None and not reducer.is_alive])

    def stop(self) -> list[Examination]:
        """Stop all that goes on, end the children, and hand the examinations back, most of them without an outcome."""
        for reducer in self._all:
            reducer.stop()
        return self._handed_back([reducer for reducer in self._all if reducer.examination is not None])

    def _handed_back(self, reducers: list[_Reducer]) -> list[Examination]:
        found = []
        for reducer in reducers:
            examination, error = reducer.examination, reducer.error
            assert examination is not None, "only those with one are asked"
            reducer.examination = reducer.error = None
            if error is not None:
                raise error
            found.append(examination)
        return found
