"""Judging an output that lies on a CUDA device: the reference is computed there beside it, and a few numbers come back.

No expected value is kept: an element is summed, given its tolerance and compared by one thread. What is more than that, an element
beyond its tolerance, NaN and Inf, sums near the end of a format's range, is for the host to judge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import component_format
from convfuzz.judging import device_kernels
from convfuzz.judging.declared_numbers import EXACT, FLUSHED, declared_numbers
from convfuzz.judging.device_kernels import (
    ACTUAL_AT,
    AT,
    ERROR,
    OVER,
    RATIO,
    RATIO_AT,
    RELATIVE,
    STRANGE,
    UNITS,
    Y_AT,
    compare,
    gather,
    merge_lines,
)
from convfuzz.judging.float_judge import index_of
from convfuzz.judging.judgement import Judgement
from convfuzz.judging.numerics import INPUT_ROUNDINGS, Numerics
from convfuzz.judging.transforms import magnitudes
from convfuzz.oracle import passes
from convfuzz.oracle.contraction import Plans
from convfuzz.oracle.cuda import arrays
from convfuzz.oracle.cuda.arrays import DeviceArray
from convfuzz.oracle.cuda.device import Cuda, cuda, launch, tables
from convfuzz.oracle.cuda.kernels import SIMULATED
from convfuzz.oracle.expectation import Float64Array
from convfuzz.system.json_records import Real
from convfuzz.tensors.generator import Tensors
from convfuzz.verdicts import Discrepancy, Verdict

_DTYPES = ("float32", "float16", "bfloat16")
"""Whose products are exact in float64, so that a sum has one word."""
_THREADS, _SIMULATED_THREADS, _LINES = 2**16, 16, 256
_TILE_PRODUCTS = 2**34
"""How many products are computed in one launch, a fraction of a second's worth: others may use the device, and a display may show."""


@dataclass(frozen=True, eq=False)
class OnDevice:
    """Operands of a case as they lie on the device, in the layout of the case: ``x`` and ``w`` as arrays that :func:`.arrays.found` reads.

    They hold the numbers of ``tensors``, the same operands on the host, in float16, float32 or float64; bfloat16 has to be widened.
    """

    tensors: Tensors
    x: Any
    w: Any


def judge_on_device(case: Case, operands: OnDevice, output: Any, numerics: Numerics) -> Judgement | None:
    """Judge the forward output of a case, which lies on the device in the case's dtype, or as float32 where that is bfloat16.

    Returns:
        What :meth:`.Judge.judge` returns, bit for bit, where the output agrees. ``None`` where the host has to judge: something is
        off or not finite, the dtype is another, or the declaration has a term that is not computed on the device.
    """
    config, tensors = case.config, operands.tensors
    there = arrays.found(output)
    if not isinstance(there, DeviceArray) or there.shape != config.output_shape or not there.size:
        return None
    numbers = _numbers(config, numerics, tensors, exact=case.recipe.has_integers)
    wanted = "float32" if config.dtype == "bfloat16" else config.dtype
    if numbers is None or there.memory.dtype != wanted:
        return None
    magnitude, smeared = magnitudes(config, tensors, "forward")
    if smeared.any():
        return None
    found = _compared(config, operands, there, magnitude, numbers)
    if found is None or found[STRANGE] or found[OVER]:
        return None
    if case.recipe.has_integers:
        return Judgement(verdict=Verdict.AGREE, discrepancy=Discrepancy(elements=there.size))
    return Judgement(verdict=Verdict.AGREE, discrepancy=_discrepancy(config, found))


def _numbers(config: ConvConfig, numerics: Numerics, tensors: Tensors, *, exact: bool) -> Float64Array | None:
    """Return what :func:`.device_kernels.compare` calls *numbers*; ``None`` where it has no place for what is declared."""
    if config.dtype not in _DTYPES or not config.is_valid:
        return None
    declared = declared_numbers(config.dtype, config.dims, numerics, has_bias=tensors.b is not None)
    if declared is None:
        return None
    numbers = declared.copy()
    numbers[EXACT] = exact
    given = tensors.named().values()
    if numbers[FLUSHED] and any(_are_outside(array, component_format(config.dtype).tiny, math.inf) for array in given):
        return None
    if numerics.inputs != "exact":
        form = INPUT_ROUNDINGS[numerics.inputs].form
        if any(_are_outside(array, form.tiny, form.max) for array in given):
            return None
    return numbers


