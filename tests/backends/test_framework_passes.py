"""The frameworks in every pass: transposed layers, gradients, dtypes and layouts, exact on integers."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from tensors.drawn import layer

import convfuzz
from convfuzz import Case, DataRecipe
from convfuzz.backends import Backend, resolve
from convfuzz.case import PASSES, REGIMES
from convfuzz.case.config import OPS
from convfuzz.case.dtypes import INTEGER_BITS
from convfuzz.errors import BackendError
from convfuzz.record.events import BackendEnded
from convfuzz.tensors.generator import make_tensors

from .frameworks import ADAPTERS, COMPILING, OF_THE_DOMAIN, drawn, worth_running

every_adapter = pytest.mark.parametrize("name", ADAPTERS)

TORCH = [
    # transposed layers, and what PyTorch has no argument for: unequal padding and a size that padding extends
    "convt1d_n2_c3_o4_i7_k3_b_f64_grad",
    "convt2d_n2_c4_o6_g2_i5x4_k3x2_s2x3_p1x0_op1x2_b_f32_grad",
    "convt3d_c2_o2_g2_i3x2x4_k2x3x1_s2_d2x1x3_p1_op1_f64_grad",
    "convt2d_n2_c2_o3_i5_k4_s2_p2:1x0:3_op1_b_f64_grad",
    "convt2d_n2_c2_o3_i5_k3_s3_p1:-1x0:-2_b_f64_grad",
    "convt2d_c2_o3_i5_k3_s2_psame_b_f32_grad",
    "convt1d_c2_o3_i5_k5_s2_psame_d2_b_f64_grad",
    "convt1d_n-_c2_o3_i5_k2_s2_b_f64_grad",
    "convt1d_n0_c2_o3_i5_k2_s2_b_f64_grad",
    # padding
    "conv2d_n2_c4_o6_g2_i7_k3_s2_p1:2x0:3_d1x2_b_f64_grad",
    "conv2d_n2_c2_o3_i7_k3_p-1:2x1:-2_b_f64_grad",
    "conv1d_n2_c2_o3_i7_k3_p2_pmreflect_b_f64_grad",
    "conv2d_n2_c2_o3_i7_k3_p2:0x1:3_pmreplicate_b_f64_grad",
    "conv3d_n2_c2_o3_i4_k3_p1_pmcircular_b_f32_grad",
    "conv2d_n2_c2_o3_i7x6_k4x3_psame_d1x2_b_f32_grad",
    # dtypes
    *(f"conv2d_n2_c4_o6_g2_i7_k3_s2_p1_b_{dtype}_grad" for dtype in ("f64", "f32", "f16", "bf16", "c64", "c128")),
    *(f"convt2d_n2_c4_o6_g2_i5_k3_s2_p1_op1_b_{dtype}_grad" for dtype in ("f64", "f32", "f16", "bf16", "c64", "c128")),
    *(f"conv2d_n2_c4_o6_g2_i7_k3_s2_p1_b_{dtype}" for dtype in ("i8", "i32", "i64")),
    "convt2d_n2_c4_o6_g2_i5_k3_s2_p1_op1_b_i64",
    # layouts, of input and weight apart
    *(f"conv2d_n2_c4_o4_g2_i7_k3_b_f64_{layout}_grad" for layout in ("cl", "nc", "ex", "of", "ls", "wcl", "wnc", "wex", "wof", "wls")),
    *(f"convt2d_n2_c4_o4_i7_k3_b_f32_{layout}_grad" for layout in ("cl", "nc", "ex", "of", "ls", "wcl", "wnc", "wex", "wof", "wls")),
    *(f"conv{t}2d_n2_c4_o4_i7_k3_b_f64_{layout}" for t in ("", "t") for layout in ("tr", "wtr", "tr_wcl")),
]
TENSORFLOW = [
    # what its transposed functions have no argument for is cut off a VALID one's output
    "convt1d_n2_c3_o4_i7_k3_b_f64_grad",
    "convt2d_n2_c4_o6_i5x4_k3x2_s2x3_p1x0_op1x2_b_f32_grad",
    "convt3d_c2_o2_i3x2x4_k2x3x1_s2_p1x1x0_op1_f64_grad",
    "convt2d_n2_c2_o3_i5_k4_s2_p2:1x0:3_op1_b_f64_grad",
    "convt1d_n2_c2_o3_i5_k4_s2_p2:1_op1_b_f64_grad",
    "convt2d_c2_o3_i5_k3_s2_psame_b_f32_grad",
    "convt1d_c2_o3_i5_k2_s4_psame_b_f64_grad",
    "convt3d_c2_o3_i3_k2_s2_psame_b_f64_grad",
    "conv2d_n2_c4_o6_i7_k3_s2_p1:2x0:3_b_f64_grad",
    "conv3d_n2_c4_o6_i5_k3_s2_p1:2x0:3x0_b_f64_grad",
    "conv1d_n2_c2_o3_i7_k3_p2_pmreflect_b_f64_grad",
    "conv2d_n2_c2_o3_i7x6_k4x3_s2_psame_b_f32_grad",
    "conv2d_n2_c4_o8_g4_i7_k3_s2_p1_b_f32_grad",  # depthwise
    *(f"conv2d_n2_c4_o6_i7_k3_s2_p1_b_{dtype}_grad" for dtype in ("f64", "f32", "f16", "bf16")),
    *(f"convt2d_n2_c4_o6_i5_k3_s2_p1_op1_b_{dtype}_grad" for dtype in ("f64", "f32", "f16", "bf16")),
    "conv2d_n2_c4_o6_g2_i7_k3_s2_p1_b_i32",
    *(f"conv2d_n2_c4_o4_i7_k3_b_f32_{layout}_grad" for layout in ("cl", "nc", "tr", "ex", "of", "ls", "wcl", "wnc", "wtr", "wex")),
    *(f"convt2d_n2_c4_o4_i7_k3_b_f32_{layout}_grad" for layout in ("cl", "nc", "tr", "ex", "of", "ls", "wcl", "wnc", "wtr", "wex")),
]
JAX = [
    # lax.conv_transpose: SAME, VALID, which covers every stride, and numbers, which are those of the convolution inside it
    "convt1d_n2_c3_o4_i7_k3_b_f64_grad",
    "convt2d_c2_o3_i5x4_k3_s2x4_psame_b_f32_grad",
    "convt1d_c2_o3_i5_k5_s2_psame_d2_b_f64_grad",
    "convt2d_c2_o3_i5x4_k2x1_s3x4_op1x3_b_f64_grad",  # VALID
    "convt2d_c2_o3_i5x4_k2x1_s3x4_op2x0_b_f64_grad",
    "convt2d_n2_c2_o3_i5_k4_s2_p2:1x0:3_op1_b_f64_grad",
    "convt3d_c2_o2_i3x2x4_k2x3x1_s2_d2x1x3_p1_op1_f64_grad",
    "convt2d_n2_c2_o3_i5_k3_s3_p-1:1x4:-2_b_f64_grad",
    # groups, for which conv_transpose has no argument
    "convt2d_n2_c4_o6_g2_i5x4_k3x2_s2x3_p1x0_op1x2_b_f32_grad",
    "convt2d_n2_c4_o6_g2_i5_k3_s2_psame_b_f64_grad",
    "convt3d_c4_o2_g2_i3x2x4_k2x3x1_s2_d2x1x3_p1_op1_f64_grad",
    # padding
    "conv2d_n2_c4_o6_g2_i7_k3_s2_p1:2x0:3_d1x2_b_f64_grad",
    "conv2d_n2_c2_o3_i7_k3_p-1:2x1:-2_b_f64_grad",
    "conv2d_n2_c2_o3_i7x6_k4x3_s3x2_psame_d1x2_b_f32_grad",
    "conv3d_c2_o4_g2_i5_k2_s2_psame_b_f64_grad",
    "conv1d_n2_c2_o3_i7_k3_p2_pmreflect_b_f64_grad",
    "conv2d_n2_c2_o3_i7_k3_p2:0x1:3_pmreplicate_b_f64_grad",
    "conv3d_n2_c2_o3_i4_k3_p1_pmcircular_b_f32_grad",
    # dtypes; the gradients of complex ones are PyTorch's, the conjugates of JAX's own
    *(f"conv2d_n2_c4_o6_g2_i7_k3_s2_p1_b_{dtype}_grad" for dtype in ("f16", "bf16", "c64", "c128")),
    *(f"convt2d_n2_c4_o6_g2_i5_k3_s2_p1_op1_b_{dtype}_grad" for dtype in ("f16", "bf16", "c128")),
    *(f"conv2d_n2_c4_o6_g2_i7_k3_s2_p1_b_{dtype}" for dtype in ("i8", "i32", "i64")),
    *(f"conv2d_n2_c4_o4_i7_k3_b_f32_{layout}_grad" for layout in ("cl", "nc", "tr_wex")),
]
MLX = [
    # one function for zeros that are equal on both sides, conv_general for the others
    "convt1d_n2_c3_o4_i7_k3_b_f32_grad",
    "convt2d_n2_c4_o6_g2_i5x4_k3x2_p1x0_b_f32_grad",
    "convt2d_n2_c4_o6_g2_i5x4_k3x2_s2x3_p1x0_op1x2_b_f32",
    "convt3d_c2_o2_i3x2x4_k2x3x1_s2_d2x1x3_op1_f32",
    "convt2d_n2_c2_o3_i5_k4_s2_p2:1x0:3_op1_b_f32",
    "convt2d_c2_o3_i5_k3_s2_psame_b_f32",
    "convt1d_n2_c2_o3_i5_k4_p2:1_b_f32_grad",
    "conv1d_n2_c4_o6_g2_i7_k3_s2_p2_b_f32_grad",
    "conv2d_n2_c4_o6_g2_i7_k3_s2_p1:2x0:3_d1x2_b_f32_grad",
    "conv2d_n2_c2_o3_i7_k3_p-1:2x1:-2_b_f32_grad",
    "conv2d_n2_c2_o3_i7x6_k4x3_s3x2_psame_d1x2_b_f32_grad",
    "conv3d_n2_c2_o3_i5_k3_s2_p1_b_f32_grad",
    "conv1d_n2_c2_o3_i7_k3_p2_pmreflect_b_f32_grad",
    "conv2d_n2_c2_o3_i7_k3_p2:0x1:3_pmreplicate_b_f32_grad",
    "conv1d_n2_c2_o3_i7_k3_s2_p1_b_f64",
    *(f"conv2d_n2_c4_o6_g2_i7_k3_s2_p1_b_{dtype}_grad" for dtype in ("f16", "bf16")),
    *(f"convt2d_n2_c4_o6_g2_i5_k3_s2_p1_op1_b_{dtype}" for dtype in ("f16", "bf16")),
    *(f"conv2d_n2_c4_o4_i7_k3_b_f32_{layout}_grad" for layout in ("cl", "nc", "tr", "ex", "of", "ls", "wcl", "wnc", "wtr", "wex")),
]
MODULES = [
    "convt1d_n2_c3_o4_i7_k3_b_f64_grad",
    "convt2d_n2_c4_o6_g2_i5x4_k3x2_s2x3_p1x0_op1x2_b_f32_grad",
    "convt3d_c2_o2_g2_i3x2x4_k2x3x1_s2_d2x1x3_p1_op1_f64_grad",
    "convt1d_n-_c2_o3_i5_k2_s2_b_f64_grad",
    "conv2d_n2_c4_o6_g2_i7_k3_s2_p2x1_d1x2_b_f64_grad",
    *(f"conv{dims}d_n2_c2_o3_i5_k3_p1_pm{mode}_b_f64_grad" for dims in (1, 2, 3) for mode in ("reflect", "replicate", "circular")),
    *(f"conv2d_c2_o3_i7x6_k4x3_psame_d1x2{mode}_b_f32_grad" for mode in ("", "_pmreflect", "_pmreplicate", "_pmcircular")),
    *(f"conv2d_n2_c4_o6_g2_i7_k3_s2_p1_b_{dtype}_grad" for dtype in ("f16", "bf16", "c64", "c128")),
    *(f"conv2d_n2_c4_o6_g2_i7_k3_s2_p1_b_{dtype}" for dtype in ("i8", "i32", "i64")),
    *(f"conv2d_n2_c4_o4_g2_i7_k3_b_f64_{layout}_grad" for layout in ("cl", "nc", "ex", "of", "ls", "wcl", "wnc")),
]
TRACED = TENSORFLOW[2:12:2]
JITTED = [
    "conv2d_n2_c4_o6_g2_i7_k3_s2_p1_b_c64_grad",
    "convt2d_n2_c4_o6_g2_i5_k3_s2_psame_b_f64_grad",
    "conv1d_c2_o3_i7_k3_p2_pmreflect_b_bf16",
]
LINES = {
    "torch": TORCH,
    "torch:native": TORCH,
    "torch:nn": MODULES,
    "tensorflow": TENSORFLOW,
    "tensorflow:graph": TRACED,
    "tensorflow:xla": TRACED,
    "jax": JAX,
    "jax:jit": JITTED,
    "mlx": MLX,
}
TABLE = [(name, line) for name, lines in LINES.items() for line in lines]


def ended(backend: str | Backend, case: Case | str) -> BackendEnded:
    """Check one backend on one case."""
    (result,) = convfuzz.check(case, [backend]).results
    return result


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize(("name", "line"), TABLE)
def test_every_pass_is_exact_on_integers(name: str, line: str) -> None:
    """On integers the framework gives the reference's numbers in the forward pass and in every gradient, nothing declined."""
    pytest.importorskip(name.partition(":")[0], reason="the framework is what is tested")
    for seed in range(3):
        case = Case.parse(f"{line}@integers.{seed}")
        result = ended(name, case)
        assert result.verdict == "agree", result
        assert set(result.discrepancies) == set(case.passes)
        assert {float(found.max_abs) for found in result.discrepancies.values()} <= {0.0}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@every_adapter
