"""How a kernel moves along one axis, and the kernel sizes, strides and dilations worth trying on all axes together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Literal, NamedTuple, TypeAlias

Sides: TypeAlias = tuple[int, int]
Mode: TypeAlias = Literal["zeros", "reflect", "replicate", "circular"]


@dataclass(frozen=True, slots=True)
class Window(ABC):
    """The moving kernel along one axis: which input sizes it admits, how many outputs each gives, and how often it is placed.

    ``sides`` are the numbers of padding sites at the two ends, or ``None`` for ``"same"``. ``least`` is the smallest
    input size that is a valid convolution. Input sizes are of at least that.
    """

    kernel: int
    stride: int
    extent: int
    sides: Sides | None
    least: int

    @abstractmethod
    def outputs(self, size: int) -> int:
        """Return the output size for an input size."""

    @abstractmethod
    def places(self, size: int) -> int:
        """Return at how many sites the kernel is applied: each costs one product per tap."""

    @abstractmethod
    def largest(self, *, inputs: int, outputs: int, places: int) -> int:
        """Return the largest input size within the three limits."""


class ForwardWindow(Window):
    """The kernel of a convolution: placed once for every output site."""

    __slots__ = ()

    def outputs(self, size: int) -> int:
        """Return the output size for an input size."""
        if self.sides is None:
            return -(-size // self.stride)
        return (size + sum(self.sides) - self.extent) // self.stride + 1

    def places(self, size: int) -> int:
        """Return the output size."""
        return self.outputs(size)

    def largest(self, *, inputs: int, outputs: int, places: int) -> int:
        """Return the largest input size within the three limits."""
        reach = min(outputs, places) * self.stride
        return min(inputs, reach if self.sides is None else reach + self.extent - sum(self.sides) - 1)


@dataclass(frozen=True, slots=True)
class TransposedWindow(Window):
    """The kernel of a transposed convolution: placed once for every input site; ``extra`` is the output padding."""

    extra: int = 0

    def outputs(self, size: int) -> int:
        """Return the output size for an input size."""
        if self.sides is None:
            return size * self.stride
        return (size - 1) * self.stride + self.extent + self.extra - sum(self.sides)

    def places(self, size: int) -> int:
        """Return the input size."""
        return size

    def largest(self, *, inputs: int, outputs: int, places: int) -> int:
        """Return the largest input size within the three limits."""
        beyond_first = 0 if self.sides is None else self.stride - self.extent - self.extra + sum(self.sides)
        return min(inputs, places, (outputs + beyond_first) // self.stride)


class Geometry(NamedTuple):
    """What a kernel does in space, on all axes: a configuration's parameters but its sizes and channels, and their windows."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[Sides, ...] | Literal["same", "valid"]
    windows: Sequence[Window]
    padding_mode: Mode = "zeros"
    output_padding: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True)
