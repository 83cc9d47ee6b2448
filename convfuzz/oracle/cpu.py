"""The CPU as the device that adds the taps: it packs the source, phase by phase, for the compiled sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product

import numpy as np
import numpy.typing as npt

from convfuzz.oracle import operands
from convfuzz.oracle.contraction import Plans
from convfuzz.oracle.expectation import Float64Array, Int64Array
from convfuzz.oracle.kernels import sum_one_by_one, sum_packed
from convfuzz.oracle.packing import pack
from convfuzz.oracle.relation import Phase


class Cpu:
    """A :class:`~.contraction.Device` whose operands are NumPy arrays."""

    def operand(self, name: str, values: npt.ArrayLike, shape: tuple[int, ...]) -> Float64Array:
        """Return ``values`` as :func:`.operands.real` does."""
        return operands.real(name, values, shape)

    def take(self, x: Float64Array, sites: Sequence[Int64Array]) -> Float64Array:
        """Index the last axes of ``x`` by ``sites``."""
        for axis, along in enumerate(sites, start=x.ndim - len(sites)):
            x = np.take(x, along, axis=axis)
        return x

    def sum_taps(self, source: Float64Array, rows: Float64Array, plans: Plans, mode: int) -> Float64Array:
        """Sum many elements at a time; one by one where padding meets Inf or NaN."""
        batch, groups, fan, *size = source.shape
        source = np.ascontiguousarray(source).reshape(batch, groups * fan, *size)
        rows = np.ascontiguousarray(rows)
        layout = _layout(plans, fan)
        words = np.empty((mode, batch, groups * rows.shape[1], *(plan.target for plan in plans)))
        if not layout.covers_target:
            words.fill(0.0)
        if not words.size or not layout.phases:
            return words
        image = pack(source, groups, layout.source_step, layout.extent, *layout.origins)
        for phase in layout.phases:
            sum_packed(image, layout.pitch, phase.offsets, phase.select(rows), phase.targets, words)
        if layout.clipped and (affected := np.flatnonzero(~np.isfinite(rows).all(axis=(2, 3, 4, 5)))).size:
            for phase in layout.phases:
                sum_one_by_one(source, layout.source_step, phase.taps, rows, affected, phase.targets, words)
        return words


CPU = Cpu()
"""The only one there is."""


@dataclass(frozen=True, eq=False)
class _PhaseLayout:
    """One phase of every axis together: its targets, and the offset in the image of every tap; ``complete`` where no tap is left out."""

    phases: tuple[Phase, ...]
    targets: Int64Array
    offsets: Int64Array
    complete: bool

    @cached_property
    def taps(self) -> Int64Array:
        """The spatial taps: kernel d, h, w, and the source site d, h, w that each meets for the first target."""
        kernel = np.meshgrid(*(phase.kernel for phase in self.phases), indexing="ij")
        start = np.meshgrid(*(phase.start for phase in self.phases), indexing="ij")
        return np.stack([*kernel, *start], axis=-1).reshape(-1, 6)

    def select(self, rows: Float64Array) -> Float64Array:
        """Return the weights of this phase's taps, (groups, rows per group, taps) in canonical order."""
        if not self.complete:
            d, h, w = np.ix_(*(phase.kernel for phase in self.phases))
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
def _layout(plans: Plans, fan: int) -> _Layout:
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
        return _PhaseLayout(
            phases,
            targets=np.array([(phase.first, phase.step, phase.count) for phase in phases]),
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
