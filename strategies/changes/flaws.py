"""Flaws of a configuration: each breaks one rule of a small valid one, so that a rejection or an acceptance is about that rule.

None makes large tensors: numbers beyond 32 bits are put where they make the output smaller, or beside others that do.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TypeAlias

from hypothesis import strategies as st

from convfuzz.case.config import ConvConfig
from convfuzz.case.line import FLAWS as CALL_FLAWS
from convfuzz.strategies.weighted import weighted

Flaw: TypeAlias = Callable[[st.DrawFn, ConvConfig], ConvConfig]
"""Takes a valid configuration with its padding in numbers, none of them negative, and no empty tensor."""

AXES = {dims: st.sampled_from(range(dims)) for dims in (1, 2, 3)}
_FEW_SITES = 2**7
_BY = weighted({1: 4, 2: 2, 7: 1})
_SEVERAL = st.sampled_from((2, 3, 4, 5, 8))
_BOOLS = st.sampled_from((False, True))
_BACKWARDS = weighted({0: 3, 1: 2, 2: 1})
_NOT_POSITIVE = weighted({0: 6, -1: 4, -2: 1, -(2**31): 1, -(2**63): 1})
_ENORMOUS = st.sampled_from((2**31 - 1, 2**31, 2**31 + 1, 2**62, 2**63 - 1))


def at(values: tuple[int, ...], axis: int, value: int) -> tuple[int, ...]:
    """Return the values with another one for an axis."""
    return (*values[:axis], value, *values[axis + 1 :])


def padded(c: ConvConfig, axis: int, lo: int, hi: int) -> ConvConfig:
    """Return the configuration with other padding on one axis, in numbers."""
    return c.replace(padding=(*c.pads[:axis], (lo, hi), *c.pads[axis + 1 :]))


def bare(c: ConvConfig, axis: int) -> ConvConfig:
    """Take padding and output padding of one axis away; the input becomes no smaller than the kernel."""
    size = max(c.input_size[axis], c.effective_kernel[axis])
    c = c.replace(input_size=at(c.input_size, axis, size), output_padding=at(c.output_padding, axis, 0))
    return padded(c, axis, 0, 0)


# -- channels -----------------------------------------------------------------------------------------------------


def _multiple(draw: st.DrawFn, c: ConvConfig) -> int:
    """Draw how many channels a group has on one side: one where the layer has many sites, which other channels come with."""
    multiple = draw(_BY)
    return multiple if (c.batch or 1) * max(prod(c.input_size), prod(c.output_size)) <= _FEW_SITES else 1


def groups_beside_inputs(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Choose groups that divide the output channels and not the input channels."""
    groups, multiple = draw(_SEVERAL), _multiple(draw, c)
    return c.replace(groups=groups, in_channels=groups * multiple + 1, out_channels=groups)


