"""What a search space draws from: its options, its emphasis, and the choices prebuilt from both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import Literal, TypeAlias

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from convfuzz.config import ConvConfig

from .history import historical_shapes
from .ladders import weighted
from .padding import Mode, Padding, halved, padding_table, unpadded
from .sizes import LAYER_CHANNELS, Sizes, edge_sizes, everyday_sizes
from .twists import EMPTY, FLAWS, Twist, kernel_too_large, no_inputs, no_twist
from .windows import EDGES, EVERYDAY, LAYERS, AxisLimits, Windows

PerAxisValues: TypeAlias = tuple[int, ...]
Layout: TypeAlias = Literal["contiguous", "channels_last", "non_contiguous"]

_DIMS = {1: 3, 2: 5, 3: 3}
_DTYPES = {"float32": 9, "float64": 3, "float16": 3, "bfloat16": 3}
_LAYOUTS: dict[Layout, int] = {"contiguous": 6, "channels_last": 3, "non_contiguous": 2}
_BIAS = {False: 3, True: 2}
DTYPES = tuple(_DTYPES)

_HALVINGS = {10: 1, 6: 1, 4: 1, 3: 1, 2: 3, 1: 5, 0: 8}
"""A configuration's budget is the limit, halved this many times."""
_SHARES = (0.5, 0.6, 0.7, 0.8, 0.9)
"""The channels may take the rest of the budget to this power; the spatial sizes may take what is left."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a search space; :func:`convfuzz.strategies.configs` documents and checks them."""

    dims: tuple[int, ...]
    dtypes: tuple[str, ...]
    layouts: tuple[Layout, ...]
    padding_modes: tuple[Mode, ...]
    bias: tuple[bool, ...]
    max_batch: int
    unbatched: bool
    max_groups: int
    max_kernel_size: int
    max_stride: int
    max_dilation: int
    negative_padding: bool
    empty: bool
    invalid: bool
    max_flops: int
    max_elements: int

    def admit(self, config: ConvConfig) -> bool:
        """Whether a valid configuration from elsewhere is within the options."""
        elements = [prod(shape) for shape in (config.input_shape, config.weight_shape, config.output_shape)]
        listed = (
            config.dims in self.dims
            and config.dtype in self.dtypes
            and config.layout in self.layouts
            and config.padding_mode in self.padding_modes
            and config.bias in self.bias
        )
        special = (
            (self.unbatched or config.batch is not None)
            and (self.negative_padding or min(map(min, config.pads)) >= 0)
            and (self.empty or min(elements) > 0)
        )
        bounded = (
            (config.batch or 1) <= self.max_batch
            and config.groups <= self.max_groups
            and max(config.kernel_size) <= self.max_kernel_size
            and max(config.stride) <= self.max_stride
            and max(config.dilation) <= self.max_dilation
            and config.flops <= self.max_flops
            and max(elements) <= self.max_elements
        )
        return listed and special and bounded


@dataclass(frozen=True, kw_only=True, eq=False)
class Emphasis:
    """Which sizes and windows a search space prefers, and how often it turns to something special.

    ``kinds`` weighs configurations that are plain (stride 1, no padding, dense), layers as networks have them (an odd
    kernel, half of it as padding, stride 1 or 2, often depthwise), general, and historical (a shape from
    :mod:`~convfuzz.strategies.history`); ``twists`` weighs what happens to a plain or general one in the end.
    """

    sizes: Callable[[], Sizes]
    windows: Windows
    kinds: dict[str, int]
    twists: dict[Twist, int]


