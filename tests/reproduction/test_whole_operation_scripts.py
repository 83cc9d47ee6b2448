"""Scripts of the whole operation: transposed, gradients, every dtype and layout, flawed calls; of kernels and of the frameworks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sampling import sample

import convfuzz
from convfuzz import Case, Verdict
from convfuzz.backends import Backend, resolve
from convfuzz.case.line import FLAWS
from convfuzz.strategies import cases

from .scripts import KernelFile, run_alone, script_of, status
from .whole_kernel import ASSUMES_PLAIN_MEMORY, FIRST_TAP_DOUBLED, GRADIENTS_WRONG, LAST_TAP_DROPPED, RIGHT

SMALL = {"max_flops": 20_000, "max_elements": 2**11}


def tells_right_from_wrong(source: str, fix: Callable[[], Backend]) -> bool:
    """Whether a script exits 1 now, and 0 after the kernel is fixed."""
    wrong = status(source)
    fix()
    return (wrong, status(source)) == (1, 0)


# -- kernels ----------------------------------------------------------------------------------------------------------------

TRANSPOSED = [
    "convt1d_c2_o3_i5_k3",
    "convt1d_n-_c2_o2_i5_k3_s2_p1_op1_b",
    "convt2d_n2_c4_o6_g2_i3x4_k3x2_s2x1_p1x0_d1x2_op1x0_b",
    "convt2d_c2_o2_i4_k3_s2_psame_b",
    "convt2d_c2_o2_i4_k3_s2_p1:0x2:1_b",
    "convt2d_c2_o2_i4_k3_s2_p-1:0x0:-2_b",
    "convt2d_n2_c3_o3_g3_i4_k2_s3_d2_op2",
    "convt3d_n2_c2_o2_i2x3x2_k2x1x3_s1x2x1_p0x0x1_b",
    "convt2d_n2_c16_o20_g2_i9_k3_s2_p1_b",
]


@pytest.mark.parametrize("dtype", ["f32", "f64", "bf16", "c64", "i8"])
@pytest.mark.parametrize("line", TRANSPOSED)
def test_script_holds_for_transposed_convolutions(kernel_file: KernelFile, line: str, dtype: str) -> None:
    """A tap too few or doubled shows in every dimension, padding and dtype, and its absence too."""
    line = f"{line}_{dtype}"
    source = script_of(line, kernel_file.write_whole(FIRST_TAP_DOUBLED))
    assert tells_right_from_wrong(source, kernel_file.write_whole)


@pytest.mark.parametrize(
    "data", ["f32@normal.1", "f64@cancellation.1", "f16@sparse.1", "bf16@integers.1", "c128@normal.1", "c64@integers.1"]
)
@pytest.mark.parametrize("in_pass", GRADIENTS_WRONG)
@pytest.mark.parametrize(
    "line",
    [
        "conv2d_n2_c4_o6_g2_i5x6_k3x2_s2x1_p1x0:1_d1x2_b",
        "conv1d_n-_c2_o2_i5_k3_p2_pmreflect_b",
        "convt2d_n2_c4_o6_g2_i3x4_k3x2_s2x1_p1x0_op1x0_b",
        "conv2d_n3_c16_o8_g2_i12_k3_p1_pmcircular_b",
    ],
)
def test_script_holds_for_every_gradient(kernel_file: KernelFile, line: str, in_pass: str, data: str) -> None:
    """The script of a wrong gradient exits 1 for that pass and 0 for the others, and 0 when it is right."""
    line = f"{line}_{data.replace('@', '_grad@')}"
    backend = kernel_file.write_whole(backward=GRADIENTS_WRONG[in_pass])
    (result,) = convfuzz.check(line, [backend]).results
    assert (result.in_pass, result.also) == (in_pass, {})
    sources = {name: script_of(line, backend, result.verdict, name) for name in Case.parse(line).passes}
    assert {name: status(source) for name, source in sources.items()} == {name: int(name == in_pass) for name in sources}
    kernel_file.write_whole()
    assert status(sources[in_pass]) == 0


def test_script_of_a_forward_finding_judges_the_forward_pass(kernel_file: KernelFile) -> None:
    """With gradients asked for, a wrong output is still a finding of the forward pass, whose gradients are right."""
    line = "conv2d_n2_c2_o2_i5_k3_b_f32_grad"
    backend = kernel_file.write_whole(LAST_TAP_DROPPED)
    source = script_of(line, backend)
    assert status(script_of(line, backend, in_pass="grad_weight")) == 0
    assert tells_right_from_wrong(source, kernel_file.write_whole)


@pytest.mark.parametrize(
    ("backward", "verdict", "in_pass"),
    [
        ("gw = gw[..., 1:]", "wrong-shape", "grad_weight"),
        ("gx = gx.astype(np.float64)", "wrong-dtype", "grad_input"),
        ("return gx, gw", "error", "forward"),
        ("gb = None", "error", "forward"),
        ("dy[...] = 0", "corrupted-input", "forward"),
        ("gx.reshape(-1)[-1] = np.nan", "non-finite", "grad_input"),
        ("raise ValueError('not implemented')", "error", "forward"),
        ("gw = np.nextafter(gw, np.float32(np.random.choice([-1, 1])) * np.float32(np.inf))", "nondeterministic", "grad_weight"),
    ],
)
def test_script_shows_each_failure_of_a_gradient(kernel_file: KernelFile, backward: str, verdict: str, in_pass: str) -> None:
    """Gradients of another shape or dtype, missing, NaN, different each time, or made at the inputs' expense are all shown."""
    backend = kernel_file.write_whole(backward=backward)
    source = script_of("conv2d_n2_c2_o2_i5_k3_b_f32_grad", backend, verdict, in_pass)
    assert tells_right_from_wrong(source, kernel_file.write_whole)


