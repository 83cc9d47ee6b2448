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
Programs = dict[tuple[Bug, str], tuple[str, str]]
"""Sources by bug and run, each with what is planted."""
Runs = dict[tuple[Bug, str], Ended]


def programs_of(bugs: list[Bug]) -> Programs:
    """Return script and report's code of each bug, to be run with the bug planted and without it."""
    programs: Programs = {}
    for bug in bugs:
        finding = finding_of(bug)
        code, script = code_of(report_of(finding)), script_of(finding)
        for run, source, plant in zip(RUNS, (code, code, script, script), (bug.plant, "") * 2, strict=True):
            programs[bug, run] = (source, plant)
    return programs


def programs_that_end(bugs: list[Bug]) -> Programs:
    """Return the report's code of each bug, which hardly waits for what hangs and lets little memory be taken; and a crash's script."""
    programs: Programs = {}
    for bug in bugs:
        code = code_of(report_of(finding_of(bug))).replace(f"peak < {PEAK_GIB}", "peak < 0.5")
        programs[bug, RUNS[0]] = (code.replace(f"later({HANGS_AFTER_S},", "later(1,"), bug.plant)
        programs[bug, RUNS[1]] = (code, "")
    crash, script = bugs[0], script_of(finding_of(bugs[0]))
    return programs | {(crash, RUNS[2]): (script, crash.plant), (crash, RUNS[3]): (script, "")}


def assert_tells(ended: Runs, bug: Bug) -> None:
    """Code and script fail with the bug, and say so, and end well without it."""
    with_bug, without, script_with_bug, script_without = (ended[bug, run] for run in RUNS)
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
def on_torch(alone: Alone) -> Runs:
    """Every run for PyTorch."""
    pytest.importorskip("torch", reason="the bugs are planted in torch")
    return alone.run_all(programs_of(TORCH) | programs_that_end(ENDS_THE_PROCESS), "numpy", "torch")


@pytest.mark.parametrize("bug", TORCH, ids=lambda bug: bug.name)
def test_bug_planted_in_torch(on_torch: Runs, bug: Bug) -> None:
    """Each kind of bug in PyTorch's functions is shown by script and report."""
    assert_tells(on_torch, bug)


@pytest.fixture(scope="module")
def on_tensorflow(alone: Alone) -> Runs:
    """Every run for TensorFlow."""
    pytest.importorskip("tensorflow", reason="the bugs are planted in tensorflow")
    return alone.run_all(programs_of(TENSORFLOW), "numpy", "tensorflow")


@pytest.mark.parametrize("bug", TENSORFLOW, ids=lambda bug: bug.name)
def test_bug_planted_in_tensorflow(on_tensorflow: Runs, bug: Bug) -> None:
    """Each kind of bug in TensorFlow's functions is shown by script and report."""
    assert_tells(on_tensorflow, bug)


@pytest.fixture(scope="module")
def on_jax(alone: Alone) -> Runs:
    """Every run for JAX."""
    pytest.importorskip("jax", reason="the bugs are planted in jax")
    return alone.run_all(programs_of(JAX), "numpy", "jax")


@pytest.mark.parametrize("bug", JAX, ids=lambda bug: bug.name)
def test_bug_planted_in_jax(on_jax: Runs, bug: Bug) -> None:
    """A bug in JAX's functions is shown by script and report."""
    assert_tells(on_jax, bug)


@pytest.fixture(scope="module")
def on_runtimes(alone: Alone) -> Runs:
    """Every run for the runtimes of ONNX models."""
    for name in ("onnx", "onnxruntime", "openvino"):
        pytest.importorskip(name, reason=f"a bug is planted in {name}")
    return alone.run_all(programs_of(RUNTIMES), "numpy", "onnxruntime", "openvino", "onnx.reference")


@pytest.mark.parametrize("bug", RUNTIMES, ids=lambda bug: bug.name)
def test_bug_planted_in_a_runtime(on_runtimes: Runs, bug: Bug) -> None:
    """A bug in a runtime is shown by script and report."""
    assert_tells(on_runtimes, bug)


@pytest.mark.parametrize("bug", ENDS_THE_PROCESS, ids=lambda bug: bug.name)
def test_bug_that_ends_the_process(on_torch: Runs, bug: Bug) -> None:
    """A crash, a call that does not return and one that fills the memory are shown by the report's code."""
    ended, fixed = on_torch[bug, RUNS[0]], on_torch[bug, RUNS[1]]
    assert ended.status == (-6 if bug.verdict == "crash" else 1), ended.printed
    assert fixed.status == 0, fixed.printed


def test_script_of_a_crash(on_torch: Runs) -> None:
    """The script runs the call in a process of its own, and says how that ends."""
    ended, fixed = on_torch[ENDS_THE_PROCESS[0], RUNS[2]], on_torch[ENDS_THE_PROCESS[0], RUNS[3]]
    assert ended.status == 1
    assert "BUG: the process ended with status -6" in ended.printed
    assert fixed.status == 0, fixed.printed