def test_layers_of_every_kind_agree(name: str) -> None:
    """On layers of every op, dtype, padding and layout, and data of every regime, the framework agrees in each pass or declines.

    One that compiles for each layer runs a few, which show all that these layers and those of the whole domain show together.
    """
    pytest.importorskip(name.partition(":")[0], reason="the framework is what is tested")
    backend, rng = resolve(name), random.Random(20261122)  # noqa: S311 - no secret
    failures, compared = [], Counter[Any]()
    layers = [Case(layer(rng), DataRecipe(rng.choice(list(REGIMES)), rng.randrange(10_000)), rng.random() < 0.5) for _ in range(900)]
    for case in worth_running(backend, [*layers, *drawn(*OF_THE_DOMAIN)] if name in COMPILING else layers):
        checked = convfuzz.check(case, [backend])
        for result in checked.results:
            if result.verdict.failing:
                failures.append(f"{case}: {result.verdict} in {result.in_pass}, {result.reason}")
            for in_pass in result.discrepancies:
                compared.update([in_pass, case.config.op, case.config.dtype, case.config.dims, case.config.padding_mode])
    assert failures == []
    left_out = {"torch:avx2": ("float16", "bfloat16"), "mlx": ("float64",)}.get(name, ())
    few = {
        what: compared[what]
        for what in {*PASSES, *OPS, "float32", "float64", "float16", "bfloat16"} - {*left_out}
        if compared[what] < (1 if name in COMPILING else 5)
    }
    assert few == {}


