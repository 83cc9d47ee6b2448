"""Verdicts on complex layers: both parts of every sum, made of four real products or of three."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sampling import sample
from tensors.drawn import seeds, whole_layers

from convfuzz.case import REGIMES, Case, DataRecipe
from convfuzz.case.config import ConvConfig
from convfuzz.judging.judge import Judge
from convfuzz.judging.judgement import settle
from convfuzz.judging.numerics import Numerics
from convfuzz.oracle import reference
from convfuzz.tensors.generator import Tensors, make_tensors
from convfuzz.verdicts import Verdict

from .rounding import Array, correct

FOUR, THREE = Numerics(), Numerics(complex_products="three")
COMPLEX_REGIMES = [regime for regime in REGIMES if regime != "special"]
LAYERS = ["conv2d_n2_c4_o4_g2_i7_k3_s2_p1_b", "convt1d_n2_c3_o4_i9_k3_s2_op1_b", "conv3d_c2_o2_i4_k2_b"]

Real = Callable[[Array, Array], Array]
Formula = Callable[[Real, Array, Array], Array]


def real_layer(config: ConvConfig, dtype: Any) -> Real:
    """Return the layer of real numbers, each sum rounded to ``dtype`` once."""
    real = config.replace(dtype=np.dtype(dtype).name, bias=False)
    return lambda x, w: reference(real, x, w, moments=False).y.astype(dtype)


def four(conv: Real, x: Array, w: Array) -> Array:
    """Multiply complex numbers by the textbook's formula."""
    return (conv(x.real, w.real) - conv(x.imag, w.imag)) + 1j * (conv(x.real, w.imag) + conv(x.imag, w.real))


def three(conv: Real, x: Array, w: Array) -> Array:
    """Multiply complex numbers by Gauss's three products."""
    a, b, c = conv(x.real, w.real), conv(x.imag, w.imag), conv(x.real + x.imag, w.real + w.imag)
    return (a - b) + 1j * (c - a - b)


def without_the_imaginary_square(conv: Real, x: Array, w: Array) -> Array:
    """Forget that i² is −1."""
    return conv(x.real, w.real) + 1j * (conv(x.real, w.imag) + conv(x.imag, w.real))


def without_one_cross_term(conv: Real, x: Array, w: Array) -> Array:
    """Leave one of the two products of the imaginary part out."""
    return (conv(x.real, w.real) - conv(x.imag, w.imag)) + 1j * conv(x.real, w.imag)


def conjugated(conv: Real, x: Array, w: Array) -> Array:
    """Conjugate the weight."""
    return four(conv, x, w.conj())


def swapped(conv: Real, x: Array, w: Array) -> Array:
    """Exchange real and imaginary part of the result."""
    y = four(conv, x, w)
    return y.imag + 1j * y.real


def real_only(conv: Real, x: Array, w: Array) -> Array:
    """Lose every imaginary part."""
    return conv(x.real, w.real) + 0j


def computed(case: Case, tensors: Tensors, formula: Formula) -> Array:
    """Compute a complex layer from real ones."""
    part = np.float32 if case.config.dtype == "complex64" else np.float64
    y = formula(real_layer(case.config, part), tensors.x, tensors.w)
    if tensors.b is not None:
        y = y + tensors.b.reshape(-1, *(1,) * case.config.dims)
    return y.astype(case.config.dtype)


@settings(deadline=None, max_examples=100)
@given(config=whole_layers(dtypes=("complex64", "complex128")), regime=st.sampled_from(COMPLEX_REGIMES), seed=seeds)
def test_correctly_rounded_complex_numbers_agree(config: ConvConfig, regime: str, seed: int) -> None:
    """The reference's own sums agree in every pass, whichever formula a backend declares."""
    case = Case(config, DataRecipe(regime, seed), grad=True)
    tensors = make_tensors(case)
    judge = Judge(case, tensors)
    for in_pass, output in correct(case, tensors).items():
        for numerics in (FOUR, THREE):
            found = judge.judge(output, numerics, in_pass)
            assert found.verdict is Verdict.AGREE, (in_pass, found)


@pytest.mark.parametrize("regime", COMPLEX_REGIMES)
@pytest.mark.parametrize("dtype", ["c64", "c128"])
@pytest.mark.parametrize("layer", LAYERS)
def test_either_formula_agrees_where_it_is_declared(layer: str, dtype: str, regime: str) -> None:
    """Sums of four real products agree with the plain declaration, those of three with that of three; on integers both are exact."""
    case = Case.parse(f"{layer}_{dtype}@{regime}.3")
    tensors = make_tensors(case)
    judge = Judge(case, tensors)
    assert judge.judge(computed(case, tensors, four), FOUR).verdict is Verdict.AGREE
    assert judge.judge(computed(case, tensors, three), THREE).verdict is Verdict.AGREE
    if regime == "integers":
        assert judge.judge(computed(case, tensors, three), FOUR).verdict is Verdict.AGREE


