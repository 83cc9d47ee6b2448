"""What meets what along one axis, as a picture: one relation serves both operations and every pass.

A convolution moves its kernel along the input, a transposed one along the output: that side is *wide*, the other is
*narrow*. Tap ``k`` of narrow site ``i`` meets wide site ``i·stride − lo + k·dilation``. The forward pass of one operation
and the input gradient of the other read the picture down, the other two read it up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from markupsafe import Markup

from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.reports.formatting import listed, plural
from convfuzz.reports.result_axes import FORWARD, GRAD_INPUT, GRAD_WEIGHT, Place

AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
PITCH = 12
MOST_COLUMNS = 32
MOST_ROWS = 8

Side = Literal["narrow", "wide", "tap"]


@dataclass(frozen=True)
class View:
    """How a pass reads the relation of its operation.

    ``side`` is what an index into the result points at. ``across`` is what lies across, ``idle`` what becomes of a site of
    it that no tap meets, and ``lines`` says what the lines below are.
    """

    side: Side
    across: str
    idle: str
    lines: str


_VIEWS: dict[tuple[str, str], View] = {
    ("conv", FORWARD): View("narrow", "input", "never read", "an output site and each dot a tap, which reads the input above it"),
    ("conv", GRAD_INPUT): View(
        "wide", "grad_input", "never read, so 0", "a site of dy and each dot a tap, which adds to the grad_input above it"
    ),
    ("conv", GRAD_WEIGHT): View(
        "tap", "input", "never read", "a site of dy and each dot its product with the input above it, for the gradient of that tap"
    ),
    ("conv_transpose", FORWARD): View(
        "wide", "output", "never reached", "an input site and each dot a tap, which adds to the output above it"
    ),
    ("conv_transpose", GRAD_INPUT): View(
        "narrow", "dy", "never read", "a site of grad_input and each dot a tap, which reads the dy above it"
    ),
    ("conv_transpose", GRAD_WEIGHT): View(
        "tap", "dy", "never read", "an input site and each dot its product with the dy above it, for the gradient of that tap"
    ),
}
"""By operation and pass. The bias's gradient has no picture: no tap has a part in it."""


@dataclass(frozen=True)
class Picture:
    """One axis, drawn."""

    axis: str
    svg: Markup
    note: str
    has_border: bool
    has_idle: bool
    points: bool


@dataclass(frozen=True)
class Incidence:
    """The axes of a case that are worth drawing, and how to read them.

    ``keys`` are (kind of cell, what it is), ``mark`` is the same of what the worst element is pointed at with.
    """

    pictures: tuple[Picture, ...]
    keys: tuple[tuple[str, str], ...]
    lines: str
    mark: tuple[str, str] | None


@dataclass(frozen=True)
class Relation:
    """One axis: wide and narrow sizes, and what joins them; ``first`` to ``last`` are the wide sites that are drawn.

    What lies before the wide side's first site and behind its last is padding, after ``mode``, or cropped.
    """

    wide: int
    narrow: int
    kernel: int
    stride: int
    dilation: int
    lo: int
    first: int
    last: int
    mode: str

    @classmethod
    def of(cls, config: ConvConfig, axis: int) -> Relation:
        """Return the relation of one axis of a valid configuration."""
        sizes, (lo, hi) = (config.input_size[axis], config.output_size[axis]), config.pads[axis]
        kernel, stride, dilation = config.kernel_size[axis], config.stride[axis], config.dilation[axis]
        if config.op == "conv":
            wide, narrow = sizes
            last = wide + max(hi, 0)
        else:
            narrow, wide = sizes
            last = max(wide, (narrow - 1) * stride - lo + config.effective_kernel[axis])
        return cls(wide, narrow, kernel, stride, dilation, lo, min(0, -lo), last, config.padding_mode)

    @property
    def columns(self) -> int:
        """How many wide sites are drawn, padding or what is cropped included."""
        return self.last - self.first

    @property
    def is_identity(self) -> bool:
        """Whether each site meets the one of the same place and no other."""
        return self.kernel == self.stride == 1 and self.wide == self.narrow == self.columns

    def meets(self, site: int) -> list[int]:
        """Return the wide sites that each tap of narrow ``site`` meets, padding included."""
        return [site * self.stride - self.lo + tap * self.dilation for tap in range(self.kernel)]

    def source(self, p: int) -> int | None:
        """Return the wide site that is seen at ``p``: the one that padding copies, ``None`` where there is nothing."""
        if 0 <= p < self.wide:
            return p
        last = self.wide - 1
        copied = {"reflect": -p if p < 0 else 2 * last - p, "replicate": 0 if p < 0 else last, "circular": p % self.wide}
        return copied.get(self.mode)


