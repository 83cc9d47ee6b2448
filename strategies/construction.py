"""One configuration: the shape of a past bug, or a geometry with batch, channels and sizes that its limits can pay for.

The structure comes first: operation, kernel, stride, dilation and padding. The rest of the budget is then spent on
batch, channels and sizes. A further operation would be a further way to draw a :class:`~convfuzz.strategies.geometry.windows.Geometry`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from convfuzz.case.config import ConvConfig
from convfuzz.strategies.changes.extremes import EXTREMES
from convfuzz.strategies.changes.flaws import FLAWS, Flaw
from convfuzz.strategies.choices import SMALL, Emphasis, Op, Options, Plan, plan_for
from convfuzz.strategies.geometry.budget import spend
from convfuzz.strategies.geometry.channels import LAYER_SCHEMES, SCHEMES
from convfuzz.strategies.geometry.forward import draw_forward
from convfuzz.strategies.geometry.transposed import draw_transposed
from convfuzz.strategies.geometry.windows import Geometry
from convfuzz.strategies.weighted import weighted

_GEOMETRIES: dict[Op, Callable[[st.DrawFn, Plan, str, int], Geometry]] = {"conv": draw_forward, "conv_transpose": draw_transposed}
_SQUARE = weighted({True: 2, False: 1})
"""How often a layer of a network has the same size on all axes, as most have."""
_FLAWS = {op: weighted(FLAWS[op] | EXTREMES[op]) for op in FLAWS}


@st.composite
def configuration(draw: st.DrawFn, options: Options, emphasis: Emphasis) -> ConvConfig:
    """Draw a configuration."""
    plan = plan_for(options, emphasis)
    kind = draw(plan.kinds)
    if kind == "past bug":
        return draw(plan.past_shapes)
    if kind == "flawed":
        return draw(flawed(options))
    op = draw(plan.ops)
    config = draw(plan.twists[op])(_construct(draw, plan, kind, op))
    if config.in_channels == 0 and True in options.bias:
        config = config.replace(bias=True)  # it is all that there is to see
    return config


@cache
def flawed(options: Options) -> SearchStrategy[ConvConfig]:
    """Draw a small configuration with one flaw, or with one argument beyond 32 bits; dtype and layout are common ones if any."""
    return _flawed(
        replace(
            options,
            dtypes=tuple(dtype for dtype in options.dtypes if dtype in ("float32", "float64")) or options.dtypes,
            layouts=tuple(layout for layout in options.layouts if layout in ("contiguous", "channels_last")) or options.layouts,
            padding_modes=("zeros",),
            negative_padding=False,
            empty=False,
            max_flops=min(options.max_flops, 20_000),
            max_elements=min(options.max_elements, 2**10),
        )
    )


@st.composite
def _flawed(draw: st.DrawFn, options: Options) -> ConvConfig:
    plan = plan_for(options, SMALL)
    op = draw(plan.ops)
    flaw: Flaw = draw(_FLAWS[op])
    config = _construct(draw, plan, draw(plan.kinds), op)
    pads = tuple((max(lo, 0), max(hi, 0)) for lo, hi in config.pads)  # "same" of a kernel smaller than its stride is negative
    return flaw(draw, config.replace(padding=pads))


def _construct(draw: st.DrawFn, plan: Plan, kind: str, op: Op) -> ConvConfig:
    """Draw a valid configuration of ``op`` within the limits of ``plan``."""
    dims = draw(plan.dims)
    plain, layer = kind == "plain", kind == "layer"
    geometry = _GEOMETRIES[op](draw, plan, kind, dims)
    scheme = "dense" if plain else draw(LAYER_SCHEMES if layer else SCHEMES)
    square = layer and dims > 1 and draw(_SQUARE)
    sizes = plan.layer_sizes if layer else plan.sizes
    batch, channels, input_size = spend(draw, plan, geometry.windows, scheme, sizes, square=square)
    layout, weight_layout = (plan.options.layouts[0], None) if plain else draw(plan.layouts)
    return ConvConfig(
        op=op,
        dims=dims,
        batch=batch,
        in_channels=channels.in_channels,
        out_channels=channels.out_channels,
        groups=channels.groups,
        input_size=input_size,
        kernel_size=geometry.kernel_size,
        stride=geometry.stride,
        padding=geometry.padding,
        padding_mode=geometry.padding_mode,
        dilation=geometry.dilation,
        output_padding=geometry.output_padding,
        bias=draw(plan.bias),
        dtype=draw(plan.dtypes),
        layout=layout,
        weight_layout=weight_layout,
    )
