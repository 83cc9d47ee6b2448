"""What flushing subnormals may cost is a sum over an element's own operands and products."""

from __future__ import annotations

import numpy as np
import pytest

from convfuzz import Case, Numerics, Verdict, assert_conv_close
from convfuzz.case import PASSES
from convfuzz.judging.judge import Judge
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
