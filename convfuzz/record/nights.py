"""The history over several nights, from the totals of their runs alone: which causes are new, known or fixed, and what changed.

No journal is read, so that tens of nights take no longer to read than their ``run.json`` files. A finding goes by its fingerprint.
One that was not reduced shares that with other failures of its kind, so it goes by its case too, and by the cause that it is of.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import msgspec

from convfuzz.errors import RunDirectoryError, UnreadableFile, UsageError
from convfuzz.record.cause import Groups
from convfuzz.record.events import Fingerprint, Recheck
from convfuzz.record.run_directory import FindingLine, RunInfo, read_run_info
from convfuzz.record.summary import REFERENCE
from convfuzz.system.files import read_regular, write_named
from convfuzz.system.json_records import decode_file, encode_indented
from convfuzz.verdicts import Verdict

REPLAYS = "replays.json"
"""The file beside a night's ``run.json`` that says what became of earlier findings that were run again in that night."""
FORMAT_VERSION = 1
_MOST_BYTES = 2**24

_Kind = tuple[str, Verdict]


class Standing(StrEnum):
    """What a night says of a cause."""

    NEW = "new"
    KNOWN = "known"
    FLAKY = "flaky"
    UNCLEAR = "unclear"
    """It was not reduced, and an earlier night had a failure of its kind, which may be another one."""
    FIXED = "fixed"
    BACK = "back"
    NOT_MET = "not met"

    @property
    def is_there(self) -> bool:
        """Whether the night has met it."""
        return self not in (Standing.FIXED, Standing.NOT_MET)


class Replayed(msgspec.Struct, frozen=True):
    """A finding that was run again, and what became of it."""

    fingerprint: Fingerprint
    backend: str
    case: str
    outcome: Recheck


class Replays(msgspec.Struct, frozen=True):
    """The content of a ``replays.json``."""

    replays: list[Replayed]
    format: int = FORMAT_VERSION


@dataclass(frozen=True)
class BackendNight:
    """What one backend did in a night; ``seconds`` were spent inside it, ``worst_ratio`` is ``None`` where no run has one."""

    compared: int
    seconds: float
    worst_ratio: float | None
    version: str

    @property
    def rate(self) -> float | None:
        """Cases a second inside the backend."""
        return self.compared / self.seconds if self.compared and self.seconds > 0 else None


