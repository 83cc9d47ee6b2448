"""Verdicts on gradients: each pass against its own sums, exact on integers and within the derived tolerance elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle.definition import Index, products
from tensors.drawn import COMPLEX, FLOATING, seeds, whole_layers

from convfuzz.case import REGIMES, Case, DataRecipe
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import FLOATS, is_complex
from convfuzz.judging.judge import Judge
from convfuzz.judging.judgement import settle
from convfuzz.judging.numerics import Numerics
from convfuzz.judging.pass_sums import LayerSums
from convfuzz.tensors.generator import Tensors, make_tensors
from convfuzz.verdicts import Verdict

from .rounding import Array, correct, rounded

PLAIN = Numerics()
GRADIENTS = ("grad_input", "grad_weight", "grad_bias")
LAYERS = [
    "conv2d_n2_c4_o4_g2_i7_k3_s2_p1_b",
    "conv1d_n3_c3_o2_i12_k4_d2_b",
    "convt2d_n2_c3_o4_i5_k3_s2_p1_op1_b",
    "conv1d_n2_c3_o3_i9_k3_p1_pmcircular_b",
]


@settings(deadline=None, max_examples=200)
@given(
    config=whole_layers(dtypes=(*FLOATING, *COMPLEX)),
    regime=st.sampled_from(list(REGIMES)),
    seed=seeds,
    numerics=st.sampled_from([PLAIN, Numerics(algorithm="transform"), Numerics(gradients=Numerics(accumulator="float64"))]),
)
def test_correctly_rounded_gradients_agree(config: ConvConfig, regime: str, seed: int, numerics: Numerics) -> None:
    """The reference's own gradients, rounded once, agree in every pass, regime and dtype, whatever a backend declares."""
    if regime == "special" and is_complex(config.dtype):
        regime = "normal"
    case = Case(config, DataRecipe(regime, seed), grad=True)
    tensors = make_tensors(case)
    judge = Judge(case, tensors)
    for in_pass, output in correct(case, tensors).items():
        found = judge.judge(output, numerics, in_pass)
        assert found.verdict is Verdict.AGREE, (in_pass, found)
        assert found.discrepancy is not None
        assert found.discrepancy.elements in (output.size, 2 * output.size)


def without_one_tap(case: Case, tensors: Tensors, in_pass: str) -> Array:
    """Compute one gradient without a tap: of the input's without the largest weight, of the others without an output gradient."""
    lost = {"grad_input": "w", "grad_weight": "dy", "grad_bias": "dy"}[in_pass]
    array = tensors.named()[lost].copy()
    array[np.unravel_index(np.argmax(np.abs(array.astype(np.complex128))), array.shape)] = 0
    return correct(case, replace(tensors, **{lost: array}))[in_pass]


@pytest.mark.parametrize("in_pass", GRADIENTS)
@pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "bf16", "c64", "c128"])
@pytest.mark.parametrize("layer", LAYERS)
def test_a_dropped_tap_is_caught_in_each_gradient(layer: str, dtype: str, in_pass: str) -> None:
    """A gradient without one of its products is suspect on any data, and wrong once integers are asked."""
    whole = Case.parse(f"{layer}_{dtype}_grad@integers.8")
    integers = make_tensors(whole)
    exact = Judge(whole, integers).judge(without_one_tap(whole, integers, in_pass), PLAIN, in_pass)
    assert (exact.verdict, exact.suspect) == (Verdict.WRONG, False)
    for regime in ("normal", "positive", "cancellation", "tiny"):
        case = Case(whole.config, DataRecipe(regime, 5), grad=True)
        tensors = make_tensors(case)
        found = Judge(case, tensors).judge(without_one_tap(case, tensors, in_pass), PLAIN, in_pass)
        assert found.verdict in (Verdict.WRONG, Verdict.IMPRECISE), regime
        assert found.suspect
        assert settle(found, exact).verdict is Verdict.WRONG


@pytest.mark.parametrize("in_pass", ["forward", *GRADIENTS])
def test_each_pass_is_judged_by_its_own_sums(in_pass: str) -> None:
    """An error of one unit in one element is found in whichever pass it is, and leaves the other passes alone."""
    case = Case.parse("conv2d_n2_c4_o4_g2_i7_k3_s2_p1_b_f32_grad@integers.3")
    tensors = make_tensors(case)
    judge, outputs = Judge(case, tensors), correct(case, tensors)
    outputs[in_pass].flat[2] += 1
    for other, output in outputs.items():
        found = judge.judge(output, PLAIN, other)
        assert (found.verdict is Verdict.WRONG) == (other == in_pass)
    assert found.discrepancy is not None


