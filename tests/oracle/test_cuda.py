"""The reference on a CUDA device against the one on the CPU: the same bits; and what becomes of a process that loses its device.

Where there is no device, the first test runs the others in Numba's simulator. That has to be switched on before Numba is
imported, hence in a process of its own; functions for the CPU are compiled there as ever.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import ml_dtypes
import numba.cuda
import numpy as np
import numpy.typing as npt
import pytest
from numba import types
from numba.cuda.cudadrv import nvvm

import convfuzz
from convfuzz import Case
from convfuzz.backends import cuda as cuda_backends
from convfuzz.backends import resolve
from convfuzz.backends.cuda import device_work, kernel_work
from convfuzz.case.config import ConvConfig
from convfuzz.errors import BackendError, Unsupported
from convfuzz.oracle import Expectation, cuda, gradients, reference
from convfuzz.oracle.cuda import arrays, kernels
from convfuzz.oracle.jit import compiled, fma
from convfuzz.processes.sandbox import Sandbox
from convfuzz.verdicts import Verdict

from .layers import normal

DEVICE = cuda.device_name()
elsewhere = pytest.mark.skipif(kernels.SIMULATED, reason="nothing that the simulator changes")
on_device = pytest.mark.skipif(DEVICE is None, reason="no CUDA device here; the test in the simulator runs this one")

LAYERS = [
    "conv1d_n2_c2_o3_i5_k3_p1_b",
    "conv1d_n-_c1_o2_i5_k2_s2_p0:1",
    "conv1d_c1_o1_i6_k2_s3_d2_p2",
    "conv1d_c1_o1_i2_k1_p2",  # windows wholly inside the padding
    "conv1d_n0_c2_o2_i4_k2",
    "conv1d_n2_c0_o2_i4_k2_b",
    "conv2d_c4_o2_i3_k2_g2_p1_b",
    "conv2d_c1_o2_i4x3_k2x3_s1x2_d2x1_p1:2x0:1",
    "conv2d_c1_o1_i5_k2_p-1:0x0:-2",
    "conv2d_c1_o1_i3_k2_p1_pmreflect",
    "conv2d_n2_c1_o1_i3_k2_p1:0x2:1_pmcircular",
    "conv1d_c2_o1_i3_k3_s2_p2_pmreplicate_b",
    "conv1d_c1_o1_i3_k2_s1073741824_p1073741824_pmcircular",
    "conv3d_c2_o2_i2x3x2_k2x1x2_g2_p1x0x0",
    "convt1d_n2_c2_o1_i3_k3_s2_p1_op1_b",
    "convt1d_c1_o1_i2_k1_s3_op2",  # elements without a tap
    "convt2d_c2_o4_i2_k2_s2x1_g2_d1x2",
    "convt2d_c1_o1_i3_k2_p-1:0x1:0",
    "convt3d_c1_o1_i2_k2_s1x2x1_b",
]
PADDED = ["conv2d_c2_o2_i3_k3_p1_b", "convt1d_n2_c2_o2_i3_k2_s2_p1_b"]
DTYPES = ["f32", "f64"]


@elsewhere
def test_all_of_this_holds_in_the_simulator() -> None:
    """The tests of this file pass where device code runs as Python, on whatever machine."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    child = subprocess.run(command, env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stdout + child.stderr
    assert not re.search("no CUDA device", child.stdout), child.stdout


# -- the same bits ---------------------------------------------------------------------------------------------------------


@on_device
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("line", LAYERS)
def test_every_pass_has_the_cpus_bits(line: str, dtype: str) -> None:
    """Value, low word, moments and tap counts of the output and all gradients are those of the CPU, bit for bit."""
    config = ConvConfig.parse(f"{line}_{dtype}")
    assert_same_bits(config, *normal(config, 1, config.dtype))


@on_device
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("line", PADDED)
def test_nan_and_infinity_end_up_where_the_cpu_has_them(line: str, dtype: str) -> None:
    """NaN and Inf in any operand, also where padding meets them, make the same elements NaN and Inf, and no others."""
    config = ConvConfig.parse(f"{line}_{dtype}")
    rng = np.random.default_rng(2)
    for bad in (np.nan, np.inf, -np.inf):
        for victim in range(4):
            operands = [*normal(config, 2, config.dtype), rng.standard_normal(config.out_channels).astype(config.dtype)]
            chosen = operands[victim].reshape(-1)
            chosen[rng.integers(chosen.size, size=2)] = bad, 0.0
            assert_same_bits(config, *operands)


