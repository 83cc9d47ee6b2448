"""The run directory, where a campaign leaves its journals, findings, scripts and report: written and read back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import msgspec

from convfuzz import __version__
from convfuzz.errors import InvalidConfig, RunDirectoryError, UnreadableFile
from convfuzz.record.arithmetic import Arithmetic
from convfuzz.record.cause import Cause, causes_of
from convfuzz.record.counts import EntryUse
from convfuzz.record.events import Fingerprint, Recheck
from convfuzz.record.finding import MOST_BYTES as MOST_FINDING_BYTES
from convfuzz.record.finding import Finding, decode_finding, encode_finding
from convfuzz.record.journal import read_journal
from convfuzz.record.known_upstream import Gone, known_upstream, short_link
from convfuzz.record.ledger import Entry, Ledger
from convfuzz.record.outcome import exit_status
from convfuzz.record.summary import REFERENCE, Summary
from convfuzz.record.versions import machine, versions
from convfuzz.system.code_spans import without_backticks
from convfuzz.system.files import read_regular, write_atomically
from convfuzz.system.json_records import Real, decode_file, encode_indented
from convfuzz.verdicts import Verdict

FORMAT_VERSION = 1
SANDBOX_LOG = "sandbox.log"
MOST_BYTES = 64 * 2**20


class FindingLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """A finding as ``run.json`` lists it; ``reduction`` says how far its reduction came, where that was cut off."""

    fingerprint: Fingerprint
    verdict: Verdict
    backend: str
    case: str
    max_abs: Real
    reduction: str = ""


class Canary(msgspec.Struct, frozen=True):
    """How often the deliberately wrong backend was planted, and how often it was caught."""

    planted: int
    caught: int


class LedgerLine(msgspec.Struct, frozen=True):
    """An entry of the run's ledger as ``run.json`` lists it: how many failures it tolerated, or cases it quarantined.

    ``stale`` says that it tolerated none and that its own case, run again, does not fail as it states; ``recheck`` is what
    became of that case, ``None`` where it was not run again.
    """

    entry: Entry
    matched: int = 0
    stale: bool = False
    recheck: Recheck | None = None


class UpstreamLine(msgspec.Struct, frozen=True):
    """A finding that is a sign of a bug that is known upstream, as ``run.json`` lists it: which, in a sentence, and where to read of it."""

    fingerprint: Fingerprint
    name: str
    title: str
    link: str

    @property
    def is_public(self) -> bool:
        """Whether the link is a thread that anybody can read."""
        return self.link.startswith("https://")

    @property
    def short(self) -> str:
        """The thread in a few letters, or the bug's name."""
        return short_link(self.link) if self.is_public else self.name

    @property
    def label(self) -> str:
        """What it is called in a line."""
        return f"known: {self.short}" if self.is_public else f"known: {self.short}, no thread known"

    @property
    def said(self) -> str:
        """What it is called, and its title, in a line without markup."""
        return f"{self.label}: {without_backticks(self.title)}"


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """``run.json``: what was asked for, where it ran, and the totals.

    ``verdicts`` counts per backend and verdict; ``backend_s`` holds seconds per backend, the reference included, and
    ``compile_s`` those that kernels which compile apart from running took for that;
    ``worst_ratios`` the largest error over its tolerance and ``backend_versions`` the libraries that compute, per backend;
    ``skipped`` counts per backend and reason, ``quarantined`` per backend and entry of the ledger; ``ledger`` holds the
    entries about these backends, so that the run can be shown without the file that they came from. Of the findings,
    ``flaky`` names those that come and go when they are run again, and ``known`` those that the ledger tolerates; ``upstream`` lists
    those that are signs of bugs that are known upstream, and ``gone`` the known bugs that newer versions no longer have. ``causes``
    groups them by the bug that they show, what is unknown first, once the run has ended. ``arithmetic`` holds what was measured of
    how the backends compute, in runs that are long enough for it. ``tests`` says of each test of a pytest
    session how many of its cases were compared.
    ``stopped`` is why the run ended: ``time``, ``max-cases``, ``interrupted`` or ``error: …``; it is empty until the run
    ends. ``started`` is in seconds since the epoch, before the year 10000.
    """

    seed: int
    strategy: str
    backends: list[str]
    arguments: dict[str, Any]
    versions: dict[str, str]
    machine: dict[str, str]
    started: Annotated[float, msgspec.Meta(ge=0, lt=253402300800)]
    tool_version: str
    format: int = FORMAT_VERSION
    stopped: str = ""
    exit_status: int | None = None
    cases: int = 0
    configs: int = 0
    comparisons: int = 0
    elapsed_s: float = 0.0
    backend_s: dict[str, float] = {}
    compile_s: dict[str, float] = {}
    worst_ratios: dict[str, Real] = {}
    backend_versions: dict[str, dict[str, str]] = {}
    verdicts: dict[str, dict[str, int]] = {}
    skipped: dict[str, dict[str, int]] = {}
    quarantined: dict[str, dict[str, int]] = {}
    ledger: list[LedgerLine] = []
    canary: Canary = Canary(0, 0)
    findings: list[FindingLine] = []
    flaky: list[Fingerprint] = []
    upstream: list[UpstreamLine] = []
    gone: list[Gone] = []
    arithmetic: list[Arithmetic] = []
    known: list[Fingerprint] = []
    causes: list[Cause] = []
    tests: dict[str, str] = {}

    @classmethod
    def here(
        cls,
        *,
        seed: int,
        strategy: str,
        backends: Iterable[str],
        arguments: Mapping[str, Any],
        started: float,
        backend_versions: Mapping[str, Mapping[str, str]],
    ) -> RunInfo:
        """Return the facts of a run on this machine, in the versions that are installed; its totals are still to come."""
        return cls(
            seed=seed,
            strategy=strategy,
            backends=list(backends),
            arguments=dict(arguments),
            versions=versions(backend_versions),
            backend_versions={name: dict(own) for name, own in backend_versions.items()},
            machine=machine(),
            started=started,
            tool_version=__version__,
        )

    def with_totals(
        self, summary: Summary, findings: Iterable[Finding], *, elapsed_s: float, stopped: str = "", causes: Sequence[Cause] | None = None
    ) -> RunInfo:
        """Return these facts with the totals so far, or, where the run has ``stopped``, with the final ones and its exit status.

        ``causes`` are what experiments have shown; without them, what looks alike has one cause.
        """
        backends, kept = summary.backends, sorted(findings, key=lambda f: f.fingerprint)
        seconds = {REFERENCE: summary.reference_seconds} | {name: backend.seconds for name, backend in backends.items()}
        return msgspec.structs.replace(
            self,
            stopped=str(stopped),
            exit_status=exit_status(summary, stopped, self.arguments.get("known", "show")) if stopped else None,
            elapsed_s=round(elapsed_s, 3),
            cases=summary.cases,
            configs=summary.configs,
            comparisons=summary.comparisons,
            backend_s={name: round(s, 6) for name, s in seconds.items()},
            compile_s={name: round(backend.compile_seconds, 6) for name, backend in backends.items() if backend.compile_seconds},
            worst_ratios={name: Real(backend.worst_ratio) for name, backend in backends.items() if backend.compared},
            verdicts={name: {str(v): n for v, n in backend.verdicts.items()} for name, backend in backends.items()},
            skipped={name: dict(backend.skips) for name, backend in backends.items() if backend.skips},
            quarantined={name: dict(backend.quarantined) for name, backend in backends.items() if backend.quarantined},
            ledger=[_ledger_line(use) for use in summary.uses.values()],
            canary=Canary(summary.canary_planted, summary.canary_caught),
            findings=[
                FindingLine(f.fingerprint, f.verdict, f.backend, f.case, f.max_abs, f.reduction if f.is_unreduced else "") for f in kept
            ],
            flaky=[f.fingerprint for f in kept if f.confirmation.comes_and_goes],
            known=[f.fingerprint for f in kept if summary.tolerated(f.fingerprint)],
            upstream=_upstream_lines(summary, kept),
            causes=_causes(summary, kept, causes) if stopped else [],
        )

    def upstream_of(self, fingerprint: str) -> UpstreamLine | None:
        """Return what is known upstream of a finding, if anything is."""
        return next((line for line in self.upstream if line.fingerprint == fingerprint), None)


