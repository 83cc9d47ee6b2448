"""From failures to findings: each failing case is run again and reduced once, grouped by what its minimal case says, and counted."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import msgspec

from convfuzz.backend_names import framework_of
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.features import BROAD, needed, particular_on
from convfuzz.record.confirmation import Confirmation, Preceding, ProcessRuns, Recurrence, Step, Tally
from convfuzz.record.events import BackendEnded, FindingKept
from convfuzz.record.failure_kind import Signature
from convfuzz.record.finding import LUMPED, Finding, ReductionOutcome, fingerprint
from convfuzz.triage.examination import Examination, Failure
from convfuzz.triage.needs import has_all
from convfuzz.triage.reduction import Budget, complexity
from convfuzz.triage.reruns import Processes, Reruns, Settled, one_kind
from convfuzz.triage.resets import traits, traits_left
from convfuzz.verdicts import RESOURCES, Verdict, one_class

_MOST_SEARCHES = 3
"""How many failures of a kind that came back in no way are run after what preceded them, before more are only counted."""
_TOO_FEW = 0.5
"""With fewer seconds than this left for all, no examination begins: nothing would be known after it."""
_MOST_HINTS, _MOST_BEGUN = 6, 2
_KEPT = 0.2
"""The share of all time that is kept for confirming what was found when the rest was spent."""
_REDUCED = 0.75
"""The share of the time after the workers that goes into reducing; the rest is for confirming."""
_WHOLE = 1.5
"""What hangs is run once for as long as a case may take, before it is called minimal; this is how much longer that may take."""
_SEARCHED = 3
"""Such a search gets at most one part in so many of the time that is left for all."""


class Triage:
    """The findings of a run so far.

    A failure whose signature is known and whose case has every particular feature of the finding's minimal case is
    counted as one more instance of it (:meth:`count`); any other is examined: run again and reduced (:meth:`examination`), and
    then kept (:meth:`take`). Examinations may go on side by side, each in processes of its own.

    An examination takes about ``per_finding`` seconds, and one of what hangs as long on top as it did when it was found; all
    take ``seconds``, of which one gets at most one part in ``share`` of what is left, so that the first does not take it from the
    others; after that each new failure gets ``at_least`` seconds. Where they may be ``owing``, each takes what it needs, and
    who begins them waits until that is earned. A part of the time is kept for :meth:`confirm_others`, in ``processes``. A finding
    that is reduced takes over those whose cases it covers: they were not reduced for want of time, or have more features.
    """

    def __init__(
        self,
        processes: Processes,
        *,
        seconds: float,
        per_finding: float = 13.0,
        at_least: float = 1.0,
        share: int = 4,
        owing: bool = False,
    ) -> None:
        self._processes = processes
        self._seconds = self._kept_seconds = 0.0
        self.grant(seconds)
        self._per_finding = per_finding
        self._at_least, self._share, self._owing = at_least, share, owing
        self._deadline = math.inf
        self.findings: dict[str, Finding] = {}
        self._seen: defaultdict[str, list[Case]] = defaultdict(list)

    def consider(
        self, case: Case, result: BackendEnded, preceding: Preceding, progress: Callable[[Case], None]
    ) -> tuple[Finding, FindingKept, bool]:
        """Take a failing result in at once; ``preceding`` is what its process had run before, ``progress`` is told each candidate.

        Returns:
            As :meth:`take` does.
        """
        failure = Failure(case, result, preceding)
        counted = self.count(failure)
        if counted is not None:
            return *counted, False
        examination = self.examination(failure)
        try:
            examination.run(self._processes, progress)
        except BaseException:
            self.spend(examination)
            raise
        return self.take(examination)

    def count(self, failure: Failure) -> tuple[Finding, FindingKept] | None:
        """Count a failure that is an instance of a finding by its case; where it takes a history, by its process too."""
        for finding in self._alike(failure):
            if finding.confirmation.recurrence is not Recurrence.DEPENDS or finding.fingerprint in failure.preceding.process.explained_by:
                finding = self.findings[finding.fingerprint] = _once_more(finding)  # noqa: PLW2901
                return finding, _kept(finding, failure, [])
        return None

    def examination(self, failure: Failure, best: Case | None = None, likely: Sequence[Case] = ()) -> Examination:
        """Return how to examine a failure, with what is known by now.

        ``best`` is where an earlier examination of it ended, and ``likely`` are simple cases on which it may show as well.
        """
        per_finding = self._per_finding
        if failure.result.verdict in RESOURCES and per_finding > 0.0:
            per_finding += _WHOLE * failure.result.seconds
        left = min(self._seconds, self._deadline - time.monotonic())
        if left < _TOO_FEW:
            left = 0.0
        dependent = [finding for finding in self._alike(failure) if finding.confirmation.recurrence is Recurrence.DEPENDS]
        return Examination(
            failure,
            per_finding if self._owing else max(min(per_finding, left / self._share), self._at_least),
            max(left / _SEARCHED, self._at_least),
            [*([best] if best else []), *likely, *self._hints(failure)],
            dependent,
            self._lump(failure),
            self._known(failure.signature),
        )

    def take(self, examination: Examination) -> tuple[Finding, FindingKept, bool]:
        """Keep what an examination has found out.

        Returns:
            Its finding as it stands now, the event that says so, and whether the finding's minimal case is new.
        """
        self.spend(examination)
        failure, outcome = examination.failure, examination.outcome
        assert outcome is not None, "an examination that ended has an outcome"
        counted = self.count(failure)  # another examination may have found out meanwhile what it is
        if counted is not None:
            return *counted, False
        if isinstance(outcome, Settled):
            finding = _finding(failure.case, failure.result, outcome)
            standing = self._standing(finding)
            finding, is_new = (_once_more(standing), False) if standing is not None else self._merge(finding)
        else:
            finding, is_new = _once_more(self.findings.get(outcome.fingerprint, outcome)), False
        if finding.is_telling and not is_new:
            self._seen[finding.fingerprint].append(failure.case)
        if finding.confirmation.recurrence is Recurrence.DEPENDS:
            failure.preceding.process.explained_by.add(finding.fingerprint)
        finding, absorbed = self._absorb(finding) if is_new else (finding, [])
        self.findings[finding.fingerprint] = finding
        return finding, _kept(finding, failure, absorbed), is_new

    # -- time -----------------------------------------------------------------------------------------------------------

    @property
    def seconds_left(self) -> float:
        """What examinations may take still."""
        return self._seconds

    @property
    def is_late(self) -> bool:
        """Whether the time for reducing that :meth:`finish` has set is over."""
        return time.monotonic() > self._deadline

    def grant(self, seconds: float) -> None:
        """Add to the time for examinations; a part of it is kept for confirming."""
        self._kept_seconds += seconds * _KEPT
        self._seconds += seconds * (1 - _KEPT)

    def spend(self, examination: Examination) -> None:
        """Take what an examination took from the time for all, once."""
        self._seconds -= examination.elapsed
        examination.elapsed = 0.0

    def finish(self, seconds: float, side_by_side: int = 1) -> None:
        """The workers are done: at most ``seconds`` go into reducing, so many examinations ``side_by_side``, and confirming the rest."""
        self._at_least, self._owing = 0.0, False
        self._deadline = time.monotonic() + seconds * _REDUCED
        self._seconds = seconds * _REDUCED * side_by_side
        self._kept_seconds = seconds * (1 - _REDUCED)

    # -- what is known --------------------------------------------------------------------------------------------------

    def confirm_others(self, progress: Callable[[Case], None]) -> Iterator[Finding]:
        """Run the findings in fresh processes that no time was left for before, what hangs last; yield each as it stands then."""
        others = [finding for finding in self.findings.values() if finding.confirmation.recurrence is Recurrence.NOT_CONFIRMED]
        others.sort(key=lambda finding: finding.verdict in RESOURCES)
        for number, finding in enumerate(others):
            budget = Budget(self._kept_seconds / (len(others) - number))
            if budget.is_spent:
                return
            confirmation = Reruns(self._processes, Case.parse(finding.case), result_of(finding), budget, progress).confirmed()
            self._kept_seconds -= budget.elapsed
            self.findings[finding.fingerprint] = msgspec.structs.replace(finding, confirmation=confirmation)
            yield self.findings[finding.fingerprint]

    def _alike(self, failure: Failure) -> list[Finding]:
        config = failure.case.config
        return [finding for finding in self.findings.values() if finding.is_telling and self._covers(finding, failure.signature, config)]

    def _standing(self, finding: Finding) -> Finding | None:
        """Return a reduced finding that covers the case of a new one, which has ended where no single step makes it as simple."""
        if finding.fingerprint in self.findings or finding.is_lump or finding.confirmation.recurrence is Recurrence.DEPENDS:
            return None
        config = Case.parse(finding.case).config
        reduced = (f for f in self.findings.values() if f.reduction == ReductionOutcome.MINIMAL)
        settled = (f for f in reduced if f.confirmation.recurrence is not Recurrence.DEPENDS)
        return next((f for f in settled if self._covers(f, Signature.of(finding), config)), None)

    def _covers(self, finding: Finding, signature: Signature, config: ConvConfig) -> bool:
        """Whether a failure on a configuration is of the finding's kind, by whichever limit a call ended that took ever more."""
        return one_kind(Signature.of(finding), signature) and has_all(config, finding, self._seen[finding.fingerprint])

    def _known(self, signature: Signature) -> dict[tuple[ConvConfig, bool], Finding]:
        """Return the findings of one way to fail that are reduced and come back, by their minimal configuration and passes."""
        return {
            ((case := Case.parse(f.case)).config, case.grad): f
            for f in self.findings.values()
            if f.reduction == ReductionOutcome.MINIMAL
            and f.confirmation.recurrence is Recurrence.CONFIRMED
            and one_kind(Signature.of(f), signature)
        }

    def _absorb(self, finding: Finding) -> tuple[Finding, list[str]]:
        """Take the findings out whose cases ``finding`` covers, reduced or not, and count their failures to it."""
        if finding.reduction != ReductionOutcome.MINIMAL or finding.confirmation.recurrence is Recurrence.DEPENDS:
            return finding, []
        others = [f for f in self.findings.values() if not f.is_lump and f.fingerprint != finding.fingerprint]
        covered = [
            f
            for f in others
            if f.confirmation.recurrence is not Recurrence.DEPENDS and self._covers(finding, Signature.of(f), Case.parse(f.case).config)
        ]
        for other in covered:
            del self.findings[other.fingerprint]
        return msgspec.structs.replace(finding, count=finding.count + sum(f.count for f in covered)), [f.fingerprint for f in covered]

    def _hints(self, failure: Failure) -> list[Case]:
        """Return cases on which the failure is likely to show as well, the likeliest first.

        Where the failing case has all that a reduced finding of the same framework needs, that is the finding's minimal case as
        it is, if another backend fails there in the same way, or with the data and the passes of the failure, whose verdict or
        pass is another one: NaN where there was a wrong number, a gradient beside the output. So far as an earlier failure of the same
        kind was reduced, this one need not be reduced again.
        """
        reduced = [f for f in self.findings.values() if f.reduction == ReductionOutcome.MINIMAL]
        reduced = [f for f in reduced if has_all(failure.case.config, f, self._seen[f.fingerprint], roughly=True)]
        same = [Case.parse(f.case) for f in reduced if one_kind(Signature.of(f), replace(failure.signature, backend=f.backend))]
        framework = framework_of(failure.result.backend)
        others = [Case.parse(f.case) for f in reduced if framework_of(f.backend) == framework]
        moved = sorted(filter(None, (_with_data_of(failure.case, case.config) for case in others)), key=complexity)
        return list(dict.fromkeys([*same, *self._begun(failure), *moved[:_MOST_HINTS]]))

    def _begun(self, failure: Failure) -> list[Case]:
        """Return where reductions of this way to fail were cut off at what the failing case has, too, the simplest first."""
        own = traits(failure.case)
        cut_off = (f for f in self.findings.values() if f.is_unreduced and not f.is_lump and one_kind(Signature.of(f), failure.signature))
        ends = ((Case.parse(f.case), Case.parse(f.first_case)) for f in cut_off)
        left = [end for end, first in ends if traits_left(end, first) <= own and complexity(end) < complexity(failure.case)]
        return sorted(left, key=complexity)[:_MOST_BEGUN]

    def _lump(self, failure: Failure) -> Finding | None:
        """Return the finding of all failures of this kind that come and go, once enough has been tried."""
        lump = self.findings.get(_lump_name(failure.case, failure.signature))
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


