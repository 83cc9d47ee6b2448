"""ONNX Runtime, OpenVINO and ONNX's evaluator: one model of a case, how it is kept, and what is declared of each."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sampling import sample

import convfuzz
from convfuzz import Case
from convfuzz.backends import resolve
from convfuzz.backends.onnx import model as onnx_model
from convfuzz.strategies import cases
from convfuzz.tensors.generator import make_tensors

from .frameworks import KNOWN_DEFECTS, RUNTIMES, SMALL, has_known_defect, may_kill

every_runtime = pytest.mark.parametrize("name", RUNTIMES)

LAYERS = [
    "conv1d_n2_c3_o4_i7_k3_b_f32",
    "conv2d_n2_c4_o6_g2_i7_k3_s2_p1:2x0:3_d1x2_b_f32",
    "conv3d_n2_c2_o3_i4_k3_p1_b_f32",
    "conv2d_n2_c4_o8_g4_i7_k3_s2_p1_b_f32",
    # SAME: an odd zero at the end, with a stride, and what SAME_UPPER means for a transposed layer
    "conv2d_c2_o3_i7x6_k4x3_psame_b_f32",
    "conv2d_c2_o3_i8x7_k4x3_s3x2_psame_b_f32",
    "convt2d_c2_o3_i5_k3_s2_psame_b_f32",
    "convt1d_c2_o3_i5_k4_psame_b_f32",
    "conv2d_c2_o3_i7_k3_pvalid_b_f32",
    # what Conv has no argument for is a Pad before it
    "conv2d_n2_c2_o3_i7_k3_p2:0x1:2_pmreflect_b_f32",
    "conv2d_n2_c2_o3_i7_k3_p2:0x1:3_pmreplicate_b_f16",
    "conv2d_n2_c2_o3_i7x6_k4x3_psame_pmreplicate_d1x2_b_f32",
    "convt1d_n2_c3_o4_i7_k3_b_f32",
    "convt2d_n2_c4_o6_i5x4_k3x2_s2x3_p1x0_op1x2_b_f32",
    "convt2d_n2_c2_o3_i5_k4_s2_p2:1x0:3_op1_b_f16",
    "convt3d_c2_o2_i3x2x4_k2x3x1_s2_d2x1x3_p1_op1_b_f32",
    *(f"conv2d_n2_c4_o4_g2_i7_k3_b_f32_{layout}" for layout in ("cl", "nc", "tr", "ex", "of", "ls", "wcl", "wnc", "wtr", "wex")),
]
BEYOND = {
    "onnxruntime": [
        "conv3d_n2_c2_o3_i4_k3_p1_pmcircular_b_f32",
        "conv2d_n2_c2_o3_i7_k3_p-1:2x1:-2_b_f32",
        "convt3d_c2_o2_g2_i3x2x4_k2x3x1_s2_d2x1x3_p1_op1_f32",
    ],
    "openvino": [
        "conv2d_n2_c2_o3_i7_k3_p-1:2x1:-2_b_f32",
        "convt2d_n2_c4_o6_g2_i5_k3_s2_p1_op1_b_f32",
        "conv2d_n2_c4_o6_g2_i7_k3_s2_p1_b_bf16",
    ],
    "onnx": ["conv2d_n2_c4_o6_g2_i7_k3_s2_p1_b_f64", "convt2d_n2_c4_o6_i5_k3_s2_p1_op1_b_f64", "conv1d_n2_c4_o6_i7_k3_b_bf16"],
}


def framework_of(name: str) -> Any:
    """Import the framework of a backend, or leave the test out."""
    return pytest.importorskip(name.partition(":")[0], reason="the framework is what is tested")


@pytest.mark.parametrize(
    ("name", "line"),
    [(name, line) for name in ("onnxruntime", "openvino:f32", "onnx") for line in LAYERS + BEYOND[name.partition(":")[0]]],
)
def test_layers_are_exact_on_integers(name: str, line: str) -> None:
    """On integers the runtime gives the reference's numbers, nothing declined: paddings, layouts, groups and dtypes mean the same.

    Where an older release that is installed is known to be wrong, that is what is found.
    """
    framework_of(name)
    for draw in range(2):
        (result,) = convfuzz.check(f"{line}@integers.{draw}", [name]).results
        if has_known_defect(name, Case.parse(line)):
            assert result.verdict.failing, result
            continue
        assert result.verdict == "agree", result
        assert float(result.discrepancies["forward"].max_abs) == 0.0


@every_runtime
def test_gradients_are_declined_and_the_forward_pass_is_judged(name: str) -> None:
    """Of a case with gradients the runtime computes the forward pass."""
    framework_of(name)
    case = Case.parse("conv2d_n2_c3_o4_i7_k3_b_f32_grad@integers.1")
    assert not resolve(name).supports(case)
    (result,) = convfuzz.check(case, [name]).results
    assert (result.verdict, set(result.discrepancies)) == ("agree", {"forward"})


@every_runtime
def test_outputs_own_their_memory(name: str) -> None:
    """What a runtime returned stays as it is when the kept session runs again on other data."""
    framework_of(name)
    backend = resolve(name)
    first, second = (Case.parse(f"conv2d_n2_c3_o4_i7_k3_b_f32@normal.{draw}") for draw in (1, 2))
    tensors, others = make_tensors(first), make_tensors(second)
    if not name.endswith("inputs"):
        others = type(others)(others.x, tensors.w, tensors.b)  # the same weights: the same model
    y = backend.run(first, tensors)["forward"]
    kept = y.copy()
    assert not np.array_equal(backend.run(second, others)["forward"], kept)
    np.testing.assert_array_equal(y, kept)


@every_runtime
@pytest.mark.parametrize(
    "line", ["conv2d_c3_o4_g2_i5_k3_f32", "conv2d_c2_o3_i5_k3_s0_f32", "conv2d_c2_o3_i2_k3_f32", "conv2d_c2_o3_i5_k3_f32_bad-weight-rank"]
)
def test_a_rejection_is_silent(name: str, line: str, capfd: pytest.CaptureFixture[str]) -> None:
    """What is no convolution is rejected by an exception alone: no runtime logs to the terminal."""
    framework_of(name)
    if may_kill(name, Case.parse(line)):
        pytest.skip("this release is known to end the process on the case: frameworks.py")
    (result,) = convfuzz.check(line, [name]).results
    assert result.verdict == "agree"
    assert "rejected" in result.reason or "empty output" in result.reason
    assert capfd.readouterr() == ("", "")


@every_runtime
def test_known_defects_show(name: str) -> None:
    """What is left out because a runtime is wrong there is wrong there, unless it may end the process or needs a processor's bfloat16."""
    framework_of(name)
    for defect in KNOWN_DEFECTS[name]:
        if not defect.kills and "bfloat16" not in defect.what:
            (result,) = convfuzz.check(defect.example, [name]).results
            assert result.verdict.failing, defect.what


