"""A finding's script exits 1 while the bug is there and 0 when it is gone, alone and on the very same data."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest
from campaign.kernel_sources import (
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
)
from hypothesis import given, seed, settings
from hypothesis import strategies as st

import convfuzz
from convfuzz import Case, Numerics
from convfuzz.backends import Backend, resolve
from convfuzz.reproduction import reproduction_script
from convfuzz.tensors.generator import make_tensors

from .scripts import KernelFile, finding_of, loaded, run_alone, script_of, status

INLINE = "conv2d_n2_c4_o4_g2_i6_k3_s2x1_p1_b_f32"
GENERATED = "conv2d_n2_c16_o4_g2_i14_k3_s2x1_p1_b_f32"
"""The same layer with more than 3,000 numbers, which the script does not spell out but generate."""


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


SPARSE = "conv2d_n2_c2_o3_i5x4_k3_p1_b"
EVERY_DTYPE = "@convfuzz.backend(dtypes=('float64', 'float32', 'float16', 'bfloat16', 'complex64', 'int32'))"


@pytest.mark.parametrize("layout", ["", "_cl", "_nc", "_ex"])
@pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "bf16", "i32"])
def test_script_writes_explicit_data_out(kernel_file: KernelFile, dtype: str, layout: str) -> None:
    """The script of a case that names its elements fills in these, with their coordinates, and tells wrong from right."""
    line = f"{SPARSE}_{dtype}{layout}@x27=2_w17=-3_b0=1"
    backend = kernel_file.write(
        "y = correct(x, w, b, config)\nreturn (y * (y != -5)).astype(y.dtype)", header="import convfuzz\n", decorator=EVERY_DTYPE
    )
    (result,) = convfuzz.check(line, [backend]).results
    source = script_of(line, backend)
    assert "w[0, 1, 2, 2] = -3\n" in source
    assert "x[0, 1, 1, 3] = 2\n" in source
    assert (result.verdict, status(source)) == ("wrong", 1), result.reason
    kernel_file.write(FIXED, header="import convfuzz\n", decorator=EVERY_DTYPE)
    assert status(source) == 0


@pytest.mark.parametrize(
    ("data", "written"),
    [
        ("x27=1.5-2j_w53=0+1e-40j", "x[0, 1, 1, 3] = complex(1.5, -2)\nw ="),
        ("x27=nan_w53=-inf", "x[0, 1, 1, 3] = nan\n"),
        ("x27=-0.0_w53=1e-40", "x[0, 1, 1, 3] = -0.0\n"),
        ("x27=0.1_w53=1", "x[0, 1, 1, 3] = 0.1\n"),
        ("zeros", "x = np.zeros((2, 2, 5, 4), dtype=np.float32)\nw = np.zeros("),
    ],
)
def test_script_of_explicit_data_has_the_very_same_tensors(kernel_file: KernelFile, data: str, written: str) -> None:
    """Numbers of every kind reach the script as they are."""
    line = f"{SPARSE}_{'c64' if 'j' in data else 'f32'}@{data}"
    source = script_of(line, kernel_file.write("raise ValueError", header="import convfuzz\n", decorator=EVERY_DTYPE), "error")
    assert written in source
    tensors, script = make_tensors(Case.parse(line)), loaded(source)
    for name, array in tensors.named().items():
        assert getattr(script, name).tobytes() == array.tobytes()


def test_script_of_explicit_data_in_large_tensors_is_short(kernel_file: KernelFile, tmp_path: Path) -> None:
    """Large tensors of few non-zeros carry no generator: they are zeros with a few assignments."""
    line = "conv2d_c32_o16_i28_k3_b_f32@x25000=2_w4600=5"
    backend = kernel_file.write(DROPPED_TAP)
    source = script_of(line, backend)
    assert len(source) < len(script_of("conv2d_c32_o16_i28_k3_b_f32@integers.1", backend)) - 1500
    assert "x[0, 31, 24, 24] = 2" in source
    assert run_alone(source, tmp_path).returncode in (0, 1)


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

    def write(body: str) -> Backend:
        return kernel_file.write(body, header="import convfuzz\n", decorator=decorator, out=out)

    backend = write("pass" if out else "return x")
    assert convfuzz.check(rule, [backend]).results[0].verdict == "accepted-invalid"
    source = script_of(rule, backend, "accepted-invalid")
    assert repr(Case.parse(rule).config.invalid_reason) in source
    assert status(source) == 1
    write("raise ValueError('no')")
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
        backend = kernel_file.write(result, header=header, decorator=f"@convfuzz.backend({declared})", out=out)
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


STORED_IN_BFLOAT16 = """\
import ml_dtypes
y = correct(x, w, b, config)
return y.astype(ml_dtypes.bfloat16).astype(y.dtype) if {narrow} else y
"""


@pytest.mark.parametrize("regime", ["integers", "normal"])
def test_script_lets_results_be_bfloat16_where_that_is_declared(kernel_file: KernelFile, regime: str) -> None:
    """Results rounded to bfloat16, all or none, are no bug of a kernel that declares them; a dropped tap is one."""
    header, decorator = "import convfuzz\n", "@convfuzz.backend(numerics=convfuzz.Numerics(outputs='bfloat16'))"
    line = f"conv1d_c40_o2_i9_k3_f32@{regime}.2"
    source = script_of(line, kernel_file.write(DROPPED_TAP, header=header, decorator=decorator))
    assert status(source) == 1
    for narrow in (True, False):
        backend = kernel_file.write(STORED_IN_BFLOAT16.format(narrow=narrow), header=header, decorator=decorator)
        assert convfuzz.check(line, [backend]).results[0].verdict == "agree"
        assert status(source) == 0


SPREADS_NAN = """\
y = correct(x, w, b, config)
return np.where(np.isfinite(y).all(axis=(2, 3), keepdims=True), y, np.float32(np.nan))
"""


def test_script_lets_a_declared_transform_spread_nan_but_not_swallow_it(kernel_file: KernelFile) -> None:
    """NaN all over a map passes where Winograd or FFT is declared; a finite number where the sum is NaN does not."""
    header, decorator = "import convfuzz\n", "@convfuzz.backend(numerics=convfuzz.Numerics(algorithm='transform'))"
    source = script_of(f"{INLINE}@special.2", kernel_file.write(NAN_SWALLOWED, header=header, decorator=decorator), "non-finite")
    assert status(source) == 1
    kernel_file.write(SPREADS_NAN, header=header, decorator=decorator)
    assert status(source) == 0


# -- alone ------------------------------------------------------------------------------------------------------------------


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
    beside = {"companion": "conv1d_c1_o1_i1_k1_f32", "boundary": 'fails at """batch 2, works at 1'}
    finding = finding_of(INLINE, backend, "wrong", "word " * 100, versions={"torch": torch.__version__}, **beside)
    docstring = ast.get_docstring(ast.parse(textwrap.dedent(reproduction_script(finding, backend) or "")))
    assert docstring is not None
    boundary = "Boundary: fails at '''batch 2, works at 1 (conv1d_c1_o1_i1_k1_f32)"
    for expected in (f"Case: {INLINE}", boundary, "Verdict: wrong", "Reason: word", finding.fingerprint, f"torch {torch.__version__}"):
        assert expected in docstring
    assert max(map(len, docstring.splitlines())) <= 120