BASIC = Emphasis(sizes=everyday_sizes, windows=EVERYDAY, kinds={"plain": 1, "general": 2}, twists={no_twist: 1})
USUAL = Emphasis(
    sizes=everyday_sizes,
    windows=EVERYDAY,
    kinds={"plain": 12, "general": 88},
    twists={no_twist: 200} | dict.fromkeys(EMPTY, 2) | {no_inputs: 4, kernel_too_large: 4},
)
# Hypothesis cannot shrink a historical shape to anything but another; a campaign reduces its failures itself.
CAMPAIGN = replace(USUAL, kinds={"plain": 10, "layer": 20, "general": 65, "historical": 5})
EDGE = Emphasis(
    sizes=edge_sizes,
    windows=EDGES,
    kinds={"plain": 8, "general": 84, "historical": 8},
    twists={no_twist: 100} | dict.fromkeys(EMPTY, 2) | dict.fromkeys(FLAWS, 1) | {kernel_too_large: 5},
)


@dataclass(frozen=True, kw_only=True)
class Axes:
    """What is drawn for all axes together, for one number of dimensions."""

    limits: AxisLimits
    kernels: SearchStrategy[PerAxisValues]
    strides: SearchStrategy[PerAxisValues]
    dilations: SearchStrategy[PerAxisValues]
    paddings: SearchStrategy[Padding]
    layers: SearchStrategy[tuple[PerAxisValues, PerAxisValues]]
    unpadded: Padding
    halved: Padding


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The prebuilt choices of a search space, and its limits."""

    options: Options
    kinds: SearchStrategy[str]
    history: SearchStrategy[ConvConfig]
    dims: SearchStrategy[int]
    axes: dict[int, Axes]
    budgets: SearchStrategy[tuple[int, float]]
    sizes: Sizes
    layer_sizes: Sizes
    bias: SearchStrategy[bool]
    dtypes: SearchStrategy[str]
    layouts: SearchStrategy[Layout]
    twists: SearchStrategy[Twist]


@cache
def plan_for(options: Options, emphasis: Emphasis) -> Plan:
    """Build the choices of a search space, the simplest first in each."""
    history = [config for config in historical_shapes() if options.admit(config)]
    sizes = emphasis.sizes().bounded(max_batch=options.max_batch, unbatched=options.unbatched, max_groups=options.max_groups)
    budgets = [(options.max_flops >> halvings, share) for halvings, weight in _HALVINGS.items() for _ in range(weight) for share in _SHARES]
    twists = {t: n for t, n in emphasis.twists.items() if (options.empty or t not in EMPTY) and (options.invalid or t not in FLAWS)}
    return Plan(
        options=options,
        kinds=weighted({kind: n for kind, n in emphasis.kinds.items() if history or kind != "historical"}),
        history=st.sampled_from(history) if history else st.nothing(),
        dims=weighted({dims: n for dims, n in _DIMS.items() if dims in options.dims}),
        axes={dims: _axes(dims, options, emphasis.windows) for dims in options.dims},
        budgets=st.sampled_from(budgets),
        sizes=sizes,
        layer_sizes=replace(sizes, channels=LAYER_CHANNELS),
        bias=weighted({bias: n for bias, n in _BIAS.items() if bias in options.bias}),
        dtypes=weighted({dtype: n for dtype, n in _DTYPES.items() if dtype in options.dtypes}),
        layouts=weighted({layout: n for layout, n in _LAYOUTS.items() if layout in options.layouts}),
        twists=weighted(twists),
    )


def _axes(dims: int, options: Options, windows: Windows) -> Axes:
    limits = AxisLimits.of(dims, max_flops=options.max_flops, max_elements=options.max_elements)
    return Axes(
        limits=limits,
        kernels=st.sampled_from(windows.kernels.table(dims, min(options.max_kernel_size, limits.work, limits.elements))),
        strides=st.sampled_from(windows.strides.table(dims, options.max_stride)),
        dilations=st.sampled_from(windows.dilations.table(dims, options.max_dilation)),
        paddings=st.sampled_from(padding_table(dims, options.padding_modes, negative=options.negative_padding)),
        layers=weighted({((k,) * dims, (s,) * dims): n for (k, s), n in LAYERS.items() if k <= options.max_kernel_size}),
        unpadded=unpadded(dims, options.padding_modes[0]),
        halved=halved(dims, options.padding_modes[0]),
    )
