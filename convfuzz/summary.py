"""The fold over a campaign's events: the one account of what was run, compared, skipped and found.

Progress bar, report, exit status and merging all read a :class:`Summary`; nobody else counts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from convfuzz.case import Case
from convfuzz.errors import UnreadableFile
from convfuzz.events import (
    BackendEnded,
    BackendStarted,
    CanaryEnded,
    CaseEnded,
    CaseStarted,
    Event,
    FindingKept,
    JournalOpened,
    RoundEnded,
    RoundStarted,
)
from convfuzz.features import features
from convfuzz.judging import Verdict

REFERENCE = "reference"
ORDINARY = ("integers", "normal", "positive", "cancellation", "sparse", "one-hot")
"""The regimes whose data are of magnitude one, so that max-abs discrepancies of different cases can be compared."""


@dataclass
class BackendSummary:
    """One backend's share: verdict counts, seconds inside it, its worst error and why it skipped.

    ``ratios`` is a histogram of the worst error ratio of each comparison: bin ``k`` holds ratios in
    [2^k, 2^(k+1)), clamped to −20 … 20; ``exact`` counts comparisons without any error, ``unrated`` those with an error
    that has no tolerance to be held against: on integers every error is one too many.
    """

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    seconds: float = 0.0
    exact: int = 0
    unrated: int = 0
    ratios: Counter[int] = field(default_factory=Counter)
    worst_ratio: float = 0.0
    worst_ratio_case: str = ""
    ratios_by_dtype: dict[str, float] = field(default_factory=dict)
    passes: Counter[str] = field(default_factory=Counter)
    """How many results of each pass were compared with the reference."""
    skips: Counter[str] = field(default_factory=Counter)

    @property
    def compared(self) -> int:
        """Cases on which this backend was judged, findings included."""
        return self.verdicts.total() - self.verdicts[Verdict.UNSUPPORTED]

    @property
    def failures(self) -> int:
        """Cases on which it failed."""
        return sum(n for verdict, n in self.verdicts.items() if verdict.failing)


@dataclass
class PairSummary:
    """Two backends, or a backend and the reference, over every case that both computed in one dtype."""

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
    """One distinct failure: how often it came up and its simplest case."""

    fingerprint: str
    backend: str
    verdict: Verdict
    minimal: str
    model: str
    in_pass: str
    max_abs: float
    count: int = 0
    first_case: str = ""


@dataclass
class _Cursor:
    """Where one journal's fold is: its latest case, and the backend that has started on it and not ended."""

    journal: str = ""
    line: str = ""
    case: Case | None = None
    running: str | None = None


