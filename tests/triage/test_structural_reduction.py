"""Reduction ends at a case in which nothing can be made simpler without losing the failure."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.strategies import cases
from convfuzz.triage.reduction import Budget, complexity, reduce_case, reduce_structure, simpler, without_all_but

RICH = [
    "conv3d_n17_c12_o18_g6_i9x10x11_k3x2x4_s2x1x3_p1:2x0x3_d2x1x1_b_bf16_cl_grad@special.99",
    "conv2d_n-_c8_o8_g8_i12x9_k5x4_s2_psame_d1x2_b_f16_nc@huge.3",
    "conv2d_n3_c6_o4_g2_i11_k3_s2_p2_d2_pmreflect_b_f64@cancellation.5",
    "convt2d_n2_c6_o9_g3_i7x5_k4x3_s3x2_p1_d1x2_op2x1_b_bf16_grad@subnormal.7",
    "conv2d_n2_c4_o4_i9_k3_p-2:1_f32@normal.1",
]


def has_a_tail(case: Case) -> bool:
    """Tell whether a stride leaves some padded input unread at the end."""
    c = case.config
    return any((n + lo + hi - e) % s for n, (lo, hi), e, s in zip(c.input_size, c.pads, c.effective_kernel, c.stride, strict=True))


def spans_the_input(case: Case) -> bool:
    """Tell whether a kernel of several taps is as large as the padded input, on the first axis."""
    c = case.config
    return c.kernel_size[0] > 1 and c.effective_kernel[0] == c.input_size[0] + sum(c.pads[0])


PREDICATES: dict[str, Callable[[Case], bool]] = {
    "bfloat16": lambda c: c.config.dtype == "bfloat16",
    "several groups, strided": lambda c: c.config.groups > 1 and max(c.config.stride) > 1,
    "an even kernel with padding": lambda c: any(k % 2 == 0 for k in c.config.kernel_size) and c.config.pads != ((0, 0),) * c.config.dims,
    "asymmetric padding": lambda c: any(lo != hi for lo, hi in c.config.pads),
    "cropped": lambda c: min(min(p) for p in c.config.pads) < 0,
    "three dimensions": lambda c: c.config.dims == 3,
    "transposed": lambda c: c.config.op == "conv_transpose",
    "a batch of fifteen": lambda c: (c.config.batch or 0) >= 15,
    "unbatched": lambda c: c.config.batch is None,
    "same": lambda c: c.config.padding == "same",
    "another layout": lambda c: c.config.layout != "contiguous",
    "seventeen taps": lambda c: c.config.taps >= 17,
    "five outputs per row": lambda c: c.config.output_size[-1] >= 5,
    "a stride's tail": has_a_tail,
    "dilated on one axis": lambda c: max(c.config.dilation) > 1,
    "gradients of a bias": lambda c: c.grad and c.config.bias,
    "special data": lambda c: c.recipe.regime == "special",
    "an odd seed": lambda c: c.recipe.seed % 2 == 1,
    "the kernel spans the input": spans_the_input,
    "anything": lambda _: True,
}

REDUCIBLE = [(name, line) for name in PREDICATES for line in RICH if PREDICATES[name](Case.parse(line))]


def plenty() -> Budget:
    """Make a budget that no reduction here uses up."""
    return Budget(seconds=60.0, candidates=100_000)


@pytest.mark.parametrize(("name", "line"), REDUCIBLE)
def test_minimal(name: str, line: str) -> None:
    """The result fails and no single simplification of it does."""
    fails = PREDICATES[name]
    found = reduce_case(Case.parse(line), fails, plenty())
    assert found.outcome == "minimal"
    assert fails(found.case)
    assert found.case.config.is_valid
    assert [str(c) for c in simpler(found.case) if c.config.is_valid and fails(c)] == []


@settings(deadline=None, max_examples=100)
@given(case=cases(), name=st.sampled_from(sorted(PREDICATES)))
def test_any_drawn_case(case: Case, name: str) -> None:
    """From wherever a failure starts the reduction ends at a minimal, valid case that still fails."""
    fails = PREDICATES[name]
    if not fails(case):
        return
    found = reduce_case(case, fails, plenty())
    assert found.outcome == "minimal"
    assert fails(found.case)
    assert found.case.config.is_valid
    assert [str(c) for c in simpler(found.case) if c.config.is_valid and fails(c)] == []


@pytest.mark.parametrize(
    ("name", "minimal"),
    [
        ("anything", "conv1d_c1_o1_i1_k1_f32@integers.0"),
        ("bfloat16", "conv1d_c1_o1_i1_k1_bf16@integers.0"),
        ("several groups, strided", "conv1d_c2_o2_g2_i1_k1_s2_f32@integers.0"),
        ("three dimensions", "conv3d_c1_o1_i1_k1_f32@integers.0"),
        ("a batch of fifteen", "conv1d_n15_c1_o1_i1_k1_f32@integers.0"),
        ("gradients of a bias", "conv1d_c1_o1_i1_k1_b_f32_grad@integers.0"),
        ("five outputs per row", "conv1d_c1_o1_i5_k1_f32@integers.0"),
        ("special data", "conv1d_c1_o1_i1_k1_f32@special.0"),
    ],
)
def test_where_it_ends(name: str, minimal: str) -> None:
    """Only what the failure needs is left, everything else at its plainest."""
    found = reduce_structure(Case.parse(RICH[0]), PREDICATES[name], plenty())
    assert str(found.case) == minimal


@pytest.mark.parametrize(
    ("fails", "lines", "minimal"),
    [
        (lambda c: len(set(c.stride)) > 1, ("conv2d_c1_o1_i9_k3_s2x1_f32", "conv2d_c3_o1_i7_k1_s1x3_f32"), "conv2d_c1_o1_i1_k1_s1x2_f32"),
        (
            lambda c: any(lo != hi for lo, hi in c.pads),
            ("conv2d_c1_o1_i9_k3_p1:0x0_f32", "conv3d_c1_o1_i5_k3_p0x1x0:2_f32", "conv1d_c1_o1_i9_k3_p0:3_f32"),
            "conv1d_c1_o1_i1_k1_p0:1_f32",
        ),
        (
            lambda c: c.dims == 3 and len(set(c.kernel_size)) == 3,
            ("conv3d_c1_o1_i9_k5x1x4_f32", "conv3d_c1_o1_i9x8x7_k3x2x1_p1_f32"),
            "conv3d_c1_o1_i1x2x3_k1x2x3_f32",
        ),
    ],
)
def test_what_fails_on_any_axis_ends_on_one(fails: Callable[[ConvConfig], bool], lines: tuple[str, ...], minimal: str) -> None:
    """Whichever axis, or side of one, a failure was met on, it ends at one case: a run's findings do not hang on which came first."""
    ends = {str(reduce_structure(Case.parse(line), lambda case: fails(case.config), plenty()).case).partition("@")[0] for line in lines}
    assert ends == {minimal}


