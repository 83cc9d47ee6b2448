"""The current CUDA device as the one that adds the taps: an element per thread of :func:`.kernels.sum_taps`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numba.cuda
import numpy as np
import numpy.typing as npt
from numba.core.errors import NumbaPerformanceWarning

from convfuzz.oracle import operands
from convfuzz.oracle.contraction import Plans
from convfuzz.oracle.cuda import kernels
from convfuzz.oracle.cuda.arrays import DeviceArray
from convfuzz.oracle.expectation import Float64Array, Int64Array
from convfuzz.oracle.relation import AxisPlan

cuda: Any = numba.cuda
"""As untyped as it is."""

_BLOCK = 128
"""Threads of a block."""


class Cuda:
    """A :class:`~convfuzz.oracle.contraction.Device` whose operands lie in the memory of the current CUDA device."""

    def operand(self, name: str, values: npt.ArrayLike | DeviceArray, shape: tuple[int, ...]) -> DeviceArray:
        """Return what lies there already as it is; copy what does not, once :func:`.operands.real` has checked it."""
        if not isinstance(values, DeviceArray):
            return DeviceArray.copied(operands.real(name, values, shape))
        operands.check_shape(name, values.shape, shape)
        return values

    def take(self, x: DeviceArray, sites: Sequence[Int64Array]) -> DeviceArray:
        """Index the last axes of ``x`` (N, C, D, H, W) by ``sites``."""
        every = [*map(np.arange, x.shape[2 : 5 - len(sites)]), *sites]
        shape = (*x.shape[:2], *(axis.size for axis in every))
        taken = cuda.device_array(math.prod(shape), x.memory.dtype)
        if taken.size:
            launch(kernels.take, taken.size, x.memory, x.strides, cuda.to_device(np.concatenate(every)), taken.reshape(*shape))
        return DeviceArray(taken, np.empty(shape, np.int8))

    def sum_taps(self, source: DeviceArray, rows: DeviceArray, plans: Plans, mode: int) -> Float64Array:
        """Sum every element in a thread of its own, and return them to the host."""
        groups, rows_per_group, fan = rows.shape[:3]
        shape = (source.shape[0], groups, rows_per_group, *(plan.target for plan in plans))
        merged = (mode, shape[0], groups * rows_per_group, *shape[3:])
        if not (math.prod(shape) and source.size and rows.size and all(plan.phases for plan in plans)):
            return np.zeros(merged)
        words = cuda.device_array((mode, *shape))
        operands = (source.memory, source.strides, source.shape[3:], rows.memory, rows.strides, fan)
        launch(kernels.sum_taps, math.prod(shape), *operands, *tables(plans), words)
        summed: Float64Array = words.copy_to_host().reshape(merged)
        return summed


CUDA = Cuda()
"""The current device; ``numba.cuda.select_device`` says which one that is."""


def device_name() -> str | None:
    """Return the name of the current device, or ``None`` where there is none or no compiler for it."""
    if kernels.SIMULATED:
        return "Numba's simulator"
    if not cuda.is_available():
        return None
    name = cuda.get_current_device().name
    return name.decode() if isinstance(name, bytes) else str(name)


def synchronize() -> None:
    """Wait for the current device, and raise what its work ended in."""
    cuda.synchronize()


def launch(kernel: Any, threads: int, *arguments: Any) -> None:
    """Run a kernel with at least so many threads."""
    block = min(threads, _BLOCK)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumbaPerformanceWarning)  # a small layer does not fill a device
        kernel[-(-threads // block), block](*arguments)


@lru_cache(maxsize=64)
def tables(plans: Plans) -> tuple[Any, Any]:
    """Return what :func:`.kernels.sum_taps` calls *targets* and *taps*, on the device."""
    targets, taps, begin = [], [], 0
    for plan in plans:
        axis_targets, axis_taps = _axis_tables(plan, begin)
        targets.append(axis_targets)
        taps.append(axis_taps)
        begin += len(axis_taps)
    return cuda.to_device(np.concatenate(targets)), cuda.to_device(np.concatenate(taps))


def _axis_tables(plan: AxisPlan, begin: int) -> tuple[Int64Array, Int64Array]:
    """Return the targets of one axis and its taps, whose first is number ``begin``."""
    targets = np.zeros((plan.target, 3), np.int64)
    taps = [np.empty((0, 2), np.int64)]
    for phase in plan.phases:
        lines = targets[phase.first :: phase.step]
        lines[:, kernels.BEGIN] = begin
        begin += phase.kernel.size
        lines[:, kernels.END] = begin
        lines[:, kernels.SHIFT] = np.arange(phase.count) * plan.source_step
        taps.append(np.stack([phase.kernel, phase.start], axis=1))
    return targets, np.concatenate(taps)
