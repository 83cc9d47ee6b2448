"""The kinds of cases on which one backend ends its process, learned from those on which it did and those from which it returned."""

from __future__ import annotations

from collections import deque

from convfuzz.case import Case
from convfuzz.triage.resets import traits

Traits = frozenset[str]

_MOST_DEATHS, _MOST_RETURNS = 64, 2048


class DeadlyKinds:
    """What the deaths of one backend have in common, as far as nothing that has all of it returned.

    Each kind is a set of traits. A death whose traits have a part in common with a kind that no case has which returned widens that
    kind to this part; any other is a kind of its own. Where a case returns that a kind covers, all kinds are made anew. A death that
    has no trait which all cases that returned lack tells of no kind.
    """

    def __init__(self) -> None:
        self._deaths: deque[Traits] = deque(maxlen=_MOST_DEATHS)
        self._returns: dict[Traits, None] = {}
        self.all: list[Traits] = []

    def add_death(self, case: Case) -> None:
        """Learn from a case that has ended the process."""
        own = traits(case)
        self._deaths.append(own)
        self._widen(own)

    def add_return(self, case: Case) -> None:
        """Learn from a case from which the backend has returned, whatever it computed."""
        own = traits(case)
        if own in self._returns:
            return
        if len(self._returns) >= _MOST_RETURNS:
            del self._returns[next(iter(self._returns))]
        self._returns[own] = None
        if self._covers(own):
            self.all = []
            for death in self._deaths:
                self._widen(death)

    def of(self, case: Case) -> Traits | None:
        """Return the kind that ends the process and that a case is of, the one of the fewest traits; ``None`` where it is of none."""
        own = traits(case)
        return min((kind for kind in self.all if kind <= own), key=len, default=None)

    def covers(self, case: Case) -> bool:
        """Whether a case is of a kind that ends the process."""
        return self._covers(traits(case))

    def _covers(self, own: Traits) -> bool:
        return any(kind <= own for kind in self.all)

    def _widen(self, death: Traits) -> None:
        if self._covers(death) or self._returned(death):
            return
        for number, kind in enumerate(self.all):
            if not self._returned(kind & death):
                self.all[number] = kind & death
                return
        self.all.append(death)

    def _returned(self, kind: Traits) -> bool:
        return any(kind <= own for own in self._returns)