def reduce_finding(processes: Processes, finding: Finding, seconds: float, progress: Callable[[Case], None]) -> Finding:
    """Go on with the reduction of a finding that was cut off, for about ``seconds``."""
    triage = Triage(processes, seconds=seconds / (1 - _KEPT), per_finding=seconds, at_least=0.0, share=1)
    first = Case.parse(finding.first_case)
    runs = ProcessRuns()
    failure = Failure(first, result_of(finding), runs.until(Step(finding.backend, str(first))))
    examination = triage.examination(failure, Case.parse(finding.case))
    examination.run(processes, progress)
    return triage.take(examination)[0]


def renamed(finding: Finding, backend: str) -> Finding:
    """Return the finding as one of ``backend``, which is the same one by another name."""
    case, how = Case.parse(finding.case), _how(finding.model, finding.confirmation)
    if finding.is_lump:
        name = _lump_name(case, replace(Signature.of(finding), backend=backend))
    else:
        name = fingerprint(case, backend, finding.verdict, finding.in_pass, how, finding.features)
    return msgspec.structs.replace(finding, fingerprint=name, backend=backend)


def result_of(finding: Finding) -> BackendEnded:
    """Return the failing result that a finding stands for."""
    return BackendEnded(backend=finding.backend, verdict=finding.verdict, seconds=0.0, model=finding.model, in_pass=finding.in_pass)


