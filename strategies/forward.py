"""The forward convolution, built so that it is valid and within its budget.

The structure comes first: kernel, stride, dilation and padding. What it leaves of the budget is then spent on the batch,
the channels and the spatial sizes, in this order, each cut at what it can cost. Another operation is another such
constructor beside this one, drawn from the same :class:`~convfuzz.strategies.plans.Plan`.
"""

from __future__ import annotations

from math import prod
from typing import Literal

from hypothesis import strategies as st

from convfuzz.config import ConvConfig, Pads

from .channels import LAYER_SCHEMES, SCHEMES, Channels, Room, draw_channels
from .padding import Padding, place
from .plans import Emphasis, Options, Plan, plan_for
from .sizes import Sizes
from .windows import Window, extents


@st.composite
def forward(draw: st.DrawFn, options: Options, emphasis: Emphasis) -> ConvConfig:
    """Draw a forward convolution."""
    plan = plan_for(options, emphasis)
    kind = draw(plan.kinds)
    if kind == "historical":
        return draw(plan.history)
    config = draw(plan.twists)(_construct(draw, plan, kind))
    if config.in_channels == 0 and True in plan.options.bias:
        config = config.replace(bias=True)  # it is all that there is to see
    return config


def _construct(draw: st.DrawFn, plan: Plan, kind: str) -> ConvConfig:
    dims = draw(plan.dims)
    axes = plan.axes[dims]
    plain = kind == "plain"
    stride = dilation = (1,) * dims
    padding = axes.unpadded
    if kind == "layer":
        kernel_size, stride = draw(axes.layers)
        padding = axes.halved
    else:
        kernel_size = draw(axes.kernels)
    if kind == "general":
        stride = draw(axes.strides)
        dilation = tuple(map(axes.limits.dilation, draw(axes.dilations), kernel_size))
        padding = draw(axes.paddings)
    windows = place(padding, kernel_size, stride, extents(kernel_size, dilation), axes.limits)
    scheme = "dense" if plain else draw(LAYER_SCHEMES if kind == "layer" else SCHEMES)
    batch, channels, input_size = _spend(draw, plan, windows, scheme, plan.layer_sizes if kind == "layer" else plan.sizes)
    return ConvConfig(
        dims=dims,
        batch=batch,
        in_channels=channels.in_channels,
        out_channels=channels.out_channels,
        groups=channels.groups,
        input_size=input_size,
        kernel_size=kernel_size,
        stride=stride,
        padding=_padding(padding, windows),
        padding_mode=padding.mode,
        dilation=dilation,
        bias=draw(plan.bias),
        dtype=draw(plan.dtypes),
        layout=plan.options.layouts[0] if plain else draw(plan.layouts),
    )


def _padding(padding: Padding, windows: list[Window]) -> Pads | Literal["same", "valid"]:
    pads = tuple(window.sides for window in windows if window.sides is not None)
    if not pads:
        return "same"
    return "valid" if padding.amounts == "valid" else pads


def _spend(draw: st.DrawFn, plan: Plan, windows: list[Window], scheme: str, sizes: Sizes) -> tuple[int | None, Channels, tuple[int, ...]]:
    """Spend a budget on the batch, the channels and the spatial sizes.

    The count that the budget limits is that of the triples (sample, channel pair, output site): each costs two operations
    per tap, and at most one more for the bias.
    """
    flops, share = draw(plan.budgets)
    most = plan.options.max_elements
    taps = prod(window.kernel for window in windows)
    sites = prod(window.outputs(window.least) for window in windows)
    volume = prod(window.least for window in windows)
    triples = max(flops // (2 * taps + 1), sites)
    batch = draw(sizes.batch.upto(min(triples // sites, most // max(sites, volume))))
    samples = batch or 1
    room = Room(
        inputs=most // (samples * volume),
        outputs=most // (samples * sites),
        pairs=min(int((triples // (sites * samples)) ** share), most // taps),
        groups=plan.options.max_groups,
    )
    channels = draw_channels(draw, scheme, sizes, room)
    volume = most // (samples * channels.in_channels)
    sites = min(triples // (samples * channels.fan), most // (samples * channels.out_channels))
    return batch, channels, _draw_input_size(draw, plan, windows, volume=volume, sites=sites)


def _draw_input_size(draw: st.DrawFn, plan: Plan, windows: list[Window], *, volume: int, sites: int) -> tuple[int, ...]:
    """Draw the size of each axis so that there are at most ``volume`` input sites and ``sites`` output sites.

    The last axis may take all that is left, an earlier one no more than its share and some: most kernels vectorise along
    the last.
    """
    sizes = []
    for axis, window in enumerate(windows):
        rest = windows[axis + 1 :]
        volume_here = volume // prod(w.least for w in rest)
        sites_here = sites // prod(w.outputs(w.least) for w in rest)
        most = min(volume_here, window.largest(sites_here))
        if rest:
            most = int(most ** (0.5 + 0.5 / (len(rest) + 1)))
        size = max(draw(plan.sizes.spatial.upto(most)), window.least)
        sizes.append(size)
        volume //= size
        sites //= window.outputs(size)
    return tuple(sizes)