@pytest.mark.parametrize(
    ("line", "minimal"),
    [
        ("conv2d_c4_o3_i1_k3_s2_p2_f32", "conv1d_c1_o1_i2_k2_s2_f32"),
        ("convt2d_c4_o3_i2_k1_s2_op1_f32", "convt1d_c1_o1_i2_k1_s2_f32"),
    ],
)
def test_padding_that_makes_room_becomes_a_larger_input(line: str, minimal: str) -> None:
    """What needs a window of two taps, or a site between two windows, ends at a layer without padding of either kind."""

    def fails(case: Case) -> bool:
        c = case.config
        if max(c.stride) == 1:
            return False
        return max(c.output_size) > 1 if c.op == "conv_transpose" else max(c.kernel_size) > 1

    found = reduce_structure(Case.parse(line), fails, plenty())
    assert str(found.case).partition("@")[0] == minimal


@pytest.mark.parametrize(
    ("fails", "line", "minimal"),
    [
        (lambda c: c.input_size[-1] % 2 == 1 and c.input_size[-1] > 2, "conv2d_c4_o3_i9x31_k3_s2_p1_f32", "i3"),
        (lambda c: c.input_size[0] % 8 == 1 and c.input_size[0] > 8, "conv1d_c4_o3_i57_k3_f32", "i9"),
        (lambda c: c.in_channels % 4 == 0 and c.in_channels > 4, "conv2d_c44_o3_i9_k3_f32", "c8"),
        (lambda c: c.in_channels % 8 == 0, "conv1d_c56_o3_i9_k3_f32", "c8"),
        (lambda c: c.kernel_size[0] % 2 == 0 and c.kernel_size[0] > 3, "conv1d_c4_o3_i33_k14_f32", "k4"),
        (lambda c: c.batch is not None and c.batch % 3 == 2 and c.batch > 4, "conv1d_n17_c4_o3_i9_k3_f32", "n5"),
        (lambda c: c.stride[0] % 2 == 1 and c.stride[0] > 1, "conv1d_c4_o3_i9_k3_s7_f32", "s3"),
        (lambda c: c.pads[0][0] % 2 == 1 and c.pads[0][0] > 1, "conv1d_c4_o3_i9_k13_p7_f32", "p3"),
        (
            lambda c: len(set(c.input_size)) == 1 and c.dims == 2 and c.input_size[0] % 2 == 1 and c.input_size[0] > 2,
            "conv2d_c4_o3_i15_k3_f32",
            "i3",
        ),
        (lambda c: c.in_channels == c.out_channels and c.in_channels % 4 == 0, "conv1d_c28_o28_i9_k3_f32", "c4_o4"),
        (lambda c: c.output_size[0] % 2 == 1 and c.output_size[0] >= 5, "conv1d_c4_o3_i33_k3_f32", "i5"),
    ],
)
def test_least_number_of_a_remainder(fails: Callable[[ConvConfig], bool], line: str, minimal: str) -> None:
    """What fails at numbers of one remainder, from a bound on, ends at the least of them, also where two parameters share it."""
    found = reduce_case(Case.parse(line), lambda case: fails(case.config), plenty())
    assert minimal in str(found.case)
    assert found.tried < 150