@dataclass(frozen=True)
class VersionChange:
    """A version that differs from the one before."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.name} {self.before} → {self.after}"


@dataclass(frozen=True)
class Night:
    """The runs of one night together: their totals, their findings, and which others were run again.

    Findings go by names that are theirs alone (:func:`_name`). ``causes`` are those of each cause, its lead first, and ``upstream``
    those that are known upstream as the same bug.
    """

    name: str
    runs: tuple[RunInfo, ...]
    findings: Mapping[str, FindingLine]
    flaky: frozenset[str]
    known: frozenset[str]
    replayed: Mapping[str, Recheck]
    backends: Mapping[str, BackendNight]
    versions: Mapping[str, str]
    causes: tuple[tuple[str, ...], ...] = ()
    upstream: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, runs: Sequence[RunInfo], replays: Iterable[Replayed] = ()) -> Night:
        """Add up the runs of a night."""
        findings = {_name(line): line for info in runs for line in info.findings}
        rechecked = [(line.entry.fingerprint, line.entry.case, line.recheck) for info in runs for line in info.ledger if line.recheck]
        rechecked += [(one.fingerprint, one.case, one.outcome) for one in replays]
        replayed = {name: outcome for fingerprint, case, outcome in rechecked for name in (fingerprint, _unreduced(fingerprint, case))}
        names = dict.fromkeys(name for info in runs for name in (*info.backends, *info.verdicts))
        backends = {name: _backend(name, runs) for name in names if name != REFERENCE}
        known = [{"convfuzz": info.tool_version} | info.versions for info in runs]
        versions = {name: _joined(one.get(name, "") for one in known) for one in known for name in one}
        called = [(info, {line.fingerprint: _name(line) for line in info.findings}) for info in runs]
        flaky = frozenset(own[one] for info, own in called for one in info.flaky if one in own)
        listed = ((own, one) for info, own in called for one in (*info.known, *(line.fingerprint for line in info.upstream)))
        tolerated = frozenset(own[one] for own, one in listed if one in own)
        causes = tuple(
            tuple(own[one] for one in dict.fromkeys((cause.lead, *cause.members)) if one in own)
            for info, own in called
            for cause in info.causes
        )
        upstream: dict[str, list[str]] = {}
        for info, own in called:
            for bug in info.upstream:
                if bug.fingerprint in own:
                    upstream.setdefault(bug.name, []).append(own[bug.fingerprint])
        return cls(name, tuple(runs), findings, flaky, tolerated, replayed, backends, versions, causes, upstream)

    @property
    def started(self) -> float:
        """When its first run began, in seconds since the epoch."""
        return min(info.started for info in self.runs)

    @property
    def cases(self) -> int:
        """Cases of all runs."""
        return sum(info.cases for info in self.runs)


@dataclass(frozen=True)
class Track:
    """One cause over the nights: ``line`` is its lead in the last night that has it, ``standings`` has one entry for each night.

    ``members`` are the fingerprints of the findings that it has made in any night.
    """

    line: FindingLine
    standings: tuple[Standing, ...]
    members: tuple[str, ...]

    @property
    def now(self) -> Standing:
        """What the last night says, or the last that could tell: what was fixed stays fixed until it is back."""
        met = [standing for standing in self.standings if standing is not Standing.NOT_MET]
        return Standing.FIXED if met[-1] is Standing.FIXED else self.standings[-1]


@dataclass(frozen=True)
class History:
    """Nights, oldest first, and the causes over them; ``left_out`` says what could not be read.

    Findings have one cause where the experiments of any night have shown it, and where they are known upstream as the same bug.
    """

    nights: tuple[Night, ...]
    left_out: tuple[str, ...] = ()
    tracks: tuple[Track, ...] = field(init=False)

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.nights, key=lambda night: night.started))
        object.__setattr__(self, "nights", ordered)
        lines = {name: line for night in ordered for name, line in night.findings.items()}
        groups = Groups(lines)
        by_bug: dict[str, list[str]] = {}
        for night in ordered:
            for bug, names in night.upstream.items():
                by_bug.setdefault(bug, []).extend(names)
        for one in (*(names for night in ordered for names in night.causes), *by_bug.values()):
            groups.unite(one)
        before = _kinds_before(ordered)
        tracks = [
            Track(lines[_lead(names, ordered)], tuple(_standings(frozenset(names), ordered, before)), tuple(_fingerprints(names, lines)))
            for names in groups.members()
        ]
        tracks.sort(key=lambda track: (track.line.verdict.gravity, track.line.backend, track.line.fingerprint))
        object.__setattr__(self, "tracks", tuple(tracks))

    def counts(self, night: int) -> Counter[Standing]:
        """Return how many causes have each standing in a night."""
        return Counter(track.standings[night] for track in self.tracks)

    def version_changes(self) -> list[list[VersionChange]]:
        """Return for each night the versions that differ from those of the last night before it that had them."""
        latest: dict[str, str] = {}
        found = []
        for night in self.nights:
            now = night.versions
            found.append([VersionChange(name, latest[name], now[name]) for name in sorted(now) if latest.get(name, now[name]) != now[name]])
            latest.update(now)
        return found


def read_history(folder: Path, tonight: Iterable[Path] = ()) -> tuple[list[Night], list[str]]:
    """Read the nights in ``folder``: each is a run directory, or a folder with the several runs of one night.

    Returns:
        The nights, without those that contain one of the directories of ``tonight``; and what could not be read.

    Raises:
        UsageError: it is not a folder, or there is no run in it.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder of runs")
    own = {path.resolve() for path in tonight}
    nights: list[Night] = []
    alone: list[_Read] = []
    left_out, seen = [], False
    for child in [folder] if (folder / "run.json").is_file() else sorted(folder.iterdir()):
        is_run = (child / "run.json").is_file()
        runs = [child] if is_run else [path.parent for path in sorted(child.glob("*/run.json"))]
        seen = seen or bool(runs)
        if not runs or any(run.resolve() in own for run in runs):
            continue
        try:
            if is_run:
                alone.append(_Read.of(child, read_run_info(child)))
            else:
                nights.append(read_night(child.name, runs))
        except (UnreadableFile, RunDirectoryError) as error:
            left_out.append(str(error))
    nights += _grouped(alone)
    if not seen:
        raise UsageError(f"{folder} holds no run directory, nor folders with run directories")
    return nights, left_out


@dataclass(frozen=True)
class _Read:
    """One run as a history reads it."""

    name: str
    info: RunInfo
    replays: list[Replayed]

    @classmethod
    def of(cls, directory: Path, info: RunInfo) -> _Read:
        return cls(directory.name, info, read_replays(directory / REPLAYS))


def nights_of(directories: Sequence[Path], infos: Sequence[RunInfo]) -> list[Night]:
    """Group runs into nights, with the records of replays beside them; runs that overlap in time belong to one night.

    Raises:
        UnreadableFile: a record of replays is damaged or of another format version.
    """
    return _grouped([_Read.of(directory, info) for directory, info in zip(directories, infos, strict=True)])


def _grouped(runs: Sequence[_Read]) -> list[Night]:
    groups: list[list[_Read]] = []
    until = -math.inf
    for run in sorted(runs, key=lambda run: (run.info.started, run.name)):
        if run.info.started < until:
            groups[-1].append(run)
        else:
            groups.append([run])
        until = max(until, run.info.started + run.info.elapsed_s)
    nights = []
    for group in groups:
        others = f" and {len(group) - 1} more" if len(group) > 1 else ""
        nights.append(Night.of(f"{group[0].name}{others}", [run.info for run in group], [one for run in group for one in run.replays]))
    return nights


