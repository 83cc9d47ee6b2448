"""Compares two runs, such as of two versions of a framework: what changed, and what shows it.

That a run lacks a finding of another one says little: usually its case was not drawn. So a finding counts as fixed only where
its own cases ran and agreed, or its minimal case was run again and passed; otherwise it was not met. What was not reduced has a
name that other failures may share, so it is known by its own cases and by what covers them, never by its name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from convfuzz.case import Case
from convfuzz.case.features import particular
from convfuzz.record.cause import Groups
from convfuzz.record.confirmation import Recurrence
from convfuzz.record.events import BackendEnded, CaseStarted, FindingKept, Recheck
from convfuzz.record.failure_kind import Kind, Signature
from convfuzz.record.finding import Finding
from convfuzz.record.journal import read_journal
from convfuzz.record.nights import VersionChange
from convfuzz.record.run_directory import Run
from convfuzz.verdicts import Verdict


class Change(StrEnum):
    """What became of a finding from run A to run B."""

    NEW = "new"
    NEWLY_MET = "newly met"
    STILL_THERE = "still there"
    FIXED = "fixed"
    NOT_MET = "not met again"
    UNKNOWN = "cannot be said"


_COME = (Change.NEW, Change.NEWLY_MET)


@dataclass
class Encounters:
    """How often the own cases of a finding ran in another run, and cases of its kind, and how often they agreed there."""

    agreed: int = 0
    failed: int = 0
    alike: int = 0
    alike_agreed: int = 0

    def __str__(self) -> str:
        if self.agreed or self.failed:
            own = self.agreed + self.failed
            return f"{own:,} of its own cases ran, {_agreed(self.agreed, own)}"
        if self.alike:
            ran = f"{self.alike:,} case{'s'[: self.alike != 1]} with its features"
            return f"{ran} ran, {_agreed(self.alike_agreed, self.alike)}"
        return "no case with its features ran"


@dataclass(frozen=True)
class Changed:
    """A finding of either run, what became of it, and the evidence.

    ``is_known`` says that B's ledger tolerates it, or that it is known upstream.
    """

    finding: Finding
    change: Change
    evidence: str
    is_known: bool = False


@dataclass(frozen=True)
class ChangedCause:
    """A cause of either run and what became of it, by the finding that shows it best; ``members`` are the fingerprints of the others.

    A cause is new where all its findings are: one more way in which an old cause shows is no new cause.
    """

    lead: Changed
    members: tuple[str, ...]
    change: Change
    is_known: bool


@dataclass(frozen=True)
class Side:
    """One backend in one run: versions, cases compared and declined, its worst error over its tolerance, and seconds for each case."""

    version: str
    compared: int
    declined: int
    worst_ratio: float | None
    seconds_each: float | None


@dataclass(frozen=True)
class BackendChange:
    """One backend in A and in B, ``None`` where it was not in that run."""

    backend: str
    a: Side | None
    b: Side | None


@dataclass(frozen=True)
class Comparison:
    """What changed from run A to run B; ``asks_the_same`` says that both draw from the same strategy with the same seed."""

    versions: tuple[VersionChange, ...]
    findings: tuple[Changed, ...]
    backends: tuple[BackendChange, ...]
    asks_the_same: bool
    causes: tuple[ChangedCause, ...] = ()

    @property
    def new(self) -> list[ChangedCause]:
        """Causes that B has and A does not have, without those that B's ledger tolerates or that are known upstream."""
        return [one for one in self.causes if one.change in _COME and not one.is_known]


Reduced = Mapping[str, Finding]
"""Findings that were reduced after their run, each under the fingerprint that it has there."""