@every_adapter
@pytest.mark.parametrize("dtype", ["i8", "i32", "i64"])
def test_integers_wrap_around(name: str, dtype: str) -> None:
    """Sums beyond an integer dtype wrap around, as the reference's do, where the framework computes them at all."""
    pytest.importorskip(name.partition(":")[0], reason="the framework is what is tested")
    result = ended(name, f"conv2d_n2_c3_o4_i7_k3_b_{dtype}@huge.1")
    computes = name != "mlx" and (not name.startswith("tensorflow") or dtype == "i32")
    assert (result.verdict, bool(result.discrepancies)) == (("agree", True) if computes else ("unsupported", False))


@every_adapter
def test_integers_have_no_gradients(name: str) -> None:
    """The gradients of an integer layer are declined, and its forward pass is judged."""
    pytest.importorskip(name.partition(":")[0], reason="the framework is what is tested")
    backend = resolve(name)
    for dtype in INTEGER_BITS:
        case = Case.parse("conv2d_n2_c3_o4_i7_k3_b_f32_grad@integers.1")
        case = Case(case.config.replace(dtype=dtype), case.recipe, grad=True)
        assert not backend.supports(case)
        assert set(ended(backend, case).discrepancies) <= {"forward"}


@every_adapter
@pytest.mark.parametrize("line", ["conv2d_n2_c3_o4_i7_k3_b_f32", "convt2d_n2_c3_o4_i7_k3_s2_b_f64", "conv1d_n2_c3_o4_i7_k3_b_f32"])
def test_outputs_own_their_memory(name: str, line: str) -> None:
    """What a framework returned stays as it is when the next case runs: no output is a view of a buffer that is used again."""
    pytest.importorskip(name.partition(":")[0], reason="the framework is what is tested")
    backend = resolve(name)
    case = Case.parse(f"{line}_grad@normal.1")
    if not backend.supports(case):
        return
    first = backend.run(case, make_tensors(case))
    kept = {in_pass: output.copy() for in_pass, output in first.items()}
    backend.run(Case(case.config, DataRecipe("normal", 2), grad=True), make_tensors(Case(case.config, DataRecipe("normal", 2), grad=True)))
    assert {in_pass: output.tobytes() for in_pass, output in first.items()} == {p: output.tobytes() for p, output in kept.items()}