def read_night(name: str, directories: Sequence[Path]) -> Night:
    """Read the totals of the runs of one night, and the records of replays beside them.

    Raises:
        RunDirectoryError: one of them is not a run directory.
        UnreadableFile: a file is damaged or of another format version.
    """
    return Night.of(name, [read_run_info(directory) for directory in directories], read_replays_beside(directories))


def read_replays_beside(directories: Sequence[Path]) -> list[Replayed]:
    """Read the records of replays in the run directories of a night and, if there are several, in their common folder.

    Raises:
        UnreadableFile: one is damaged or of another format version.
    """
    shared = {directory.resolve().parent for directory in directories} if len(directories) > 1 else set()
    folders = [*directories, *(shared if len(shared) == 1 else ())]
    return [one for folder in folders for one in read_replays(folder / REPLAYS)]


def read_replays(path: Path) -> list[Replayed]:
    """Read a ``replays.json``; where there is no file there are no replays.

    Raises:
        UnreadableFile: it is damaged or of another format version.
    """
    try:
        data = read_regular(path, _MOST_BYTES)
    except FileNotFoundError:
        return []
    record = decode_file(data, Replays, source=str(path), name="record of replays", version=FORMAT_VERSION, most_bytes=_MOST_BYTES)
    return record.replays


def write_replays(path: Path, replays: Sequence[Replayed]) -> None:
    """Write a ``replays.json`` in one step.

    Raises:
        UsageError: it cannot be written.
    """
    write_named(path, encode_indented(Replays(list(replays))))


def _backend(name: str, runs: Sequence[RunInfo]) -> BackendNight:
    compared = sum(n for info in runs for verdict, n in info.verdicts.get(name, {}).items() if verdict != Verdict.UNSUPPORTED)
    ratios = [float(info.worst_ratios[name]) for info in runs if name in info.worst_ratios]
    version = _joined(", ".join(f"{k} {v}" for k, v in info.backend_versions.get(name, {}).items()) for info in runs)
    return BackendNight(compared, sum(info.backend_s.get(name, 0.0) for info in runs), max(ratios, default=None), version)


def _joined(versions: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(version for version in versions if version))


def _lead(names: Sequence[str], nights: Sequence[Night]) -> str:
    """Return which finding speaks for a cause: the lead of the last night that has it."""
    last = next(night for night in reversed(nights) if not night.findings.keys().isdisjoint(names))
    leads = [names[0] for names in last.causes if names]
    there = [name for name in names if name in last.findings]
    return min(there, key=lambda name: (name not in leads, last.findings[name].verdict.gravity, name))


def _standings(names: frozenset[str], nights: Sequence[Night], kinds_before: Sequence[frozenset[_Kind]]) -> Iterable[Standing]:
    # Before the first night there is nothing to be new against.
    was_there, was_fixed = not names.isdisjoint(nights[0].findings), False
    for night, kinds in zip(nights, kinds_before, strict=True):
        standing = Standing.NOT_MET
        met = names & night.findings.keys()
        replayed = {night.replayed[name] for name in names & night.replayed.keys()}
        if met:
            standing = _of_cause(met, night, was_there=was_there, was_fixed=was_fixed)
            found = [night.findings[name] for name in met]
            if standing is Standing.NEW and all(line.reduction and _kind(line) in kinds for line in found):
                standing = Standing.UNCLEAR
            was_there, was_fixed = True, False
        elif was_there and Recheck.STILL_FAILING in replayed:  # not drawn, but still there
            standing, was_fixed = (Standing.BACK if was_fixed else Standing.KNOWN), False
        elif was_there and not was_fixed and replayed == {Recheck.FIXED}:
            standing, was_fixed = Standing.FIXED, True
        yield standing


def _kinds_before(nights: Sequence[Night]) -> list[frozenset[_Kind]]:
    """Return for each night who failed how in the nights before it."""
    kinds = [frozenset(map(_kind, night.findings.values())) for night in nights]
    return [frozenset().union(*kinds[:n]) for n in range(len(nights))]


def _name(line: FindingLine) -> str:
    """Return a name for a finding that no other one has: its fingerprint, and its case where that was not reduced."""
    return _unreduced(line.fingerprint, line.case) if line.reduction else line.fingerprint


def _unreduced(fingerprint: str, case: str) -> str:
    return f"{fingerprint} {case}"


def _kind(line: FindingLine) -> _Kind:
    return line.backend, line.verdict


def _fingerprints(names: Iterable[str], lines: Mapping[str, FindingLine]) -> Iterable[str]:
    return dict.fromkeys(lines[name].fingerprint for name in names)


def _of_cause(met: frozenset[str], night: Night, *, was_there: bool, was_fixed: bool) -> Standing:
    if met <= night.flaky:
        return Standing.FLAKY
    if was_fixed:
        return Standing.BACK
    return Standing.KNOWN if was_there or met <= night.known else Standing.NEW