@pytest.mark.parametrize("in_pass", GRADIENTS)
def test_shape_and_dtype_of_a_gradient(in_pass: str) -> None:
    """A gradient has the shape of what it is the gradient of, and the case's dtype."""
    case = Case.parse("conv2d_n2_c4_o6_g2_i7_k3_b_f32_grad@normal.3")
    tensors = make_tensors(case)
    judge, output = Judge(case, tensors), correct(case, tensors)[in_pass]
    assert output.shape == {"grad_input": tensors.x.shape, "grad_weight": tensors.w.shape, "grad_bias": (6,)}[in_pass]
    found = judge.judge(output[None], PLAIN, in_pass)
    assert (found.verdict, found.reason) == (Verdict.WRONG_SHAPE, f"shape {(1, *output.shape)}, expected {output.shape}")
    found = judge.judge(output.astype(np.float64), PLAIN, in_pass)
    assert (found.verdict, found.reason) == (Verdict.WRONG_DTYPE, "dtype float64, expected float32")


# -- orders of summation ----------------------------------------------------------------------------------------------


def float32_products(case: Case, tensors: Tensors) -> dict[str, dict[Index, Array]]:
    """Return the products of every element of a pass, each rounded to float32, in the order of the taps."""
    found = products(case.config, *(None if a is None else a.astype(np.float32) for a in (tensors.x, tensors.w, tensors.dy)))
    return {in_pass: {i: np.array([a * b for a, b in pairs], np.float32) for i, pairs in of.items()} for in_pass, of in found.items()}


def added_up(case: Case, in_pass: str, terms: dict[Index, Array]) -> Array:
    """Add up the terms of every element one after the other in float32, and round the sum to the case's dtype."""
    total = np.zeros(case.shape_of(in_pass))
    for index, summands in terms.items():
        total[index] = np.add.accumulate(summands, dtype=np.float32)[-1]
    return rounded(total, case)


@pytest.mark.parametrize("regime", ["normal", "positive", "cancellation", "sparse"])
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("layer", ["conv1d_n4_c4_o4_g2_i15_k3_p1", "convt1d_n5_c3_o2_i9_k3_s2_op1", "conv2d_n2_c2_o3_i5_k3_d2_p2"])
def test_float32_sums_in_any_order_agree(layer: str, dtype: str, regime: str) -> None:
    """A loop over the products of each pass agrees whether it adds them in order, in reverse or shuffled, on data of every kind."""
    case = Case.parse(f"{layer}_{dtype}_grad@{regime}.7")
    tensors = make_tensors(case)
    judge, rng = Judge(case, tensors), np.random.default_rng(1)
    for in_pass, terms in float32_products(case, tensors).items():
        for order in (lambda summands: summands, np.flip, rng.permutation):
            output = added_up(case, in_pass, {index: order(summands) for index, summands in terms.items()})
            found = judge.judge(output, PLAIN, in_pass)
            assert found.verdict is Verdict.AGREE, (in_pass, found)


@pytest.mark.parametrize("regime", ["normal", "positive", "cancellation"])
def test_float32_sums_of_the_bias_s_gradient_agree(regime: str) -> None:
    """Thousands of output gradients added up one by one in float32 agree, and without one of them they do not."""
    case = Case.parse(f"conv2d_n8_c1_o3_i40_k1_b_f32_grad@{regime}.7")
    tensors = make_tensors(case)
    assert tensors.dy is not None
    judge = Judge(case, tensors)
    for step in (1, -1):
        terms = np.moveaxis(tensors.dy, 1, 0).reshape(3, -1)[:, ::step]
        one_by_one = np.add.accumulate(terms, axis=1, dtype=np.float32)
        assert judge.judge(one_by_one[:, -1], PLAIN, "grad_bias").verdict is Verdict.AGREE
        assert judge.judge(one_by_one[:, -2], PLAIN, "grad_bias").verdict is not Verdict.AGREE


# -- what a backend declares of its gradients -------------------------------------------------------------------------


