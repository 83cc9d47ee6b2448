"""Causes by experiment: one bug that shows in several ways is one, two bugs of one kernel are two."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import cycle

import msgspec
import pytest

from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.features import particular
from convfuzz.record.cause import Cause, in_order
from convfuzz.record.confirmation import Confirmation, Tally
from convfuzz.record.events import BackendEnded
from convfuzz.record.finding import Finding, ReductionOutcome, fingerprint
from convfuzz.triage.causes import causes
from convfuzz.triage.reduction import Budget
from convfuzz.verdicts import Verdict

Bug = Callable[[Case, str], tuple[Verdict, str] | None]
"""A planted bug: how a case fails on a backend and in which pass, or ``None`` where it does not."""

GRAVITY = list(Verdict)


def stride_bug(case: Case, backend: str) -> tuple[Verdict, str] | None:
    """Strides beyond 1 are wrong in the forward pass, and spoil NaN and Inf."""
    if max(case.config.stride) == 1:
        return None
    return (Verdict.NON_FINITE if case.recipe.has_non_finite else Verdict.WRONG), "forward"


def inf_bug(case: Case, backend: str) -> tuple[Verdict, str] | None:
    """NaN and Inf are mishandled, whatever the layer."""
    return (Verdict.NON_FINITE, "forward") if case.recipe.has_non_finite else None


def dilation_bug(case: Case, backend: str) -> tuple[Verdict, str] | None:
    """Dilations beyond 1 are wrong."""
    return (Verdict.WRONG, "forward") if max(case.config.dilation) > 1 else None


def gradient_bug(case: Case, backend: str) -> tuple[Verdict, str] | None:
    """The weight's gradient is wrong, whatever the layer."""
    return (Verdict.WRONG, "grad_weight") if case.grad else None


def size_bug(case: Case, backend: str) -> tuple[Verdict, str] | None:
    """Inputs beyond 32 are wrong, and NaN among their data too."""
    if case.config.input_size[0] < 33:
        return None
    return (Verdict.NON_FINITE if case.recipe.has_non_finite else Verdict.WRONG), "forward"


def eater(case: Case, backend: str) -> tuple[Verdict, str] | None:
    """A call that takes memory and time; which runs out first depends on the input's size."""
    if case.config.groups == 1:
        return None
    return (Verdict.MEMORY if case.config.input_size[0] > 4 else Verdict.TIMEOUT), "forward"


def hanging(case: Case, backend: str) -> tuple[Verdict, str] | None:
    """A call that does not return where there is padding."""
    return (Verdict.TIMEOUT, "forward") if any(map(any, case.config.pads)) else None


def half_bug(case: Case, backend: str) -> tuple[Verdict, str] | None:
    """Both 16-bit dtypes add up in themselves, and overflow where the data are huge."""
    if case.config.dtype not in {"float16", "bfloat16"}:
        return None
    return (Verdict.NON_FINITE if case.recipe.regime == "huge" else Verdict.IMPRECISE), "forward"


def overflowing_bug(case: Case, backend: str) -> tuple[Verdict, str] | None:
    """Several groups are wrong; in float16, whose numbers end early, that is non-finite on huge data."""
    if case.config.groups == 1:
        return None
    overflows = case.config.dtype == "float16" and case.recipe.regime == "huge"
    return (Verdict.NON_FINITE if overflows else Verdict.WRONG), "forward"


class Kernel:
    """A backend with planted bugs; counts what it runs."""

    def __init__(self, *bugs: Bug) -> None:
        self.bugs, self.runs = bugs, 0

    def __call__(self, case: Case, backend: str) -> BackendEnded:
        """Return the gravest failure of the bugs, the others beside it."""
        self.runs += 1
        shown = sorted({s for bug in self.bugs if (s := bug(case, backend))}, key=lambda s: (GRAVITY.index(s[0]), s[1]))
        if not shown:
            return BackendEnded(backend=backend, verdict=Verdict.AGREE, seconds=0.0)
        (verdict, in_pass), *rest = shown
        model = f"{case.config.dtype} accumulation" if verdict is Verdict.IMPRECISE else ""
        return BackendEnded(
            backend=backend, verdict=verdict, seconds=0.0, in_pass=in_pass, model=model, also={p: v for v, p in rest if p != in_pass}
        )


