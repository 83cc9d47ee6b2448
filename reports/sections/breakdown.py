"""What was run and what it took: coverage of the search space, skips, time, and the environment."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from convfuzz.case import REGIMES
from convfuzz.case.config import DTYPES, LAYOUTS, OPS
from convfuzz.case.line import FLAWS, PADDING_MODES
from convfuzz.record.run_directory import Run
from convfuzz.record.summary import REFERENCE
from convfuzz.reports.formatting import listed, seconds
from convfuzz.reports.merged import Merged, without_folders

MOST_NAMES = 4

KNOWN: dict[str, Iterable[str]] = {
    "regime": REGIMES,
    "op": OPS,
    "dims": ("1", "2", "3"),
    "dtype": DTYPES,
    "layout": LAYOUTS,
    "weight layout": ("as the input", *LAYOUTS),
    "padding mode": PADDING_MODES,
    "bias": ("no", "yes"),
    "call": ("well-formed", *FLAWS),
}
"""Axes whose values are a fixed list, so that a value that was never drawn can be shown as such."""


@dataclass(frozen=True)
class Bar:
    """One value: how many of the whole."""

    name: str
    count: int
    percent: float


@dataclass(frozen=True)
class Axis:
    """One axis of the search space; ``never`` are known values that no case had."""

    name: str
    bars: tuple[Bar, ...]
    never: tuple[str, ...]


@dataclass(frozen=True)
class TimeRow:
    """Seconds spent in one place; ``each`` is per comparison, where that means something."""

    name: str
    seconds: str
    percent: float
    each: str
    is_backend: bool


@dataclass(frozen=True)
class Declined:
    """Why backends did not run cases: ``rows`` are reasons with a count for each backend, most frequent first."""

    labels: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    totals: tuple[int, ...]


@dataclass(frozen=True)
class Facts:
    """A titled list of names and values."""

    title: str
    pairs: tuple[tuple[str, str], ...]
    empty: str


@dataclass(frozen=True)
class Compared:
    """What one backend was compared on: per parameter the values with their configurations, and accepted ones that never were.

    Only of what is ``searched`` is it known what is accepted.
    """

    name: str
    said: str
    searched: bool
    rows: tuple[tuple[str, str, str], ...]


def coverage(merged: Merged) -> list[Axis]:
    """Return how often each value of each axis was drawn, and which known values never were."""
    summary = merged.summary
    if not summary.cases:
        return []
    axes = {"regime": summary.regimes, **summary.coverage}
    return [_axis(name, values) for name, values in axes.items()]


def _axis(name: str, values: Counter[str]) -> Axis:
    whole = values.total() or 1
    known = list(KNOWN.get(name, ()))
    drawn = [value for value in dict.fromkeys([*known, *values]) if values[value]]
    if all(re.match(r"\d", value) for value in drawn):
        drawn.sort(key=_leading)
    elif name not in ("op", "dtype", "bias"):
        drawn.sort(key=lambda value: (-values[value], value))
    bars = tuple(Bar(value, values[value], 100 * values[value] / whole) for value in drawn)
    return Axis(name, bars, tuple(value for value in known if not values[value]))


def _leading(value: str) -> int:
    match = re.match(r"\d+", value)
    return int(match[0]) if match else 0


def compared(merged: Merged) -> list[Compared]:
    """Return on which values of each parameter the kernels of the user's own were compared, and on which accepted ones they never were."""
    tables = []
    for name in merged.backends:
        backend = merged.summary.backends.get(name)
        if backend is None or not (backend.coverage.accepted or ("::" in name and backend.compared)):
            continue
        coverage = backend.coverage
        rows = []
        for parameter in coverage.compared or coverage.accepted:
            values = coverage.compared.get(parameter, Counter())
            shown = tuple(f"{value} ({values[value]:,})" for value in sorted(values, key=_in_order))
            rows.append((parameter, ", ".join(shown) or "none", ", ".join(sorted(coverage.never(parameter), key=_in_order))))
        tables.append(Compared(name, backend.said, bool(coverage.accepted), tuple(rows)))
    return tables


