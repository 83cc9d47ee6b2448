"""The picture of a summation tree: terms at the left, each addition where the wires of its parts meet, the result at the right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

import msgspec

How = Literal["run", "alike", "in turn", "pair", "at once"]

MOST_BRANCHES = 200
_ROW, _STEP, _LETTER, _MARGIN = 24.0, 26.0, 7.4, 10.0
_LONGEST = 60
_STYLE = """<style>
text { font: 12px ui-monospace, Menlo, Consolas, monospace; fill: #1b1d22 } .soft { fill: #5a5f69 }
path { fill: none; stroke: #5a5f69; stroke-width: 1.25 }
.alike { stroke-dasharray: 3 3 } .sum { fill: #2f62d6; stroke: none }
@media (prefers-color-scheme: dark) { text { fill: #e4e6ea } .soft { fill: #a2a8b3 } path { stroke: #a2a8b3 } .sum { fill: #7aa5ff } }
</style>"""


class Branch(msgspec.Struct, frozen=True):
    """A line of a tree's outline: a sum, whose parts follow one level deeper, or a part that is not taken apart.

    ``how`` is ``run``, terms that are added one after the other; ``alike``, parts of the form of the one before, left out; or how the
    parts are added: ``in turn``, each to the sum of those before it; ``pair``, two; ``at once``, with one rounding.
    """

    depth: int
    how: How
    label: str
    terms: int


@dataclass
class _Part:
    """A part on the paper: where the wire that leaves it begins, and from where on (``x``) it may meet another."""

    branch: Branch
    parts: list[_Part]
    begin: float = 0.0
    x: float = 0.0
    y: float = 0.0


def svg(outline: Sequence[Branch], *, title: str, standalone: bool = False) -> str:
    """Return the picture as SVG, empty where there is no outline; ``standalone`` ones bring their style, others use the page's.

    The outline may come from anybody's file: its text is escaped, and what is no outline has no picture.
    """
    roots = _grown(outline)
    if len(roots) != 1 or len(outline) > MOST_BRANCHES:
        return ""
    root, leaves = roots[0], [one for one in _bottom_up(roots[0]) if not one.parts]
    width = max(len(_text(leaf.branch)) for leaf in leaves) * _LETTER + _MARGIN
    for row, leaf in enumerate(leaves):
        leaf.begin, leaf.x, leaf.y = len(_text(leaf.branch)) * _LETTER + _MARGIN / 2, width, (row + 0.75) * _ROW
    wires = [line for part in _bottom_up(root) if part.parts for line in _joined(part)]
    words = [
        f'<text class="{"soft" if leaf.branch.how == "alike" else "term"}" x="0" y="{leaf.y + 4:.1f}">{escape(_text(leaf.branch))}</text>'
        for leaf in leaves
    ]
    end = root.x + _STEP
    wires.append(f'<path d="M{root.begin:.1f} {root.y:.1f}H{end:.1f}"/><text x="{end + 5:.1f}" y="{root.y + 4:.1f}">y</text>')
    across, down = f"{end + 20:.0f}", f"{(len(leaves) + 0.5) * _ROW:.0f}"
    size = f'width="{across}" height="{down}" viewBox="0 0 {across} {down}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" class="sum-tree" role="img" aria-label="{escape(title)}" {size}>'
    return "".join([head, _STYLE if standalone else "", *wires, *words, "</svg>"])


def _text(branch: Branch) -> str:
    label = branch.label if len(branch.label) <= _LONGEST else f"{branch.label[: _LONGEST - 1]}…"
    return label if branch.terms < 2 else f"{label}  ({branch.terms:,} terms)"


def _grown(outline: Sequence[Branch]) -> list[_Part]:
    """Return the tops of an outline with their parts below them; one that skips a level, or lacks parts, has none."""
    tops: list[_Part] = []
    path: list[_Part] = []
    for branch in outline:
        if not 0 <= branch.depth <= len(path):
            return []
        del path[branch.depth :]
        part = _Part(branch, [])
        (path[-1].parts if path else tops).append(part)
        path.append(part)
    return tops


def _bottom_up(root: _Part) -> list[_Part]:
    """Return every part, those of a sum before it and in their order."""
    found, waiting = [], [root]
    while waiting:
        part = waiting.pop()
        found.append(part)
        waiting.extend(part.parts)
    return found[::-1]


def _joined(part: _Part) -> Iterator[str]:
    """Yield the wires from a sum's parts to where they meet, and note where the sum's own wire begins."""
    first, *others = part.parts
    begin, x, y = first.begin, first.x, first.y
    if part.branch.how == "at once":
        x, y = max(one.x for one in part.parts) + _STEP, sum(one.y for one in part.parts) / len(part.parts)
        for one in part.parts:
            yield _wire(one, x, y)
        yield f'<rect class="sum" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>'
    else:
        for other in others:
            meet = max(x, other.x) + _STEP
            yield f'<path d="M{begin:.1f} {y:.1f}H{meet:.1f}"/>' + _wire(other, meet, y)
            yield f'<circle class="sum" cx="{meet:.1f}" cy="{y:.1f}" r="4"/>'
            begin = x = meet
    part.begin, part.x, part.y = x, x, y


def _wire(part: _Part, x: float, y: float) -> str:
    kind = ' class="alike"' if part.branch.how == "alike" else ""
    return f'<path{kind} d="M{part.begin:.1f} {part.y:.1f}H{x:.1f}V{y:.1f}"/>'