def found(line: str, verdict: Verdict, backend: str = "k.py::f", in_pass: str = "forward", **fields: object) -> Finding:
    """Return the finding of a minimal case."""
    case = Case.parse(line)
    model = f"{case.config.dtype} accumulation" if verdict is Verdict.IMPRECISE else ""
    finding = Finding(
        fingerprint=fingerprint(case, backend, verdict, in_pass, model),
        verdict=verdict,
        backend=backend,
        case=line,
        first_case=line,
        in_pass=in_pass,
        model=model,
        features=particular(case.config),
        confirmation=Confirmation(alone=Tally(5, 5)),
    )
    return msgspec.structs.replace(finding, **fields)


def grouped(kernel: Kernel, *findings: Finding, budget: Budget | None = None, known: dict[str, str] | None = None) -> list[list[str]]:
    """Return the cases of the findings of each cause; each finding is what the kernel does."""
    for finding in findings:
        shown = kernel(Case.parse(finding.case), finding.backend)
        assert (shown.verdict, shown.in_pass) == (finding.verdict, finding.in_pass)
    kernel.runs = 0
    by_name = {finding.fingerprint: finding for finding in findings}
    listed = causes(findings, kernel, budget or Budget(60.0, 200), known)
    return sorted(sorted(by_name[name].case for name in cause.members) for cause in listed)


def shows_in_values(of: Callable[[Case], bool]) -> Bug:
    """Return a bug that is wrong, or non-finite where NaN or Inf is among the data, on the cases ``of`` it."""

    def bug(case: Case, backend: str) -> tuple[Verdict, str] | None:
        if not of(case):
            return None
        return (Verdict.NON_FINITE if case.recipe.has_non_finite else Verdict.WRONG), "forward"

    return bug


grouped_bug = shows_in_values(lambda case: case.config.groups > 1)
taps_bug = shows_in_values(lambda case: max(case.config.dilation) > 1 and max(case.config.kernel_size) > 1)
tail_bug = shows_in_values(lambda case: case.config.out_channels > 8)


def gap_bug(case: Case, backend: str) -> tuple[Verdict, str] | None:
    """A weight whose elements do not lie in order is misread: in gaps lies NaN, and between other elements there are none."""
    layout = case.config.weight_layout or case.config.layout
    many = sum(size > 1 for size in case.config.weight_shape)
    if layout == "non_contiguous" and many:
        return Verdict.NON_FINITE, "forward"
    return (Verdict.WRONG, "forward") if layout == "transposed" and many > 1 else None


WRONG, NAN = Verdict.WRONG, Verdict.NON_FINITE
STRIDE = found("conv1d_c1_o1_i1_k1_s2_f32@integers.0", WRONG, features=["stride=more than 1"])
PADDED = found("conv1d_c1_o1_i1_k2_s2_p1:0_f32@integers.0", WRONG, features=["padding=asymmetric", "stride=more than 1"])
STRIDE_INF = found("conv1d_c1_o1_i1_k1_s2_f32@x0=inf", NAN, first_case="conv1d_c3_o1_i9_k1_s2_f32@special.7")
INF = found("conv1d_c1_o1_i1_k1_f32@x0=inf", NAN, first_case="conv1d_c3_o1_i9_k1_f32@special.7")
GROUPS = found("conv1d_c2_o2_g2_i1_k1_f32@integers.0", WRONG, features=["groups=depthwise"])
GROUPS_HALF = found("conv1d_c2_o2_g2_i1_k1_f16@huge.0", NAN, features=["groups=depthwise", "dtype=float16"])
DILATION = found("conv1d_c1_o1_i3_k2_d2_f32@integers.0", WRONG)
HALF = found("conv1d_c1_o1_i9_k1_f16@normal.0", Verdict.IMPRECISE)
LARGE = found("conv1d_c2_o2_g2_i9_k1_f32@normal.0", Verdict.MEMORY, features=["groups=depthwise"])
SMALL = found("conv1d_c2_o2_g2_i1_k1_f32@normal.0", Verdict.TIMEOUT, features=["groups=depthwise"])
HANGING = found("conv1d_c1_o1_i1_k1_p1_f32@normal.0", Verdict.TIMEOUT)
GROUPS_INF = found("conv1d_c2_o2_g2_i1_k1_f32@x0=inf", NAN, features=["groups=depthwise"])
TAIL = found("conv1d_c1_o9_i1_k1_f32@integers.0", WRONG, features=[])
TAIL_INF = found("conv1d_c1_o9_i1_k1_f32@x0=inf", NAN, features=[])
GAPS = [
    found("conv1d_c1_o1_i2_k2_f32_wnc@zeros", NAN, features=["weight layout=non_contiguous"]),
    found("conv1d_c2_o1_i1_k1_f32_nc@zeros", NAN, features=["kernel=1x1", "layout=non_contiguous"]),
    found("conv2d_c1_o1_i2_k2_f32_wtr@integers.0", WRONG, features=["dims=2", "weight layout=transposed"]),
]
GRADIENT = found("conv1d_c1_o1_i1_k1_f32_grad@integers.0", WRONG, in_pass="grad_weight")