# -- the model ----------------------------------------------------------------------------------------------------


def test_models_are_valid_and_of_the_output_s_shape() -> None:
    """ONNX's checker accepts the model of every valid case, and its shape inference finds the shape that the case has."""
    onnx = pytest.importorskip("onnx", reason="the models are ONNX's")
    from onnx import shape_inference  # noqa: PLC0415 - it may be missing

    compared = 0
    for case in sample(cases(**SMALL, grad=(False,)), 200, seed=5):
        if any(concerned for _, concerned in onnx_model.declined(case)) or has_known_defect("onnxruntime", case):
            continue
        model = onnx.load_model_from_string(onnx_model.serialize(case, make_tensors(case), constant=True))
        onnx.checker.check_model(model, full_check=True)
        (y,) = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph.output
        shape = tuple(dim.dim_value for dim in y.type.tensor_type.shape.dim if dim.HasField("dim_value"))
        if len(shape) == len(case.config.output_shape):  # the inference leaves out what it cannot say
            assert shape == case.config.output_shape, case
            compared += 1
    assert compared > 50


def test_a_kernel_is_given_the_model_of_its_call() -> None:
    """``convfuzz.onnx_model`` makes a model of a kernel's arguments for a runtime of one's own, and refuses what ONNX has not."""
    runtime = framework_of("onnxruntime")

    @convfuzz.backend(dtypes=("float32",))
    def own(x: Any, w: Any, b: Any, config: convfuzz.ConvConfig) -> Any:
        model = convfuzz.onnx_model(config, x, w, b)
        (y,) = runtime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})
        return y

    for line in ("conv2d_n2_c4_o6_g2_i7_k3_s2_p1:2x0:3_b_f32@integers.1", "convt1d_n2_c3_o4_i7_k3_f32@integers.1"):
        (result,) = convfuzz.check(line, [own]).results
        assert result.verdict == "agree", result
    (result,) = convfuzz.check("conv2d_n-_c4_o6_i7_k3_f32@integers.1", [own]).results
    assert (result.verdict, result.reason) == ("unsupported", "ONNX has no such layer: an unbatched input")