def _in_order(value: str) -> tuple[bool, int, str]:
    number = re.match(r"\d+", value)
    return number is None, int(number[0]) if number else 0, value


def not_run(merged: Merged) -> list[tuple[str, int]]:
    """Return why cases were not run on any backend, most frequent first."""
    return merged.summary.skipped.most_common()


def declined(merged: Merged) -> Declined:
    """Return why single backends did not run cases."""
    skips = {name: found.skips for name in merged.backends if (found := merged.summary.backends.get(name)) and found.skips}
    total: Counter[str] = Counter()
    for counts in skips.values():
        total.update(counts)
    order = sorted(total, key=lambda reason: (-total[reason], reason))
    rows = tuple((reason or "no reason given", tuple(counts[reason] for counts in skips.values())) for reason in order)
    return Declined(without_folders(tuple(skips)), rows, tuple(counts.total() for counts in skips.values()))


def time_rows(merged: Merged) -> list[TimeRow]:
    """Return where the workers' seconds went."""
    summary = merged.summary
    spent: list[tuple[str, float, int]] = [(REFERENCE, summary.reference_seconds, summary.cases)]
    spent += [(name, found.seconds, found.compared) for name in merged.backends if (found := summary.backends.get(name))]
    spent.sort(key=lambda row: -row[1])
    spent.append(("drawing, filling, judging", summary.overhead_seconds, summary.cases))
    whole = sum(s for _, s, _ in spent)
    if whole <= 0:
        return []
    last = len(spent) - 1
    return [TimeRow(name, seconds(s), 100 * s / whole, seconds(s / n) if n else "", i != last) for i, (name, s, n) in enumerate(spent)]


def accounted(merged: Merged) -> float:
    """Return the seconds that events account for, over all workers."""
    return merged.summary.backend_seconds + merged.summary.reference_seconds + merged.summary.overhead_seconds


def asked(run: Run) -> list[tuple[str, str]]:
    """Return what was asked for and how it ended, as names and values."""
    info = run.info
    status = "none yet" if info.exit_status is None else f"{info.exit_status}, {_STATUS.get(info.exit_status, 'unknown')}"
    return [
        ("Strategy", info.strategy),
        ("Seed", str(info.seed)),
        ("Started", started(run)),
        ("Stopped by", info.stopped or "nothing yet"),
        ("Exit status", status),
        ("Backends", ", ".join(info.backends) or "none"),
    ]


_STATUS = {
    0: "clean",
    1: "findings",
    2: "usage or configuration error",
    130: "interrupted",
    143: "ended by SIGTERM",
    129: "ended by SIGHUP",
}


def started(run: Run) -> str:
    """Return when the run began, in UTC so that the same run gives the same page everywhere."""
    return datetime.fromtimestamp(run.info.started, UTC).strftime("%Y-%m-%d %H:%M UTC")


def environments(runs: Sequence[Run]) -> list[tuple[str, tuple[Facts, ...]]]:
    """Return versions, machine and arguments of the runs, each different set once, under the names of its runs."""
    names: dict[tuple[Facts, ...], list[str]] = {}
    for run in runs:
        facts = _environment(run)
        names.setdefault(facts if len(runs) == 1 else facts[:2], []).append(run.directory.name)
    return [(_listed(found), facts) for facts, found in names.items()]


def _listed(names: Sequence[str]) -> str:
    if len(names) <= MOST_NAMES:
        return listed(names)
    return f"{names[0]} to {names[-1]}, {len(names)} runs"


def _environment(run: Run) -> tuple[Facts, ...]:
    info = run.info
    tests = (Facts("Tests", tuple(sorted(info.tests.items())), ""),) if info.tests else ()
    return (
        Facts("Versions", tuple(sorted(({"convfuzz": info.tool_version} | info.versions).items())), "no versions were recorded"),
        Facts("Machine", _plain(info.machine), "nothing about the machine was recorded"),
        Facts("Arguments", _plain(info.arguments), "no arguments were recorded"),
        *tests,
    )


def _plain(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name, value if isinstance(value, str) else msgspec.json.encode(value).decode())
        for name, value in values.items()
        if value is not None
    )
