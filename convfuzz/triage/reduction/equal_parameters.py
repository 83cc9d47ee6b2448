"""Parameters of a configuration that have the same value: a failure may need that they are equal, and not the value itself."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any, NamedTuple

from convfuzz.case.config import ConvConfig

_SCALARS = {"batch": "batch", "in_channels": "input channels", "out_channels": "output channels", "groups": "groups"}
_PER_AXIS = {"input_size": 1, "kernel_size": 1, "stride": 1, "dilation": 1, "output_padding": 0, "padding": 0, "output_size": 1}
"""Parameters with a value for each axis, and the plain value; the output's size is changed by way of the input's."""
_AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


class Part(NamedTuple):
    """One parameter, on some of its axes where it has a value for each: the value there, and the plain one."""

    name: str
    axes: tuple[int, ...]
    value: int
    plain: int

    def said(self, dims: int) -> str:
        """Name it: ``input channels``, ``height = width``, ``kernel height``."""
        if self.name in _SCALARS:
            return _SCALARS[self.name]
        noun = self.name.removesuffix("_size").replace("_", " ")
        if self.name == "input_size" and dims > 1:
            return " = ".join(_AXES[dims][axis] for axis in self.axes)
        if len(self.axes) == dims:
            return f"{noun} size" if self.name.endswith("_size") else noun
        return " = ".join(f"{noun} {_AXES[dims][axis]}" for axis in self.axes)


def equal_parts(c: ConvConfig) -> Iterator[tuple[Part, ...]]:
    """Yield what has one value that is not the plain one: all such parameters, then every two; and one that is equal on all axes."""
    by_value: dict[int, list[Part]] = {}
    for part in _parts(c):
        by_value.setdefault(part.value, []).append(part)
    for parts in by_value.values():
        sizes = range(2, 3) if len(parts) > 3 else range(len(parts) - 1, 1, -1)
        for some in (tuple(parts), *(some for size in sizes for some in combinations(parts, size))):
            names = {part.name for part in some}
            if (len(some) > 1 or len(some[0].axes) > 1) and not {"input_size", "output_size"} <= names:
                yield some
        if len(parts) > 1:
            yield from ((part,) for part in parts if len(part.axes) > 1)


def with_value(c: ConvConfig, parts: tuple[Part, ...], value: int) -> ConvConfig:
    """Return the configuration with one value for all of ``parts``; an output's size is what the input's makes of it."""
    changes: dict[str, Any] = {}
    for part in parts:
        if part.name in _SCALARS:
            changes[part.name] = value
            continue
        name = "input_size" if part.name == "output_size" else part.name
        values = list(changes.get(name, getattr(c, name)))
        for axis in part.axes:
            if part.name == "output_size":
                values[axis] = max(c.input_size[axis] - (part.value - value) * c.stride[axis], 0)
            else:
                values[axis] = (value, value) if name == "padding" else value
        changes[name] = tuple(values)
    return c.replace(**changes)


def _parts(c: ConvConfig) -> Iterator[Part]:
    """Yield every parameter that is not plain, and of one with axes those that are equal together, else each."""
    for name in _SCALARS:
        value = getattr(c, name)
        if value is not None and value > 1:
            yield Part(name, (), value, 1)
    for name, plain in _PER_AXIS.items():
        values = _values(c, name)
        every = tuple(range(c.dims))
        for axes in (every,) if len(set(values)) == 1 else ((axis,) for axis in every):
            value = values[axes[0]]
            if value is not None and value > plain:
                yield Part(name, axes, value, plain)


def _values(c: ConvConfig, name: str) -> tuple[int | None, ...]:
    if name == "output_size":
        is_own = c.op == "conv" and c.is_valid and c.output_size != c.input_size
        return c.output_size if is_own else (None,) * c.dims
    if name == "padding":
        return (None,) * c.dims if isinstance(c.padding, str) else tuple(lo if lo == hi else None for lo, hi in c.padding)
    values: tuple[int, ...] = getattr(c, name)
    return values
