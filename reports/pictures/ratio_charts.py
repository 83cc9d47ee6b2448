"""The picture of one backend's error ratios: a histogram, and beneath it a row for each dtype on the same scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10

from markupsafe import Markup

from convfuzz.record.counts import BackendSummary
from convfuzz.reports.formatting import count
from convfuzz.reports.merged import in_order
from convfuzz.reports.pictures import marks

WIDTH, HEIGHT = 340, 84
TICKS, ROW = 20, 12
NAME_ROOM = 66
TICK_ROOM = 30
TEXT = 10
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

    def at(self, power: float) -> float:
        """Return where a power of two lies, in pixels from the left."""
        return (power - self.left) / (self.last + 1 - self.left) * WIDTH

    def height(self, n: int) -> float:
        """Return how high the bar of ``n`` results is, in pixels; it is logarithmic, so that a single one shows."""
        return HEIGHT * log10(1 + n) / (log10(1 + self.most) * 1.18)


def bin_label(power: int) -> str:
    """Return the lower end of a bin as a power of two."""
    return "1" if power == 0 else f"2{str(power).translate(SUPERSCRIPT)}"


def draw(found: BackendSummary, scale: Scale) -> Markup:
    """Return the picture of one backend; where it was measured in one dtype alone, there are no rows."""
    dtypes = in_order(found.histograms)
    rows = [(HEIGHT + TICKS + i * ROW, dtype) for i, dtype in enumerate(dtypes)] if len(dtypes) > 1 else []
    height, tolerance = HEIGHT + TICKS + len(rows) * ROW, scale.at(0)
    drawn = [*_bars(found, scale), *_rows(found, rows, scale), *_numbers(found, scale)]
    drawn.append(marks.rule(0, HEIGHT, WIDTH, HEIGHT, "var(--line)"))
    drawn += [marks.text(x, HEIGHT + 4, label, TEXT, baseline="top", opacity=0.75) for x, label in _ticks(scale)]
    drawn += [marks.text(scale.at(scale.first - 0.4), top + ROW / 2, dtype, TEXT, anchor="end", opacity=0.75) for top, dtype in rows]
    ends = [(-2, HEIGHT), *([(HEIGHT + TICKS, height)] if rows else [])]
    drawn += [marks.rule(tolerance, top, tolerance, bottom, "currentColor", dash="3,2") for top, bottom in ends]
    return marks.chart(WIDTH, height, drawn)


def _bars(found: BackendSummary, scale: Scale) -> list[Markup]:
    """Return the histogram, exact results first; a bar leaves a gap on each side of its bin."""
    bars = [(scale.exact, found.exact, "var(--exact)")] if found.exact else []
    bars += [(power, n, _colour(power)) for power, n in sorted(found.ratios.items())]
    return [
        marks.rectangle(scale.at(left + 0.08), HEIGHT - scale.height(n), scale.at(left + 0.92), HEIGHT, colour) for left, n, colour in bars
    ]


def _rows(found: BackendSummary, rows: Sequence[tuple[int, str]], scale: Scale) -> list[Markup]:
    """Return a cell for each bin of each row, the stronger the more results it has."""
    most = max((n for _, dtype in rows for n in found.histograms[dtype].values()), default=1)
    return [
        marks.rectangle(
            scale.at(power + 0.05), top + 1, scale.at(power + 0.95), top + ROW - 1, _colour(power),
            opacity=0.18 + 0.82 * log10(1 + n) / log10(1 + most),
        )
        for top, dtype in rows
        for power, n in sorted(found.histograms[dtype].items())
    ]  # fmt: skip


def _numbers(found: BackendSummary, scale: Scale) -> list[Markup]:
    """Return the counts that are written: exact results, and the highest bar on each side of the tolerance."""
    written = [(scale.exact + 0.5, found.exact)] if found.exact else []
    ratios = found.ratios
    for is_over in (False, True):
        powers = [power for power in ratios if (power >= 0) is is_over]
        if powers:
            peak = max(powers, key=lambda power: (ratios[power], -power))
            aside = {-1: -1.0, 0: 1.0}.get(peak, 0.0)  # beside the tolerance's line a label steps away from it
            written.append((peak + 0.5 + aside, ratios[peak]))
    return [marks.text(scale.at(x), HEIGHT - scale.height(n) - 2, count(n), TEXT, baseline="bottom") for x, n in written]


def _ticks(scale: Scale) -> list[tuple[float, str]]:
    """Return where which label stands below the histogram."""
    exact = scale.at(scale.exact + 0.5)
    powers = [power for power in range(-(-scale.first // 4) * 4, scale.last + 1, 4) if power and scale.at(power) > exact + TICK_ROOM]
    every = 2 if len(powers) * TICK_ROOM > WIDTH - NAME_ROOM else 1
    shown = [power for power in powers if power % (4 * every) == 0]
    return [(exact, "exact"), *((scale.at(power), bin_label(power)) for power in sorted([0, *shown]))]


def _colour(power: int) -> str:
    return "var(--bad)" if power >= 0 else "var(--accent)"
