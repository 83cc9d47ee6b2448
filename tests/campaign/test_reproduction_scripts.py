"""A finding's script exits 1 while the bug is there and 0 when it is gone, alone and on the very same data."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from convfuzz.strategies import cases
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

import convfuzz
from convfuzz import Case, Finding, Numerics, Verdict
from convfuzz.backends import Backend, resolve
from convfuzz.backends.kernel import KernelBackend
from convfuzz.case import REGIMES
from convfuzz.dtypes import numpy_dtype
from convfuzz.findings import fingerprint
from convfuzz.judging import Judge
from convfuzz.numerics import tolerance
from convfuzz.reproduction import reproduction_script
from convfuzz.tensors import make_tensors

from .kernel_sources import (
    BIAS_ZEROED,
    DROPPED_TAP,
    FIXED,
    INF_INVENTED,
    INPUT_ZEROED,
    NAN_SWALLOWED,
    ONE_ULP_TOO_MUCH,
    TRUNCATED_INPUTS,
    WEIGHT_ZEROED,
    WOBBLES,
    kernel_source,
)

INLINE = "conv2d_n2_c4_o4_g2_i6_k3_s2x1_p1_b_f32"
GENERATED = "conv2d_n2_c16_o4_g2_i14_k3_s2x1_p1_b_f32"
"""The same layer with more than 3,000 numbers, which the script does not spell out but generate."""


class KernelFile:
    """A kernel in a file of its own, whose body can be replaced, and the script of a finding about it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = f"{path}::kernel"

    def write(self, body: str, *, header: str = "", decorator: str = "") -> Backend:
        """Replace the file and load the kernel afresh."""
        source = header + kernel_source(body).replace("\n\ndef kernel(", f"\n\n{decorator}\ndef kernel(")
        self.path.write_text(source)
        for name in [name for name in sys.modules if name.startswith("convfuzz_kernel_")]:
            del sys.modules[name]
        return resolve(self.name)


@pytest.fixture
def kernel_file(tmp_path: Path) -> KernelFile:
    """A kernel file in an empty folder."""
    return KernelFile(tmp_path / "kernels.py")


@pytest.fixture(autouse=True)
def _modules_forgotten() -> Iterator[None]:
    yield
    for name in [name for name in sys.modules if name.startswith(("convfuzz_kernel_", "kernel_under_test", "script_under_test"))]:
        del sys.modules[name]


def finding_of(line: str, backend: Backend | str, verdict: str, reason: str = "", **changes: Any) -> Finding:
    """Return a finding of ``backend`` whose minimal case is ``line``."""
    case, name = Case.parse(line), backend if isinstance(backend, str) else backend.name
    kind = Verdict(verdict)
    fields: dict[str, Any] = {"fingerprint": fingerprint(case, name, kind), "verdict": kind, "backend": name, "case": str(case)}
    return Finding(**(fields | {"first_case": str(case), "reason": reason} | changes))


def script_of(line: str, backend: Backend, verdict: str = "wrong") -> str:
    """Return the script of a finding."""
    source = reproduction_script(finding_of(line, backend, verdict), backend)
    assert source is not None
    return source


def loaded(source: str) -> ModuleType:
    """Execute a script up to, and without, its main function."""
    module = ModuleType("script_under_test")
    sys.modules[module.__name__] = module
    exec(compile(source, "script", "exec"), module.__dict__)  # noqa: S102 - that is what a script is for
    return module


def status(source: str) -> int:
    """Return the exit status of a script, run in this process."""
    try:
        result: int = loaded(source).main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return result


# -- it is there, and it is gone ------------------------------------------------------------------------------------------

BUGS = [
    pytest.param("", DROPPED_TAP, "wrong", id="dropped tap"),
    pytest.param("@integers.1", DROPPED_TAP, "wrong", id="dropped tap, integers"),
    pytest.param("", TRUNCATED_INPUTS, "imprecise", id="truncated inputs"),
    pytest.param("@integers.1", "return correct(x, w, b, config) + np.float32(0.25)", "imprecise", id="a quarter, integers"),
    pytest.param("@integers.1", ONE_ULP_TOO_MUCH, "imprecise", id="one ulp, integers"),
    pytest.param("@special.2", NAN_SWALLOWED, "non-finite", id="NaN swallowed"),
    pytest.param("", INF_INVENTED, "non-finite", id="Inf invented"),
    pytest.param("", "return correct(x, w, b, config).astype(np.float64)", "wrong-dtype", id="dtype"),
    pytest.param("", "return correct(x, w, b, config)[..., 1:]", "wrong-shape", id="shape"),
    pytest.param("", "return None", "error", id="None"),
    pytest.param("", "raise ValueError('not implemented')", "error", id="raises"),
    pytest.param("", "raise SystemExit(0)", "error", id="exits"),
    pytest.param("", INPUT_ZEROED, "corrupted-input", id="input changed"),
    pytest.param("", WEIGHT_ZEROED, "corrupted-input", id="weight changed"),
    pytest.param("", BIAS_ZEROED, "corrupted-input", id="bias changed"),
]


