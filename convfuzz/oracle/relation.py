"""The incidence relation of a convolution, axis by axis, and the order in which its contractions visit it.

A kernel tap k connects a site o on the *narrow* side (a convolution's output) with a site i on the *wide* side (its
input) where i = o·stride + k·dilation - lo. Forward, input gradient and weight gradient are three contractions of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Self

import numpy as np

from convfuzz.errors import Unsupported
from convfuzz.oracle.expectation import Int64Array

_ENORMOUS = 2**48
"""More sites than any array's axis has."""


class Axis(NamedTuple):
    """The relation along one axis. ``lo`` is the padding before the wide side; negative crops."""

    wide: int
    narrow: int
    kernel: int
    stride: int
    dilation: int
    lo: int

    @classmethod
    def between(cls, wide: int, narrow: int, kernel: int, *, stride: int, dilation: int, lo: int) -> Self:
        """Relate the two sides, and shorten a step that is never taken: the stride of one site, the dilation of one tap.

        Raises:
            Unsupported: int64 does not hold the steps, or how far the taps reach.
        """
        if narrow <= 1:
            stride = min(stride, _ENORMOUS)
        if kernel == 1:
            dilation = min(dilation, _ENORMOUS)
        last = max(narrow - 1, 0) * stride + (kernel - 1) * dilation - lo
        # An array's extent less than int64 holds, since a plan measures distances from either end of one. Products on the
        # way to a site may be beyond: they wrap around, and the site, which is their difference, is right all the same.
        if (farthest := max(stride, dilation, abs(lo), abs(last))) > 2**63 - _ENORMOUS:
            raise Unsupported(f"stride={stride}, dilation={dilation} and padding={lo} reach {farthest}, too far for int64")
        return cls(wide, narrow, kernel, stride, dilation, lo)

    def with_kernel_as_target(self) -> Axis:
        """Exchange kernel taps and narrow sites: stride and dilation change places too."""
        return self._replace(narrow=self.kernel, kernel=self.narrow, stride=self.dilation, dilation=self.stride)


@dataclass(frozen=True, eq=False)
class Phase:
    """The targets ``first, first + step, …`` (``count`` of them), which all meet the same kernel taps.

    Target number m meets the tap ``kernel[j]`` at source site ``start[j] + m · source_step``; in the packed source
    that is position ``shift[j] + m`` of plane ``plane[j]``. Taps that no target of the phase meets are left out.
    """

    first: int
    step: int
    count: int
    kernel: Int64Array
    start: Int64Array
    plane: Int64Array
    shift: Int64Array


@dataclass(frozen=True, eq=False)
class AxisPlan:
    """How one axis of a contraction is visited.

    Packed, the source is ``len(origins)`` planes of ``extent`` positions: position q of plane a holds source site
    ``q · source_step + origins[a]``, or zero outside the source. So the source of consecutive targets is consecutive,
    whatever the stride. Phases without a tap are left out. ``tap_counts`` is the number of kernel taps that each target
    meets inside the source; ``clipped`` says that some target meets one outside.
    """

    target: int
    kernel: int
    source_step: int
    origins: Int64Array
    extent: int
    phases: tuple[Phase, ...]
    tap_counts: Int64Array
    clipped: bool


@lru_cache(maxsize=1024)
def to_narrow(axis: Axis) -> AxisPlan:
    """Plan the contraction from the wide side to the narrow one: a convolution's forward pass."""
    taps = np.arange(axis.kernel)
    return _plan(axis, axis.wide, axis.narrow, axis.stride, [(0, 1, taps, taps * axis.dilation - axis.lo)])


@lru_cache(maxsize=1024)
def to_wide(axis: Axis) -> AxisPlan:
    """Plan the contraction from the narrow side to the wide one: the input gradient, a transposed convolution's forward.

    Wide sites that are congruent modulo the stride meet the same taps: they are one phase.
    """
    reach = np.arange(axis.kernel) * axis.dilation - axis.lo
    residues = reach % axis.stride
    phases = []
    for first in np.unique(residues[residues < axis.wide]).tolist():
        taps = np.flatnonzero(residues == first)
        phases.append((first, axis.stride, taps, (first - reach[taps]) // axis.stride))
    return _plan(axis, axis.narrow, axis.wide, 1, phases)


def _plan(axis: Axis, source: int, target: int, source_step: int, phases: list[tuple[int, int, Int64Array, Int64Array]]) -> AxisPlan:
    """Complete a plan from the phases as (first target, step, kernel taps, their source sites for the first target)."""
    tap_counts = np.zeros(target, np.int64)
    clipped = False
    met = []
    for first, step, taps, start in phases:
        count = len(range(first, target, step))
        # Targets begin[j] to end[j] of the phase meet tap j inside the source.
        begin = np.clip(-(start // source_step), 0, count)
        end = np.clip((source - 1 - start) // source_step + 1, begin, count)
        changes = np.bincount(begin, minlength=count + 1) - np.bincount(end, minlength=count + 1)
        tap_counts[first::step] = changes[:count].cumsum()
        clipped = clipped or bool((begin > 0).any() or (end < count).any())
        if (ever := begin < end).any():
            met.append((first, step, count, taps[ever], start[ever]))
    starts = np.concatenate([start for *_, start in met]) if met else np.empty(0, np.int64)
    residues = np.unique(starts % source_step)
    lowest = int((starts // source_step).min()) if met else 0
    placed = tuple(
        Phase(first, step, count, taps, start, np.searchsorted(residues, start % source_step), start // source_step - lowest)
        for first, step, count, taps, start in met
    )
    extent = max((int(phase.shift.max()) + phase.count for phase in placed), default=0)
    return AxisPlan(target, axis.kernel, source_step, residues + lowest * source_step, extent, placed, tap_counts, clipped)
