"""The deliberately wrong backend of every campaign is caught wherever its mistake shows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convfuzz.case import REGIMES, Case, DataRecipe
from convfuzz.case.config import ConvConfig
from convfuzz.checking.canary import Canary, plant
from convfuzz.judging.judge import Judge
from convfuzz.judging.numerics import Numerics
from convfuzz.strategies import configs
from convfuzz.tensors.generator import make_tensors
from convfuzz.verdicts import Verdict


@settings(deadline=None, max_examples=200)
@given(config=configs(empty=False), seed=st.integers(0, 2**63 - 1))
def test_every_planted_canary_is_caught(config: ConvConfig, seed: int) -> None:
    """On integers the canary is either caught as wrong or has computed the right thing."""
    sighting = plant(Case(config, DataRecipe("integers", seed)))
    assert sighting is None or (sighting.caught, sighting.verdict) == (True, Verdict.WRONG)


@pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "bf16"])
@pytest.mark.parametrize("layout", ["", "_cl", "_nc"])
@pytest.mark.parametrize("layer", ["conv2d_n2_c4_o4_g2_i7_k3_s2_b", "convt1d_c4_o6_g2_i5_k3", "conv3d_c40_o2_i3_k3"])
def test_a_missing_tap_shows(layer: str, layout: str, dtype: str) -> None:
    """Where every tap meets the input the canary is planted, and so caught."""
    for seed in range(5):
        sighting = plant(Case.parse(f"{layer}_{dtype}{layout}@integers.{seed}"))
        assert sighting is not None
        assert sighting.caught


def test_only_one_tap_is_missing() -> None:
    """The canary is wrong in the first output channel alone, and leaves its inputs as they were."""
    case = Case.parse("conv2d_n2_c3_o4_i6_k3_f32@integers.1")
    tensors = make_tensors(case)
    before = {name: array.copy() for name, array in tensors.named().items()}
    output = Canary().run(case, tensors)["forward"]
    judge = Judge(case, tensors)
    off = output.astype(np.float64) != judge.expected.y
    assert off[:, 0].all()
    assert not off[:, 1:].any()
    assert judge.judge(output, Numerics()).verdict is Verdict.WRONG
    assert all(np.array_equal(array, before[name]) for name, array in tensors.named().items())


@pytest.mark.parametrize("regime", [r for r in REGIMES if r != "integers"])
def test_other_regimes_have_no_canary(regime: str) -> None:
    """Where rounding could hide a tap, or padding it, no canary is planted."""
    assert plant(Case.parse(f"conv2d_c1_o1_i5_k3_f32@{regime}.1")) is None


@pytest.mark.parametrize(
    "line",
    [
        "conv2d_c3_o1_g2_i5_k3_f32@integers.1",  # invalid
        "conv1d_c1_o1_i1_k3_p1_f32@integers.1",  # the last tap meets padding only
        "conv2d_c0_o2_i3_k3_b_f32@integers.1",
        "conv2d_n0_c1_o2_i3_k3_f32@integers.1",
        "conv2d_c1_o0_i3_k3_f32@integers.1",
        "convt2d_c0_o1_i3_k3_f32@integers.1",
        "convt2d_c1_o0_i3_k3_f32@integers.1",
    ],
)
def test_no_canary_where_nothing_can_be_missed(line: str) -> None:
    """Where no tap can be missed, tensors without elements included, the canary says nothing."""
    assert plant(Case.parse(line)) is None


@pytest.mark.parametrize("dtype", ["i8", "i32", "i64", "c64"])
def test_no_canary_without_data(dtype: str) -> None:
    """A dtype without data regimes has no canary."""
    assert plant(Case.parse(f"conv2d_c1_o1_i5_k3_{dtype}@integers.1")) is None