def upstream_links(summary: Summary, findings: Iterable[Finding]) -> dict[str, str]:
    """Return where to read of those findings that are known upstream, by fingerprint."""
    return {line.fingerprint: line.link for line in _upstream_lines(summary, findings)}


def ledger_links(summary: Summary, findings: Iterable[Finding]) -> dict[str, str]:
    """Return the links of the ledger's entries that tolerate findings, by fingerprint."""
    entries = ((finding.fingerprint, summary.tolerated(finding.fingerprint)) for finding in findings)
    return {name: entry.link for name, entry in entries if entry is not None}


def _causes(summary: Summary, findings: Sequence[Finding], told: Sequence[Cause] | None) -> list[Cause]:
    return causes_of(findings, upstream_links(summary, findings), ledger_links(summary, findings), told or ())


def _upstream_lines(summary: Summary, findings: Iterable[Finding]) -> list[UpstreamLine]:
    named = [(finding.fingerprint, name) for finding in findings if (name := summary.known_as(finding.fingerprint))]
    bugs = {bug.name: bug for bug in known_upstream().bugs} if named else {}  # which takes longer to read than a small run
    found = [(fingerprint, bugs[name]) for fingerprint, name in named if name in bugs]
    return [UpstreamLine(fingerprint, bug.name, bug.title, bug.reference) for fingerprint, bug in found]


def _ledger_line(use: EntryUse) -> LedgerLine:
    return LedgerLine(use.entry, use.matched, use.is_stale, use.recheck.outcome if use.recheck else None)


