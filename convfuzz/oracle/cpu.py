"""The CPU as the device that adds the taps: it packs the source for the compiled sums."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from convfuzz.oracle import operands
from convfuzz.oracle.contraction import Plans
from convfuzz.oracle.expectation import Float64Array, Int64Array
from convfuzz.oracle.kernels import sum_phases
from convfuzz.oracle.packing import pack

_SET_UP = 10_000
"""What it takes to set up the sums of one phase of three axes, in the time of so many products (measured)."""


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
        d, h, w = _without_waste(plans, batch * groups * fan * rows.shape[1])
        words = np.empty((mode, batch, groups * rows.shape[1], d.target, h.target, w.target))
        if not (fan and d.covered and h.covered and w.covered):
            words.fill(0.0)
        if not words.size or not fan or not (d.taps.size and h.taps.size and w.taps.size):
            return words
        source = _only_read(source).reshape(batch, groups * fan, *size)
        steps, extent = (d.source_step, h.source_step, w.source_step), (d.extent, h.extent, w.extent)
        image = pack(source, groups, steps, extent, d.origins, h.origins, w.origins)
        sum_phases(
            source, image, steps, extent, (d.origins.size, h.origins.size, w.origins.size),
            (d.table, h.table, w.table), (d.taps, h.taps, w.taps),
            _only_read(rows), d.clipped or h.clipped or w.clipped, words,
        )  # fmt: skip
        return words


def _without_waste(plans: Plans, times: int) -> Plans:
    """Leave out taps outside of the source where that saves much, as of a kernel much larger than its input.

    The axes are visited ``times``, once for each row of each group of each sample's channels.
    """
    at_most = math.prod(plan.visits for plan in plans) - math.prod(plan.meetings for plan in plans)
    if times * at_most <= _SET_UP:  # as of most layers, for which no plan is cut in vain
        return plans
    inside = tuple(plan.inside if 2 * plan.meetings <= plan.visits else plan for plan in plans)
    saved = math.prod(plan.visits for plan in plans) - math.prod(plan.visits for plan in inside)
    return inside if times * saved > _SET_UP * math.prod(len(plan.table) for plan in inside) else plans


def _only_read(operand: Float64Array) -> Float64Array:
    """Return a contiguous view that nobody can write to, as the caller's own may be or not: Numba compiles for each of the two."""
    view = np.ascontiguousarray(operand).view()
    view.flags.writeable = False
    return view


CPU = Cpu()
"""The only one there is."""
