"""Tiles of a large layer: some elements of a pass as the same pass of a small layer, whose operands are windows of the large one's.

Axis by axis, tap k connects the narrow site o with the wide site i where i = o·stride + k·dilation − lo. A box of one side takes
a window of the other, and the relation between the two is that of a layer with other sizes and another padding: lo' = lo −
o₀·stride + i₀, where o₀ and i₀ are the first sites of both. The taps of an element, and their order, stay the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import product

import numpy as np
import numpy.typing as npt

from convfuzz.case.config import ConvConfig
from convfuzz.judging.boxes import Box, Interval, sampled_boxes
from convfuzz.judging.element_products import copied, product_count
from convfuzz.tensors.generator import Array, Tensors

Sites = npt.NDArray[np.int64]
Cut = tuple[slice | Sites, ...]

MOST_ELEMENTS = 2**20
"""About how many elements of a pass are judged."""
MOST_PRODUCTS = 2**30
"""About how many products they are the sums of: a second or two of the reference's time."""
_MOST_WEIGHTS = 2**23
"""So many weights are looked at together, 64 MiB in float64."""
_TILES = 24
"""About how many boxes there are."""


@dataclass(frozen=True, eq=False)
class Tile:
    """A layer whose pass is the box ``place`` of the large layer's pass, and its operands.

    ``cuts`` says where each operand that the pass reads lies in the large layer's: indices that are applied one after the other.
    """

    config: ConvConfig
    tensors: Tensors
    place: tuple[slice, ...]
    cuts: Mapping[str, tuple[Cut, ...]]

    def of(self, output: Array) -> Array:
        """Return the tile of an output."""
        part: Array = output[self.place]
        return part


def tiles(config: ConvConfig, tensors: Tensors, in_pass: str, seed: int) -> Iterator[Tile]:
    """Yield disjoint tiles of one pass; the same seed gives the same ones."""
    draw = np.random.default_rng([seed, len(in_pass)])
    if in_pass == "grad_bias":
        yield from _bias_tiles(config, tensors, draw)
    elif in_pass == "grad_weight":
        yield from _weight_tiles(config, tensors, draw)
    else:
        yield from _site_tiles(config, tensors, in_pass, draw)


# -- the forward pass, and the gradient of the input ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Channels:
    """Some channels of a result, as a layer of their own: where its operands lie, and its numbers of channels and groups."""

    target: slice
    source: slice
    weight: tuple[slice, slice]
    sizes: dict[str, int]