@on_device
@pytest.mark.parametrize("exponent", [-540, -520, 510, 530])
@pytest.mark.parametrize("line", PADDED)
def test_the_ends_of_float64s_range_are_met_alike(line: str, exponent: int) -> None:
    """Products that are subnormal, that vanish, and that overflow leave the CPU's bits in both words."""
    config = ConvConfig.parse(f"{line}_f64")
    operands = (np.ldexp(a, exponent) for a in normal(config, 3, np.float64))
    assert_same_bits(config, *operands)


@on_device
def test_subnormal_operands_are_numbers_like_others() -> None:
    """Subnormal float32 and float64 operands are not taken as zero."""
    for dtype, tiny in (("f32", 2.0**-149), ("f64", 2.0**-1074)):
        config = ConvConfig.parse(f"conv1d_c2_o1_i3_k2_{dtype}")
        x = (np.arange(1, 7).reshape(config.input_shape) * tiny).astype(config.dtype)
        w = np.ones(config.weight_shape, config.dtype)
        assert cuda.reference(config, x, w).y[0, 0, 0] == 1 * tiny + 2 * tiny + 4 * tiny + 5 * tiny
        assert_same_bits(config, x, w, np.ones(config.output_shape))


@on_device
@pytest.mark.parametrize("dtype", ["c64", "c128", "i8", "i64"])
def test_layers_made_of_real_ones_have_the_cpus_bits(dtype: str) -> None:
    """Complex layers, and integer layers that wrap around, come out the same."""
    config = ConvConfig.parse(f"conv1d_c2_o2_i4_k2_p1_b_{dtype}")
    if dtype[0] == "c":
        x, w, dy = (real + 1j * imaginary for real, imaginary in zip(normal(config, 4), normal(config, 5), strict=True))
        assert_same_bits(config, *(a.astype(config.dtype) for a in (x, w, dy)))
    else:
        limits, rng = np.iinfo(config.dtype), np.random.default_rng(4)
        x, w = (rng.integers(limits.min, limits.max, shape, config.dtype) for shape in (config.input_shape, config.weight_shape))
        assert_same(cuda.reference(config, x, w), reference(config, x, w))


def assert_same_bits(config: ConvConfig, x: Any, w: Any, dy: Any, b: Any = None) -> None:
    """Compare every pass with the CPU's, with moments and without."""
    if b is None and config.bias:
        b = np.random.default_rng(9).standard_normal(config.out_channels).astype(config.dtype)
    for moments in (True, False):
        assert_same(cuda.reference(config, x, w, b, moments=moments), reference(config, x, w, b, moments=moments))
    found, expected = cuda.gradients(config, x, w, dy), gradients(config, x, w, dy)
    assert found.keys() == expected.keys()
    for name in expected:
        assert_same(found[name], expected[name])


def assert_same(found: Expectation, expected: Expectation) -> None:
    """Compare bits; a NaN is a NaN, whose sign and payload IEEE 754 leaves open."""
    for name in ("y", "y_lo", "S", "Q", "n"):
        a, b = getattr(found, name), getattr(expected, name)
        if b is None:
            assert a is None, name
            continue
        assert a.dtype == b.dtype, name
        np.testing.assert_array_equal(a, b, name, strict=True)
        assert (np.signbit(a) == np.signbit(b))[~np.isnan(b)].all(), name


# -- the arithmetic ----------------------------------------------------------------------------------------------------------


