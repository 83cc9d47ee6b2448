"""The pictures of a history: bars of findings, a line for each figure of a backend, a strip for each finding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from markupsafe import Markup, escape

from convfuzz.record.nights import Standing
from convfuzz.reports.pictures import marks

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
LABEL_ROOM, TICKS, TEXT = 46, 20, 11
MOST_BAR = 34
CELL, ROW = 11, 14
MOST_RATIO, LEAST_RATIO = 1e12, 1e-6

Values = Sequence[float | None]


class _Scale(NamedTuple):
    """Takes numbers from ``low`` to ``high`` to pixels from ``begin`` to ``end``."""

    low: float
    high: float
    begin: float
    end: float

    @property
    def unit(self) -> float:
        """How many pixels one is."""
        return abs(self.end - self.begin) / (self.high - self.low)

    def __call__(self, value: float) -> float:
        """Return where ``value`` lies."""
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)


def findings(counts: Sequence[Sequence[int]], labels: Sequence[str], steps: Sequence[int]) -> Markup:
    """Return the bars of each night, ``counts`` in the order of :data:`STACK`, with numbered marks before the nights of ``steps``."""
    nights = len(counts)
    tops = [sum(found) - found[-1] for found in counts]
    most, least = max([1, *tops]), -max([0, *(found[-1] for found in counts)])
    across = _Scale(-0.6, nights - 0.4, 0, WIDTH)
    up = _Scale(min(least * 1.15, -0.02 * most), most * 1.16, HEIGHT, 0)
    drawn = [bar for night, found in enumerate(counts) for bar in _bars(night, found, across, up)]
    drawn += [marks.text(across(night), up(top) - 3, str(top), TEXT, baseline="bottom") for night, top in enumerate(tops) if top]
    drawn.append(marks.rule(0, up(0), WIDTH, up(0), "var(--line)"))
    every = max(1, math.ceil(nights * LABEL_ROOM / WIDTH))
    drawn += [
        marks.text(across(night), HEIGHT + 6, labels[night], TEXT, baseline="top", opacity=0.75) for night in range(nights - 1, -1, -every)
    ]
    drawn += _steps(steps, across, HEIGHT)
    drawn += [
        marks.text(across(night - 0.5) + 3, 0, str(number), TEXT, anchor="start", baseline="top", bold=True)
        for number, night in enumerate(steps, 1)
    ]
    return marks.chart(WIDTH, HEIGHT, drawn, sides=LABEL_ROOM / 4, below=TICKS)


def _bars(night: int, found: Sequence[int], across: _Scale, up: _Scale) -> list[Markup]:
    half = min(0.38 * across.unit, MOST_BAR / 2)
    left, right, bars, top = across(night) - half, across(night) + half, [], 0
    for standing, n in zip(STACK, found, strict=True):
        low, high = (-n, 0) if standing is Standing.FIXED else (top, top + n)
        top = max(top, high)
        if n:
            bars.append(marks.rectangle(left, up(low), right, up(high), COLOURS[standing]))
    return bars


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
    across, up = _Scale(-0.5, len(values) - 0.5, 0, SPARK_WIDTH), _Scale(low - room, high + room, SPARK_HEIGHT, 0)
    drawn = [] if limit is None else [marks.rule(0, up(limit), SPARK_WIDTH, up(limit), "var(--soft)", dash="3,2")]
    drawn += _steps(steps, across, SPARK_HEIGHT)
    parts = _parts(values)
    drawn += [marks.line([(across(night), up(value)) for night, value in part], "var(--accent)", 1.5) for part in parts]
    points = [point for part in parts for point in part]
    drawn += [marks.dot(across(night), up(value), 2.9, "var(--accent)") for night, value in points[-1:]]
    drawn += [marks.dot(across(night), up(value), 2.65, "var(--bad)") for night, value in points if limit is not None and value > limit]
    return marks.chart(SPARK_WIDTH, SPARK_HEIGHT, drawn)


def _parts(values: Values) -> list[list[tuple[int, float]]]:
    """Return the stretches without a gap, so that no line is drawn over a night of which nothing is known."""
    stretches = groupby(enumerate(values), key=lambda item: item[1] is not None)
    return [[(night, value) for night, value in group if value is not None] for is_known, group in stretches if is_known]


def _steps(steps: Sequence[int], across: _Scale, height: float) -> list[Markup]:
    """Return a mark before each of these nights."""
    return [marks.rule(across(at - 0.5), 0, across(at - 0.5), height, "currentColor", dash="2,2", opacity=0.55) for at in steps]
