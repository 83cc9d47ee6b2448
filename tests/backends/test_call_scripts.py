"""A backend's ``script()`` computes what its ``run()`` does, bit for bit and without convfuzz: both are the same source."""

from __future__ import annotations

import operator
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sampling import sample

from convfuzz import Case
from convfuzz.backends import Backend, Scripted, resolve
from convfuzz.backends.source import CallSource
from convfuzz.backends.torch.functional import _MODES, _flags
from convfuzz.case.dtypes import FLOATING
from convfuzz.strategies import cases
from convfuzz.tensors.generator import Array, make_tensors

from .frameworks import ADAPTERS, RUNTIMES, SMALL, may_kill, share_of, unrepeated

Write = Callable[..., str]

FORWARD: dict[str, Any] = {"ops": ("conv",), "grad": (False,), "dtypes": FLOATING}
"""What a kernel that declares nothing is asked for."""

KERNELS = '''
import numpy as np

def plain(x, w, b, config):
    """Sum strided views, so that the result depends on values only, and show that the layout is the case's."""
    x = x if config.batch is not None else x[None]
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *[(max(lo, 0), max(hi, 0)) for lo, hi in config.pads]])
    crop = tuple(slice(max(-lo, 0), size - max(-hi, 0)) for (lo, hi), size in zip(config.pads, x.shape[2:]))
    x = x[(slice(None), slice(None), *crop)]
    sizes = config.output_shape[-config.dims:]
    y = np.zeros((x.shape[0], config.out_channels, *sizes))
    width, rows = config.in_channels // config.groups, config.out_channels // config.groups
    with np.errstate(all="ignore"):
        for tap in np.ndindex(config.kernel_size):
            at = tuple(slice(t * d, t * d + (n - 1) * s + 1, s) for t, d, s, n in zip(tap, config.dilation, config.stride, sizes))
            for o in range(config.out_channels):
                for c in range(width):
                    y[:, o] += x[(slice(None), o // rows * width + c, *at)] * float(w[(o, c, *tap)])
        if b is not None:
            y += b.astype(np.float64).reshape(-1, *[1] * config.dims)
        y = y.astype(np.float32).astype(w.dtype)
    return y if config.batch is not None else y[0]

def strides(x, w, b, config):
    """Return the layout of the arguments in place of a result."""
    return np.array([s // a.itemsize for a in (x, w) for s in a.strides], np.float64).astype(w.dtype)

def attributes(x, w, b, config):
    """Use every public attribute of a configuration."""
    names = ("op dims batch in_channels out_channels groups input_size kernel_size stride padding padding_mode dilation output_padding "
             "bias dtype layout weight_layout flaw pads input_shape weight_shape output_shape padded_shape flops nbytes working_nbytes "
             "is_valid invalid_reason is_extreme effective_kernel output_size taps")
    return np.array([len(repr(getattr(config, name))) for name in names.split()], np.float64)
'''


def handed(case: Case) -> list[Array | None]:
    """Return the case's tensors as a script has them: as they are, but bfloat16 as its bits."""
    tensors = make_tensors(case)
    arrays = [tensors.x, tensors.w, tensors.b, *([tensors.dy] if case.grad else [])]
    return [a.view(np.uint16) if a is not None and a.dtype.name == "bfloat16" else a for a in arrays]


@dataclass(frozen=True)
class Elsewhere:
    """A backend whose script runs in another place than it says."""

    backend: Any
    place: str
    other: str

    def script(self, case: Case) -> str:
        """Return the script for the other place."""
        source: str = self.backend.script(case)
        assert self.place in source
        return source.replace(self.place, self.other)


def written(backend: Backend | Elsewhere, case: Case) -> dict[str, Array]:
    """Run the backend's script on the case's data and return its results by pass."""
    assert isinstance(backend, Scripted)
    scope: dict[str, Any] = {"np": np}
    source = backend.script(case)
    assert source is not None
    exec(source, scope)  # noqa: S102 - that is what a script is for
    results = scope["run"](*handed(case))
    return results if case.grad else {"forward": results}


def same(script: dict[str, Array], direct: dict[str, Array]) -> bool:
    """Compare the results of every pass, dtypes and bits; bfloat16 is float32 in a script."""
    if script.keys() != direct.keys():
        return False
    for name, array in direct.items():
        held = np.dtype(np.float32) if array.dtype.name == "bfloat16" else array.dtype
        if script[name].dtype != held or not same_bits(script[name], array):
            return False
    return True