@elsewhere
def test_the_simulators_fused_multiply_add_is_the_processors() -> None:
    """a·b + c by rational numbers has the bits of the instruction: cancelling, subnormal, overflowing, zero and non-finite."""
    rng = np.random.default_rng(0)
    special = [0.0, -0.0, 1.0, -1.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, np.inf, -np.inf, np.nan]
    triples = [(a, b, c) for a in special for b in special for c in special]
    for _ in range(2000):
        a, b = (float(np.ldexp(rng.standard_normal(), rng.integers(-600, 600))) for _ in range(2))
        with np.errstate(over="ignore"):
            triples += [(a, b, -a * b), (a, b, float(np.ldexp(rng.standard_normal(), rng.integers(-1000, 1000))))]
    a, b, c = np.array(triples).T
    expected = np.empty(a.size)
    _fma_of_each(a, b, c, expected)
    found = np.array([kernels.exact_fma(*triple) for triple in triples])
    same = (found.view(np.int64) == expected.view(np.int64)) | (np.isnan(found) & np.isnan(expected))
    assert same.all(), [triples[i] for i in np.flatnonzero(~same)[:5]]


@compiled
def _fma_of_each(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], c: npt.NDArray[np.float64], result: npt.NDArray[np.float64]
) -> None:
    for i in range(a.size):
        result[i] = fma(a[i], b[i], c[i])


@elsewhere
@pytest.mark.skipif(not nvvm.is_available(), reason="no libNVVM here, which compiles device code without a device")
@pytest.mark.parametrize("element", ["float64", "float32", "float16", "int8", "int32"])
def test_compiled_code_fuses_nothing_by_itself(element: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the PTX of the sums every product has its own rounding, and no fused multiply-add is left without the one asked for."""
    monkeypatch.setattr("numba.cuda.dispatcher.get_current_device", lambda: SimpleNamespace(compute_capability=(8, 0)))
    memory, tables = types.Array(getattr(types, element), 1, "C"), types.Array(types.int64, 2, "C")
    strides, size = types.UniTuple(types.int64, 6), types.UniTuple(types.int64, 3)
    signature = (memory, strides, size, memory, strides, types.int64, tables, tables, types.Array(types.float64, 7, "C"))
    ptx, _ = numba.cuda.compile_ptx(kernels.sum_taps.py_func, signature, cc=(8, 0))
    used = set(re.findall(r"\b(?:fma|mul|mad|add|sub)[.\w]*\.f(?:16|32|64)\b", ptx))
    assert used == {"add.f64", "sub.f64", "mul.rn.f64", "fma.rn.f64"}
    # Every subtraction belongs to the addition of a product in double-double, six to one fused multiply-add.
    assert len(re.findall(r"\bsub\.f64\b", ptx)) == 6 * len(re.findall(r"\bfma\.rn\.f64\b", ptx))


# -- operands on the device ----------------------------------------------------------------------------------------------------


class Exported:
    """An array whose memory is on the device, as another library would hand it over: with ``__cuda_array_interface__`` alone."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        buffer = array if array.base is None else array.base
        start = array.__array_interface__["data"][0] - buffer.__array_interface__["data"][0]
        self._keep = buffer if kernels.SIMULATED else numba.cuda.to_device(buffer.view(np.uint8).reshape(-1))
        held = self._keep.__array_interface__ if kernels.SIMULATED else self._keep.__cuda_array_interface__
        typestr = "<V2" if array.dtype == ml_dtypes.bfloat16 else array.dtype.str
        self.__cuda_array_interface__ = {
            "shape": array.shape, "strides": array.strides, "typestr": typestr, "data": (held["data"][0] + start, False), "version": 3,
        }  # fmt: skip


@pytest.fixture(autouse=True)
def _simulated_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the simulator the import that it lacks: the memory that an interface points to is the host's there."""
    if kernels.SIMULATED:
        fake = numba.cuda.devicearray.FakeCUDAArray
        monkeypatch.setattr(
            numba.cuda,
            "from_cuda_array_interface",
            lambda described, owner: fake(np.asarray(SimpleNamespace(__array_interface__=described, owner=owner))),
            raising=False,
        )


@on_device
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32, np.uint8])
def test_operands_on_the_device_are_read_where_they_lie(dtype: type) -> None:
    """Operands there, contiguous, channels last or with gaps, give the bits of their copies on the host, uncopied."""
    config = ConvConfig.parse("conv2d_n2_c2_o2_i3_k2_p1_f64")
    x, w, dy = (np.abs(np.rint(4 * a)).astype(dtype) for a in normal(config, 6))
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    gaps = np.zeros((2, 2, 3, 6), dtype)[..., 1::2]
    gaps[...] = x
    for array in (x, last, gaps):
        there = Exported(array)
        assert isinstance(arrays.found(there), arrays.DeviceArray)
        assert_same(cuda.reference(config, there, Exported(w)), reference(config, x, w))  # type: ignore[arg-type]
        found, expected = cuda.gradients(config, there, w, Exported(dy)), gradients(config, x, w, dy)  # type: ignore[arg-type]
        for name in expected:
            assert_same(found[name], expected[name])