@pytest.mark.parametrize("line", ["convt1d_c1_o1_i1_k3_f32@integers.0", "convt2d_c1_o1_i2_k3_f32@integers.0"])
def test_nothing_grows(line: str) -> None:
    """A case never becomes larger on the way: what is at its smallest stays there."""
    start = Case.parse(line)
    found = reduce_case(start, lambda c: c.config.op == "conv_transpose" and max(c.config.kernel_size) == 3, plenty())
    assert max(found.case.config.input_size) <= max(start.config.input_size)
    assert complexity(found.case)[1] <= complexity(start)[1]


@pytest.mark.parametrize(("name", "line"), REDUCIBLE[::7])
def test_a_minimal_case_is_left_alone(name: str, line: str) -> None:
    """Reducing a minimal case again gives the same case."""
    first = reduce_case(Case.parse(line), PREDICATES[name], plenty())
    assert reduce_case(first.case, PREDICATES[name], plenty()).case == first.case


@pytest.mark.parametrize("line", [*RICH, "conv2d_c3_o4_g2_i9_k3_s2_f16@normal.1", "conv2d_c4_o4_i3_k5_d2_f32@normal.1"])
def test_validity_is_kept(line: str) -> None:
    """A valid case is only ever reduced to valid ones, and an invalid one to invalid ones."""
    case = Case.parse(line)
    seen = []

    def fails(candidate: Case) -> bool:
        seen.append(candidate.config.is_valid)
        return len(str(candidate)) % 3 > 0

    if fails(case):
        found = reduce_case(case, fails, plenty())
        assert found.case.config.is_valid == case.config.is_valid
    assert set(seen) == {case.config.is_valid}


def test_each_candidate_is_tried_once() -> None:
    """No case is run twice, and the number that was tried is the number of runs."""
    calls: list[Case] = []

    def fails(candidate: Case) -> bool:
        calls.append(candidate)
        return candidate.config.groups > 1

    found = reduce_case(Case.parse(RICH[0]), fails, plenty())
    assert len(calls) == len(set(calls))
    assert found.tried == len(calls)


def test_what_does_not_fail_again_is_left_alone() -> None:
    """A failure that does not come back is said to be so, after one try."""
    case = Case.parse(RICH[0])
    found = reduce_case(case, lambda _: False)
    assert (found.case, found.outcome, found.tried) == (case, "not reproduced", 1)


@pytest.mark.parametrize("candidates", [0, 1, 5, 20])
def test_budget_of_candidates(candidates: int) -> None:
    """A reduction stops after its budget of candidates with the best so far, which fails."""
    calls = 0

    def fails(candidate: Case) -> bool:
        nonlocal calls
        calls += 1
        return candidate.config.groups > 1 and len(candidate.config.kernel_size) == 3

    found = reduce_case(Case.parse(RICH[0]), fails, Budget(seconds=60.0, candidates=candidates))
    assert found.outcome == "budget spent"
    assert calls == 1 + candidates
    assert found.tried == calls
    assert fails(found.case)
    if candidates == 0:
        assert found.case == Case.parse(RICH[0])


def test_budget_of_time() -> None:
    """A reduction without time left returns the case as it is."""
    found = reduce_case(Case.parse(RICH[0]), lambda _: True, Budget(seconds=0.0))
    assert (found.case, found.outcome) == (Case.parse(RICH[0]), "budget spent")