@pytest.mark.parametrize(
    ("bugs", "findings"),
    [
        ([size_bug], [found("conv1d_c1_o1_i33_k1_f32@integers.0", WRONG), found("conv1d_c1_o1_i33_k1_f32@x0=inf", NAN)]),
        ([stride_bug], [STRIDE, STRIDE_INF]),
        ([overflowing_bug], [GROUPS, GROUPS_HALF]),
        ([stride_bug], [STRIDE, found("conv2d_c1_o1_i1_k1_s2x1_f32@integers.0", WRONG, backend="k.py::f+split")]),
        ([eater], [LARGE, msgspec.structs.replace(SMALL, backend="k.py::f+split")]),
        ([eater], [LARGE, SMALL]),
        ([half_bug], [HALF, found("conv1d_c1_o1_i9_k1_bf16@normal.0", Verdict.IMPRECISE)]),
        ([half_bug], [HALF, found("conv1d_c1_o1_i9_k1_f16@huge.0", NAN)]),
        ([stride_bug], [STRIDE, PADDED]),
        ([tail_bug], [TAIL, found("conv1d_c1_o9_i1_k2_p1:0_f32@integers.0", WRONG, features=["padding=asymmetric"])]),
        ([gap_bug], GAPS),
    ],
    ids=["data", "Inf", "overflow", "variant", "limit, variant", "limit", "dtypes", "overflow of sums", "padded", "padded tail", "gaps"],
)
def test_one_bug_is_one_cause(bugs: list[Bug], findings: list[Finding]) -> None:
    """Data, modes, passes, dtypes and limits in which one bug shows make one entry of it."""
    assert len(grouped(Kernel(*bugs), *findings)) == 1


@pytest.mark.parametrize(
    ("bugs", "findings"),
    [
        ([stride_bug, dilation_bug], [STRIDE, DILATION]),
        ([stride_bug, inf_bug], [STRIDE, INF]),
        ([stride_bug, gradient_bug], [STRIDE, GRADIENT]),
        ([dilation_bug, gradient_bug], [DILATION, GRADIENT]),
        ([dilation_bug, inf_bug], [DILATION, INF]),
        ([gradient_bug, inf_bug], [GRADIENT, INF]),
        ([size_bug, inf_bug], [found("conv1d_c1_o1_i33_k1_f32@integers.0", WRONG), INF]),
        ([size_bug, stride_bug], [found("conv1d_c1_o1_i33_k1_f32@integers.0", WRONG), STRIDE]),
        ([half_bug, stride_bug], [found("conv1d_c1_o1_i9_k1_f16@normal.0", Verdict.IMPRECISE), STRIDE]),
        ([half_bug, inf_bug], [found("conv1d_c1_o1_i9_k1_f16@huge.0", NAN), INF]),
        ([eater, hanging], [LARGE, HANGING]),
        ([stride_bug, grouped_bug], [STRIDE, STRIDE_INF, GROUPS, GROUPS_INF]),
        ([stride_bug, tail_bug], [STRIDE, STRIDE_INF, TAIL, TAIL_INF]),
        ([grouped_bug, tail_bug], [GROUPS, GROUPS_INF, TAIL, TAIL_INF]),
        ([gap_bug, stride_bug], [*GAPS, STRIDE]),
        ([eater, stride_bug], [found("conv1d_c2_o2_g2_i9_k1_f32", Verdict.MEMORY), STRIDE]),
    ],
)
def test_two_bugs_of_a_kernel_stay_two(bugs: list[Bug], findings: list[Finding]) -> None:
    """Where either's case does not show the other, or both fail alike for want of different things, they stay apart."""
    assert len(grouped(Kernel(*bugs), *findings)) == 2


