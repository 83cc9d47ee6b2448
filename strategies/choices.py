"""What a search space draws from: its options, its emphasis, and the choices prebuilt from both."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import Literal, TypeAlias, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from convfuzz.case.config import ConvConfig
from convfuzz.strategies.changes.degenerate import EMPTY, MISFITS, Twist, no_inputs, no_sites, no_twist, one_output
from convfuzz.strategies.corpus_file import past_shapes
from convfuzz.strategies.geometry.padding import Padding, padding_table
from convfuzz.strategies.geometry.sizes import LAYER_CHANNELS, Sizes, edge_sizes, everyday_sizes, small_sizes
from convfuzz.strategies.geometry.windows import EDGES, EVERYDAY, LAYERS, UPSAMPLERS, AxisLimits, Mode, Windows
from convfuzz.strategies.weighted import weighted

Op: TypeAlias = Literal["conv", "conv_transpose"]
PerAxisValues: TypeAlias = tuple[int, ...]
T = TypeVar("T")

_OPS: dict[Op, int] = {"conv": 7, "conv_transpose": 3}
_DIMS = {1: 3, 2: 5, 3: 3}
_FLOATS = {"float32": 54, "float64": 18, "float16": 18, "bfloat16": 18}
_DTYPES = _FLOATS | dict.fromkeys(("complex64", "complex128", "int8", "int32", "int64"), 1)
_LAYOUTS = {"contiguous": 12, "channels_last": 5, "non_contiguous": 3, "transposed": 1, "expanded": 1, "offset": 1, "loose_strides": 1}
_BIAS = {False: 3, True: 2}
DTYPES = tuple(_DTYPES)

_HALVINGS = {10: 1, 6: 1, 4: 1, 3: 1, 2: 3, 1: 5, 0: 8}
"""A configuration's budget is the limit, halved this many times."""
_SHARES = (0.5, 0.6, 0.7, 0.8, 0.9)
"""The channels may take the rest of the budget to this power; the spatial sizes may take what is left."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a search space; :func:`convfuzz.strategies.configs` documents and checks them."""

    ops: tuple[Op, ...]
    dims: tuple[int, ...]
    dtypes: tuple[str, ...]
    layouts: tuple[str, ...]
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
            config.op in self.ops
            and config.dims in self.dims
            and config.dtype in self.dtypes
            and config.layout in self.layouts
            and config.weight_layout in (None, *self.layouts)
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
    kernel, half of it as padding, stride 1 or 2, often depthwise; transposed, a kernel that doubles the size), general,
    flawed (one of :mod:`~convfuzz.strategies.changes.flaws`), and past bugs (a shape from
    :mod:`~convfuzz.strategies.corpus_file`); ``twists`` weighs what happens to a plain, layered or general one in the end.
    """

    sizes: Callable[[], Sizes]
    windows: Windows
    kinds: dict[str, int]
    twists: dict[Twist, int]


_USUAL_TWISTS = {no_twist: 200} | dict.fromkeys(EMPTY, 2) | {no_inputs: 4, one_output: 6} | dict.fromkeys(MISFITS.values(), 4)
BASIC = Emphasis(sizes=everyday_sizes, windows=EVERYDAY, kinds={"plain": 1, "general": 2}, twists={no_twist: 1})
USUAL = Emphasis(sizes=everyday_sizes, windows=EVERYDAY, kinds={"plain": 12, "general": 88}, twists=_USUAL_TWISTS)
# Hypothesis cannot shrink a past bug's shape to anything but another; a campaign reduces its failures itself.
CAMPAIGN = replace(USUAL, kinds={"plain": 10, "layer": 20, "general": 65, "past bug": 5})
EDGE = Emphasis(
    sizes=edge_sizes,
    windows=EDGES,
    kinds={"plain": 8, "general": 84, "flawed": 6, "past bug": 8},
    twists={no_twist: 100} | dict.fromkeys(EMPTY, 2) | {one_output: 10} | dict.fromkeys(MISFITS.values(), 6),
)


SMALL = replace(BASIC, sizes=small_sizes)
FLAWED = replace(SMALL, kinds={"flawed": 1})


@dataclass(frozen=True, kw_only=True)
class Axes:
    """What is drawn for all axes together, for one operation and number of dimensions."""

    limits: AxisLimits
    kernels: SearchStrategy[PerAxisValues]
    strides: SearchStrategy[PerAxisValues]
    dilations: SearchStrategy[PerAxisValues]
    paddings: SearchStrategy[Padding]
    layers: SearchStrategy[tuple[PerAxisValues, PerAxisValues]]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The prebuilt choices of a search space, and its limits."""

    options: Options
    kinds: SearchStrategy[str]
    past_shapes: SearchStrategy[ConvConfig]
    ops: SearchStrategy[Op]
    dims: SearchStrategy[int]
    axes: dict[tuple[Op, int], Axes]
    budgets: SearchStrategy[tuple[int, float]]
    sizes: Sizes
    layer_sizes: Sizes
    bias: SearchStrategy[bool]
    dtypes: SearchStrategy[str]
    layouts: SearchStrategy[tuple[str, str | None]]
    twists: dict[Op, SearchStrategy[Twist]]


