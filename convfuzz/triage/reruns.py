"""Running a failure again: in fresh processes, alone and after what had run before it, until it is known when it shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol

import msgspec

from convfuzz.case import Case
from convfuzz.record.confirmation import Confirmation, Recurrence, Step, Tally
from convfuzz.record.events import BackendEnded
from convfuzz.record.failure_kind import Signature
from convfuzz.record.finding import ReductionOutcome
from convfuzz.triage.ddmin import ddmin
from convfuzz.triage.reduction import (
    MOST_NEIGHBOURS,
    Budget,
    Companion,
    Fails,
    Reduction,
    companion_of,
    never,
    reduce_case,
)
from convfuzz.verdicts import RESOURCES, Verdict, one_class

RETRIES = {Verdict.NONDETERMINISTIC: 3, Verdict.CRASH: 2}
"""How many chances a candidate gets to show what comes and goes."""
_ALIKE, _MOST = 5, 8
"""Runs in fresh processes that settle it when all end alike, and when they do not."""
_FEW = 2
"""The same of a failure that takes all the time or memory that a case may take, each time."""
_RECENT = (8, 64)
"""How many of the last steps are tried as a history before all of them are."""
_SHORTENING, _REDUCING = 0.5, 0.75
"""The share of the time after which the history, then the case, is left as it is; what remains is for confirming."""
_MARGIN = 1.2
_LEAST_SECONDS = 1.0
"""What a history gets to run in when the budget is spent."""


class Processes(Protocol):
    """Where cases are run again."""

    def evaluate(self, case: Case, backend: str, *, hasty: bool = False) -> BackendEnded:
        """Run ``backend`` on ``case`` in a process that may have run other cases.

        In a ``hasty`` run a call hangs that takes far longer than others, even if it has not had all the time a case may take.
        """
        ...

    def rerun(self, case: Case, backend: str, preceding: Sequence[Step], seconds: float, *, hasty: bool = False) -> BackendEnded | None:
        """Run ``backend`` on ``case`` in a process that has run ``preceding`` and nothing else.

        ``None`` where the process does not get there: what precedes ends it, or takes more than ``seconds``.
        """
        ...


@dataclass(frozen=True)
class Settled:
    """What a failure was reduced to, the result that shows it there, how often it came back, and the nearest case that passes."""

    reduction: Reduction
    evidence: BackendEnded
    confirmation: Confirmation = Confirmation()  # noqa: RUF009 - a frozen record
    companion: Companion = Companion(None, "")  # noqa: RUF009 - the same


class Reruns:
    """Runs one failure again, ``result`` on ``case``, for about as long as ``budget`` lasts.

    ``progress`` is called with each candidate before it runs. Where it is ``interruptible``, a KeyboardInterrupt ends a reduction
    with the best so far.
    """

    def __init__(
        self,
        processes: Processes,
        case: Case,
        result: BackendEnded,
        budget: Budget,
        progress: Callable[[Case], None],
        *,
        interruptible: bool = False,
    ) -> None:
        self._processes, self._case, self._budget, self._progress, self._interruptible = processes, case, budget, progress, interruptible
        self._signature = Signature.of(result)
        self._is_slow = self._is_hasty = result.verdict in RESOURCES
        self._full_seconds = result.seconds
        self._evidence = {case: result}
        self._results: dict[Case, BackendEnded] = {}
        self._thorough: set[Case] = set()
        self._repeats: bool | None = None  # whether the failure shows in a process that has shown it before
        self._tallies: defaultdict[tuple[Case, tuple[Step, ...]], Tally] = defaultdict(Tally)

    def untouched(self) -> Settled:
        """Leave the failure as it was found and run nothing."""
        return self._settled(Reduction(self._case, ReductionOutcome.BUDGET_SPENT, 0, self._case))

    def comes_back(self, history: Sequence[Step] = ()) -> bool:
        """Whether the failure shows each of several times, with the chances that its verdict gets, so that it can be reduced.

        That is in a fresh process and, without a ``history``, once more in the same one, where candidates would be tried; else in
        another fresh one.
        """
        if not self._fails(self._case, history):
            return False
        if self._is_slow:
            return True
        if not history:
            self._repeats = self._fails_anywhere(self._case)
        return bool(not history and self._repeats) or self._fails(self._case, history)

    def never_alone(self) -> bool:
        """Whether the failure shows in none of as many fresh processes as settle it when they agree."""
        return not self._measure(self._case).failed

    def reduced_alone(self, hints: Sequence[Case] = (), is_known: Callable[[Case], bool] = never) -> Settled:
        """Reduce a failure that comes back alone, in one process for many candidates, which is fast; then confirm it.

        Where the failure shows in a process that has run nothing else only, or the minimal case only after other
        candidates, every candidate gets a process of its own. ``hints`` are cases that are likely to fail as well; what ``is_known``
        says of, with other data maybe, is neither reduced further nor confirmed.
        """
        fails: Fails = self._fails_anywhere
        reduction = self._reduced(fails, hints, is_known)
        if reduction.is_known:
            return self._settled(reduction)
        try:
            if reduction.outcome == ReductionOutcome.NOT_REPRODUCED or not (
                self._is_over(reduction) or self._measure(reduction.case).failed
            ):
                fails, self._is_hasty = self._fails, False
                self._results.clear()  # who passed may have done so after other candidates only
                reduction = self._reduced(fails)
            if reduction.outcome == ReductionOutcome.NOT_REPRODUCED:
                return self.not_reduced()
            if not self._is_over(reduction):
                self._measure(reduction.case)
                return self._settled(reduction, self._companion(reduction, fails))
        except KeyboardInterrupt:
            if not self._interruptible:
                raise
        return self._settled(reduction)

    def reduced_after(self, preceding: list[Step]) -> Settled | None:
        """Reduce a failure that comes back after what preceded it: the history first, then the case; then confirm both.

        Returns:
            ``None`` where it does not come back each time, or as little as it does without a history.
        """
        own = [step for step in preceding if step.backend == self._signature.backend]
        candidates = [*(own[-count:] for count in _RECENT if count < len(own)), own, preceding]
        history = next((steps for steps, _ in groupby(candidates) if steps and not self._budget.is_spent and self.comes_back(steps)), None)
        if history is None:
            return None
        history, is_minimal = ddmin(history, lambda steps: bool(self._run_once(self._case, steps)), self._until(_SHORTENING))
        self._results.clear()

        def fails(candidate: Case) -> bool:
            return self._fails(candidate, history)

        reduction = reduce_case(self._case, fails, self._until(_REDUCING))
        if reduction.outcome == ReductionOutcome.NOT_REPRODUCED:
            return None
        after, alone = self._measure(reduction.case, history), self._measure(reduction.case)
        confirmation = Confirmation(alone=alone, after=after, preceding=history, preceding_is_minimal=is_minimal)
        if confirmation.recurrence is Recurrence.DEPENDS:
            return Settled(reduction, self._evidence[reduction.case], confirmation, self._companion(reduction, fails))
        return self._settled(reduction) if confirmation.recurrence is Recurrence.CONFIRMED else None

    def confirmed(self) -> Confirmation:
        """Run the failure in as many fresh processes as it takes to know whether it comes back."""
        return Confirmation(alone=self._measure(self._case))

    def not_reduced(self) -> Settled:
        """Leave a failure that comes and goes as it was found, and say how often it has come back."""
        alone = self._tallies[self._case, ()]
        after = sum((tally for (case, steps), tally in self._tallies.items() if case == self._case and steps), Tally())
        outcome = ReductionOutcome.NOT_REDUCED if alone.failed or after.failed else ReductionOutcome.NOT_REPRODUCED
        return Settled(Reduction(self._case, outcome, 0, self._case), self._evidence[self._case], Confirmation(alone=alone, after=after))

    def rated(self) -> Settled:
        """Leave a failure that comes and goes as it was found, once it has been run often enough to give a rate."""
        self._measure(self._case, enough=_MOST)
        return self.not_reduced()

    def _reduced(self, fails: Fails, hints: Sequence[Case] = (), is_known: Callable[[Case], bool] = never) -> Reduction:
        budget = self._until(_REDUCING)
        return reduce_case(self._case, fails, budget, hints=hints, is_known=is_known, interruptible=self._interruptible)

    @staticmethod
    def _is_over(reduction: Reduction) -> bool:
        """Whether the user has ended it."""
        return reduction.outcome == ReductionOutcome.INTERRUPTED

    # -- one candidate --------------------------------------------------------------------------------------------------

    def _settled(self, reduction: Reduction, companion: Companion | None = None) -> Settled:
        confirmation = Confirmation(alone=self._tallies[reduction.case, ()])
        return Settled(reduction, self._evidence[reduction.case], confirmation, companion or Companion(None, ""))

    @property
    def _is_patient(self) -> bool:
        """Whether there is time for a call that takes all that a case may take, as the failure did when it was found."""
        return self._budget.left > _MARGIN * self._full_seconds

    def _companion(self, reduction: Reduction, fails: Fails) -> Companion:
        """Return the nearest case that passes where ``fails`` runs it: most of its neighbours the reduction has run."""

        def passes(candidate: Case) -> bool:
            if candidate not in self._results:
                fails(candidate)
            return candidate in self._results and agrees(candidate, self._results[candidate], self._signature.in_pass)

        return companion_of(reduction, fails, passes, Budget(max(self._budget.left, _LEAST_SECONDS), MOST_NEIGHBOURS))

    def _measure(self, case: Case, history: Sequence[Step] = (), *, enough: int = _ALIKE) -> Tally:
        """Run ``case`` in fresh processes until ``enough`` of them agree, or so many have run that they give a rate."""
        enough, most = (_FEW, _FEW) if self._is_slow else (enough, _MOST)
        key = case, tuple(history)
        if self._is_hasty and case not in self._thorough and self._is_patient:
            self._tallies[key] = Tally()  # a run that gets all its time says more than those before it
            self._run_once(case, history)
            if not self._tallies[key].failed:
                return self._tallies[key]
        while (tally := self._tallies[key]).tried < most and (tally.tried < enough or 0 < tally.failed < tally.tried):
            if (tally.tried and self._budget.is_spent) or self._run_once(case, history, hasty=self._is_hasty) is None:
                break
        return tally

    def _fails(self, case: Case, history: Sequence[Step] = ()) -> bool:
        """Whether ``case`` fails in a process that has run ``history`` and nothing else."""
        return any(self._run_once(case, history, hasty=self._is_hasty) for _ in range(RETRIES.get(self._signature.verdict, 1)))

    def _fails_anywhere(self, case: Case) -> bool:
        """Whether ``case`` fails in a process that may have run other candidates."""
        if case == self._case and (self._is_slow or self._repeats is not None):
            return self._is_slow or bool(self._repeats)  # it has just been waited for
        self._progress(case)
        retries = RETRIES.get(self._signature.verdict, 1)
        return any(self._is_same(case, self._processes.evaluate(case, self._signature.backend, hasty=True)) for _ in range(retries))

    def _run_once(self, case: Case, history: Sequence[Step], *, hasty: bool = False) -> bool | None:
        self._progress(case)
        result = self._processes.rerun(case, self._signature.backend, history, max(self._budget.left, _LEAST_SECONDS), hasty=hasty)
        if result is None:
            return None
        fails = self._is_same(case, result, hasty=hasty)
        self._tallies[case, tuple(history)] += Tally(int(fails), 1)
        return fails

    def _is_same(self, case: Case, result: BackendEnded, *, hasty: bool = True) -> bool:
        """Whether a result is the failure. A hasty run may end a call that fills the memory by its time, before it has filled much."""
        self._results[case] = result
        if self._is_slow and not hasty:
            self._thorough.add(case)
        if not fails_alike(result, self._signature):
            return False
        if not hasty:
            self._evidence[case] = result
        elif case not in self._thorough:
            is_large = result.verdict is Verdict.MEMORY
            self._evidence[case] = result if is_large else msgspec.structs.replace(result, verdict=self._signature.verdict)
        return True

    def _until(self, share: float) -> Budget:
        """Return what is left of that share of the time, without what a run that gets all its time needs afterwards."""
        full = _MARGIN * self._full_seconds if self._is_hasty else 0.0
        seconds = self._budget.seconds - (full if full < self._budget.seconds / 2 else 0.0)
        return Budget(share * seconds - self._budget.elapsed, self._budget.candidates, within=self._budget)


def fails_alike(result: BackendEnded, signature: Signature) -> bool:
    """Whether a result is a failure with ``signature``; the two verdicts of a call that takes ever more are one."""
    return result.verdict.failing and one_kind(Signature.of(result), signature)


def one_kind(one: Signature, other: Signature) -> bool:
    """Whether two signatures may be one bug's: they are equal, but for which limit a call met that took ever more."""
    return one_class(one.verdict, other.verdict) and one == replace(other, verdict=one.verdict)


def agrees(case: Case, result: BackendEnded, in_pass: str) -> bool:
    """Whether ``result`` says that ``case`` was computed and agreed with the reference, in the pass ``in_pass`` too."""
    return result.verdict is Verdict.AGREE and (not case.config.is_valid or in_pass in result.discrepancies)
