"""The pictures of a history: bars of findings, a line for each figure of a backend, a strip for each finding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from markupsafe import Markup, escape

from convfuzz.record.nights import Standing
from convfuzz.reports.pictures import vega as charts

STACK = (Standing.KNOWN, Standing.FLAKY, Standing.UNCLEAR, Standing.BACK, Standing.NEW, Standing.FIXED)
"""The bars from the bottom up; what is fixed hangs below the line."""
COLOURS = {
    Standing.KNOWN: "var(--exact)",
    Standing.FLAKY: "var(--doubt)",
    Standing.UNCLEAR: "var(--soft)",
    Standing.BACK: "var(--bad)",
    Standing.NEW: "var(--bad)",
    Standing.FIXED: "var(--good)",
}
WIDTH, HEIGHT = 1100, 170
SPARK_WIDTH, SPARK_HEIGHT = 220, 40
LABEL_ROOM = 46
MOST_BAR = 34
CELL, ROW = 11, 14
MOST_RATIO, LEAST_RATIO = 1e12, 1e-6

Values = Sequence[float | None]


def findings(counts: Sequence[Sequence[int]], labels: Sequence[str], steps: Sequence[int]) -> Markup:
    """Return the bars of each night, ``counts`` in the order of :data:`STACK`, with numbered marks before the nights of ``steps``."""
    nights = len(counts)
    half = min(0.38, MOST_BAR / 2 * nights / WIDTH)
    bars, texts = [], []
    most, least = 1, 0
    for night, found in enumerate(counts):
        top = 0
        for standing, n in zip(STACK, found, strict=True):
            low, high = (-n, 0) if standing is Standing.FIXED else (top, top + n)
            top = top if standing is Standing.FIXED else high
            if n:
                bars.append({"x": night - half, "x2": night + half, "y": low, "y2": high, "kind": str(standing)})
        if top:
            texts.append({"x": night, "y": top, "text": str(top)})
        most, least = max(most, top), min(least, -found[-1])
    every = max(1, math.ceil(nights * LABEL_ROOM / WIDTH))
    ticks = [{"x": night, "text": labels[night]} for night in range(nights - 1, -1, -every)]
    x = {"field": "x", "type": "quantitative", "scale": {"domain": [-0.6, nights - 0.4], "nice": False, "zero": False}}
    y = {"field": "y", "type": "quantitative", "scale": {"domain": [min(least * 1.15, -0.02 * most), most * 1.16], "nice": False}}
    colour = {
        "field": "kind", "type": "nominal", "legend": None,
        "scale": {"domain": [str(s) for s in COLOURS], "range": list(COLOURS.values())},
    }  # fmt: skip
    text = {"type": "text", "fontSize": 11, "color": "currentColor"}
    layers: list[dict[str, Any]] = [
        {
            "data": {"values": bars},
            "mark": "rect",
            "encoding": {"x": x, "x2": {"field": "x2"}, "y": y, "y2": {"field": "y2"}, "color": colour},
        },
        {
            "data": {"values": texts},
            "mark": text | {"baseline": "bottom", "dy": -3},
            "encoding": {"x": x, "y": y, "text": {"field": "text"}},
        },
        {"data": {"values": [{"y": 0}]}, "mark": {"type": "rule", "color": "var(--line)"}, "encoding": {"y": y}},
        {
            "data": {"values": ticks},
            "mark": text | {"baseline": "top", "dy": 6, "opacity": 0.75},
            "encoding": {"x": x, "y": {"value": HEIGHT}, "text": {"field": "text"}},
        },
        *_steps(steps, x, HEIGHT, numbered=True),
    ]
    return charts.render({"width": WIDTH, "height": HEIGHT, "layer": [layer for layer in layers if layer["data"]["values"]]})


def ratios(values: Values, steps: Sequence[int]) -> Markup:
    """Return the worst error over tolerance of each night, logarithmic; the horizontal line is the tolerance."""
    logs = [None if value is None else math.log10(min(max(value, LEAST_RATIO), MOST_RATIO)) for value in values]
    known = [value for value in logs if value is not None]
    return _line(logs, (min([-1.0, *known]), max([0.5, *known])), steps, limit=0.0)


def rates(values: Values, steps: Sequence[int]) -> Markup:
    """Return the cases a second of each night, from zero."""
    return _line(values, (0.0, max([value for value in values if value is not None], default=1.0) or 1.0), steps)


def strip(standings: Sequence[Standing], label: str) -> Markup:
    """Return a mark a night: squares where the finding was there, a ring where it was fixed, a dot where it was not met."""
    paths: dict[str, list[str]] = {}
    for night, standing in enumerate(standings):
        kind = str(standing).replace(" ", "-")
        x, middle = night * CELL, ROW // 2
        shape = {
            Standing.NOT_MET: f"M{x + 5} {middle}h0",
            Standing.FIXED: f"M{x + 2} {middle}l2.5 3l4.5 -6",
            Standing.FLAKY: f"M{x + 1} {middle + 4}l4.5 -8l4.5 8z",
        }.get(standing, f"M{x + 1} {middle - 4}h8v8h-8z")
        paths.setdefault(kind, []).append(shape)
    width = len(standings) * CELL
    drawn = "".join(f'<path class="{kind}" d="{"".join(shapes)}"/>' for kind, shapes in paths.items())
    head = f'<svg class="strip" width="{width}" height="{ROW}" viewBox="0 0 {width} {ROW}" role="img" aria-label="{escape(label)}">'
    return Markup(f"{head}{drawn}</svg>")  # noqa: S704 - made from numbers, words of our own and dates


def _line(values: Values, domain: tuple[float, float], steps: Sequence[int], limit: float | None = None) -> Markup:
    low, high = domain
    room = (high - low) * 0.12
    x = {"field": "x", "type": "quantitative", "scale": {"domain": [-0.5, len(values) - 0.5], "nice": False, "zero": False}}
    y = {"field": "y", "type": "quantitative", "scale": {"domain": [low - room, high + room], "nice": False, "zero": False}}
    points = [{"x": night, "y": value, "part": part} for part, night, value in _parts(values)]
    over = [point for point in points if limit is not None and point["y"] > limit]
    layers = [
        {
            "data": {"values": [] if limit is None else [{"y": limit}]},
            "mark": {"type": "rule", "color": "var(--soft)", "strokeDash": [3, 2]},
            "encoding": {"y": y},
        },
        *_steps(steps, x, SPARK_HEIGHT, numbered=False),
        {
            "data": {"values": points},
            "mark": {"type": "line", "color": "var(--accent)", "strokeWidth": 1.5},
            "encoding": {"x": x, "y": y, "detail": {"field": "part"}},
        },
        {
            "data": {"values": points[-1:]},
            "mark": {"type": "circle", "color": "var(--accent)", "size": 26, "opacity": 1},
            "encoding": {"x": x, "y": y},
        },
        {
            "data": {"values": over},
            "mark": {"type": "circle", "color": "var(--bad)", "size": 22, "opacity": 1},
            "encoding": {"x": x, "y": y},
        },
    ]
    return charts.render({"width": SPARK_WIDTH, "height": SPARK_HEIGHT, "layer": [layer for layer in layers if layer["data"]["values"]]})


def _parts(values: Values) -> list[tuple[int, int, float]]:
    """Number the stretches without a gap, so that no line is drawn over a night of which nothing is known."""
    found = []
    for part, (_, group) in enumerate(groupby(enumerate(values), key=lambda item: item[1] is not None)):
        found += [(part, night, value) for night, value in group if value is not None]
    return found


def _steps(steps: Sequence[int], x: dict[str, Any], height: int, *, numbered: bool) -> list[dict[str, Any]]:
    at = [{"x": night - 0.5, "text": str(number)} for number, night in enumerate(steps, 1)]
    rule = {"type": "rule", "color": "currentColor", "strokeDash": [2, 2], "opacity": 0.55}
    layers = [{"data": {"values": at}, "mark": rule, "encoding": {"x": x, "y": {"value": 0}, "y2": {"value": height}}}]
    if numbered:
        text = {"type": "text", "fontSize": 11, "fontWeight": "bold", "align": "left", "baseline": "top", "dx": 3, "color": "currentColor"}
        layers.append({"data": {"values": at}, "mark": text, "encoding": {"x": x, "y": {"value": 0}, "text": {"field": "text"}}})
    return layers
