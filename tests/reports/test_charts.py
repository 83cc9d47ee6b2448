"""The charts of error ratios and of nights, mark by mark."""

from __future__ import annotations

import math
from collections import Counter
from xml.etree import ElementTree as ET

from convfuzz.record.counts import BackendSummary
from convfuzz.record.nights import Standing
from convfuzz.reports.pictures import ratio_charts, trend_charts

Mark = dict[str, str]


def marks(svg: str) -> dict[str, list[Mark]]:
    """Return the marks of a picture by what they are: their attributes, and what a text says."""
    found: dict[str, list[Mark]] = {}
    for element in ET.fromstring(svg):  # noqa: S314 - our own picture
        found.setdefault(element.tag.rpartition("}")[2], []).append(dict(element.attrib) | {"says": element.text or ""})
    return found


def bottom(bar: Mark) -> float:
    """Return where a rectangle ends below."""
    return float(bar["y"]) + float(bar["height"])


def ratios(**histograms: dict[int, int]) -> dict[str, list[Mark]]:
    """Draw what a backend showed by dtype, beside three exact results."""
    found = BackendSummary(exact=3, histograms={dtype: Counter(bins) for dtype, bins in histograms.items()})
    return marks(ratio_charts.draw(found, ratio_charts.Scale(-8, 4, 100)))


def test_what_is_over_the_tolerance_is_right_of_it() -> None:
    """Bars end where their bin does at most, the dashed line is between the last that is within and the first that is over."""
    drawn = ratios(float32={-3: 7, -1: 9, 0: 2, 3: 1})
    (tolerance,) = [float(rule["x1"]) for rule in drawn["line"] if "stroke-dasharray" in rule]
    right = {bar["fill"]: float(bar["x"]) + float(bar["width"]) for bar in drawn["rect"]}
    left = {bar["fill"]: float(bar["x"]) for bar in reversed(drawn["rect"])}
    assert right["var(--exact)"] < left["var(--accent)"] < right["var(--accent)"] < tolerance < left["var(--bad)"]
    assert Counter(bar["fill"] for bar in drawn["rect"]) == {"var(--exact)": 1, "var(--accent)": 2, "var(--bad)": 2}


def test_bars_stand_on_one_line_and_grow_with_what_they_count() -> None:
    """Heights are logarithmic and the most are the highest; exact results and the peaks of both sides say how many they are."""
    drawn = ratios(float32={-3: 10, -2: 100, 1: 1})
    heights = [float(bar["height"]) for bar in drawn["rect"]]
    assert heights[1] < heights[2]
    assert math.isclose(heights[2] / heights[3], math.log(101) / math.log(2), rel_tol=1e-3)
    assert len({round(bottom(bar), 1) for bar in drawn["rect"]}) == 1
    assert [text["says"] for text in drawn["text"]][:3] == ["3", "100", "1"]


def test_each_dtype_has_a_row_beneath() -> None:
    """Where there are several, a row each, named at its left, the stronger the more; what a file calls a dtype is no markup."""
    drawn = ratios(**{"float32": {-3: 7}, "</svg><script>": {-3: 1, 2: 90}})
    of_first, *of_second = drawn["rect"][-3:]
    assert bottom(drawn["rect"][0]) < float(of_first["y"]) < float(of_second[0]["y"]) == float(of_second[1]["y"])
    assert float(of_second[0]["opacity"]) < float(of_first["opacity"]) < float(of_second[1].get("opacity", 1))
    assert {"float32", "</svg><script>"} <= {text["says"] for text in drawn["text"]}


def test_fixed_findings_hang_below_the_line() -> None:
    """The others stand on it, one on the other, with their number above; each night has its label."""
    counts = [[0] * len(trend_charts.STACK) for _ in range(3)]
    counts[1][trend_charts.STACK.index(Standing.KNOWN)], counts[1][trend_charts.STACK.index(Standing.NEW)] = 2, 1
    counts[2][trend_charts.STACK.index(Standing.FIXED)] = 1
    drawn = marks(trend_charts.findings(counts, ["a", "b", "c"], [1]))
    base, step = drawn["line"]
    known, new, fixed = drawn["rect"]
    assert math.isclose(float(known["height"]), 2 * float(new["height"]), abs_tol=0.02)
    assert float(new["height"]) == float(fixed["height"])
    assert math.isclose(bottom(known), float(base["y1"]), abs_tol=0.02)
    assert math.isclose(bottom(new), float(known["y"]), abs_tol=0.02)
    assert math.isclose(float(fixed["y"]), float(base["y1"]), abs_tol=0.02)
    assert float(step["x1"]) < float(known["x"])
    assert [text["says"] for text in drawn["text"]] == ["3", "c", "b", "a", "1"]


def test_no_line_is_drawn_over_a_night_of_which_nothing_is_known() -> None:
    """A figure that is missing breaks the line; values beyond the tolerance have a dot above its line, and so has the last."""
    drawn = marks(trend_charts.ratios([0.5, 2.0, None, 0.25], []))
    assert [mark["d"].count("L") for mark in drawn["path"]] == [1, 0]
    last, over = drawn["circle"]
    assert float(over["cy"]) < float(drawn["line"][0]["y1"]) < float(last["cy"])
