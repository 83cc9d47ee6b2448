"""What of the drawn batches runs next: what is rare for its cost, the costly ones in their share, and lists first."""

from __future__ import annotations

from random import Random

import pytest

from convfuzz.campaign.candidates import SHARE_AT_ANY_COST, Batch, Candidates, Steering, batch_cost, part_of_list
from convfuzz.campaign.expected_cost import expected_cost
from convfuzz.campaign.pair_coverage import PairCoverage
from convfuzz.case import Case
from convfuzz.case.batch import Exchangeable


def batch(*lines: str) -> Batch:
    """Return the cases of some lines."""
    return tuple(map(Case.parse, lines))


def taken(candidates: Candidates, coverage: PairCoverage) -> list[Batch]:
    """Take and run all that waits."""
    order: list[Batch] = []
    while next_one := candidates.take():
        coverage.add(next_one[0].config)
        order.append(next_one)
    return order


def layers(size: int, count: int, seed: int) -> list[Batch]:
    """Return layers with as many sites along an axis as ``size``, and one feature value or another."""
    source = Random(seed)  # noqa: S311 - a reproducible sequence is what is wanted
    options = ("_b", "_n2", "_f16", "_cl", "_s2", "_p1", "_d2", "")
    return [batch(f"conv2d_c3_o3_i{size + n}_k3{source.choice(options)}@zeros") for n in range(count)]


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ("conv2d_c3_o3_i32_k3", "conv2d_c3_o3_i64_k3"),
        ("conv2d_c3_o3_i32_k3", "conv2d_c3_o3_i32_k3_grad"),
        ("conv2d_c3_o3_i32_k3", "conv2d_c3_o3_i32_k3_c64"),
        ("conv2d_c3_o3_i32_k3", "conv2d_c3_o3_i32_k3_p9"),
        ("conv2d_c64_o64_i32_k3", "conv2d_c64_o64_i32_k5_p1"),
        ("conv2d_c3_o3_i32_k50", "conv2d_c3_o3_i32_k3"),
    ],
)
def test_more_work_is_expected_to_cost_more(less: str, more: str) -> None:
    """More elements, passes, operations and parts of a number cost more; a call that is rejected costs the least there is."""
    assert 1 <= expected_cost(Case.parse(f"{less}@zeros")) < expected_cost(Case.parse(f"{more}@zeros"))


def test_cheapest_of_equally_rare_batches_runs_first() -> None:
    """Of layers that differ in their sizes alone the smallest one runs, and what it leaves runs later."""
    coverage, candidates = PairCoverage(), Candidates(PairCoverage())
    large, small = batch("conv2d_c3_o3_i120_k3@zeros"), batch("conv2d_c3_o3_i12_k3@zeros")
    candidates.add([large, small])
    assert taken(candidates, coverage) == [small, large]


def test_rarest_of_equally_costly_batches_runs_first() -> None:
    """Of two small layers the one with a stride that nothing had before runs."""
    coverage = PairCoverage()
    plain, strided = batch("conv2d_c3_o3_i12_k3@zeros"), batch("conv2d_c3_o3_i12_k3_s2@zeros")
    coverage.add(Case.parse("conv2d_c3_o3_i9_k3@zeros").config)
    candidates = Candidates(coverage)
    candidates.add([plain, strided])
    assert candidates.take() == strided


def test_large_batches_have_their_share_of_the_cost() -> None:
    """Layers that are never worth their cost beside small ones get their share of it, no more and not much less."""
    coverage = PairCoverage()
    candidates = Candidates(coverage)
    spent = {"small": 0.0, "large": 0.0}
    for number in range(150):
        candidates.add([*layers(100, 4, number), *layers(6, 4, number)])
        for _ in range(2):
            ran = candidates.take()
            assert ran is not None
            coverage.add(ran[0].config)
            spent["large" if batch_cost(ran) > 1.5 else "small"] += batch_cost(ran)
    share = spent["large"] / sum(spent.values())
    assert 0.6 * SHARE_AT_ANY_COST < share < 1.2 * SHARE_AT_ANY_COST


def test_list_of_configurations_runs_before_all_else_and_once() -> None:
    """The corpus runs whatever it costs, and not again when all of it has been tried."""
    coverage = PairCoverage()
    listed = batch("conv2d_c3_o3_i200_k3@zeros", "conv2d_c3_o3_i200_k3_s2@zeros")
    small = batch("conv1d_c1_o1_i3_k1@zeros")
    candidates = Candidates(coverage)
    candidates.add([small, listed])
    assert candidates.take() == listed
    for case in listed:
        coverage.add(case.config)
    candidates.add([listed])
    assert taken(candidates, coverage) == [small]


