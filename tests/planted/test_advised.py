"""What was advised, once declared: every planted bug is still caught, and no mistake of the arithmetic is declared away unseen."""

from __future__ import annotations

import pytest

import convfuzz
from convfuzz import Case, ConvConfig, Numerics
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.revealing.measurement import reveal

from . import numeric_bugs
from .advised import Declared, NumericsOf, Own, advised, declaration, is_caught, of_its_own
from .bugs import PLANTED, Planted
from .correct import dense, sequential
from .dense import layer
from .pairs import PAIRS
from .receptive_field import Array

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


def test_gradients_that_are_coarser_keep_their_declaration() -> None:
    """A kernel that adds up in float64 forward and in float32 backward is advised to declare either, since drawn cases have gradients."""
    in_float32 = KernelBackend("sequential", sequential)._declared.gradients

    @convfuzz.backend(ops=("conv",), dtypes=("float32",), gradients=in_float32)
    def mixed(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        return layer(x, w, b, config)

    sheet = reveal(KernelBackend("mixed", mixed), "conv2d_n24_c8_o2_i3_k3_b_f32", invariance=False)
    assert sheet.declare == "Numerics(accumulator='float64', gradients=Numerics())"
