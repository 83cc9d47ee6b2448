"""The geometry of a transposed convolution: kernel, stride, dilation, padding and output padding, with its windows.

Here padding takes sites away from the output, negative padding adds some, and output padding adds some at the high end.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from operator import lt
from typing import Literal, TypeAlias

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from convfuzz.strategies.choices import Axes, Plan
from convfuzz.strategies.geometry.padding import Padding, as_parameter, place, unpadded
from convfuzz.strategies.geometry.windows import Geometry, Sides, TransposedWindow, dilation_within, extents
from convfuzz.strategies.weighted import weighted

Extra: TypeAlias = Literal["none", "one", "stride", "most"]
"""Output padding: as many sites as the stride, where the dilation allows it, and the most that stride and dilation allow."""


def draw_transposed(draw: st.DrawFn, plan: Plan, kind: str, dims: int) -> Geometry:
    """Draw the geometry of a transposed convolution."""
    axes = plan.axes["conv_transpose", dims]
    if kind == "layer":
        return _upsampler(*draw(axes.layers))
    kernel_size = draw(axes.kernels)
    stride = dilation = (1,) * dims
    padding, output_padding = unpadded(dims, "zeros"), (0,) * dims
    if kind == "general":
        stride = draw(axes.strides)
        wanted = zip(draw(axes.dilations), kernel_size, strict=True)
        dilation = tuple(dilation_within(axes.limits.outputs, d, k) for d, k in wanted)
        padding = draw(axes.paddings)
        output_padding = _draw_output_padding(draw, axes, padding, kernel_size, stride, dilation)
    reach = extents(kernel_size, dilation)
    if padding.amounts == "same" and not plan.options.negative_padding and any(map(lt, reach, stride)):
        padding = unpadded(dims, "zeros")  # "same" of a kernel smaller than its stride extends the output
    axis_windows = [partial(_window, *axis) for axis in zip(kernel_size, stride, reach, output_padding, strict=True)]
    placed = place(padding, axes.limits, reach, axis_windows)
    return Geometry(kernel_size, stride, dilation, as_parameter(padding, placed), placed, output_padding=output_padding)


def _upsampler(kernel_size: tuple[int, ...], stride: tuple[int, ...]) -> Geometry:
    """Pad so that the output has as many sites as the input for every step of the stride."""
    beyond = [k - s for k, s in zip(kernel_size, stride, strict=True)]
    pads = tuple(((b + 1) // 2,) * 2 for b in beyond)
    output_padding = tuple(b % 2 for b in beyond)
    windows = list(map(_window, kernel_size, stride, kernel_size, output_padding, pads))
    return Geometry(kernel_size, stride, (1,) * len(stride), pads, windows, output_padding=output_padding)


def _draw_output_padding(
    draw: st.DrawFn, axes: Axes, padding: Padding, kernel_size: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[int, ...]:
    """Draw output padding less than stride or dilation; ``"same"`` leaves no room for it."""
    if padding.amounts == "same" or max(*stride, *dilation) == 1:
        return (0,) * len(stride)
    drawn = []
    for extra, s, d, extent in zip(draw(_output_paddings(len(stride))), stride, dilation, extents(kernel_size, dilation), strict=True):
        most = max(s, d) - 1
        wanted = {"none": 0, "one": 1, "stride": s, "most": most}[extra]
        drawn.append(min(wanted, most, axes.limits.outputs - extent))
    return tuple(drawn)


@cache
def _output_paddings(dims: int) -> SearchStrategy[tuple[Extra, ...]]:
    everywhere: dict[Extra, int] = {"none": 9, "one": 5, "stride": 3, "most": 4}
    none: Extra = "none"
    others = (none,) * (dims - 1)
    # One axis is first and last and all; the tables stay alike, so that an example shrinks across dimensions.
    first, last = [((extra, *others), 1) for extra in everywhere], [((*others, extra), 1) for extra in everywhere]
    return weighted([*first, *last, *(((extra,) * dims, weight) for extra, weight in everywhere.items())])


def _window(kernel: int, stride: int, extent: int, extra: int, sides: Sides | None) -> TransposedWindow:
    """Return the window that takes ``sides`` from its output; the smallest input leaves at least one site."""
    least = 1 if sides is None else max(1, 1 - (extent + extra - sum(sides) - 1) // stride)
    return TransposedWindow(kernel, stride, extent, sides, least, extra)
