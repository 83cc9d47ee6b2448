"""The marks that charts are made of, as inline SVG that takes its colours from the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from markupsafe import Markup

ROOM = 2.0
"""How far a picture reaches beyond its chart on each side, in pixels."""
_BASELINES = {"top": 0.79, "middle": 0.3, "bottom": -0.21}
"""How far the baseline of a text lies below its place, in font sizes; renderers differ on SVG's own word for it."""


def chart(width: float, height: float, marks: Iterable[Markup], *, sides: float = ROOM, below: float = ROOM) -> Markup:
    """Return a picture that scales with its container, whose marks lie on ``width`` times ``height`` pixels.

    It is hidden from screen readers: a chart is one image with one label, beside a table that holds its numbers.

    Args:
        width: from the left to the right of the chart.
        height: from the top of the chart to its bottom.
        marks: what is drawn, the first one beneath the others.
        sides: the room for labels left and right of the chart.
        below: the room for labels below it.
    """
    box = " ".join(map(_number, (-sides, -ROOM, width + 2 * sides, height + ROOM + below)))
    opening = Markup('<svg aria-hidden="true" xmlns="http://www.w3.org/2000/svg" viewBox="{}">').format(box)
    return opening + Markup("").join(marks) + Markup("</svg>")


def rectangle(x: float, y: float, x2: float, y2: float, colour: str, *, opacity: float = 1) -> Markup:
    """Return a filled rectangle between two opposite corners."""
    left, top, wide, high = map(_number, (min(x, x2), min(y, y2), abs(x2 - x), abs(y2 - y)))
    return Markup('<rect x="{}" y="{}" width="{}" height="{}" fill="{}"{}/>').format(left, top, wide, high, colour, _opacity(opacity))


def rule(x: float, y: float, x2: float, y2: float, colour: str, *, dash: str = "", opacity: float = 1) -> Markup:
    """Return a straight line a pixel wide, ``dash`` as SVG has it: the lengths of dashes and gaps."""
    dashed = Markup(' stroke-dasharray="{}"').format(dash) if dash else ""
    ends = Markup('x1="{}" y1="{}" x2="{}" y2="{}"').format(*map(_number, (x, y, x2, y2)))
    return Markup('<line {} stroke="{}"{}{}/>').format(ends, colour, dashed, _opacity(opacity))


def line(points: Sequence[tuple[float, float]], colour: str, width: float) -> Markup:
    """Return a line through points."""
    path = "M" + "L".join(f"{_number(x)},{_number(y)}" for x, y in points)
    return Markup('<path d="{}" fill="none" stroke="{}" stroke-width="{}"/>').format(path, colour, _number(width))


def dot(x: float, y: float, radius: float, colour: str) -> Markup:
    """Return a filled circle."""
    return Markup('<circle cx="{}" cy="{}" r="{}" fill="{}"/>').format(_number(x), _number(y), _number(radius), colour)


def text(
    x: float,
    y: float,
    words: str,
    size: float,
    *,
    anchor: Literal["start", "middle", "end"] = "middle",
    baseline: Literal["top", "middle", "bottom"] = "middle",
    opacity: float = 1,
    bold: bool = False,
) -> Markup:
    """Return words in the page's ink; ``anchor`` and ``baseline`` say which part of them is at ``x`` and ``y``."""
    at = Markup('x="{}" y="{}" font-size="{}" text-anchor="{}"').format(_number(x), _number(y + _BASELINES[baseline] * size), size, anchor)
    weight = Markup(' font-weight="bold"') if bold else ""
    return Markup('<text {}{} fill="currentColor"{}>{}</text>').format(at, weight, _opacity(opacity), words)


def _opacity(opacity: float) -> Markup:
    return Markup("") if opacity == 1 else Markup(' opacity="{}"').format(_number(opacity))


def _number(value: float) -> str:
    """Return a number to a hundredth of a pixel, as short as it gets."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
