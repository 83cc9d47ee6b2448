"""The examination of one failure: it is run again and reduced, apart from all else that goes on, maybe beside other examinations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.record.confirmation import Preceding
from convfuzz.record.events import BackendEnded
from convfuzz.record.failure_kind import Signature
from convfuzz.record.finding import Finding, ReductionOutcome
from convfuzz.triage.reduction import Budget
from convfuzz.triage.reruns import Processes, Reruns, Settled


@dataclass(frozen=True)
class Failure:
    """A failing result on ``case``; ``preceding`` is what its process had run before."""

    case: Case
    result: BackendEnded
    preceding: Preceding

    @property
    def signature(self) -> Signature:
        """Who failed, how, in which pass, and what explains it."""
        return Signature.of(self.result)


class Examination:
    """One failure, and what is known when its examination begins.

    Args:
        failure: what is examined.
        seconds: about how long it may take; with none, nothing is run.
        searching: the least that the search for a history gets, where the failure does not come back alone.
        hints: simple cases that are likely to fail in the same way.
        standing: the findings after whose histories it may come back.
        lump: the finding of all failures of its kind that come and go, once enough of them have been searched for a history.
        known: the findings that fail in the same way, by the configuration and the passes of their minimal cases. A reduction that
            ends at one of these has found out what it is, and nothing more is run.
    """

    def __init__(
        self,
        failure: Failure,
        seconds: float,
        searching: float,
        hints: Sequence[Case],
        standing: Sequence[Finding],
        lump: Finding | None,
        known: Mapping[tuple[ConvConfig, bool], Finding],
    ) -> None:
        self.failure = failure
        self.outcome: Settled | Finding | None = None
        """What was found out: what the failure was reduced to, or the finding that it is an instance of."""
        self.elapsed = 0.0
        self._budget = Budget(seconds)
        self._seconds, self._searching = seconds, searching
        self._hints, self._standing, self._lump, self._known = hints, standing, lump, known

    @property
    def has_time(self) -> bool:
        """Whether anything is run."""
        return self._seconds > 0.0

    @property
    def reduced_to(self) -> Case | None:
        """The simplest case so far."""
        return self.outcome.reduction.case if isinstance(self.outcome, Settled) else None

    @property
    def is_unfinished(self) -> bool:
        """Whether more time would have helped."""
        return isinstance(self.outcome, Settled) and self.outcome.reduction.outcome == ReductionOutcome.BUDGET_SPENT

    def hurry(self, seconds: float) -> None:
        """Let it come to an end within ``seconds``, from another thread."""
        self._budget.seconds = min(self._budget.seconds, self._budget.elapsed + seconds)

    def run(self, processes: Processes, progress: Callable[[Case], None]) -> None:
        """Run the failure again in ``processes``; ``progress`` is told each candidate."""
        budget = self._budget = Budget(min(self._seconds, self._budget.seconds))
        reruns = Reruns(processes, self.failure.case, self.failure.result, budget, progress)
        try:
            self.outcome = self._examined(reruns, budget)
        finally:
            self.elapsed = budget.elapsed

    def _is_known(self, case: Case) -> bool:
        return _key(case) in self._known

    def _examined(self, reruns: Reruns, budget: Budget) -> Settled | Finding:
        if budget.seconds <= 0.0:
            return reruns.untouched()
        if reruns.comes_back():
            alone = reruns.reduced_alone(self._hints, self._is_known)
            return self._known[_key(alone.reduction.case)] if alone.reduction.is_known else alone
        for finding in self._standing:
            if reruns.comes_back(finding.confirmation.preceding):
                return finding
        if self._lump is not None:
            return self._lump
        budget.seconds = max(budget.seconds, self._searching)
        settled = reruns.reduced_after(self.failure.preceding.steps) if reruns.never_alone() else None
        return settled or reruns.rated()


def _key(case: Case) -> tuple[ConvConfig, bool]:
    return case.config, case.grad
