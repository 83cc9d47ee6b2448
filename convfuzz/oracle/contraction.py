"""The three contractions of the incidence relation: forward, input gradient, weight gradient.

Each is one operation, :func:`contract`, of a source and rows of weights: the input gradient exchanges the roles of
the two sides, the weight gradient those of sites and kernel taps. Arrays have three spatial axes. Where the taps are
added, on the CPU or on a GPU, is a :class:`Device`'s business.

The canonical order, which fixes every bit of a result: an element starts from 0.0 and adds its taps one after the
other, source channel outermost, then kernel depth, height, width, all ascending; for the weight gradient the batch
index is the channel and the output site the kernel tap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from convfuzz.oracle.expectation import Float64Array, Int64Array
from convfuzz.oracle.kernels import DOUBLE, VALUE
from convfuzz.oracle.relation import Axis, AxisPlan, to_narrow, to_wide

Axes = tuple[Axis, Axis, Axis]
Plans = tuple[AxisPlan, ...]


class Viewable(Protocol):
    """An array as a device holds it. A contraction only asks for views of it, which need no copy on any device."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The extent of each axis."""
        ...

    def reshape(self, *shape: int) -> Any:
        """Split axes, merge what was split, or add axes of size one."""
        ...

    def transpose(self, *axes: int) -> Any:
        """Reorder the axes."""
        ...


Operand = TypeVar("Operand", bound=Viewable)


class Device(Protocol[Operand]):
    """Where taps are added: the CPU (:mod:`.cpu`) or a CUDA device (:mod:`.cuda`). All give the same bits."""

    def operand(self, name: str, values: npt.ArrayLike, shape: tuple[int, ...]) -> Operand:
        """Check an operand that the caller calls ``name``, and take it as float64.

        Raises:
            ValueError: as :func:`.operands.real`.
        """
        ...

    def take(self, x: Operand, sites: Sequence[Int64Array]) -> Operand:
        """Index the last axes of ``x`` by ``sites``, one array per axis."""
        ...

    def sum_taps(self, source: Operand, rows: Operand, plans: Plans, mode: int) -> Float64Array:
        """Sum source · row over the taps of ``plans`` in the canonical order, for every row and target site.

        ``source`` is (N, groups, channels, D, H, W), ``rows`` (groups, rows per group, channels, kD, kH, kW), and the
        result (accumulators, N, groups · rows per group, D', H', W').
        """
        ...


@dataclass(frozen=True, eq=False)
class Sums:
    """The accumulated sums, (accumulators, N, channels, D, H, W), and how many taps each element has."""

    words: Float64Array
    tap_counts: Int64Array

    def transposed(self) -> Sums:
        """Exchange the batch and channel axes."""
        return Sums(self.words.swapaxes(1, 2), self.tap_counts)


def forward(device: Device[Operand], x: Operand, w: Operand, axes: Axes, groups: int, mode: int) -> Sums:
    """Contract x (N, C, D, H, W) and w (O, C/groups, kD, kH, kW) to (N, O, D', H', W')."""
    return contract(device, _by_group(x, 1, groups), _by_group(w, 0, groups), tuple(map(to_narrow, axes)), mode)


def input_gradient(device: Device[Operand], dy: Operand, w: Operand, axes: Axes, groups: int, mode: int) -> Sums:
    """Contract dy (N, O, D', H', W') and w (O, C/groups, kD, kH, kW) to (N, C, D, H, W)."""
    rows = _by_group(w, 0, groups).transpose(0, 2, 1, 3, 4, 5)
    return contract(device, _by_group(dy, 1, groups), rows, tuple(map(to_wide, axes)), mode)


def weight_gradient(device: Device[Operand], x: Operand, dy: Operand, axes: Axes, groups: int, mode: int) -> Sums:
    """Contract x (N, C, D, H, W) and dy (N, O, D', H', W') to (O, C/groups, kD, kH, kW)."""
    source = _by_group(x, 1, groups).transpose(2, 1, 0, 3, 4, 5)
    rows = _by_group(dy, 1, groups).transpose(1, 2, 0, 3, 4, 5)
    plans = tuple(to_narrow(axis.with_kernel_as_target()) for axis in axes)
    return contract(device, source, rows, plans, mode).transposed()


def _by_group(operand: Operand, axis: int, groups: int) -> Operand:
    """Split the channels on ``axis`` into (groups, channels per group)."""
    shape = operand.shape
    split: Operand = operand.reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])
    return split


def contract(device: Device[Operand], source: Operand, rows: Operand, plans: Plans, mode: int) -> Sums:
    """Have ``device`` sum the taps, and count them."""
    words = device.sum_taps(source, rows, plans, mode)
    if mode == DOUBLE and not np.isfinite(words[0]).all():
        _settle_non_finite(words, device.sum_taps(source, rows, plans, VALUE)[0])
    return Sums(words, rows.shape[2] * _spatial_tap_counts(plans))


@lru_cache(maxsize=8)
def _spatial_tap_counts(plans: Plans) -> Int64Array:
    counts_d, counts_h, counts_w = (plan.tap_counts for plan in plans)
    return counts_d[:, None, None] * counts_h[:, None] * counts_w


def _settle_non_finite(words: Float64Array, plain: Float64Array) -> None:
    """Take the plain sum where the error-free transformations met Inf or NaN, or overflowed."""
    lost = ~np.isfinite(words[0])
    words[0][lost] = plain[lost]
    words[3][lost] = 0.0