@pytest.mark.parametrize("in_pass", GRADIENTS[:2])
def test_gradients_may_have_numerics_of_their_own(in_pass: str) -> None:
    """Gradients added up in the case's 16-bit dtype agree where that is declared of them, though not of the forward pass."""
    case = Case.parse("conv1d_n4_c6_o6_i10_k3_bf16_grad@normal.2")
    tensors = make_tensors(case)
    form, total = FLOATS["bfloat16"], np.zeros(case.shape_of(in_pass))
    for index, summands in float32_products(case, tensors)[in_pass].items():
        for summand in form.round(summands.astype(np.float64)):
            total[index] = form.round(total[index] + summand)
    output, judge = rounded(total, case), Judge(case, tensors)
    own = Numerics(accumulator="bfloat16")
    assert judge.judge(output, Numerics(gradients=own), in_pass).verdict is Verdict.AGREE
    assert judge.judge(output, own, in_pass).verdict is Verdict.AGREE
    assert judge.judge(output, replace(own, gradients=PLAIN), in_pass).verdict is Verdict.IMPRECISE
    assert judge.judge(output, PLAIN, in_pass).verdict is Verdict.IMPRECISE
    assert Numerics(gradients=own).in_pass("forward") == Numerics(gradients=own)
    assert Numerics(gradients=own).in_pass(in_pass) == own


def test_a_bias_that_is_added_apart_belongs_to_the_forward_pass() -> None:
    """No gradient has a bias added to it, so that declaring it a second rounding widens the forward pass's tolerance alone."""
    case = Case.parse("conv2d_n2_c4_o4_i7_k3_b_bf16_grad@normal.3")
    judge = Judge(case, make_tensors(case))
    for in_pass in case.passes:
        fused, separate = (judge.of(in_pass)._limits(numerics).tolerance for numerics in (PLAIN, Numerics(bias="separate")))
        assert (in_pass == "forward") == bool((separate > fused).all())
        assert in_pass == "forward" or np.array_equal(separate, fused)


# -- integers that are too large --------------------------------------------------------------------------------------


def test_uncertified_sums_are_held_to_the_tolerance() -> None:
    """Integers whose sum a dtype may have to round are judged as rounded there, and exactly elsewhere."""
    case = Case.parse("conv1d_c1_o2_i64_k64_f16@normal.0")
    x, w = np.full((1, 1, 64), 8, np.float16), np.full((2, 1, 64), 8, np.float16)
    w[1, 0, 1:] = 0
    judge = Judge(case, Tensors(x, w, None), integers=True)
    right = rounded(judge.expected.y, case)
    assert right.ravel().tolist() == [4096.0, 64.0]
    assert judge.judge(right, PLAIN).verdict is Verdict.AGREE
    for place, off, verdict in ((0, 2.0, Verdict.AGREE), (0, 1024.0, Verdict.WRONG), (1, 1.0, Verdict.WRONG), (1, 0.25, Verdict.IMPRECISE)):
        output = right.copy()
        output.flat[place] += off
        found = judge.judge(output, PLAIN)
        assert (found.verdict, found.suspect) == (verdict, False), (place, off)
    right.flat[0] = np.nan
    assert judge.judge(right, PLAIN).verdict is Verdict.NON_FINITE


@settings(deadline=None, max_examples=60)
@given(config=whole_layers(dtypes=(*FLOATING, *COMPLEX)), seed=seeds)
def test_gradients_of_drawn_integers_are_certain_without_moments(config: ConvConfig, seed: int) -> None:
    """What the integers regime draws is exact in every order by construction, so that no magnitude is summed up to certify it."""
    case = Case(config, DataRecipe("integers", seed), grad=True)
    judge = Judge(case, make_tensors(case))
    for in_pass in GRADIENTS:
        assert judge.of(in_pass).expected.S is None


@pytest.mark.parametrize(("large", "in_pass"), [("x", "grad_weight"), ("w", "grad_input"), ("dy", "grad_bias")])
def test_gradients_of_large_integers_are_certified_one_by_one(large: str, in_pass: str) -> None:
    """Where a sum of integers may be too large to be exact, the magnitudes are there, and an element beyond is not certified."""
    case = Case.parse("conv1d_n2_c1_o1_i9_k3_b_f32_grad@integers.1")
    tensors = make_tensors(case)
    grown = replace(tensors, **{large: tensors.named()[large] * np.float32(2**23)})
    found = LayerSums(case.config, grown, integers=True).of(in_pass)
    assert found.expected.S is not None
    assert found.certified(Numerics()) is not None
    assert not found.certified(Numerics()).all()
