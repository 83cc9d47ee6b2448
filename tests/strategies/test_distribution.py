"""The search spaces reach what they promise, with a frequency that a campaign of minutes can rely on."""

from __future__ import annotations

from statistics import median

import pytest
from convfuzz.strategies import boundary, default, smoke
from sampling import sample
from traits import TRAITS

from convfuzz.case import Case
from convfuzz.config import ConvConfig

COUNT = 2000

# The least percentage in `default` and in `boundary`: seven tenths of what 5,000 draws had, or three standard errors
# of a sample of 2,000 below it where that is less; 0: not promised.
SHARES = {
    "plain": (11, 6),
    "valid": (95, 82),
    "invalid": (0.9, 7),
    "1-D": (19, 16),
    "2-D": (31, 30),
    "3-D": (19, 23),
    "3-D, depth differs": (4, 6),
    "float32": (36, 35),
    "float64": (11, 11),
    "float16": (11, 11),
    "bfloat16": (10, 11),
    "contiguous": (44, 41),
    "channels last": (15, 16),
    "non-contiguous": (10, 11),
    "bias": (26, 26),
    "spatial size at an edge": (31, 35),
    "last axis at an edge": (18, 25),
    "channels at an edge": (33, 33),
    "batch 15, 16, 17": (10, 11),
    "batch 0": (0.7, 2.2),
    "batch 1": (27, 27),
    "unbatched": (7, 5),
    "no input channels": (0.2, 1.2),
    "no output channels": (0.3, 1.6),
    "kernel unequal": (17, 18),
    "stride unequal": (8, 12),
    "dilation unequal": (5, 8),
    "padding unequal": (13, 16),
    "stride above kernel": (12, 20),
    "stride equal to kernel": (1.9, 1.5),
    "stride tail": (16, 20),
    "1x1": (11, 9),
    "1x1 with padding": (3, 3),
    "kernel 5, 7, 11": (20, 17),
    "even kernel": (18, 25),
    "kernel equal to padded input": (2.9, 12),
    "dilated kernel equal to padded input": (4, 11),
    "kernel larger than padded input": (0.9, 2.2),
    "output size 1": (3, 16),
    "last output size 1, strided": (3, 15),
    "window entirely in padding": (8, 8),
    "same": (6, 7),
    "same, even kernel": (1.3, 2.5),
    "same, strided": (2.5, 4),
    "same, dilated": (1.6, 2),
    "valid padding": (1.4, 1.6),
    "asymmetric padding": (8, 9),
    "cropping": (2.3, 2.7),
    "symmetric zero padding": (29, 33),
    "reflect": (1.8, 2.3),
    "replicate": (1.5, 1.6),
    "circular": (1.9, 1.6),
    "padding mode at its limit": (0.2, 0.8),
    "dense": (43, 43),
    "per-group channels 1": (11, 14),
    "per-group channels 2": (1.0, 1.4),
    "per-group channels 3": (1.1, 1.0),
    "per-group channels at an edge": (6, 5),
    "odd groups": (14, 15),
    "depthwise": (7, 10),
    "depthwise with multiplier": (4, 3),
    "stride, dilation and groups": (3, 5),
    "batch from 16, padded, 1-D or 2-D": (4, 6),
    "24 channels depthwise, strided, padded": (0.05, 0.05),
    "groups 3, 3-D, strides unequal": (0.05, 0.05),
    "stride 1, 16 outputs and more": (22, 12),
    "size from 4095": (0, 0.7),
}

SMOKE = {
    "plain": 25,
    "valid": 100,
    "float32": 100,
    "contiguous": 100,
    "1-D": 15,
    "2-D": 30,
    "3-D": 15,
    "bias": 25,
    "dense": 45,
    "depthwise": 6,
    "per-group channels at an edge": 2,
    "same": 3,
    "stride tail": 6,
    "kernel unequal": 12,
    "symmetric zero padding": 20,
}


@pytest.fixture(scope="module")
def default_configs() -> list[ConvConfig]:
    """Return a sample of ``default``."""
    return [batch[0].config for batch in sample(default(), COUNT)]


@pytest.fixture(scope="module")
def boundary_configs() -> list[ConvConfig]:
    """Return a sample of ``boundary``."""
    return [batch[0].config for batch in sample(boundary(), COUNT)]


def share(configs: list[ConvConfig], trait: str) -> float:
    """Return the percentage of configurations with the trait."""
    return 100 * sum(map(bool, map(TRAITS[trait], configs))) / len(configs)


SLACK = 0.7
"""Hypothesis's draws are not independent, and it mixes in constants of the code that is loaded: shares move a little."""


@pytest.mark.parametrize("trait", [trait for trait, (least, _) in SHARES.items() if least])
def test_default(trait: str, default_configs: list[ConvConfig]) -> None:
    """``default`` reaches the trait."""
    assert share(default_configs, trait) >= SLACK * SHARES[trait][0]


@pytest.mark.parametrize("trait", SHARES)
def test_boundary(trait: str, boundary_configs: list[ConvConfig]) -> None:
    """``boundary`` reaches the trait."""
    assert share(boundary_configs, trait) >= SLACK * SHARES[trait][1]


def test_every_trait_has_its_share() -> None:
    """No trait is left without a stated share."""
    assert SHARES.keys() == TRAITS.keys()


def test_rare_things_stay_rare(default_configs: list[ConvConfig], boundary_configs: list[ConvConfig]) -> None:
    """Invalid and empty configurations do not crowd out the others."""
    assert share(default_configs, "invalid") <= 4
    assert share(boundary_configs, "invalid") <= 18
    assert sum(share(default_configs, trait) for trait in ("batch 0", "no input channels", "no output channels")) <= 8


def test_default_is_cheap_but_not_trivial(default_configs: list[ConvConfig]) -> None:
    """The median configuration of ``default`` costs 0.2 to 2 Mflop."""
    assert 200_000 <= median(config.flops for config in default_configs) <= 2_000_000


def test_default_hardly_repeats_itself(default_configs: list[ConvConfig]) -> None:
    """Nine configurations in ten are new."""
    assert len(set(default_configs)) >= 0.9 * len(default_configs)


def test_smoke() -> None:
    """``smoke`` reaches the basic features, and nothing else."""
    configs = [batch[0].config for batch in sample(smoke(), 1000)]
    assert {trait: share(configs, trait) for trait in SMOKE if share(configs, trait) < SMOKE[trait]} == {}


def test_regimes() -> None:
    """Every data regime occurs beside ``integers``, subnormal data less often than normal."""
    batches: list[tuple[Case, ...]] = [batch for batch in sample(default(), 500) if batch[0].config.is_valid]
    counts: dict[str, int] = {}
    for batch in batches:
        for case in batch:
            counts[case.recipe.regime] = counts.get(case.recipe.regime, 0) + 1
    assert counts["integers"] == len(batches)
    assert len(counts) == 10
    assert min(counts.values()) >= 0.02 * len(batches)
    assert counts["subnormal"] < counts["normal"]
