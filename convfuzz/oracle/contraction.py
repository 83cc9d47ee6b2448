"""The three contractions of the incidence relation: forward, input gradient, weight gradient.

Each is one operation, :func:`contract`, of a source and rows of weights: the input gradient exchanges the roles of
the two sides, the weight gradient those of sites and kernel taps. Arrays have three spatial axes.

The canonical order, which fixes every bit of a result: an element starts from 0.0 and adds its taps one after the
other, source channel outermost, then kernel depth, height, width, all ascending; for the weight gradient the batch
index is the channel and the output site the kernel tap.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from convfuzz.oracle.expectation import Float64Array, Int64Array
from convfuzz.oracle.kernels import DOUBLE, VALUE, sum_one_by_one, sum_packed
from convfuzz.oracle.packing import pack
from convfuzz.oracle.relation import Axis, AxisPlan, Phase, to_narrow, to_wide

Axes = tuple[Axis, Axis, Axis]


@dataclass(frozen=True, eq=False)
class Sums:
    """The accumulated sums, (accumulators, N, channels, D, H, W), and how many taps each element has."""

    words: Float64Array
    tap_counts: Int64Array

    def transposed(self) -> Sums:
        """Exchange the batch and channel axes."""
        return Sums(self.words.swapaxes(1, 2), self.tap_counts)


def forward(x: Float64Array, w: Float64Array, axes: Axes, groups: int, mode: int) -> Sums:
    """Contract x (N, C, D, H, W) and w (O, C/groups, kD, kH, kW) to (N, O, D', H', W')."""
    rows = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    return contract(x, rows, tuple(map(to_narrow, axes)), mode)


def input_gradient(dy: Float64Array, w: Float64Array, axes: Axes, groups: int, mode: int) -> Sums:
    """Contract dy (N, O, D', H', W') and w (O, C/groups, kD, kH, kW) to (N, C, D, H, W)."""
    rows = w.reshape(groups, w.shape[0] // groups, *w.shape[1:]).swapaxes(1, 2)
    return contract(dy, np.ascontiguousarray(rows), tuple(map(to_wide, axes)), mode)


def weight_gradient(x: Float64Array, dy: Float64Array, axes: Axes, groups: int, mode: int) -> Sums:
    """Contract x (N, C, D, H, W) and dy (N, O, D', H', W') to (O, C/groups, kD, kH, kW)."""
    batch, channels, *size = x.shape
    fan = channels // groups
    source = x.reshape(batch, groups, fan, *size).transpose(2, 1, 0, 3, 4, 5).reshape(fan, groups * batch, *size)
    rows = dy.swapaxes(0, 1).reshape(groups, dy.shape[1] // groups, batch, *dy.shape[2:])
    plans = tuple(to_narrow(axis.with_kernel_as_target()) for axis in axes)
    return contract(np.ascontiguousarray(source), np.ascontiguousarray(rows), plans, mode).transposed()


def contract(source: Float64Array, rows: Float64Array, plans: tuple[AxisPlan, ...], mode: int) -> Sums:
    """Sum source · row over the taps of ``plans``, for every row and target site.

    ``source`` is (N, groups · channels, D, H, W), ``rows`` (groups, rows per group, channels, kD, kH, kW).
    """
    groups, rows_per_group, fan = rows.shape[:3]
    layout = _layout(plans, fan)
    words = np.empty((mode, source.shape[0], groups * rows_per_group, *(plan.target for plan in plans)))
    counts_d, counts_h, counts_w = (plan.tap_counts for plan in plans)
    sums = Sums(words, fan * counts_d[:, None, None] * counts_h[:, None] * counts_w)
    if not layout.covers_target:
        words.fill(0.0)
    if not words.size or not layout.phases:
        return sums
    image = pack(source, groups, layout.source_step, layout.extent, *layout.origins)
    for phase in layout.phases:
        sum_packed(image, layout.pitch, phase.offsets, phase.select(rows), phase.targets, words)
    if layout.clipped and (affected := np.flatnonzero(~np.isfinite(rows).all(axis=(2, 3, 4, 5)))).size:
        for phase in layout.phases:
            sum_one_by_one(source, layout.source_step, phase.taps, rows, affected, phase.targets, words)
    if mode == DOUBLE and not np.isfinite(words[0]).all():
        _settle_non_finite(words, contract(source, rows, plans, VALUE).words[0])
    return sums


def _settle_non_finite(words: Float64Array, plain: Float64Array) -> None:
    """Where the error-free transformations met Inf or NaN, or overflowed, take the plain sum instead."""
    lost = ~np.isfinite(words[0])
    words[0][lost] = plain[lost]
    words[3][lost] = 0.0


@dataclass(frozen=True, eq=False)
class _PhaseLayout:
    """One phase of every axis together: its targets, its spatial taps, and the offset in the image of every tap."""

    targets: Int64Array
    taps: Int64Array
    offsets: Int64Array
    complete: bool

    def select(self, rows: Float64Array) -> Float64Array:
        """Return the weights of this phase's taps, (groups, rows per group, taps) in canonical order."""
        if not self.complete:
            d, h, w = self.taps[:, :3].T
            rows = np.ascontiguousarray(rows[:, :, :, d, h, w])
        return rows.reshape(*rows.shape[:2], -1)


@dataclass(frozen=True, eq=False)
class _Layout:
    """The packed image of a source, and the phases that read it."""

    source_step: Int64Array
    extent: Int64Array
    origins: tuple[Int64Array, ...]
    pitch: Int64Array
    phases: tuple[_PhaseLayout, ...]
    covers_target: bool
    clipped: bool


@lru_cache(maxsize=32)
def _layout(plans: tuple[AxisPlan, ...], fan: int) -> _Layout:
    extent = np.array([plan.extent for plan in plans])
    pitch = np.array([extent[1] * extent[2], extent[2], 1])
    volume = int(extent.prod())
    planes = [plan.origins.size for plan in plans]
    # How far one plane further along each axis lies in the image, and one channel further.
    plane_pitch = volume * np.array([planes[1] * planes[2], planes[2], 1])
    channel_pitch = volume * planes[0] * planes[1] * planes[2]

    def phase_layout(phases: tuple[Phase, ...]) -> _PhaseLayout:
        d, h, w = (phase.plane * plane_pitch[a] + phase.shift * pitch[a] for a, phase in enumerate(phases))
        channel = np.arange(fan) * channel_pitch
        offsets = channel[:, None, None, None] + d[:, None, None] + h[:, None] + w
        kernel = np.meshgrid(*(phase.kernel for phase in phases), indexing="ij")
        start = np.meshgrid(*(phase.start for phase in phases), indexing="ij")
        return _PhaseLayout(
            targets=np.array([(phase.first, phase.step, phase.count) for phase in phases]),
            taps=np.stack([*kernel, *start], axis=-1).reshape(-1, 6),
            offsets=offsets.ravel(),
            complete=all(phase.kernel.size == plan.kernel for plan, phase in zip(plans, phases, strict=True)),
        )

    return _Layout(
        source_step=np.array([plan.source_step for plan in plans]),
        extent=extent,
        origins=tuple(plan.origins for plan in plans),
        pitch=pitch,
        phases=tuple(phase_layout(phases) for phases in product(*(plan.phases for plan in plans))) if fan else (),
        covers_target=fan > 0 and all(plan.target == sum(phase.count for phase in plan.phases) for plan in plans),
        clipped=any(plan.clipped for plan in plans),
    )