@on_device
def test_a_padding_mode_copies_on_the_device() -> None:
    """An operand that lies there with gaps is padded there."""
    config = ConvConfig.parse("conv2d_c2_o2_i3_k2_p1_pmreflect_f32")
    x, w, _ = normal(config, 6)
    gaps = np.zeros((1, 2, 3, 6), np.float32)[..., ::2]
    gaps[...] = x
    assert_same(cuda.reference(config, Exported(gaps), w), reference(config, x, w))  # type: ignore[arg-type]


@on_device
@pytest.mark.parametrize("dtype", ["bf16", "c64", "i64"])
def test_other_operands_on_the_device_go_by_way_of_the_host(dtype: str) -> None:
    """What kernels cannot read, and a bias, are copied, in any layout."""
    config = ConvConfig.parse(f"conv2d_c2_o2_i3_k2_b_{dtype}")
    element = ml_dtypes.bfloat16 if dtype == "bf16" else config.dtype
    x, w, _ = (np.rint(4 * a).astype(element) for a in normal(config, 7))
    b = np.arange(2).astype(element)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert_same(cuda.reference(config, Exported(last), Exported(w), Exported(b)), reference(config, x, w, b))  # type: ignore[arg-type]


@on_device
def test_wrong_operands_on_the_device_are_refused() -> None:
    """Another shape, and memory in descending order, are named."""
    config = ConvConfig.parse("conv1d_c1_o1_i4_k2_f32")
    x, w = np.zeros((1, 1, 4), np.float32), np.zeros((1, 1, 2), np.float32)
    with pytest.raises(ValueError, match=r"x has shape \(1, 1, 3\), the configuration says \(1, 1, 4\)"):
        cuda.reference(config, Exported(x[..., :3]), w)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"strides \(16, 16, -4\) .* make the array contiguous"):
        cuda.reference(config, Exported(x[..., ::-1]), w)  # type: ignore[arg-type]


# -- the backend and its process ---------------------------------------------------------------------------------------------


@on_device
@pytest.mark.parametrize(
    "line", ["conv2d_c2_o2_i3_k2_p1_b_f32_grad@normal.1", "convt1d_c1_o2_i3_k2_s2_c64@normal.1", "conv1d_c2_o1_i4_k2_i8@integers.1"]
)
def test_the_backend_returns_what_the_cpus_does(line: str) -> None:
    """Every pass is rounded to the same array, and the versions say which device it was."""
    backend = resolve("reference:cuda")
    assert backend.versions["CUDA device"] == DEVICE
    result = convfuzz.check(line, ["reference", backend])
    assert [r.verdict for r in result.results] == [Verdict.AGREE] * 2
    assert {distance for *_, distance in result.pairs} == {0.0}


@pytest.mark.skipif(DEVICE is not None, reason="there is a device, or a simulated one")
def test_without_a_device_the_backend_says_what_it_needs() -> None:
    """Loading it names the device, the extra to install, and the simulator."""
    with pytest.raises(BackendError, match=r"needs a CUDA device .*convfuzz\[cuda\].*NUMBA_ENABLE_CUDASIM=1"):
        resolve("reference:cuda")


