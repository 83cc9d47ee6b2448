"""Mistakes that leave a layer right where they change nothing, each computed from the operands: what a kernel with it returns.

An output that equals one of them in every element, bit for bit, and not the layer itself, is explained by it. Two failures with one
explanation are likely to have one cause, whatever of it each takes: a gap between windows is one, whether a stride or a dilation makes
it. Only mistakes are told here that need nothing but what they misread: one that needs a trigger besides says nothing of the trigger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz.backends import Backend
from convfuzz.case import Case, DataRecipe
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import is_complex, is_integer
from convfuzz.judging.comparing import comparable, same
from convfuzz.oracle.expectation import Expectation
from convfuzz.tensors.generator import Tensors, make_tensors

Floats = npt.NDArray[np.float64]

SEEDS = range(5)
"""The drawings of integers on which an output has to be explained, each time one that fails."""
_LEAST_WRONG = 3
"""With fewer wrong elements than this in all of them, an explanation may fit by chance."""
_MOST_FLOPS = 2**24


@dataclass(frozen=True)
class _Layer:
    """A layer with its operands, and what is right."""

    config: ConvConfig
    tensors: Tensors

    @cached_property
    def right(self) -> Expectation:
        return self.sums(self.config)

    def sums(self, config: ConvConfig, *, x: npt.NDArray[Any] | None = None, w: npt.NDArray[Any] | None = None) -> Expectation:
        """Return what a layer of another configuration, or with other operands, computes."""
        from convfuzz.oracle.passes import reference  # noqa: PLC0415 - Numba loads with the first reference

        own = self.tensors
        return reference(config, own.x if x is None else x, own.w if w is None else w, own.b, moments=False)

    def as_if(self, **changes: Any) -> Floats | None:
        """Return what the sites of this layer get from one of another configuration, its first ones; ``None`` where it has fewer."""
        other = self.config.replace(**changes)
        sizes = self.config.output_size
        if other == self.config or not other.is_valid or any(a < b for a, b in zip(other.output_size, sizes, strict=True)):
            return None
        first: tuple[Any, ...] = (..., *(slice(size) for size in sizes))
        y: Floats = self.sums(other).y[first]
        return y


Mechanism = Callable[[_Layer], "Floats | None"]
"""Computes the output of a layer with the mistake; ``None`` where that cannot be told, or the mistake changes nothing."""


def _gaps_without_bias(layer: _Layer) -> Floats | None:
    """A bias counts as a tap, so that one tap is none of the weight."""
    b, right = layer.tensors.b, layer.right
    if b is None:
        return None
    bias = comparable(b).astype(np.float64).reshape(-1, *(1,) * layer.config.dims)
    return np.where(right.n == 1, right.y - bias, right.y)


def _sides_exchanged(layer: _Layer) -> Floats | None:
    return layer.as_if(padding=tuple((hi, lo) for lo, hi in layer.config.pads))


def _weight_in_memory_order(layer: _Layer) -> Floats | None:
    w = in_memory_order(layer.tensors.w)
    return None if w is None else layer.sums(layer.config, w=w).y


def _input_in_memory_order(layer: _Layer) -> Floats | None:
    x = in_memory_order(layer.tensors.x)
    return None if x is None else layer.sums(layer.config, x=x).y


def _axes(name: str, of: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> Mechanism:
    """Return the mistake that takes a parameter of each axis from other axes, as ``of`` says."""

    def computed(layer: _Layer) -> Floats | None:
        values = layer.config.pads if name == "padding" else getattr(layer.config, name)
        return layer.as_if(**{name: of(values)})

    return computed


_OF_AXES: Mapping[str, Callable[[tuple[Any, ...]], tuple[Any, ...]]] = {
    "the first axis's {} on each axis": lambda values: values[:1] * len(values),
    "the last axis's {} on each axis": lambda values: values[-1:] * len(values),
    "the {} of the axes in reverse order": lambda values: values[::-1],
}

MECHANISMS: Mapping[str, Mechanism] = {
    "elements that no tap reaches lack the bias": _gaps_without_bias,
    "the two sides of the padding exchanged": _sides_exchanged,
    "the weight's memory read as if it were contiguous": _weight_in_memory_order,
    "the input's memory read as if it were contiguous": _input_in_memory_order,
    **{said.format(name): _axes(name, of) for name in ("stride", "dilation", "padding") for said, of in _OF_AXES.items()},
}
"""The mistakes by what a kernel with them computes."""


def in_memory_order(array: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """Return what a read of as many elements in a row gives, from the first one on; ``None`` where they are in order or there are fewer."""
    if array.flags.c_contiguous or array.size == 0:
        return None
    owner: Any = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    begin = array.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
    memory = owner.reshape(-1).view(np.uint8)
    if not owner.flags.c_contiguous or begin + array.nbytes > memory.size:
        return None
    read: npt.NDArray[Any] = memory[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    return read


def explained(case: Case, backend: Backend) -> list[str]:
    """Return the mistakes that explain every element of the forward pass of a configuration, on several drawings of integers.

    There the sums are exact. None is returned for complex and integer layers, for large ones, and where the backend is right, or raises.
    """
    config = case.config
    if not config.is_valid or is_complex(config.dtype) or is_integer(config.dtype) or config.flops > _MOST_FLOPS:
        return []
    left, wrong = list(MECHANISMS), 0
    for seed in SEEDS:
        drawn = Case(config, DataRecipe("integers", seed))
        layer = _Layer(config, make_tensors(drawn))
        actual = _output(drawn, layer.tensors, backend)
        if actual is None or actual.shape != config.output_shape or actual.dtype != layer.tensors.x.dtype:
            return []
        left = [name for name in left if _fits(actual, MECHANISMS[name](layer))]
        with np.errstate(invalid="ignore"):
            wrong += int((~same(comparable(actual), layer.right.y)).sum())
        if not left:
            return []
    return left if wrong >= _LEAST_WRONG else []


def _fits(actual: npt.NDArray[Any], predicted: Floats | None) -> bool:
    """Whether an output is what a mistake makes of the layer, which may be what is right where the data do not show it."""
    if predicted is None or predicted.shape != actual.shape:
        return False
    with np.errstate(all="ignore"):
        return bool(same(comparable(actual), comparable(predicted.astype(actual.dtype))).all())


def _output(case: Case, tensors: Tensors, backend: Backend) -> npt.NDArray[Any] | None:
    try:
        if not backend.supports(case):
            return None
        output: npt.NDArray[Any] | None = backend.run(case, replace(tensors, dy=None).views()).get("forward")
    except Exception:  # noqa: BLE001 - what raises has no output to explain
        return None
    return output
