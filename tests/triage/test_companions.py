"""The companion of a failing case: the nearest case that passes, and in words what the two differ in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings

from convfuzz.case import Case
from convfuzz.record.confirmation import Step
from convfuzz.record.events import BackendEnded
from convfuzz.strategies import cases
from convfuzz.tensors.generator import make_tensors
from convfuzz.triage.reduction import Budget, Companion, Reduction, companion_of, find_companion
from convfuzz.triage.reduction.companion import MOST_NEIGHBOURS
from convfuzz.triage.reruns import Reruns, Settled, agrees
from convfuzz.verdicts import Discrepancy, Verdict

Fails = Callable[[Case], bool]


def found(line: str, fails: Fails) -> tuple[str, str]:
    """Return the companion of a case and its boundary where everything passes that does not fail."""
    case = Case.parse(line)
    assert fails(case)
    companion = find_companion(case, lambda candidate: not fails(candidate))
    assert companion.case is None or not fails(companion.case)
    return str(companion.case or ""), companion.boundary


def batch_of(n: int) -> Fails:
    """Make a failure from a batch of ``n`` on."""
    return lambda case: (case.config.batch or 0) >= n


@pytest.mark.parametrize(
    ("line", "fails", "companion", "boundary"),
    [
        ("conv1d_n16_c1_o1_i1_k1_f32@integers.0", batch_of(16), "conv1d_n15_c1_o1_i1_k1_f32@integers.0", "fails at batch 16, works at 15"),
        ("conv1d_n2_c1_o1_i1_k1_f32@integers.0", batch_of(2), "conv1d_c1_o1_i1_k1_f32@integers.0", "fails at batch 2, works at 1"),
        ("conv1d_n0_c1_o1_i1_k1_f32@integers.0", lambda c: c.config.batch == 0, "conv1d_c1_o1_i1_k1_f32@integers.0",
         "fails at batch 0, works at 1"),
        ("conv1d_n-_c1_o1_i1_k1_f32@integers.0", lambda c: c.config.batch is None, "conv1d_c1_o1_i1_k1_f32@integers.0",
         "fails without a batch axis, works with one"),
        ("conv1d_c17_o1_i1_k1_f32@integers.0", lambda c: c.config.in_channels > 16, "conv1d_c16_o1_i1_k1_f32@integers.0",
         "fails at 17 input channels, works at 16"),
        ("conv1d_c24_o24_g24_i1_k1_f32@integers.0", lambda c: c.config.groups > 23, "conv1d_c23_o23_g23_i1_k1_f32@integers.0",
         "fails at groups 24, works at 23"),
        ("conv2d_c1_o1_i1x18_k1x2_f32@integers.0", lambda c: c.config.input_size[-1] > 17, "conv2d_c1_o1_i1x17_k1x2_f32@integers.0",
         "fails at input size 1x18, works at 1x17"),
        ("conv2d_c1_o1_i1_k1_p0x1:0_f32@integers.0", lambda c: any(sum(p) for p in c.config.pads), "conv2d_c1_o1_i1_k1_f32@integers.0",
         "fails at padding 0x1:0, works at 0"),
        ("conv1d_c1_o1_i2_k1_p-1:0_f32@integers.0", lambda c: c.config.pads[0][0] < 0, "conv1d_c1_o1_i2_k1_f32@integers.0",
         "fails at padding -1:0, works at 0"),
        ("conv1d_c1_o1_i1_k1_s2_f32@integers.0", lambda c: c.config.stride == (2,), "conv1d_c1_o1_i1_k1_f32@integers.0",
         "fails at stride 2, works at 1"),
        ("conv1d_c1_o1_i2_k2_bf16@integers.0", lambda c: c.config.dtype == "bfloat16", "conv1d_c1_o1_i2_k2_f32@integers.0",
         "fails in bfloat16, works in float32"),
        ("conv1d_c2_o1_i2_k2_f32_cl@integers.0", lambda c: c.config.layout != "contiguous", "conv1d_c2_o1_i2_k2_f32@integers.0",
         "fails in layout channels last, works in contiguous"),
        ("conv1d_c1_o1_i1_k2_psame_f32@integers.0", lambda c: c.config.padding == "same", "conv1d_c1_o1_i1_k2_p0:1_f32@integers.0",
         "fails with padding same, works with the same numbers"),
        ("convt1d_c1_o1_i1_k1_f32@integers.0", lambda c: c.config.op != "conv", "conv1d_c1_o1_i1_k1_f32@integers.0",
         "fails transposed, works as a convolution"),
        ("conv1d_c1_o1_i1_k1_f32@tiny.3", lambda c: c.recipe.regime == "tiny", "conv1d_c1_o1_i1_k1_f32@integers.3",
         "fails on tiny data, works on integers data"),
        ("conv1d_c1_o1_i1_k1_f32@x0=nan_w0=1", lambda c: c.recipe.has_non_finite, "conv1d_c1_o1_i1_k1_f32@x0=1_w0=1",
         "fails with x0=nan, works with x0=1"),
        ("conv1d_c1_o1_i1_k1_s0_f32@zeros", lambda c: c.config.stride == (0,), "conv1d_c1_o1_i1_k1_f32@zeros",
         "fails at stride 0, works at 1"),
        ("conv1d_c1_o1_g0_i1_k1_f32@zeros", lambda c: c.config.groups == 0, "conv1d_c1_o1_i1_k1_f32@zeros",
         "fails at groups 0, works at 1"),
        ("conv1d_c1_o1_i1_k1_b_f32_bad-bias-size@zeros", lambda c: c.config.flaw is not None, "conv1d_c1_o1_i1_k1_b_f32@zeros",
         "fails where the bias has one element too many, works where that is right"),
    ],
)  # fmt: skip
def test_each_kind_of_step(line: str, fails: Fails, companion: str, boundary: str) -> None:
    """One parameter changes, by as little as makes the case pass, and the sentence has both of its values."""
    assert found(line, fails) == (companion, boundary)


@pytest.mark.parametrize(
    ("line", "boundary"),
    [
        ("conv1d_n16_c1_o1_i3_k2_s2_b_bf16_cl@special.0", "fails at batch 16, works at 15"),
        ("conv1d_c17_o1_i18_k2_b_f32@integers.0", "fails at input size 18, works at 17"),
        ("conv2d_n2_c2_o1_i2_k2_s2_b_bf16@normal.0", "fails in bfloat16, works in float32"),
        ("conv2d_n2_c2_o1_i2_k2_f32@normal.0", "fails at batch 2, works at 1"),
        ("conv2d_c1_o1_i2_k2_b_f32@normal.0", "fails at kernel size 2, works at 1x2"),
        ("conv2d_c1_o1_i1_k1_b_f32@normal.0", "fails with a bias, works without"),
        ("convt2d_c1_o1_i1_k1_f32@normal.0", "fails transposed, works as a convolution"),
    ],
)
def test_the_most_telling_step_is_chosen(line: str, boundary: str) -> None:
    """Where every step passes, a threshold says more than a word, a word more than a 2, and sizes and data say least."""
    start = Case.parse(line)
    found_companion = find_companion(start, lambda candidate: candidate != start)
    assert found_companion.boundary == boundary


def test_the_nearest_value_that_passes() -> None:
    """Where the next smaller number fails too, one further below is taken."""
    assert found("conv1d_n16_c1_o1_i1_k1_f32@integers.0", batch_of(14))[0] == "conv1d_n13_c1_o1_i1_k1_f32@integers.0"


def test_no_neighbour_passes() -> None:
    """Without a passing neighbour, or without any, it says so."""
    assert found("conv1d_n2_c1_o1_i1_k1_f32@integers.0", lambda _: True) == ("", "none of 1 neighbouring case passes")
    assert found("conv1d_c1_o1_i1_k1_f32@zeros", lambda _: True) == ("", "nothing is left of the case that could be simpler")


@pytest.mark.parametrize("budget", [Budget(candidates=1), Budget(seconds=0.0)])
def test_budget(budget: Budget) -> None:
    """A budget that is spent is said to be."""
    companion = find_companion(Case.parse("conv2d_n9_c9_o9_i9_k3_s2_b_f16@normal.0"), lambda _: False, budget)
    assert (companion.case, companion.boundary) == (None, "the budget was spent before a neighbouring case passed")


@settings(deadline=None, max_examples=100)
@given(case=cases())
def test_neighbours_of_any_case(case: Case) -> None:
    """Every neighbour differs from the case, is valid where it is, and prints as a line that reads back as itself."""
    tried: list[Case] = []

    def passes(candidate: Case) -> bool:
        tried.append(candidate)
        return False

    find_companion(case, passes)
    assert len(tried) <= MOST_NEIGHBOURS
    for candidate in tried:
        assert candidate != case
        assert candidate.config.is_valid or not case.config.is_valid
        assert Case.parse(str(candidate)) == candidate


def test_no_data_are_lost_on_the_way() -> None:
    """A neighbour that has no place for a named element would pass for want of it, and is none."""

    def fails(case: Case) -> bool:
        bias = make_tensors(case).b
        return bias is not None and np.count_nonzero(bias) == 2

    assert found("conv1d_c1_o2_i1_k1_b_f32@b0=1_b1=1", fails)[0] == ""
    assert found("conv1d_n2_c1_o2_i1_k1_b_f32@b0=1_b1=1", lambda c: c.config.batch == 2 and fails(c))[1] == "fails at batch 2, works at 1"


# -- of a reduction ---------------------------------------------------------------------------------------------------


def test_the_companion_has_the_drawn_data_of_the_minimal_structure() -> None:
    """Named elements might miss what is wrong, so that the neighbour has the data that fail one step further."""
    drawn, named = Case.parse("conv1d_n3_c1_o1_i1_k1_f32@integers.0"), Case.parse("conv1d_n3_c1_o1_i1_k1_f32@x2=1_w0=1")
    reduction = Reduction(named, "minimal", 9, drawn)
    companion = companion_of(reduction, batch_of(3), lambda c: not batch_of(3)(c))
    assert str(companion.case) == "conv1d_n2_c1_o1_i1_k1_f32@integers.0"


def test_the_companion_has_the_named_elements_where_only_these_fail() -> None:
    """A structure that fails on its named elements alone is compared on these."""
    drawn, named = Case.parse("conv1d_n9_c1_o1_i1_k1_f16@normal.0"), Case.parse("conv1d_c1_o1_i1_k1_f16@x0=0.1_w0=1")

    def fails(case: Case) -> bool:
        return case in (drawn, named)

    companion = companion_of(Reduction(named, "minimal", 9, drawn), fails, lambda c: not fails(c))
    assert str(companion.case) == "conv1d_c1_o1_i1_k1_f32@x0=0.1_w0=1"


def test_what_did_not_come_back_has_none() -> None:
    """A failure that could not be reproduced has no neighbours to compare with."""
    case = Case.parse("conv1d_n3_c1_o1_i1_k1_f32@integers.0")
    companion = companion_of(Reduction(case, "not reproduced", 1, case), lambda _: False, lambda _: True)
    assert (companion.case, companion.boundary) == (None, "the failure does not come back each time")


def ended(verdict: Verdict, *passes: str) -> BackendEnded:
    """Make a result that was judged in some passes."""
    return BackendEnded(backend="k", verdict=verdict, seconds=0.0, discrepancies={p: Discrepancy(elements=1) for p in passes})


@pytest.mark.parametrize(
    ("result", "passes"),
    [
        (ended(Verdict.AGREE, "forward", "grad_weight"), True),
        (ended(Verdict.AGREE, "forward"), False),
        (ended(Verdict.UNSUPPORTED), False),
        (ended(Verdict.IMPRECISE, "forward", "grad_weight"), False),
        (ended(Verdict.ERROR), False),
    ],
)
def test_only_what_was_compared_and_agrees_passes(result: BackendEnded, *, passes: bool) -> None:
    """What a backend declines, fails otherwise, or did not compute in the failing pass is no passing case."""
    assert agrees(Case.parse("conv1d_c1_o1_i1_k1_f32_grad"), result, "grad_weight") is passes
    invalid = Case.parse("conv1d_c1_o1_i1_k2_f32_grad")
    assert agrees(invalid, result, "grad_weight") is (result.verdict is Verdict.AGREE)


class Runs:
    """Runs cases by a rule, and notes each: in a process that has run others, or in a fresh one."""

    def __init__(self, rule: Callable[[Case, list[Case]], Verdict]) -> None:
        self._rule = rule
        self.shared: list[Case] = []
        self.fresh: list[Case] = []

    def evaluate(self, case: Case, backend: str, *, hasty: bool = False) -> BackendEnded:
        """Run a case where others have run."""
        self.shared.append(case)
        del backend, hasty
        return ended(self._rule(case, self.shared), "forward")

    def rerun(self, case: Case, backend: str, history: Sequence[Step], seconds: float, *, hasty: bool = False) -> BackendEnded:
        """Run a case in a fresh process."""
        self.fresh.append(case)
        del backend, history, seconds, hasty
        return ended(self._rule(case, self.fresh), "forward")


BATCHES = "conv2d_n3_c2_o2_i5_k3_f32@normal.3"


def settled(runs: Runs) -> Settled:
    """Reduce a failure on three samples."""
    return Reruns(runs, Case.parse(BATCHES), ended(Verdict.WRONG, "forward"), Budget(60.0), lambda _: None).reduced_alone()


def test_what_the_reduction_ran_is_not_run_again() -> None:
    """The companion of a finding is among the cases that the reduction ran, and costs nothing."""
    runs = Runs(lambda case, _: Verdict.WRONG if (case.config.batch or 0) > 1 else Verdict.AGREE)
    found = settled(runs)
    assert str(found.reduction.case) == "conv1d_n2_c1_o1_i1_k1_f32@zeros"
    assert found.companion.boundary == "fails at batch 2, works at 1"
    assert found.companion.case in runs.shared
    assert runs.shared.count(found.companion.case) == 1
    assert found.companion.case not in runs.fresh


def test_a_failure_of_fresh_processes_has_a_companion_in_a_fresh_process() -> None:
    """Where only fresh processes show the failure, what passed after other cases counts for nothing."""
    runs = Runs(lambda case, where: Verdict.WRONG if where is runs.fresh and (case.config.batch or 0) > 1 else Verdict.AGREE)
    found = settled(runs)
    assert str(found.reduction.case) == "conv1d_n2_c1_o1_i1_k1_f32@zeros"
    assert found.companion.boundary == "fails at batch 2, works at 1"
    assert found.companion.case in runs.fresh


def test_another_failure_is_no_passing_case() -> None:
    """A neighbour that fails in another way does not work, and none of them is the companion."""
    found = settled(Runs(lambda case, _: Verdict.WRONG if (case.config.batch or 0) > 1 else Verdict.ERROR))
    assert found.companion == Companion(None, "none of 1 neighbouring case passes")