def draw(case: Case, in_pass: str = FORWARD, place: Place | None = None) -> Incidence | None:
    """Draw the axes of ``case`` that fit, with ``place`` in the result of ``in_pass`` pointed at.

    ``None`` where there is nothing to draw: the configuration is invalid, something is empty, every axis is too long or
    plain, or the pass has no taps.
    """
    config = case.config
    view = _VIEWS.get((config.op, in_pass))
    if view is None or not config.is_valid or 0 in (*config.input_shape, *config.weight_shape, *config.output_shape):
        return None
    at = place.sites(case, in_pass) if place else ()
    pictures = []
    for axis, name in enumerate(AXES[config.dims]):
        relation = Relation.of(config, axis)
        if relation.columns <= MOST_COLUMNS and not relation.is_identity:
            pictures.append(_draw(relation, config.op, name, view.side, at[axis] if at else None))
    if not pictures:
        return None
    keys = [("in", view.across)]
    if any(one.has_border for one in pictures):
        keys.append(("pad", _border(config, in_pass)))
    if any(one.has_idle for one in pictures):
        keys.append(("idle", view.idle))
    pointed = any(one.points for one in pictures)
    mark = ("dot", "the worst tap") if view.side == "tap" else ("at", "the worst element")
    return Incidence(_joined(pictures), tuple(keys), view.lines, mark if pointed else None)


def _border(config: ConvConfig, in_pass: str) -> str:
    """Say what the wide sites are that the operand or the result does not have."""
    if config.op == "conv_transpose":
        return "cropped by padding"
    copied = config.padding_mode != "zeros"
    if in_pass == GRAD_INPUT:
        return f"padding ({'added to what it copies' if copied else 'dropped'})"
    return f"padding ({config.padding_mode})" if copied else "padding"


def _joined(pictures: list[Picture]) -> tuple[Picture, ...]:
    """Return the pictures with equal ones shown once, under all their names."""
    same: dict[Markup, list[Picture]] = {}
    for one in pictures:
        same.setdefault(one.svg, []).append(one)
    return tuple(replace(group[0], axis=listed([one.axis for one in group])) for group in same.values())


def _draw(relation: Relation, op: str, name: str, side: Side, at: int | None) -> Picture:
    met = [relation.meets(site) for site in range(relation.narrow)]
    pointed = [p for p in range(relation.first, relation.last) if side == "wide" and at is not None and relation.source(p) == at]
    rows = _rows(met, at if side == "narrow" else None, pointed)
    width, height = relation.columns * PITCH, (len(rows) + 1) * PITCH + 4
    bands = [_band((p - relation.first) * PITCH, 0, PITCH, height) for p in pointed]
    if side == "narrow" and at is not None:
        bands = [_band(0, (rows.index(at) + 1) * PITCH + 3, width, PITCH)]
    dots = _dots(relation, met, rows, at if side == "tap" else None)
    reached = {p for sites in met for p in sites}
    reached |= {source for p in reached if (source := relation.source(p)) is not None}
    shapes = [("cell", kind, paths) for kind, paths in _cells(relation, reached).items()]
    shapes += [("tap", kind, paths) for kind, paths in dots.items()]
    across, down = ("input", "output") if op == "conv" else ("output", "input")
    label = f"{plural(relation.wide, f'{across} site')} across, {plural(relation.narrow, f'{down} site')} down"
    svg = (
        f'<svg class="taps" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
        + "".join(bands + [f'<path class="{what} {kind}" d="{"".join(paths)}"/>' for what, kind, paths in shapes])
        + "</svg>"
    )
    idle = sum(1 for p in range(relation.wide) if p not in reached)
    notes = [f"{len(rows)} of {relation.narrow} {down} sites shown"] if len(rows) < relation.narrow else []
    notes += [f"{plural(idle, f'{across} site')} never {'read' if op == 'conv' else 'reached'}"] if idle else []
    return Picture(
        axis=name,
        svg=Markup(svg),  # noqa: S704 - made from numbers only
        note="; ".join(notes),
        has_border=relation.columns > relation.wide,
        has_idle=idle > 0,
        points=bool(bands or "worst" in dots),
    )


def _rows(met: list[list[int]], at: int | None, pointed: list[int]) -> range:
    """Return the narrow sites to show: the first ones, or those about what has to be in view."""
    focus = at or next((site for site, sites in enumerate(met) if not set(pointed).isdisjoint(sites)), 0)
    first = 0 if focus < MOST_ROWS else focus - MOST_ROWS // 2
    return range(first, min(first + MOST_ROWS, len(met)))


def _dots(relation: Relation, met: list[list[int]], rows: range, worst: int | None) -> dict[str, list[str]]:
    """Return a dot for each tap of each narrow site shown: those that meet something, padding, and those of the ``worst`` tap."""
    dots: dict[str, list[str]] = {}
    for row, site in enumerate(rows, 1):
        for tap, p in enumerate(met[site]):
            kind = "pad" if not 0 <= p < relation.wide else "worst" if tap == worst else "in"
            column = p - relation.first
            dots.setdefault(kind, []).append(f"M{column * PITCH + PITCH // 2} {row * PITCH + PITCH // 2 + 3}h0")
    return dots


def _cells(relation: Relation, reached: set[int]) -> dict[str, list[str]]:
    """Return a square for each wide site drawn, by what it is and whether any tap meets it."""
    cells: dict[str, list[str]] = {}
    side = PITCH - 2
    for p in range(relation.first, relation.last):
        kind = ("in" if 0 <= p < relation.wide else "pad") + ("" if p in reached else " idle")
        cells.setdefault(kind, []).append(f"M{(p - relation.first) * PITCH + 1} 1h{side}v{side}h-{side}z")
    return cells


def _band(x: int, y: int, width: int, height: int) -> str:
    """Return the stripe over what is pointed at."""
    return f'<rect class="at" x="{x}" y="{y}" width="{width}" height="{height}" rx="2"/>'
