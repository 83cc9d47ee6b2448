"""What flushing subnormals, or rounding them, may cost is a sum over an element's own operands and products."""

from __future__ import annotations

import numpy as np
import pytest

from convfuzz import Case, Numerics, Verdict, assert_conv_close
from convfuzz.case import PASSES
from convfuzz.judging.judge import Judge
from convfuzz.judging.numerics import INPUT_ROUNDINGS
from convfuzz.judging.pass_sums import LayerSums
from convfuzz.oracle import gradients, reference
from convfuzz.tensors.generator import Tensors, make_tensors

FLUSHING = Numerics(flushes_subnormals=True)


def test_subnormals_of_another_channel_excuse_nothing() -> None:
    """Taps that are missing in one output channel are not covered by subnormal weights of another one."""
    x, w = np.ones((1, 256, 1), np.float16), np.full((2, 256, 1), 1 / 256, np.float16)
    w[1] = 6e-5
    y = np.array([[[1.0], [0.0]]], np.float16)
    assert_conv_close(y, x, w, numerics=FLUSHING)  # the second channel is flushed whole
    y[0, 0, 0] = 0.984
    with pytest.raises(AssertionError, match=r"^wrong: 1 of 2 elements"):
        assert_conv_close(y, x, w, numerics=FLUSHING)


def test_a_dropped_tap_is_not_called_flushing() -> None:
    """Of ordinary float16 weights dozens are subnormal; a tap that is dropped is larger than all of an element's together."""
    draw = np.random.default_rng(5)
    x, w = draw.standard_normal((1, 64, 6, 6)).astype(np.float16), (0.04 * draw.standard_normal((8, 64, 3, 3))).astype(np.float16)
    w.reshape(-1)[::50] = 2e-5
    case = Case.parse("conv2d_c64_o8_i6_k3_f16")
    judge = Judge(case, Tensors(x, w, None))
    less = w.copy()
    less[3, 5, 1, 1] = 0.0
    assert abs(float(w[3, 5, 1, 1])) > 1e-3
    wide = [a.astype(np.float64) for a in (x, less)]
    wrong = reference(case.config, *wide).y.astype(np.float16)
    found = judge.judge(wrong, Numerics())
    assert found.verdict.failing
    assert found.model != "flushed subnormals"
    assert judge.judge(wrong, FLUSHING).verdict.failing


@pytest.mark.parametrize(
    "line", ["conv2d_n2_c3_o4_i5_k3_p1_b_f16_grad@subnormal.3", "conv1d_n2_c4_o4_i9_k3_pmreflect_p2_b_f32_grad@subnormal.1"]
)
def test_flushed_operands_are_allowed(line: str) -> None:
    """Every pass of operands whose subnormals became zero is within the declared tolerance, which allows no more than S for them."""
    case = Case.parse(line)
    tensors = make_tensors(case)
    tiny = float(np.finfo(tensors.x.dtype).tiny)
    flushed = {n: np.where(np.abs(a.astype(np.float64)) < tiny, 0.0, a.astype(np.float64)) for n, a in tensors.named().items()}
    of_flushed = gradients(case.config, flushed["x"], flushed["w"], flushed["dy"])
    of_flushed["forward"] = reference(case.config, flushed["x"], flushed["w"], flushed["b"])
    judge, sums = Judge(case, tensors), LayerSums(case.config, tensors, integers=False)
    for in_pass in PASSES:
        expected = sums.of(in_pass).expected
        assert expected.S is not None
        assert np.all(sums.of(in_pass).operands.flushable() <= expected.S * (1 + 1e-12))
        y = of_flushed[in_pass].y.astype(tensors.x.dtype)
        y[np.abs(y) < tiny] = 0.0
        assert judge.judge(y, FLUSHING, in_pass).verdict is Verdict.AGREE


@pytest.mark.parametrize("name", INPUT_ROUNDINGS)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_operands_below_the_range_of_their_format_are_rounded(name: str, dtype: str) -> None:
    """Every pass of operands rounded to a format is within its declaration below that format's normal range too; twice that is not."""
    rounding = INPUT_ROUNDINGS[name]
    case = Case.parse(f"conv2d_n2_c3_o4_i5_k3_p1_b_{dtype}_grad@normal.3")
    drawn = make_tensors(case)
    scales = {"x": rounding.form.tiny / 64, "w": 1.0, "b": rounding.form.tiny / 64, "dy": rounding.form.tiny / 64}
    small = {n: (a.astype(np.float64) * scales[n]).astype(a.dtype) for n, a in drawn.named().items()}
    rounded = {n: rounding.apply(a.astype(np.float64)) for n, a in small.items()}
    passes = gradients(case.config, rounded["x"], rounded["w"], rounded["dy"])
    passes["forward"] = reference(case.config, rounded["x"], rounded["w"], rounded["b"])
    judge = Judge(case, Tensors(small["x"], small["w"], small["b"], small["dy"]))
    for in_pass in PASSES:
        assert judge.judge(passes[in_pass].y.astype(drawn.x.dtype), Numerics(inputs=name), in_pass).verdict is Verdict.AGREE
    doubled = 2 * passes["forward"].y.astype(drawn.x.dtype)
    assert judge.judge(doubled, Numerics(inputs=name)).verdict.failing


def test_a_bfloat16_model_of_tiny_operands_is_right() -> None:
    """2e-41 and 4.2e-40 have no bit and three bits in bfloat16: a model in it, whose bias is float32, is within its declaration."""
    bfloat16 = INPUT_ROUNDINGS["bfloat16"]
    x, w, b = np.array([[[2e-41], [4.2e-40]]], np.float32), np.array([[[-1], [1.24]]], np.float32), np.array([2.2e-40], np.float32)
    wide = (bfloat16.apply(a.astype(np.float64)) for a in (x, w))
    y = bfloat16.apply(reference(Case.parse("conv1d_c2_o1_i1_k1_b_f32").config, *wide, b.astype(np.float64)).y).astype(np.float32)
    assert_conv_close(y, x, w, b, numerics=Numerics(inputs="bfloat16", outputs="bfloat16"))
    with pytest.raises(AssertionError, match=r"^(wrong|imprecise).*: 1 of 1 elements"):
        assert_conv_close(y * 2, x, w, b, numerics=Numerics(inputs="bfloat16", outputs="bfloat16"))