def test_order_of_simplicity() -> None:
    """Gradients go before anything else, and data turn plain only when the configuration has."""
    tried: list[Case] = []
    start = Case.parse("conv2d_n2_c4_o4_i9_k3_s2_b_f16_grad@special.9")

    def fails(candidate: Case) -> bool:
        tried.append(candidate)
        return candidate == start

    reduce_structure(start, fails, plenty())
    assert not tried[1].grad
    assert all(candidate.grad for candidate in tried[2:])
    data = [candidate.recipe != start.recipe for candidate in tried]
    assert data == sorted(data)
    assert data[-1]


@pytest.mark.parametrize("line", ["conv2d_c4_o4_g0_i5_k3_f32", "convt2d_c4_o4_g-2_i5_k3_s2_b_f32"])
def test_no_groups(line: str) -> None:
    """An invalid number of groups is reduced like any other parameter."""
    found = reduce_case(Case.parse(line), lambda c: c.config.groups < 1, plenty())
    assert str(found.case) == f"conv1d_c1_o1_g{Case.parse(line).config.groups}_i1_k1_f32@zeros"


def test_padding_of_any_size() -> None:
    """Padding beyond every loop comes down by halves, to what the failure needs."""
    case = Case.parse(f"conv1d_c1_o1_i2_k3_s{2**62}_p{2**61}_f32")
    found = reduce_structure(case, lambda c: c.config.pads[0][0] > 2**40, plenty())
    assert (found.outcome, found.case.config.pads) == ("minimal", ((2**40 + 1, 0),))
    assert found.tried < 1000


def test_no_candidate_is_far_larger_than_the_case() -> None:
    """A simplification that makes the tensors explode, such as less cropping of a large output, is not tried."""
    start = Case.parse(f"convt1d_c1_o1_i2_k3_s{2**61}_p{2**60}_f32")
    sizes = []

    def fails(candidate: Case) -> bool:
        sizes.append(candidate.config.working_nbytes)
        return candidate.config.stride[0] > 2**40

    assert reduce_structure(start, fails, plenty()).outcome == "minimal"
    assert max(sizes) < 2**20


def test_complexity_orders_findings() -> None:
    """Fewer parameters that are not default come first, then smaller tensors, then the line; a plain case is simplest."""
    ordered = [
        "conv2d_c1_o1_i1_k1_f32",
        "conv2d_c1_o1_i3_k3_f32",
        "conv2d_c64_o64_i32_k3_f32",
        "conv2d_c1_o1_i1_k1_s2_f32",
        "conv2d_c1_o1_i3_k3_s2_f32",
        "conv2d_c1_o1_i1_k1_s2_b_f32",
        "conv2d_c2_o2_g2_i1_k1_s2_b_f16",
    ]
    assert sorted(map(Case.parse, reversed(ordered)), key=complexity) == [Case.parse(line) for line in ordered]
    twins = [Case.parse(f"conv2d_c1_o1_i3_k3_f32@normal.{seed}") for seed in (2, 1)]
    assert sorted(twins, key=complexity) == twins[::-1]


@pytest.mark.parametrize(
    ("line", "axes", "smallest"),
    [
        ("conv3d_n8_c5_o10_g5_i9x17x10_k5x2x2_p1_pmreplicate_b_f16_wls@huge.1828", ["bias", "dims"], "conv3d_c1_o1_i1_k1_b_f32@huge.1828"),
        ("convt2d_c64_o48_g8_i9x64_k1_s2_d5_op1_f16_cl_grad@one-hot.4", ["groups"], "conv1d_c8_o8_g8_i1_k1_f32@one-hot.4"),
        ("conv2d_c4_o4_i9_k3_s2_p1_bf16_grad@normal.1", ["passes", "stride"], "conv1d_c1_o1_i1_k1_s2_f32_grad@normal.1"),
        ("conv2d_c4_o4_i9_k3_s2_d2_f32@normal.1", ["dilation", "kernel"], "conv1d_c1_o1_i5_k3_d2_f32@normal.1"),
        ("convt2d_c4_o4_i9_k3_s2_p1_b_f32@normal.1", ["op", "bias"], "convt1d_c1_o1_i1_k1_b_f32@normal.1"),
    ],
)
def test_layer_with_nothing_but_what_is_needed(line: str, axes: list[str], smallest: str) -> None:
    """All other axes are plain; the smallest layer comes first, the one with the sizes of the case last."""
    first, *_, last = without_all_but(Case.parse(line), axes)
    assert str(first) == smallest
    assert last.config.in_channels == Case.parse(line).config.in_channels


def test_no_layer_is_left_of_a_call_that_is_none() -> None:
    """An invalid configuration may need what is wrong with it, so that nothing is made of it."""
    assert without_all_but(Case.parse("conv2d_c4_o4_g3_i9_k3_s2_f32@normal.1"), ["groups"]) == []