def test_script_holds_a_kernel_to_its_declared_order(kernel_file: KernelFile) -> None:
    """A running sum of a kernel that declares a tree is a bug in the script as well, and the tree is none."""
    body = """
read = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3))
terms = [read[:, None, c, :, :, i, j] * w[None, :, c, i, j, None, None] for c in range(w.shape[1]) for i in range(3) for j in range(3)]
while len(terms) > 1:
    TREE
return terms[0]
"""
    header, decorator = "import numpy as np, convfuzz\n", "@convfuzz.backend(numerics=convfuzz.Numerics(order='pairwise'))"
    tree = "terms = [sum(terms[at + 1:at + 2], terms[at]) for at in range(0, len(terms), 2)]"
    line, running = "conv2d_n2_c64_o4_i5_k3_f32@positive.1", "terms = [terms[0] + terms[1], *terms[2:]]"
    backend = kernel_file.write(body.replace("TREE", running), header=header, decorator=decorator)
    (result,) = convfuzz.check(line, [backend]).results
    assert result.verdict == "imprecise"
    source = script_of(line, backend, "imprecise", result=result)
    assert "declared order" in source
    assert status(source) == 1
    kernel_file.write(body.replace("TREE", tree), header=header, decorator=decorator)
    assert status(source) == 0
