"""Vega-Lite charts as static inline SVG that takes its colours from the page."""

from __future__ import annotations

import re
from typing import Any

import vl_convert
from markupsafe import Markup

THEME = {
    "aria": False,
    "background": None,
    "font": "system-ui, sans-serif",
    "padding": 2,
    "view": {"stroke": None},
    "axis": {"grid": False, "domain": False, "ticks": False, "labels": False, "title": None},
}
"""``aria`` is off because a chart is one image with one label here, beside a table that holds its numbers."""


def render(spec: dict[str, Any]) -> Markup:
    """Return ``spec`` as an SVG element that scales with its container.

    Specifications hold numbers and fixed words only, never text from outside: names stand in HTML beside the chart.
    """
    svg = vl_convert.vegalite_to_svg({"$schema": "https://vega.github.io/schema/vega-lite/v5.json", "config": THEME, **spec})
    svg = re.sub(r' (width|height)="[\d.]+"(?=[^>]*viewBox)', "", svg, count=2)
    svg = re.sub(r'<path class="(?:background|foreground)"[^>]*/>', "", svg)
    svg = re.sub(r' (?:role|aria-roledescription|class|font-family)="[^"]*"| opacity="1"', "", svg)
    svg = re.sub(r"\d+\.\d{3,}", _rounded, svg)
    return Markup(svg.replace("<svg ", '<svg aria-hidden="true" ', 1))  # noqa: S704 - made from numbers only


def _rounded(match: re.Match[str]) -> str:
    """Return a coordinate to a hundredth of a pixel; the renderer gives seventeen digits."""
    return f"{float(match[0]):.2f}".rstrip("0").rstrip(".")