@dataclass(frozen=True)
class Run:
    """A run directory, read: its facts, the fold of its journals, and its findings."""

    directory: Path
    info: RunInfo
    summary: Summary
    findings: tuple[Finding, ...]

    @classmethod
    def load(cls, directory: Path) -> Run:
        """Read a run directory, whether its run has ended, is still running or died.

        Raises:
            RunDirectoryError: it is not a run directory.
            UnreadableFile: a file in it is damaged or of another format version.
        """
        info = read_run_info(directory)
        summary = Summary(Ledger(tuple(line.entry for line in info.ledger)))
        for journal in sorted(directory.glob("journal-*.jsonl")):
            try:
                for event in read_journal(journal):
                    summary.add(event, journal.name)
            except InvalidConfig as error:
                raise UnreadableFile(f"{journal}: {error}") from None
        findings = sorted(read_findings(directory), key=lambda f: (f.verdict.gravity, f.backend, f.fingerprint))
        return cls(directory, info, summary, tuple(findings))

    @cached_property
    def causes(self) -> tuple[Cause, ...]:
        """The causes of its findings, each of which is of one; a run that ended before there were any in ``run.json`` has likely ones."""
        upstream = {line.fingerprint: line.link for line in self.info.upstream}
        return tuple(causes_of(self.findings, upstream, ledger_links(self.summary, self.findings), self.info.causes))

    def script(self, finding: Finding) -> Path | None:
        """Return the finding's reproduction script, where there is one; a link to some other file is none."""
        return self._beside(f"{finding.fingerprint}.py")

    def bug_report(self, finding: Finding) -> Path | None:
        """Return the finding's bug report, where there is one; a link to some other file is none."""
        return self._beside(f"{finding.fingerprint}.md")

    def _beside(self, name: str) -> Path | None:
        path = self.directory / "repro" / name
        return path if path.is_file() and not path.is_symlink() and not path.parent.is_symlink() else None


def read_run_info(directory: Path) -> RunInfo:
    """Read the ``run.json`` of a run directory.

    Raises:
        RunDirectoryError: there is none.
        UnreadableFile: it is damaged or of another format version.
    """
    path = directory / "run.json"
    if directory.exists() and not directory.is_dir():
        raise RunDirectoryError(f"{directory} is not a run directory: it is a file")
    try:
        return decode_run_info(read_regular(path, MOST_BYTES), str(path))
    except FileNotFoundError:
        raise RunDirectoryError(f"{directory} is not a run directory: it has no run.json") from None


def finding_paths(directory: Path) -> list[Path]:
    """Return the finding files of a run directory.

    Raises:
        RunDirectoryError: it is none.
        UnreadableFile: their folder is lost or something else has its name, so that nobody takes it for a run without findings.
    """
    folder = directory / "findings"
    if not folder.is_dir():
        if os.path.lexists(folder):
            raise UnreadableFile(f"{folder} is not the folder of a run's findings: it is no folder")
        if listed := read_run_info(directory).findings:
            raise UnreadableFile(f"{folder} is not there, though run.json lists findings ({len(listed)}): copy the whole run directory")
    return sorted(folder.glob("*.json"))


def read_findings(directory: Path) -> list[Finding]:
    """Read the findings of a run directory.

    Raises:
        UnreadableFile: one is damaged, of another format version, or in a file that is not named by its fingerprint.
    """
    findings = []
    for path in finding_paths(directory):
        finding = decode_finding(read_regular(path, MOST_FINDING_BYTES), str(path))
        if finding.fingerprint != path.stem:
            raise UnreadableFile(f"{path} is the finding {finding.fingerprint}: a finding's file is named by its fingerprint")
        findings.append(finding)
    return findings


def decode_run_info(data: bytes, source: str) -> RunInfo:
    """Read the content of a ``run.json``.

    Raises:
        UnreadableFile: it is too large, of another format version, or not a run's.
    """
    return decode_file(data, RunInfo, source=source, name="run.json", version=FORMAT_VERSION, most_bytes=MOST_BYTES)


def write_run_info(directory: Path, info: RunInfo) -> None:
    """Write ``run.json``."""
    write_atomically(directory / "run.json", encode_indented(info))


def write_finding(directory: Path, finding: Finding) -> None:
    """Write ``findings/<fingerprint>.json``."""
    write_atomically(directory / "findings" / f"{finding.fingerprint}.json", encode_finding(finding))


def remove_finding(directory: Path, fingerprint: str) -> None:
    """Remove a finding that has become part of another one, its script, its bug report and their data."""
    (directory / "findings" / f"{fingerprint}.json").unlink(missing_ok=True)
    for kind in ("py", "md"):
        (directory / "repro" / f"{fingerprint}.{kind}").unlink(missing_ok=True)
    for data in (directory / "repro").glob(f"{fingerprint}-*.npy"):
        data.unlink()
