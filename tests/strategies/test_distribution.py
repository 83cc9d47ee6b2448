"""The search spaces reach what they promise, with a frequency that a campaign of minutes can rely on."""

from __future__ import annotations

from statistics import median

import pytest
from sampling import sample
from traits import TRAITS

from convfuzz.case import REGIMES, Case
from convfuzz.case.config import DTYPES, LAYOUTS, OPS, ConvConfig
from convfuzz.case.line import PADDING_MODES
from convfuzz.strategies import boundary, default, smoke

COUNT = 2000

# The least percentage in `default` and in `boundary`: seven tenths of the least that samples of 5,000 had, or three
# standard errors of a sample of 2,000 below it where that is less; 0: not promised.
SHARES = {
    "plain": (9, 5),
    "transposed": (20, 20),
    "valid": (95, 82),
    "invalid": (0.7, 6),
    "1-D": (18, 16),
    "2-D": (32, 31),
    "3-D": (18, 21),
    "3-D, depth differs": (3, 4),
    "float32": (31, 34),
    "float64": (10, 9),
    "float16": (10, 8),
    "bfloat16": (11, 11),
    "complex": (0.5, 0.3),
    "whole numbers": (2.3, 2.2),
    "contiguous": (41, 42),
    "channels last": (10, 10),
    "non-contiguous": (5, 5),
    "transposed axes": (2.2, 2),
    "expanded": (1.8, 1.8),
    "offset": (3, 2.7),
    "loose strides": (2.1, 1.9),
    "weight with another layout": (11, 10),
    "bias": (27, 26),
    "spatial size at an edge": (29, 29),
    "square": (11, 10),
    "last axis at an edge": (16, 19),
    "channels at an edge": (33, 30),
    "batch 15, 16, 17": (11, 8),
    "batch 0": (0.4, 1.6),
    "batch 1": (26, 28),
    "unbatched": (6, 6),
    "no input channels": (0.7, 0.4),
    "no output channels": (0.1, 1.1),
    "no sites": (0.05, 0.3),
    "kernel unequal": (14, 16),
    "stride unequal": (7, 10),
    "dilation unequal": (4, 7),
    "padding unequal": (10, 14),
    "stride above kernel": (11, 19),
    "stride equal to kernel": (2.8, 1.8),
    "stride tail": (12, 13),
    "1x1": (9, 9),
    "1x1 with padding": (2.1, 3),
    "kernel 5, 7, 11": (18, 16),
    "even kernel": (17, 23),
    "kernel equal to padded input": (1.9, 7),
    "dilated kernel equal to padded input": (1.8, 6),
    "kernel larger than padded input": (0.3, 2.5),
    "output size 1": (3, 12),
    "last output size 1, strided": (3, 11),
    "window entirely in padding": (4, 5),
    "same": (4, 6),
    "same, even kernel": (0.6, 1.5),
    "same, strided": (2, 3),
    "same, dilated": (0.8, 2.5),
    "valid padding": (1, 1),
    "asymmetric padding": (6, 9),
    "cropping": (0.8, 1.7),
    "symmetric zero padding": (33, 33),
    "reflect": (1.3, 1.6),
    "replicate": (0.9, 1.2),
    "circular": (1.1, 1.4),
    "padding mode at its limit": (0.1, 0.3),
    "dense": (40, 44),
    "per-group channels 1": (14, 13),
    "per-group channels 2": (1.3, 1.2),
    "per-group channels 3": (0.9, 0.8),
    "per-group channels at an edge": (6, 5),
    "odd groups": (12, 13),
    "depthwise": (10, 10),
    "depthwise with multiplier": (4, 3),
    "stride, dilation and groups": (3, 5),
    "batch from 16, padded, 1-D or 2-D": (5, 5),
    "24 channels depthwise, strided, padded": (0.05, 0.05),
    "groups 3, 3-D, strides unequal": (0.05, 0.05),
    "stride 1, 16 outputs and more": (19, 10),
    "size from 4095": (0, 0.7),
    "narrow and strided, more than 16 channels": (12, 11),
    "stride 2^31 and more": (0, 0.05),
    "transposed, output padding": (7, 8),
    "transposed, output padding from the stride on": (0.8, 2.9),
    "transposed, output padding at its limit": (6, 4),
    "transposed, same": (0.7, 1.5),
    "transposed, padding": (11, 10),
    "transposed, asymmetric padding": (1.5, 2.2),
    "transposed, output extended": (0.5, 0.5),
    "transposed, stride above kernel": (3, 4),
    "transposed, stride and dilation": (2.7, 4),
    "transposed, grouped": (4, 2.6),
    "transposed, depthwise": (4, 3),
    "transposed, unbatched": (1.3, 1.1),
    "transposed, output size 1": (0.2, 1.5),
    "transposed, last output size 1": (1, 2.7),
}

