"""Some elements of a large model's result: a convolution with functions of single elements behind it, at sites all over every channel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import component_format
from convfuzz.errors import NotCovered
from convfuzz.graphs import arithmetic, functions, transcendental
from convfuzz.graphs.bounded import Array, Bounded, Place
from convfuzz.graphs.graph import CONVOLUTIONS, Graph, Operation, Ref, names_in
from convfuzz.graphs.layers import ConvCall, describe
from convfuzz.judging.element_products import product_count, products_in_two_orders
from convfuzz.judging.numerics import Numerics
from convfuzz.judging.tolerance import Operands, tolerance
from convfuzz.judging.transforms import magnitudes
from convfuzz.oracle import Expectation
from convfuzz.tensors.generator import Tensors

Indices = npt.NDArray[np.int64]

MOST_PRODUCTS = 2**25
"""How many products of sampled elements are computed, about a second's worth."""
_AT_ONCE = 2**21
_LEAST_SITES, _MOST_SITES = 32, 2**12
_BORDER, _NEIGHBOURS = 3, 64
_TILES = (4, 8, 16, 32, 64, 128, 256)
_POINTWISE = frozenset({
    *functions.RULES, *arithmetic.RULES, *transcendental.POINTWISE, "batch_norm", "clone", "contiguous", "detach", "dropout",
    "lift_fresh_copy",
})  # fmt: skip


@dataclass(frozen=True, eq=False)
class Sample:
    """Elements of a result and what is right there: ``places`` is (channels, sites, axes of the result), ``right`` (1, channels, sites)."""

    places: Indices
    right: Bounded

    def of(self, output: Array) -> Array:
        """Return these elements of an output, (1, channels, sites)."""
        found: Array = output[tuple(np.moveaxis(self.places, -1, 0))]
        return found[None]


def can_be_sampled(graph: Graph) -> bool:
    """Whether a model is a convolution of its input with functions of single elements behind it, and numbers for each channel."""
    first, *others = graph.operations
    if first.base not in CONVOLUTIONS or len(graph.inputs) != 1 or graph.outputs != (graph.operations[-1].name,):
        return False
    call = ConvCall(first.base, first.arguments, first.named)
    held = {*graph.held, *graph.constants}
    if call.input.name != graph.inputs[0] or len(graph.shapes[call.input.name]) != len(graph.shapes[call.weight.name]):
        return False
    if not all(ref is None or ref.name in held for ref in (call.weight, call.bias)):
        return False
    results = {first.name}
    for one in others:
        if one.base.removesuffix("_") not in _POINTWISE or one.rule is None:
            return False
        operands = names_in((one.arguments, one.named))
        if operands & results:
            if one.shape != first.shape or not all(name in results or _is_by_channel(graph, one, name, first.shape) for name in operands):
                return False
            results.add(one.name)
        elif not operands <= held or one.base not in ("lift_fresh_copy", "detach", "detach_"):
            return False
        else:
            held.add(one.name)
    return True


def _is_by_channel(graph: Graph, one: Operation, name: str, result: tuple[int, ...] | None) -> bool:
    shape = graph.shapes[name]
    if one.base == "batch_norm" or math.prod(shape) == 1:
        return True
    assert result is not None, "a convolution has a shape"
    padded = (1,) * (len(result) - len(shape)) + shape
    return len(padded) == len(result) and all(size == 1 for axis, size in enumerate(padded) if axis != 1)


def sample(graph: Graph, x: Array, held: Mapping[str, Array], numerics: Numerics, draw: np.random.Generator) -> Sample:
    """Return elements of every channel, and what they should be, of a model that :func:`can_be_sampled`."""
    first, *others = graph.operations
    call = ConvCall(first.base, first.arguments, first.named)
    own = {name: held[parameter] for name, parameter in graph.held.items()} | dict(graph.constants)
    w, b = own[call.weight.name], None if call.bias is None else own[call.bias.name]
    assert first.dtype is not None, "a convolution has a dtype"
    config = describe(x.shape, w.shape, dtype=first.dtype, bias=b is not None, **call.parameters)
    sites = MOST_PRODUCTS // max(product_count(config, "forward") * config.out_channels, 1)
    places = _places(config, min(max(sites, _LEAST_SITES), _MOST_SITES), draw)
    at = Place((1, *places.shape[:2]), first.dtype, numerics)
    known: dict[str, Any] = {name: Bounded.exact(value) for name, value in own.items()}
    with np.errstate(all="ignore"):
        known[first.name] = _layer(config, Tensors(x, w, b), places, at)
        for one in others:
            known[one.name] = _applied(one, known, at)
            if one.mutates and isinstance(one.arguments[0], Ref):
                known[one.arguments[0].name] = known[one.name]
    return Sample(places, known[graph.outputs[0]])


