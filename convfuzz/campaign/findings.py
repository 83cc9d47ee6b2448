"""What becomes of a campaign's failures: the simplest is examined first, kept as a finding, and documented."""

from __future__ import annotations

import heapq
import itertools
import time
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec

from convfuzz.campaign.documents import document
from convfuzz.campaign.failures import Failure
from convfuzz.campaign.watcher import Watcher
from convfuzz.case import Case
from convfuzz.processes.sandbox import Sandbox
from convfuzz.record.events import Event, FindingKept
from convfuzz.record.failure_kind import Signature
from convfuzz.record.finding import Finding
from convfuzz.record.journal import JournalWriter
from convfuzz.record.known_upstream import KnownUpstream
from convfuzz.record.ledger import recheck
from convfuzz.record.run_directory import read_findings, remove_finding, write_finding
from convfuzz.record.summary import Summary
from convfuzz.system.interrupts import interrupts_held
from convfuzz.triage.reduction import complexity
from convfuzz.triage.triage import Triage


class Findings:
    """The findings of a campaign, and the failures that are still to be examined.

    A simple failure is examined before others: it is reduced soonest and may cover them. ``seconds`` is what reducing and
    confirming may take while the workers are at work. ``known`` is what is known upstream; :attr:`versions`, of each backend's
    libraries, say of which releases, once they are known.
    """

    def __init__(
        self, directory: Path, sandbox: Sandbox, summary: Summary, watcher: Watcher, known: KnownUpstream, *, seconds: float
    ) -> None:
        self._directory, self._sandbox, self._summary, self._watcher = directory, sandbox, summary, watcher
        self._known, self.versions = known, dict[str, dict[str, str]]()
        self._triage = Triage(sandbox, seconds=seconds)
        self._queue: list[tuple[tuple[int, int, str], int, Failure]] = []
        self._serial = itertools.count()

    @property
    def is_waiting(self) -> bool:
        """Whether a failure is still to be examined."""
        return bool(self._queue)

    @property
    def all(self) -> Collection[Finding]:
        """The findings so far."""
        return self._triage.findings.values()

    def add(self, failure: Failure) -> None:
        """Queue a failure."""
        heapq.heappush(self._queue, (complexity(failure.case), next(self._serial), failure))

    def restore(self, kept: Iterable[FindingKept]) -> None:
        """Read the findings of earlier sittings, and take the failures out of the queue that became part of one then."""
        done = Counter((event.case, event.backend) for event in kept)
        waiting = []
        for entry in sorted(self._queue, key=lambda entry: entry[1]):
            name = str(entry[2].case), entry[2].result.backend
            if done[name]:
                done[name] -= 1
            else:
                waiting.append(entry)
        heapq.heapify(waiting)
        self._queue = waiting
        for finding in read_findings(self._directory):
            counted = self._summary.findings.get(finding.fingerprint)  # the file is written before the event
            self._triage.findings[finding.fingerprint] = msgspec.structs.replace(finding, count=counted.count if counted else 0)

    def examine_next(self, journal: JournalWriter) -> None:
        """Examine the simplest failure, and keep its finding; the failure stays in the queue where Ctrl-C cuts that off."""
        entry, is_kept = heapq.heappop(self._queue), False
        failure = entry[2]
        try:
            finding, kept, is_new = self._triage.consider(failure.case, failure.result, failure.preceding, self._watcher.reducing)
            # The minimal case speaks for the failure where its features tell its kind, else the failing case for itself.
            shown = Case.parse(finding.case) if finding.is_telling else failure.case
            tolerating = self._summary.ledger.tolerating(Signature.of(finding), shown)
            known = self._known.explaining(Signature.of(finding), shown, self.versions.get(finding.backend, {}))
            kept = msgspec.structs.replace(
                kept, tolerated_by=tolerating.fingerprint if tolerating else "", known_as=known.name if known else ""
            )
            with interrupts_held():
                is_kept = True
                self._keep(finding, kept, journal, is_new=is_new)
        finally:
            if not is_kept:
                heapq.heappush(self._queue, entry)

    def finish(self, seconds: float) -> None:
        """The workers are done: at most ``seconds`` are left for reducing and confirming the rest."""
        self._triage.finish(seconds)

    def confirm_others(self) -> None:
        """Run the findings in fresh processes that there was no time for before."""
        for finding in self._triage.confirm_others(self._watcher.reducing):
            write_finding(self._directory, finding)

    def recheck_ledger(self, journal: JournalWriter) -> None:
        """Run the cases of the tolerated entries that tolerated nothing: an entry whose case passes can go."""
        for entry in self._summary.ledger.tolerate:
            if not self._summary.uses[entry.fingerprint].matched:
                self._record(recheck(entry, self._sandbox.evaluate), journal)

    def report_bugs(self, seconds: float) -> None:
        """Write scripts and bug reports again, now with all that is known and what their code prints: gravest first, for ``seconds``."""
        began = time.monotonic()
        for finding in sorted(self.all, key=lambda finding: finding.verdict.gravity):
            if time.monotonic() - began > seconds:
                return
            self._document(finding, execute=True)
            self._watcher.reducing(Case.parse(finding.case))

    def _keep(self, finding: Finding, kept: FindingKept, journal: JournalWriter, *, is_new: bool) -> None:
        if is_new:
            finding = self._document(finding, execute=False)
        self._triage.findings[finding.fingerprint] = finding
        write_finding(self._directory, finding)
        self._record(kept, journal)
        for absorbed in kept.absorbs:
            remove_finding(self._directory, absorbed)

    def _document(self, finding: Finding, *, execute: bool) -> Finding:
        versions = self._sandbox.versions.get(finding.backend, {})
        return document(self._directory, self._sandbox, finding, versions, execute=execute)

    def _record(self, event: Event, journal: JournalWriter) -> None:
        journal.write(event)
        self._summary.add(event)
        self._watcher.event(event, self._summary)
