"""The search of a reduction: from a failing case to ever simpler ones that fail too, within a budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from convfuzz.case import Case

Fails = Callable[[Case], bool]
Simplify = Callable[[Case], Iterable[Case]]


@dataclass
class Budget:
    """How long a reduction may go on: for ``seconds`` and ``candidates``, and no longer than the budget ``within`` which it is."""

    seconds: float = 20.0
    candidates: int = 1000
    within: Budget | None = None

    def __post_init__(self) -> None:
        self._began = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the budget was made."""
        return time.monotonic() - self._began

    @property
    def left(self) -> float:
        """Seconds that are left; negative when more than all have gone."""
        own = self.seconds - self.elapsed
        return own if self.within is None else min(own, self.within.left)

    @property
    def is_spent(self) -> bool:
        """Whether no time is left."""
        return self.left <= 0.0

    def spend(self) -> bool:
        """Take one candidate from the budget; false when it is used up."""
        self.candidates -= 1
        return self.candidates >= 0 and not self.is_spent


_GROWTH, _ALLOWANCE = 4, 2**16
"""How much more memory than the failing case a simpler one may need, and how many bytes in any case: fewer crops, a wider dtype."""


class BudgetSpent(Exception):
    """The budget of a search is used up."""


class Search:
    """A greedy descent from ``case``, which fails: :attr:`case` is the simplest so far that does.

    No case is tried twice, none that is valid where the failing one is not, or the reverse, and none that is far larger.
    """

    def __init__(self, case: Case, fails: Fails, budget: Budget) -> None:
        self.case, self._fails, self._budget = case, fails, budget
        self._seen = {case}
        self._most_bytes = _GROWTH * case.config.working_nbytes + _ALLOWANCE
        self.count = 0

    def reproduces(self) -> bool:
        """Say whether the failing case fails again; it costs nothing of the budget."""
        return self._fails(self.case)

    def attempt(self, candidate: Case) -> bool:
        """Try a candidate that has not been tried yet, and go on from it where it fails.

        Raises:
            BudgetSpent: there is no budget left to try it.
        """
        config = candidate.config
        if candidate in self._seen or config.is_valid != self.case.config.is_valid or config.working_nbytes > self._most_bytes:
            return False
        if not self._budget.spend():
            raise BudgetSpent
        self._seen.add(candidate)
        self.count += 1
        if not self._fails(candidate):
            return False
        self.case = candidate
        return True

    def attempt_any(self, candidates: Iterable[Case]) -> bool:
        """Try candidates until one fails.

        Raises:
            BudgetSpent: there is no budget left.
        """
        return any(map(self.attempt, candidates))

    def descend(self, kinds: Sequence[Simplify]) -> None:
        """Take each kind of simplification as far as it goes, then the next, until a whole pass changes nothing.

        Raises:
            BudgetSpent: there is no budget left.
        """
        while any([self._exhaust(kind) for kind in kinds]):  # noqa: C419 - every kind takes its turn in a pass
            pass

    def _exhaust(self, kind: Simplify) -> bool:
        progress = False
        while self.attempt_any(kind(self.case)):
            progress = True
        return progress
