"""From failures to findings: each failing case is reduced once, grouped by what its minimal case says, and counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from convfuzz.backends import Backend
from convfuzz.case import Case
from convfuzz.check import Checker, fold_check
from convfuzz.events import BackendEnded, FindingKept
from convfuzz.features import particular
from convfuzz.findings import Element, Finding, fingerprint
from convfuzz.judging import Judge, Verdict
from convfuzz.records import Real
from convfuzz.reduce import Budget, Reduction, complexity, reduce_case
from convfuzz.tensors import make_tensors

_WORST_ELEMENTS = 8
_RETRIES = 3
_SECONDS_FOR_ALL = 120.0


@dataclass(frozen=True)
class Signature:
    """What has to stay the same while a failure is reduced: who failed, how, in which pass, and what explains it."""

    backend: str
    verdict: Verdict
    in_pass: str
    model: str

    @classmethod
    def of(cls, ended: BackendEnded) -> Signature:
        """Return the signature of a failing result."""
        return cls(ended.backend, ended.verdict, ended.in_pass, ended.model)


class Triage:
    """The findings of a run so far.

    A failure whose signature is known and whose case has every particular feature of the finding's minimal case is
    counted as one more instance of it; any other is reduced. All reductions together take at most ``seconds``; after
    that new failures are kept unreduced.
    """

    def __init__(self, backends: Mapping[str, Backend], *, seconds: float = _SECONDS_FOR_ALL, per_finding: float = 10.0) -> None:
        self._backends = backends
        self._seconds = seconds
        self._per_finding = per_finding
        self.findings: dict[str, Finding] = {}

    def consider(self, case: Case, ended: BackendEnded, progress: Callable[[Case], None] | None = None) -> tuple[Finding, FindingKept]:
        """Take a failing result in; return its finding as it stands now and the event that says so."""
        signature = Signature.of(ended)
        known = self._known(case, signature)
        if known is not None:
            finding = msgspec.structs.replace(known, count=known.count + 1)
        else:
            finding = self._merge(self._reduced(case, ended, signature, progress))
        self.findings[finding.fingerprint] = finding
        return finding, _event(finding, case)

    def _known(self, case: Case, signature: Signature) -> Finding | None:
        features = set(particular(case.config))
        for finding in self.findings.values():
            same = (finding.backend, finding.verdict, finding.in_pass, finding.model) == (
                signature.backend, signature.verdict, signature.in_pass, signature.model,
            )  # fmt: skip
            if same and finding.reduction == "minimal" and features.issuperset(finding.features):
                return finding
        return None

    def _merge(self, finding: Finding) -> Finding:
        known = self.findings.get(finding.fingerprint)
        if known is None:
            return finding
        simplest = min(known, finding, key=lambda f: complexity(Case.parse(f.case)))
        return msgspec.structs.replace(simplest, count=known.count + 1, first_case=known.first_case)

    def _reduced(self, case: Case, ended: BackendEnded, signature: Signature, progress: Callable[[Case], None] | None) -> Finding:
        backend = self._backends[signature.backend]
        checker = Checker([backend])
        latest: dict[Case, BackendEnded] = {}

        def fails(candidate: Case) -> bool:
            if progress:
                progress(candidate)
            # A failure that comes and goes gets a few chances before the candidate counts as passing.
            for _ in range(_RETRIES if signature.verdict is Verdict.NONDETERMINISTIC else 1):
                result = fold_check(candidate, checker.events(candidate))
                found = next((r for r in result.failures if Signature.of(r) == signature), None)
                if found:
                    latest[candidate] = found
                    return True
            return False

        budget = Budget(min(self._per_finding, max(self._seconds, 0.0)))
        reduction = reduce_case(case, fails, budget) if self._seconds > 0.0 else Reduction(case, "budget spent", 0)
        self._seconds -= budget.elapsed
        minimal, found = reduction.case, latest.get(reduction.case, ended)
        return Finding(
            fingerprint=fingerprint(minimal, signature.backend, signature.verdict, signature.in_pass, signature.model),
            verdict=signature.verdict,
            backend=signature.backend,
            case=str(minimal),
            first_case=str(case),
            in_pass=signature.in_pass,
            model=signature.model,
            reason=found.reason,
            reduction=reduction.outcome,
            features=particular(minimal.config),
            discrepancy=found.discrepancies.get(signature.in_pass),
            elements=worst_elements(minimal, backend) if found.discrepancies else [],
            versions=dict(backend.versions) | {"numpy": np.__version__},
        )


def worst_elements(case: Case, backend: Backend) -> list[Element]:
    """Run ``case`` once more and return the elements that are furthest off."""
    tensors = make_tensors(case)
    judge = Judge(case, tensors)
    try:
        actual = backend.run(case, tensors)["forward"]
    except Exception:  # noqa: BLE001 - it computed a moment ago; without its output there are no elements to show
        return []
    y = judge.expected.y
    if actual.shape != y.shape:
        return []
    with np.errstate(all="ignore"):
        values = actual.astype(np.float64)
        same = (values == y) | (np.isnan(values) & np.isnan(y))
        error = np.where(same, 0.0, np.nan_to_num(np.abs(values - y), nan=np.inf)).reshape(-1)
    order = np.argsort(-error, kind="stable")[:_WORST_ELEMENTS]
    return [
        Element(tuple(int(i) for i in np.unravel_index(k, y.shape)), Real(y.reshape(-1)[k]), Real(values.reshape(-1)[k]))
        for k in order
        if error[k] > 0.0
    ]


def _event(finding: Finding, case: Case) -> FindingKept:
    return FindingKept(
        fingerprint=finding.fingerprint,
        backend=finding.backend,
        verdict=finding.verdict,
        case=str(case),
        minimal=finding.case,
        model=finding.model,
        in_pass=finding.in_pass,
        max_abs=finding.max_abs,
    )
