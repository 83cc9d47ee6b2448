"""Several runs merged into one: their summaries added up and their findings joined by fingerprint, unless they were not reduced."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import msgspec

from convfuzz.case import PASSES
from convfuzz.record.by_backend import BackendLine, by_backend
from convfuzz.record.cause import Cause, causes_of
from convfuzz.record.counts import BackendSummary, EntryUse, FindingSummary, PairSummary
from convfuzz.record.finding import Finding
from convfuzz.record.ledger import Entry
from convfuzz.record.outcome import tolerates_known
from convfuzz.record.run_directory import Run, UpstreamLine
from convfuzz.record.summary import REFERENCE, Summary
from convfuzz.system.json_records import Real
from convfuzz.verdicts import Discrepancy, Verdict

MOST_SCRIPT_BYTES = 64 * 2**10
DTYPE_ORDER = ("float64", "float32", "bfloat16", "float16", "complex128", "complex64", "int64", "int32", "int8")


@dataclass(frozen=True)
class Found:
    """A finding, the run that holds its file, and in how many runs it came up.

    ``in_file`` is false where the journal names a finding whose file is not there: its minimisation had not ended. A finding that
    was not reduced shares its fingerprint with other failures of its kind: beside another run's it has a name of its own as its
    ``finding.fingerprint``, and ``in_run`` is the one that its run knows.
    """

    finding: Finding
    run: Run
    count: int
    runs: int = 1
    in_file: bool = True
    name_in_run: str = ""

    @property
    def in_run(self) -> str:
        """The fingerprint by which the run knows it, and by which its files are called."""
        return self.name_in_run or self.finding.fingerprint

    @property
    def _own(self) -> Finding:
        """The finding as its run has it."""
        return msgspec.structs.replace(self.finding, fingerprint=self.in_run)

    @property
    def max_abs(self) -> float:
        """Largest |error| of the minimal case; infinite where NaN or Inf is the failure."""
        found = self.finding.discrepancy
        misplaced = self.finding.verdict is Verdict.NON_FINITE or (found is not None and found.non_finite)
        return math.inf if misplaced else self.finding.max_abs

    @property
    def has_output(self) -> bool:
        """Whether there was an output to measure."""
        return self.finding.discrepancy is not None

    @property
    def script_file(self) -> Path | None:
        """The file of the reproduction script; ``None`` where none was written."""
        return self.run.script(self._own)

    def script(self) -> str | None:
        """Return the reproduction script, unless it is missing or too long for a page."""
        return _short_text(self.script_file)

    def bug_report(self) -> str | None:
        """Return the bug report in Markdown, unless it is missing or too long for a page."""
        return _short_text(self.run.bug_report(self._own))


@dataclass(frozen=True)
class Merged:
    """Any number of runs, as one account."""

    runs: tuple[Run, ...]
    summary: Summary
    findings: tuple[Found, ...]

    @classmethod
    def of(cls, runs: Sequence[Run]) -> Merged:
        """Add ``runs`` up."""
        ordered = tuple(sorted(runs, key=lambda run: run.info.started))
        summary = ordered[0].summary if len(ordered) == 1 else add_up([run.summary for run in ordered])
        return cls(ordered, summary, _join(ordered))

    @cached_property
    def backends(self) -> tuple[str, ...]:
        """Backends in the order in which they were asked for, then those that only the journals know."""
        names = dict.fromkeys(name for run in self.runs for name in run.info.backends)
        names.update(dict.fromkeys(sorted(self.summary.backends)))
        names.update(dict.fromkeys(sorted({name for left, right, _ in self.summary.pairs for name in (left, right)})))
        names.pop(REFERENCE, None)
        return tuple(names)

    @property
    def elapsed(self) -> float:
        """Wall-clock seconds over all runs."""
        return sum(run.info.elapsed_s or max(run.summary.ended - run.summary.started, 0.0) for run in self.runs)

    def known(self, found: Found) -> Entry | None:
        """Return the entry of the ledger that makes a finding a known one."""
        return self.summary.tolerated(found.in_run)

    def upstream(self, found: Found) -> UpstreamLine | None:
        """Return what is known upstream of a finding, by the run that holds its file."""
        return found.run.info.upstream_of(found.in_run)

    def is_tolerated(self, found: Found) -> bool:
        """Whether the run that holds a finding's file does not fail for it."""
        if self.known(found) is not None:
            return True
        info = found.run.info
        backends = {*info.backends, *found.run.summary.backends}
        return self.upstream(found) is not None and tolerates_known(found.finding.backend, backends, info.arguments.get("known", "show"))

    @cached_property
    def by_fingerprint(self) -> dict[str, Found]:
        """The findings."""
        return {found.finding.fingerprint: found for found in self.findings}

    @cached_property
    def causes(self) -> tuple[Cause, ...]:
        """What the findings come from, as the experiments of all runs together have shown: what is unknown first."""
        upstream = {name: line.link for name, found in self.by_fingerprint.items() if (line := self.upstream(found))}
        tolerated = {name: entry.link for name, found in self.by_fingerprint.items() if (entry := self.known(found))}
        told = [self._named_here(cause, run) for run in self.runs for cause in run.info.causes]
        return tuple(causes_of((found.finding for found in self.findings), upstream, tolerated, told))

    def _named_here(self, cause: Cause, run: Run) -> Cause:
        """Return a cause of one run with the names that its findings have among those of all runs."""
        names = {found.in_run: found.finding.fingerprint for found in self.findings if found.name_in_run and found.run is run}
        return msgspec.structs.replace(cause, members=[names.get(name, name) for name in cause.members]) if names else cause

    @cached_property
    def new(self) -> tuple[Cause, ...]:
        """The causes that no ledger knows and nobody upstream."""
        return tuple(cause for cause in self.causes if not cause.known)

    @cached_property
    def by_backend(self) -> tuple[BackendLine, ...]:
        """What was found of each framework and kernel."""
        findings = {name: found.finding for name, found in self.by_fingerprint.items()}
        return tuple(by_backend(self.backends, self.summary, self.causes, findings))


