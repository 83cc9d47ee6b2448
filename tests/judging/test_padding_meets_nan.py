"""Where padding meets NaN and Inf, pass by pass: left out or multiplied by a written zero, both are right, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensors.drawn import whole_layers

from convfuzz.case import Case, DataRecipe
from convfuzz.case.config import ConvConfig
from convfuzz.judging.judge import Judge
from convfuzz.judging.numerics import Numerics
from convfuzz.judging.pass_sums import LayerSums
from convfuzz.tensors.generator import Tensors, make_tensors
from convfuzz.verdicts import Verdict

from . import written_zeros
from .rounding import Array, correct, rounded

PLAIN = Numerics()


@st.composite
def special_cases(draw: st.DrawFn) -> Case:
    """Draw float64 layers with a batch, without a bias, and data with NaN and Inf; the bias meets no padding."""
    config = draw(whole_layers(dtypes=("float64",)))
    channels = {"in_channels": max(config.in_channels, config.groups)}
    config = config.replace(batch=config.batch or 1, bias=False, layout="contiguous", weight_layout=None, **channels)
    return Case(config, DataRecipe("special", draw(st.integers(0, 9999))), grad=True)


def with_written_zeros(case: Case, tensors: Tensors) -> dict[str, Array]:
    """Compute the passes with every zero multiplied."""
    assert tensors.dy is not None
    with np.errstate(all="ignore"):
        return {
            "forward": written_zeros.forward(case.config, tensors.x, tensors.w),
            **written_zeros.gradients(case.config, tensors.x, tensors.w, tensors.dy),
        }


@settings(deadline=None, max_examples=80)
@given(case=special_cases())
def test_written_zeros_are_right_on_finite_data(case: Case) -> None:
    """On integers the implementation with written zeros is the reference, in every pass."""
    case = Case(case.config, DataRecipe("integers", case.recipe.seed), grad=True)
    tensors = make_tensors(case)
    expected = correct(case, tensors)
    for in_pass, output in with_written_zeros(case, tensors).items():
        np.testing.assert_array_equal(output, expected[in_pass], err_msg=in_pass)


@settings(deadline=None, max_examples=250)
@given(case=special_cases())
def test_undecided_is_where_a_written_zero_meets_nan(case: Case) -> None:
    """Written zeros give NaN exactly where the reference has NaN and where the specification leaves the element open.

    A weight's gradient may be a sum over either operand with zeros written around the other: here only one is.
    """
    tensors = make_tensors(case)
    sums = LayerSums(case.config, tensors, integers=False)
    for in_pass, output in with_written_zeros(case, tensors).items():
        of_pass = sums.of(in_pass)
        may_be = np.zeros(output.shape, dtype=bool) if of_pass.may_be_nan is None else of_pass.may_be_nan
        allowed = may_be | np.isnan(of_pass.expected.y)
        if in_pass == "grad_weight":
            assert (allowed | ~np.isnan(output)).all()
        else:
            np.testing.assert_array_equal(np.isnan(output), allowed, err_msg=in_pass)


@settings(deadline=None, max_examples=120)
@given(case=special_cases())
def test_both_conventions_agree(case: Case) -> None:
    """The reference's results and those with written zeros agree in every pass; a NaN more elsewhere does not."""
    tensors = make_tensors(case)
    judge = Judge(case, tensors)
    for in_pass, output in (*correct(case, tensors).items(), *with_written_zeros(case, tensors).items()):
        found = judge.judge(output, PLAIN, in_pass)
        assert found.verdict is Verdict.AGREE, (in_pass, found)
        undecided = judge.of(in_pass)._sums.may_be_nan
        decided = np.isfinite(output) & ~(np.zeros(output.shape, bool) if undecided is None else undecided)
        if decided.any():
            spoilt = output.copy()
            spoilt[tuple(np.argwhere(decided)[0])] = np.nan
            assert judge.judge(spoilt, PLAIN, in_pass).verdict is Verdict.NON_FINITE