def compare(a: Run, b: Run, replayed: Mapping[str, Recheck] | None = None, reduced: tuple[Reduced, Reduced] = ({}, {})) -> Comparison:
    """Compare two runs.

    ``replayed`` says by fingerprint what became of findings of A that were run again with B's versions, and ``reduced`` has
    the findings of A and of B that were reduced by now, with B's versions as well.
    """
    in_a, in_b = (
        {f.fingerprint: msgspec.structs.replace(by_now.get(f.fingerprint, f), fingerprint=f.fingerprint) for f in run.findings}
        for run, by_now in zip((a, b), reduced, strict=True)
    )
    named = {name: name for name in in_a if name in in_b and not (in_a[name].is_unreduced or in_b[name].is_unreduced)}
    alike = {name: other for name, finding in in_b.items() if name not in named and (other := _alike(finding, in_a.values()))}
    same = named | alike
    only_a = [f for name, f in in_a.items() if name not in same.values() and not _alike(f, in_b.values())]
    only_b = [finding for name, finding in in_b.items() if name not in same]
    gone, come = meetings(b, a, only_a), meetings(a, b, only_b)
    rechecked = {line.entry.fingerprint: line.recheck for line in b.info.ledger if line.recheck} | dict(replayed or {})
    known = {name for name in in_b if b.summary.tolerated(name) or b.info.upstream_of(name)}
    changed = [_new(f, come[f.fingerprint], _unreduced_like(f, only_a), is_known=f.fingerprint in known) for f in only_b]
    gone_ones = [_gone(f, gone[f.fingerprint], _unreduced_like(f, only_b), rechecked.get(f.fingerprint)) for f in only_a]
    changed += [Changed(in_b[name], Change.STILL_THERE, _both(in_a[other], in_b[name]), name in known) for name, other in same.items()]
    order = {change: rank for rank, change in enumerate(Change)}
    asks_the_same = (a.info.strategy, a.info.seed, a.info.backends) == (b.info.strategy, b.info.seed, b.info.backends)
    sides = {_in_b(one.finding.fingerprint): one for one in changed} | {_in_a(one.finding.fingerprint): one for one in gone_ones}
    causes = _causes(sides, a, b, {other: name for name, other in same.items()})
    return Comparison(
        tuple(_version_changes(a, b)),
        tuple(sorted([*changed, *gone_ones], key=lambda one: order[one.change])),
        tuple(_backends(a, b)),
        asks_the_same,
        tuple(sorted(causes, key=lambda one: order[one.change])),
    )


def _in_a(fingerprint: str) -> str:
    """Return a name for a finding of A alone: what was not reduced may be another failure in B that has its fingerprint."""
    return f"A {fingerprint}"


def _in_b(fingerprint: str) -> str:
    return f"B {fingerprint}"


def _causes(sides: Mapping[str, Changed], a: Run, b: Run, in_b: Mapping[str, str]) -> Iterable[ChangedCause]:
    """Group findings, by side, by the causes that either run has shown; ``in_b`` are B's names of findings of A that it has too."""
    groups = Groups(sides)
    for cause in a.causes:
        names = [_in_b(in_b[name]) if name in in_b else _in_a(name) for name in cause.members]
        groups.unite([name for name in names if name in sides])
    for cause in b.causes:
        groups.unite([name for name in map(_in_b, cause.members) if name in sides])
    leads = {_in_a(cause.lead) for cause in a.causes} | {_in_b(cause.lead) for cause in b.causes}
    for names in groups.members():
        change = _change_of([sides[name].change for name in names])
        first = min(names, key=lambda name: (sides[name].change is not change, name not in leads))
        others = tuple(sides[name].finding.fingerprint for name in names if name != first)
        yield ChangedCause(sides[first], others, change, is_known=all(sides[name].is_known for name in names))


def _change_of(changes: Sequence[Change]) -> Change:
    """Return what became of a cause by what became of its findings: where some have come and others gone, it is still there."""
    has_come = any(one in _COME for one in changes)
    if Change.STILL_THERE in changes or (has_come and any(one in (Change.FIXED, Change.NOT_MET) for one in changes)):
        return Change.STILL_THERE
    return next(one for one in (Change.UNKNOWN, Change.NEW, Change.NEWLY_MET, Change.NOT_MET, Change.FIXED) if one in changes)


def _alike(finding: Finding, others: Iterable[Finding]) -> str | None:
    """Return which of ``others`` is the same kind of failure by the rule that groups the failures of one run, if any."""
    for other in others:
        if Signature.of(finding) == Signature.of(other) and finding.case == other.case:
            return other.fingerprint
        pairs = ((finding, other), (other, finding))
        if any(one.is_telling and Kind.of(one, one.features).covers(Signature.of(two), _particular(two)) for one, two in pairs):
            return other.fingerprint
    return None


def _particular(finding: Finding) -> frozenset[str]:
    return frozenset(particular(Case.parse(finding.case).config))


def meetings(run: Run, other: Run, findings: Iterable[Finding]) -> dict[str, Encounters]:
    """Return what ``run`` says about ``findings`` of the ``other`` run, by fingerprint, in one pass over the journals of each."""
    met = {finding.fingerprint: Encounters() for finding in findings}
    own: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    kinds: defaultdict[str, list[tuple[str, Kind]]] = defaultdict(list)
    for finding in findings:
        for line in (finding.case, finding.first_case):
            own[line, finding.backend].add(finding.fingerprint)
        kinds[finding.backend].append((finding.fingerprint, Kind.of(finding, finding.features)))
    if not met:
        return met
    for event in read_journal(other.directory / "journal-findings.jsonl"):
        if isinstance(event, FindingKept) and event.fingerprint in met:
            own[event.case, event.backend].add(event.fingerprint)
    for journal in sorted(run.directory.glob("journal-*.jsonl")):
        line, features = "", frozenset[str]()
        for event in read_journal(journal):
            if isinstance(event, CaseStarted):
                line, features = event.case, frozenset(particular(Case.parse(event.case).config))
            elif isinstance(event, BackendEnded) and event.backend in kinds and event.verdict is not Verdict.UNSUPPORTED:
                alike = [name for name, kind in kinds[event.backend] if kind.may_meet(event.backend, features)]
                _count(met, event, own.get((line, event.backend), ()), alike)
    return met