def same_bits(a: Array, b: Array) -> bool:
    """Compare two results bit by bit, in float64 or their own wider dtype, all NaN alike."""
    if a.dtype.kind == "c":
        return same_bits(a.real, b.real) and same_bits(a.imag, b.imag)
    if a.dtype.kind == "i":
        return np.array_equal(a, b)
    with np.errstate(all="ignore"):
        left, right = a.astype(np.float64), b.astype(np.float64)
    zeros_alike = np.signbit(left) == np.signbit(right) if left.shape == right.shape else np.False_
    return np.array_equal(left, right, equal_nan=True) and bool(np.all(zeros_alike | np.isnan(left)))


@pytest.fixture
def _settings_kept() -> Iterator[None]:
    """Undo what a script sets in ``torch.backends`` for its whole process."""
    torch = sys.modules.get("torch")
    flags = {} if torch is None else {"mkldnn.enabled": None} | _flags(_MODES["cuda"])
    before = {flag: operator.attrgetter(flag)(torch.backends) for flag in flags}
    yield
    for flag, value in before.items():
        owner, _, name = flag.rpartition(".")
        setattr(operator.attrgetter(owner)(torch.backends), name, value)


def disagreements(backend: Backend, examples: int, **options: Any) -> list[str]:
    """Return the drawn cases on which script and backend differ, in a pass that the framework repeats bit for bit."""
    found: list[str] = []
    for case in sample(cases(**{**SMALL, **options}), examples, seed=7):
        if not backend.supports(case) or may_kill(backend.name, case):
            continue
        try:
            direct = backend.run(case, make_tensors(case))
        except Exception as error:  # noqa: BLE001 - a framework's own defect: the script has to show it too
            with pytest.raises(type(error)):
                written(backend, case)
            continue
        has_shapes = all(array.shape == case.shape_of(in_pass) for in_pass, array in direct.items())
        if "+split" in backend.name and not has_shapes:  # a part has another one, and no place
            with pytest.raises(AssertionError):
                written(backend, case)
        elif not same(script := written(backend, case), direct):
            known = unrepeated(backend.name, case)
            repeated = [{in_pass: array for in_pass, array in results.items() if in_pass not in known} for results in (script, direct)]
            if script.keys() != direct.keys() or not same(*repeated):
                found.append(str(case))
    return found


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning")  # a module without input channels
@pytest.mark.usefixtures("_settings_kept")
@pytest.mark.parametrize("variant", ["", "+split"])
@pytest.mark.parametrize("name", sorted({*ADAPTERS} - {"torch:avx2"}))
def test_script_computes_the_same_bits_as_the_adapter(name: str, variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On drawn cases of every dtype, layout and padding, the script's result is the adapter's, bit for bit.

    PyTorch's own kernels end in matrix products whose rounding depends on where an operand starts in memory, so that
    theirs are compared on integers, which no order of summation rounds.
    """
    torch = pytest.importorskip("torch", reason="the scripts are torch's") if name.startswith("torch") else None
    framework = pytest.importorskip(name.partition(":")[0], reason="the framework is what is written down")
    if name.startswith("tensorflow"):  # its threads run already in this process; a script's own process has them to choose
        for setting in ("set_intra_op_parallelism_threads", "set_inter_op_parallelism_threads"):
            monkeypatch.setattr(framework.config.threading, setting, lambda _: None)
    if torch is not None:
        torch.backends.mkldnn.enabled = name != "torch:native"
    options = {"regimes": ("integers",)} if name == "torch:native" else {}
    assert disagreements(resolve(name + variant), share_of(name, 60 if variant else 120, 8), **options) == []


@pytest.mark.usefixtures("_settings_kept")
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("relation", ["zero-stuffed", "subsampled", "padded", "permuted", "adjoint", "split-batch+padded"])
def test_script_of_a_relation_computes_the_same_bits(relation: str) -> None:
    """Where a parameter is restated by other means the script restates it in the same way, on integers in every pass."""
    torch = pytest.importorskip("torch", reason="the scripts are torch's")
    torch.backends.mkldnn.enabled = True
    backend = resolve(f"torch+{relation}")
    run = 0

    class Counted:
        """The backend, which counts how often it runs."""

        name = backend.name

        def __getattr__(self, name: str) -> Any:
            return getattr(backend, name)

        def run(self, case: Case, tensors: Any) -> Any:
            nonlocal run
            run += 1
            return backend.run(case, tensors)

    assert disagreements(Counted(), 400, regimes=("integers",)) == []
    assert run > 20, "the relation hardly ever applies"


TWO_CALLS = ["conv2d_n2_c2_o2_i9_k3_s2_p1_d2_b_f32@integers.1", "convt1d_n2_c4_o4_i9_k3_s2_p1:2_b_bf16_grad@integers.1"]


@pytest.mark.usefixtures("_settings_kept")
@pytest.mark.parametrize(
    "name",
    [
        *sorted({*ADAPTERS} - {"torch:avx2", "tensorflow:native"}),
        *RUNTIMES,
        *(f"torch+{relation}" for relation in ("zero-stuffed", "subsampled", "padded", "permuted", "adjoint")),
        "::plain",
        "::plain+permuted",
    ],
)
def test_a_backend_runs_the_source_that_its_script_shows(name: str, kernel_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever source a backend executes for a case is in the script of the case, word for word."""
    executed: list[str] = []
    function = CallSource.function

    def recorded(self: CallSource, name: str, given: Any) -> Any:
        executed.append(str(self))
        return function(self, name, given)

    monkeypatch.setattr(CallSource, "function", recorded)
    kernel = name.startswith("::")
    if not kernel:
        pytest.importorskip(name.partition(":")[0].partition("+")[0], reason="the framework is what is called")
    backend = resolve(f"{kernel_file(KERNELS)}{name}" if kernel else name)
    assert isinstance(backend, Scripted)
    at_start, ran = list(executed), 0
    for case in map(Case.parse, TWO_CALLS):
        if not backend.supports(case) or (kernel and case.config.op != "conv"):
            continue
        executed[:] = []
        backend.run(case, make_tensors(case))
        script = backend.script(case)
        assert script is not None
        assert executed, "the backend runs something else than source"
        assert [source for source in at_start + executed if source not in script] == []
        ran += 1
    assert ran, "the backend supports none of the cases"


def test_script_of_a_mode_with_an_environment_sets_it_before_the_import(tmp_path: Path) -> None:
    """In a process of its own the script computes what the adapter does, which is not what the default mode does."""
    torch = pytest.importorskip("torch", reason="the script is torch's")
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("this processor has no other kernels")
    case, backend = Case.parse("conv2d_n2_c64_o32_i29_k3_p1_f32@normal.0"), resolve("torch:avx2")
    assert isinstance(backend, Scripted)
    tensors = make_tensors(case)
    checksum = "import sys, zlib; operands = np.load(sys.argv[1]); print(zlib.crc32(run(operands['x'], operands['w'], None).tobytes()))"
    np.savez(tmp_path / "operands.npz", x=tensors.x, w=tensors.w)
    (tmp_path / "script.py").write_text(f"import numpy as np\n{backend.script(case)}\n{checksum}")
    command = [sys.executable, "script.py", "operands.npz"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert int(done.stdout) == zlib.crc32(backend.run(case, tensors)["forward"].tobytes())
    assert int(done.stdout) != zlib.crc32(resolve("torch").run(case, tensors)["forward"].tobytes())


@pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")  # the reference evaluator is NumPy
@pytest.mark.parametrize("name", [*RUNTIMES, "onnxruntime+split", "openvino:f32+split"])
def test_script_of_a_runtime_computes_the_same_bits(name: str) -> None:
    """A runtime's script makes the same ONNX model, weights as initializers or inputs, and runs it with the same settings."""
    pytest.importorskip(name.partition(":")[0].partition("+")[0], reason="the framework is what is written down")
    assert disagreements(resolve(name), 8 if "+" in name else 40, dims=(1, 2), max_flops=20_000) == []


@pytest.mark.usefixtures("_settings_kept")
@pytest.mark.parametrize("mode", ["cuda", "cuda-tf32", "cuda-benchmark", "cuda-deterministic"])
def test_script_of_a_cuda_mode_moves_the_operands_and_sets_the_mode(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA mode's script, run on a CPU in the device's place, computes what PyTorch does there, with the mode's settings."""
    torch = pytest.importorskip("torch", reason="the script is torch's")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a device")
    backend = resolve(f"torch:{mode}")
    for line in ("conv2d_n2_c2_o2_i5_k3_p1_b_f32_nc", "convt2d_n2_c2_o2_i5_k3_b_bf16_grad"):
        case = Case.parse(f"{line}@integers.3")
        on_cpu = Elsewhere(backend, "'cuda'", "'cpu'")
        assert same(written(on_cpu, case), resolve("torch").run(case, make_tensors(case)))
    cudnn = torch.backends.cudnn
    set_to = {"cuda-tf32": cudnn.allow_tf32, "cuda-benchmark": cudnn.benchmark, "cuda-deterministic": cudnn.deterministic}
    assert set_to == {name: name == mode for name in set_to}


@pytest.mark.parametrize("variant", ["", "+split"])
def test_script_of_a_kernel_computes_the_same_bits(kernel_file: Write, variant: str) -> None:
    """A kernel's script loads it from where it lies and gives it the same values in the same dtype."""
    kernel = resolve(f"{kernel_file(KERNELS)}::plain{variant}")
    assert disagreements(kernel, 60, padding_modes=("zeros",), max_flops=20_000, **FORWARD) == []


def test_script_hands_a_kernel_the_case_s_memory_layout(kernel_file: Write) -> None:
    """A kernel sees the same strides in the script, those of axes of one element too."""
    kernel = resolve(f"{kernel_file(KERNELS)}::strides")
    assert disagreements(kernel, 80, max_flops=20_000, **FORWARD) == []


def test_script_hands_a_kernel_the_configuration(kernel_file: Write) -> None:
    """A kernel sees every public attribute of the configuration in the script."""
    kernel = resolve(f"{kernel_file(KERNELS)}::attributes")
    assert disagreements(kernel, 40, max_flops=20_000, **FORWARD | {"dtypes": ("float64", "float32", "float16")}) == []


@pytest.mark.parametrize("declared", ["tensors='torch'", "tensors='torch', out=True", "out=True", "tensors='tensorflow'"])
@pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "bf16"])
def test_script_hands_over_what_the_kernel_declares(kernel_file: Write, declared: str, dtype: str) -> None:
    """Framework tensors and output arrays reach the kernel in the script as they do in convfuzz."""
    for framework in ("torch", "tensorflow"):
        if framework in declared:
            pytest.importorskip(framework, reason="the kernel declares its tensors")
    out = "out=True" in declared
    source = f"""
import convfuzz

@convfuzz.backend({declared})
def kernel(x, w, b, config{", out" if out else ""}):
    assert str(x.dtype).rpartition(".")[2].strip("<>' ").endswith(config.dtype) or config.dtype in repr(x.dtype)
    assert tuple(x.shape) == config.input_shape
    {"out[...] = x * 2" if out else "return x + x"}
"""
    kernel = resolve(f"{kernel_file(source)}::kernel")
    case = Case.parse(f"conv1d_n2_c3_o3_i4_k1_b_{dtype}_cl@normal.3")
    assert same(written(kernel, case), kernel.run(case, make_tensors(case)))


def test_script_loads_the_neighbours_of_a_kernel_file(kernel_file: Write) -> None:
    """A kernel file that imports the file beside it does so in the script too."""
    kernel_file("def shared(x): return x + x\n", "beside_a_scripted_kernel.py")
    source = "from beside_a_scripted_kernel import shared\ndef kernel(x, w, b, config): return shared(x)\n"
    kernel = resolve(f"{kernel_file(source, 'scripted_with_neighbour.py')}::kernel")
    case = Case.parse("conv1d_n2_c3_o3_i4_k1_f32@normal.3")
    direct = kernel.run(case, make_tensors(case))
    del sys.modules["beside_a_scripted_kernel"]
    assert same(written(kernel, case), direct)
    sys.modules.pop("beside_a_scripted_kernel", None)


def test_script_of_a_module_s_kernel_imports_it(kernel_file: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """``package.module::function`` is imported by the script under the same name."""
    kernel_file(KERNELS, "a_scripted_module.py")
    monkeypatch.syspath_prepend(tmp_path)
    kernel = resolve("a_scripted_module::plain")
    case = Case.parse("conv1d_n2_c3_o3_i4_k2_f32@normal.3")
    assert same(written(kernel, case), kernel.run(case, make_tensors(case)))


def test_split_of_what_cannot_be_written_down_has_no_script() -> None:
    """A variant of a backend without a script has none either."""
    split = resolve("reference+split")
    assert isinstance(split, Scripted)
    assert split.script(Case.parse("conv1d_c1_o1_i1_k1_f32")) is None