def test_script_of_a_kernel_without_gradients_has_the_forward_pass_only(kernel_file: KernelFile) -> None:
    """Where a kernel declares no gradients, convfuzz ran the forward pass of the case alone, and so does the script."""
    backend = kernel_file.write("return correct(x, w, b, config) + 1")
    source = script_of("conv1d_n2_c2_o2_i5_k3_b_f32_grad", backend)
    assert "dy = " not in source
    assert status(source) == 1


AUTOGRAD = """\
import convfuzz
import torch
from torch.nn.functional import conv2d


@convfuzz.backend(tensors="torch", dtypes=("float32", "bfloat16", "complex64"))
def kernel(x, w, b, config):
    wide = torch.promote_types(x.dtype, torch.float32)  # in bfloat16 it hangs on the processor how gradients add up
    y = conv2d(({x}).to(wide), ({w}).to(wide), b if b is None else b.to(wide), padding=[lo for lo, _ in config.pads], groups=config.groups)
    return y.to(x.dtype){then}
"""


@pytest.mark.parametrize("dtype", ["f32", "bf16", "c64"])
@pytest.mark.parametrize(
    ("wrong", "in_pass"),
    [({"x": "(2 * x.detach() - x)"}, "grad_input"), ({"w": "(w + (w - w.detach()))"}, "grad_weight"), ({"then": " * 2"}, "forward")],
)
def test_script_holds_for_autograd(kernel_file: KernelFile, wrong: dict[str, str], in_pass: str, dtype: str) -> None:
    """The gradients of a kernel on torch tensors are autograd's in the script too."""
    pytest.importorskip("torch", reason="autograd is torch's")
    right = {"x": "x", "w": "w", "then": ""}
    line = f"conv2d_n2_c4_o4_g2_i5_k3_p1_b_{dtype}_grad"
    backend = kernel_file.load(AUTOGRAD.format(**right | wrong))
    (result,) = convfuzz.check(line, [backend]).results
    assert in_pass in (result.in_pass, *result.also)
    source = script_of(line, backend, result.verdict, in_pass)
    assert tells_right_from_wrong(source, lambda: kernel_file.load(AUTOGRAD.format(**right)))


def test_script_of_what_autograd_cannot_differentiate_has_the_forward_pass(kernel_file: KernelFile) -> None:
    """A kernel whose result autograd does not follow is judged by its forward pass, in the script too."""
    pytest.importorskip("torch", reason="autograd is torch's")
    detached = {"x": "x.detach()", "w": "w.detach()"}
    line = "conv2d_n2_c2_o2_i5_k3_f32_grad"
    source = script_of(line, kernel_file.load(AUTOGRAD.format(**detached, then=" + 1")))
    assert tells_right_from_wrong(source, lambda: kernel_file.load(AUTOGRAD.format(**detached, then="")))


def test_script_sees_memory_that_nobody_wrote_to(kernel_file: KernelFile) -> None:
    """A kernel that returns an output it never filled does not pass for right by what was in that memory."""
    source = script_of("conv2d_c2_o2_i5_k3_f32@sparse.1", kernel_file.write_whole("y = np.empty(config.output_shape, x.dtype)"))
    assert tells_right_from_wrong(source, kernel_file.write_whole)