def unreduced(line: str) -> Finding:
    """Return the finding of a case that nobody had the time to reduce."""
    return found(line, WRONG, features=[], reduction=ReductionOutcome.BUDGET_SPENT)


def test_what_was_not_reduced_goes_to_the_cause_that_it_needs() -> None:
    """A large case that no longer fails with its stride reset is of the stride's cause; one that goes on failing is not."""
    large = unreduced("conv1d_n3_c8_o4_i40_k5_s2_b_f32@integers.0")
    assert grouped(Kernel(stride_bug), STRIDE, large) == [sorted([STRIDE.case, large.case])]
    uneven = unreduced("conv2d_n3_c8_o4_i40_k5_s1x2_b_f32@integers.0")
    assert grouped(Kernel(stride_bug), STRIDE, uneven) == [sorted([STRIDE.case, uneven.case])]
    both = unreduced("conv1d_n3_c8_o4_i40_k5_s2_d2_b_f32@integers.0")
    assert len(grouped(Kernel(stride_bug, dilation_bug), STRIDE, both)) == 2
    other = unreduced("conv1d_n3_c8_o4_i40_k5_d2_b_f32@integers.0")
    assert len(grouped(Kernel(stride_bug, dilation_bug), STRIDE, other)) == 2


def test_what_was_not_reduced_may_have_a_size_that_it_needs() -> None:
    """A large case that no longer fails with fewer output channels is of their cause; one with fewer of them has another."""
    large = unreduced("conv2d_n3_c8_o17_i40_k5_b_f32@integers.0")
    assert grouped(Kernel(tail_bug), TAIL, large) == [sorted([TAIL.case, large.case])]
    assert len(grouped(Kernel(tail_bug, stride_bug), TAIL, unreduced("conv2d_n3_c8_o17_i40_k5_s2_b_f32@integers.0"))) == 2
    assert len(grouped(Kernel(tail_bug, stride_bug), TAIL, unreduced("conv2d_n3_c8_o7_i40_k5_s2_b_f32@integers.0"))) == 2


def test_what_was_not_reduced_and_fails_in_another_way_is_tried_without_what_the_cause_needs() -> None:
    """NaN in a large case with groups is of the groups' cause where it goes away without them, and not where a stride brings it."""
    large, strided = (
        msgspec.structs.replace(unreduced(f"conv2d_n3_c8_o4_g2_i40_k5{stride}_b_f32@special.0"), verdict=NAN) for stride in ("", "_s2")
    )
    assert len(grouped(Kernel(grouped_bug), GROUPS, large)) == 1
    assert len(grouped(Kernel(grouped_bug), GROUPS, strided)) == 1
    assert len(grouped(Kernel(grouped_bug, stride_bug), GROUPS, strided)) == 2


def test_what_hangs_is_one_cause_though_no_time_was_left_to_reduce_it() -> None:
    """A hang goes to another one that was reduced further where it passes without what is left there, and one configuration is one."""
    first = "conv2d_n3_c8_o4_g2_i40_k5_s2_b_f32@integers.0"
    small, large, again, other = (
        found(line, verdict, features=[], first_case=first, reduction=ReductionOutcome.BUDGET_SPENT)
        for line, verdict in (
            ("conv1d_c4_o2_g2_i1_k1_f32@integers.0", Verdict.TIMEOUT),
            (first, Verdict.MEMORY),
            ("conv2d_n3_c8_o4_g2_i40_k5_s2_b_f32@normal.0", Verdict.MEMORY),
            ("conv2d_n3_c8_o4_i40_k5_p1_b_f32@normal.0", Verdict.TIMEOUT),
        )
    )
    large, again = (msgspec.structs.replace(one, fingerprint=name) for one, name in ((large, "00000001"), (again, "00000002")))
    listed = causes([small, large, again, other], Kernel(eater, hanging), Budget(60.0, 200))
    assert sorted(sorted(cause.members) for cause in listed) == sorted(
        [sorted([small.fingerprint, large.fingerprint, again.fingerprint]), [other.fingerprint]]
    )


