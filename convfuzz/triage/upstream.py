"""Whether a failure that could not be reduced is a sign of what is known upstream, decided by experiment.

It is one where it has what the sign needs, passes without any of that, and the sign's own case fails here. What comes and goes is run
so often that a pass is no accident.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from convfuzz.case import Case
from convfuzz.record.events import BackendEnded
from convfuzz.record.failure_kind import Signature
from convfuzz.record.known_upstream import Bug, Sign
from convfuzz.triage.reduction import Budget
from convfuzz.triage.resets import without_each
from convfuzz.verdicts import VALUES, Verdict, one_class

Evaluate = Callable[[Case, str], BackendEnded]

_LOOKS = 4
"""How often the failure is run again, to see how often it shows."""
_CHANCE = 0.05
"""How probable it may be that a failure which comes and goes stays away by chance from all runs without what it needs."""
_MOST_RUNS = 8


def shown_to_be(case: Case, signature: Signature, signs: Iterable[tuple[Bug, Sign]], evaluate: Evaluate, budget: Budget) -> Bug | None:
    """Return the bug that the failure ``signature`` on ``case`` is shown to be a sign of; ``None`` where none is, or no budget is left.

    Args:
        case: the failing case, as it was drawn.
        signature: how it fails.
        signs: those that it may be of, with their bugs.
        evaluate: runs a case on a backend, in a process that may die of it.
        budget: when to stop.

    """
    fitting = [(bug, sign, plain) for bug, sign in signs if (plain := without_each(case, sign.features))]
    if not fitting:
        return None
    trials = _Trials(signature, evaluate, budget)
    runs = trials.enough_for(case)
    if not runs:
        return None
    for bug, sign, plain in sorted(fitting, key=lambda one: -len(one[1].features)):
        if trials.passes(plain, runs) and trials.shows(sign):
            return bug
    return None


class _Trials:
    """Runs cases on the backend that failed, within a budget."""

    def __init__(self, signature: Signature, evaluate: Evaluate, budget: Budget) -> None:
        self._signature, self._evaluate, self._budget = signature, evaluate, budget

    def _run(self, case: Case) -> BackendEnded | None:
        return self._evaluate(case, self._signature.backend) if self._budget.spend() else None

    def enough_for(self, case: Case) -> int:
        """Return how many runs without what it needs show that a failure has gone; 0 where it does not show any more, or too seldom."""
        failed = 0
        for looks in range(1, _LOOKS + 1):
            result = self._run(case)
            if result is None:
                return 0
            failed += self._fails(result)
            if failed == looks == 2:
                return 1
        runs = 1 if failed == _LOOKS else math.ceil(math.log(_CHANCE) / math.log1p(-failed / _LOOKS)) if failed else 0
        return runs if runs <= _MOST_RUNS else 0

    def passes(self, cases: Iterable[Case], runs: int) -> bool:
        """Whether each of ``cases`` is right in each of so many ``runs``, in the pass that failed."""
        return all(self._is_right(self._run(case)) for case in cases for _ in range(runs))

    def shows(self, sign: Sign) -> bool:
        """Whether a sign's own case fails here; what lies in memory may hide it, so it gets several chances."""
        case = Case.parse(sign.case)
        results = (self._run(case) for _ in range(_LOOKS))
        return any(result is not None and self._fails(result) for result in results)

    def _fails(self, result: BackendEnded) -> bool:
        wanted, in_pass = self._signature.verdict, self._signature.in_pass
        verdict = result.verdict if result.in_pass == in_pass else result.also.get(in_pass)
        return verdict is not None and (one_class(verdict, wanted) or {verdict, wanted} <= VALUES)

    def _is_right(self, result: BackendEnded | None) -> bool:
        """Whether the pass that failed agrees; another one may fail, in a way that leaves this one known."""
        if result is None:
            return False
        elsewhere = result.verdict in VALUES and self._signature.in_pass not in (result.in_pass, *result.also)
        return result.verdict is Verdict.AGREE or elsewhere
