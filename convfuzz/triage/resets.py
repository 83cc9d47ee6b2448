"""A case made plain on one axis at a time: what a failure takes, it fails no longer without."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.features import PLAIN, features, needed

RESETS: dict[str, Callable[[ConvConfig], ConvConfig]] = {
    "stride": lambda c: c.replace(stride=1),
    "dilation": lambda c: c.replace(dilation=1),
    "padding": lambda c: c.replace(padding=0),
    "padding mode": lambda c: c.replace(padding_mode="zeros"),
    "output padding": lambda c: c.replace(output_padding=0),
    "batch": lambda c: c.replace(batch=1),
    "bias": lambda c: c.replace(bias=False),
    "dtype": lambda c: c.replace(dtype="float32"),
    "layout": lambda c: c.replace(layout="contiguous"),
    "weight layout": lambda c: c.replace(weight_layout="contiguous"),
    "groups": lambda c: c.replace(groups=1),
    "op": lambda c: c.replace(op="conv", output_padding=0),
}
"""How a configuration is made plain on one axis of its features."""

_ALIKE = (
    {"stride=more than 1", "stride=per axis"},
    {"dilation=more than 1", "dilation=per axis"},
    {"batch=2-14", "batch=15 and more"},
    {"groups=several", "groups=depthwise", "groups=depthwise with multiplier"},
    {"dtype=complex64", "dtype=complex128"},
    {"dtype=int8", "dtype=uint8"},
)
"""Features that are the same thing in another measure."""


_NAMES = {name: min(names) for names in _ALIKE for name in names}


def traits(case: Case) -> frozenset[str]:
    """Return what is particular about a case, as ``axis=value``: its features, what is alike by one name, and its passes."""
    return traits_left(case, case)


def traits_left(case: Case, first: Case) -> frozenset[str]:
    """Return those of a case that was reduced from ``first``, less what it got on the way, such as a kernel of 1x1."""
    found = frozenset(_NAMES.get(feature, feature) for feature in needed(case.config, first.config))
    return found | {"passes=backward too"} if case.grad else found


def are_alike(axis: str, one: str, other: str) -> bool:
    """Whether two values on an axis are one, or the same thing in another measure."""
    return one == other or any({f"{axis}={one}", f"{axis}={other}"} <= names for names in _ALIKE)


def without_each(case: Case, needs: Iterable[str]) -> list[Case]:
    """Return a case that has all of ``needs`` (``axis=value``), or much the same, without each of them in turn.

    What cannot be made plain, such as the number of dimensions, has to be there as it is needed. The list is empty where something is not
    there, where nothing can be made plain, or where what is left is no valid convolution.
    """
    has, pairs = features(case.config), [need.split("=", 1) for need in needs]
    if not all(are_alike(axis, has[axis], value) for axis, value in pairs):
        return []
    return plain_on_each(case, [axis for axis, value in pairs if value not in PLAIN[axis]])


def plain_on_each(case: Case, axes: Iterable[str]) -> list[Case]:
    """Return a case made plain on each of ``axes`` in turn, as far as that can be done; nothing where that leaves no valid convolution."""
    plain = []
    for reset in (RESETS[axis] for axis in axes if axis in RESETS):
        try:
            plain.append(case.changed(config=reset(case.config)))
        except ValueError:  # the data have no place in it
            return []
    return plain if all(one.config.is_valid for one in plain) else []
