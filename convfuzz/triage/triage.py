"""From failures to findings: each failing case is run again and reduced once, grouped by what its minimal case says, and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import msgspec

from convfuzz.case import Case
from convfuzz.case.features import BROAD, needed, particular, particular_on
from convfuzz.record.confirmation import Confirmation, Preceding, Recurrence, Tally
from convfuzz.record.events import BackendEnded, FindingKept
from convfuzz.record.failure_kind import Kind, Signature
from convfuzz.record.finding import LUMPED, Finding, ReductionOutcome, fingerprint
from convfuzz.triage.reduction import Budget, complexity
from convfuzz.triage.reruns import Processes, Reruns, Settled
from convfuzz.verdicts import Verdict

_MOST_SEARCHES = 3
"""How many failures of a kind that came back in no way are run after what preceded them, before more are only counted."""
_KEPT = 0.2
"""The share of all time that is kept for confirming what was found when the rest was spent."""
_SEARCHED = 3
"""Such a search gets at most one part in so many of the time that is left for all."""


class Triage:
    """The findings of a run so far.

    A failure whose signature is known and whose case has every particular feature of the finding's minimal case is
    counted as one more instance of it; any other is run again and reduced in ``processes``. That takes at most about
    ``per_finding`` seconds for each and ``seconds`` for all, of which one finding gets at most one part in ``share`` of what is
    left, so that the first does not take it from the others; after that each new failure gets ``at_least`` seconds. A part
    of the time is kept for :meth:`confirm_others`. A finding that is reduced takes over those whose cases it covers: they
    were not reduced for want of time, or have more features.
    """

    def __init__(self, processes: Processes, *, seconds: float, per_finding: float = 13.0, at_least: float = 1.0, share: int = 4) -> None:
        self._processes = processes
        self._kept_seconds = seconds * _KEPT
        self._seconds = seconds - self._kept_seconds
        self._per_finding = per_finding
        self._at_least, self._share = at_least, share
        self.findings: dict[str, Finding] = {}

    def consider(
        self, case: Case, result: BackendEnded, preceding: Preceding, progress: Callable[[Case], None]
    ) -> tuple[Finding, FindingKept, bool]:
        """Take a failing result in; ``preceding`` is what its process had run before, ``progress`` is told each candidate.

        Returns:
            Its finding as it stands now, the event that says so, and whether the finding's minimal case is new.
        """
        finding = self._known(case, Signature.of(result), preceding)
        finding, is_new = (_once_more(finding), False) if finding else self._examined(case, result, preceding, progress)
        finding, absorbed = self._absorb(finding) if is_new else (finding, [])
        self.findings[finding.fingerprint] = finding
        kept = FindingKept(
            fingerprint=finding.fingerprint,
            backend=finding.backend,
            verdict=finding.verdict,
            case=str(case),
            minimal=finding.case,
            model=finding.model,
            in_pass=finding.in_pass,
            max_abs=finding.max_abs,
            absorbs=absorbed,
        )
        return finding, kept, is_new

    def finish(self, seconds: float) -> None:
        """The workers are done: what is left of the budget, and at most ``seconds``, goes into reducing and confirming the rest."""
        self._at_least = 0.0
        self._seconds = min(self._seconds, seconds / 2)
        self._kept_seconds = min(self._kept_seconds, seconds / 2)

    def confirm_others(self, progress: Callable[[Case], None]) -> Iterator[Finding]:
        """Run the findings in fresh processes that no time was left for before, what hangs last; yield each as it stands then."""
        others = [finding for finding in self.findings.values() if finding.confirmation.recurrence is Recurrence.NOT_CONFIRMED]
        others.sort(key=lambda finding: finding.verdict in (Verdict.TIMEOUT, Verdict.MEMORY))
        for number, finding in enumerate(others):
            budget = Budget(self._kept_seconds / (len(others) - number))
            if budget.is_spent:
                return
            result = BackendEnded(
                backend=finding.backend, verdict=finding.verdict, seconds=0.0, model=finding.model, in_pass=finding.in_pass
            )
            confirmation = Reruns(self._processes, Case.parse(finding.case), result, budget, progress).confirmed()
            self._kept_seconds -= budget.elapsed
            self.findings[finding.fingerprint] = msgspec.structs.replace(finding, confirmation=confirmation)
            yield self.findings[finding.fingerprint]

    def _known(self, case: Case, signature: Signature, preceding: Preceding) -> Finding | None:
        """Return the finding that a failure is an instance of by its case; where it takes a history, by its process too."""
        for finding in self._alike(case, signature):
            if finding.confirmation.recurrence is not Recurrence.DEPENDS or finding.fingerprint in preceding.process.explained_by:
                return finding
        return None

    def _alike(self, case: Case, signature: Signature) -> list[Finding]:
        features = frozenset(particular(case.config))
        return [
            finding
            for finding in self.findings.values()
            if finding.is_telling and Kind.of(finding, finding.features).covers(signature, features)
        ]

    def _absorb(self, finding: Finding) -> tuple[Finding, list[str]]:
        """Take the findings out whose cases ``finding`` covers, reduced or not, and count their failures to it."""
        if finding.reduction != ReductionOutcome.MINIMAL or finding.confirmation.recurrence is Recurrence.DEPENDS:
            return finding, []
        kind = Kind.of(finding, finding.features)
        others = [f for f in self.findings.values() if not f.is_lump and f.fingerprint != finding.fingerprint]
        covered = [
            f
            for f in others
            if f.confirmation.recurrence is not Recurrence.DEPENDS
            and kind.covers(Signature.of(f), frozenset(particular(Case.parse(f.case).config)))
        ]
        for other in covered:
            del self.findings[other.fingerprint]
        return msgspec.structs.replace(finding, count=finding.count + sum(f.count for f in covered)), [f.fingerprint for f in covered]

    def _examined(self, case: Case, result: BackendEnded, preceding: Preceding, progress: Callable[[Case], None]) -> tuple[Finding, bool]:
        """Run a failure again, and see by that whether it is new."""
        budget = Budget(max(min(self._per_finding, self._seconds / self._share), self._at_least))
        reruns = Reruns(self._processes, case, result, budget, progress)
        try:
            if budget.seconds <= 0.0:
                return self._merge(_finding(case, result, reruns.untouched()))
            if reruns.comes_back():
                return self._merge(_finding(case, result, reruns.reduced_alone(self._hints(case, result))))
            known = self._explained(case, result, reruns) or self._lump(case, result)
            if known is None:
                budget.seconds = max(min(budget.seconds, self._seconds / _SEARCHED), self._at_least)
                settled = reruns.reduced_after(preceding.steps) if reruns.never_alone() else None
                known, is_new = self._merge(_finding(case, result, settled or reruns.rated()))
            else:
                known, is_new = _once_more(known), False
            if known.confirmation.recurrence is Recurrence.DEPENDS:
                preceding.process.explained_by.add(known.fingerprint)
            return known, is_new
        finally:
            self._seconds -= budget.elapsed

    def _hints(self, case: Case, result: BackendEnded) -> list[Case]:
        """Return the minimal cases on which other backends fail in the same way and which ``case`` is an instance of."""
        features = frozenset(particular(case.config))
        return [
            Case.parse(finding.case)
            for finding in self.findings.values()
            if finding.reduction == ReductionOutcome.MINIMAL
            and Kind.of(finding, finding.features).covers(replace(Signature.of(result), backend=finding.backend), features)
        ]

    def _explained(self, case: Case, result: BackendEnded, reruns: Reruns) -> Finding | None:
        """Return the finding after whose history the failure comes back."""
        for finding in self._alike(case, Signature.of(result)):
            if finding.confirmation.recurrence is Recurrence.DEPENDS and reruns.comes_back(finding.confirmation.preceding):
                return finding
        return None

    def _lump(self, case: Case, result: BackendEnded) -> Finding | None:
        """Return the finding of all failures of this kind that come and go, once enough has been tried."""
        lump = self.findings.get(_lump_name(case, Signature.of(result)))
        if lump is None or (lump.confirmation.recurrence is Recurrence.NOT_REPRODUCED and lump.count < _MOST_SEARCHES):
            return None
        return lump

    def _merge(self, finding: Finding) -> tuple[Finding, bool]:
        known = self.findings.get(finding.fingerprint)
        if known is None:
            return finding, True
        simplest = min(known, finding, key=lambda f: complexity(Case.parse(f.case)))
        merged = msgspec.structs.replace(simplest, count=known.count + 1, first_case=known.first_case)
        if finding.is_lump:
            merged = _with_all_counts(merged, known, finding)
        return merged, simplest is finding


def _once_more(finding: Finding) -> Finding:
    return msgspec.structs.replace(finding, count=finding.count + 1)


def _with_all_counts(merged: Finding, *parts: Finding) -> Finding:
    """Return the finding of failures that come and go with the runs of all of them added up."""
    alone, after = Tally(), Tally()
    for part in parts:
        alone, after = alone + part.confirmation.alone, after + part.confirmation.after
    confirmation = Confirmation(alone=alone, after=after)
    reduction = ReductionOutcome.NOT_REDUCED if alone.failed or after.failed else ReductionOutcome.NOT_REPRODUCED
    return msgspec.structs.replace(merged, confirmation=confirmation, reduction=reduction)


def _lump_name(case: Case, signature: Signature) -> str:
    how = f"{signature.model} {ReductionOutcome.NOT_REPRODUCED}"
    return fingerprint(case, signature.backend, signature.verdict, signature.in_pass, how, [])


def _finding(case: Case, result: BackendEnded, settled: Settled) -> Finding:
    """Make a finding of a failure on ``case``."""
    reduction, evidence, signature = settled.reduction, settled.evidence, Signature.of(result)
    minimal, features = reduction.case, _telling(case, settled, signature.verdict)
    how = signature.model
    if settled.confirmation.recurrence is Recurrence.DEPENDS:
        how = f"{how} {Recurrence.DEPENDS}"
    name = fingerprint(minimal, signature.backend, signature.verdict, signature.in_pass, how, features)
    return Finding(
        fingerprint=_lump_name(case, signature) if reduction.outcome in LUMPED else name,
        verdict=signature.verdict,
        backend=signature.backend,
        case=str(minimal),
        first_case=str(case),
        in_pass=signature.in_pass,
        model=signature.model,
        reason=evidence.reason,
        reduction=reduction.outcome,
        dense=reduction.dense,
        companion=str(settled.companion.case or ""),
        boundary=settled.companion.boundary,
        features=features,
        confirmation=settled.confirmation,
        discrepancy=evidence.discrepancies.get(signature.in_pass),
    )


def _telling(first: Case, settled: Settled, verdict: Verdict) -> list[str]:
    """Return the features by which a failure is told from others: all that a minimal case needs.

    What does not come back each time says nothing by its case: all of it is one finding of its kind. Of a case that is not
    minimal, and of an error of rounding, which depends on everything a little, the broad features are certain to be no accident.
    """
    reduction = settled.reduction
    config = reduction.case.config
    if reduction.outcome in LUMPED:
        return []
    if verdict is Verdict.IMPRECISE or reduction.outcome != ReductionOutcome.MINIMAL:
        return particular_on(BROAD, config)
    return needed(config, first.config)