@cache
def plan_for(options: Options, emphasis: Emphasis) -> Plan:
    """Build the choices of a search space, the simplest first in each."""
    shapes = [config for config in past_shapes() if options.admit(config)]
    sizes = emphasis.sizes().bounded(max_batch=options.max_batch, unbatched=options.unbatched, max_groups=options.max_groups)
    budgets = [(options.max_flops >> halvings, share) for halvings, weight in _HALVINGS.items() for _ in range(weight) for share in _SHARES]
    left_out = ({"past bug"} if not shapes else set()) | ({"flawed"} if not options.invalid else set())
    return Plan(
        options=options,
        kinds=weighted({kind: n for kind, n in emphasis.kinds.items() if kind not in left_out}),
        past_shapes=st.sampled_from(shapes) if shapes else st.nothing(),
        ops=_weighted_of(_OPS, options.ops),
        dims=_weighted_of(_DIMS, options.dims),
        axes={(op, dims): _axes(op, dims, options, emphasis.windows) for op in options.ops for dims in options.dims},
        budgets=st.sampled_from(budgets),
        sizes=sizes,
        layer_sizes=replace(sizes, channels=LAYER_CHANNELS),
        bias=_weighted_of(_BIAS, options.bias),
        dtypes=_weighted_of(_DTYPES, options.dtypes),
        layouts=_layouts(options.layouts),
        twists={op: _twists(op, options, emphasis) for op in options.ops},
    )


def _weighted_of(weights: dict[T, int], chosen: Collection[T]) -> SearchStrategy[T]:
    return weighted({value: n for value, n in weights.items() if value in chosen})


def _layouts(chosen: tuple[str, ...]) -> SearchStrategy[tuple[str, str | None]]:
    """Draw the layouts of input and weight: the weight has the input's (``None``), or one of the two has the plainest."""
    plainest, *others = chosen
    table: dict[tuple[str, str | None], int] = {(layout, None): 4 * _LAYOUTS[layout] for layout in chosen}
    return weighted(table | {(plainest, other): 2 for other in others} | {(other, plainest): 1 for other in others})


def _twists(op: Op, options: Options, emphasis: Emphasis) -> SearchStrategy[Twist]:
    left_out = {misfit for of, misfit in MISFITS.items() if of != op or not options.invalid}
    if not options.empty:
        left_out |= set(EMPTY)
    if op != "conv" or "zeros" not in options.padding_modes:
        left_out.add(no_sites)
    if op != "conv_transpose":
        left_out.add(one_output)
    return weighted({twist: n for twist, n in emphasis.twists.items() if twist not in left_out})


def _axes(op: Op, dims: int, options: Options, windows: Windows) -> Axes:
    limits = AxisLimits.of(dims, max_flops=options.max_flops, max_elements=options.max_elements)
    most = min(options.max_kernel_size, limits.outputs)
    strides, layers = (windows.strides, LAYERS) if op == "conv" else (windows.upsampling, UPSAMPLERS)
    modes = options.padding_modes if op == "conv" else ("zeros",)
    return Axes(
        limits=limits,
        kernels=st.sampled_from(windows.kernels.table(dims, most)),
        strides=st.sampled_from(strides.table(dims, options.max_stride)),
        dilations=st.sampled_from(windows.dilations.table(dims, options.max_dilation)),
        paddings=st.sampled_from(padding_table(dims, modes, negative=options.negative_padding)),
        layers=weighted({((k,) * dims, (s,) * dims): n for (k, s), n in layers.items() if k <= most and s <= options.max_stride}),
    )
