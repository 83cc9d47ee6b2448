"""The picture of one backend's error ratios: a histogram, and beneath it a row for each dtype on the same scale."""

from __future__ import annotations

from dataclasses import dataclass
from math import log10
from typing import Any

from markupsafe import Markup

from convfuzz.record.counts import BackendSummary
from convfuzz.reports.formatting import count
from convfuzz.reports.merged import in_order
from convfuzz.reports.pictures import vega as charts

WIDTH, HEIGHT = 340, 84
TICKS, ROW = 20, 12
NAME_ROOM = 66
TICK_ROOM = 30
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Scale:
    """What the pictures of all backends share: bins from ``first`` to ``last``, and the highest bar of any of them."""

    first: int
    last: int
    most: int

    @property
    def left(self) -> float:
        """Where the picture begins: before the first bin there is room for the exact results and the names of dtypes."""
        return self.first - NAME_ROOM * (self.last + 1 - self.first) / (WIDTH - NAME_ROOM)

    @property
    def exact(self) -> float:
        """Where the bar of exact results begins, a bin wide."""
        return (self.first + self.left) / 2 - 0.5

    def height(self, n: int) -> float:
        """Return how high the bar of ``n`` results is, in pixels; it is logarithmic, so that a single one shows."""
        return HEIGHT * log10(1 + n) / (log10(1 + self.most) * 1.18)


def bin_label(power: int) -> str:
    """Return the lower end of a bin as a power of two."""
    return "1" if power == 0 else f"2{str(power).translate(SUPERSCRIPT)}"


def draw(found: BackendSummary, scale: Scale) -> Markup:
    """Return the picture of one backend; where it was measured in one dtype alone, there are no rows."""
    dtypes = in_order(found.histograms)
    rows = [(HEIGHT + TICKS + i * ROW, found.histograms[dtype]) for i, dtype in enumerate(dtypes)] if len(dtypes) > 1 else []
    most = max((n for _, bins in rows for n in bins.values()), default=1)
    bars = [_bar(scale.exact, found.exact, "exact", scale)] if found.exact else []
    bars += [_bar(power, n, _side(power), scale) for power, n in sorted(found.ratios.items())]
    cells = [
        {
            "x": power + 0.05, "x2": power + 0.95, "y": top + 1, "y2": top + ROW - 1, "kind": _side(power),
            "shade": 0.18 + 0.82 * log10(1 + n) / log10(1 + most),
        }
        for top, bins in rows
        for power, n in sorted(bins.items())
    ]  # fmt: skip
    names = [{"x": scale.first - 0.4, "y": top + ROW / 2, "text": dtype} for (top, _), dtype in zip(rows, dtypes, strict=False)]
    return charts.render(_spec(bars + cells, _numbers(found, scale), _ticks(scale), names, scale, HEIGHT + TICKS + len(rows) * ROW))


def _bar(at: float, n: int, kind: str, scale: Scale) -> dict[str, Any]:
    return {"x": at + 0.08, "x2": at + 0.92, "y": HEIGHT - scale.height(n), "y2": HEIGHT, "kind": kind, "shade": 1}


def _side(power: int) -> str:
    return "over" if power >= 0 else "within"


def _numbers(found: BackendSummary, scale: Scale) -> list[dict[str, Any]]:
    """Return the counts that are written: exact results, and the highest bar on each side of the tolerance."""
    marks = [(scale.exact + 0.5, found.exact)] if found.exact else []
    ratios = found.ratios
    for side in ("within", "over"):
        powers = [power for power in ratios if _side(power) == side]
        if powers:
            peak = max(powers, key=lambda power: (ratios[power], -power))
            aside = {-1: -1.0, 0: 1.0}.get(peak, 0.0)  # beside the tolerance's line a label steps away from it
            marks.append((peak + 0.5 + aside, ratios[peak]))
    return [{"x": x, "y": HEIGHT - scale.height(n), "text": count(n)} for x, n in marks]


def _ticks(scale: Scale) -> list[dict[str, Any]]:
    unit = WIDTH / (scale.last + 1 - scale.left)
    taken = scale.exact + 0.5 + TICK_ROOM / unit
    powers = [power for power in range(-(-scale.first // 4) * 4, scale.last + 1, 4) if power and power > taken]
    every = 2 if len(powers) * TICK_ROOM > WIDTH - NAME_ROOM else 1
    shown = [power for power in powers if power % (4 * every) == 0]
    return [{"x": scale.exact + 0.5, "text": "exact"}, *({"x": power, "text": bin_label(power)} for power in sorted([0, *shown]))]


def _spec(
    bars: list[dict[str, Any]],
    numbers: list[dict[str, Any]],
    ticks: list[dict[str, Any]],
    names: list[dict[str, Any]],
    scale: Scale,
    height: int,
) -> dict[str, Any]:
    x = {"field": "x", "type": "quantitative", "scale": {"domain": [scale.left, scale.last + 1], "nice": False, "zero": False}}
    y = {"field": "y", "type": "quantitative", "scale": {"domain": [height, 0], "nice": False}}
    colour = {
        "field": "kind", "type": "nominal", "legend": None,
        "scale": {"domain": ["exact", "within", "over"], "range": ["var(--exact)", "var(--accent)", "var(--bad)"]},
    }  # fmt: skip
    shade = {"field": "shade", "type": "quantitative", "legend": None, "scale": {"domain": [0, 1], "range": [0, 1]}}
    text = {"type": "text", "fontSize": 10, "color": "currentColor"}
    written = {"x": x, "y": y, "text": {"field": "text"}}
    layers: list[dict[str, Any]] = [
        {
            "data": {"values": bars},
            "mark": "rect",
            "encoding": {"x": x, "x2": {"field": "x2"}, "y": y, "y2": {"field": "y2"}, "color": colour, "opacity": shade},
        },
        {"data": {"values": numbers}, "mark": text | {"baseline": "bottom", "dy": -2}, "encoding": written},
        {"data": {"values": [{}]}, "mark": {"type": "rule", "color": "var(--line)"}, "encoding": {"y": {"value": HEIGHT}}},
        {
            "data": {"values": ticks},
            "mark": text | {"baseline": "top", "opacity": 0.75},
            "encoding": {"x": x, "y": {"value": HEIGHT + 4}, "text": {"field": "text"}},
        },
        {"data": {"values": names}, "mark": text | {"align": "right", "baseline": "middle", "opacity": 0.75}, "encoding": written},
        {
            "data": {"values": [{"x": 0, "y": -2, "y2": HEIGHT}, *([{"x": 0, "y": HEIGHT + TICKS, "y2": height}] if names else [])]},
            "mark": {"type": "rule", "color": "currentColor", "strokeDash": [3, 2]},
            "encoding": {"x": x, "y": y, "y2": {"field": "y2"}},
        },
    ]
    return {"width": WIDTH, "height": height, "layer": [layer for layer in layers if layer["data"]["values"]]}
