"""A configuration read out: its shapes in words, the arithmetic of its output size, and which taps meet which input."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import groupby

from markupsafe import Markup

from convfuzz.case import REGIMES, Case
from convfuzz.config import ConvConfig

from .formatting import plural

AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
PITCH = 12
MOST_COLUMNS = 32
MOST_ROWS = 8
TIMES, MINUS = "×", "−"


@dataclass(frozen=True)
class Tensor:
    """One tensor: its letter, its shape, and what its dimensions are."""

    name: str
    shape: str
    meaning: str


@dataclass(frozen=True)
class Incidence:
    """Which input sites each output site of one axis reads, as a picture."""

    axis: str
    svg: Markup
    note: str
    has_padding: bool
    has_unread: bool
    points: bool


@dataclass(frozen=True)
class Reading:
    """A case in words and pictures."""

    tensors: tuple[Tensor, ...]
    sizes: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    invalid: str
    incidences: tuple[Incidence, ...]


def read(case: Case, worst: tuple[int, ...] = ()) -> Reading:
    """Read ``case`` out; ``worst`` is the output index that the pictures point at."""
    config = case.config
    drawable = config.is_valid and 0 not in config.output_shape
    return Reading(
        _tensors(config),
        _sizes(config),
        _facts(case),
        config.invalid_reason or "",
        _incidences(config, worst) if drawable else (),
    )


def _tensors(config: ConvConfig) -> tuple[Tensor, ...]:
    batch = "unbatched" if config.batch is None else f"batch of {config.batch}"
    tensors = [
        Tensor("x", _shape(config.input_shape), f"{batch}, {plural(config.in_channels, 'channel')}, {_extent(config.input_size)}"),
        Tensor("w", _shape(config.weight_shape), _kernels(config)),
    ]
    if config.bias:
        tensors.append(Tensor("b", _shape((config.out_channels,)), "one bias per output channel"))
    tensors.append(
        Tensor("y", _shape(config.output_shape), f"{batch}, {plural(config.out_channels, 'channel')}, {_extent(config.output_size)}")
    )
    return tuple(tensors)


def _kernels(config: ConvConfig) -> str:
    groups = max(config.groups, 1)
    taps = f"{_by(config.kernel_size)} {'tap' if math.prod(config.kernel_size) == 1 else 'taps'}"
    if config.op == "conv_transpose":
        reach = f"{plural(config.out_channels // groups, 'output channel')}"
        return f"each of {plural(config.in_channels, 'input channel')} spreads over {reach} by {taps}"
    seen = config.in_channels // groups
    if groups == 1:
        span = "the one input channel" if seen == 1 else f"all {seen} input channels"
    else:
        span = f"{seen} of {plural(config.in_channels, 'input channel')} ({groups} groups)"
    kernels = plural(config.out_channels, "kernel") + (" each" if config.out_channels > 1 else "")
    return f"{kernels} over {span}, {taps}: {plural(config.taps, 'product')} an element"


def _sizes(config: ConvConfig) -> tuple[tuple[str, str], ...]:
    lines = []
    for axis, name in enumerate(AXES[config.dims]):
        size, stride, extent = config.input_size[axis], config.stride[axis], config.effective_kernel[axis]
        lo, hi = config.pads[axis]
        kernel, dilation = config.kernel_size[axis], config.dilation[axis]
        reach = str(extent) if dilation == 1 else f"({dilation}·({kernel} {MINUS} 1) + 1)"
        if config.op == "conv":
            text = f"⌊({size}{_signed(lo)}{_signed(hi)} {MINUS} {reach}) / {stride}⌋ + 1 = {config.output_size[axis]}"
        else:
            extra = _signed(config.output_padding[axis])
            text = f"({size} {MINUS} 1)·{stride}{_signed(-lo)}{_signed(-hi)} + {reach}{extra} = {config.output_size[axis]}"
        lines.append((text, name))
    merged = [(" and ".join(name for _, name in same), text) for text, same in groupby(lines, key=lambda line: line[0])]
    return tuple(merged)


def _facts(case: Case) -> tuple[tuple[str, str], ...]:
    config = case.config
    facts = []
    if isinstance(config.padding, str):
        facts.append(("padding", f"{config.padding!r}, that is {_by_pads(config)}"))
    elif any(side for pads in config.pads for side in pads):
        facts.append(("padding", f"{_by_pads(config)}, {_mode(config)}"))
    facts.append(("numbers", f"{config.dtype}, {config.layout.replace('_', ' ')}"))
    facts.append(("data", f"{case.recipe.regime} (seed {case.recipe.seed}): {REGIMES[case.recipe.regime]}"))
    if case.grad:
        facts.append(("passes", ", ".join(case.passes).replace("_", " ")))
    return tuple(facts)


def _mode(config: ConvConfig) -> str:
    if any(side < 0 for pads in config.pads for side in pads):
        return "where negative crops"
    return config.padding_mode


def _by_pads(config: ConvConfig) -> str:
    parts = [f"{lo} before and {hi} after" if lo != hi else f"{lo} on both sides" for lo, hi in config.pads]
    if len(set(parts)) == 1:
        return parts[0]
    return "; ".join(f"{name} {part}" for name, part in zip(AXES[config.dims], parts, strict=True) if part != "0 on both sides")


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def _by(sizes: tuple[int, ...]) -> str:
    return f"\N{NO-BREAK SPACE}{TIMES}\N{NO-BREAK SPACE}".join(map(str, sizes))


def _extent(sizes: tuple[int, ...]) -> str:
    return f"length {sizes[0]}" if len(sizes) == 1 else _by(sizes)


def _signed(value: int) -> str:
    return "" if value == 0 else f" + {value}" if value > 0 else f" {MINUS} {-value}"


def _incidences(config: ConvConfig, worst: tuple[int, ...]) -> tuple[Incidence, ...]:
    at = worst[-config.dims :] if len(worst) == len(config.output_shape) else ()
    pictures = []
    for axis, name in enumerate(AXES[config.dims]):
        lo, hi = config.pads[axis]
        left = max(lo, 0) if config.op == "conv" else 0
        right = max(hi, 0) if config.op == "conv" else 0
        columns = left + config.input_size[axis] + right
        if columns <= MOST_COLUMNS and not _is_identity(config, axis):
            pictures.append(_draw(config, axis, name, left, columns, at[axis] if at else None))
    return _joined(pictures)


def _is_identity(config: ConvConfig, axis: int) -> bool:
    return config.kernel_size[axis] == config.stride[axis] == 1 and config.pads[axis] == (0, 0) and config.output_padding[axis] == 0


def _joined(pictures: list[Incidence]) -> tuple[Incidence, ...]:
    """Return the pictures with equal ones shown once, under both names."""
    joined: dict[Markup, Incidence] = {}
    for one in pictures:
        same = joined.get(one.svg)
        joined[one.svg] = replace(same, axis=f"{same.axis} and {one.axis}") if same else one
    return tuple(joined.values())


def _taps(config: ConvConfig, axis: int, site: int) -> list[int]:
    """Return the input sites, padding included, that output site ``site`` reads."""
    lo, stride, dilation = config.pads[axis][0], config.stride[axis], config.dilation[axis]
    reach = [k * dilation for k in range(config.kernel_size[axis])]
    if config.op == "conv":
        return [site * stride - lo + k for k in reach]
    met = [(site + lo - k) for k in reach]
    return [m // stride for m in met if m % stride == 0 and 0 <= m // stride < config.input_size[axis]]


def _draw(config: ConvConfig, axis: int, name: str, left: int, columns: int, worst: int | None) -> Incidence:
    size, outputs = config.input_size[axis], config.output_size[axis]
    first = 0 if worst is None or worst < MOST_ROWS else worst - MOST_ROWS // 2
    rows = range(first, min(first + MOST_ROWS, outputs))
    inside: list[str] = []
    padding: list[str] = []
    read_sites: set[int] = set()
    for row, site in enumerate(rows):
        for p in _taps(config, axis, site):
            (inside if 0 <= p < size else padding).append(_dot(p + left, row + 1))
    for site in range(outputs):
        read_sites.update(_taps(config, axis, site))
    cells: dict[str, list[int]] = {}
    for p in range(-left, columns - left):
        kind = ("in" if 0 <= p < size else "pad") + ("" if p in read_sites else " idle")
        cells.setdefault(kind, []).append(p + left)
    strip = "".join(f'<path class="cell {kind}" d="{"".join(map(_cell, at))}"/>' for kind, at in cells.items())
    band = ""
    if worst is not None and worst in rows:
        top = (rows.index(worst) + 1) * PITCH + 3
        band = f'<rect class="at" x="0" y="{top}" width="{columns * PITCH}" height="{PITCH}" rx="2"/>'
    width, height = columns * PITCH, (len(rows) + 1) * PITCH + 4
    unread = sum(1 for p in range(size) if p not in read_sites)
    label = f"{plural(size, 'input site')} across, {plural(outputs, 'output site')} down"
    svg = (
        f'<svg class="taps" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
        f'{band}{strip}<path class="tap in" d="{"".join(inside)}"/><path class="tap pad" d="{"".join(padding)}"/></svg>'
    )
    note = _note(len(rows), outputs, unread)
    return Incidence(name, Markup(svg), note, columns > size, unread > 0, bool(band))  # noqa: S704 - made from numbers only


def _note(shown: int, outputs: int, unread: int) -> str:
    notes = []
    if shown < outputs:
        notes.append(f"{shown} of {outputs} output sites shown")
    if unread:
        notes.append(f"{plural(unread, 'input site')} never read")
    return "; ".join(notes)


def _cell(column: int) -> str:
    side = PITCH - 2
    return f"M{column * PITCH + 1} 1h{side}v{side}h-{side}z"


def _dot(column: int, row: int) -> str:
    return f"M{column * PITCH + PITCH // 2} {row * PITCH + PITCH // 2 + 3}h0"
