"""Scripts and the code of bug reports fail where a bug is planted and end well where it is not, in an environment without convfuzz."""

from __future__ import annotations

import pytest

from convfuzz.reproduction.snippet import HANGS_AFTER_S, PEAK_GIB

from .alone import Alone, Ended
from .planted import Bug, code_of, finding_of, report_of, script_of

CONV2D, TRANSPOSED = "torch.nn.functional:conv2d", "torch.nn.functional:conv_transpose2d"
LINE = "conv2d_n2_c4_o4_g2_i6_k3_s2x1_p1_b_f32"
SPARSE = "conv2d_n2_c2_o3_i5x4_k3_p1_f32@x27=2_w17=-3"

TORCH = [
    Bug("wrong", LINE, f"{CONV2D}=doubled"),
    Bug("wrong", SPARSE, f"{CONV2D}=doubled"),
    Bug("wrong", "conv2d_c8_o3_i20_k5_f32@integers.3", f"{CONV2D}=doubled"),
    Bug("wrong", "conv2d_c2_o3_i6_k3_c64@normal.1", f"{CONV2D}=doubled"),
    Bug("wrong", "conv2d_c2_o3_i6_k3_bf16_cl@normal.1", f"{CONV2D}=doubled"),
    Bug("wrong", "conv2d_c2_o3_i6_k3_i32@integers.1", f"{CONV2D}=doubled"),
    Bug("imprecise", LINE, f"{CONV2D}=rounded_inputs"),
    Bug("non-finite", LINE, f"{CONV2D}=infinite"),
    Bug("wrong-shape", LINE, f"{CONV2D}=shortened"),
    Bug("wrong-dtype", LINE, f"{CONV2D}=widened"),
    Bug("error", LINE, f"{CONV2D}=raising"),
    Bug("accepted-invalid", "conv2d_c2_o3_i2_k3_f32", f"{CONV2D}=accepting"),
    Bug("nondeterministic", f"{LINE}@normal.3", f"{CONV2D}=wobbling"),
    Bug("corrupted-input", LINE, f"{CONV2D}=emptying"),
    Bug("wrong", f"{LINE}_grad", f"{CONV2D}=doubled_gradient", in_pass="grad_input"),
    Bug("wrong", "convt2d_n2_c4_o4_i5_k3_s2_p1_op1_b_f32@integers.1", f"{TRANSPOSED}=doubled"),
    Bug("wrong", LINE, f"{CONV2D}=doubled", backend="torch:channels_last"),
    Bug("wrong", LINE, f"{CONV2D}=doubled", backend="torch+split"),
    Bug("error", LINE, f"{CONV2D}=raising", backend="torch:native"),
    Bug("wrong", LINE, f"{CONV2D}=doubled", backend="torch+padded"),
    Bug("wrong", f"{LINE}_grad", f"{CONV2D}=doubled_gradient", backend="torch+subsampled", in_pass="grad_input"),
    Bug("wrong", f"{LINE}@integers.2", f"{CONV2D}=doubled", backend="torch+permuted"),
    Bug("wrong", "conv2d_c2_o3_i7_k3_d2_f32", f"{CONV2D}=doubled", backend="torch+zero-stuffed"),
    Bug("wrong", "conv2d_c2_o3_i7_k3_b_bf16", f"{TRANSPOSED}=doubled", backend="torch+adjoint"),
]
ENDS_THE_PROCESS = [
    Bug("crash", LINE, f"{CONV2D}=aborting"),
    Bug("timeout", LINE, f"{CONV2D}=hanging"),
    Bug("memory", LINE, f"{CONV2D}=hoarding"),
]
TENSORFLOW = [
    Bug("wrong", SPARSE, "tensorflow.nn:conv2d=doubled", backend="tensorflow"),
    Bug("wrong", f"{LINE.replace('_g2', '').replace('s2x1', 's2')}_grad", "tensorflow.nn:conv2d=doubled", backend="tensorflow"),
    Bug("non-finite", LINE.replace("_g2", ""), "tensorflow.nn:conv2d=infinite", backend="tensorflow"),
    Bug("error", "conv1d_c2_o3_i6_k3_f32", "tensorflow.nn:conv1d=raising", backend="tensorflow"),
    Bug("accepted-invalid", "conv2d_c2_o3_i5_k3_s0_f32", "tensorflow.nn:conv2d=accepting", backend="tensorflow"),
    Bug("nondeterministic", f"{LINE.replace('_g2', '')}@normal.3", "tensorflow.nn:conv2d=wobbling", backend="tensorflow"),
    Bug("wrong", "convt2d_c2_o3_i5_k3_s2_f32@integers.1", "tensorflow.nn:conv2d_transpose=doubled", backend="tensorflow"),
]
JAX = [
    Bug("wrong", SPARSE, "jax.lax:conv_general_dilated=doubled", backend="jax"),
    Bug("error", "conv1d_c2_o3_i6_k3_f32_grad", "jax.lax:conv_general_dilated=raising", backend="jax"),
]
RUNTIMES = [
    Bug("wrong", "conv2d_c2_o3_i5_k3_b_f32@integers.1", "onnxruntime:InferenceSession=model_doubled", backend="onnxruntime"),
    Bug("error", "conv2d_c2_o3_i5_k3_b_f32@integers.2", "onnxruntime:InferenceSession=raising", backend="onnxruntime"),
    Bug("wrong", "convt2d_c2_o3_i5_k3_f32@integers.1", "onnx.reference:ReferenceEvaluator=model_doubled", backend="onnx"),
    Bug("wrong", "conv2d_c2_o3_i5_k3_f32@integers.1", "openvino:Core=core_doubled", backend="openvino:f32"),
]
RUNS = ("code with the bug", "code without", "script with the bug", "script without")