@pytest.mark.parametrize("line", [INLINE, GENERATED], ids=["inline", "generated"])
@pytest.mark.parametrize(("recipe", "body", "verdict"), BUGS)
def test_script_exits_1_until_the_kernel_is_fixed(kernel_file: KernelFile, line: str, recipe: str, body: str, verdict: str) -> None:
    """The script of each kind of finding exits 1 on the kernel it was written for, and 0 on the corrected file."""
    backend = kernel_file.write(body)
    (result,) = convfuzz.check(line + recipe, [backend]).results
    assert result.verdict == verdict, result.reason
    source = script_of(line + recipe, backend, verdict)
    assert status(source) == 1
    kernel_file.write(FIXED)
    assert status(source) == 0


def test_script_of_a_nondeterministic_kernel_runs_it_many_times(kernel_file: KernelFile) -> None:
    """Results that differ from call to call within the tolerance are seen by the script, and gone with the bug."""
    source = script_of(INLINE, kernel_file.write(WOBBLES), "nondeterministic")
    assert status(source) == 1
    kernel_file.write(FIXED)
    assert status(source) == 0


def test_script_of_a_crash_does_not_exit_0(kernel_file: KernelFile, tmp_path: Path) -> None:
    """A kernel that ends the process makes its script exit with something else than 0."""
    source = script_of(INLINE, kernel_file.write("import os\nos.abort()"), "crash")
    assert run_alone(source, tmp_path).returncode != 0


def test_script_of_a_kernel_that_ends_the_process_cleanly_exits_1(kernel_file: KernelFile, tmp_path: Path) -> None:
    """A kernel that leaves by ``os._exit(0)`` is a crash, and its script does not take that for success."""
    source = script_of(INLINE, kernel_file.write("import os\nos._exit(0)"), "crash")
    assert run_alone(source, tmp_path).returncode == 1


@pytest.mark.parametrize("layout", ["", "_cl", "_nc"])
@pytest.mark.parametrize("shape", [INLINE, INLINE.replace("n2", "n-"), GENERATED], ids=["batched", "unbatched", "generated"])
@pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "bf16"])
def test_script_holds_for_every_dtype_and_layout(kernel_file: KernelFile, dtype: str, shape: str, layout: str) -> None:
    """A dropped tap shows in every dtype and layout, batched or not, and its absence too."""
    line = f"{shape.removesuffix('_f32')}_{dtype}{layout}"
    source = script_of(line, kernel_file.write(DROPPED_TAP))
    assert status(source) == 1
    kernel_file.write(FIXED)
    assert status(source) == 0


@pytest.mark.parametrize(
    "padding",
    ["p1", "p1:2x0:3", "psame", "pvalid", "p-1:2x0:-2", "p-1", "p2_pmreflect", "p3:1x2_pmreplicate", "p5x1:4_pmcircular", "p4"],
)
@pytest.mark.parametrize("dims", [2, 3])
def test_script_holds_for_every_padding(kernel_file: KernelFile, padding: str, dims: int) -> None:
    """Each padding mode, side by side with crops, gives a script that tells the wrong kernel from the right one."""
    padding = padding if "x" not in padding or dims == 2 else padding.replace("x", "x0x", 1)
    line = f"conv{dims}d_c2_o2_i6_k3_{padding}_d1_b_f32".replace("_d1", "")
    source = script_of(line, kernel_file.write(DROPPED_TAP))
    assert status(source) == 1
    kernel_file.write(FIXED)
    assert status(source) == 0


