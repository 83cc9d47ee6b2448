"""Where in a result the errors sit, as pictures: a strip for each axis, and the plane of its sites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from convfuzz.case import Case
from convfuzz.errors import InvalidConfig
from convfuzz.record.error_map import Axis, ErrorMap
from convfuzz.record.finding import Finding
from convfuzz.reports import result_axes as places
from convfuzz.reports.formatting import count, plural

MOST_CELL, WIDEST, STRIP = 14, 224, 11
NAMES = {
    "n": ("sample", "samples"), "c": ("channel", "channels"), "z": ("slice", "slices"), "y": ("row", "rows"), "x": ("column", "columns"),
    "kz": ("tap slice", "tap slices"), "ky": ("tap row", "tap rows"), "kx": ("tap column", "tap columns"),
    "out": ("output channel", "output channels"), "in": ("input channel", "input channels"),
}  # fmt: skip


@dataclass(frozen=True)
class AxisView:
    """One axis: what it counts, which of its indices have an element off, and a strip of them."""

    name: str
    indices: str
    strip: Markup


@dataclass(frozen=True)
class MapView:
    """The map of one finding; ``said`` counts the elements, ``plane_label`` says what the plane has."""

    case: str
    said: str
    axes: tuple[AxisView, ...]
    plane: Markup | None
    plane_label: str


def view(finding: Finding, room: int) -> MapView | None:
    """Return the map of ``finding``, ``None`` where there is none or but one element to show.

    A plane that takes more than ``room`` bytes is left out; the axes say much of it.
    """
    found = finding.error_map
    if found is None or found.elements < 2:
        return None
    names = _names(found, finding.in_pass)
    axes = tuple(
        AxisView(name[0], _indices(axis), _drawn([axis.marks], STRIP))
        for axis, name in zip(found.axes, names, strict=True)
        if axis.size > 1
    )
    plane = _drawn(found.plane) if len(found.plane) > 1 and all(axis.size > 1 for axis in found.axes[-2:]) else None
    if plane is not None and len(plane) > room:
        plane = None
    said = f"{count(found.over)} of {plural(found.elements, 'element')} {'is' if found.over == 1 else 'are'} off"
    return MapView(found.case, said, axes, plane, f"{names[-2][1]} down, {names[-1][1]} across" if plane is not None else "")


def _names(found: ErrorMap, in_pass: str) -> list[tuple[str, str]]:
    """Return one and many of what each axis counts; a file from elsewhere may have other axes than its case."""
    try:
        known = places.axes(Case.parse(found.case), in_pass)
    except InvalidConfig:
        known = ()
    if len(known) != len(found.axes):
        known = tuple(str(number) for number in range(len(found.axes)))
    return [NAMES.get(name.split(" ")[0], (f"axis {name}", f"of axis {name}")) for name in known]


def _indices(axis: Axis) -> str:
    if axis.indices == "all":
        return f"all {axis.size:,}"
    if " of " in axis.indices:
        return axis.indices
    return f"at {axis.indices}{' alone' if axis.indices.isdecimal() else ''}, of {axis.size:,}"


def _drawn(rows: Sequence[str], height: int = 0) -> Markup:
    """Draw marks as cells, the more elements are off the darker; drawn in units of cells, each shade as one path of strokes."""
    wide, high = max(map(len, rows), default=0), len(rows)
    paths: dict[int, list[str]] = {}
    for y, row in enumerate(rows):
        x = 0
        for level, group in groupby(row, key=_level):
            run = len(list(group))
            if level:
                paths.setdefault(level, []).append(f"M{x} {y}h{run}")
            x += run
    cell = min(MOST_CELL, WIDEST / max(wide, 1))
    size = f'width="{wide * cell:.0f}" height="{height or high * cell:.0f}" viewBox="0 -.5 {wide} {high}" preserveAspectRatio="none"'
    shapes = "".join(f'<path class="m{level}" d="{"".join(drawn)}"/>' for level, drawn in sorted(paths.items()))
    ground = f'<rect y="-.5" width="{wide}" height="{high}"/>'
    return Markup(f'<svg class="map" {size} aria-hidden="true">{ground}{shapes}</svg>')  # noqa: S704 - made from numbers only


def _level(mark: str) -> int:
    """Return one of five shades, 0 for none."""
    return 0 if mark == "." else (int(mark) + 1) // 2
