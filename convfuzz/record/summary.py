"""The fold over a campaign's events: what was run, compared, skipped and found.

The progress display, the report, the exit status and merging all read a :class:`Summary`; nothing is counted anywhere else.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.features import features
from convfuzz.errors import UnreadableFile
from convfuzz.record.counts import BackendSummary, EntryUse, FindingSummary, PairSummary
from convfuzz.record.events import (
    BackendEnded,
    BackendStarted,
    CanaryEnded,
    CaseEnded,
    CaseStarted,
    DomainExplored,
    EntryRechecked,
    Event,
    FailureExplained,
    FindingKept,
    JournalOpened,
    RoundEnded,
    RoundLost,
    RoundStarted,
)
from convfuzz.record.ledger import Entry, Ledger
from convfuzz.verdicts import Verdict

REFERENCE = "reference"
ORDINARY = ("integers", "normal", "positive", "cancellation", "sparse", "one-hot")
"""The regimes with data of magnitude one, so that the max-abs discrepancies of different cases can be compared."""


@dataclass
class _Cursor:
    """How far the fold over one journal is: its latest case, and the backend that has started on it and not ended."""

    journal: str = ""
    line: str = ""
    case: Case | None = None
    running: str | None = None


@dataclass
class Summary:
    """Everything that the events so far say; uses of the entries of ``ledger`` are counted as well."""

    ledger: Ledger = field(default_factory=Ledger)
    cases: int = 0
    configs: int = 0
    comparisons: int = 0
    rounds: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    """Rounds that ran elsewhere and did not come back, by reason."""
    pairs_met: int = 0
    """The number of pairs of feature values that have met in the configurations of one worker, the largest of all workers."""
    reference_seconds: float = 0.0
    overhead_seconds: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    backends: dict[str, BackendSummary] = field(default_factory=dict)
    pairs: dict[tuple[str, str, str], PairSummary] = field(default_factory=dict)
    """The forward pass by (backend, backend, dtype), names in sorted order; the reference is ``"reference"``. Max-abs has
    the scale of the data, so that only cases of :data:`ORDINARY` regimes are counted here."""
    coverage: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """How many cases had each value, for each axis of the search space."""
    regimes: Counter[str] = field(default_factory=Counter)
    sampled: int = 0
    """Comparisons of large layers, of whose results a sample of the elements was judged."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Cases that were not run at all, by reason."""
    off_domain: dict[str, str] = field(default_factory=dict)
    """Cases that were given as the start of a search and that a backend declines, and why."""
    findings: dict[str, FindingSummary] = field(default_factory=dict)
    uses: dict[str, EntryUse] = field(init=False)
    """What became of each entry of the ledger, by its fingerprint."""
    canary_planted: int = 0
    canary_caught: int = 0
    _rounds: set[int] = field(default_factory=set, repr=False)
    _journals: dict[str, _Cursor] = field(default_factory=dict, repr=False)
    _at: _Cursor = field(default_factory=_Cursor, repr=False)
    _config: ConvConfig | None = field(default=None, repr=False)
    _features: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.uses = {entry.fingerprint: EntryUse(entry) for entry in self.ledger.entries}

    @classmethod
    def of(cls, events: Iterable[Event], ledger: Ledger | None = None) -> Summary:
        """Fold ``events``."""
        summary = cls(ledger or Ledger())
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

    @property
    def new_failures(self) -> int:
        """Failing verdicts that no entry of the ledger tolerates; one that has not become a finding yet is new."""
        return self.failures - sum(finding.tolerated for finding in self.findings.values())

    @property
    def unknown_failures(self) -> int:
        """Failing verdicts that neither the ledger tolerates nor a bug explains that is known upstream."""
        return self.new_failures - sum(finding.known for finding in self.findings.values())

    def known_as(self, fingerprint: str) -> str:
        """Return the name of the bug, known upstream, that a finding is a sign of: nothing but the ledger has a part in it."""
        finding = self.findings.get(fingerprint)
        return finding.known_as if finding is not None and finding.known + finding.tolerated >= finding.count else ""

    def tolerated(self, fingerprint: str) -> Entry | None:
        """Return the ledger's entry that makes a finding a known one, which takes all of its failures to be tolerated."""
        finding = self.findings.get(fingerprint)
        if finding is None or finding.tolerated < finding.count or finding.tolerated_by not in self.uses:
            return None
        return self.uses[finding.tolerated_by].entry

    def add(self, event: Event, journal: str = "") -> None:
        """Fold one more event in; events of several journals may alternate.

        Raises:
            UnreadableFile: it is about a case, but none has begun in its journal.
        """
        if journal != self._at.journal or not self._journals:
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
            case _:
                self._add_of_run(event)

    def _add_of_run(self, event: Event) -> None:
        """Fold in an event that is not about a single case."""
        match event:
            case FindingKept():
                self._keep(event)
            case FailureExplained(fingerprint=name, known_as=bug) if name in self.findings:
                self.findings[name].known += 1
                self.findings[name].known_as = bug
            case EntryRechecked():
                self._recheck(event)
            case JournalOpened() | RoundStarted():
                self._begin(event)
            case DomainExplored():
                self._know(event)
            case RoundEnded(time=time, pairs=pairs):
                self.ended = max(self.ended, time)
                self.pairs_met = max(self.pairs_met, pairs)
            case RoundLost(reason=reason, time=time):
                self.ended = max(self.ended, time)
                self.lost[reason] += 1
            case _:
                pass

    def _begin(self, event: JournalOpened | RoundStarted) -> None:
        if isinstance(event, RoundStarted) and event.number not in self._rounds:  # a process that resumes a round starts it again
            self.rounds += 1
            self._rounds.add(event.number)
        self.started = min(self.started, event.time) if self.started else event.time
        self.ended = max(self.ended, event.time)

    def _start_case(self, line: str) -> None:
        at, case = self._at, Case.parse(line)
        self.cases += 1
        self.configs += at.case is None or case.config != at.case.config
        at.line, at.case, at.running = line, case, None
        self.regimes[case.recipe.regime] += 1
        if case.config is not self._config:  # the data recipes of one configuration follow one another
            self._config, self._features = case.config, features(case.config)
        for axis, value in self._features.items():
            self.coverage[axis][value] += 1

    def _end_backend(self, event: BackendEnded) -> None:
        self._at.running = None
        case = self._case()
        backend = self.backends.get(event.backend)
        if backend is None:
            backend = self.backends[event.backend] = BackendSummary()
        backend.verdicts[event.verdict] += 1
        backend.seconds += event.seconds
        backend.compile_seconds += event.compile_seconds
        if event.quarantine:
            backend.quarantined[event.quarantine] += 1
            if event.quarantine in self.uses:
                self.uses[event.quarantine].matched += 1
            return
        if event.verdict is Verdict.UNSUPPORTED:
            backend.skips[event.reason] += 1
            return
        self.comparisons += 1
        self.sampled += any(found.out_of for found in event.discrepancies.values())
        backend.coverage.add(case.config)
        for entry in self.ledger.concerning(event.backend, case):
            use = self.uses[entry.fingerprint]
            use.ran += 1
            use.passed += event.verdict is Verdict.AGREE
        dtype = case.config.dtype
        backend.passes.update(event.discrepancies.keys())
        for in_pass, found in event.discrepancies.items():
            if in_pass == "forward" and case.recipe.regime in ORDINARY:
                worst = math.inf if found.non_finite else found.max_abs
                self._pair(event.backend, REFERENCE, dtype).add(worst, self._at.line)
            backend.measure(found, dtype, self._at.line)

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
            raise UnreadableFile(f"{self._at.journal or 'a journal'} tells of the end of a case or a backend before any case has begun")
        return self._at.case

    def _pair(self, left: str, right: str, dtype: str) -> PairSummary:
        key = (left, right, dtype) if left < right else (right, left, dtype)
        pair = self.pairs.get(key)
        if pair is None:
            pair = self.pairs[key] = PairSummary()
        return pair

    def _keep(self, event: FindingKept) -> None:
        kept = self.findings.get(event.fingerprint)
        if kept is None:
            kept = FindingSummary(
                event.fingerprint, event.backend, event.verdict, event.minimal, event.model, event.in_pass, event.max_abs, 0, event.case
            )
            self.findings[event.fingerprint] = kept
        kept.count += 1
        kept.minimal, kept.max_abs = event.minimal, event.max_abs
        for name in event.absorbs:
            if (absorbed := self.findings.pop(name, None)) is not None:
                kept.count += absorbed.count
                kept.tolerated += absorbed.tolerated
                kept.tolerated_by = kept.tolerated_by or absorbed.tolerated_by
                kept.known += absorbed.known
                kept.known_as = kept.known_as or absorbed.known_as
        kept.known_as = event.known_as or kept.known_as
        kept.known += bool(event.known_as and not event.tolerated_by)
        if event.tolerated_by:
            kept.tolerated, kept.tolerated_by = kept.tolerated + 1, event.tolerated_by
            if event.tolerated_by in self.uses:
                self.uses[event.tolerated_by].matched += 1

    def _know(self, event: DomainExplored) -> None:
        self.backends.setdefault(event.backend, BackendSummary()).coverage.know(event.accepted)
        self.off_domain.update(event.declined)

    def _recheck(self, event: EntryRechecked) -> None:
        if event.entry in self.uses:
            self.uses[event.entry].recheck = event