@elsewhere
def test_preloading_leaves_the_driver_alone() -> None:
    """What the forkserver imports for the backend does not even load Numba's CUDA target: a context would not survive the fork."""
    code = "import sys, convfuzz.processes.preload; print('numba.cuda' in sys.modules)"
    environment = os.environ | {"CONVFUZZ_PRELOAD": "reference:cuda"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout == "False\n"


class LaunchError(RuntimeError):
    """What a device raises from then on."""


def lost() -> NoReturn:
    """Wait for a device whose context is lost."""
    raise LaunchError("an illegal memory access was encountered")


@pytest.fixture
def _context_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the process forget afterwards that it has lost its context."""
    monkeypatch.setattr(cuda_backends._Context, "lost", "")


@elsewhere
@pytest.mark.usefixtures("_context_kept")
def test_a_lost_context_is_told_from_other_errors() -> None:
    """An error is raised either way in a process that nobody replaces; a note says when the device is lost to it."""
    with pytest.raises(ValueError, match="of the caller") as survived, device_work(lambda: None):
        raise ValueError("of the caller")
    assert not hasattr(survived.value, "__notes__")
    with pytest.raises(LaunchError) as fatal, device_work(lost):
        pass
    assert "context of this process is lost" in fatal.value.__notes__[0]


@elsewhere
@pytest.mark.usefixtures("_context_kept")
def test_a_lost_context_is_blamed_once() -> None:
    """Where no process takes this one's place, work that comes after is declined, as the loss is none of its doing."""
    with pytest.raises(LaunchError), device_work(lost):
        pass
    with pytest.raises(Unsupported, match="was lost before, to LaunchError"), device_work(lost):
        pass
    with pytest.raises(Unsupported, match="was lost before"), kernel_work("cuda:0"):
        pass
    with kernel_work("cpu"):  # which needs none
        pass


@elsewhere
@pytest.mark.usefixtures("_context_kept")
def test_what_a_kernel_leaves_running_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that declares no device and has used one is waited for, in PyTorch and in Numba, so that its error is not the next one's."""
    waited = []
    fake = SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: True, synchronize=waited.append))
    monkeypatch.setitem(sys.modules, "torch", fake)
    monkeypatch.setitem(sys.modules, "numba.cuda.cudadrv.driver", SimpleNamespace(driver=SimpleNamespace(is_initialized=True)))
    monkeypatch.setitem(sys.modules, "numba.cuda", SimpleNamespace(synchronize=lambda: waited.append("numba")))
    with kernel_work("cpu"):
        assert waited == []
    assert waited == [None, "numba"]
    with kernel_work("cuda:1"):
        pass
    assert waited[2:] == ["cuda:1", "numba"]
    monkeypatch.setattr(fake.cuda, "synchronize", lambda _: lost())
    with pytest.raises(LaunchError), kernel_work("cpu"):
        pass


KERNEL = """\
from convfuzz.backends.cuda import device_work
from convfuzz.oracle import reference


def conv(x, w, b, config):
    def synchronize():
        if config.in_channels == 2:
            raise RuntimeError("an illegal memory access was encountered")

    with device_work(synchronize):
        return reference(config, x, w, b).y.astype("float32")
"""


def test_a_driver_that_is_not_there_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel of the CPU is not blamed for a driver that something in its process has asked for in vain."""
    driver = SimpleNamespace(is_initialized=True, initialization_error="CUDA driver library cannot be found")
    monkeypatch.setitem(sys.modules, "numba.cuda.cudadrv.driver", SimpleNamespace(driver=driver))
    monkeypatch.setitem(sys.modules, "numba.cuda", SimpleNamespace())  # which has nothing to wait with
    with kernel_work("cpu"):
        pass


@elsewhere
def test_a_process_whose_context_is_lost_is_replaced(tmp_path: Path) -> None:
    """A backend that loses its device is a crash with the reason in the log, and the next case runs in another process."""
    (tmp_path / "kernel.py").write_text(KERNEL)
    name, log = f"{tmp_path / 'kernel.py'}::conv", tmp_path / "log"
    sandbox = Sandbox([name], None, log)
    try:
        verdicts = [sandbox.evaluate(Case.parse(f"conv1d_c{c}_o1_i4_k2_f32@integers.8"), name).verdict for c in (1, 2, 1)]
    finally:
        sandbox.close()
    assert verdicts == [Verdict.AGREE, Verdict.CRASH, Verdict.AGREE]
    assert "Fatal Python error: CUDA context lost: RuntimeError: an illegal memory access" in log.read_text()