def test_complex_gradients_of_jax_are_conjugated_to_pytorch_s() -> None:
    """Ours are those of Re Σ conj(y)·dy, as PyTorch has them; ``jax.vjp`` alone transposes and does not conjugate."""
    jax = pytest.importorskip("jax", reason="the convention is JAX's")
    case = Case.parse("conv1d_c1_o1_i1_k1_c64_grad@normal.5")
    outputs, tensors = resolve("jax").run(case, make_tensors(case)), make_tensors(case)
    assert tensors.dy is not None
    np.testing.assert_allclose(outputs["grad_input"], tensors.w.conj() * tensors.dy, rtol=1e-5)
    _, vjp = jax.vjp(lambda x: x * tensors.w, tensors.x)
    np.testing.assert_allclose(vjp(tensors.dy)[0], tensors.w * tensors.dy, rtol=1e-5)


def test_cuda_modes_need_a_device() -> None:
    """Without a CUDA device the modes that need one say so, and name the PyTorch that sees none."""
    torch = pytest.importorskip("torch", reason="the modes are torch's")
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    for mode in ("cuda", "cuda-tf32", "cuda-channels_last", "cuda-benchmark", "cuda-deterministic"):
        with pytest.raises(BackendError, match=f"backend 'torch:{mode}' needs a CUDA device; PyTorch {torch.__version__.split('+')[0]}"):
            resolve(f"torch:{mode}")
