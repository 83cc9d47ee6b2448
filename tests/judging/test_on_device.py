"""Judging on a CUDA device beside judging on the host: the same judgement to the last bit, or none.

Where there is no device, the first test runs the others in Numba's simulator, as in ``tests/oracle/test_cuda.py``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numba.cuda
import numpy as np
import numpy.typing as npt
import pytest
from numba import types
from numba.cuda.cudadrv import nvvm
from sampling import sample

from convfuzz.case import Case
from convfuzz.case.dtypes import component_format, numpy_dtype
from convfuzz.judging import device_kernels
from convfuzz.judging import on_device as judging_on_device
from convfuzz.judging.judge import Judge
from convfuzz.judging.numerics import Numerics
from convfuzz.judging.on_device import OnDevice, judge_on_device
from convfuzz.oracle import cuda, reference
from convfuzz.oracle.cuda import kernels
from convfuzz.oracle.cuda.arrays import DeviceArray
from convfuzz.strategies import cases
from convfuzz.tensors.generator import Tensors, make_tensors
from convfuzz.verdicts import Verdict

elsewhere = pytest.mark.skipif(kernels.SIMULATED, reason="nothing that the simulator changes")
on_device = pytest.mark.skipif(cuda.device_name() is None, reason="no CUDA device here; the test in the simulator runs this one")
CASES = 150
DECLARED = (
    Numerics(),
    Numerics(algorithm="transform", bias="separate", inputs="tfloat32-truncated", truncates=True, flushes_subnormals=True),
    Numerics(algorithm="transform", bias="separate", accumulator="float64"),
    Numerics(inputs="bfloat16", flushes_subnormals=True),
)
TORCH_CUDA = DECLARED[1]


@elsewhere
def test_all_of_this_holds_in_the_simulator() -> None:
    """The tests of this file pass where device code runs as Python, on whatever machine."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    child = subprocess.run(command, env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stdout + child.stderr
    assert not re.search("no CUDA device", child.stdout), child.stdout


def there(array: npt.NDArray[Any], *, last: bool = False) -> DeviceArray:
    """Return an array on the device, bfloat16 widened; with its second axis ``last`` in memory."""
    wide = array.astype(np.float32) if array.dtype == ml_dtypes.bfloat16 else array
    if not last:
        return DeviceArray.copied(np.ascontiguousarray(wide))
    laid = np.ascontiguousarray(np.moveaxis(wide, 1, -1))
    return DeviceArray(numba.cuda.to_device(laid.reshape(-1)), np.moveaxis(np.empty(laid.shape, np.int8), -1, 1))


