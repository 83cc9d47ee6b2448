"""A twist changes the validity of any configuration as it says, and never its cost for the worse."""

from __future__ import annotations

from math import prod

from hypothesis import given, settings
from hypothesis import strategies as st

from convfuzz.case.config import ConvConfig
from convfuzz.strategies import configs
from convfuzz.strategies.changes.degenerate import EMPTY, MISFITS, Twist, no_sites, one_output
from convfuzz.strategies.corpus_file import past_shapes, shapes_of_wrong_gradients

FORWARD = configs(ops=("conv",), empty=False)
TRANSPOSED = configs(ops=("conv_transpose",), empty=False)


@settings(max_examples=300, deadline=None)
@given(FORWARD)
def test_kernel_too_large(config: ConvConfig) -> None:
    """A kernel too large is the only rule broken, and the message says so; tensors and operations are not more."""
    broken = MISFITS["conv"](config)
    assert "is larger than the padded input" in str(broken.invalid_reason)
    assert broken.flops <= 20_000_000
    assert max(prod(broken.input_shape), prod(broken.weight_shape)) <= 2**18


@settings(max_examples=300, deadline=None)
@given(TRANSPOSED)
def test_output_padding_too_large(config: ConvConfig) -> None:
    """Output padding too large is the only rule broken, and the message says so; with less of it, all is well."""
    broken = MISFITS["conv_transpose"](config)
    assert "is not less than max(stride" in str(broken.invalid_reason)
    assert broken.replace(output_padding=(broken.output_padding[0] - 1, *broken.output_padding[1:])).is_valid


@settings(max_examples=300, deadline=None)
@given(FORWARD | TRANSPOSED, st.sampled_from([twist for twist in EMPTY if twist is not no_sites]))
def test_empty(config: ConvConfig, empty: Twist) -> None:
    """An emptied configuration stays valid and costs nothing but a bias."""
    emptied = empty(config)
    assert emptied.is_valid
    assert emptied.flops <= prod(emptied.output_shape)
    assert 0 in emptied.input_shape + emptied.output_shape


@settings(max_examples=300, deadline=None)
@given(FORWARD)
def test_no_sites(config: ConvConfig) -> None:
    """An input without sites stays valid where its padding holds the kernel, and has no more outputs than before."""
    emptied = no_sites(config)
    assert emptied.is_valid
    assert emptied.input_size[0] == 0
    assert prod(emptied.output_shape) <= prod(config.output_shape)


@settings(max_examples=300, deadline=None)
@given(TRANSPOSED)
def test_one_output(config: ConvConfig) -> None:
    """A transposed convolution is left with one site of input and output, whatever stride, dilation and output padding."""
    single = one_output(config)
    assert single.is_valid
    assert single.output_size == single.input_size == (1,) * config.dims


def test_past_shapes() -> None:
    """Shapes of past bugs are valid, cheap enough for the default space, ordered by cost and never repeated; some are of gradients."""
    shapes = past_shapes()
    assert [config.invalid_reason for config in shapes if not config.is_valid] == []
    assert max(config.flops for config in shapes) <= 20_000_000
    assert max(prod(config.input_shape) for config in shapes) <= 2**18
    assert [config.flops for config in shapes] == sorted(config.flops for config in shapes)
    assert len(set(shapes)) == len(shapes) >= 90
    assert sum(config.op == "conv_transpose" for config in shapes) >= 20
    assert len(shapes_of_wrong_gradients()) >= 15
    assert shapes_of_wrong_gradients() <= set(shapes)
