"""A declared order: its bound is sharper, holds for kernels of that order, and catches what any order would have to explain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from revealing.kernels import (
    Add,
    Array,
    Kernel,
    Terms,
    backend,
    backwards,
    blocked,
    halves,
    lanes,
    pairwise,
    sequential,
    split,
    to_bits,
)
from revealing.unusual import shuffled_lanes, with_tail

import convfuzz
from convfuzz import Case, ConvConfig, DataRecipe, InvalidConfig, Numerics, check
from convfuzz.backends.variants.splits import Split
from convfuzz.case.recipe import regimes_of
from convfuzz.judging.declared_order import DeclaredOrder
from convfuzz.judging.judge import Judge
from convfuzz.judging.models import explain
from convfuzz.judging.pass_sums import LayerSums
from convfuzz.tensors.generator import make_tensors
from convfuzz.verdicts import Verdict

LAYER = "conv2d_n2_c64_o4_i5_k3_f32"


def channels_last(order: Callable[[Terms, Add], Array], **options: Any) -> Callable[..., Array]:
    """Return a kernel that adds each tap's channels first."""

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        places = np.arange(w[0].size).reshape(w.shape[1:]).transpose((*range(1, w.ndim - 1), 0)).reshape(-1)
        return Kernel(lambda terms, add: order([terms[i] for i in places], add), **options)(x, w, b, config)

    return kernel


OF_AN_ORDER: list[tuple[str, Callable[..., Array]]] = [
    ("sequential", Kernel()),
    ("sequential", Kernel(bias="first")),
    ("reversed", Kernel(backwards)),
    ("pairwise", Kernel(pairwise)),
    ("pairwise", Kernel(halves, bias="first")),
    ("lanes-8", Kernel(lanes(8))),
    ("lanes-8", Kernel(lanes(8, sequential), bias="first")),
    ("lanes-8", Kernel(with_tail(8))),
    ("lanes-8", Kernel(shuffled_lanes)),
    ("split-7", Kernel(split(7))),
    ("split-64", Kernel(split(64, sequential))),
    ("blocked-16", Kernel(blocked(16), bias="first")),
    ("lanes-4-channels-last", channels_last(lanes(4))),
    ("blocked-8-channels-last", channels_last(blocked(8), bias="first")),
    ("pairwise-channels-last", channels_last(pairwise)),
]
"""Orders, and kernels that add in them, with what a declaration leaves open done in one way or another."""


def tolerances(line: str, *declared: Numerics) -> list[Array]:
    """Return the tolerance of each declaration on a case."""
    case = Case.parse(line)
    judge = Judge(case, make_tensors(case))
    zeros = np.zeros(case.config.output_shape, make_tensors(case).x.dtype)
    return [judge.errors(zeros, one)[1] for one in declared]


@pytest.mark.parametrize(("order", "kernel"), OF_AN_ORDER)
def test_no_kernel_of_the_order_is_accused(order: str, kernel: Callable[..., Array]) -> None:
    """On every regime, with padding, tails and long sums, a kernel that adds in the declared order agrees."""
    layers = ("conv2d_n2_c5_o2_i5_k3_p1_b_f32", "conv1d_n2_c100_o2_i5_k3_b_f32", "conv1d_c17_o3_i4_k2_s2_b_bf16", "conv2d_c3_o2_i4_k2_f16")
    declared = backend(kernel, Numerics(order=order))
    for layer in layers:
        config = Case.parse(layer).config
        cases = [Case(config, DataRecipe(regime, 5)) for regime in regimes_of(config.dtype)]
        assert [(str(case), check(case, [declared]).failures) for case in cases if check(case, [declared]).failures] == []


@pytest.mark.parametrize(
    ("order", "signed", "positive"),
    [("pairwise", 3.5, 7.0), ("lanes-8", 2.0, 4.5), ("blocked-32", 2.2, 4.0), ("split-4", 1.5, 3.0), ("lanes-16-channels-last", 2.2, 4.0)],
)
def test_the_bound_of_an_order_is_sharper(order: str, signed: float, positive: float) -> None:
    """Of 576 products an order of small partial sums has a tolerance several times sharper, most of all where none cancel."""
    for regime, times in (("normal", signed), ("positive", positive)):
        free, own = tolerances(f"{LAYER}@{regime}.1", Numerics(), Numerics(order=order))
        assert np.median(free / own) > times