@pytest.mark.parametrize("in_pass", ["forward", "grad_input", "grad_weight"])
def test_what_a_tap_brings_is_demanded_where_padding_may_bring_more(in_pass: str) -> None:
    """Where NaN may come of padding too, NaN and Inf that a tap brings are as wrong when lost as anywhere; Inf may become NaN."""
    hits = 0
    for line in ("conv2d_n2_c2_o6_g2_i6x17_k6_pvalid_f64", "convt2d_n2_c3_o2_i5_k3_s2_p1_f64", "conv2d_n2_c3_o3_i6_k3_p1_f32"):
        for seed in range(9630, 9650):
            case = Case(Case.parse(line).config, DataRecipe("special", seed), grad=True)
            tensors = make_tensors(case)
            judge, right = Judge(case, tensors), correct(case, tensors)[in_pass]
            may_be_nan = judge.of(in_pass)._sums.may_be_nan
            if may_be_nan is None:
                continue
            for at in np.argwhere(may_be_nan & ~np.isfinite(right))[:3]:
                hits += 1
                for value, verdict in ((0.0, Verdict.NON_FINITE), (np.nan, Verdict.AGREE)):
                    output = right.copy()
                    output[tuple(at)] = value
                    assert judge.judge(output, PLAIN, in_pass).verdict is verdict
    assert hits > 20


@pytest.mark.parametrize("in_pass", ["forward", "grad_input", "grad_weight"])
def test_a_number_is_judged_where_padding_may_bring_nan(in_pass: str) -> None:
    """An element that padding may make NaN is held to its tolerance where it is a number."""
    case = Case.parse("conv1d_c1_o1_i4_k3_p1_f32_grad")
    tensors = make_tensors(case)
    assert tensors.dy is not None
    tensors.w[..., 0] = np.nan
    tensors.dy[..., 0] = np.nan
    judge, right = Judge(case, tensors), correct(case, tensors)[in_pass]
    may_be_nan = judge.of(in_pass)._sums.may_be_nan
    assert may_be_nan is not None
    (at, *_) = np.argwhere(may_be_nan)
    is_number = np.isfinite(right[tuple(at)])
    off = Verdict.WRONG if is_number else Verdict.NON_FINITE
    for value, verdict in ((right[tuple(at)], Verdict.AGREE), (np.nan, Verdict.AGREE), (77.0, off), (np.inf, Verdict.NON_FINITE)):
        output = right.copy()
        output[tuple(at)] = value
        assert judge.judge(output, PLAIN, in_pass).verdict is verdict, value


@settings(deadline=None, max_examples=80)
@given(config=whole_layers(dtypes=("float32",)), seed=st.integers(0, 9999))
def test_copies_leave_no_forward_pass_open(config: ConvConfig, seed: int) -> None:
    """Where padding copies input elements every tap is there: only a gradient that adds copies up, or sums over them, may be open."""
    if config.padding_mode != "zeros":
        tensors = make_tensors(Case(config, DataRecipe("special", seed), grad=True))
        sums = LayerSums(config, tensors, integers=False)
        assert sums.of("forward").may_be_nan is None
        assert (sums.of("grad_weight").may_be_nan is None) == bool(np.isfinite(tensors.x).all())
        open_elements = sums.of("grad_input").may_be_nan
        assert (open_elements is None) == bool(np.isfinite(tensors.w).all())


@pytest.mark.parametrize("in_pass", ["grad_bias", "grad_weight"])
def test_a_sum_without_padding_is_decided(in_pass: str) -> None:
    """The bias's gradient meets no padding, and without padding no weight's gradient does."""
    case = Case.parse("conv1d_c2_o2_i6_k3_b_f32_grad@normal.1")
    tensors = make_tensors(case)
    assert tensors.dy is not None
    tensors.dy[0, 1, 2] = np.inf
    judge, expected = Judge(case, tensors), correct(case, tensors)
    assert judge.judge(expected[in_pass], PLAIN, in_pass).verdict is Verdict.AGREE
    assert not np.isfinite(expected[in_pass]).all()
    lost = np.where(np.isfinite(expected[in_pass]), expected[in_pass], np.float32(0))
    assert judge.judge(lost, PLAIN, in_pass).verdict is Verdict.NON_FINITE
    assert rounded(judge.of(in_pass).expected.y, case).tobytes() == expected[in_pass].tobytes()