@every_runtime
@pytest.mark.parametrize("mode", ["replicate", "reflect", "circular"])
def test_cropping_in_any_mode_is_no_mistake(name: str, mode: str) -> None:
    """Pad removes sites where a number is negative, whatever its mode: a runtime that takes what PyTorch refuses is not accused."""
    assert not resolve(name).supports(Case.parse(f"conv1d_c1_o1_i3_k1_p-1:0_pm{mode}_f32@zeros"))
    assert resolve(name).supports(Case.parse("conv1d_c1_o1_i3_k1_p-1:0_f32@zeros"))


def test_a_model_without_onnx_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who calls the builder where onnx is missing is told the extra."""
    monkeypatch.setitem(sys.modules, "onnx", None)
    case = Case.parse("conv1d_c1_o1_i3_k2_f32")
    tensors = make_tensors(case)
    with pytest.raises(ImportError, match=re.escape("pip install 'convfuzz[onnx]'")):
        convfuzz.onnx_model(case.config, tensors.x, tensors.w)


@pytest.mark.parametrize(("constant", "inputs", "initializers"), [(True, ["x"], ["w", "b"]), (False, ["x", "w", "b"], [])])
def test_weights_are_initializers_or_inputs(constant: bool, inputs: list[str], initializers: list[str]) -> None:  # noqa: FBT001
    """Weight and bias are constants of the model, as users ship it, or inputs of the graph; both compute the same."""
    onnx = pytest.importorskip("onnx", reason="the models are ONNX's")
    case = Case.parse("conv2d_c2_o3_i5_k3_b_f32@integers.1")
    tensors = make_tensors(case)
    graph = onnx.load_model_from_string(onnx_model.serialize(case, tensors, constant=constant)).graph
    assert [value.name for value in graph.input] == inputs == onnx_model.graph_inputs(case, constant=constant)
    assert [tensor.name for tensor in graph.initializer] == initializers


@pytest.mark.parametrize(
    ("line", "operators", "attributes"),
    [
        ("conv1d_c1_o1_i5_k3_psame_f32", ["Conv"], {"auto_pad": b"SAME_UPPER"}),
        ("conv1d_c1_o1_i5_k3_pvalid_f32", ["Conv"], {"auto_pad": b"VALID"}),
        ("conv1d_c1_o1_i5_k3_p1:2_f32", ["Conv"], {"pads": [1, 2]}),
        ("conv1d_c1_o1_i5_k3_p-1:2_f32", ["Pad", "Conv"], {}),
        ("conv1d_c1_o1_i5_k3_psame_pmreflect_f32", ["Pad", "Conv"], {}),
        ("conv1d_c1_o1_i5_k1_psame_pmreflect_f32", ["Conv"], {}),
        ("convt1d_c1_o1_i5_k3_s2_psame_f32", ["ConvTranspose"], {"auto_pad": b"SAME_UPPER"}),
        ("convt1d_c1_o1_i5_k3_s2_p1:0_op1_f32", ["ConvTranspose"], {"pads": [1, 0], "output_padding": [1]}),
    ],
)
def test_padding_reaches_the_operator_as_a_user_says_it(line: str, operators: list[str], attributes: dict[str, Any]) -> None:
    """Words are auto_pad, zeros at either side are pads, and the rest is a Pad node."""
    onnx = pytest.importorskip("onnx", reason="the models are ONNX's")
    case = Case.parse(line)
    nodes = onnx.load_model_from_string(onnx_model.serialize(case, make_tensors(case), constant=True)).graph.node
    assert [node.op_type for node in nodes] == operators
    found = {a.name: onnx.helper.get_attribute_value(a) for a in nodes[-1].attribute}
    assert {name: found[name] for name in ("auto_pad", "pads", "output_padding") if name in found} == attributes


# -- what is kept -------------------------------------------------------------------------------------------------


def test_few_and_small_models_stay_compiled() -> None:
    """A model that comes again is not compiled again; only the last few are kept, and no large one."""
    compiled: list[bytes] = []

    def compile_model(model: bytes) -> int:
        compiled.append(model)
        return len(compiled)

    kept = onnx_model.keeping(compile_model)
    assert [kept(b"a"), kept(b"b"), kept(b"a"), kept(b"b")] == [1, 2, 1, 2]
    for model in (b"c", b"d", b"e"):
        kept(model)
    assert kept(b"a") == 6
    large = bytes(2**21)
    assert (kept(large), kept(large)) == (7, 8)


def test_a_failed_compilation_is_tried_again() -> None:
    """What does not compile is not remembered: it raises each time."""
    framework_of("onnxruntime")
    backend = resolve("onnxruntime")
    case = Case.parse("conv2d_c3_o4_g2_i5_k3_f32")
    for _ in range(2):
        with pytest.raises(Exception, match="group"):
            backend.run(case, make_tensors(case))


# -- OpenVINO's import --------------------------------------------------------------------------------------------

LOAD = """
import os, sys, threading

