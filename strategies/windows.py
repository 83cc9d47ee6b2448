"""How a kernel moves along one axis, and the kernel sizes, strides and dilations worth trying on all axes together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

Sides = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """The moving kernel along one axis: which input sizes it admits, and how many outputs each gives.

    ``sides`` are the numbers of padding sites at the two ends, or ``None`` for ``"same"``. ``least`` is the smallest
    input size that is a valid convolution.
    """

    kernel: int
    stride: int
    extent: int
    sides: Sides | None
    least: int

    def outputs(self, size: int) -> int:
        """Return the output size for an input size of at least ``least``."""
        if self.sides is None:
            return -(-size // self.stride)
        return (size + sum(self.sides) - self.extent) // self.stride + 1

    def largest(self, outputs: int) -> int:
        """Return the largest input size that gives no more than ``outputs``."""
        if self.sides is None:
            return outputs * self.stride
        return outputs * self.stride + self.extent - sum(self.sides) - 1


@dataclass(frozen=True, slots=True)
class AxisLimits:
    """How large one axis may be so that any combination of axes stays within the limits of a search space."""

    work: int
    elements: int

    @classmethod
    def of(cls, dims: int, *, max_flops: int, max_elements: int) -> AxisLimits:
        """Share the limits equally among the axes."""
        # One tap costs 2 operations and its output's bias one more: at most 3. The fraction undoes the root's rounding.
        return cls(int((max_flops // 3) ** (1 / dims) + 1e-9), int(max_elements ** (1 / dims) + 1e-9))

    def admit(self, window: Window) -> bool:
        """Whether the smallest valid input, its outputs and their taps are within the limits."""
        outputs = window.outputs(window.least)
        return outputs * window.kernel <= self.work and max(outputs, window.least) <= self.elements

    def dilation(self, wanted: int, kernel: int) -> int:
        """Return the wanted dilation, or the largest that keeps the dilated kernel within the limits."""
        return wanted if kernel == 1 else min(wanted, max((self.elements - 1) // (kernel - 1), 1))


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
    """Where kernel sizes, strides and dilations of a search space come from."""

    kernels: PerAxis
    strides: PerAxis
    dilations: PerAxis


EVERYDAY = Windows(
    kernels=PerAxis({1: 11, 2: 6, 3: 22, 4: 3, 5: 7, 6: 1, 7: 4, 8: 1, 9: 1, 11: 3}, (1, 2, 3, 5), 0.35),
    strides=PerAxis({1: 60, 2: 16, 3: 7, 4: 4, 5: 1, 7: 1}, (1, 2, 3, 4), 0.2),
    dilations=PerAxis({1: 70, 2: 10, 3: 5, 4: 2, 5: 1}, (1, 2, 3), 0.12),
)
EDGES = Windows(
    kernels=PerAxis(
        {1: 9, 2: 5, 3: 9, 4: 1, 5: 3, 7: 4, 8: 3, 9: 2, 11: 2, 15: 2, 16: 2, 17: 2, 23: 1, 25: 1, 31: 1, 32: 1, 33: 1},
        (1, 2, 3, 7, 8),
        0.35,
    ),
    strides=PerAxis({1: 20, 2: 6, 3: 4, 4: 3, 7: 2, 8: 2, 15: 1, 16: 1, 17: 1, 64: 1}, (1, 2, 3, 5), 0.25),
    dilations=PerAxis({1: 20, 2: 4, 3: 3, 7: 1, 8: 1, 16: 1, 17: 1, 33: 1}, (1, 2, 3, 8), 0.15),
)
LAYERS = {(1, 1): 4, (3, 1): 8, (3, 2): 8, (5, 1): 2, (5, 2): 2, (7, 2): 2, (1, 2): 1}
"""Kernel size and stride, the same on all axes, of the layers that networks are made of."""
