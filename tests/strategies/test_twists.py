"""A twist changes the validity of any configuration as it says, and never its cost for the worse."""

from __future__ import annotations

from math import prod

from convfuzz.strategies import configs
from convfuzz.strategies.history import historical_shapes
from convfuzz.strategies.twists import EMPTY, FLAWS, Twist, kernel_too_large
from hypothesis import given, settings
from hypothesis import strategies as st

from convfuzz.config import ConvConfig

FULL = configs(empty=False)


@settings(max_examples=500, deadline=None)
@given(FULL, st.sampled_from(FLAWS))
def test_flaw(config: ConvConfig, flaw: Twist) -> None:
    """A flaw makes any configuration invalid without larger tensors or more operations."""
    broken = flaw(config)
    assert not broken.is_valid
    assert broken.flops <= 20_000_000
    assert max(prod(broken.input_shape), prod(broken.weight_shape)) <= 2**18


@settings(max_examples=300, deadline=None)
@given(FULL)
def test_kernel_too_large(config: ConvConfig) -> None:
    """A kernel too large is the only rule broken, and the message says so."""
    assert "is larger than the padded input" in str(kernel_too_large(config).invalid_reason)


@settings(max_examples=300, deadline=None)
@given(FULL, st.sampled_from(EMPTY))
def test_empty(config: ConvConfig, empty: Twist) -> None:
    """An emptied configuration stays valid and costs nothing but a bias."""
    emptied = empty(config)
    assert emptied.is_valid
    assert emptied.flops <= prod(emptied.output_shape)
    assert 0 in emptied.input_shape + emptied.output_shape


def test_history() -> None:
    """Every historical shape is valid, cheap enough for the default space, and there once."""
    shapes = historical_shapes()
    assert [config.invalid_reason for config in shapes if not config.is_valid] == []
    assert max(config.flops for config in shapes) <= 20_000_000
    assert max(prod(config.input_shape) for config in shapes) <= 2**18
    assert len(set(shapes)) == len(shapes) >= 60
