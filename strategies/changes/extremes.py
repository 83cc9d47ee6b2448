"""Valid configurations with an argument beyond 32 bits and small tensors: a backend computes one right or rejects it."""

from __future__ import annotations

from hypothesis import strategies as st

from convfuzz.case.config import ConvConfig
from convfuzz.strategies.changes.flaws import AXES, Flaw, at, bare, padded

_BEYOND_32_BITS = st.sampled_from((2**31, 2**31 + 1, 2**62, 2**63 - 1))
_TWICE_IN_64_BITS = st.sampled_from((2**31, 2**31 + 1, 2**61))


def stride_past_input(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Step from the only place of the kernel to far behind the input."""
    axis = draw(AXES[c.dims])
    stride = at(c.stride, axis, draw(_BEYOND_32_BITS))
    if c.op == "conv":
        return c.replace(stride=stride)
    return bare(c, axis).replace(stride=stride, input_size=at(c.input_size, axis, 1))


def dilation_of_one_tap(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Dilate a kernel of a single tap, which has nothing to be moved apart."""
    axis = draw(AXES[c.dims])
    c = bare(c, axis)
    return c.replace(kernel_size=at(c.kernel_size, axis, 1), dilation=at(c.dilation, axis, draw(_BEYOND_32_BITS)))


def padding_against_stride(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Move the two input sites of a transposed convolution far apart, and take all but the middle of the output away."""
    axis, stride = draw(AXES[c.dims]), draw(_TWICE_IN_64_BITS)
    c = bare(c, axis).replace(input_size=at(c.input_size, axis, 2), stride=at(c.stride, axis, stride))
    return padded(c, axis, stride // 2, stride // 2)


def padding_against_dilation(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Move the three taps of a transposed convolution far apart, and take all but the middle one from the output."""
    axis, dilation = draw(AXES[c.dims]), draw(_TWICE_IN_64_BITS)
    c = bare(c, axis).replace(kernel_size=at(c.kernel_size, axis, 3), dilation=at(c.dilation, axis, dilation))
    return padded(c, axis, dilation, dilation)


EXTREMES: dict[str, dict[Flaw, int]] = {
    "conv": {stride_past_input: 4, dilation_of_one_tap: 3},
    "conv_transpose": {stride_past_input: 3, dilation_of_one_tap: 2, padding_against_stride: 2, padding_against_dilation: 2},
}
"""The extremes of each operation, with their weights."""
