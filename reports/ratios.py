"""How close each backend comes to its tolerance: the distribution of error ratios, and the worst per dtype."""

from __future__ import annotations

from dataclasses import dataclass
from math import log10
from typing import Any

from markupsafe import Markup

from convfuzz.case import PASSES
from convfuzz.judging import Verdict
from convfuzz.summary import BackendSummary

from . import charts
from .formatting import count, ratio
from .merged import DTYPE_ORDER, Merged, without_folders
from .places import FORWARD

WIDTH, HEIGHT = 340, 84
LEAST_RANGE = (-8, 3)
EXACT_GAP = 1.6
TICK_ROOM = 30
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Distribution:
    """One backend's histogram, as a picture, as a sentence, and as the rows of a table."""

    backend: str
    short: str
    svg: Markup
    label: str
    rows: tuple[tuple[str, int], ...]
    worst: str
    worst_case: str
    over: int
    unrated: int


@dataclass(frozen=True)
class BackendRow:
    """One backend's totals.

    ``share`` is the percentage of the cases that it was compared on, ``worst`` (worst ratio, whether it is over the
    tolerance) per dtype.
    """

    backend: str
    compared: int
    share: float
    agreed: int
    failed: int
    skipped: int
    worst: tuple[tuple[float | None, bool], ...]


@dataclass(frozen=True)
class PassRow:
    """How many results of one backend were compared, by pass in the order of the columns, and how many had no error at all."""

    backend: str
    compared: tuple[int, ...]
    exact: int


def distributions(merged: Merged) -> list[Distribution]:
    """Return a histogram of each backend that was measured, all on the same scales."""
    measured = [
        (name, found)
        for name in merged.backends
        if (found := merged.summary.backends.get(name)) and (found.ratios or found.exact or found.unrated)
    ]
    if not measured:
        return []
    bins = [b for _, found in measured for b in found.ratios]
    first, last = min([LEAST_RANGE[0], *bins]), max([LEAST_RANGE[1], *bins])
    most = max(max([found.exact, 1, *found.ratios.values()]) for _, found in measured)
    short = without_folders(tuple(name for name, _ in measured))
    return [
        Distribution(
            name,
            label,
            charts.render(_spec(found, first, last, most)),
            _sentence(found),
            _rows(found),
            ratio(found.worst_ratio),
            found.worst_ratio_case,
            _over(found),
            found.unrated,
        )
        for (name, found), label in zip(measured, short, strict=True)
    ]


def dtypes(merged: Merged) -> list[str]:
    """Return the dtypes that have a worst ratio, widest first."""
    present = {dtype for found in merged.summary.backends.values() for dtype in found.ratios_by_dtype}
    return [d for d in DTYPE_ORDER if d in present] + sorted(present - set(DTYPE_ORDER))


def backend_rows(merged: Merged) -> list[BackendRow]:
    """Return one row per backend that was asked for."""
    rows = []
    columns = dtypes(merged)
    for name in merged.backends:
        found = merged.summary.backends.get(name, BackendSummary())
        worst = tuple((value := found.ratios_by_dtype.get(dtype), value is not None and value > 1) for dtype in columns)
        skipped = found.verdicts[Verdict.UNSUPPORTED]
        share = 100 * found.compared / max(found.compared + skipped, 1)
        rows.append(BackendRow(name, found.compared, share, found.verdicts[Verdict.AGREE], found.failures, skipped, worst))
    return rows


def passes(merged: Merged) -> list[str]:
    """Return the passes of which a result was compared, in their order, forward always."""
    present = {in_pass for found in merged.summary.backends.values() for in_pass in found.passes}
    return [in_pass for in_pass in PASSES if in_pass in present or in_pass == FORWARD] + sorted(present - set(PASSES))


def pass_rows(merged: Merged) -> list[PassRow]:
    """Return one row per backend that was measured."""
    known = [(name, merged.summary.backends[name]) for name in merged.backends if name in merged.summary.backends]
    return [PassRow(name, tuple(found.passes[p] for p in passes(merged)), found.exact) for name, found in known]