@pytest.mark.parametrize("line", ["conv2d_n0_c2_o3_i5_k3_b_f32", "conv2d_n2_c0_o3_i5_k3_b_f32", "conv2d_n2_c2_o0_i5_k3_b_f32"])
def test_script_holds_for_empty_tensors(kernel_file: KernelFile, line: str) -> None:
    """A layer without samples, input channels or kernels has a script too: a wrong shape shows and a right one passes."""
    source = script_of(line, kernel_file.write("return correct(x, w, b, config)[..., 1:]"), "wrong-shape")
    assert status(source) == 1
    kernel_file.write(FIXED)
    assert status(source) == 0


@pytest.mark.parametrize(
    ("rule", "out"),
    [
        ("conv2d_c2_o3_i2_k3_f32", False),
        ("conv2d_c2_o3_i3_k9_f32", False),
        *((rule, out) for rule in ("conv2d_c3_o2_g2_i5_k3_f32", "conv2d_c2_o3_i5_k3_s0_f32") for out in (False, True)),
    ],
)
def test_script_of_an_accepted_invalid_configuration(kernel_file: KernelFile, rule: str, *, out: bool) -> None:
    """An invalid configuration that is accepted shows as a bug until the kernel raises, and the broken rule is printed."""
    decorator = f"@convfuzz.backend(rejects_invalid=True{', out=True' if out else ''})"
    change = {"header": "import convfuzz\n", "decorator": decorator}
    accepts, rejects = ("pass", "raise ValueError('no')") if out else ("return x", "raise ValueError('no')")

    def write(body: str) -> Backend:
        backend = kernel_file.write(body, **change)
        if out:
            kernel_file.path.write_text(kernel_file.path.read_text().replace("kernel(x, w, b, config)", "kernel(x, w, b, config, out)"))
            sys.modules.pop(next(name for name in sys.modules if name.startswith("convfuzz_kernel_")))
            backend = resolve(kernel_file.name)
        return backend

    backend = write(accepts)
    assert convfuzz.check(rule, [backend]).results[0].verdict == "accepted-invalid"
    source = script_of(rule, backend, "accepted-invalid")
    assert repr(Case.parse(rule).config.invalid_reason) in source
    assert status(source) == 1
    write(rejects)
    assert status(source) == 0


@pytest.mark.parametrize("body", [DROPPED_TAP, FIXED], ids=["wrong", "fixed"])
def test_script_of_a_split_kernel_applies_its_kernels_one_by_one(kernel_file: KernelFile, body: str) -> None:
    """The variant is in the script, which tells a wrong kernel from a right one."""
    kernel_file.write(body)
    assert status(script_of(INLINE, resolve(f"{kernel_file.name}+split"))) == (body is DROPPED_TAP)


@pytest.mark.parametrize("declared", ["tensors='torch'", "tensors='torch', out=True", "tensors='tensorflow'", "out=True"])
@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_script_holds_for_framework_tensors(kernel_file: KernelFile, declared: str, dtype: str) -> None:
    """A kernel that takes or returns a framework's tensors, or fills an output array, is told right from wrong."""
    framework = next((name for name in ("torch", "tensorflow") if name in declared), None)
    if framework:
        pytest.importorskip(framework, reason="the kernel declares its tensors")
    # One tap of weight 1 in all: the convolution is a sum over channels, which every kind of tensor can do in place.
    out, line = "out=True" in declared, f"conv1d_n2_c1_o1_i6_k1_{dtype}@one-hot.1"
    product = {"torch": "x * w.reshape(-1)[0]", "tensorflow": "x * tf.reshape(w, [-1])[0]", None: "x * w.flat[0]"}[framework]
    header = "import convfuzz\n" + ("import tensorflow as tf\n" if framework == "tensorflow" else "")
    sources = []
    for factor in (" * 2", ""):
        result = f"y = {product}{factor}\n" + ("out[...] = y" if out else "return y")
        backend = kernel_file.write(result, header=header, decorator=f"@convfuzz.backend({declared})")
        if out:
            kernel_file.path.write_text(kernel_file.path.read_text().replace("kernel(x, w, b, config)", "kernel(x, w, b, config, out)"))
            sys.modules.pop(next(name for name in sys.modules if name.startswith("convfuzz_kernel_")))
            backend = resolve(kernel_file.name)
        assert convfuzz.check(line, [backend]).results[0].verdict == ("agree" if not factor else "wrong")
        sources.append(script_of(line, backend))
        assert status(sources[0]) == bool(factor)


