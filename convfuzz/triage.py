"""From failures to findings: each failing case is reduced once, grouped by what its minimal case says, and counted."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from convfuzz.case import Case
from convfuzz.events import BackendEnded, FindingKept
from convfuzz.features import ARITHMETIC, BROAD, particular, particular_on
from convfuzz.findings import Finding, fingerprint
from convfuzz.judging import Verdict
from convfuzz.reduce import Budget, Reduction, complexity, reduce_case
from convfuzz.signature import Kind, Signature

Evaluate = Callable[[Case, str], BackendEnded]

NOT_REPRODUCED = "not reproduced"
_CONFIRMATIONS = 2
_RETRIES = {Verdict.NONDETERMINISTIC: 3, Verdict.CRASH: 2, Verdict.TIMEOUT: 1}


class Triage:
    """The findings of a run so far.

    A failure whose signature is known and whose case has every particular feature of the finding's minimal case is
    counted as one more instance of it; any other is reduced with ``evaluate``. One reduction takes at most
    ``per_finding`` seconds and all together about ``seconds``; after that each new failure gets ``at_least`` seconds.
    """

    def __init__(self, evaluate: Evaluate, *, seconds: float, per_finding: float = 10.0, at_least: float = 1.0) -> None:
        self._evaluate = evaluate
        self._seconds = seconds
        self._per_finding = per_finding
        self._at_least = at_least
        self.findings: dict[str, Finding] = {}

    def consider(self, case: Case, result: BackendEnded, progress: Callable[[Case], None]) -> tuple[Finding, FindingKept, bool]:
        """Take a failing result in.

        Returns:
            Its finding as it stands now, the event that says so, and whether the finding's minimal case is new.
        """
        signature = Signature.of(result)
        finding = self._known(case, signature)
        if finding is not None:
            finding, is_new = msgspec.structs.replace(finding, count=finding.count + 1), False
        else:
            finding, is_new = self._merge(self._reduced(case, result, signature, progress))
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
        )
        return finding, kept, is_new

    def finish(self, *, interrupted: bool) -> None:
        """The workers are done: only what is left of the budget goes into further reductions, nothing after Ctrl-C."""
        self._at_least = 0.0
        if interrupted:
            self._seconds = 0.0

    def _known(self, case: Case, signature: Signature) -> Finding | None:
        features = frozenset(particular(case.config))
        for finding in self.findings.values():
            if is_telling(finding) and Kind.of(finding, finding.features).covers(signature, features):
                return finding
        return None

    def _merge(self, finding: Finding) -> tuple[Finding, bool]:
        known = self.findings.get(finding.fingerprint)
        if known is None:
            return finding, True
        simplest = min(known, finding, key=lambda f: complexity(Case.parse(f.case)))
        return msgspec.structs.replace(simplest, count=known.count + 1, first_case=known.first_case), simplest is finding

    def _reduced(self, case: Case, result: BackendEnded, signature: Signature, progress: Callable[[Case], None]) -> Finding:
        seen = {case: result}

        def fails(candidate: Case) -> bool:
            progress(candidate)
            for _ in range(_RETRIES.get(signature.verdict, 1)):  # what comes and goes gets a few chances
                found = self._evaluate(candidate, signature.backend)
                if found.verdict.failing and Signature.of(found) == signature:
                    seen[candidate] = found
                    return True
            return False

        budget = Budget(max(min(self._per_finding, self._seconds), self._at_least))
        if budget.seconds <= 0.0:
            reduction = Reduction(case, "budget spent", 0)
        elif all(fails(case) for _ in range(_CONFIRMATIONS)):
            reduction = reduce_case(case, fails, budget)
        else:
            reduction = Reduction(case, NOT_REPRODUCED, 0)
        self._seconds -= budget.elapsed
        minimal, found = reduction.case, seen[reduction.case]
        features, how = _telling(reduction, signature.verdict), signature.model
        if reduction.outcome == NOT_REPRODUCED:
            how = f"{how} {NOT_REPRODUCED}"
        return Finding(
            fingerprint=fingerprint(minimal, signature.backend, signature.verdict, signature.in_pass, how, features),
            verdict=signature.verdict,
            backend=signature.backend,
            case=str(minimal),
            first_case=str(case),
            in_pass=signature.in_pass,
            model=signature.model,
            reason=found.reason,
            reduction=reduction.outcome,
            features=features,
            discrepancy=found.discrepancies.get(signature.in_pass),
        )


def is_telling(finding: Finding) -> bool:
    """Whether the features of ``finding`` tell its kind from others, so that a case that has them may be counted to it."""
    return finding.reduction == "minimal" or finding.verdict is Verdict.IMPRECISE


def _telling(reduction: Reduction, verdict: Verdict) -> list[str]:
    """Return the features by which a failure is told from others: all that are left of a minimal case.

    What does not come back says nothing by its case: all of it is one finding of its kind. Of a case that is not minimal
    the broad features are certain to be no accident, and of an error of rounding those that choose the arithmetic.
    """
    config = reduction.case.config
    if reduction.outcome == NOT_REPRODUCED:
        return []
    if verdict is Verdict.IMPRECISE:
        return particular_on(ARITHMETIC, config)
    return particular(config) if reduction.outcome == "minimal" else particular_on(BROAD, config)