def _count(met: Mapping[str, Encounters], event: BackendEnded, own: Iterable[str], alike: Iterable[str]) -> None:
    agrees = event.verdict is Verdict.AGREE
    for name in own:
        met[name].agreed += agrees
        met[name].failed += not agrees
    for name in alike:
        met[name].alike += 1
        met[name].alike_agreed += agrees


def _unreduced_like(finding: Finding, others: Iterable[Finding]) -> Finding | None:
    """Return one of ``others`` that may be the same failure, where it cannot be said, since one of the two was not reduced."""
    alike = (other for other in others if Signature.of(other) == Signature.of(finding))
    return next((other for other in alike if finding.is_unreduced or other.is_unreduced), None)


def _undecided(finding: Finding, other: Finding, run: str, *, is_known: bool = False) -> Changed:
    which = "it was not reduced, nor was" if finding.is_unreduced and other.is_unreduced else "one was not reduced: this or"
    evidence = f"{which} {other.fingerprint} of {run}, which may be the same; --replay reduces them"
    return Changed(finding, Change.UNKNOWN, evidence, is_known)


def _new(finding: Finding, met: Encounters, other: Finding | None, *, is_known: bool) -> Changed:
    """A finding is certainly new only where its own case agreed in A."""
    certain = met.agreed and not met.failed and not _comes_and_goes(finding)
    if other is not None and not certain:
        return _undecided(finding, other, "A", is_known=is_known)
    return Changed(finding, Change.NEW if certain else Change.NEWLY_MET, f"in A {met}", is_known)


def _gone(finding: Finding, met: Encounters, other: Finding | None, outcome: Recheck | None) -> Changed:
    if outcome is Recheck.FIXED:
        return Changed(finding, Change.FIXED, "its minimal case was run again and passes")
    if outcome in (Recheck.STILL_FAILING, Recheck.CHANGED):
        return Changed(finding, Change.STILL_THERE, "B did not meet it; its minimal case was run again and fails")
    if outcome is Recheck.ERROR:
        return Changed(finding, Change.UNKNOWN, "its minimal case could not be run again")
    if met.failed:
        return Changed(finding, Change.STILL_THERE, f"under another name: in B {met}")
    if met.agreed and not _comes_and_goes(finding):
        return Changed(finding, Change.FIXED, f"in B {met}")
    if other is not None:
        return _undecided(finding, other, "B")
    comes = "it comes and goes; " if _comes_and_goes(finding) else ""
    return Changed(finding, Change.NOT_MET, f"{comes}in B {met}")


def _comes_and_goes(finding: Finding) -> bool:
    return finding.confirmation.comes_and_goes or finding.confirmation.recurrence is Recurrence.DEPENDS


def _both(a: Finding, b: Finding) -> str:
    parts = [f"A has it as {a.fingerprint}"] if a.fingerprint != b.fingerprint else []
    if a.max_abs != b.max_abs and a.case == b.case:
        parts.append(f"max-abs {a.max_abs:.3g} → {b.max_abs:.3g}")
    if a.confirmation.recurrence is not b.confirmation.recurrence:
        parts.append(f"{a.confirmation.recurrence} → {b.confirmation.recurrence}")
    return ", ".join(parts) or "in both"


def _version_changes(a: Run, b: Run) -> Iterable[VersionChange]:
    before, after = ({"convfuzz": run.info.tool_version} | run.info.versions for run in (a, b))
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield VersionChange(name, before.get(name, "not there"), after.get(name, "not there"))


def _backends(a: Run, b: Run) -> Iterable[BackendChange]:
    for name in dict.fromkeys([*a.info.backends, *b.info.backends, *a.summary.backends, *b.summary.backends]):
        yield BackendChange(name, _side(a, name), _side(b, name))


def _side(run: Run, name: str) -> Side | None:
    found = run.summary.backends.get(name)
    if found is None:
        return None
    version = ", ".join(f"{library} {version}" for library, version in run.info.backend_versions.get(name, {}).items())
    ratio, each = (found.worst_ratio, found.seconds / found.compared) if found.compared else (None, None)
    return Side(version, found.compared, found.skips.total(), ratio, each)


def _agreed(agreed: int, ran: int) -> str:
    return f"{'all' if agreed == ran else 'none' if not agreed else f'{agreed:,}'} agreed"