@pytest.mark.parametrize("line", ["conv1d_c1_o1_i3_k2_s4294967296_f32", "conv2d_c1_o2_i3_k1_d9223372036854775807_b_f32"])
def test_script_lets_a_kernel_reject_what_is_extreme(kernel_file: KernelFile, line: str) -> None:
    """Arguments beyond 32 bits may be rejected though they are valid; computed, they have to be right."""
    source = script_of(line, kernel_file.write_whole(FIRST_TAP_DOUBLED))
    assert tells_right_from_wrong(source, kernel_file.write_whole)
    kernel_file.write_whole("raise OverflowError('beyond 32 bits')")
    assert status(source) == 0


@pytest.mark.parametrize("op", ["conv", "convt"])
@pytest.mark.parametrize("dtype", ["i8", "i32", "i64"])
def test_script_wraps_integers_around(kernel_file: KernelFile, dtype: str, op: str) -> None:
    """Sums beyond an integer dtype are those modulo 2^bits; a kernel that saturates instead is wrong."""
    line = f"{op}2d_n2_c8_o4_g2_i5_k3_p1_b_{dtype}@huge.1"
    saturates = "exact = forward(*(None if a is None else a.astype(np.float64) for a in (x, w, b)), config)\n"
    saturates += "y = np.where(exact == y, y, np.iinfo(y.dtype).max)"
    source = script_of(line, kernel_file.write_whole(saturates))
    assert tells_right_from_wrong(source, kernel_file.write_whole)


@pytest.mark.parametrize("dtype", ["f64", "bf16", "c64", "i8"])
@pytest.mark.parametrize("layout", ["cl", "nc", "tr", "ex", "of", "ls", "nc_wco", "wtr", "ex_wcl", "wex", "tr_wof"])
@pytest.mark.parametrize("shape", ["conv2d_n2_c3_o4_i4x5_k2_b", "convt1d_n-_c3_o4_i6_k3", "conv2d_n2_c24_o4_i12_k1_b"])
def test_script_lays_the_operands_out(kernel_file: KernelFile, shape: str, layout: str, dtype: str) -> None:
    """A kernel that takes its operands for plain memory is shown wrong by the script on every layout that is none."""
    line = f"{shape}_{dtype}_{layout}"
    backend = kernel_file.write_whole(ASSUMES_PLAIN_MEMORY)
    seen = convfuzz.check(line, [backend]).failures != ()
    source = script_of(line, backend)
    assert status(source) == seen
    kernel_file.write_whole()
    assert status(source) == 0


@pytest.mark.parametrize("flaw", [flaw for flaw in FLAWS if not flaw.endswith("length")])
@pytest.mark.parametrize("dtype", ["f32_nc", "bf16", "i8"])
def test_script_of_an_accepted_flaw(kernel_file: KernelFile, flaw: str, dtype: str) -> None:
    """An operand of a wrong shape or dtype reaches the kernel in the script, which shows whether it is accepted."""
    line = f"conv2d_n2_c2_o3_i5_k3_b_{dtype}_bad-{flaw}"
    about = {"input": "x", "weight": "w", "bias": "b"}[flaw.partition("-")[0]]
    shape = {"x": "config.input_shape", "w": "config.weight_shape", "b": "(config.out_channels,)"}[about]
    sees = f"if {about}.shape == {shape} and {about}.dtype.name == config.dtype: raise ValueError('there is no flaw')\nreturn x"

    def write(body: str) -> Backend:
        decorator = "@convfuzz.backend(rejects_invalid=True, dtypes=('float32', 'bfloat16', 'int8'))"
        return kernel_file.write(body, header="import convfuzz\n", decorator=decorator)

    backend = write(sees)
    assert convfuzz.check(line, [backend]).results[0].verdict == "accepted-invalid"
    source = script_of(line, backend, "accepted-invalid")
    assert repr(FLAWS[flaw]) in source
    assert tells_right_from_wrong(source, lambda: write("raise ValueError('no')"))


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize("result", ["None", "x.astype(np.float64)", "y"])
def test_script_takes_any_result_for_acceptance(kernel_file: KernelFile, result: str, dtype: str) -> None:
    """What a kernel returns for an invalid configuration, nothing or another dtype, rejects nothing."""
    source = f"""
import convfuzz
import numpy as np
import torch

@convfuzz.backend(rejects_invalid=True)
def kernel(x, w, b, config):
    y = torch.zeros(3, dtype=torch.{"bfloat16" if dtype == "bf16" else "float32"})
    return {result}
"""
    pytest.importorskip("torch", reason="a result is a tensor of it")
    backend, line = kernel_file.load(source), f"conv1d_c2_o3_i2_k3_b_{dtype}"
    assert convfuzz.check(line, [backend]).results[0].verdict == "accepted-invalid"
    assert status(script_of(line, backend, "accepted-invalid")) == 1


