"""The geometry of a forward convolution: kernel, stride, dilation and padding, with the smallest input that each axis admits."""

from __future__ import annotations

from functools import partial

from hypothesis import strategies as st

from convfuzz.strategies.choices import Plan
from convfuzz.strategies.geometry.padding import as_parameter, halved, place, unpadded
from convfuzz.strategies.geometry.windows import ForwardWindow, Geometry, Mode, Sides, dilation_within, extents


def draw_forward(draw: st.DrawFn, plan: Plan, kind: str, dims: int) -> Geometry:
    """Draw the geometry of a forward convolution."""
    axes = plan.axes["conv", dims]
    mode = plan.options.padding_modes[0]
    stride = dilation = (1,) * dims
    padding = unpadded(dims, mode)
    if kind == "layer":
        kernel_size, stride = draw(axes.layers)
        padding = halved(dims, mode)
    else:
        kernel_size = draw(axes.kernels)
    if kind == "general":
        stride = draw(axes.strides)
        wanted = zip(draw(axes.dilations), kernel_size, strict=True)
        dilation = tuple(dilation_within(axes.limits.elements, d, k) for d, k in wanted)
        padding = draw(axes.paddings)
    reach = extents(kernel_size, dilation)
    axis_windows = [partial(_window, k, s, extent, padding.mode) for k, s, extent in zip(kernel_size, stride, reach, strict=True)]
    placed = place(padding, axes.limits, reach, axis_windows)
    return Geometry(kernel_size, stride, dilation, as_parameter(padding, placed), placed, padding.mode)


def _window(kernel: int, stride: int, extent: int, mode: Mode, sides: Sides | None) -> ForwardWindow:
    return ForwardWindow(kernel, stride, extent, sides, _least(mode, extent, sides))


def _least(mode: Mode, extent: int, sides: Sides | None) -> int:
    if sides is None:  # at most extent - 1 sites, of which the high end gets the odd one: extent // 2 at most
        return {"reflect": extent // 2 + 1, "circular": max(extent // 2, 1)}.get(mode, 1)
    lo, hi = sides
    least = max(1, extent - lo - hi, -min(lo, 0) - min(hi, 0))
    if mode == "reflect":
        return max(least, lo + 1, hi + 1)
    return max(least, lo, hi) if mode == "circular" else least