@dataclass
class Summary:
    """Everything the events so far say."""

    cases: int = 0
    configs: int = 0
    comparisons: int = 0
    rounds: int = 0
    pairs_met: int = 0
    """The most pairs of feature values that have met in the configurations of one worker."""
    reference_seconds: float = 0.0
    overhead_seconds: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    backends: dict[str, BackendSummary] = field(default_factory=dict)
    pairs: dict[tuple[str, str, str], PairSummary] = field(default_factory=dict)
    """The forward pass by (backend, backend, dtype), names in sorted order; the reference is ``"reference"``. Max-abs is of
    the scale of the data, so that only cases of :data:`ORDINARY` regimes are in here."""
    coverage: dict[str, Counter[str]] = field(default_factory=dict)
    """Per axis of the search space, how many cases had each value."""
    regimes: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    """Cases that were not run at all, by reason."""
    findings: dict[str, FindingSummary] = field(default_factory=dict)
    canary_planted: int = 0
    canary_caught: int = 0
    _rounds: set[int] = field(default_factory=set, repr=False)
    _journals: dict[str, _Cursor] = field(default_factory=dict, repr=False)
    _at: _Cursor = field(default_factory=_Cursor, repr=False)

    @classmethod
    def of(cls, events: Iterable[Event]) -> Summary:
        """Fold ``events``."""
        summary = cls()
        for event in events:
            summary.add(event)
        return summary

    @property
    def backend_seconds(self) -> float:
        """Seconds inside the backends under test."""
        return sum(backend.seconds for backend in self.backends.values())

    @property
    def failures(self) -> int:
        """Failing verdicts, before they are grouped into findings."""
        return sum(backend.failures for backend in self.backends.values())

    @property
    def running(self) -> str | None:
        """The backend that has started and not ended: after the last event, where a process died."""
        return self._in_flight.running

    @property
    def case(self) -> Case | None:
        """The case that :attr:`running` runs on."""
        return self._in_flight.case

    @property
    def _in_flight(self) -> _Cursor:
        return next((cursor for cursor in self._journals.values() if cursor.running), _Cursor())

    def add(self, event: Event, journal: str = "") -> None:
        """Fold one more event in; those of several journals may come in turn.

        Raises:
            UnreadableFile: it is about a case, and none has begun in its journal.
        """
        self._at = self._journals.setdefault(journal, _Cursor(journal))
        match event:
            case CaseStarted(case=line, time=time):
                self._start_case(line)
                self.ended = max(self.ended, time)
            case BackendStarted(backend=name):
                self._at.running = name
            case BackendEnded():
                self._end_backend(event)
            case CaseEnded():
                self._end_case(event)
            case CanaryEnded(caught=caught):
                self.canary_planted += 1
                self.canary_caught += caught
            case FindingKept():
                self._keep(event)
            case RoundEnded(time=time, pairs=pairs):
                self.ended = max(self.ended, time)
                self.pairs_met = max(self.pairs_met, pairs)
            case RoundStarted(number=number, time=time):
                self.rounds += number not in self._rounds  # a process that goes on with a round says so again
                self._rounds.add(number)
                self._began(time)
            case JournalOpened(time=time):
                self._began(time)

    def _began(self, time: float) -> None:
        self.started = min(self.started, time) if self.started else time
        self.ended = max(self.ended, time)

    def _start_case(self, line: str) -> None:
        at, case = self._at, Case.parse(line)
        self.cases += 1
        self.configs += at.case is None or case.config != at.case.config
        at.line, at.case, at.running = line, case, None
        self.regimes[case.recipe.regime] += 1
        for axis, value in features(case.config).items():
            self.coverage.setdefault(axis, Counter())[value] += 1

    def _end_backend(self, event: BackendEnded) -> None:
        self._at.running = None
        case = self._case()
        backend = self.backends.setdefault(event.backend, BackendSummary())
        backend.verdicts[event.verdict] += 1
        backend.seconds += event.seconds
        if event.verdict is Verdict.UNSUPPORTED:
            backend.skips[event.reason] += 1
            return
        self.comparisons += 1
        dtype = case.config.dtype
        backend.passes.update(event.discrepancies.keys())
        for in_pass, found in event.discrepancies.items():
            if in_pass == "forward" and case.recipe.regime in ORDINARY:
                worst = math.inf if found.non_finite else found.max_abs
                self._pair(event.backend, REFERENCE, dtype).add(worst, self._at.line)
            if not found.max_abs or not found.ratio:
                exact = not found.max_abs and not found.non_finite
                backend.exact += exact
                backend.unrated += not exact
                continue
            clamped = min(max(found.ratio, 2.0**-20), 2.0**20)
            backend.ratios[math.floor(math.log2(clamped))] += 1
            backend.ratios_by_dtype[dtype] = max(found.ratio, backend.ratios_by_dtype.get(dtype, 0.0))
            if found.ratio > backend.worst_ratio:
                backend.worst_ratio, backend.worst_ratio_case = found.ratio, self._at.line

    def _end_case(self, event: CaseEnded) -> None:
        self.reference_seconds += event.reference_seconds
        self.overhead_seconds += event.overhead_seconds
        if event.skipped:
            self.skipped[event.skipped] += 1
        case = self._case()
        for left, right, max_abs in event.pairs if case.recipe.regime in ORDINARY else ():
            self._pair(left, right, case.config.dtype).add(max_abs, self._at.line)

    def _case(self) -> Case:
        if self._at.case is None:
            raise UnreadableFile(f"{self._at.journal or 'a journal'} tells of the end of something before any case has begun")
        return self._at.case

    def _pair(self, left: str, right: str, dtype: str) -> PairSummary:
        first, second = sorted((left, right))
        return self.pairs.setdefault((first, second, dtype), PairSummary())

    def _keep(self, event: FindingKept) -> None:
        kept = self.findings.get(event.fingerprint)
        if kept is None:
            kept = FindingSummary(
                event.fingerprint, event.backend, event.verdict, event.minimal, event.model, event.in_pass, event.max_abs, 0, event.case
            )
            self.findings[event.fingerprint] = kept
        kept.count += 1
        kept.minimal, kept.max_abs = event.minimal, event.max_abs