def test_script_of_an_invalid_configuration_with_many_numbers_draws_none(kernel_file: KernelFile) -> None:
    """What does not depend on the data has ones."""
    decorator = "@convfuzz.backend(rejects_invalid=True)"
    backend = kernel_file.write("return x", header="import convfuzz\n", decorator=decorator)
    source = script_of("conv2d_n2_c64_o2_g3_i9_k3_b_f32", backend, "accepted-invalid")
    assert "np.ones((2, 64, 9, 9)" in source
    assert status(source) == 1


@pytest.mark.parametrize("body", [RIGHT, FIRST_TAP_DOUBLED], ids=["right", "wrong"])
@pytest.mark.parametrize("variant", ["+split", "+split-in", "+split-group", "+split-batch", "+split-batch+split", "+split-in+split-group"])
@pytest.mark.parametrize("op", ["conv", "convt"])
def test_script_of_a_split_has_the_loop_over_its_parts(kernel_file: KernelFile, op: str, variant: str, body: str) -> None:
    """Every split is in the script, around another too, with all passes put together."""
    backend = kernel_file.write_whole(body, GRADIENTS_WRONG["grad_input"] if body != RIGHT else RIGHT, variant=variant)
    for dtype in ("f32", "bf16", "c64"):
        line = f"{op}2d_n2_c4_o6_g2_i4x5_k2_s1x2_p1_b_{dtype}_grad"
        assert backend.supports(Case.parse(line))
        (result,) = convfuzz.check(line, [backend]).results
        statuses = [status(script_of(line, backend, in_pass=in_pass, result=result)) for in_pass in Case.parse(line).passes]
        assert statuses == ([0, 0, 0, 0] if body == RIGHT else [1, 1, 0, 0])


# -- whatever is drawn ------------------------------------------------------------------------------------------------------


def disagreements(backend: Backend, examples: int, at: int, **options: Any) -> list[str]:
    """Return the drawn cases and passes on which a script does not say what convfuzz says."""
    found: list[str] = []
    for case in sample(cases(**SMALL | options), examples, seed=at):
        (result,) = convfuzz.check(case, [backend]).results
        if result.verdict is Verdict.UNSUPPORTED:
            continue
        failing = {result.in_pass, *result.also} if result.verdict.failing else set()
        judged = case.passes if backend.supports(case) else ("forward",)
        for in_pass in judged if result.discrepancies else failing:
            source = script_of(str(case), backend, result.verdict if failing else "wrong", in_pass, result)
            if status(source) != (in_pass in failing):
                found.append(f"{case} {in_pass}: {result.verdict} {result.reason}")
    return found


