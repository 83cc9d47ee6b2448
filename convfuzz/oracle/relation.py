"""The incidence relation of a convolution, axis by axis, and the order in which its contractions visit it.

A kernel tap k connects a site o on the *narrow* side (a convolution's output) with a site i on the *wide* side (its
input) where i = o·stride + k·dilation - lo. Forward, input gradient and weight gradient are three contractions of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np

from convfuzz.errors import Unsupported
from convfuzz.oracle.expectation import Int64Array
from convfuzz.oracle.jit import compiled

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

    Target number m meets the tap ``kernel[j]`` at source site ``start[j] + m · source_step``. Taps that no target of the phase
    meets are left out.
    """

    first: int
    step: int
    count: int
    kernel: Int64Array
    start: Int64Array


@dataclass(frozen=True, eq=False)
class AxisPlan:
    """How one axis of a contraction is visited.

    Packed, the source is ``len(origins)`` planes of ``extent`` positions: position q of plane a holds source site
    ``q · source_step + origins[a]``, or zero outside the source. So the source of consecutive targets is consecutive,
    whatever the stride. ``table`` has a line per phase and ``taps`` one per tap of each phase, in the columns below; phases
    without a tap are left out. ``tap_counts`` is the number of kernel taps that each target meets inside the source; ``clipped``
    says that some target meets one outside, ``covered`` that every target is of some phase.
    """

    source: int
    target: int
    kernel: int
    source_step: int
    origins: Int64Array
    extent: int
    table: Int64Array
    taps: Int64Array
    tap_counts: Int64Array
    clipped: bool
    covered: bool

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        """The phases as objects."""
        return tuple(
            Phase(first, step, count, self.taps[begin:end, KERNEL], self.taps[begin:end, START])
            for first, step, count, begin, end in self.table.tolist()
        )

    @cached_property
    def visits(self) -> int:
        """How often a target visits a tap, inside the source or not."""
        return int((self.table[:, COUNT] * (self.table[:, END] - self.table[:, BEGIN])).sum())

    @cached_property
    def meetings(self) -> int:
        """How many of the visits are inside."""
        return int(self.tap_counts.sum())

    @cached_property
    def inside(self) -> Self:
        """The same plan without visits outside of the source: each phase is cut where some tap begins or ceases to be met inside."""
        table, taps, size = [], [self.taps[:0]], 0
        for first, step, count, begin, end in self.table.tolist():
            of_phase = self.taps[begin:end]
            begins = np.clip(-(of_phase[:, START] // self.source_step), 0, count)
            ends = np.clip((self.source - 1 - of_phase[:, START]) // self.source_step + 1, begins, count)
            for here, there in pairwise(np.unique(np.concatenate([begins, ends])).tolist()):
                met = of_phase[(begins <= here) & (here < ends)]
                if len(met):
                    taps.append(met + np.array([0, here, 0, here]) * [0, self.source_step, 0, 1])  # KERNEL, START, PLANE, SHIFT
                    table.append((first + here * step, step, there - here, size, size + len(met)))
                    size += len(met)
        cut = np.array(table, np.int64).reshape(-1, 5)
        return replace(self, table=cut, taps=np.concatenate(taps), clipped=False, covered=bool(cut[:, COUNT].sum() == self.target))


FIRST, STEP, COUNT, BEGIN, END = range(5)
"""Columns of *table*: the targets of a phase, which are ``first``, ``first + step``, …, and its lines of *taps*."""

KERNEL, START, PLANE, SHIFT = range(4)
"""Columns of *taps*: the kernel tap, the source site that the first target meets, and where that is in the packed source.

Target number m of the phase meets it at position SHIFT + m of plane PLANE.
"""


@lru_cache(maxsize=1024)
def to_narrow(axis: Axis) -> AxisPlan:
    """Plan the contraction from the wide side to the narrow one: a convolution's forward pass."""
    starts = np.arange(axis.kernel) * axis.dilation - axis.lo
    return _plan(axis.kernel, axis.wide, axis.narrow, axis.stride, starts, np.zeros_like(starts), 1)


@lru_cache(maxsize=1024)
def to_wide(axis: Axis) -> AxisPlan:
    """Plan the contraction from the narrow side to the wide one: the input gradient, a transposed convolution's forward.

    Wide sites that are congruent modulo the stride meet the same taps: they are one phase.
    """
    reach = np.arange(axis.kernel) * axis.dilation - axis.lo
    return _plan(axis.kernel, axis.narrow, axis.wide, 1, -(reach // axis.stride), reach % axis.stride, axis.stride)


def _plan(kernel: int, source: int, target: int, source_step: int, starts: Int64Array, firsts: Int64Array, step: int) -> AxisPlan:
    return AxisPlan(source, target, kernel, source_step, *_planned(source, target, source_step, starts, firsts, step))


@compiled
def _planned(
    source: int, target: int, source_step: int, starts: Int64Array, firsts: Int64Array, step: int
) -> tuple[Int64Array, int, Int64Array, Int64Array, Int64Array, bool, bool]:
    """Return a plan's origins and extent, its table and taps, the taps of each target, and whether it is clipped and covered.

    Tap j is met by the targets ``firsts[j]``, ``firsts[j] + step``, …, the first of which has it at source site ``starts[j]``.
    """
    table, taps = np.empty((firsts.size, 5), np.int64), np.empty((firsts.size, 4), np.int64)
    changes, tap_counts = np.empty(target + 1, np.int64), np.zeros(target, np.int64)
    phases = met = covered = extent = 0
    clipped = False
    for first in _distinct(firsts[firsts < target]):
        count = (target - first + step - 1) // step
        changes[: count + 1] = 0
        begins_at = met
        for tap in range(firsts.size):
            if firsts[tap] == first:
                # Targets number begin to end of the phase meet the tap inside the source.
                begin = min(max(-(starts[tap] // source_step), 0), count)
                end = min(max((source - 1 - starts[tap]) // source_step + 1, begin), count)
                changes[begin] += 1
                changes[end] -= 1
                clipped |= begin > 0 or end < count
                if begin < end:
                    taps[met, KERNEL], taps[met, START] = tap, starts[tap]
                    met += 1
        inside = 0
        for m in range(count):
            inside += changes[m]
            tap_counts[first + m * step] = inside
        if met > begins_at:
            table[phases, FIRST], table[phases, STEP], table[phases, COUNT] = first, step, count
            table[phases, BEGIN], table[phases, END] = begins_at, met
            phases += 1
            covered += count
    table, taps = table[:phases], taps[:met]
    origins = _distinct(taps[:, START] % source_step)
    lowest = taps[0, START] // source_step if met else 0
    for tap in range(met):
        lowest = min(lowest, taps[tap, START] // source_step)
    for phase in range(phases):
        for tap in range(table[phase, BEGIN], table[phase, END]):
            taps[tap, PLANE] = _place(origins, taps[tap, START] % source_step)
            taps[tap, SHIFT] = taps[tap, START] // source_step - lowest
            extent = max(extent, taps[tap, SHIFT] + table[phase, COUNT])
    return origins + lowest * source_step, extent, table, taps, tap_counts, clipped, covered == target


@compiled
def _distinct(values: Int64Array) -> Int64Array:
    """Return the values in ascending order, each once, as ``np.unique`` does, which takes five seconds to compile."""
    distinct = np.empty(values.size, np.int64)
    count = 0
    for value in values:
        at = _place(distinct[:count], value)
        if at == count or distinct[at] != value:
            for later in range(count, at, -1):
                distinct[later] = distinct[later - 1]
            distinct[at] = value
            count += 1
    return distinct[:count]


@compiled
def _place(ascending: Int64Array, value: int) -> int:
    """Return how many of the ascending numbers are below the value."""
    begin, end = 0, ascending.size
    while begin < end:
        middle = (begin + end) // 2
        if ascending[middle] < value:
            begin = middle + 1
        else:
            end = middle
    return begin