def _are_outside(array: npt.NDArray[Any], least: float, most: float) -> bool:
    """Whether a finite operand is not within a normal range; 0 is in each."""
    size = np.abs(array.astype(np.float64))
    return bool(np.any((size > 0.0) & ((size < least) | (size > most)) & np.isfinite(size)))


class _Captured(Cuda):
    """A device that adds nothing, and keeps what it was to add."""

    source: DeviceArray
    rows: DeviceArray
    plans: Plans

    def sum_taps(self, source: DeviceArray, rows: DeviceArray, plans: Plans, mode: int) -> Float64Array:
        """Take down the operands of the contraction, and return memory that nobody looks at."""
        self.source, self.rows, self.plans = source, rows, plans
        groups, rows_per_group = rows.shape[:2]
        return np.zeros((mode, source.shape[0], groups * rows_per_group, *(plan.target for plan in plans)))


def _compared(
    config: ConvConfig, operands: OnDevice, output: DeviceArray, magnitude: npt.NDArray[Any], numbers: Float64Array
) -> Float64Array | None:
    """Return one line of what :mod:`.device_kernels` calls *found*, for the whole output; ``None`` where no element has a tap."""
    captured = _Captured()
    passes.reference(config, arrays.found(operands.x), arrays.found(operands.w), device=captured)
    source, rows, plans = captured.source, captured.rows, captured.plans
    if not (source.size and rows.size and all(plan.phases for plan in plans)):
        return None
    batch, (groups, rows_per_group, fan) = source.shape[0], rows.shape[:3]
    shape = (batch, groups, rows_per_group, *(plan.target for plan in plans))
    b = operands.tensors.b
    bias = np.zeros(1) if b is None else b.astype(np.float64)
    maps = np.broadcast_to(magnitude.reshape(magnitude.shape[: magnitude.ndim - config.dims] or (1,)), (batch, groups * rows_per_group))
    lines = min(output.size, _SIMULATED_THREADS if SIMULATED else _THREADS)
    found = cuda.to_device(_nothing(lines))
    given = [cuda.to_device(np.ascontiguousarray(values)) for values in (bias, maps.reshape(-1), numbers)]
    taps = fan * math.prod(max(phase.kernel.size for phase in plan.phases) for plan in plans)
    tile = max(_TILE_PRODUCTS // taps, lines)
    for first in range(0, output.size, tile):
        launch(
            compare, lines, source.memory, source.strides, source.shape[3:], rows.memory, rows.strides, fan, *tables(plans),
            output.memory, output.reshape(*shape).strides, shape, *given, first, min(first + tile, output.size), found,
        )  # fmt: skip
    gathered = cuda.to_device(_nothing(min(lines, _SIMULATED_THREADS if SIMULATED else _LINES)))
    launch(gather, gathered.shape[0], found, gathered)
    few, result = gathered.copy_to_host(), _nothing(1)
    for line in range(few.shape[0]):
        merge_lines(result, 0, few, line)
    whole: Float64Array = result[0]
    return whole


def _nothing(lines: int) -> Float64Array:
    found = np.zeros((lines, len(device_kernels.FOUND)))
    found[:, [AT, RATIO_AT]] = -1.0
    return found


def _discrepancy(config: ConvConfig, found: Float64Array) -> Discrepancy:
    shape, form = config.output_shape, component_format(config.dtype)
    y, error = float(found[Y_AT]), float(found[ERROR])
    return Discrepancy(
        elements=math.prod(shape),
        max_abs=Real(error),
        index=index_of(int(found[AT]), shape),
        expected=Real(y),
        actual=Real(found[ACTUAL_AT]),
        ulps=Real(error / float(form.spacing(np.asarray(y)))) if error else Real(0),
        u_s=Real(found[UNITS]),
        ratio=Real(found[RATIO]),
        ratio_index=index_of(int(found[RATIO_AT]), shape),
        required_rtol=Real(found[RELATIVE]),
    )
