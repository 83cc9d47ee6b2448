"""The history over nights as a page shows it: causes night by night, and how each backend has done by version."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from convfuzz.record.nights import BackendNight, History, Night, Standing, Track, nights_of
from convfuzz.record.run_directory import Run
from convfuzz.record.summary import REFERENCE
from convfuzz.reports.formatting import count, number, plural, ratio
from convfuzz.reports.merged import Merged, without_folders
from convfuzz.reports.pictures import trend_charts
from convfuzz.reports.sections.headline import kind

MOST_NIGHTS = 90
MOST_TRACKS = 60
MEANING = {
    Standing.NEW: "no earlier night had it, and neither a ledger nor anybody upstream knows it",
    Standing.BACK: "it had been fixed",
    Standing.UNCLEAR: "it was not reduced, so that it cannot be said whether it is what an earlier night had",
    Standing.KNOWN: "an earlier night had it, the ledger tolerates it, or it is known upstream",
    Standing.FLAKY: "it comes and goes when it is run again",
    Standing.FIXED: "its case was run again that night and passed",
    Standing.NOT_MET: "its case was not drawn that night, which shows nothing",
}
URGENCY = tuple(MEANING)


@dataclass(frozen=True)
class NightRow:
    """One night, and how many causes have each standing, in the order of :data:`URGENCY`."""

    label: str
    name: str
    started: str
    cases: int
    counts: tuple[int, ...]
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Mark:
    """A night with other versions than the night before, by its number in the charts."""

    number: int
    label: str
    text: str


@dataclass(frozen=True)
class BackendRow:
    """One backend over the nights: two pictures and the last night's figures."""

    backend: str
    short: str
    version: str
    ratios: Markup
    worst: str
    is_over: bool
    rates: Markup
    rate: str
    label: str


@dataclass(frozen=True)
class VersionRow:
    """All nights of one version of a backend."""

    backend: str
    version: str
    nights: int
    compared: int
    worst: float | None
    rate: float | None


@dataclass(frozen=True)
class TrackRow:
    """One cause over the nights, by its lead; ``more`` are the other findings that it has made."""

    fingerprint: str
    more: int
    verdict: str
    kind: str
    backend: str
    case: str
    strip: Markup
    now: Standing
    first: str
    last: str
    there: int


@dataclass(frozen=True)
class Trends:
    """The section on the history: its first sentence, the findings that the last night knows of and those that it did not meet.

    ``left_out`` is what is not shown, and why.
    """

    said: str
    last: str
    nights: tuple[NightRow, ...]
    chart: Markup
    marks: tuple[Mark, ...]
    backends: tuple[BackendRow, ...]
    versions: tuple[VersionRow, ...]
    met: tuple[TrackRow, ...]
    not_met: tuple[TrackRow, ...]
    left_out: tuple[str, ...]
    meanings: tuple[tuple[Standing, str], ...]


def of_runs(runs: Sequence[Run]) -> History:
    """Return the history of runs, each one a night, except that runs that overlap in time are one."""
    return History(tuple(nights_of([run.directory for run in runs], [run.info for run in runs])))


def view(merged: Merged, history: History | None) -> Trends | None:
    """Return the section, ``None`` if there is only one night."""
    whole = history or of_runs(merged.runs)
    if len(whole.nights) < 2:
        return None
    shown = History(whole.nights[-MOST_NIGHTS:]) if len(whole.nights) > MOST_NIGHTS else whole
    left_out = [f"The last {MOST_NIGHTS} of {len(whole.nights)} nights."] if shown is not whole else []
    labels, steps = _labels(shown.nights), shown.version_changes()
    at = [n for n, found in enumerate(steps) if found]
    marks = tuple(Mark(number, labels[n], ", ".join(map(str, steps[n]))) for number, n in enumerate(at, 1))
    counts = [shown.counts(night) for night in range(len(shown.nights))]
    tracks = sorted(shown.tracks, key=lambda track: URGENCY.index(track.now))
    if len(tracks) > MOST_TRACKS:
        left_out.append(f"{MOST_TRACKS} of {plural(len(tracks), 'cause')}; the others were not met of late or are less urgent.")
    rows = [_track(track, labels) for track in tracks[:MOST_TRACKS]]
    nights = tuple(
        NightRow(labels[n], night.name, _started(night), night.cases, tuple(counts[n][s] for s in URGENCY), tuple(map(str, steps[n])))
        for n, night in enumerate(shown.nights)
    )
    return Trends(
        said=_said(nights),
        last=_last(nights),
        nights=nights,
        chart=trend_charts.findings([[row.counts[URGENCY.index(s)] for s in trend_charts.STACK] for row in nights], labels, at),
        marks=marks,
        backends=tuple(_backends(shown, at)),
        versions=tuple(_versions(shown)),
        met=tuple(row for row in rows if row.now is not Standing.NOT_MET),
        not_met=tuple(row for row in rows if row.now is Standing.NOT_MET),
        left_out=(*left_out, *whole.left_out),
        meanings=tuple(MEANING.items()),
    )


