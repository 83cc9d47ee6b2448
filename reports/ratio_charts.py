"""The pictures of error ratios: a histogram of one backend, and beneath it a row for each dtype on the same scale."""

from __future__ import annotations

from math import log10
from typing import Any

from markupsafe import Markup

from convfuzz.summary import BackendSummary

from . import charts
from .formatting import count
from .merged import in_order

WIDTH, HEIGHT = 340, 84
ROW = 13
EXACT_GAP = 1.6
TICK_ROOM = 30
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def bin_label(power: int) -> str:
    """Return the lower end of a bin as a power of two."""
    return "1" if power == 0 else f"2{str(power).translate(SUPERSCRIPT)}"


def histogram(found: BackendSummary, first: int, last: int, most: int) -> Markup:
    """Return the histogram over all dtypes with bins from ``first`` to ``last``; the highest bar of any backend has ``most`` results."""
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
    spec: dict[str, Any] = {
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
    return charts.render(spec)


def by_dtype(found: BackendSummary, first: int, last: int) -> Markup | None:
    """Return a row for each dtype on the same scale, the darker the more results; ``None`` where the histogram is of one alone."""
    dtypes = in_order(found.histograms)
    if len(dtypes) < 2:
        return None
    most = max(n for bins in found.histograms.values() for n in bins.values())
    cells = [
        {
            "x": power + 0.04, "x2": power + 0.96, "y": row * ROW + 1, "y2": (row + 1) * ROW - 1,
            "shade": 0.18 + 0.82 * log10(1 + n) / log10(1 + most), "kind": "over" if power >= 0 else "within",
        }
        for row, dtype in enumerate(dtypes)
        for power, n in sorted(found.histograms[dtype].items())
    ]  # fmt: skip
    names = [{"x": first - 0.3, "y": row * ROW + ROW / 2, "text": dtype} for row, dtype in enumerate(dtypes)]
    height = len(dtypes) * ROW
    x = {"field": "x", "type": "quantitative", "scale": {"domain": [first - EXACT_GAP - 1, last + 1], "nice": False, "zero": False}}
    y = {"field": "y", "type": "quantitative", "scale": {"domain": [height, 0], "nice": False}}
    colour = {
        "field": "kind",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": ["within", "over"], "range": ["var(--accent)", "var(--bad)"]},
    }
    shade = {"field": "shade", "type": "quantitative", "legend": None, "scale": {"domain": [0, 1], "range": [0, 1]}}
    spec: dict[str, Any] = {
        "width": WIDTH,
        "height": height,
        "layer": [
            {
                "data": {"values": cells},
                "mark": "rect",
                "encoding": {"x": x, "x2": {"field": "x2"}, "y": y, "y2": {"field": "y2"}, "color": colour, "opacity": shade},
            },
            {
                "data": {"values": names},
                "mark": {"type": "text", "fontSize": 10, "align": "right", "baseline": "middle", "color": "currentColor", "opacity": 0.75},
                "encoding": {"x": x, "y": y, "text": {"field": "text"}},
            },
            {
                "data": {"values": [{"x": 0}]},
                "mark": {"type": "rule", "color": "currentColor", "strokeDash": [3, 2]},
                "encoding": {"x": x, "y": {"value": 0}, "y2": {"value": height}},
            },
        ],
    }
    return charts.render(spec)


def _sides(found: BackendSummary) -> tuple[list[int], list[int]]:
    """Return the bins within the tolerance and those beyond it."""
    powers = sorted(found.ratios)
    return [power for power in powers if power < 0], [power for power in powers if power >= 0]