def _short_text(path: Path | None) -> str | None:
    if path is None or path.stat().st_size > MOST_SCRIPT_BYTES:
        return None
    return path.read_text(encoding="utf-8", errors="replace")


def add_up(summaries: Sequence[Summary]) -> Summary:
    """Return the sum of ``summaries``, which are left as they are."""
    total = Summary()
    for one in summaries:
        for name in (
            "cases",
            "configs",
            "comparisons",
            "rounds",
            "reference_seconds",
            "overhead_seconds",
            "canary_planted",
            "canary_caught",
        ):
            setattr(total, name, getattr(total, name) + getattr(one, name))
        total.pairs_met = max(total.pairs_met, one.pairs_met)
        total.lost.update(one.lost)
        total.regimes.update(one.regimes)
        total.skipped.update(one.skipped)
        total.off_domain.update(one.off_domain)
        for axis, values in one.coverage.items():
            total.coverage.setdefault(axis, Counter()).update(values)
        for name, backend in one.backends.items():
            _add_backend(total.backends.setdefault(name, BackendSummary()), backend)
        for key, pair in one.pairs.items():
            kept = total.pairs.setdefault(key, PairSummary())
            before = kept.compared
            kept.add(pair.max_abs, pair.case)
            kept.compared = before + pair.compared
        for fingerprint, finding in one.findings.items():
            known = total.findings.get(fingerprint)
            total.findings[fingerprint] = _both(known, finding) if known else finding
        for fingerprint, use in one.uses.items():
            _add_use(total.uses.setdefault(fingerprint, EntryUse(use.entry)), use)
    return total


def worst_over_dtypes(pairs: dict[tuple[str, str, str], PairSummary]) -> dict[tuple[str, str], PairSummary]:
    """Return each pair's worst discrepancy whatever the dtype, with all its comparisons."""
    worst: dict[tuple[str, str], PairSummary] = {}
    for (left, right, _), pair in pairs.items():
        kept = worst.setdefault((left, right), PairSummary())
        before = kept.compared
        kept.add(pair.max_abs, pair.case)
        kept.compared = before + pair.compared
    return worst


def dtypes_of(summary: Summary) -> list[str]:
    """Return the dtypes that were compared, widest first."""
    return in_order({dtype for _, _, dtype in summary.pairs})


def in_order(dtypes: Collection[str]) -> list[str]:
    """Return ``dtypes``, widest first."""
    return [d for d in DTYPE_ORDER if d in dtypes] + sorted(set(dtypes) - set(DTYPE_ORDER))


