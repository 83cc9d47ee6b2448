"""What is decided in one pass, or after a look at a few elements, is what the whole judgement says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convfuzz import Case, Numerics, Verdict
from convfuzz.case.dtypes import component_format, numpy_dtype
from convfuzz.judging.float_judge import FloatJudge
from convfuzz.judging.judge import Judge
from convfuzz.judging.pass_sums import LayerSums
from convfuzz.tensors import make_tensors

LINES = (
    "conv2d_n2_c6_o4_g2_i7x5_k3x2_s2x1_p1_b_{}_grad@normal.3",
    "conv1d_n-_c5_o3_i9_k4_p2_d2_b_{}_grad@cancellation.5",
    "convt2d_n3_c4_o6_g2_i4x3_k3_s2_p1_op1_{}_grad@positive.1",
    "conv2d_n2_c3_o2_i6_k3_p2_pmreflect_b_{}_grad@tiny.2",
    "conv1d_n2_c3_o2_i6_k3_p9_b_{}_grad@sparse.2",
    "conv3d_c2_o2_i4x3x5_k2_{}_grad@huge.7",
)
DECLARED: tuple[Numerics, ...] = (
    Numerics(),
    Numerics(flushes_subnormals=True, bias="separate"),
    Numerics(inputs="bfloat16", accumulator="float32"),
)


def nearly_right(judge: Judge, in_pass: str, share: float) -> Any:
    """Return what is right but for about a share of the tolerance, another one of it for each element, rounded to the dtype."""
    dtype, y = judge.case.config.dtype, judge.of(in_pass).expected.y
    tolerance = judge.errors(y.astype(numpy_dtype(dtype)), Numerics(), in_pass)[1]
    off = np.random.default_rng(1).uniform(-share, share, y.shape) * tolerance
    return component_format(dtype).round(y + off).astype(numpy_dtype(dtype))


@pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "bf16"])
@pytest.mark.parametrize("line", LINES)
def test_what_agrees_is_judged_alike_in_one_pass(line: str, dtype: str) -> None:
    """Every figure is that of the judgement that looks at all of it, bit for bit, and nothing passes that does not there."""
    case = Case.parse(line.format(dtype))
    judge, at_once = Judge(case, make_tensors(case)), 0
    for in_pass in case.passes:
        one = judge.of(in_pass)
        assert isinstance(one, FloatJudge)
        for declared in DECLARED:
            for share in (0.0, 0.5, 1.0, 3.0):
                output = nearly_right(judge, in_pass, share).astype(np.float64)
                found, whole = one._agreeing(output, declared), one._judge_rounded(output, declared)
                assert (found is None) or (whole.verdict is Verdict.AGREE and found == whole.discrepancy)
                at_once += found is not None
    assert at_once >= 12


def test_nothing_that_is_off_agrees_in_one_pass() -> None:
    """One element beyond its tolerance, NaN or Inf, wherever it is, is for the whole judgement to see."""
    case = Case.parse("conv2d_n2_c3_o4_i5_k3_p1_b_f32@normal.1")
    judge = Judge(case, make_tensors(case))
    right, tolerance = (
        nearly_right(judge, "forward", 0.0).astype(np.float64),
        judge.errors(np.zeros((2, 4, 5, 5), np.float32), Numerics())[1],
    )
    one = judge.of("forward")
    assert isinstance(one, FloatJudge)
    for at in (0, 17, right.size - 1):
        for wrong in (right.flat[at] + 3.0 * tolerance.flat[at], np.nan, np.inf):
            output = right.copy()
            output.flat[at] = wrong
            assert one._agreeing(output, Numerics()) is None
            assert judge.judge(output.astype(np.float32), Numerics()).verdict.failing


@pytest.mark.parametrize("accumulator", ["float16", "bfloat16"])
def test_what_short_sums_cover_is_what_their_tolerance_says(accumulator: str) -> None:
    """Whether errors are covered is the same as their whole tolerance says, for errors of all sizes and of one element or all."""
    case = Case.parse("conv2d_n2_c24_o4_i5_k3_p1_f16@positive.1")
    declared, answers = Numerics(accumulator=accumulator), set()  # type: ignore[arg-type]
    for share in 2.0 ** np.arange(-9.0, 3.0):
        for of_all in (True, False):
            whole, asked = (LayerSums(case.config, make_tensors(case), integers=False).of("forward") for _ in range(2))
            error = share * np.abs(whole.expected.y) * (np.ones(whole.expected.y.shape) if of_all else 0.0)
            error.flat[5] = share * abs(whole.expected.y.flat[5])
            above = np.random.default_rng(2).random(error.shape) < 0.5
            said = asked.covers(declared, error, above)
            assert said == (not np.any(error > whole.tolerance(declared, error, above)))
            answers.add(said)
    assert answers == {True, False}
