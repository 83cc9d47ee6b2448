"""What was advised, once declared: every planted bug is still caught, and no mistake of the arithmetic is declared away unseen."""

from __future__ import annotations

import pytest

from convfuzz import Case, Numerics
from convfuzz.backends.kernels.backend import KernelBackend

from . import numeric_bugs
from .advised import Declared, NumericsOf, Own, advised, declaration, is_caught, of_its_own
from .bugs import PLANTED, Planted
from .correct import dense
from .pairs import PAIRS

NUMERIC = [bug for bug in PLANTED if bug.function.__module__ == numeric_bugs.__name__]


@pytest.fixture(scope="module")
def advice() -> NumericsOf:
    """Reveal the kernel that every planted one is outside its trigger, in each operation and dtype, and declare what is advised."""
    return declaration(advised(KernelBackend("dense", dense)))


def test_the_advice_is_sharper_than_the_default(advice: NumericsOf) -> None:
    """The kernel behind the planted ones adds in float64, which the advice says of either operation in each shorter dtype."""
    lines = ("conv2d_c8_o2_i3_k3_f32", "convt2d_c8_o2_i3_k3_f32", "conv2d_c8_o2_i3_k3_f16", "convt2d_c8_o2_i3_k3_bf16")
    assert [advice(Case.parse(line).config) for line in lines] == [Numerics(accumulator="float64")] * len(lines)


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught_under_the_advice(bug: Planted, advice: NumericsOf) -> None:
    """On the case that shows its mistake, each planted kernel fails under what is advised for a kernel without it."""
    assert is_caught(Declared(bug.backend, advice), Case.parse(PAIRS[bug.name].inside))


@pytest.mark.parametrize("bug", NUMERIC, ids=lambda bug: bug.name)
def test_a_mistake_of_the_arithmetic_is_not_declared_away_unseen(bug: Planted) -> None:
    """Of a kernel in the wrong arithmetic there is no advice, or one that its bug is beyond, or one that is told to be coarser."""
    own = of_its_own(bug.backend, Case.parse(PAIRS[bug.name].inside))
    assert own in (Own.REFUSED, Own.NO_ADVICE, Own.CAUGHT, Own.COARSER)