@pytest.mark.parametrize("formula", [without_the_imaginary_square, without_one_cross_term, conjugated, swapped, real_only])
@pytest.mark.parametrize("regime", ["integers", "normal", "positive", "tiny", "huge", "sparse"])
@pytest.mark.parametrize("dtype", ["c64", "c128"])
@pytest.mark.parametrize("numerics", [FOUR, THREE])
def test_a_wrong_formula_is_wrong(formula: Formula, regime: str, dtype: str, numerics: Numerics) -> None:
    """A product that is missing, conjugated or in the other part is caught on any data, and wrong once integers are asked."""
    for layer in LAYERS:
        judgements = []
        for recipe in (DataRecipe(regime, 3), DataRecipe("integers", 8)):
            case = Case(Case.parse(f"{layer}_{dtype}").config, recipe)
            tensors = make_tensors(case)
            judgements.append(Judge(case, tensors).judge(computed(case, tensors, formula), numerics))
        found, exact = judgements
        assert found.verdict in (Verdict.WRONG, Verdict.IMPRECISE), (layer, found)
        assert (settle(found, exact) if found.suspect else found).verdict is Verdict.WRONG, (layer, found)


@pytest.mark.parametrize("part", [1, 1j])
@pytest.mark.parametrize("dtype", ["c64", "c128"])
@pytest.mark.parametrize("regime", ["normal", "positive", "integers"])
def test_one_dropped_real_product_is_caught(regime: str, dtype: str, part: complex) -> None:
    """One real product less in one part of one element is caught, even with the wider tolerance of three products."""
    case = Case.parse(f"conv2d_n2_c8_o4_i9_k3_{dtype}@{regime}.3")
    tensors = make_tensors(case)
    judge, y = Judge(case, tensors), correct(case, tensors)["forward"]
    largest = np.unravel_index(np.argmax(np.abs(tensors.x[1, :, 2:5, 3:6].imag * tensors.w[2].imag)), (8, 3, 3))
    lost = tensors.x[1, :, 2:5, 3:6][largest].imag * tensors.w[2][largest].imag
    y[1, 2, 2, 3] += part * lost
    for numerics in (FOUR, THREE):
        found = judge.judge(y, numerics)
        assert found.verdict in (Verdict.WRONG, Verdict.IMPRECISE)
        assert found.discrepancy is not None
        assert found.discrepancy.over == 1
        assert found.discrepancy.elements == 2 * y.size
        assert found.discrepancy.index == (1, 2, 2, 3, 0 if part == 1 else 1)


def test_gauss_s_cancellation_is_beyond_four_products() -> None:
    """Where the imaginary part is far smaller than the real one, three products lose more of it than four may."""
    case = Case.parse("conv1d_c8_o2_i9_k3_c64@normal.1")
    drawn = make_tensors(case)
    tensors = Tensors(
        (drawn.x.real + 2e-6j * drawn.x.imag).astype(np.complex64), (drawn.w.real + 2e-6j * drawn.w.imag).astype(np.complex64), None
    )
    judge = Judge(case, tensors)
    assert judge.judge(computed(case, tensors, four), FOUR).verdict is Verdict.AGREE
    output = computed(case, tensors, three)
    assert judge.judge(output, THREE).verdict is Verdict.AGREE
    assert judge.judge(output, FOUR).verdict is not Verdict.AGREE


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_pytorch_s_complex_convolutions_are_within_the_bound_of_three_products() -> None:
    """Over drawn layers PyTorch's complex64 results and gradients stay within the tolerance, far from its edge."""
    pytest.importorskip("torch", reason="its complex convolutions are what is measured")
    from convfuzz.backends import resolve  # noqa: PLC0415 - it loads PyTorch

    backend = resolve("torch")
    ratios: list[float] = []
    space = st.tuples(whole_layers(dtypes=("complex64",), most=8), st.sampled_from(COMPLEX_REGIMES), st.integers(0, 9999))
    for config, regime, seed in sample(space, 120, seed=5):
        case = Case(config.replace(in_channels=max(config.in_channels, config.groups)), DataRecipe(regime, seed), grad=True)
        if not backend.supports(case):
            continue
        tensors = make_tensors(case)
        judge = Judge(case, tensors)
        for in_pass, output in backend.run(case, tensors).items():
            found = judge.judge(output, backend.numerics(case), in_pass)
            assert found.verdict is Verdict.AGREE, (str(case), in_pass, found)
            assert found.discrepancy is not None
            ratios.append(float(found.discrepancy.ratio or 0.0))
    assert len(ratios) > 100
    assert 0.01 < max(ratios) < 0.5