def _with_data_of(case: Case, config: ConvConfig) -> Case | None:
    """Return a configuration with the data and the passes of ``case``; ``None`` where it cannot have them."""
    try:
        return case.changed(config=config)
    except ValueError:  # the regime has no values of this dtype
        return None


def _kept(finding: Finding, failure: Failure, absorbed: list[str]) -> FindingKept:
    return FindingKept(
        fingerprint=finding.fingerprint,
        backend=finding.backend,
        verdict=finding.verdict,
        case=str(failure.case),
        minimal=finding.case,
        model=finding.model,
        in_pass=finding.in_pass,
        max_abs=finding.max_abs,
        absorbs=absorbed,
    )


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


def _how(model: str, confirmation: Confirmation) -> str:
    return f"{model} {Recurrence.DEPENDS}" if confirmation.recurrence is Recurrence.DEPENDS else model


def _lump_name(case: Case, signature: Signature) -> str:
    how = f"{signature.model} {ReductionOutcome.NOT_REPRODUCED}"
    return fingerprint(case, signature.backend, signature.verdict, signature.in_pass, how, [])


def _finding(case: Case, result: BackendEnded, settled: Settled) -> Finding:
    """Make a finding of a failure on ``case``."""
    reduction, evidence, signature = settled.reduction, settled.evidence, Signature.of(result)
    if one_class(evidence.verdict, signature.verdict):
        signature = replace(signature, verdict=evidence.verdict)  # as it ended with all the time that a case may take
    minimal, features = reduction.case, _telling(case, settled, signature.verdict)
    how = _how(signature.model, settled.confirmation)
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