def test_an_even_kernel_may_be_the_least_of_several_taps() -> None:
    """A minimal kernel of two taps is even; what was not reduced, with an odd one, is of its cause where it passes without the dilation."""
    small = found("conv1d_c1_o1_i3_k2_d2_f32@integers.0", WRONG, features=["dilation=more than 1", "kernel=even"])
    large = unreduced("conv2d_n3_c8_o4_i40_k5_d1x3_b_f32@integers.0")
    assert len(grouped(Kernel(taps_bug), small, large)) == 1
    assert len(grouped(Kernel(taps_bug, grouped_bug), small, unreduced("conv2d_n3_c8_o4_g2_i40_k5_d1x3_b_f32@integers.0"))) == 2


def rounding(line: str, reduction: str = ReductionOutcome.MINIMAL) -> Finding:
    """Return the finding of an error of rounding in float16, which its dtype tells whether it was reduced or not."""
    case = Case.parse(line)
    told = fingerprint(case, "k.py::f", Verdict.IMPRECISE, "forward", "float16 accumulation", [line])
    return found(line, Verdict.IMPRECISE, fingerprint=told, features=["dtype=float16"], reduction=reduction)


def test_an_error_of_rounding_that_was_not_reduced_is_tried_too() -> None:
    """Its dtype tells what it is, but its case is not minimal, so that it goes to the cause that it needs, or to none."""
    small = rounding("conv1d_c1_o1_i9_k1_f16@normal.0")
    large = rounding("conv2d_n3_c8_o4_i40_k5_s2_b_f16@normal.0", ReductionOutcome.BUDGET_SPENT)
    assert grouped(Kernel(half_bug), small, large) == [sorted([small.case, large.case])]

    def other_bug(case: Case, backend: str) -> tuple[Verdict, str] | None:
        is_other = case.config.bias and case.config.dtype != "bfloat16"
        return (Verdict.IMPRECISE, "forward") if is_other else half_bug(case, backend)

    assert len(grouped(Kernel(other_bug), small, large)) == 2


def complex_bug(case: Case, backend: str) -> tuple[Verdict, str] | None:
    """Complex numbers of either size are wrong."""
    return (Verdict.WRONG, "forward") if case.config.dtype.startswith("complex") else None


def test_what_was_not_reduced_may_need_the_other_size_of_complex_numbers() -> None:
    """A large case in complex128 that is right in float32 is of the cause that was reduced to complex64."""
    small = found("conv1d_c1_o1_i1_k1_c64@zeros", WRONG, features=["dtype=complex64"])
    large = unreduced("conv2d_n3_c8_o4_i40_k5_s2_b_c128@integers.0")
    assert grouped(Kernel(complex_bug), small, large) == [sorted([small.case, large.case])]
    assert len(grouped(Kernel(complex_bug, stride_bug), small, large)) == 2


def test_frameworks_and_kernels_have_causes_of_their_own() -> None:
    """The same failure of two kernels, or of two frameworks, is two causes; nothing is run to say so."""
    kernel = Kernel(stride_bug)
    assert len(grouped(kernel, STRIDE, found(STRIDE.case, WRONG, "k.py::g"), found(STRIDE.case, WRONG, "torch"))) == 3
    assert kernel.runs == 0


def test_what_comes_and_goes_stays_apart() -> None:
    """A failure that a single run does not show is united by no run."""
    flaky = msgspec.structs.replace(STRIDE_INF, confirmation=Confirmation(alone=Tally(2, 8)))
    assert len(grouped(Kernel(stride_bug), STRIDE, flaky)) == 2