def bin_label(power: int) -> str:
    """Return the lower end of a bin as a power of two."""
    return "1" if power == 0 else f"2{str(power).translate(SUPERSCRIPT)}"


def _over(found: BackendSummary) -> int:
    return sum(n for power, n in found.ratios.items() if power >= 0)


def _sentence(found: BackendSummary) -> str:
    over = _over(found)
    within = found.ratios.total() - over
    unrated = f", {count(found.unrated)} off without a tolerance to hold it against" if found.unrated else ""
    return f"{count(found.exact)} results exact, {count(within)} within the tolerance, {count(over)} beyond it{unrated}"


def _rows(found: BackendSummary) -> tuple[tuple[str, int], ...]:
    bins = [(f"{bin_label(power)} … {bin_label(power + 1)}", found.ratios[power]) for power in sorted(found.ratios)]
    return (("exact", found.exact), *bins, *([("off, no tolerance", found.unrated)] if found.unrated else []))


def _sides(found: BackendSummary) -> tuple[list[int], list[int]]:
    """Return the bins within the tolerance and those beyond it."""
    powers = sorted(found.ratios)
    return [power for power in powers if power < 0], [power for power in powers if power >= 0]


def _spec(found: BackendSummary, first: int, last: int, most: int) -> dict[str, Any]:
    left = first - EXACT_GAP - 1
    peaks = [max(side, key=lambda power: found.ratios[power]) for side in _sides(found) if side]
    bars = [{"x": left + 0.08, "x2": left + 0.92, "y": log10(1 + found.exact), "kind": "exact"}] if found.exact else []
    marks = [{"x": left + 0.5, "y": log10(1 + found.exact), "text": count(found.exact)}] if found.exact else []
    for power, n in sorted(found.ratios.items()):
        height = log10(1 + n)
        bars.append({"x": power + 0.08, "x2": power + 0.92, "y": height, "kind": "over" if power >= 0 else "within"})
        if power in peaks:
            aside = {-1: -1.0, 0: 1.0}.get(power, 0.0)  # beside the tolerance's line a label steps away from it
            marks.append({"x": power + 0.5 + aside, "y": height, "text": count(n)})
    ticks = [{"x": left + 0.5, "text": "exact"}, {"x": 0, "text": "1"}]
    width = WIDTH / (last + 1 - left)
    powers = [power for power in range(-(-first // 4) * 4, last + 1, 4) if power and (power - left - 0.5) * width > TICK_ROOM]
    ticks += [{"x": power, "text": bin_label(power)} for power in powers]
    x = {"field": "x", "type": "quantitative", "scale": {"domain": [left, last + 1], "nice": False, "zero": False}}
    y = {"field": "y", "type": "quantitative", "scale": {"domain": [0, log10(1 + most) * 1.18], "nice": False}}
    colour = {
        "field": "kind", "type": "nominal", "legend": None,
        "scale": {"domain": ["exact", "within", "over"], "range": ["var(--exact)", "var(--accent)", "var(--bad)"]},
    }  # fmt: skip
    text = {"type": "text", "fontSize": 10, "color": "currentColor"}
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "layer": [
            {
                "data": {"values": bars},
                "mark": {"type": "rect"},
                "encoding": {"x": x, "x2": {"field": "x2"}, "y": y, "y2": {"datum": 0}, "color": colour},
            },
            {
                "data": {"values": marks},
                "mark": text | {"baseline": "bottom", "dy": -2},
                "encoding": {"x": x, "y": y, "text": {"field": "text"}},
            },
            {"mark": {"type": "rule", "color": "var(--line)"}, "data": {"values": [{}]}, "encoding": {"y": {"value": HEIGHT}}},
            {
                "data": {"values": ticks},
                "mark": text | {"baseline": "top", "dy": 4, "opacity": 0.75},
                "encoding": {"x": x, "y": {"value": HEIGHT}, "text": {"field": "text"}},
            },
            {
                "data": {"values": [{"x": 0}]},
                "mark": {"type": "rule", "color": "currentColor", "strokeDash": [3, 2]},
                "encoding": {"x": x, "y": {"value": -2}, "y2": {"value": HEIGHT}},
            },
        ],
    }