forks = []
os.register_at_fork(before=lambda: forks.append(threading.current_thread()))
from convfuzz.backends import preload, resolve

preload("openvino")
resolve("openvino")
reporting = [name for name in sys.modules if name.startswith("openvino_telemetry")]
assert not reporting, reporting
assert threading.enumerate() == [threading.main_thread()], threading.enumerate()
assert not forks, forks
import openvino_telemetry
"""


def test_openvino_is_loaded_without_its_telemetry(tmp_path: Path) -> None:
    """Loading OpenVINO starts no thread, forks no process and reports nothing; who imports its telemetry afterwards has it."""
    framework_of("openvino")
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


# -- OpenVINO's precision -----------------------------------------------------------------------------------------


def test_openvino_declares_the_precision_that_the_plugin_reports() -> None:
    """As it comes, the plugin's inference precision is declared; in mode f32 it is float32 everywhere."""
    openvino = framework_of("openvino")
    narrow = openvino.Core().get_property("CPU", "INFERENCE_PRECISION_HINT") == openvino.Type.bf16
    case = Case.parse("conv2d_c3_o4_i5_k3_f32")
    declared = resolve("openvino").numerics(case)
    assert (declared.inputs, declared.outputs) == (("bfloat16", "bfloat16") if narrow else ("exact", "exact"))
    exact = resolve("openvino:f32").numerics(case)
    assert (exact.inputs, exact.outputs) == ("exact", "exact")


def test_openvino_s_bfloat16_is_read_as_it_is() -> None:
    """Operands and results of bfloat16 pass between NumPy and OpenVINO as their bits."""
    framework_of("openvino")
    case = Case.parse("conv2d_n2_c3_o4_i5_k3_b_bf16@normal.3")
    tensors = make_tensors(case)
    y = resolve("openvino").run(case, tensors)["forward"]
    assert y.dtype == tensors.x.dtype
    exact = convfuzz.reference(case.config, tensors.x, tensors.w, tensors.b).y
    # One unit in the last place: a processor without bfloat16 has numbers truncated.
    assert np.all(np.abs(y.astype(np.float64) - exact) <= 2.0**-7 * np.abs(exact) + 1e-3)