@pytest.mark.parametrize(("turn", "count"), [([Verdict.AGREE, WRONG, NAN], 1), ([], 2)])
def test_what_comes_now_as_this_and_now_as_that_is_one_cause(turn: list[Verdict], count: int) -> None:
    """Of two findings that come and go, the case of one is run several times: it ends once as the other did, or only as itself."""
    flaky, turns = Confirmation(alone=Tally(5, 8)), cycle(turn)
    lines = {"conv1d_c1_o1_i5_k1_f32@w0=1": WRONG, "conv1d_c1_o1_i7_k1_f32@w0=1": NAN}

    def evaluate(case: Case, backend: str) -> BackendEnded:
        return BackendEnded(backend=backend, verdict=next(turns, lines[str(case)]), seconds=0.0)

    findings = [found(line, verdict, confirmation=flaky) for line, verdict in lines.items()]
    assert len(causes(findings, evaluate, Budget(60.0, 100))) == count


def test_wrong_sums_that_overflow_are_of_the_cause_that_is_wrong() -> None:
    """NaN in sums of finite numbers that take more terms than the other's case has; the short case is the lead, though NaN is graver."""
    small = found("conv1d_c2_o2_g2_i1_k1_f32@integers.0", WRONG, features=["groups=depthwise"])
    line = "conv1d_c12_o2_g2_i1_k1_f16@x5=155_x6=234_x7=-110_x8=-129_w5=57_w6=-13_w7=-118"
    large = found(line, NAN, features=["dtype=float16", "groups=several"])

    def overflowing(case: Case, backend: str) -> tuple[Verdict, str] | None:
        shown = grouped_bug(case, backend)
        overflows = (
            shown and case.config.dtype == "float16" and case.config.in_channels >= 12 and any(e.value == 234 for e in case.recipe.entries)
        )
        return (Verdict.NON_FINITE, "forward") if overflows else shown

    (cause,) = causes([small, large], Kernel(overflowing), Budget(60.0, 200))
    assert cause.lead == small.fingerprint

    def apart(case: Case, backend: str) -> tuple[Verdict, str] | None:
        return (Verdict.NON_FINITE, "forward") if case.config.in_channels >= 12 else grouped_bug(case, backend)

    assert len(causes([small, large], Kernel(apart), Budget(60.0, 200))) == 2


def padded(mode: str) -> Finding:
    """Return the finding of a minimal case in a padding mode."""
    return found(f"conv1d_c1_o1_i2_k1_p0:1_pm{mode}_f32@x0=1_w0=1", WRONG)


@pytest.mark.parametrize(
    ("modes", "count"), [(("reflect", "replicate", "circular"), 1), (("reflect", "replicate"), 2), (("circular", "reflect"), 2)]
)
def test_a_bug_of_every_padding_mode_is_one(modes: tuple[str, ...], count: int) -> None:
    """Where the third mode is right, the other two have a bug each."""

    def mode_bug(case: Case, backend: str) -> tuple[Verdict, str] | None:
        is_padded = case.config.padding_mode in modes and any(map(any, case.config.pads))
        return (Verdict.WRONG, "forward") if is_padded else None

    assert len(grouped(Kernel(mode_bug), *map(padded, modes))) == count


def test_a_spent_budget_leaves_apart() -> None:
    """No more cases run than the budget has; what is left open is not united."""
    kernel = Kernel(stride_bug)
    assert len(grouped(kernel, STRIDE, STRIDE_INF, budget=Budget(60.0, 0))) == 2
    assert kernel.runs == 0
    many = [found(f"conv1d_c1_o1_i{i}_k1_s2_f32@x0=inf", NAN, f"k.py::f+v{i}") for i in range(1, 9)]
    grouped(kernel, *many, budget=Budget(60.0, 5))
    assert kernel.runs <= 5


def test_what_cannot_be_reset_has_to_be_there() -> None:
    """A bug of two dimensions is one with what was not reduced in two dimensions, by its stride; in three they stay apart."""
    planes = found("conv2d_c1_o1_i1_k1_s2_f32@integers.0", WRONG, features=["dims=2", "stride=more than 1"])
    large, deep = unreduced("conv2d_n3_c8_o4_i40_k5_s2_b_f32@integers.0"), unreduced("conv3d_n3_c8_o4_i9_k5_s2_b_f32@integers.0")
    assert grouped(Kernel(stride_bug), planes, large) == [sorted([planes.case, large.case])]
    assert len(grouped(Kernel(stride_bug), planes, deep)) == 2


