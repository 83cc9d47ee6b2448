"""Whether the order that was seen can be declared: it has a name that a declaration knows, and a second layer has it too."""

from __future__ import annotations

from convfuzz.backends import Backend
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import FLOATS
from convfuzz.errors import ConvfuzzError
from convfuzz.judging.declared_order import MOST, DeclaredOrder
from convfuzz.judging.tolerance import is_short
from convfuzz.revealing.element import Element
from convfuzz.revealing.formats import Formats, measure_formats
from convfuzz.revealing.order import Order, measure_order
from convfuzz.revealing.sheet import Notes

_KINDS = ("pairwise", "blocked", "lanes", "split")
"""Orders whose partial sums are smaller than those of any order; of a running sum the declaration would be no sharper."""
_BIASES = (None, "first", "last", "separate")


def advised_order(backend: Backend, config: ConvConfig, formats: Formats | None, order: Order, notes: Notes) -> str | None:
    """Return the order to declare, or ``None``: it was not seen, cannot be declared, or is another on a second layer."""
    found = _declarable(Element(backend, config), formats, order)
    if found is None:
        return None
    second = _second_layer(config)
    try:
        element = Element(backend, second)
        element.pack()
        of_second = measure_formats(element, Notes())
        again = _declarable(element, of_second, measure_order(element, of_second, Notes()))
    except ConvfuzzError as error:
        notes.inferred.append(f"order={str(found)!r} is not declared, since a second layer was not measured: {error}")
        return None
    notes.saw(f"the order on a second layer of {element.taps} taps", again or "one that cannot be declared")
    if again != found:
        notes.inferred.append(f"order={str(found)!r} is that of this layer and not declared: a second one has {again or 'another'}")
        return None
    return str(found)


def _declarable(element: Element, formats: Formats | None, order: Order) -> DeclaredOrder | None:
    """Return what was seen as a declaration says it, of an order that is named over the weight's memory or with channels innermost."""
    name = order.name
    if formats is None or order.tree is None or name.order not in _KINDS or order.bias not in _BIASES or "at once" in name.words:
        return None
    if formats.between_blocks != "none seen" or formats.accumulator_rounding not in ("nearest-even", "half-away"):
        return None
    if formats.shortest not in FLOATS or is_short(FLOATS[formats.shortest]) or not 2 <= (name.block or 2) <= MOST:
        return None
    extents = element.coordinates.max(axis=0) + 1
    axes = [axis for axis, extent in zip(element.axes, extents, strict=True) if extent > 1]
    for channels_last in (False, True):
        nest = [*axes[1:], axes[0]] if channels_last and axes[0] == element.axes[0] else axes
        if name.words.endswith((f", {' ▸ '.join(nest)}", f"; {' ▸ '.join(nest)}")):
            return DeclaredOrder(name.order, name.block or 0, channels_last and nest != axes)
    return None


def _second_layer(config: ConvConfig) -> ConvConfig:
    """Return a layer with half as many channels again and a larger kernel, so that what depends on either shows."""
    per_group = config.in_channels // config.groups
    kernel = tuple(size + 2 if size > 1 else 1 for size in config.kernel_size)
    grown = tuple(
        size + 2 * step * (old > 1) for size, step, old in zip(config.input_size, config.dilation, config.kernel_size, strict=True)
    )
    return config.replace(in_channels=config.groups * (per_group + (per_group + 1) // 2), kernel_size=kernel, input_size=grown)
