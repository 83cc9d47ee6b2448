"""Confirmation: whether a failure comes back in fresh processes, how often, and after what else it has to run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

MOST_STEPS = 600
"""The most runs before a failure, the last ones of its process, that are kept and tried again."""


_NAMES_IN_FILES = {"preceding": "history", "preceding_is_minimal": "history_is_minimal"}


class Step(msgspec.Struct, frozen=True):
    """One run in a process: a backend on a case, in the case's one-line form."""

    backend: str
    case: str


class Tally(msgspec.Struct, frozen=True):
    """In how many of the fresh processes in which a case was ``tried`` it ``failed`` in the same way."""

    failed: int = 0
    tried: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.failed + other.failed, self.tried + other.tried)

    def __str__(self) -> str:
        return f"{self.failed} of {self.tried}"


class Recurrence(StrEnum):
    """Whether a failure comes back."""

    CONFIRMED = "confirmed"
    FLAKY = "flaky"
    DEPENDS = "depends on what ran before"
    NOT_REPRODUCED = "not reproduced"
    NOT_CONFIRMED = "not confirmed"


class Confirmation(msgspec.Struct, frozen=True, kw_only=True, rename=_NAMES_IN_FILES):
    """How often a failure came back: ``alone`` in fresh processes, and ``after`` what had run before it.

    ``preceding`` holds the runs that have to come first, in their order, where the failure depends on them;
    ``preceding_is_minimal`` says that none of them can be left out. Otherwise it is empty, and ``after`` counts the runs
    after everything that was kept of the process that failed.
    """

    alone: Tally = Tally()
    after: Tally = Tally()
    preceding: list[Step] = []
    preceding_is_minimal: bool = False

    @property
    def recurrence(self) -> Recurrence:
        """What the counts say.

        A failure that never shows alone depends on what ran before it when it shows at least three times out of four after it:
        by chance, 5 of 5 against 0 of 5 come up once in 252 times, 6 of 8 against 0 of 8 once in 286 (Fisher's exact test).
        """
        if self.alone.tried and self.alone.failed == self.alone.tried:
            return Recurrence.CONFIRMED
        if self.preceding and not self.alone.failed and self.after.failed and 4 * self.after.failed >= 3 * self.after.tried:
            return Recurrence.DEPENDS
        if self.alone.failed or self.after.failed:
            return Recurrence.FLAKY
        return Recurrence.NOT_REPRODUCED if self.alone.tried else Recurrence.NOT_CONFIRMED

    @property
    def rate(self) -> Tally:
        """How often it failed: after the preceding runs where it depends on them, else over all runs in fresh processes."""
        return self.after if self.recurrence is Recurrence.DEPENDS else self.alone + self.after

    @property
    def comes_and_goes(self) -> bool:
        """Whether running the case once may not show the failure."""
        return self.recurrence in (Recurrence.FLAKY, Recurrence.NOT_REPRODUCED)

    @property
    def label(self) -> str:
        """Whether it comes back, in a few words, such as ``flaky (3 of 8)``."""
        known = self.recurrence is not Recurrence.NOT_CONFIRMED
        return f"{self.recurrence} ({self.rate})" if known else str(self.recurrence)

    def __str__(self) -> str:
        match self.recurrence:
            case Recurrence.DEPENDS:
                runs = f"{len(self.preceding)} other run{'s'[: len(self.preceding) != 1]}"
                return f"{self.recurrence}: failed {self.after} times after {runs}, {self.alone} times alone"
            case Recurrence.NOT_REPRODUCED:
                after = f", and {self.after} times after what had run before it" if self.after.tried else ""
                return f"{self.recurrence}: failed in {self.alone} fresh processes{after}"
            case Recurrence.NOT_CONFIRMED:
                return f"{self.recurrence}: not run again"
            case _:
                return f"{self.recurrence}: failed in {self.rate} fresh processes"


class ProcessRuns:
    """What one process has run so far, in order; at least its last :data:`MOST_STEPS` steps are kept.

    ``explained_by`` holds the fingerprints of the findings whose preceding runs explain a failure in this process.
    """

    def __init__(self) -> None:
        self._before: list[Step] = []
        self._recent: list[Step] = []
        self.explained_by: set[str] = set()

    def add(self, step: Step) -> None:
        """Note that the process begins one more run."""
        if len(self._recent) == MOST_STEPS:
            self._before, self._recent = self._recent, []
        self._recent.append(step)

    def until(self, step: Step) -> Preceding:
        """Return what ran before ``step``, which is the latest or, where its backend declined the case, never began."""
        count = len(self._recent)
        return Preceding(self, self._before, self._recent, count - (count > 0 and self._recent[-1] == step))


@dataclass(frozen=True)
class Preceding:
    """What ``process`` ran before a failure; copied only when it is asked for, since most failures are of a known finding."""

    process: ProcessRuns
    _before: list[Step]
    _recent: list[Step]
    _count: int

    @property
    def steps(self) -> list[Step]:
        """The last :data:`MOST_STEPS` steps, oldest first."""
        return [*self._before, *self._recent[: self._count]][-MOST_STEPS:]