def test_what_is_known_as_the_same_is_one_cause() -> None:
    """A cause is known where each of its members is; the link is the one that the members have."""
    link = "https://github.com/pytorch/pytorch/issues/1"
    known = {STRIDE.fingerprint: link, DILATION.fingerprint: link}
    listed = causes([STRIDE, DILATION, INF], Kernel(stride_bug, dilation_bug, inf_bug), Budget(60.0, 200), known)
    assert [(sorted(cause.members), cause.known) for cause in listed] == [
        ([INF.fingerprint], ""),
        (sorted([STRIDE.fingerprint, DILATION.fingerprint]), link),
    ]
    (both,) = causes([STRIDE, STRIDE_INF], Kernel(stride_bug), Budget(60.0, 200), {STRIDE.fingerprint: link})
    assert both.known == "", "one of the two is new"


def test_the_lead_is_the_gravest_and_simplest_member() -> None:
    """What a reader sees of a cause is a reduced case, the gravest, then the simplest; the members come in this order."""
    large = unreduced("conv1d_n3_c8_o4_i40_k5_s2_b_f32@integers.0")
    (cause,) = causes([large, STRIDE, STRIDE_INF], Kernel(stride_bug), Budget(60.0, 200))
    assert cause == Cause(
        cause=STRIDE_INF.fingerprint,
        lead=STRIDE_INF.fingerprint,
        members=[STRIDE_INF.fingerprint, STRIDE.fingerprint, large.fingerprint],
    )


def test_the_new_the_grave_and_the_unlike_come_first() -> None:
    """Unknown causes stand above known ones, grave ones above others, and among equals what is unlike those that stand above."""
    lines = ["conv1d_c1_o1_i1_k1_s2_f32", "conv1d_c1_o1_i2_k1_s2_f32", "conv3d_c4_o4_g2_i3_k2_d2_bf16_cl"]
    simple, like_it, unlike = (found(line, WRONG) for line in lines)
    crash, known = found("conv2d_n2_c1_o1_i4_k3_p1_f32", Verdict.CRASH), found("conv1d_c1_o1_i1_k1_f64", Verdict.CRASH)
    assert names(simple, like_it, unlike, crash, known, is_known=known) == [f.case for f in (crash, unlike, simple, like_it, known)]


def names(*findings: Finding, is_known: Finding) -> list[str]:
    """Return the cases in the order of their causes, each finding one of its own."""
    by_name = {finding.fingerprint + finding.case: finding for finding in findings}
    listed: Iterable[Cause] = [Cause(cause=n, lead=n, members=[n], known="link" if f is is_known else "") for n, f in by_name.items()]
    return [by_name[cause.lead].case for cause in in_order(listed, by_name)]


def test_a_configuration_that_is_none_is_not_run() -> None:
    """Invalid and valid cases have causes of their own."""
    invalid = found("conv1d_c1_o1_i1_k2_f32@zeros", Verdict.ACCEPTED_INVALID)
    assert not Case.parse(invalid.case).config.is_valid
    seen: list[ConvConfig] = []

    def evaluate(case: Case, backend: str) -> BackendEnded:
        seen.append(case.config)
        return BackendEnded(backend=backend, verdict=Verdict.AGREE, seconds=0.0)

    assert len(causes([invalid, STRIDE], evaluate, Budget(60.0, 10))) == 2
    assert all(config.is_valid for config in seen)


GAP = found("convt1d_c1_o1_i2_k1_s2_b_f32@integers.0", WRONG, features=["bias=yes", "op=conv_transpose", "stride=more than 1"])
WIDE_GAP = found("convt1d_c1_o1_i1_k2_d2_b_f32@integers.0", WRONG, features=["bias=yes", "dilation=more than 1", "op=conv_transpose"])
SHAPES = ("convt2d_n2_c3_o2_i5_k2_s3_b_f32@normal.1", "convt2d_n2_c3_o2_i5_k2_d3_b_f32@normal.1")
DRAWN = [msgspec.structs.replace(one, first_case=line) for one, line in zip((GAP, WIDE_GAP), SHAPES, strict=True)]


