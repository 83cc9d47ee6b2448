"""Which cases are known to end the process of a backend, as far as a campaign has learned it, and when such a case may run again."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

import msgspec

from convfuzz.campaign.deadly_kinds import DeadlyKinds
from convfuzz.case import Case
from convfuzz.checking.limits import Limits
from convfuzz.processes.pace import Pace
from convfuzz.record.confirmation import Recurrence
from convfuzz.record.coverage import ENDS_ITS_PROCESS
from convfuzz.record.events import BackendEnded, BackendStarted, CaseStarted, Event
from convfuzz.record.finding import Finding, ReductionOutcome
from convfuzz.record.ledger import CRASH_CLASS
from convfuzz.triage.needs import has_all
from convfuzz.triage.resets import traits
from convfuzz.verdicts import Verdict

SHARE = 1 / 4
"""The part of a worker's time that may be lost to cases which are known to end its process, over all backends that have done so."""
_NOT_COUNTED = 3
"""So many of a backend's first deaths in a worker cost it nothing: from fewer nothing is learned."""
_LEAST_PATIENCE = 2.0
"""The least seconds that a call of a backend gets on a case like those on which it has hung."""


class Deadly(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is told of a backend that has ended processes: such cases do not run before ``until``, in seconds since the epoch.

    They are those with all traits of one of ``kinds``, and those that have what a reduced finding of ``findings`` takes.
    """

    backend: str
    until: float
    kinds: list[list[str]]
    findings: list[Finding]


class Sparing:
    """Says which cases a worker leaves out for now, since they are known to end its process."""

    def __init__(self, deadly: Iterable[Deadly], now: Callable[[], float] = time.time) -> None:
        self._deadly = {each.backend: each for each in deadly}
        self._kinds = {each.backend: [frozenset(kind) for kind in each.kinds] for each in self._deadly.values()}
        self._now = now

    def reason(self, backend: str, case: Case) -> str:
        """Say why ``backend`` does not run ``case`` now; empty where it does."""
        deadly = self._deadly.get(backend)
        if deadly is None or self._now() >= deadly.until:
            return ""
        own = traits(case)
        is_known = any(kind <= own for kind in self._kinds[backend]) or any(_is_of(case, finding) for finding in deadly.findings)
        return f"{ENDS_ITS_PROCESS}: run now and then only" if is_known else ""


class Deaths:
    """The fold over all workers' journals of what ends their processes.

    The time that deaths have cost a worker is taken by the clock, from the call to the next one in another process; a backend may
    lose its part of :data:`SHARE` of a worker's time. What a journal of an earlier sitting tells has cost this one nothing.
    A run that has no limit of time ``spares`` none: its cases are counted, and the same seed gives the same results.
    """

    def __init__(self, limits: Limits, now: Callable[[], float] = time.monotonic, *, spares: bool = True) -> None:
        self._limits, self._spares, self._now, self._began = limits, spares, now, now()
        self._kinds: defaultdict[str, DeadlyKinds] = defaultdict(DeadlyKinds)
        self._hung: defaultdict[str, DeadlyKinds] = defaultdict(DeadlyKinds)
        self._paces: defaultdict[str, Pace] = defaultdict(Pace)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lost: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._called: dict[str, float] = {}
        self._replacing: dict[str, str] = {}
        self.findings: Callable[[], Iterable[Finding]] = tuple
        """The findings so far; reduced ones say more exactly what ends a process."""

    def add(self, worker: str, case: Case | None, event: Event) -> None:
        """Fold one more event of a worker in, which is about ``case``."""
        match event:
            case BackendStarted() | CaseStarted():
                self._settle(worker)
                self._called[worker] = self._now()
            case BackendEnded() if case is not None and event.verdict in CRASH_CLASS:
                self._replacing[worker] = event.backend
                self._counts[worker, event.backend] += 1
                self._kinds[event.backend].add_death(case)
                if event.verdict is Verdict.TIMEOUT:
                    self._hung[event.backend].add_death(case)
            case BackendEnded(verdict=verdict) if case is not None and verdict is not Verdict.UNSUPPORTED:
                self._paces[event.backend].add(event.seconds)
                for known in (self._kinds, self._hung):
                    if event.backend in known:
                        known[event.backend].add_return(case)
            case _:
                pass

    def _settle(self, worker: str) -> None:
        """Count what the latest death has cost a worker, which runs again."""
        for backend in self._kinds:
            self._lost[worker, backend] += self._being_lost(worker, backend)
        self._replacing.pop(worker, None)

    def _being_lost(self, worker: str, backend: str) -> float:
        """Return the seconds since a call of ``backend`` that has ended the process of a worker, which does not run yet again."""
        counts = self._replacing.get(worker) == backend and self._counts[worker, backend] > _NOT_COUNTED
        return self._now() - self._called.get(worker, self._began) if counts else 0.0

    def patience(self, case: Case, backend: str) -> float:
        """Return the seconds after which a call is plain to hang that is like those which did: a hundred times what others take.

        Any other call has all the time that a case may take, since a layer may take a thousand times what others do. A large layer has
        as much more time as its limit is larger than others'.
        """
        if backend not in self._hung or not self._paces[backend].is_known or not self._hung[backend].covers(case):
            return math.inf
        return max(self._paces[backend].patience, _LEAST_PATIENCE) * self._limits.seconds_of(case) / self._limits.case_timeout

    def needed(self, case: Case, backend: str) -> list[str] | None:
        """Return the axes on which a case has what ends the process of a backend; ``None`` where it is not like those that did."""
        kind = self._kinds[backend].of(case) if backend in self._kinds else None
        return None if kind is None else sorted(feature.partition("=")[0] for feature in kind)

    def deadly(self, worker: str) -> list[Deadly]:
        """Return what the next process of a worker is told."""
        if not self._spares:
            return []
        found = list(self.findings())
        return [
            Deadly(
                backend=name,
                until=time.time() + self._wait(worker, name),
                kinds=[sorted(kind) for kind in kinds.all],
                findings=[finding for finding in found if finding.backend == name and _tells(finding)],
            )
            for name, kinds in self._kinds.items()
        ]

    def _wait(self, worker: str, backend: str) -> float:
        """Return the seconds until a backend has as much of a worker's time as it has lost there."""
        lost = self._lost[worker, backend] + self._being_lost(worker, backend)
        due = lost * len(self._kinds) / SHARE
        return max(due - (self._now() - self._began), 0.0)


def _tells(finding: Finding) -> bool:
    """Whether a finding says exactly which cases end a process each time."""
    is_minimal = finding.reduction == ReductionOutcome.MINIMAL and finding.verdict in CRASH_CLASS
    return is_minimal and finding.confirmation.recurrence is Recurrence.CONFIRMED


def _is_of(case: Case, finding: Finding) -> bool:
    return has_all(case.config, finding) and (case.grad or not Case.parse(finding.case).grad)