def coarse_tap(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Add neighbours first, with one weight of 576 in nine bits."""
    w = w.copy()
    w[:, 5, 0, 2] = to_bits(9)(w[:, 5, 0, 2])
    return Kernel(pairwise)(x, w, b, config)


@pytest.mark.parametrize("mistake", [coarse_tap, Kernel()])
def test_a_mistake_that_any_order_would_hide_is_caught(mistake: Callable[..., Array]) -> None:
    """One weight that lost its bits, and a running sum instead of a tree, pass the bound of any order and not that of the declared one."""
    case = Case.parse(f"{LAYER}@positive.1")
    assert not check(case, [backend(mistake)]).failures
    found = check(case, [backend(mistake, Numerics(order="pairwise"))]).failures
    assert [result.verdict for result in found] == [Verdict.IMPRECISE]
    assert found[0].model == "direct"


def test_another_order_is_what_explains_it() -> None:
    """What is beyond the declared order and within any is explained by direct sums."""
    case = Case.parse(f"{LAYER}@positive.1")
    tensors = make_tensors(case)
    sums = LayerSums(case.config, tensors, integers=False).of("forward")
    actual = Kernel()(tensors.x, tensors.w, None, case.config).astype(np.float64)
    told = explain(np.abs(actual - sums.expected.y), actual, sums, Numerics(order="pairwise"))
    assert told is not None
    assert told.model == "direct"


def test_elements_that_read_padding_may_have_any_order() -> None:
    """A kernel may leave out what falls on padding, which deals the other taps to other lanes."""
    free, own = tolerances("conv2d_c64_o1_i6_k3_p1_f32@positive.1", Numerics(), Numerics(order="lanes-8"))
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    assert (own[inside] < 0.5 * free[inside]).all()
    border = np.ones(free.shape, dtype=bool)
    border[inside] = False
    np.testing.assert_array_equal(own[border], free[border])


def test_of_a_large_result_some_elements_are_drawn() -> None:
    """Of more than two million products every element has a tolerance, and many of them that of the order."""
    free, own = tolerances("conv2d_c64_o32_i16_k3_f32@positive.1", Numerics(), Numerics(order="pairwise"))
    drawn = own < free
    assert 3000 < drawn.sum() < drawn.size
    np.testing.assert_array_equal(own[~drawn], free[~drawn])


@pytest.mark.parametrize(
    "line", ["conv2d_c8_o2_i5_k3_c64@normal.1", "convt2d_c8_o2_i5_k3_s2_f32@normal.1", "conv2d_c8_o2_i1_k3_p1_f32@normal.1"]
)
def test_where_an_order_says_nothing_any_is_allowed(line: str) -> None:
    """Complex sums, and layers of which no element reads all taps, keep the tolerance of any order."""
    free, own = tolerances(line, Numerics(), Numerics(order="pairwise"))
    np.testing.assert_array_equal(own, free)


def test_a_short_accumulator_keeps_its_own_bound() -> None:
    """Sums in float16 are added up in many orders anyway."""
    free, own = tolerances(
        "conv2d_c8_o2_i5_k3_f16@normal.1", Numerics(accumulator="float16"), Numerics(accumulator="float16", order="pairwise")
    )
    np.testing.assert_array_equal(own, free)


def test_gradients_and_rewritings_have_no_order() -> None:
    """An order is of the forward pass, as the backend computes it."""
    declared = Numerics(order="lanes-8")
    assert declared.in_pass("forward") is declared
    assert declared.in_pass("grad_weight") == Numerics()
    kernel = backend(Kernel(lanes(8)), declared)
    assert kernel.numerics(Case.parse(LAYER)) == declared
    assert Split(kernel).numerics(Case.parse(LAYER)) == Numerics()


@pytest.mark.parametrize(
    "order", ["lanes", "lanes-0", "lanes-1", "lanes-08", "split-99999999", "pairwise-2", "sideways", "", "lanes-8-rows"]
)
def test_an_order_that_is_none_is_refused(order: str) -> None:
    """The message names what can be declared."""
    with pytest.raises(InvalidConfig, match="lanes-K with K from 2 to"):
        Numerics(order=order)


def test_an_order_of_what_has_none_is_refused() -> None:
    """Neither a transform nor gradients have one to declare."""
    with pytest.raises(InvalidConfig, match="that of a direct sum"):
        Numerics(order="pairwise", algorithm="transform")
    with pytest.raises(InvalidConfig, match="of the forward pass alone"):
        Numerics(gradients=Numerics(order="pairwise"))


@pytest.mark.parametrize("order", ["sequential", "reversed-channels-last", "pairwise", "lanes-8", "blocked-32-channels-last", "split-4"])
def test_an_order_is_written_as_it_is_read(order: str) -> None:
    """The text form of an order is the one that is parsed."""
    assert str(DeclaredOrder.parse(order)) == order


def test_the_squares_are_those_of_the_sums() -> None:
    """Σ s_k² is what adding up one by one gives, of each order with one way to be done."""
    terms = np.random.default_rng(1).normal(size=(12, 3))

    def of(groups: list[list[int]]) -> Array:
        """Add each group up, then their sums."""
        squares, totals = np.zeros(3), []
        for group in groups:
            total = terms[group[0]]
            for t in group[1:]:
                total = total + terms[t]
                squares = squares + total**2
            totals.append(total)
        together = totals[0]
        for total in totals[1:]:
            together = together + total
            squares = squares + together**2
        return squares

    one_by_one = [list(range(12))]
    np.testing.assert_allclose(DeclaredOrder.parse("sequential").squares(terms), of(one_by_one))
    np.testing.assert_allclose(DeclaredOrder.parse("reversed").squares(terms), of([list(range(12))[::-1]]))
    assert (DeclaredOrder.parse("lanes-4").squares(terms) >= of([list(range(lane, 12, 4)) for lane in range(4)]) - 1e-9).all()
    assert (DeclaredOrder.parse("blocked-5").squares(terms) >= of([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]) - 1e-9).all()
    assert (DeclaredOrder.parse("split-3").squares(terms) >= of([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]) - 1e-9).all()


def test_an_assertion_takes_an_order() -> None:
    """``assert_conv_close`` holds an output to the declared order, and passes one of that order."""
    case = Case.parse(f"{LAYER}@positive.1")
    tensors = make_tensors(case)
    x, w = tensors.x, tensors.w
    right, wrong = Kernel(pairwise)(x, w, None, case.config), coarse_tap(x, w, None, case.config)
    convfuzz.assert_conv_close(right, x, w, numerics=Numerics(order="pairwise"))
    convfuzz.assert_conv_close(wrong, x, w)
    with pytest.raises(AssertionError, match=r"covered by +direct"):
        convfuzz.assert_conv_close(wrong, x, w, numerics=Numerics(order="pairwise"))


def test_declarations_can_be_changed() -> None:
    """``in_any_order`` is the same arithmetic without an order."""
    declared = Numerics(accumulator="float64", order="pairwise")
    assert declared.in_any_order() == replace(declared, order=None) == Numerics(accumulator="float64")