@pytest.mark.parametrize("declared", [Numerics(deterministic=False), Numerics(algorithm="transform"), Numerics(inputs="bfloat16")])
def test_script_allows_what_the_kernel_declares(kernel_file: KernelFile, declared: Numerics) -> None:
    """Once a kernel is fixed, arithmetic that it declares, such as runs that differ in the last place, is no bug of it."""
    header, decorator = "import convfuzz\n", f"@convfuzz.backend(numerics=convfuzz.{declared!r})"
    source = script_of(INLINE, kernel_file.write(DROPPED_TAP, header=header, decorator=decorator))
    assert status(source) == 1
    fixed = WOBBLES if not declared.deterministic else TRUNCATED_INPUTS if declared.inputs == "bfloat16" else ONE_ULP_TOO_MUCH
    kernel_file.write(fixed, header=header, decorator=decorator)
    assert status(source) == 0


SPREADS_NAN = """\
y = correct(x, w, b, config)
return y if np.isfinite(y).all() else np.full_like(y, np.nan)
"""


def test_script_lets_a_declared_transform_spread_nan_but_not_swallow_it(kernel_file: KernelFile) -> None:
    """NaN all over the map passes where Winograd or FFT is declared; a finite number where the sum is NaN does not."""
    header, decorator = "import convfuzz\n", "@convfuzz.backend(numerics=convfuzz.Numerics(algorithm='transform'))"
    source = script_of(f"{INLINE}@special.2", kernel_file.write(NAN_SWALLOWED, header=header, decorator=decorator), "non-finite")
    assert status(source) == 1
    kernel_file.write(SPREADS_NAN, header=header, decorator=decorator)
    assert status(source) == 0


@pytest.mark.parametrize("body", [DROPPED_TAP, NAN_SWALLOWED, TRUNCATED_INPUTS], ids=["dropped tap", "NaN swallowed", "truncated inputs"])
def test_script_says_what_convfuzz_says(kernel_file: KernelFile, body: str) -> None:
    """On drawn cases of every dtype, regime and padding the script exits 1 where convfuzz has a finding, and only there."""
    wrong = kernel_file.write(body)

    @seed(11)
    @settings(max_examples=80, database=None, deadline=None, phases=[Phase.generate])
    @given(case=cases(max_flops=20_000, max_elements=2**11))
    def drawn(case: Case) -> None:
        (result,) = convfuzz.check(case, [wrong]).results
        source = script_of(str(case), wrong, result.verdict if result.verdict.failing else "wrong")
        assert status(source) == result.verdict.failing, f"{case}: {result.verdict} {result.reason}"

    drawn()


def test_script_passes_a_correct_kernel(kernel_file: KernelFile) -> None:
    """On drawn cases of every dtype, regime and padding the script exits 0 on a correct kernel."""
    backend = kernel_file.write(FIXED)

    @seed(12)
    @settings(max_examples=80, database=None, deadline=None, phases=[Phase.generate])
    @given(case=cases(max_flops=20_000, max_elements=2**11))
    def drawn(case: Case) -> None:
        assert not convfuzz.check(case, [backend]).failures
        assert status(script_of(str(case), backend)) == 0, str(case)

    drawn()


# -- the same data and the same tolerance ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "bf16"])
@pytest.mark.parametrize("regime", REGIMES)
def test_script_has_the_very_same_data(kernel_file: KernelFile, regime: str, dtype: str) -> None:
    """In every regime and dtype, spelled out or generated, the script's numbers are convfuzz's, bit for bit."""
    backend = kernel_file.write(FIXED)
    for shape in (INLINE, GENERATED, "conv3d_n-_c3_o5_i3_k2_f32", "conv1d_c7_o200_i40_k9_b_f32"):
        case = Case.parse(f"{shape.removesuffix('_f32')}_{dtype}@{regime}.77")
        script, made = loaded(script_of(str(case), backend)), make_tensors(case)
        for name in ("x", "w", "b"):
            here, there = getattr(made, name), getattr(script, name)
            if here is None:
                assert there is None
                continue
            cast = there.astype(numpy_dtype(case.config.dtype))
            assert cast.shape == here.shape
            assert np.array_equal(there.astype(np.float64), cast.astype(np.float64), equal_nan=True), "the cast is exact"
            assert np.array_equal(np.isnan(cast.astype(float)), np.isnan(here.astype(float)))
            numbers = ~np.isnan(here.astype(float))
            assert cast[numbers].tobytes() == here[numbers].tobytes()


DECLARED = [
    Numerics(),
    Numerics(algorithm="transform"),
    Numerics(inputs="tfloat32"),
    Numerics(inputs="bfloat16", accumulator="float32"),
    Numerics(bias="separate", flushes_subnormals=True),
    Numerics(accumulator="float16", bias="separate"),
    Numerics(accumulator="float64", flushes_subnormals=True),
]


