"""The case model holds for every object it admits, not only for those that the search spaces draw."""

from __future__ import annotations

from hypothesis import given, settings
from whole_model import any_cases, any_configs

from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.features import features, particular
from convfuzz.strategies import configs


@settings(max_examples=500, deadline=None)
@given(any_cases())
def test_text_round_trip(case: Case) -> None:
    """Any case prints as one line without characters that a shell would take, and parses back."""
    line = str(case)
    assert Case.parse(line) == case
    assert str(Case.parse(line)) == line
    assert set(line) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.:@-")


@settings(max_examples=500, deadline=None)
@given(any_configs())
def test_derived_attributes(config: ConvConfig) -> None:
    """Validity, shapes, cost and features of any object are answers, never exceptions."""
    assert config.invalid_reason is None or isinstance(config.invalid_reason, str)
    assert config.is_valid == (config.invalid_reason is None)
    assert len(config.output_size) == len(config.pads) == config.dims
    assert isinstance(config.flops, int)
    assert isinstance(config.nbytes, int)
    assert features(config)["op"] == config.op
    assert all("=" in word for word in particular(config))


@settings(max_examples=500, deadline=None)
@given(any_configs())
def test_valid_means_nothing_negative(config: ConvConfig) -> None:
    """A valid configuration has no negative size."""
    if config.is_valid:
        assert min(*config.input_shape, *config.weight_shape, *config.output_shape) >= 0


@settings(max_examples=300, deadline=None)
@given(configs(ops=("conv",)))
def test_same_is_ceil_of_input_over_stride(config: ConvConfig) -> None:
    """Replacing padding by "same" keeps a zero-padded convolution of sites valid, with outputs ceil(input / stride)."""
    if 0 in config.input_size:
        return
    same = config.replace(padding="same", padding_mode="zeros")
    assert same.is_valid
    assert same.output_size == tuple(-(-n // s) for n, s in zip(same.input_size, same.stride, strict=True))


@settings(max_examples=300, deadline=None)
@given(configs(ops=("conv_transpose",)))
def test_transposed_same_is_input_times_stride(config: ConvConfig) -> None:
    """Replacing padding by "same" keeps a transposed convolution valid, with as many outputs as steps of the stride."""
    same = config.replace(padding="same", output_padding=0)
    assert same.is_valid
    assert same.output_size == tuple(n * s for n, s in zip(same.input_size, same.stride, strict=True))