def _site_tiles(config: ConvConfig, tensors: Tensors, in_pass: str, draw: np.random.Generator) -> Iterator[Tile]:
    channels = config.out_channels if in_pass == "forward" else config.in_channels
    size = config.output_size if in_pass == "forward" else config.input_size
    to_narrow = (in_pass == "forward") == (config.op == "conv")
    shape = (config.batch or 1, *size)
    if not to_narrow and config.padding_mode != "zeros":
        # The gradient through copies of the input comes from all over a map: maps are whole there.
        boxes = [((n, n + 1), *((0, extent) for extent in size)) for n in dict.fromkeys((0, shape[0] - 1))]
    else:
        products = max(product_count(config, in_pass), 1)
        boxes = sampled_boxes(shape, min(MOST_ELEMENTS, MOST_PRODUCTS // products) // (channels * _TILES), draw)
    for box in boxes:
        for some in _channels(config, in_pass):
            yield _site_tile(config, tensors, in_pass, box, some, to_narrow=to_narrow)


def _site_tile(config: ConvConfig, tensors: Tensors, in_pass: str, box: Box, some: _Channels, *, to_narrow: bool) -> Tile:
    is_whole = not to_narrow and config.padding_mode != "zeros"
    axes = [_whole(config, a) if is_whole else _axis(config, a, of, to_narrow=to_narrow) for a, of in enumerate(box[1:])]
    samples = slice(*box[0])
    lead = (samples,) if config.batch is not None else ()
    wide, narrow = tuple(axis.wide for axis in axes), tuple(axis.narrow for axis in axes)
    is_conv = config.op == "conv"
    tile = config.replace(
        batch=None if config.batch is None else box[0][1] - box[0][0],
        input_size=wide if is_conv else narrow,
        stride=tuple(axis.stride for axis in axes),
        dilation=tuple(axis.dilation for axis in axes),
        padding=tuple(axis.pads for axis in axes),
        padding_mode=config.padding_mode if is_whole else "zeros",
        output_padding=0,
        layout="contiguous",
        weight_layout=None,
        bias=config.bias and in_pass == "forward",
        **some.sizes,
    )
    window: Cut = (*lead, some.source, *(slice(None) if isinstance(axis.source, np.ndarray) else axis.source for axis in axes))
    sites = [(a, axis.source) for a, axis in enumerate(axes, start=len(lead) + 1) if isinstance(axis.source, np.ndarray)]
    cuts: dict[str, tuple[Cut, ...]] = {
        "x" if in_pass == "forward" else "dy": (window, *(_at_axis(a, source) for a, source in sites)),
        "w": (some.weight,),
        "b": ((some.target,),),
    }
    place = (*lead, some.target, *(slice(*of) for of in box[1:]))
    return Tile(tile, _operands(tile, tensors, cuts, in_pass), place, cuts)


def _at_axis(axis: int, sites: Sites) -> Cut:
    return (*(slice(None),) * axis, sites)


def _operands(tile: ConvConfig, tensors: Tensors, cuts: Mapping[str, tuple[Cut, ...]], in_pass: str) -> Tensors:
    """Return the operands of a tile; what its pass does not read has the right shape and takes no memory."""
    cut = {name: reduce(lambda a, index: a[index], cuts[name], array) for name, array in tensors.named().items() if name in cuts}
    nothing = np.zeros((), tensors.x.dtype)
    x, w = (cut.get(name, np.broadcast_to(nothing, shape)) for name, shape in (("x", tile.input_shape), ("w", tile.weight_shape)))
    b = cut.get("b") if in_pass == "forward" else None
    if tile.bias and b is None:
        b = np.zeros(tile.out_channels, tensors.x.dtype)
    return Tensors(x, w, b, cut.get("dy"))


@dataclass(frozen=True, eq=False)
class _Axis:
    """One axis of a tile: its sizes on both sides, its relation, and the sites of the source."""

    wide: int
    narrow: int
    stride: int
    dilation: int
    pads: tuple[int, int]
    source: slice | Sites


def _whole(config: ConvConfig, axis: int) -> _Axis:
    is_conv = config.op == "conv"
    wide, narrow = (config.input_size, config.output_size) if is_conv else (config.output_size, config.input_size)
    return _Axis(wide[axis], narrow[axis], config.stride[axis], config.dilation[axis], config.pads[axis], slice(None))


def _axis(config: ConvConfig, axis: int, target: Interval, *, to_narrow: bool) -> _Axis:
    """Return the relation between an interval of the target and the window of the source that it meets."""
    kernel, stride, dilation, lo = config.kernel_size[axis], config.stride[axis], config.dilation[axis], config.pads[axis][0]
    sides = (config.input_size, config.output_size) if config.op == "conv" else (config.output_size, config.input_size)
    wide, narrow = (side[axis] for side in sides)
    start, stop = target
    if not to_narrow:
        first, last = -(-(start + lo - (kernel - 1) * dilation) // stride), (stop - 1 + lo) // stride
        window = _window(first, last, narrow)
        return _related(window[1] - window[0], stop - start, kernel, stride, dilation, lo - window[0] * stride + start, slice(*window))
    begin, end = start * stride - lo, (stop - 1) * stride + (kernel - 1) * dilation - lo
    if config.padding_mode != "zeros":
        sites = copied(np.arange(begin, end + 1), wide, config.padding_mode)
        return _related(stop - start, len(sites), kernel, stride, dilation, 0, sites)
    if stop - start == 1 and dilation > 1:  # the taps of one site, and nothing between them
        taps = np.arange(kernel)
        inside = taps[(begin + taps * dilation >= 0) & (begin + taps * dilation < wide)]
        if len(inside):
            first, last = begin + int(inside[0]) * dilation, begin + int(inside[-1]) * dilation
            return _related(1, len(inside), kernel, 1, 1, int(inside[0]), slice(first, last + 1, dilation))
    window = _window(begin, end, wide)
    return _related(stop - start, window[1] - window[0], kernel, stride, dilation, lo - start * stride + window[0], slice(*window))


def _window(first: int, last: int, size: int) -> Interval:
    """Return the sites from first to last that exist; any one where there is none, which no tap meets."""
    start, stop = max(first, 0), min(last + 1, size)
    if start < stop:
        return start, stop
    anywhere = min(max(start, 0), size - 1)
    return anywhere, anywhere + 1


def _related(narrow: int, wide: int, kernel: int, stride: int, dilation: int, lo: int, source: slice | Sites) -> _Axis:
    hi = (narrow - 1) * stride + dilation * (kernel - 1) + 1 - wide - lo
    return _Axis(wide, narrow, stride, dilation, (lo, hi), source)


def _channels(config: ConvConfig, in_pass: str) -> Iterator[_Channels]:
    """Yield all channels of a result in blocks with few weights: several groups, or some channels of one group."""
    groups, per_in, per_out = config.groups, config.in_channels // config.groups, config.out_channels // config.groups
    is_forward = in_pass == "forward"
    targets, sources = (per_out, per_in) if is_forward else (per_in, per_out)
    of_one = sources * math.prod(config.kernel_size)
    together = max(_MOST_WEIGHTS // max(of_one * targets, 1), 1)
    some = targets if of_one * targets <= _MOST_WEIGHTS else max(_MOST_WEIGHTS // max(of_one, 1), 1)
    for group in range(0, groups, together):
        many = min(together, groups - group)
        for start in range(0, targets, some):
            stop = min(start + some, targets)
            target = slice(group * targets + start, (group + many - 1) * targets + stop)
            source = slice(group * sources, (group + many) * sources)
            rows_are_targets = is_forward == (config.op == "conv")
            weight = (target, slice(None)) if rows_are_targets else (source, slice(start, stop))
            counts = (many * (stop - start), many * sources)
            sizes = dict(zip(("out_channels", "in_channels") if is_forward else ("in_channels", "out_channels"), counts, strict=True))
            yield _Channels(target, source, weight, {**sizes, "groups": many})


# -- the gradients of weight and bias: sums over all sites ------------------------------------------------------------------


def _weight_tiles(config: ConvConfig, tensors: Tensors, draw: np.random.Generator) -> Iterator[Tile]:
    """Yield the taps of pairs of channels: the first and last ones, those at the ends of tiles, and drawn ones."""
    products = product_count(config, "grad_weight") * math.prod(config.kernel_size)
    rows, columns = config.weight_shape[:2]
    boxes = sampled_boxes((1, rows, columns), 1, draw)
    pairs = [pair for _, *sides in boxes for pair in product(*(range(*side) for side in sides))]
    per_row = rows // config.groups
    for row, column in pairs[: max(MOST_PRODUCTS // max(products, 1), 4)]:
        wide_channel = row // per_row * columns + column
        x, out = (wide_channel, row) if config.op == "conv" else (row, wide_channel)
        tile = config.replace(in_channels=1, out_channels=1, groups=1, layout="contiguous", weight_layout=None, bias=False)
        cuts = {"x": (_channel(config, x),), "dy": (_channel(config, out),)}
        place = (slice(row, row + 1), slice(column, column + 1))
        yield Tile(tile, _operands(tile, tensors, cuts, "grad_weight"), place, cuts)


def _bias_tiles(config: ConvConfig, tensors: Tensors, draw: np.random.Generator) -> Iterator[Tile]:
    """Yield the channels one by one: all, or as many as there is time for."""
    chosen = sampled_boxes((1, config.out_channels), 1, draw)
    most = max(MOST_PRODUCTS // max(product_count(config, "grad_bias"), 1), 2)
    every = [channel for _, (start, stop) in chosen for channel in range(start, stop)]
    every += [channel for channel in range(config.out_channels) if channel not in set(every)]
    tile = config.replace(in_channels=1, out_channels=1, groups=1, layout="contiguous", weight_layout=None)
    for channel in every[:most]:
        cuts = {"dy": (_channel(config, channel),)}
        yield Tile(tile, _operands(tile, tensors, cuts, "grad_bias"), (slice(channel, channel + 1),), cuts)


def _channel(config: ConvConfig, channel: int) -> Cut:
    return (*(() if config.batch is None else (slice(None),)), slice(channel, channel + 1))