def honest(case: Case, tensors: Tensors, rng: np.random.Generator) -> npt.NDArray[Any]:
    """Return an output that is off by a unit in the last place here and there, or by nothing where sums are integers."""
    y = reference(case.config, tensors.x, tensors.w, tensors.b, moments=False).y
    if not case.recipe.has_integers:
        with np.errstate(invalid="ignore", over="ignore"):
            y = y + component_format(case.config.dtype).spacing(y) * rng.choice([0.0, 0.5, -0.5], y.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        return y.astype(numpy_dtype(case.config.dtype))


@on_device
def test_the_judgement_is_the_hosts_to_the_last_bit() -> None:
    """Over drawn layers, regimes and declarations an output is judged as on the host, or not at all, and most are judged."""
    judged: Counter[str] = Counter()
    rng = np.random.default_rng(1)
    space = cases(dtypes=("float32", "float16", "bfloat16"), grad=(False,), max_flops=600, max_elements=100)
    for case in sample(space, CASES, seed=20261129):
        tensors = make_tensors(case)
        judge = Judge(case, tensors)
        output, numerics = honest(case, tensors, rng), DECLARED[rng.integers(len(DECLARED))]
        on_host = judge.judge(output, numerics)
        operands = OnDevice(tensors, there(tensors.x), there(tensors.w))
        found = judge_on_device(case, operands, there(output), numerics)
        assert found is None or found == on_host, (case, numerics)
        judged["not at all" if found is None else "alike"] += 1
        if output.size:
            output.reshape(-1)[rng.integers(output.size)] = rng.choice([np.nan, np.inf, 77.0, -1e3])
            on_host, found = judge.judge(output, numerics), judge_on_device(case, operands, there(output), numerics)
            assert found is None or found == on_host, (case, numerics)
            judged["wrong"] += on_host.verdict.failing
    assert judged["alike"] > CASES // 2, judged
    assert judged["wrong"] > CASES // 2, judged


@on_device
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("wrong", [False, True])
def test_a_mistake_is_left_to_the_host_wherever_it_is(wrong: bool, last: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001 - parameters
    """The first, the last or any element that is off, in any tile, has the host judge, whatever the output's memory layout."""
    monkeypatch.setattr(judging_on_device, "_TILE_PRODUCTS", 1)  # then a tile has an element for each thread
    case = Case.parse("conv2d_n2_c2_o4_g2_i4x3_k2_p1_b_f32@normal.5")
    tensors = make_tensors(case)
    output = reference(case.config, tensors.x, tensors.w, tensors.b).y.astype(np.float32)
    operands = OnDevice(tensors, there(tensors.x), there(tensors.w))
    on_host = Judge(case, tensors).judge(output, TORCH_CUDA)
    if not wrong:
        assert judge_on_device(case, operands, there(output, last=last), TORCH_CUDA) == on_host
        return
    for element in (0, 17, output.size - 1):
        off = output.copy()
        off.reshape(-1)[element] += 1.0
        assert judge_on_device(case, operands, there(off, last=last), TORCH_CUDA) is None


@on_device
def test_what_is_not_computed_there_is_not_judged_there() -> None:
    """Wider dtypes, 16-bit accumulators, another shape or dtype, and NaN in an operand are for the host."""
    case = Case.parse("conv1d_c2_o2_i4_k2_f32@normal.1")
    tensors = make_tensors(case)
    output = reference(case.config, tensors.x, tensors.w).y.astype(np.float32)
    operands = OnDevice(tensors, there(tensors.x), there(tensors.w))
    assert judge_on_device(case, operands, there(output), Numerics()) is not None
    assert judge_on_device(case, operands, there(output), Numerics(accumulator="float16")) is None
    assert judge_on_device(case, operands, there(output[..., :1]), Numerics()) is None
    assert judge_on_device(case, operands, there(output.astype(np.float64)), Numerics()) is None
    wide = Case.parse("conv1d_c2_o2_i4_k2_f64@normal.1")
    assert judge_on_device(wide, operands, there(output), Numerics()) is None
    tensors.w[0, 0, 0] = np.nan
    assert judge_on_device(case, OnDevice(tensors, there(tensors.x), there(tensors.w)), there(output), Numerics()) is None


@on_device
def test_integers_are_compared_for_equality() -> None:
    """Sums of integers agree when every bit does; half a unit off is for the host."""
    case = Case.parse("conv2d_c3_o2_i4_k3_p1_f16@integers.2")
    tensors = make_tensors(case)
    output = reference(case.config, tensors.x, tensors.w).y.astype(np.float16)
    operands = OnDevice(tensors, there(tensors.x), there(tensors.w))
    found = judge_on_device(case, operands, there(output), TORCH_CUDA)
    assert found == Judge(case, tensors).judge(output, TORCH_CUDA)
    assert found is not None
    assert found.verdict is Verdict.AGREE
    output.reshape(-1)[3] += 1
    assert judge_on_device(case, operands, there(output), TORCH_CUDA) is None


@elsewhere
@pytest.mark.skipif(not nvvm.is_available(), reason="no libNVVM here, which compiles device code without a device")
@pytest.mark.parametrize("element", ["float32", "float16"])
def test_compiled_code_rounds_every_product(element: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels compile; in their PTX no product is left to be fused, and division and square root are rounded to nearest."""
    monkeypatch.setattr("numba.cuda.dispatcher.get_current_device", lambda: SimpleNamespace(compute_capability=(9, 0)))
    memory, numbers, tables = (
        types.Array(getattr(types, element), 1, "C"),
        types.Array(types.float64, 1, "C"),
        types.Array(types.int64, 2, "C"),
    )
    six, found = types.UniTuple(types.int64, 6), types.Array(types.float64, 2, "C")
    operands = (memory, six, types.UniTuple(types.int64, 3), memory, six, types.int64, tables, tables)
    signature = (*operands, memory, six, six, numbers, numbers, numbers, types.int64, types.int64, found)
    ptx, _ = numba.cuda.compile_ptx(device_kernels.compare.py_func, signature, cc=(9, 0))
    used = set(re.findall(r"\b(?:mul|mad|div|sqrt)[.\w]*\.f(?:16|32|64)\b", ptx))
    assert used == {"mul.rn.f64", "div.rn.f64", "sqrt.rn.f64"}
    assert numba.cuda.compile_ptx(device_kernels.gather.py_func, (found, found), cc=(9, 0))
