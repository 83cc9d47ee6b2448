"""Padding worth trying: amounts relative to the dilated kernel, per axis and side, and the padding modes with their limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from typing import Literal, NamedTuple, TypeAlias

from convfuzz.strategies.geometry.windows import AxisLimits, Mode, Sides, Window

WindowOf: TypeAlias = Callable[[Sides | None], Window]
"""Returns the window of one axis with the given padding, ``None`` for ``"same"``."""


class Amount(NamedTuple):
    """Padding on one side: ``halves`` halves of the dilated kernel (rounded down), plus ``plus``."""

    halves: int
    plus: int

    def of(self, extent: int) -> int:
        """Return the amount for a dilated kernel of the given extent; negative crops."""
        return self.halves * extent // 2 + self.plus


class Padding(NamedTuple):
    """Padding of all axes: a mode, and ``"same"``, ``"valid"`` or two amounts per axis."""

    mode: Mode
    amounts: tuple[tuple[Amount, Amount], ...] | Literal["same", "valid"]


NONE, ONE, TWO = Amount(0, 0), Amount(0, 1), Amount(0, 2)
HALF, FULL, WHOLE, BEYOND = Amount(1, 0), Amount(2, -1), Amount(2, 0), Amount(2, 1)
CROP_ONE, CROP_TWO = Amount(0, -1), Amount(0, -2)

_SYMMETRIC = {ONE: 32, TWO: 8, HALF: 32, FULL: 12, WHOLE: 12, BEYOND: 8}
_ASYMMETRIC = [(NONE, ONE), (ONE, NONE), (ONE, TWO), (HALF, NONE), (NONE, FULL), (FULL, HALF), (ONE, WHOLE)]
_SHIFTING = [(ONE, CROP_ONE), (CROP_ONE, ONE), (CROP_TWO, ONE), (CROP_TWO, TWO)]  # some take them for no padding
_CROPPING = [(CROP_ONE, CROP_ONE), (CROP_ONE, NONE), (NONE, CROP_TWO), (CROP_ONE, HALF), *_SHIFTING]
_OF_MODES = [(ONE, ONE), (HALF, HALF), (FULL, FULL), (WHOLE, WHOLE), (NONE, ONE), (ONE, NONE), (HALF, ONE), (NONE, FULL)]


@cache
def unpadded(dims: int, mode: Mode) -> Padding:
    """Return no padding on any axis."""
    return Padding(mode, ((NONE, NONE),) * dims)


@cache
def halved(dims: int, mode: Mode) -> Padding:
    """Return half of the dilated kernel on both sides of every axis, as layers with an odd kernel have it."""
    return Padding(mode, ((HALF, HALF),) * dims)


def padding_table(dims: int, modes: Sequence[Mode], *, negative: bool) -> tuple[Padding, ...]:
    """Return the paddings for ``dims`` axes as a table of equally likely entries, the simplest first."""
    table: list[Padding] = []
    if "zeros" in modes:
        table += [unpadded(dims, "zeros")] * 140
        table += [Padding("zeros", ((amount, amount),) * dims) for amount, weight in _SYMMETRIC.items() for _ in range(weight)]
        table += [Padding("zeros", "same")] * 40 + [Padding("zeros", "valid")] * 16
        table += _spread([Padding("zeros", sides) for sides in _unequal_symmetric(dims)], 30)
        table += _spread([Padding("zeros", sides) for pair in _ASYMMETRIC for sides in _on_some_axes(pair, dims)], 50)
        if negative:
            table += _spread([Padding("zeros", sides) for pair in _CROPPING for sides in _on_some_axes(pair, dims)], 24)
    for mode in modes:
        if mode != "zeros":
            table += _spread([Padding(mode, sides) for pair in _OF_MODES for sides in _on_some_axes(pair, dims)], 32)
            table += [Padding(mode, "same")] * 5
    return tuple(table)


def _unequal_symmetric(dims: int) -> list[tuple[tuple[Amount, Amount], ...]]:
    # One axis has nothing to be unequal to; the entry keeps the tables alike, so that an example shrinks across dimensions.
    if dims == 1:
        return [((HALF, HALF),)]
    return [tuple((a, a) for a in axes) for axes in product((NONE, ONE, HALF, WHOLE), repeat=dims) if len(set(axes)) > 1]


def _on_some_axes(pair: tuple[Amount, Amount], dims: int) -> list[tuple[tuple[Amount, Amount], ...]]:
    """Put the two sides on every axis, on the first only, and on the last only."""
    unpadded = (NONE, NONE)
    everywhere = (pair,) * dims
    return [everywhere] if dims == 1 else [everywhere, (pair, *[unpadded] * (dims - 1)), (*[unpadded] * (dims - 1), pair)]


def _spread(entries: list[Padding], weight: int) -> list[Padding]:
    """Pick ``weight`` entries for the table, evenly from the whole list where it is longer."""
    return [entries[i * len(entries) // weight] for i in range(weight)] if entries else []


def place(padding: Padding, limits: AxisLimits, extents: Sequence[int], windows: Sequence[WindowOf]) -> list[Window]:
    """Give every axis its window with the padding, less of it where the smallest valid input would exceed the limits."""
    amounts = padding.amounts
    if amounts == "same":
        placed = [window(None) for window in windows]
        if all(map(limits.admit, placed)):
            return placed
        amounts = "valid"
    if amounts == "valid":
        return [window((0, 0)) for window in windows]
    return [_within(limits, (lo.of(e), hi.of(e)), window) for window, e, (lo, hi) in zip(windows, extents, amounts, strict=True)]


def _within(limits: AxisLimits, sides: Sides, window: WindowOf) -> Window:
    placed = window(sides)
    while not limits.admit(placed) and any(sides):
        sides = (int(sides[0] / 2), int(sides[1] / 2))
        placed = window(sides)
    return placed


def as_parameter(padding: Padding, placed: Sequence[Window]) -> tuple[Sides, ...] | Literal["same", "valid"]:
    """Return the padding that was placed as a configuration has it."""
    pads = tuple(window.sides for window in placed if window.sides is not None)
    if not pads:
        return "same"
    return "valid" if padding.amounts == "valid" else pads