def gap_in_output(case: Case, backend: str) -> tuple[Verdict, str] | None:
    """A gap in a transposed output lacks the bias, whatever makes it."""
    c = case.config
    is_gap = c.op == "conv_transpose" and c.bias and (c.stride[0] > c.kernel_size[0] or (c.dilation[0] > 1 and c.kernel_size[0] > 1))
    return (Verdict.WRONG, "forward") if is_gap else None


@pytest.mark.parametrize(
    ("mistakes", "count"),
    [
        ({}, 2),
        ({GAP.case: ["gaps"], WIDE_GAP.case: ["gaps"], SHAPES[0]: ["gaps"], SHAPES[1]: ["gaps"]}, 1),
        ({GAP.case: ["gaps", "sides"], WIDE_GAP.case: ["sides", "gaps"], SHAPES[0]: ["gaps"], SHAPES[1]: ["sides"]}, 2),
        ({GAP.case: ["gaps"], WIDE_GAP.case: ["gaps"], SHAPES[0]: ["gaps"]}, 2),
        ({GAP.case: ["gaps"], WIDE_GAP.case: ["sides"], SHAPES[0]: ["gaps"], SHAPES[1]: ["sides"]}, 2),
    ],
    ids=["unexplained", "one mistake", "apart where they are large", "not where it was drawn", "two mistakes"],
)
def test_findings_that_one_mistake_explains_are_one_cause(mistakes: dict[str, list[str]], count: int) -> None:
    """It has to explain the minimal case and the drawn one of both; an explanation of a small case alone may be chance."""
    by_config = {Case.parse(line).config: names for line, names in mistakes.items()}
    listed = causes(DRAWN, Kernel(gap_in_output), Budget(60.0, 200), explain=lambda case, _: by_config.get(case.config, []))
    assert len(listed) == count
    assert sum(len(cause.members) for cause in listed) == 2


def test_mistakes_explain_outputs_alone_and_within_the_budget() -> None:
    """A crash and a gradient have no output that a mistake could explain; without a budget nothing is asked."""
    asked: list[Case] = []

    def explain(case: Case, backend: str) -> list[str]:
        asked.append(case)
        return ["gaps"]

    crashes = [msgspec.structs.replace(one, verdict=Verdict.CRASH) for one in DRAWN]
    gradients = [msgspec.structs.replace(one, in_pass="grad_weight") for one in DRAWN]
    for findings in (crashes, gradients):
        assert len(causes(findings, Kernel(), Budget(60.0, 200), explain=explain)) == 2
    assert len(causes(DRAWN, Kernel(gap_in_output), Budget(60.0, 0), explain=explain)) == 2
    assert asked == []


def test_deaths_that_other_calls_have_told_of_are_one_cause_unreduced() -> None:
    """Two large cases that take more than they need go together where each passes without any of what deaths have in common."""
    lines = "conv2d_n3_c8_o4_g2_i40_k5_s2_b_f32@integers.0", "conv1d_c12_o6_g3_i40_k3_p1_f16@normal.0"
    hangs = [found(line, Verdict.TIMEOUT, features=[], reduction=ReductionOutcome.BUDGET_SPENT) for line in lines]
    hangs = [msgspec.structs.replace(one, fingerprint=f"0000000{number}") for number, one in enumerate(hangs)]

    def hanging_groups(case: Case, backend: str) -> tuple[Verdict, str] | None:
        return (Verdict.TIMEOUT, "forward") if case.config.groups > 1 else None

    def count(kernel: Kernel, *axes: str) -> int:
        return len(causes(hangs, kernel, Budget(60.0, 200), taken=lambda _: list(axes) or None))

    assert count(Kernel(hanging_groups)) == 2, "each has what the other has not"
    assert count(Kernel(hanging_groups), "groups") == 1
    assert count(Kernel(hanging_groups, hanging), "groups") == 2, "one of them hangs for its padding too"
    assert count(Kernel(hanging_groups), "passes") == 2, "what cannot be reset shows nothing"
