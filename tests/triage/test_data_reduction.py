"""Data are reduced to the few elements without which the failure is gone, once the structure is minimal."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convfuzz.case import EXPLICIT, Case, DataRecipe
from convfuzz.tensors.generator import make_tensors
from convfuzz.triage.reduction import Budget, reduce_case
from convfuzz.triage.reduction.data import MOST_VALUES, reduce_data

LAYER = "conv2d_n2_c3_o4_i5x4_k3_p1_b_f32_grad"
"""x has 120 elements, w 108, b 4 and dy 160."""


def reduced(line: str, fails: Callable[[Case], bool]) -> tuple[str, str]:
    """Reduce the data of a case alone: the recipe it ends with, and why it is no simpler."""
    case, dense = reduce_data(Case.parse(line), fails)
    assert fails(case)
    assert case.config == Case.parse(line).config
    return str(case.recipe), dense


def has(name: str, *places: int) -> Callable[[Case], bool]:
    """Make a failure that needs some elements of a tensor not to be zero."""

    def fails(case: Case) -> bool:
        array = make_tensors(case).named()[name].reshape(-1)
        return all(array[place] != 0 for place in places)

    return fails


def plenty() -> Budget:
    """Make a budget that no reduction here uses up."""
    return Budget(seconds=60.0, candidates=100_000)


@pytest.mark.parametrize("regime", ["integers.3", "normal.3", "positive.0", "tiny.5"])
@pytest.mark.parametrize(
    ("fails", "expected"),
    [
        (lambda _: True, "zeros"),
        (has("x", 47), "x47=1"),
        (has("w", 0, 107), "w0=1_w107=1"),
        (has("b", 2), "b2=1"),
        (has("dy", 0, 1, 159), "dy0=1_dy1=1_dy159=1"),
        (lambda case: has("x", 7)(case) and has("w", 9)(case), "x7=1_w9=1"),
    ],
)
def test_what_the_failure_needs_is_left(regime: str, fails: Callable[[Case], bool], expected: str) -> None:
    """Everything else turns to zero, and what is left to 1."""
    assert reduced(f"{LAYER}@{regime}", fails) == (expected, "")


@settings(deadline=None, max_examples=30)
@given(places=st.sets(st.integers(0, 119), min_size=1, max_size=12), pairs=st.sets(st.integers(0, 107), max_size=6))
def test_any_set_of_elements_is_found(places: set[int], pairs: set[int]) -> None:
    """Whichever elements of two tensors a failure needs, they are left and nothing else."""

    def fails(case: Case) -> bool:
        return has("x", *places)(case) and has("w", *pairs)(case)

    expected = "_".join([*(f"x{i}=1" for i in sorted(places)), *(f"w{i}=1" for i in sorted(pairs))])
    assert reduced(f"{LAYER}@integers.1", fails) == (expected, "")


def test_one_of_many_that_would_do() -> None:
    """Where any element will do, one is left."""
    assert reduced(f"{LAYER}@integers.1", lambda case: bool(make_tensors(case).x.any()))[0].count("=") == 1


def test_a_failure_of_either_operand() -> None:
    """What is needed of one tensor may change when another one has become zero: no single element can go in the end."""

    def fails(case: Case) -> bool:
        x, w = np.count_nonzero(make_tensors(case).x), np.count_nonzero(make_tensors(case).w)
        return x + w >= 3

    recipe, _ = reduced(f"{LAYER}@integers.1", fails)
    assert recipe.count("=") == 3


@pytest.mark.parametrize(
    ("dtype", "fails", "expected"),
    [
        ("f32", lambda v: v < 0, "-1"),
        ("f32", lambda v: v > 1.5, "2"),
        ("f32", lambda v: v != 0 and v != np.rint(v), "0.7"),
        ("f32", math.isnan, "nan"),
        ("f32", math.isinf, "inf"),
        ("f64", lambda v: abs(v) > 1e-12, "1"),
        ("bf16", lambda v: v > 2, "3"),
    ],
)
def test_values_come_as_near_to_one_as_they_can(dtype: str, fails: Callable[[float], bool], expected: str) -> None:
    """A value that the failure needs ends as the simplest one that does: whole before broken, short before long."""
    case = Case.parse(f"conv1d_c1_o1_i400_k1_{dtype}@special.1")
    start = next(
        Case(case.config, DataRecipe("special", seed))
        for seed in range(200)
        if any(fails(float(v)) for v in make_tensors(Case(case.config, DataRecipe("special", seed))).x.reshape(-1))
    )
    recipe, _ = reduced(str(start), lambda c: any(fails(float(v)) for v in make_tensors(c).x.reshape(-1)))
    tensor, _, value = recipe.partition("=")
    assert tensor.startswith("x")
    assert value == expected or (expected == "0.7" and len(value) <= 4)


def test_complex_and_integer_data() -> None:
    """Complex values end without an imaginary part where none is needed, integers keep the digits that are."""
    assert reduced("conv1d_c1_o1_i9_k1_c64@normal.1", has("x", 3))[0] == "x3=1"
    imaginary = reduced("conv1d_c1_o1_i9_k1_c64@normal.1", lambda c: bool(make_tensors(c).x[0, 0, 3].imag))
    assert imaginary[0] in ("x3=0+1j", "x3=1+1j")
    assert reduced("conv1d_c1_o1_i9_k1_i64@huge.1", has("w", 0))[0] == "w0=1"
    big = reduced("conv1d_c1_o1_i9_k1_i64@huge.1", lambda c: abs(int(make_tensors(c).w[0, 0, 0])) > 2**60)
    assert big[0].startswith("w0=")


@pytest.mark.parametrize("needed", [MOST_VALUES + 1, 500, 2900])
def test_a_failure_that_needs_dense_data_keeps_its_regime(needed: int) -> None:
    """More elements than a reader would read are not written out, and the reduction says so after few candidates."""
    tried = 0

    def fails(case: Case) -> bool:
        nonlocal tried
        tried += 1
        return np.count_nonzero(make_tensors(case).x) >= needed

    recipe, dense = reduced("conv1d_c1_o1_i3000_k1_f32@normal.1", fails)
    assert recipe == "normal.1"
    assert f"a case is written out with {MOST_VALUES} elements at most" in dense
    assert tried < 400


def test_as_many_elements_as_are_written_out() -> None:
    """The bound itself is reached."""
    recipe, dense = reduced(f"{LAYER}@integers.1", has("x", *range(MOST_VALUES)))
    assert (recipe.count("="), dense) == (MOST_VALUES, "")


def test_large_tensors_keep_their_regime() -> None:
    """What has more non-zeros than a line holds is not written out, unless all zeros will do."""
    line = "conv2d_c8_o1_i64_k1_f32@normal.1"
    recipe, dense = reduced(line, has("x", 5))
    assert recipe == "normal.1"
    assert "elements are not zero, more than the" in dense
    assert reduced(line, lambda _: True) == ("zeros", "")


def test_data_that_repeat_a_slice() -> None:
    """Of an axis that holds one slice several times only that slice is written out."""
    recipe, _ = reduced("conv1d_n3_c2_o1_i2_k1_f32_ex@integers.1", lambda c: bool(make_tensors(c).x[2, 1, 1]))
    assert recipe == "x3=1"
    assert make_tensors(Case.parse(f"conv1d_n3_c2_o1_i2_k1_f32_ex@{recipe}")).x[2, 1, 1] == 1


def test_a_flawed_call() -> None:
    """A call whose operands have other shapes than the configuration says is reduced all the same."""
    recipe, _ = reduced("conv2d_c2_o2_i3_k2_b_f32_bad-input-channels@normal.1", lambda c: bool(make_tensors(c).x.any()))
    assert recipe.count("=") == 1


# -- after the structure ----------------------------------------------------------------------------------------------


def test_the_structure_comes_first() -> None:
    """The data are those of the minimal structure, and the drawn case that has it is kept beside."""
    start = Case.parse("conv3d_n3_c4_o6_g2_i5_k2_b_bf16_cl@special.9")
    found = reduce_case(start, lambda c: c.config.groups > 1 and bool(make_tensors(c).w.any()), plenty())
    assert str(found.case) == "conv1d_c2_o2_g2_i1_k1_f32@w1=1"
    assert str(found.drawn) == "conv1d_c2_o2_g2_i1_k1_f32@integers.0"
    assert (found.outcome, found.dense) == ("minimal", "")


def test_the_structure_is_reduced_again_on_the_data() -> None:
    """What kept a structure large may have been its drawn data: with those that show the failure it becomes smaller."""

    def fails(case: Case) -> bool:
        sizes = np.abs(make_tensors(case).x)
        return bool(((sizes > 2.6) & (sizes < 2.9)).any())

    found = reduce_case(Case.parse("conv1d_c6_o1_i100_k1_f32@normal.1"), fails, plenty())
    assert math.prod(found.drawn.config.input_shape) > 8
    assert found.case.config.input_shape == (1, 1, 1)
    assert found.case.recipe.regime == EXPLICIT


@pytest.mark.parametrize("line", ["conv2d_c3_o4_i5_k3_f32@x7=2_w3=-1", "conv2d_n2_c3_o4_i5_k3_b_f32_grad@x7=2_w3=-1_dy9=0.5_b1=3"])
def test_explicit_data_are_reduced_further(line: str) -> None:
    """A case that names its elements can be reduced like any other."""
    found = reduce_case(Case.parse(line), lambda c: bool(make_tensors(c).x.any()), plenty())
    assert str(found.case) == "conv1d_c1_o1_i1_k1_f32@x0=1"


def test_a_reduced_case_is_left_alone() -> None:
    """Reducing a minimal case again gives the same case."""

    def fails(case: Case) -> bool:
        return case.config.batch == 3 and bool(make_tensors(case).w.any())

    first = reduce_case(Case.parse("conv2d_n3_c3_o4_i5_k3_f32@normal.4"), fails, plenty())
    assert reduce_case(first.case, fails, plenty()).case == first.case


def test_each_candidate_is_tried_once() -> None:
    """No case is run twice, data included, and the number that was tried is the number of runs."""
    calls: list[Case] = []

    def fails(candidate: Case) -> bool:
        calls.append(candidate)
        return candidate.config.batch == 2 and np.count_nonzero(make_tensors(candidate).w) > 1

    found = reduce_case(Case.parse("conv2d_n2_c3_o4_i5_k3_f32@normal.4"), fails, plenty())
    assert len(calls) == len(set(calls))
    assert found.tried == len(calls)


@pytest.mark.parametrize("stop", [1, 3, 10, 30, 60, 90, 10**6])
@pytest.mark.parametrize("interruptible", [True, False])
def test_ctrl_c_keeps_the_best_so_far(stop: int, *, interruptible: bool) -> None:
    """Whenever it is interrupted, the reduction ends with a case that failed and that can be read, or passes the interrupt on."""
    failing: list[Case] = []

    def fails(candidate: Case) -> bool:
        nonlocal stop
        stop -= 1
        if stop == 0:
            raise KeyboardInterrupt
        if candidate.config.batch == 2 and np.count_nonzero(make_tensors(candidate).x) > 40 and len(candidate.config.input_size) == 2:
            failing.append(candidate)
            return True
        return False

    start = Case.parse("conv2d_n2_c3_o4_i9_k3_f32@normal.4")
    interrupted = stop < 10**6
    if interrupted and not interruptible:
        with pytest.raises(KeyboardInterrupt):
            reduce_case(start, fails, plenty())
        return
    found = reduce_case(start, fails, plenty(), interruptible=interruptible)
    assert found.outcome == ("interrupted" if interrupted else "minimal")
    assert found.case in [start, *failing]
    assert len(found.case.recipe.entries) <= MOST_VALUES


def test_budget_that_ends_while_the_data_are_written_out() -> None:
    """A budget that is spent on the data leaves the minimal structure, and says that the data are as drawn."""
    start = Case.parse("conv1d_c1_o1_i300_k1_f32@normal.4")

    def fails(candidate: Case) -> bool:
        return candidate.config.input_size == (300,) and np.count_nonzero(make_tensors(candidate).x) > 20

    whole = reduce_case(start, fails, plenty())
    assert whole.case.recipe.regime == EXPLICIT
    structure = 1
    while reduce_case(start, fails, Budget(60.0, structure)).outcome != "minimal":
        structure += 1
    found = reduce_case(start, fails, Budget(60.0, structure + 4))
    assert found.case == found.drawn == whole.drawn
    assert (found.outcome, found.dense) == ("minimal", "the budget was spent before they were reduced")
