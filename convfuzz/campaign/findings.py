"""What becomes of a campaign's failures: examined side by side, the unknown and gravest first, kept as findings, and documented."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import msgspec

from convfuzz.backend_names import framework_of
from convfuzz.campaign.deaths import Deaths
from convfuzz.campaign.documents import document
from convfuzz.campaign.reducers import Reducers
from convfuzz.campaign.unexplained import Unexplained
from convfuzz.campaign.waiting import Queue, Waiting, way_of
from convfuzz.campaign.watcher import Watcher
from convfuzz.case import Case
from convfuzz.processes.sandbox import Sandbox
from convfuzz.record.cause import Cause
from convfuzz.record.events import BackendEnded, Event, FailureExplained, FindingKept
from convfuzz.record.failure_kind import Signature
from convfuzz.record.finding import Finding
from convfuzz.record.journal import JournalWriter
from convfuzz.record.known_upstream import Bug, Gone, KnownUpstream, Sign
from convfuzz.record.ledger import CRASH_CLASS, recheck
from convfuzz.record.run_directory import ledger_links, read_findings, remove_finding, upstream_links, write_finding
from convfuzz.record.summary import Summary
from convfuzz.system.interrupts import interrupts_held
from convfuzz.triage.causes import causes
from convfuzz.triage.examination import Examination, Failure
from convfuzz.triage.reduction import Budget, without_all_but
from convfuzz.triage.triage import Triage
from convfuzz.triage.upstream import shown_to_be
from convfuzz.verdicts import one_class

FIRST_SECONDS = 10.0
"""What reducing may take before the run has earned any time for it."""
_ENOUGH_SECONDS = 2.0
"""With less than this earned, the next examination waits; those that go on may owe what they take beyond that."""
_ENOUGH_FOR_SLOW_SECONDS = 12.0
"""The same of what runs into a limit, so that it does not take the time from what would be reduced in a moment."""
_MOST_TRIES = 3
"""How often a failure is examined that is not reduced in the time that it gets."""

_LEAST_OF_A_PROGRAM = 10.0
"""Seconds that the code of a bug report gets at least: with fewer its framework may not even have loaded."""
_MOST_OF_ONE_KIND = 5
"""How many failures of an unreduced finding are looked at one by one, to find out whether they are known upstream."""
_MOST_EXPERIMENTS = 10_000
"""How many cases are run at most to find out which findings have one cause, whatever time is left."""


class Findings:
    """The findings of a campaign, and the failures that are still to be examined.

    ``sandbox`` documents and confirms; ``make`` makes the sandboxes in which failures are examined, as
    :class:`~convfuzz.campaign.reducers.Reducers` says. ``known`` is what is known upstream; :attr:`versions`, of each backend's
    libraries, say of which releases, once they are known. ``deaths`` knows what ends processes.
    """

    def __init__(
        self,
        directory: Path,
        sandbox: Sandbox,
        make: Callable[[int, Callable[[], None]], Sandbox],
        summary: Summary,
        watcher: Watcher,
        known: KnownUpstream,
        deaths: Deaths,
    ) -> None:
        self._directory, self._sandbox, self._summary, self._watcher = directory, sandbox, summary, watcher
        self._deaths = deaths
        self._known, self.versions = known, dict[str, dict[str, str]]()
        self._triage = Triage(sandbox, seconds=FIRST_SECONDS, at_least=0.0, share=2, owing=True)
        self._reducers = Reducers(make, watcher.reducing)
        self._side_by_side, self._is_over = 1, False
        self._queue, self._new, self._unexplained = Queue(), list[Failure](), Unexplained()
        self._examined: dict[Examination, Waiting] = {}
        self._is_to_sift = False

    @property
    def is_waiting(self) -> bool:
        """Whether a failure is still to be examined, or is being examined."""
        return bool(self._new or len(self._queue) or self._examined)

    @property
    def holds_workers_up(self) -> bool:
        """Whether something waits that ends the workers' processes, which costs them time until it is reduced."""
        return self._queue.holds(CRASH_CLASS)

    @property
    def all(self) -> Collection[Finding]:
        """The findings so far."""
        return self._triage.findings.values()

    def add(self, failure: Failure) -> None:
        """Take note of a failure."""
        self._new.append(failure)

    def restore(self, told: Iterable[Event]) -> None:
        """Read the findings of earlier sittings, and forget the failures that became part of one then."""
        done: Counter[tuple[str, str]] = Counter()
        for event in told:
            self._unexplained.add(event)
            if isinstance(event, FindingKept):
                done[event.case, event.backend] += 1
        waiting = []
        for failure in self._new:
            name = str(failure.case), failure.result.backend
            if done[name]:
                done[name] -= 1
            else:
                waiting.append(failure)
        self._new = waiting
        for finding in read_findings(self._directory):
            counted = self._summary.findings.get(finding.fingerprint)  # the file is written before the event
            self._triage.findings[finding.fingerprint] = msgspec.structs.replace(finding, count=counted.count if counted else 0)

    # -- examining ------------------------------------------------------------------------------------------------------

    def grant(self, seconds: float, side_by_side: int) -> None:
        """Give reducing ``seconds`` more, of so many examinations ``side_by_side``."""
        self._triage.grant(seconds)
        self._side_by_side = side_by_side

    def finish(self, seconds: float, side_by_side: int) -> None:
        """The workers are done: at most ``seconds`` are left for reducing and confirming the rest."""
        self._triage.finish(seconds, side_by_side)
        self._side_by_side, self._is_over = side_by_side, True
        for examination in self._examined:
            examination.hurry(seconds / 2)

    def examine(self, journal: JournalWriter) -> None:
        """Keep what has been examined, count what is known, and begin what there is time for; no examination is waited for."""
        with interrupts_held():  # or a failure could be lost on its way from one place to the next
            for examination in self._reducers.ended():
                self._take_or_try_again(examination, journal)
            self._count_known(journal)
            if self._is_over and self._triage.is_late:
                self._put_back(self._reducers.stop())
            while self._has_room and (waiting := self._next()) is not None:
                self._begin(waiting, journal)

    def stop(self, journal: JournalWriter) -> None:
        """Stop at once, and keep the failures that wait as they are."""
        with interrupts_held():  # a second Ctrl-C, out of impatience
            self._triage.finish(0.0)
            self._put_back(self._reducers.stop())
            self._count_known(journal)
            while (waiting := self._queue.next(())) is not None:
                self._begin(waiting, journal)

    def close(self) -> None:
        """End the sandboxes in which failures are examined."""
        with interrupts_held():
            self._reducers.stop()

    @property
    def _has_room(self) -> bool:
        """Whether one more examination may begin."""
        return self._reducers.busy < self._side_by_side and (self._is_over or self._triage.seconds_left >= _ENOUGH_SECONDS)

    def _next(self) -> Waiting | None:
        slow = self._is_over or self._triage.seconds_left >= _ENOUGH_FOR_SLOW_SECONDS
        return self._queue.next({way_of(each.failure) for each in self._examined}, slow=slow)

    def _take_or_try_again(self, examination: Examination, journal: JournalWriter) -> None:
        waiting = self._examined.pop(examination)
        waiting.tries, waiting.latest = waiting.tries + 1, examination
        if examination.is_unfinished and waiting.tries < _MOST_TRIES:
            self._triage.spend(examination)
            self._queue.put_back(waiting)
        else:
            self._take(waiting, journal)

    def _begin(self, waiting: Waiting, journal: JournalWriter) -> None:
        """Begin an examination; where no time is left for one, what earlier ones have found out is kept."""
        latest = waiting.latest.reduced_to if waiting.latest else None
        explained = self._explained(waiting.failure.signature, waiting.failure.case)
        likely = [*([Case.parse(explained[1].case)] if explained else []), *self._alike(waiting.failure)]
        examination = self._triage.examination(waiting.failure, latest, likely)
        if examination.has_time:
            self._examined[examination] = waiting
            self._reducers.begin(examination)
            return
        if waiting.latest is None:
            examination.run(self._sandbox, self._watcher.reducing)  # which runs nothing
            waiting.latest = examination
        self._take(waiting, journal)

    def _alike(self, failure: Failure) -> list[Case]:
        """Return the simplest cases that have what is known to end the process of the backend."""
        if failure.result.verdict not in CRASH_CLASS:
            return []
        axes = self._deaths.needed(failure.case, failure.result.backend)
        return [] if axes is None else without_all_but(failure.case, axes)

    def _put_back(self, examinations: Iterable[Examination]) -> None:
        for examination in examinations:
            waiting = self._examined.pop(examination)
            if examination.outcome is not None:
                waiting.latest = examination
            self._queue.put_back(waiting)

    def _count_known(self, journal: JournalWriter) -> None:
        """Let the new failures wait, without those that are of a finding which stands; it may be a new finding, of which others are."""

        def is_counted(failure: Failure) -> bool:
            counted = self._triage.count(failure)
            if counted is not None:
                self._keep(failure, *counted, journal, is_new=False)
            return counted is not None

        if self._is_to_sift:
            self._is_to_sift = False
            self._queue.sift(is_counted)
        new, self._new = self._new, []
        for failure in new:
            if not is_counted(failure):
                self._queue.add(failure, is_known=self._explained(failure.signature, failure.case) is not None)

    def _take(self, waiting: Waiting, journal: JournalWriter) -> None:
        """Keep what an examination has found out."""
        assert waiting.latest is not None, "it was examined"
        finding, kept, is_new = self._triage.take(waiting.latest)
        self._keep(waiting.failure, finding, kept, journal, is_new=is_new)
        self._is_to_sift |= is_new

    def _keep(self, failure: Failure, finding: Finding, kept: FindingKept, journal: JournalWriter, *, is_new: bool) -> None:
        # The minimal case speaks for the failure where its features tell its kind, else the failing case for itself.
        shown = Case.parse(finding.case) if finding.is_telling else failure.case
        tolerating = self._summary.ledger.tolerating(Signature.of(finding), shown)
        explained = self._explained(Signature.of(finding), shown)
        known_as = explained[0].name if explained else ""
        kept = msgspec.structs.replace(kept, tolerated_by=tolerating.fingerprint if tolerating else "", known_as=known_as)
        if is_new and not finding.is_unreduced:
            finding = self._document(finding)
        self._triage.findings[finding.fingerprint] = finding
        write_finding(self._directory, finding)
        self._record(kept, journal)
        if known_as and finding.is_telling:  # its case speaks for failures too that were not reduced when they were kept
            self._explain(finding.fingerprint, known_as, journal)
        for absorbed in kept.absorbs:
            remove_finding(self._directory, absorbed)

    def _explained(self, signature: Signature, case: Case) -> tuple[Bug, Sign] | None:
        return self._known.explained(signature, case, self.versions.get(signature.backend, {}))

    def _explain(self, fingerprint: str, known_as: str, journal: JournalWriter, case: str = "") -> None:
        """Note that what nothing explained of a finding's failures is known upstream, or those on one case only."""
        for line in self._unexplained.of(fingerprint):
            if case in ("", line):
                self._record(FailureExplained(fingerprint=fingerprint, case=line, known_as=known_as), journal)

    # -- the end of a run -----------------------------------------------------------------------------------------------

    def confirm_others(self) -> None:
        """Run the findings in fresh processes that there was no time for before."""
        for finding in self._triage.confirm_others(self._watcher.reducing):
            write_finding(self._directory, finding)

    def explain_others(self, seconds: float, journal: JournalWriter) -> None:
        """Find out by experiment, for ``seconds``, whether what was not reduced, or comes and goes, is known upstream."""
        budget = Budget(seconds, _MOST_EXPERIMENTS)
        for finding in sorted(self.all, key=lambda finding: finding.verdict.gravity):
            lines = dict.fromkeys(self._unexplained.of(finding.fingerprint))
            if len(lines) > _MOST_OF_ONE_KIND or not (finding.is_unreduced or finding.is_lump):
                continue
            for line in lines:
                case, signature = Case.parse(line), Signature.of(finding)
                signs = self._known.candidates(signature, case, self.versions.get(finding.backend, {}))
                bug = shown_to_be(case, signature, signs, self._hastily, budget)
                if bug is None:
                    break  # one that is not known makes the finding unknown
                self._explain(finding.fingerprint, bug.name, journal, line)

    def recheck_ledger(self, journal: JournalWriter) -> None:
        """Run the cases of the tolerated entries that tolerated nothing: an entry whose case passes can go."""
        for entry in self._summary.ledger.tolerate:
            if not self._summary.uses[entry.fingerprint].matched:
                self._record(recheck(entry, self._sandbox.evaluate), journal)

    def gone_upstream(self, seconds: float) -> list[Gone]:
        """Run, for ``seconds``, the cases of what is known upstream of older versions than these; return what no longer shows."""
        deadline = time.monotonic() + seconds
        return list(self._known.gone(self.versions, self._hastily, lambda: time.monotonic() < deadline))

    def causes(self, seconds: float) -> list[Cause]:
        """Find out by experiment, for ``seconds``, which findings have one cause; what is open then stays apart."""
        found = self.all
        known = upstream_links(self._summary, found), ledger_links(self._summary, found)
        return causes(found, self._hastily, Budget(seconds, _MOST_EXPERIMENTS), *known, explain=self._sandbox.explain, taken=self._taken)

    def _taken(self, finding: Finding) -> list[str] | None:
        """Return the axes on which other calls have shown that what ends the process takes something."""
        return self._deaths.needed(Case.parse(finding.case), finding.backend) if finding.verdict in CRASH_CLASS else None

    def _hastily(self, case: Case, backend: str) -> BackendEnded:
        """Run a case for an experiment."""
        self._watcher.reducing(case)
        return self._sandbox.evaluate(case, backend, hasty=True)

    def report_bugs(self, seconds: float) -> None:
        """Write scripts and bug reports again, now with all that is known and what their code prints: gravest first, for ``seconds``.

        Of what was not reduced they are written only where nothing better came, and that in any case.
        """
        began = time.monotonic()
        for finding in sorted(self.all, key=lambda finding: finding.verdict.gravity):
            left = seconds - (time.monotonic() - began)
            left = max(left, _LEAST_OF_A_PROGRAM) if left > 0.0 else 0.0
            if finding.is_unreduced and not self._has_better(finding):
                finding = self._document(finding, seconds=left)  # noqa: PLW2901
                self._triage.findings[finding.fingerprint] = finding
                write_finding(self._directory, finding)
            elif left and not finding.is_unreduced:
                self._document(finding, seconds=left)
            self._watcher.reducing(Case.parse(finding.case))

    def _has_better(self, finding: Finding) -> bool:
        """Whether a reduced finding shows that its framework or kernel fails so."""
        framework = framework_of(finding.backend)
        return any(
            not other.is_unreduced and framework_of(other.backend) == framework and one_class(other.verdict, finding.verdict)
            for other in self.all
        )

    def _document(self, finding: Finding, *, seconds: float = 0.0) -> Finding:
        versions = self._sandbox.versions.get(finding.backend, {})
        return document(self._directory, self._sandbox, finding, versions, seconds=seconds)

    def _record(self, event: Event, journal: JournalWriter) -> None:
        journal.write(event)
        self._unexplained.add(event)
        self._summary.add(event)
        self._watcher.event(event, self._summary)