def without_folders(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names with a kernel's file by its last part, where that leaves them all different."""
    short = tuple(name.rsplit("/", 1)[-1] if "::" in name else name for name in names)
    return short if len(set(short)) == len(names) else names


def _both(one: FindingSummary, other: FindingSummary) -> FindingSummary:
    return replace(
        one,
        count=one.count + other.count,
        tolerated=one.tolerated + other.tolerated,
        known=one.known + other.known,
        known_as=other.known_as or one.known_as,
        tolerated_by=other.tolerated_by or one.tolerated_by,
    )


def _add_use(total: EntryUse, one: EntryUse) -> None:
    """The latest word on an entry's own case holds."""
    total.matched += one.matched
    total.ran += one.ran
    total.passed += one.passed
    total.entry, total.recheck = one.entry, one.recheck or total.recheck


def _add_backend(total: BackendSummary, one: BackendSummary) -> None:
    total.verdicts.update(one.verdicts)
    for dtype, bins in one.histograms.items():
        total.histograms.setdefault(dtype, Counter()).update(bins)
    total.skips.update(one.skips)
    total.quarantined.update(one.quarantined)
    total.coverage.update(one.coverage)
    total.seconds += one.seconds
    total.exact += one.exact
    total.unrated += one.unrated
    total.passes.update(one.passes)
    for dtype, worst in one.ratios_by_dtype.items():
        total.ratios_by_dtype[dtype] = max(worst, total.ratios_by_dtype.get(dtype, 0.0))
    if one.worst_ratio > total.worst_ratio:
        total.worst_ratio, total.worst_ratio_case = one.worst_ratio, one.worst_ratio_case


def _join(runs: Sequence[Run]) -> tuple[Found, ...]:
    joined: dict[tuple[str, str], Found] = {}
    for run in runs:
        for finding in run.findings:
            counted = run.summary.findings.get(finding.fingerprint)
            _keep(joined, Found(finding, run, max(finding.count, counted.count if counted else 0)))
        written = {finding.fingerprint for finding in run.findings}
        for fingerprint, known in run.summary.findings.items():
            if fingerprint not in written:
                _keep(joined, Found(_from_journal(known), run, known.count, in_file=False))
    return tuple(sorted(_with_own_names(joined.values()), key=_new_then_gravest_then_simplest))


def _with_own_names(found: Iterable[Found]) -> Iterator[Found]:
    """Number those that share a fingerprint and are not one, from the second on."""
    met: Counter[str] = Counter()
    for one in found:
        fingerprint = one.finding.fingerprint
        met[fingerprint] += 1
        if met[fingerprint] > 1:
            own = msgspec.structs.replace(one.finding, fingerprint=f"{fingerprint}-{met[fingerprint]}")
            one = replace(one, finding=own, name_in_run=fingerprint)  # noqa: PLW2901 - the same one, named
        yield one


def _new_then_gravest_then_simplest(found: Found) -> tuple[bool, int, str, int, str, int, str]:
    finding = found.finding
    is_known = found.run.info.upstream_of(found.in_run) is not None
    in_pass = PASSES.index(finding.in_pass) if finding.in_pass in PASSES else len(PASSES)
    return is_known, finding.verdict.gravity, finding.backend, in_pass, finding.model, len(finding.case), finding.fingerprint


def _keep(joined: dict[tuple[str, str], Found], found: Found) -> None:
    """Join a finding with that of another run: by its fingerprint, and by its case too where it was not reduced."""
    key = found.finding.fingerprint, found.finding.case if found.finding.is_unreduced else ""
    known = joined.get(key)
    if known is None:
        joined[key] = found
        return
    better = found if (found.in_file, -len(found.finding.case)) > (known.in_file, -len(known.finding.case)) else known
    joined[key] = replace(better, count=known.count + found.count, runs=known.runs + 1)


def _from_journal(known: FindingSummary) -> Finding:
    measured = known.verdict in (Verdict.NON_FINITE, Verdict.WRONG, Verdict.IMPRECISE, Verdict.NONDETERMINISTIC)
    return msgspec.structs.replace(
        Finding(
            fingerprint=known.fingerprint, verdict=known.verdict, backend=known.backend, case=known.minimal, first_case=known.first_case
        ),
        in_pass=known.in_pass,
        model=known.model,
        reduction="",
        discrepancy=Discrepancy(elements=0, max_abs=Real(known.max_abs)) if measured else None,
    )
