"""What a summary counts: by backend, by pair of outputs, by finding, and by entry of the ledger."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from convfuzz.record.coverage import ENDS_ITS_PROCESS, NOT_IN_SHARE, Coverage, proves_little
from convfuzz.record.events import EntryRechecked, Recheck
from convfuzz.record.ledger import Entry
from convfuzz.system.counted import counted
from convfuzz.verdicts import Discrepancy, Verdict


@dataclass
class BackendSummary:
    """One backend: its verdicts, the seconds inside it, its worst error, and why it skipped cases.

    ``histograms`` holds, by dtype, a histogram of the worst error ratio of each comparison: bin ``k`` holds ratios in
    [2^k, 2^(k+1)), clamped to −20 … 20; ``exact`` counts comparisons without any error, ``unrated`` those with an error
    that has no tolerance to compare it with: on integers no error is allowed.
    """

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    seconds: float = 0.0
    compile_seconds: float = 0.0
    """What its compilations took, where it compiles apart from running."""
    exact: int = 0
    unrated: int = 0
    histograms: dict[str, Counter[int]] = field(default_factory=dict)
    worst_ratio: float = 0.0
    worst_ratio_case: str = ""
    ratios_by_dtype: dict[str, float] = field(default_factory=dict)
    passes: Counter[str] = field(default_factory=Counter)
    """How many results of each pass were compared with the reference."""
    skips: Counter[str] = field(default_factory=Counter)
    coverage: Coverage = field(default_factory=Coverage)
    """What it was compared on."""
    quarantined: Counter[str] = field(default_factory=Counter)
    """Cases that the ledger quarantines, by the entry's fingerprint; not counted as skips, but as ``unsupported`` in the verdicts."""

    @property
    def ratios(self) -> Counter[int]:
        """The histogram of error ratios over all dtypes."""
        return sum(self.histograms.values(), Counter())

    def measure(self, found: Discrepancy, dtype: str, line: str) -> None:
        """Count one result of the case ``line`` by the ratio of its error to its tolerance."""
        if not found.max_abs or not found.ratio:
            exact = not found.max_abs and not found.non_finite
            self.exact += exact
            self.unrated += not exact
            return
        bins = self.histograms.get(dtype)
        if bins is None:
            bins = self.histograms[dtype] = Counter()
        bins[math.floor(math.log2(min(max(found.ratio, 2.0**-20), 2.0**20)))] += 1
        self.ratios_by_dtype[dtype] = max(found.ratio, self.ratios_by_dtype.get(dtype, 0.0))
        if found.ratio > self.worst_ratio:
            self.worst_ratio, self.worst_ratio_case = found.ratio, line

    @property
    def compared(self) -> int:
        """Cases on which this backend was judged, findings included."""
        return self.verdicts.total() - self.verdicts[Verdict.UNSUPPORTED]

    @property
    def declined(self) -> int:
        """Cases that it does not compute; not those that only were not in its share, or from which it was spared."""
        return sum(n for reason, n in self.skips.items() if not reason.startswith((NOT_IN_SHARE, ENDS_ITS_PROCESS)))

    @property
    def spared(self) -> int:
        """Cases that it was not called on, since they are known to end its process."""
        return sum(n for reason, n in self.skips.items() if reason.startswith(ENDS_ITS_PROCESS))

    @property
    def said(self) -> str:
        """What it was compared on, in words: cases and configurations."""
        configs = len(self.coverage.configs)
        return f"{counted(self.compared, 'compared case')} of {counted(configs, 'configuration')}"

    def shortcoming(self, name: str) -> str:
        """Say why the comparisons of the backend of this name prove little about it, or that there are none; empty where it is fine.

        Of frameworks, which compute what they can of everything, it is only asked that there are some.
        """
        if not self.compared:
            if self.quarantined:
                return ""  # the ledger's doing, and said there
            why = "; ".join(f"{reason or 'no reason given'} ({n:,})" for reason, n in self.skips.most_common(3))
            return f"nothing about {name}: none of {counted(self.verdicts.total(), 'case')} was compared{f': {why}' if why else ''}"
        little = proves_little(self.coverage, self.compared, self.declined) if "::" in name else ""
        return f"little about {name}: {little}" if little else ""

    @property
    def failures(self) -> int:
        """Cases on which it failed."""
        return sum(n for verdict, n in self.verdicts.items() if verdict.failing)


@dataclass
class PairSummary:
    """Two backends, or a backend and the reference, on every case that both computed in one dtype."""

    compared: int = 0
    max_abs: float = 0.0
    case: str = ""

    def add(self, max_abs: float, case: str) -> None:
        """Count one more case of the pair."""
        self.compared += 1
        if not self.case or max_abs > self.max_abs or math.isnan(max_abs):
            self.max_abs, self.case = max_abs, case


@dataclass
class FindingSummary:
    """One finding: how often it came up, and its simplest case."""

    fingerprint: str
    backend: str
    verdict: Verdict
    minimal: str
    model: str
    in_pass: str
    max_abs: float
    count: int = 0
    first_case: str = ""
    tolerated: int = 0
    tolerated_by: str = ""
    known: int = 0
    """How many of its failures a bug that is known upstream explains and no ledger tolerates; :attr:`known_as` names it."""
    known_as: str = ""


@dataclass
class EntryUse:
    """What a run made of one entry of its ledger.

    ``matched`` counts the failures that it tolerated, or the cases that it kept from running; ``ran`` those that had its
    features and ran, and ``passed`` how many of these agreed. ``recheck`` is what became of its own case, run again.
    """

    entry: Entry
    matched: int = 0
    ran: int = 0
    passed: int = 0
    recheck: EntryRechecked | None = None

    @property
    def is_stale(self) -> bool:
        """Whether the entry can go: it tolerated nothing, and its own case does not fail as stated any more."""
        return not self.matched and self.recheck is not None and self.recheck.outcome in (Recheck.FIXED, Recheck.CHANGED)

    @property
    def said(self) -> str:
        """What became of the entry, in words."""
        if self.entry.action == "quarantine":
            return f"kept {counted(self.matched, 'case')} from running" if self.matched else "no case of this run had its features"
        if self.matched:
            return f"tolerated {counted(self.matched, 'failure')}"
        if self.recheck is None:
            return "not met in this run"
        if self.recheck.outcome is Recheck.STILL_FAILING:
            return "not met in this run; its own case still fails"
        if self.recheck.outcome is Recheck.FIXED:
            also = f", as did {self.passed:,} of {counted(self.ran, 'case')} with its features" if self.ran else ""
            return f"unexpected pass: its own case passes{also}; the entry can go"
        outcome = "could not be checked" if self.recheck.outcome is Recheck.ERROR else self.recheck.outcome
        return f"its own case {outcome}: {self.recheck.reason}"
