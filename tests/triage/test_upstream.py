"""Whether what could not be reduced is known upstream, by experiment: what it takes is run, nothing is guessed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from convfuzz.case import Case
from convfuzz.record.events import BackendEnded
from convfuzz.record.failure_kind import Signature
from convfuzz.record.known_upstream import Bug, KnownUpstream, Sign
from convfuzz.triage.reduction import Budget
from convfuzz.triage.upstream import shown_to_be
from convfuzz.verdicts import Verdict

SIGN = Sign(
    backends=("torch",),
    verdicts=(Verdict.WRONG,),
    features=("dims=2", "dtype=float32", "stride=per axis"),
    case="conv2d_c1_o1_i3_k2_s1x2_f32@integers.0",
)
BUG = Bug(
    name="strides", framework="PyTorch", package="torch", seen="2.13.0", title="Strides are off.", found_by="convfuzz",
    commands=("conv2d_c1_o1_i3_k2_s1x2_f32@integers.0 --backends torch",), sign=(SIGN,),
)  # fmt: skip
LARGE = "conv2d_n3_c8_o4_i40_k5_s2_b_f32@normal.7"

Fails = Callable[[Case], bool]


def strided(case: Case) -> bool:
    """Strides beyond 1 are wrong."""
    return max(case.config.stride) > 1


def shown(fails: Fails, line: str = LARGE, verdict: Verdict = Verdict.WRONG, *, shows_as: Verdict | None = None, budget: int = 100) -> bool:
    """Whether a failure of torch is shown to be a sign of the bug, where torch fails on what ``fails`` says."""

    def evaluate(case: Case, backend: str) -> BackendEnded:
        return BackendEnded(backend=backend, verdict=(shows_as or verdict) if fails(case) else Verdict.AGREE, seconds=0.0)

    signature, case = Signature("torch", verdict, "forward", ""), Case.parse(line)
    signs = KnownUpstream((BUG,)).candidates(signature, case, {"torch": "2.13.0"})
    return shown_to_be(case, signature, signs, evaluate, Budget(60.0, budget)) is BUG


def test_what_goes_away_with_the_stride_is_the_strides_bug() -> None:
    """A large case with another stride than the sign's fails no longer without it, and the sign's own case fails."""
    assert shown(strided)
    assert shown(strided, verdict=Verdict.NON_FINITE)


@pytest.mark.parametrize(
    "fails",
    [
        lambda _: True,
        lambda case: case.config.bias or strided(case),
        lambda case: case.config.in_channels == 8,
        lambda case: strided(case) and case.config.in_channels == 8,
        lambda _: False,
    ],
    ids=["whatever the stride", "for want of something else too", "for want of something else", "but the sign does not", "no longer"],
)
def test_what_is_not_shown_stays_unknown(fails: Fails) -> None:
    """A failure that stays without the stride is another one, and so is any where the sign's own case does not fail, or nothing does."""
    assert not shown(fails)


@pytest.mark.parametrize("line", ["conv2d_n3_c8_o4_i40_k5_b_f32", "conv3d_c1_o1_i9_k3_s1x1x2_f32", "conv2d_c1_o1_i9_k3_s1x2_f64"])
def test_what_lacks_something_that_the_sign_needs_is_not_tried(line: str) -> None:
    """Without a stride, in other dimensions or in another dtype it is nothing of the sign's, whatever would happen."""
    assert not shown(lambda _: True, line)


def test_another_way_to_fail_is_none() -> None:
    """A crash is no sign of a bug that gives wrong values, and a spent budget shows nothing."""
    assert not shown(strided, verdict=Verdict.CRASH)
    assert not shown(strided, budget=3)


@pytest.mark.parametrize(("every", "passes"), [(2, 5), (4, 0)])
def test_what_comes_and_goes_takes_so_many_passes_that_they_are_no_accident(every: int, passes: int) -> None:
    """Half the time is often enough for eight runs to tell, one time in four is not; what stays without the stride is seen in either."""
    numbers, runs = count(1), list[Case]()

    def seldom(case: Case) -> bool:
        runs.append(case)
        return strided(case) and next(numbers) % every == 0

    assert shown(seldom) is (passes > 0)
    assert sum(not strided(case) for case in runs) == passes
    also = count(1)
    assert not shown(lambda _: next(also) % every == 0)