def _labels(nights: Sequence[Night]) -> list[str]:
    """Return a short name of each night: its date, or its number where several are of one date."""
    dates = [datetime.fromtimestamp(night.started, UTC).strftime("%m-%d") for night in nights]
    return dates if len(set(dates)) == len(dates) else [f"#{number}" for number in range(1, len(nights) + 1)]


def _started(night: Night) -> str:
    return datetime.fromtimestamp(night.started, UTC).strftime("%Y-%m-%d %H:%M")


def _said(nights: Sequence[NightRow]) -> str:
    days = dict.fromkeys((nights[0].started[:10], nights[-1].started[:10]))
    return f"{plural(len(nights), 'night')}, {' to '.join(days)}. The last one: {_last(nights)}."


def _last(nights: Sequence[NightRow]) -> str:
    """Return what the last night says of all causes, in a few words."""
    found = [f"{count(n)} {standing}" for standing, n in zip(URGENCY, nights[-1].counts, strict=True) if n]
    return ", ".join(found) or "no finding, as in all of them"


def _backends(history: History, steps: Sequence[int]) -> list[BackendRow]:
    last = history.nights[-1]
    names = [name for name in dict.fromkeys(n for night in reversed(history.nights) for n in night.backends) if name != REFERENCE]
    short = without_folders(tuple(names))
    rows = []
    for name, label in zip(names, short, strict=True):
        over = [night.backends.get(name) for night in history.nights]
        if not any(one and one.compared for one in over):
            continue
        now = last.backends.get(name)
        worst, rate = (now.worst_ratio, now.rate) if now else (None, None)
        ratios = [one.worst_ratio if one and one.compared else None for one in over]
        rates = [one.rate if one else None for one in over]
        rows.append(
            BackendRow(
                name,
                label,
                now.version if now else "",
                trend_charts.ratios(ratios, steps),
                "–" if worst is None else ratio(worst),
                worst is not None and worst > 1,
                trend_charts.rates(rates, steps),
                number(rate),
                f"worst error over tolerance {_range(ratios)}, cases a second {_range(rates)} over {plural(len(over), 'night')}",
            )
        )
    return rows


def _range(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{number(min(known))} to {number(max(known))}" if known else "unknown"


def _versions(history: History) -> list[VersionRow]:
    """Return what each version of each backend did, all its nights together; kernels and others without a version are one row."""
    kept: dict[tuple[str, str], list[BackendNight]] = {}
    for night in history.nights:
        for name, one in night.backends.items():
            if one.compared:
                kept.setdefault((name, one.version), []).append(one)
    rows = []
    for (name, version), nights in sorted(kept.items(), key=lambda item: item[0][0]):
        compared, seconds = sum(one.compared for one in nights), math.fsum(one.seconds for one in nights)
        worst = max((one.worst_ratio for one in nights if one.worst_ratio is not None), default=None)
        rows.append(VersionRow(name, version, len(nights), compared, worst, compared / seconds if seconds else None))
    return rows


def _track(track: Track, labels: Sequence[str]) -> TrackRow:
    standings = track.standings
    there = [n for n, standing in enumerate(standings) if standing.is_there]
    words = [f"{standing} {labels[n]}" for n, standing in enumerate(standings) if standing is not Standing.NOT_MET]
    return TrackRow(
        fingerprint=track.line.fingerprint,
        more=len(track.members) - 1,
        verdict=str(track.line.verdict),
        kind=kind(track.line.verdict),
        backend=track.line.backend,
        case=track.line.case,
        strip=trend_charts.strip(standings, ", ".join(words)),
        now=track.now,
        first=labels[there[0]],
        last=labels[there[-1]],
        there=len(there),
    )