@pytest.mark.parametrize("declared", DECLARED, ids=lambda n: "-".join(str(v) for v in (n.accumulator, n.inputs, n.algorithm, n.bias)))
def test_script_has_the_same_tolerance(kernel_file: KernelFile, declared: Numerics) -> None:
    """The sums and the tolerance that the script computes by the definition are convfuzz's to one part in 10^9.

    Near the end of float64's range the squares of products underflow in one and not in the script's wider type; that
    far down, a few of the smallest steps either way are no difference.
    """
    kernel_file.write(FIXED)

    def kernel(x: Any, w: Any, b: Any, config: Any) -> None:
        """Stand for the kernel in the file."""

    backend = KernelBackend(kernel_file.name, convfuzz.backend(numerics=declared)(kernel))

    @seed(5)
    @settings(max_examples=25, database=None, deadline=None, phases=[Phase.generate])
    @given(case=cases(max_flops=20_000, max_elements=2**11, regimes=[r for r in REGIMES if r != "integers"]))
    def drawn(case: Case) -> None:
        script = loaded(script_of(str(case), backend))
        made = make_tensors(case)
        judge = Judge(case, made)
        unbatched = case.config.batch is None
        sums = script.expected(script.x[None] if unbatched else script.x, script.w, script.b)
        sums = [a[0] if unbatched else a for a in sums]
        with np.errstate(all="ignore"):
            theirs = tolerance(judge.expected, declared, judge._operands)
            bound: Callable[..., Any] = script.bound
            ours = np.asarray(bound(*sums[:4]), np.float64)
        finite = np.isfinite(judge.expected.y) & np.isfinite(theirs)
        assert ours.shape == theirs.shape
        assert np.array_equal(sums[3], judge.expected.n)
        np.testing.assert_allclose(ours[finite], theirs[finite], rtol=1e-9, atol=2.0**-1060, err_msg=str(case))

    drawn()


# -- alone ------------------------------------------------------------------------------------------------------------------

WITHOUT_CONVFUZZ = """
import runpy, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("convfuzz", "numba", "msgspec", "hypothesis", "click", "rich"):
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Blocked())
try:
    import convfuzz
except ImportError:
    runpy.run_path(sys.argv[1], run_name="__main__")
"""