WRONG = {
    "last tap dropped": (LAST_TAP_DROPPED, "\n".join(GRADIENTS_WRONG.values())),
    "first tap doubled": (FIRST_TAP_DOUBLED, GRADIENTS_WRONG["grad_weight"]),
    "NaN and Inf swallowed": ("y = np.nan_to_num(y)", "gx, gw, gb = map(np.nan_to_num, (gx, gw, gb))"),
    "float16 sums": ("y = (y.astype(np.float16) if y.dtype.kind == 'f' else y).astype(y.dtype)", "gw = gw + gw * gw.dtype.type(2**-9)"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_script_says_what_convfuzz_says(kernel_file: KernelFile, mistake: str) -> None:
    """On drawn cases of the whole operation the script of a pass exits 1 where convfuzz has a finding, and only there."""
    assert disagreements(kernel_file.write_whole(*WRONG[mistake]), 60, at=11) == []


@pytest.mark.parametrize("mistake", WRONG)
def test_script_says_what_convfuzz_says_in_rare_dtypes(kernel_file: KernelFile, mistake: str) -> None:
    """Complex and integer dtypes, which are drawn rarely, likewise."""
    backend = kernel_file.write_whole(*WRONG[mistake])
    assert disagreements(backend, 40, at=13, dtypes=("complex64", "complex128", "int8", "int32", "int64")) == []


def test_script_passes_a_correct_kernel(kernel_file: KernelFile) -> None:
    """On drawn cases of the whole operation the script of every pass exits 0 on a correct kernel."""
    assert disagreements(kernel_file.write_whole(), 80, at=12) == []


# -- frameworks -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def framework(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """A framework's backend; TensorFlow's threads, which run already in this process, are a script's own to choose elsewhere."""
    name: str = request.param
    module = pytest.importorskip(name.partition(":")[0].partition("+")[0], reason="the script calls it")
    if name.startswith("tensorflow"):
        for setting in ("set_intra_op_parallelism_threads", "set_inter_op_parallelism_threads"):
            monkeypatch.setattr(module.config.threading, setting, lambda _: None)
    elif name.startswith("torch"):
        monkeypatch.setattr(module.backends.mkldnn, "enabled", "native" not in name)
    return resolve(name)


FRAMEWORKS = ("torch", "torch:native", "torch:channels_last", "torch+split", "tensorflow", "tensorflow:convolution", "tensorflow+split-in")
OTHERS = ("torch:nn", "tensorflow:graph", "jax", "onnxruntime", "openvino:f32")
"""Those that take longer for a new shape, or have fewer passes."""


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("framework", FRAMEWORKS + OTHERS, indirect=True)
def test_framework_s_script_says_what_convfuzz_says(framework: Backend) -> None:
    """On drawn cases of the whole operation a framework's script exits 1 where convfuzz has a finding, and only there.

    Special values are left out: with them TensorFlow's conv3d and oneDNN's kernels go wrong on one run and not on another.
    """
    regimes = [regime for regime in convfuzz.case.REGIMES if regime != "special"]
    assert disagreements(framework, 60 if framework.name in FRAMEWORKS else 15, at=17, regimes=regimes) == []


@pytest.mark.parametrize("framework", ["torch", "tensorflow"], indirect=True)
@pytest.mark.parametrize("flaw", [flaw for flaw in FLAWS if flaw != "input-flat"])
def test_framework_s_script_hands_over_every_flaw(framework: Backend, flaw: str) -> None:
    """A flawed call is flawed in the script too: the frameworks reject it there as they do in convfuzz.

    TensorFlow ends the process on an input of one axis, and is not asked.
    """
    head = "convt2d_n2_c4_o4_i5_k3_s2_p1_op1" if flaw == "output-length" else "conv2d_n2_c4_o4_i5_k3_p1"
    for dtype in ("f32_nc", "bf16"):
        line = f"{head}_b_{dtype}_bad-{flaw}"
        (result,) = convfuzz.check(line, [framework]).results
        if result.verdict is Verdict.UNSUPPORTED:
            continue
        assert status(script_of(line, framework, "accepted-invalid")) == result.verdict.failing, result.reason


@pytest.mark.parametrize("framework", ["torch", "torch:native"], indirect=True)
def test_framework_s_script_hands_over_every_layout(framework: Backend) -> None:
    """In every layout of input and weight, in bfloat16 too, a framework's script passes where the framework does."""
    for layout in ("cl", "nc", "tr", "ex", "of", "ls", "nc_wco", "wtr", "ex_wcl"):
        for line in (f"conv2d_n2_c4_o4_i5_k3_p1_b_f32_{layout}_grad", f"convt2d_n2_c4_o4_i5_k3_s2_p1_op1_b_bf16_{layout}"):
            (result,) = convfuzz.check(line, [framework]).results
            assert status(script_of(line, framework)) == ("forward" in (result.in_pass, *result.also) and result.verdict.failing), line


ALONE = (
    ("torch:native", "conv2d_n2_c16_o4_g2_i14_k3_s2x1_p1_b_f32", "forward"),
    ("torch+split", "convt2d_n2_c4_o4_g2_i5_k3_s2_p1_op1_b_bf16_nc_grad", "grad_input"),
    ("torch", "conv1d_n2_c2_o2_i5_k3_c64_grad", "grad_weight"),
    ("tensorflow", "convt2d_n2_c2_o4_i5_k3_s2_p1_b_f32_grad", "grad_bias"),
)


@pytest.mark.parametrize(("name", "line", "in_pass"), ALONE, ids=[name for name, *_ in ALONE])
def test_framework_s_script_runs_without_convfuzz(name: str, line: str, in_pass: str, tmp_path: Path) -> None:
    """A framework's script needs NumPy and the framework only, and exits 0 where the framework is right."""
    pytest.importorskip(name.partition(":")[0].partition("+")[0], reason="the script calls it")
    done = run_alone(script_of(line, resolve(name), in_pass=in_pass), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