def _applied(one: Operation, known: Mapping[str, Any], at: Place) -> Any:
    def operand(given: Any) -> Any:
        if not isinstance(given, Ref):
            return given
        found = known[given.name]
        if found.value.shape == at.shape or one.base == "batch_norm":
            return found
        return found.moved(lambda v: v.reshape((-1, 1) if v.size > 1 else ()))

    assert one.rule is not None, "it was looked at"
    if one.base in ("lift_fresh_copy", "detach", "detach_"):
        return known[one.arguments[0].name]
    try:
        return one.rule(at, *map(operand, one.arguments), **{name: operand(value) for name, value in one.named.items()})
    except TypeError as error:
        raise NotCovered(f"aten.{one.op} with these arguments ({error})") from None


def _layer(config: ConvConfig, tensors: Tensors, places: Indices, at: Place) -> Bounded:
    """Return the sums of the layer at the places, and their tolerance."""
    elements = places.reshape(-1, places.shape[-1])
    sums = np.zeros((4, len(elements)))
    step = max(_AT_ONCE // max(product_count(config, "forward"), 1), 1)
    for start in range(0, len(elements), step):
        products = products_in_two_orders(config, tensors, "forward", elements[start : start + step])[0]
        # A product of zero is added without rounding, so that the others are the sum.
        for word, found in zip(sums, (products, np.abs(products), products**2, products != 0.0), strict=True):
            word[start : start + step] = found.sum(axis=0)
    y, s, q, n = sums.reshape(4, *at.shape)
    tiny = component_format(config.dtype).tiny
    has_subnormals = any(bool(np.any((array != 0) & (np.abs(array) < tiny))) for array in tensors.named().values())
    bias = None if tensors.b is None else np.broadcast_to(tensors.b.astype(np.float64)[:, None], at.shape)
    maps = tuple(elements[:, axis] for axis in (0, 1))
    operands = Operands(
        config.dtype,
        config.dims,
        bias,
        lambda: magnitudes(config, tensors, "forward")[0].reshape(config.batch or 1, -1)[maps].reshape(at.shape),
        lambda: s if has_subnormals else np.zeros(()),
    )
    expected = Expectation(y=y, y_lo=None, S=s, Q=q, n=n.astype(np.int64))
    return at.opened(y, tolerance(expected, at.numerics, operands))


def _places(config: ConvConfig, sites: int, draw: np.random.Generator) -> Indices:
    """Return (channels, sites, batch, channel and spatial axes): the same kinds of sites in each channel, put together anew."""
    shape = config.output_shape
    places = np.empty((config.out_channels, sites, len(shape)), np.int64)
    for axis, size in enumerate(shape):
        if axis == 1:
            places[:, :, axis] = np.arange(config.out_channels)[:, None]
            continue
        wanted = _along(size, draw)
        for channel in range(config.out_channels):
            repeated = np.resize(draw.permutation(wanted), sites)
            places[channel, :, axis] = draw.permutation(repeated)
    return places


def _along(size: int, draw: np.random.Generator) -> Indices:
    """Return indices of one axis: its borders, the ends of its tiles, every residue modulo 2 … 64, and drawn ones."""
    border = [*range(min(_BORDER, size)), *range(max(size - _BORDER, 0), size)]
    ends = [edge for tile in _TILES for edge in (tile - 1, tile, size // tile * tile - 1, size // tile * tile)]
    start = int(draw.integers(max(size - _NEIGHBOURS, 0) + 1))
    drawn: Sequence[int] = draw.integers(size, size=_NEIGHBOURS // 2).tolist()
    wanted = {*border, *ends, *range(start, min(start + _NEIGHBOURS, size)), *drawn}
    return np.array(sorted(index for index in wanted if 0 <= index < size), np.int64)