def test_workers_share_a_list() -> None:
    """Each configuration of the corpus is in the part of one worker, and what is no list is every worker's."""
    listed = tuple(Case.parse(f"conv1d_c1_o1_i{size}_k1@zeros") for size in range(1, 8))
    parts = [part_of_list(listed, worker, 3) for worker in range(3)]
    assert sorted(str(case) for part in parts for case in part) == sorted(map(str, listed))
    assert {len(part) for part in parts} == {2, 3}
    small = batch("conv1d_c1_o1_i3_k1@zeros", "conv1d_c1_o1_i3_k1@integers.0")
    assert part_of_list(small, 1, 3) == small


def test_eldest_leave_where_too_many_wait() -> None:
    """A round's memory does not grow with what it draws, and what waits is different from one another."""
    coverage = PairCoverage()
    candidates = Candidates(coverage)
    drawn = layers(6, 100, 0)
    candidates.add(drawn)
    candidates.add(drawn[-3:])
    left = taken(candidates, coverage)
    assert len(left) == len(set(left)) <= 30
    assert set(left) <= set(drawn[-30:])


def exchangeable(*lines: str) -> Batch:
    """Return the cases of some lines, which may have other operands."""
    return Exchangeable(batch(*lines))


def test_exchangeable_batches_run_with_the_operands_that_are_rarest_with_them() -> None:
    """Where a stride has met float16 and a dilation channels-last memory, they change places; each layer and all operands run once."""
    coverage = PairCoverage()
    drawn = [
        exchangeable("conv1d_c2_o3_i9_k3_s2_f16@tiny.5"),
        exchangeable("conv1d_c2_o3_i9_k3_d2_cl@normal.7", "conv1d_c2_o3_i9_k3_d2_cl@special.7"),
    ]
    for case, *_ in drawn:
        coverage.add(case.config)
    candidates = Candidates(coverage, Steering(on_all_data=lambda _: True))
    candidates.add(drawn)
    assert set(taken(candidates, coverage)) == {
        batch("conv1d_c2_o3_i9_k3_s2_cl@normal.7", "conv1d_c2_o3_i9_k3_s2_cl@special.7"),
        batch("conv1d_c2_o3_i9_k3_d2_f16@tiny.5"),
    }


def test_batch_that_is_not_exchangeable_runs_as_it_is() -> None:
    """A past bug, or a layer of a kernel that takes no other dtype, keeps its operands however often they have met it."""
    coverage = PairCoverage()
    whole, other = batch("conv1d_c2_o3_i9_k3_s2_f16@tiny.5"), exchangeable("conv1d_c2_o3_i9_k3_d2@normal.7")
    for _ in range(5):
        coverage.add(whole[0].config)
        coverage.add(other[0].config)
    candidates = Candidates(coverage)
    candidates.add([whole, other])
    assert set(taken(candidates, coverage)) == {whole, other}


def test_whole_numbers_have_no_gradients() -> None:
    """A layer with gradients that gets an integer dtype runs its forward pass, on data which that dtype has."""
    coverage = PairCoverage()
    drawn = [exchangeable("conv1d_c2_o3_i9_k3_s2_grad@tiny.5"), exchangeable("conv1d_c2_o3_i9_k3_d2_i8@sparse.7")]
    for case, *_ in drawn:
        coverage.add(case.config)
    candidates = Candidates(coverage)
    candidates.add(drawn)
    assert set(taken(candidates, coverage)) == {batch("conv1d_c2_o3_i9_k3_s2_i8@sparse.7"), batch("conv1d_c2_o3_i9_k3_d2@tiny.5")}


def test_cheapest_operands_run_first() -> None:
    """Of two dtypes that are equally rare a large layer gets the one whose numbers have one part."""
    coverage, candidates = PairCoverage(), Candidates(PairCoverage())
    lines = "conv2d_c3_o3_i80_k3{}@normal.1", "conv2d_c3_o3_i81_k3{}@normal.1"
    candidates.add([exchangeable(lines[0].format("_c64")), exchangeable(lines[1].format("_f64"))])
    assert taken(candidates, coverage) == [batch(lines[0].format("_f64")), batch(lines[1].format("_c64"))]


def test_configurations_run_on_one_of_their_data_recipes_in_turn() -> None:
    """Each recipe has its turn; one configuration in eight, and what a compiler runs, is run on all of them."""
    drawn = [batch(f"conv1d_c1_o1_i{size}_k1@integers.1", f"conv1d_c1_o1_i{size}_k1@tiny.1") for size in range(3, 13)]
    candidates = Candidates(PairCoverage(), Steering(on_all_data=lambda config: config.input_size == (5,)))
    candidates.add(drawn)
    ran = taken(candidates, PairCoverage())
    assert [one[0].config.input_size[0] for one in ran] == [*range(3, 13)]
    regimes = ["+".join(case.recipe.regime for case in one) for one in ran]
    assert regimes == ["integers", "tiny", "integers+tiny", *["tiny", "integers"] * 2, "integers+tiny", "integers", "tiny"]
