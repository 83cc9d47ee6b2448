"""What a campaign runs of a split that has many parts: few calls, the same result, and all parts where that fails."""

from __future__ import annotations

import numpy as np
import pytest
from sampling import sample

from convfuzz import Case, DataRecipe
from convfuzz.backends import Outputs, Support
from convfuzz.backends.variants.splits import Split, SplitBatch, SplitGroup, SplitIn, SplitVariant
from convfuzz.checking.checker import Checker, fold_check
from convfuzz.checking.shares import Shares
from convfuzz.record.events import BackendEnded
from convfuzz.strategies import configs
from convfuzz.tensors.generator import Tensors, make_tensors

from .fakes import Spy, exact

MANY = "conv1d_c3_o40_i9_k3_b_f32@integers.1"


@pytest.mark.parametrize("variant", [Split, SplitIn, SplitGroup, SplitBatch])
def test_a_sample_gives_what_all_parts_give(variant: type[SplitVariant]) -> None:
    """On integers every pass of the sample is that of the split bit for bit, with fewer calls."""
    sampled = []
    for config in sample(configs(max_flops=100_000, max_elements=2**11), 250, seed=20261129):
        case, spy = Case(config, DataRecipe("integers", 3), grad=True), Spy()
        split = variant(spy)
        if split.supports(case) and (few_parts := split.sampled(case)) is not None:
            tensors = make_tensors(case)
            outputs = few_parts.run(case, tensors)
            few = len(spy.seen)
            whole = split.run(case, tensors)
            assert all(np.array_equal(outputs[name], whole[name]) for name in case.passes)
            assert 2 * few <= len(spy.seen) - few
            sampled.append(case)
    assert len(sampled) > 10


def test_a_sample_has_the_first_and_the_last_kernel_and_one_at_a_block_edge() -> None:
    """Of 40 kernels four at most are alone, those at the ends always; the same case samples the same ones."""
    case, spy = Case.parse(MANY), Spy()
    tensors = make_tensors(case)
    assert tensors.b is not None
    for _ in range(2):
        sample = Split(spy).sampled(case)
        assert sample is not None
        sample.run(case, tensors)
    sizes = [single.config.out_channels for single, _ in spy.seen]
    assert sizes[: len(sizes) // 2] == sizes[len(sizes) // 2 :]
    assert sizes[0] == sizes[-1] == 1
    assert sum(sizes) == 2 * 40
    ends = np.cumsum(sizes)
    alone = {int(end) - 1 for end, size in zip(ends, sizes, strict=True) if size == 1}
    assert any(kernel % 8 in (0, 7) for kernel in alone - {0, 39, 40, 79})


def test_few_parts_are_all_run() -> None:
    """Up to eight kernels each run on their own."""
    assert Split(Spy()).sampled(Case.parse("conv1d_c3_o8_i9_k3_f32")) is None


class WrongFor(Spy):
    """Wrong where the layer has so many kernels."""

    def __init__(self, kernels: range) -> None:
        super().__init__()
        self._kernels = kernels

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Double the result of some layers."""
        self.seen.append((case, tensors))
        y = exact(case, tensors)["forward"]
        return {"forward": 2 * y if case.config.out_channels in self._kernels else y}


def in_campaign(split: SplitVariant) -> BackendEnded:
    """Return the result of a split as a campaign runs it."""
    return fold_check(Case.parse(MANY), Checker([split], shares=Shares([split]), repeat_one_in=10**6).events(Case.parse(MANY))).results[0]


def test_a_campaign_runs_all_parts_where_the_sample_fails() -> None:
    """A mistake of one kernel at a time is found by the sample and told by the split itself, as a check would tell it."""
    wrong, right, check = WrongFor(range(1, 2)), Spy(), WrongFor(range(1, 2))
    told = in_campaign(Split(wrong))
    assert told.verdict == "wrong"
    assert len(wrong.seen) > 40
    assert told.discrepancies == fold_check(Case.parse(MANY), Checker([Split(check)]).events(Case.parse(MANY))).results[0].discrepancies
    assert len(check.seen) == 40
    assert in_campaign(Split(right)).verdict == "agree"
    assert len(right.seen) < 10


def test_a_mistake_in_runs_of_kernels_is_none_of_the_split() -> None:
    """What only a layer of several kernels shows is not what the split does, and a check could not repeat it."""
    assert in_campaign(Split(WrongFor(range(2, 39)))).verdict == "agree"


class DeclinesRuns(Spy):
    """Takes layers of one kernel or of all."""

    def supports(self, case: Case) -> Support:
        """Decline the others."""
        return Support.YES if case.config.out_channels in (1, 40) else Support.no("one kernel or forty")


def test_a_backend_that_declines_runs_is_split_entirely() -> None:
    """A sample that the backend does not compute is none."""
    assert Split(DeclinesRuns()).sampled(Case.parse(MANY)) is None
