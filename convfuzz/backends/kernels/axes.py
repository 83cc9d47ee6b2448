"""The order of the axes that a kernel takes, such as NHWC and HWIO, and how its operands and results are moved."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from convfuzz.case.config import ConvConfig
from convfuzz.errors import InvalidConfig

_SPATIAL = {1: "W", 2: "HW", 3: "DHW"}
_EXAMPLES = {"layout": "'NHWC', 'NCHW' or 'N...C'", "weight_layout": "'OHWI', 'HWIO', 'OIHW' or 'O...I'"}
_LETTERS = {"layout": "NC", "weight_layout": "OI"}


def dims_of_axes(layout: str | None, weight_layout: str | None, dims: Collection[int] | None) -> tuple[int, ...] | None:
    """Return the numbers of spatial dimensions that a kernel computes which takes its axes in these orders.

    Raises:
        InvalidConfig: an order is none, or is of another number of dimensions than is declared.
    """
    left = None if dims is None else tuple(dims)
    for option, order in (("layout", layout), ("weight_layout", weight_layout)):
        if order is None:
            continue
        possible = [n for n in _SPATIAL if _expanded(order, n, _LETTERS[option]) is not None] if isinstance(order, str) else []
        if not possible:
            raise InvalidConfig(f"{option}={order!r} is no order of axes, such as {_EXAMPLES[option]}{_confused(option, order)}")
        both = tuple(n for n in possible if left is None or n in left)
        if not both:
            raise InvalidConfig(f"{option}={order!r} is for dims={tuple(possible)}, and the other options are for dims={left}")
        left = both if left is not None or len(possible) < len(_SPATIAL) else None
    return left


def _confused(option: str, order: object) -> str:
    if option == "layout" and order in ("channels_last", "contiguous"):
        return f"; how an operand lies in memory is layouts=({order!r},)"
    return ""


def _expanded(order: str, dims: int, letters: str) -> str | None:
    """Return an order with a letter for each axis; ``None`` where it is none of ``dims`` dimensions."""
    named = order.replace("...", _SPATIAL[dims], 1)
    return named if sorted(named) == sorted(letters + _SPATIAL[dims]) else None


def axes_of(config: ConvConfig, layout: str | None, weight_layout: str | None) -> dict[str, tuple[int, ...]]:
    """Return for each operand whose axes are moved in which order the kernel takes them; that of ``dy`` is the output's too.

    An unbatched input has no axis N.
    """
    axes = {}
    if layout is not None:
        order = _expanded(layout, config.dims, "NC") or ""
        own = "NC" + _SPATIAL[config.dims]
        if config.batch is None:
            order, own = order.replace("N", ""), own[1:]
        axes["x"] = axes["dy"] = tuple(own.index(axis) for axis in order)
    if weight_layout is not None:
        order = _expanded(weight_layout, config.dims, "OI") or ""
        own = ("OI" if config.op == "conv" else "IO") + _SPATIAL[config.dims]
        axes["w"] = tuple(own.index(axis) for axis in order)
    return {name: order for name, order in axes.items() if order != tuple(range(len(order)))}


def inverse(order: tuple[int, ...]) -> tuple[int, ...]:
    """Return the order that puts axes back."""
    return tuple(order.index(axis) for axis in range(len(order)))


def restored(result: Any, axes: tuple[int, ...] | None) -> Any:
    """Return a result whose axes are put back; one with another number of them is wrong as it is."""
    return result if axes is None or result is None or result.ndim != len(axes) else result.transpose(axes)