class AxisLimits:
    """How large one axis may be so that any combination of axes stays within the limits of a search space."""

    work: int
    elements: int

    @classmethod
    def of(cls, dims: int, *, max_flops: int, max_elements: int) -> AxisLimits:
        """Share the limits equally among the axes."""
        # A tap costs 2 operations, and a bias one: a third for outputs, the rest for taps. The fraction undoes the root's rounding.
        return cls(int((max_flops // 3) ** (1 / dims) + 1e-9), int(max_elements ** (1 / dims) + 1e-9))

    @property
    def outputs(self) -> int:
        """The most output sites: each may cost a bias, and has to be stored."""
        return min(self.work, self.elements)

    def admit(self, window: Window) -> bool:
        """Whether the smallest valid input, its outputs and its taps are within the limits."""
        least = window.least
        within = least <= self.elements and window.outputs(least) <= self.outputs
        return within and window.places(least) * window.kernel <= self.work


def dilation_within(most: int, wanted: int, kernel: int) -> int:
    """Return the wanted dilation, or the largest that keeps the extent of the dilated kernel at ``most``."""
    return wanted if kernel == 1 else min(wanted, max((most - 1) // (kernel - 1), 1))


def extents(kernel_size: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """Return the size of the dilated kernel per axis."""
    return [d * (k - 1) + 1 for k, d in zip(kernel_size, dilation, strict=True)]


@dataclass(frozen=True)
class PerAxis:
    """Values of one parameter: the same on all axes by weight, or unequal ones from ``unequal`` with probability ``share``."""

    equal: Mapping[int, int]
    unequal: tuple[int, ...]
    share: float

    def table(self, dims: int, most: int) -> tuple[tuple[int, ...], ...]:
        """Return the values for ``dims`` axes as a table of equally likely entries, the simplest first, none above ``most``."""
        equal = [(v,) * dims for v, weight in self.equal.items() if v <= most for _ in range(weight)]
        mixed = [v for v in product((v for v in self.unequal if v <= most), repeat=dims) if len(set(v)) > 1]
        if mixed:
            odds = (1 - self.share) / self.share * len(mixed) / len(equal)
            equal, mixed = equal * max(1, round(odds)), mixed * max(1, round(1 / odds))
        return tuple(sorted([*equal, *mixed], key=lambda v: (prod(v), v[::-1])))


@dataclass(frozen=True)
class Windows:
    """Where kernel sizes, strides and dilations of a search space come from; ``upsampling`` are a transposed kernel's strides."""

    kernels: PerAxis
    strides: PerAxis
    upsampling: PerAxis
    dilations: PerAxis


EVERYDAY = Windows(
    kernels=PerAxis({1: 11, 2: 6, 3: 22, 4: 3, 5: 7, 6: 1, 7: 4, 8: 1, 9: 1, 11: 3}, (1, 2, 3, 5), 0.35),
    strides=PerAxis({1: 60, 2: 16, 3: 7, 4: 4, 5: 1, 7: 1}, (1, 2, 3, 4), 0.2),
    upsampling=PerAxis({1: 32, 2: 30, 3: 9, 4: 6, 5: 1, 7: 1, 8: 2}, (1, 2, 3, 4), 0.2),
    dilations=PerAxis({1: 70, 2: 10, 3: 5, 4: 2, 5: 1}, (1, 2, 3), 0.12),
)
EDGES = Windows(
    kernels=PerAxis(
        {1: 9, 2: 5, 3: 9, 4: 1, 5: 3, 7: 4, 8: 3, 9: 2, 11: 2, 15: 2, 16: 2, 17: 2, 23: 1, 25: 1, 31: 1, 32: 1, 33: 1},
        (1, 2, 3, 7, 8),
        0.35,
    ),
    strides=PerAxis({1: 20, 2: 6, 3: 4, 4: 3, 7: 2, 8: 2, 15: 1, 16: 1, 17: 1, 64: 1}, (1, 2, 3, 5), 0.25),
    upsampling=PerAxis({1: 12, 2: 8, 3: 4, 4: 3, 7: 2, 8: 2, 15: 1, 16: 1, 17: 1, 64: 1}, (1, 2, 3, 5), 0.25),
    dilations=PerAxis({1: 20, 2: 4, 3: 3, 7: 1, 8: 1, 16: 1, 17: 1, 33: 1}, (1, 2, 3, 8), 0.15),
)
LAYERS = {(1, 1): 4, (3, 1): 8, (3, 2): 8, (5, 1): 2, (5, 2): 2, (7, 2): 2, (1, 2): 1}
"""Kernel size and stride, the same on all axes, of the layers that networks are made of."""
UPSAMPLERS = {(1, 1): 1, (2, 2): 5, (4, 2): 6, (3, 2): 5, (3, 1): 3, (5, 2): 2, (4, 4): 1, (16, 8): 1}
"""The same of the transposed layers that networks are made of: decoders, generators, vocoders."""