def groups_beside_outputs(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Choose groups that divide the input channels and not the output channels; transposed, only a bias has as many as these."""
    groups, multiple = draw(_SEVERAL), _multiple(draw, c)
    c = c.replace(groups=groups, in_channels=groups, out_channels=groups * multiple + 1)
    return c.replace(bias=c.bias or c.op == "conv_transpose")


def groups_out_of_range(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Ask for no groups, or for a negative number of them, with the channels of one: the weights are then no larger."""
    return c.replace(groups=draw(_NOT_POSITIVE), in_channels=c.in_channels // c.groups, out_channels=c.out_channels // c.groups)


def groups_beyond_channels(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Ask for more groups than 32 bits hold, or just not."""
    return c.replace(groups=draw(_ENORMOUS))


# -- numbers that no kernel can have ----------------------------------------------------------------------------


def stride_out_of_range(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Ask for stride 0, which never advances, or for a negative one."""
    axis = draw(AXES[c.dims])
    return bare(c, axis).replace(stride=at(c.stride, axis, draw(_NOT_POSITIVE)))


def dilation_out_of_range(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Ask for dilation 0, which reads one site for every tap, or for a negative one; a larger one would need a huge output."""
    axis, dilation = draw(AXES[c.dims]), -draw(_BACKWARDS)
    return bare(c, axis).replace(dilation=at(c.dilation, axis, dilation))


def no_taps(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Ask for a kernel without taps."""
    axis = draw(AXES[c.dims])
    return bare(c, axis).replace(kernel_size=at(c.kernel_size, axis, 0))


# -- windows of a convolution that do not fit ---------------------------------------------------------------------


def kernel_beyond_input(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Take a kernel larger than the padded input, by one site or by some."""
    axis = draw(AXES[c.dims])
    size = c.input_size[axis] + sum(c.pads[axis]) + draw(_BY)
    return c.replace(kernel_size=at(c.kernel_size, axis, size), dilation=at(c.dilation, axis, 1))


def dilation_beyond_input(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Dilate a kernel of two taps beyond the padded input, by one site or by some."""
    axis = draw(AXES[c.dims])
    dilation = c.input_size[axis] + sum(c.pads[axis]) + draw(_BY) - 1
    return c.replace(kernel_size=at(c.kernel_size, axis, 2), dilation=at(c.dilation, axis, dilation))


def dilation_beyond_everything(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Dilate a kernel of two taps or more so that the extent overflows 32 or 64 bits, or just not."""
    axis = draw(AXES[c.dims])
    kernel_size = at(c.kernel_size, axis, max(c.kernel_size[axis], 2))
    return c.replace(kernel_size=kernel_size, dilation=at(c.dilation, axis, draw(_ENORMOUS)))


def cropping_beyond_input(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Crop more sites at one end than the input has, and pad the other end until the kernel fits again."""
    axis = draw(AXES[c.dims])
    crop, pad = -c.input_size[axis] - draw(_BY), c.effective_kernel[axis]
    sides = (crop, pad - c.input_size[axis] - crop)
    return padded(c, axis, *(sides[::-1] if draw(_BOOLS) else sides))


def cropping_everything(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Crop more sites than 32 bits count, or just not."""
    return padded(c, draw(AXES[c.dims]), -draw(_ENORMOUS), 0)


def mode_too_wide(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Reflect or wrap around more sites than the input has."""
    axis = draw(AXES[c.dims])
    mode, spare = draw(st.sampled_from((("reflect", 1), ("circular", 0))))
    for other in range(c.dims):
        c = bare(c, other)
    too_wide = c.input_size[axis] - spare + draw(_BY)
    return padded(c, axis, too_wide, too_wide if draw(_BOOLS) else 0).replace(padding_mode=mode)


def mode_with_cropping(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Crop in a padding mode other than zeros, which has no meaning there."""
    axis = draw(AXES[c.dims])
    for other in range(c.dims):
        c = bare(c, other)
    crop = draw(_BY)
    c = c.replace(input_size=at(c.input_size, axis, c.input_size[axis] + crop))
    sides = (-crop, 0) if draw(_BOOLS) else (0, -crop)
    return padded(c, axis, *sides).replace(padding_mode=draw(st.sampled_from(("reflect", "replicate", "circular"))))


# -- outputs that a transposed convolution cannot have ------------------------------------------------------------


def output_padding_at_limit(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Ask for as much output padding as stride or dilation, whichever is larger."""
    axis = draw(AXES[c.dims])
    return c.replace(output_padding=at(c.output_padding, axis, max(c.stride[axis], c.dilation[axis])))


def output_padding_beyond_limit(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Ask for more output padding than stride and dilation."""
    axis = draw(AXES[c.dims])
    return c.replace(output_padding=at(c.output_padding, axis, max(c.stride[axis], c.dilation[axis]) + draw(_BY)))


def output_padding_beyond_everything(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Ask for more output padding than 32 bits count, or just not, and take it away again by padding."""
    axis, extra = draw(AXES[c.dims]), draw(_ENORMOUS)
    c = bare(c, axis).replace(stride=at(c.stride, axis, 1), dilation=at(c.dilation, axis, 1))
    return padded(c, axis, extra // 2, extra // 2).replace(output_padding=at(c.output_padding, axis, extra))


def output_padding_negative(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Ask for negative output padding; the output stays what a larger one leaves."""
    axis, missing = draw(AXES[c.dims]), draw(_BY)
    size = c.input_size[axis] + missing + c.output_padding[axis]
    return c.replace(input_size=at(c.input_size, axis, size), output_padding=at(c.output_padding, axis, -missing))


def nothing_left(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Pad until the output has no site left, or fewer than none: with the same at both ends, as most arguments are."""
    axis = draw(AXES[c.dims])
    c = bare(c, axis)
    side = (c.output_size[axis] + 1) // 2 + draw(_BY) - 1
    return padded(c, axis, side, side)


def padding_beyond_everything(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
    """Pad by more sites than 32 bits count, or just not; twice as many overflow 64 bits."""
    side = draw(_ENORMOUS)
    return padded(c, draw(AXES[c.dims]), side, side)


# -- calls whose operands or arguments do not belong together -------------------------------------------------------


def of_call(name: str) -> Flaw:
    """Return the flaw that sets :attr:`ConvConfig.flaw` to ``name``."""

    def flaw(draw: st.DrawFn, c: ConvConfig) -> ConvConfig:
        del draw
        if name == "input-rank" and c.batch is None:
            c = c.replace(batch=1)  # an unbatched input with one more axis is a batch
        if name == "input-channels" and c.in_channels == c.groups:
            c = c.replace(in_channels=2 * c.in_channels)  # a backend that infers the groups finds some for any number of single channels
        return c.replace(flaw=name, bias=c.bias or name.startswith("bias"))

    flaw.__name__ = f"of_call({name!r})"
    return flaw


_OF_BOTH: dict[Flaw, int] = {
    groups_beside_inputs: 2,
    groups_beside_outputs: 2,
    groups_out_of_range: 3,
    groups_beyond_channels: 2,
    stride_out_of_range: 3,
    dilation_out_of_range: 3,
    no_taps: 2,
} | {of_call(name): 2 for name in CALL_FLAWS if name != "output-length"}
FLAWS: dict[str, dict[Flaw, int]] = {
    "conv": {
        kernel_beyond_input: 3,
        dilation_beyond_input: 2,
        dilation_beyond_everything: 3,
        cropping_beyond_input: 2,
        cropping_everything: 1,
        mode_too_wide: 2,
        mode_with_cropping: 1,
    }
    | _OF_BOTH,
    "conv_transpose": {
        output_padding_at_limit: 3,
        output_padding_beyond_limit: 2,
        output_padding_beyond_everything: 2,
        output_padding_negative: 2,
        nothing_left: 4,
        padding_beyond_everything: 2,
        of_call("output-length"): 2,
    }
    | _OF_BOTH,
}
"""The flaws of each operation, with their weights."""