def run_alone(source: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in an interpreter in which convfuzz and what it needs cannot be imported."""
    path = folder / "repro.py"
    path.write_text(source)
    command = [sys.executable, "-c", WITHOUT_CONVFUZZ, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=60)


@pytest.mark.parametrize("line", [INLINE, GENERATED], ids=["inline", "generated"])
def test_script_runs_without_convfuzz(kernel_file: KernelFile, line: str, tmp_path: Path) -> None:
    """Where ``import convfuzz`` is impossible, the script still exits 1 with the wrong kernel and 0 with the right one."""
    source = script_of(line, kernel_file.write(DROPPED_TAP))
    wrong = run_alone(source, tmp_path)
    assert wrong.returncode == 1, wrong.stderr
    assert "BUG is there" in wrong.stdout
    kernel_file.write(FIXED)
    fixed = run_alone(source, tmp_path)
    assert fixed.returncode == 0, fixed.stdout + fixed.stderr


@pytest.mark.parametrize("name", ["torch:native", "torch+split"])
def test_framework_s_script_runs_without_convfuzz(name: str, tmp_path: Path) -> None:
    """A framework's script needs NumPy and the framework only, and exits 0 where the framework is right."""
    pytest.importorskip("torch", reason="the script calls it")
    done = run_alone(script_of(GENERATED, resolve(name)), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["torch", "torch:channels_last", "torch+split", "tensorflow", "tensorflow+split"])
def test_framework_s_script_says_what_convfuzz_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every dtype and regime a framework's script exits 0 where convfuzz has no finding, and 1 where it has one."""
    framework = pytest.importorskip(name.partition(":")[0].partition("+")[0], reason="the script calls it")
    if name.startswith("tensorflow"):  # its threads run already in this process; a script's own process has them to choose
        for setting in ("set_intra_op_parallelism_threads", "set_inter_op_parallelism_threads"):
            monkeypatch.setattr(framework.config.threading, setting, lambda _: None)
    backend = resolve(name)
    for dtype in ("f64", "f32", "f16", "bf16"):
        for regime in REGIMES:
            line = f"conv2d_n2_c4_o4_g2_i6_k3_s2_p1_b_{dtype}@{regime}.3"
            agrees = not convfuzz.check(line, [backend]).failures
            assert status(script_of(line, backend)) == (not agrees), line


def test_script_of_a_real_defect_exits_1() -> None:
    """PyTorch returns another shape for a layer without input channels, and the script says so."""
    pytest.importorskip("torch", reason="the defect is torch's")
    line = "conv2d_n2_c0_o3_i5_k3_b_f32"
    assert convfuzz.check(line, ["torch"]).results[0].verdict == "wrong-shape"
    assert status(script_of(line, resolve("torch"))) == 1


def test_backend_that_cannot_be_written_down_has_no_script() -> None:
    """A backend without ``script`` yields no script rather than an error."""
    assert reproduction_script(finding_of(INLINE, "reference", "wrong"), resolve("reference")) is None


def test_split_of_a_backend_that_cannot_be_written_down_has_no_script() -> None:
    """A variant of a backend without ``script`` yields no script either."""
    split = resolve("reference+split")
    assert reproduction_script(finding_of(INLINE, split, "wrong"), split) is None


# -- text from outside ------------------------------------------------------------------------------------------------------

HOSTILE = (
    '"""\nimport os; os._exit(0)\n"""',
    "'''; raise SystemExit(0)",
    "\\",
    '\\"""',
    'ends in a quote"',
    "{title} {0} %s $HOME",
    "\\N{BULLET} \\x00 \\u0041",
    "\x00\x1b[31m\r\n\f\u2028\u2029\u202e",
    "\udcff",
    "# -*- coding: utf-16 -*-",
    "\n".join(["x = 1"] * 50),
)


def program(source: str) -> str:
    """Return what a script does, without its docstring."""
    tree = ast.parse(source)
    assert isinstance(tree.body[0], ast.Expr), "the first statement is the docstring"
    return ast.dump(ast.Module(tree.body[1:], []))


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_reason_changes_nothing_of_what_the_script_does(kernel_file: KernelFile, text: str) -> None:
    """Quotes, backslashes, newlines and control characters in what a framework said stay text in the docstring."""
    backend = kernel_file.write(DROPPED_TAP)
    harmless = script_of(INLINE, backend)
    finding = finding_of(INLINE, backend, "wrong", text, model=text, versions={text: text})
    source = reproduction_script(finding, backend)
    assert source is not None
    assert program(source) == program(harmless)
    assert source.encode("utf-8").decode("utf-8") == source
    assert source.splitlines()[0] == "#!/usr/bin/env python3"


def test_any_reason_changes_nothing_of_what_the_script_does(kernel_file: KernelFile) -> None:
    """No text whatever in a reason changes the program."""
    backend = kernel_file.write(DROPPED_TAP)
    harmless = program(script_of(INLINE, backend))

    @seed(1)
    @settings(max_examples=50, database=None, deadline=None)
    @given(text=st.text() | st.text("\"'\\\n{}"))
    def drawn(text: str) -> None:
        source = reproduction_script(finding_of(INLINE, backend, "wrong", text), backend)
        assert source is not None
        assert program(source) == harmless

    drawn()


@pytest.mark.parametrize("name", ['quo"te.py', "apos'trophe.py", "back\\slash.py", "sp ace {x}.py", "ünï.py", 'tri"""ple.py'])
def test_hostile_file_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    """A kernel in a file with quotes, backslashes or braces in its name is loaded by the script from there."""
    file = KernelFile(tmp_path / name)
    source = script_of(INLINE, file.write(DROPPED_TAP))
    assert status(source) == 1
    file.write(FIXED)
    assert status(source) == 0


def test_script_is_readable() -> None:
    """The docstring names the case, the verdict and the reason, in lines of bounded width."""
    torch = pytest.importorskip("torch", reason="the script is torch's")
    backend = resolve("torch")
    finding = finding_of(INLINE, backend, "wrong", "word " * 100, versions={"torch": torch.__version__})
    docstring = ast.get_docstring(ast.parse(textwrap.dedent(reproduction_script(finding, backend) or "")))
    assert docstring is not None
    for expected in (f"Case: {INLINE}", "Verdict: wrong", "Reason: word", finding.fingerprint, f"torch {torch.__version__}"):
        assert expected in docstring
    assert max(map(len, docstring.splitlines())) <= 120