def runs_of(alone: Alone, bugs: list[Bug], *frameworks: str) -> dict[tuple[str, str], Ended]:
    """Run script and report's code of each bug with the bug planted and without it."""
    programs = {}
    for bug in bugs:
        finding = finding_of(bug)
        code, script = code_of(report_of(finding)), script_of(finding)
        programs |= dict(
            zip(
                [f"{bug.line}{bug.name}\n{run}" for run in RUNS],
                [(code, bug.plant), (code, ""), (script, bug.plant), (script, "")],
                strict=True,
            )
        )
    ended = alone.run_all(programs, "numpy", *frameworks)
    return {(name.partition("\n")[0], name.partition("\n")[2]): result for name, result in ended.items()}


def assert_tells(ended: dict[tuple[str, str], Ended], bug: Bug) -> None:
    """Code and script fail with the bug, and say so, and end well without it."""
    with_bug, without, script_with_bug, script_without = (ended[bug.line + bug.name, run] for run in RUNS)
    assert with_bug.status == 1, with_bug.printed
    assert "Error" in with_bug.printed
    assert without.status == 0, without.printed
    assert script_with_bug.status == 1, script_with_bug.printed
    assert "BUG" in script_with_bug.printed
    assert script_without.status == 0, script_without.printed


def test_convfuzz_is_not_there(alone: Alone) -> None:
    """In that environment NumPy can be imported and convfuzz cannot."""
    ended = alone.python("-c", "import numpy\nimport convfuzz")
    assert ended.status == 1
    assert "No module named 'convfuzz'" in ended.printed


@pytest.fixture(scope="module")
def on_torch(alone: Alone) -> dict[tuple[str, str], Ended]:
    """Every run for PyTorch."""
    pytest.importorskip("torch", reason="the bugs are planted in torch")
    return runs_of(alone, TORCH, "torch")


@pytest.mark.parametrize("bug", TORCH, ids=lambda bug: bug.name)
def test_bug_planted_in_torch(on_torch: dict[tuple[str, str], Ended], bug: Bug) -> None:
    """Each kind of bug in PyTorch's functions is shown by script and report."""
    assert_tells(on_torch, bug)


@pytest.fixture(scope="module")
def on_tensorflow(alone: Alone) -> dict[tuple[str, str], Ended]:
    """Every run for TensorFlow."""
    pytest.importorskip("tensorflow", reason="the bugs are planted in tensorflow")
    return runs_of(alone, TENSORFLOW, "tensorflow")


@pytest.mark.parametrize("bug", TENSORFLOW, ids=lambda bug: bug.name)
def test_bug_planted_in_tensorflow(on_tensorflow: dict[tuple[str, str], Ended], bug: Bug) -> None:
    """Each kind of bug in TensorFlow's functions is shown by script and report."""
    assert_tells(on_tensorflow, bug)


@pytest.fixture(scope="module")
def on_jax(alone: Alone) -> dict[tuple[str, str], Ended]:
    """Every run for JAX."""
    pytest.importorskip("jax", reason="the bugs are planted in jax")
    return runs_of(alone, JAX, "jax")


@pytest.mark.parametrize("bug", JAX, ids=lambda bug: bug.name)
def test_bug_planted_in_jax(on_jax: dict[tuple[str, str], Ended], bug: Bug) -> None:
    """A bug in JAX's functions is shown by script and report."""
    assert_tells(on_jax, bug)


@pytest.fixture(scope="module")
def on_runtimes(alone: Alone) -> dict[tuple[str, str], Ended]:
    """Every run for the runtimes of ONNX models."""
    for name in ("onnx", "onnxruntime", "openvino"):
        pytest.importorskip(name, reason=f"a bug is planted in {name}")
    return runs_of(alone, RUNTIMES, "onnxruntime", "openvino", "onnx.reference")


@pytest.mark.parametrize("bug", RUNTIMES, ids=lambda bug: bug.name)
def test_bug_planted_in_a_runtime(on_runtimes: dict[tuple[str, str], Ended], bug: Bug) -> None:
    """A bug in a runtime is shown by script and report."""
    assert_tells(on_runtimes, bug)


@pytest.mark.parametrize("bug", ENDS_THE_PROCESS, ids=lambda bug: bug.name)
def test_bug_that_ends_the_process(alone: Alone, bug: Bug) -> None:
    """A crash, a call that does not return and one that fills the memory are shown by the report's code."""
    pytest.importorskip("torch", reason="the bugs are planted in torch")
    code = code_of(report_of(finding_of(bug)))
    code = code.replace(f"peak < {PEAK_GIB}", "peak < 0.5")
    ended = alone.python(alone.program(code.replace(f"later({HANGS_AFTER_S},", "later(1,")), plant=bug.plant)
    assert ended.status == (-6 if bug.verdict == "crash" else 1), ended.printed
    fixed = alone.python(alone.program(code))
    assert fixed.status == 0, fixed.printed


def test_script_of_a_crash(alone: Alone) -> None:
    """The script runs the call in a process of its own, and says how that ends."""
    pytest.importorskip("torch", reason="the bug is planted in torch")
    bug = ENDS_THE_PROCESS[0]
    program = alone.program(script_of(finding_of(bug)))
    ended = alone.python(program, plant=bug.plant)
    assert ended.status == 1
    assert "BUG: the process ended with status -6" in ended.printed
    assert alone.python(program).status == 0