GRADIENTS = {
    "transposed": 6,
    "batch 1": 9,
    "batch 15, 16, 17": 3,
    "stride tail": 4,
    "stride above kernel": 4,
    "narrow and strided, more than 16 channels": 4,
    "depthwise": 3,
    "depthwise with multiplier": 1,
    "per-group channels at an edge": 1.5,
    "1x1": 3,
    "stride, dilation and groups": 1,
    "window entirely in padding": 1.5,
    "transposed, output padding": 2,
}
"""The least percentage of `default`'s and of `boundary`'s configurations that have the trait and gradients."""

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
def default_cases() -> list[Case]:
    """Return the first case of each batch in a sample of ``default``."""
    return [batch[0] for batch in sample(default(), COUNT)]


@pytest.fixture(scope="module")
def boundary_cases() -> list[Case]:
    """Return the first case of each batch in a sample of ``boundary``."""
    return [batch[0] for batch in sample(boundary(), COUNT)]


@pytest.fixture(scope="module")
def default_configs(default_cases: list[Case]) -> list[ConvConfig]:
    """Return a sample of ``default``."""
    return [case.config for case in default_cases]


@pytest.fixture(scope="module")
def boundary_configs(boundary_cases: list[Case]) -> list[ConvConfig]:
    """Return a sample of ``boundary``."""
    return [case.config for case in boundary_cases]


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


@pytest.mark.parametrize("cases", ["default_cases", "boundary_cases"])
def test_gradients(cases: str, request: pytest.FixtureRequest) -> None:
    """A third of the configurations have gradients, among them where gradients have been wrong; integers have none."""
    sampled: list[Case] = request.getfixturevalue(cases)
    with_gradients = [case.config for case in sampled if case.grad]
    assert 0.25 * COUNT <= len(with_gradients) <= 0.42 * COUNT
    assert not any(config.dtype.startswith("int") or not config.is_valid for config in with_gradients)
    shares = {trait: share(with_gradients, trait) * len(with_gradients) / COUNT for trait in GRADIENTS}
    assert {trait: had for trait, had in shares.items() if had < SLACK * GRADIENTS[trait]} == {}


@pytest.mark.parametrize("axis", ["dtype", "layout", "weight_layout", "op", "padding_mode"])
def test_every_value_is_reached(axis: str, default_configs: list[ConvConfig]) -> None:
    """``default`` draws every value that the case model has for a parameter."""
    values = {"dtype": DTYPES, "layout": LAYOUTS, "weight_layout": (None, *LAYOUTS), "op": OPS, "padding_mode": PADDING_MODES}[axis]
    assert {getattr(config, axis) for config in default_configs} == set(values)


def test_rare_things_stay_rare(default_configs: list[ConvConfig], boundary_configs: list[ConvConfig]) -> None:
    """Invalid and empty configurations do not crowd out the others."""
    assert share(default_configs, "invalid") <= 4
    assert share(boundary_configs, "invalid") <= 18
    assert sum(share(default_configs, trait) for trait in ("batch 0", "no input channels", "no output channels", "no sites")) <= 8
    assert sum(share(default_configs, trait) for trait in ("complex", "whole numbers")) <= 8


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
    assert counts.keys() == REGIMES.keys()
    assert min(counts.values()) >= 0.01 * len(batches)
    assert counts["subnormal"] < counts["normal"]
