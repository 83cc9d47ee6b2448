"""Unusual kernels: what is told of them is right, and what cannot be told is unknown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from convfuzz import Case, ConvConfig, Numerics
from convfuzz.case.dtypes import FLOATS
from convfuzz.revealing.advice import narrowest_numerics
from convfuzz.revealing.element import Element
from convfuzz.revealing.formats import measure_formats
from convfuzz.revealing.measurement import reveal
from convfuzz.revealing.roundings import rule_of
from convfuzz.revealing.sheet import Notes

from .kernels import Array, Kernel, away, backend, blocked, cut, flushed, lanes, sequential, split, to_bits
from .test_planted_arithmetic import CASE, F16, F64, PLAIN, fields_of
from .unusual import (
    blocks_of_blocks,
    by_magnitude,
    double_between,
    fused_every_other,
    in_fixed_point,
    in_parts,
    kahan,
    kahan_of_blocks,
    last_channel_first,
    neumaier,
    rounded_products,
    shuffled_lanes,
    signs_apart,
    stored_every,
    to_odd,
    with_own_tail,
    with_tail,
)

ODD, HALF, BRAIN = CASE.replace("c16", "c15"), CASE.replace("f32", "f16"), CASE.replace("f32", "bf16")
NO_ORDER = {"order": "unknown", "block": None, "innermost": None, "bias": None}
NO_SUM_OF_PRODUCTS = NO_ORDER | {"fma": None, "inputs": "unknown", "output_rounding": "unknown"}

TOLD: dict[str, tuple[str, Callable[..., Array], dict[str, Any]]] = {
    "two accumulators, then a tail": (ODD, Kernel(with_tail(2)), {"order": "lanes", "block": 2}),
    "eight lanes, then a tail": (ODD, Kernel(with_tail(8)), {"order": "lanes", "block": 8}),
    "lanes in a shuffled tree": (CASE, Kernel(shuffled_lanes), {"order": "lanes", "block": 8}),
    "blocks of four blocks of eight": (CASE, Kernel(blocks_of_blocks(8, 4)), {"order": "blocked", "block": 8}),
    "sixteen lanes of truncated TF32, one after the other": (
        CASE, Kernel(lanes(16, sequential), inputs=cut(11)), {"order": "lanes", "block": 16, "inputs": "tfloat32-truncated", "fma": None},
    ),
    "four parts of flushed products": (
        CASE, Kernel(split(4), products=flushed(np.float32)), {"order": "split", "block": 4, "flushes": ("products",)},
    ),
    "channels from the last on": (CASE, Kernel(last_channel_first), {"order": "blocked", "block": 9}),
    "a last block that is not full": (ODD, Kernel(blocked(32), bias="first"), {"order": "blocked", "block": 32, "bias": "first"}),
    "bfloat16 every 32 terms": (CASE, Kernel(stored_every(32, to_bits(8))), {"between_blocks": "bfloat16", "bias": "separate"}),
    "bfloat16 every 32 terms of bfloat16": (BRAIN, Kernel(stored_every(32, to_bits(8))), {"between_blocks": "bfloat16", "fma": None}),
    "float64 between blocks": (CASE, double_between(16), {"between_blocks": "float64", "order": "blocked", "block": 16}),
    "Kahan": (CASE, Kernel(kahan), {"accumulator_rounding": "compensated", "fma": None}),
    "Kahan in float16": (
        HALF, Kernel(kahan, accumulator=F16), {"accumulator": "float16", "accumulator_rounding": "compensated", "fma": None},
    ),
    "float products in a double sum": (CASE, rounded_products(F64), {"accumulator": "float64", "fma": False}),
    "float16 products in a float sum": (HALF, rounded_products(np.float32), {"accumulator": "float32", "fma": False}),
    "bfloat16 products in a float sum": (BRAIN, rounded_products(np.float32), {"accumulator": "float32", "fma": False}),
    "a sum of twenty bits": (CASE, Kernel(accumulator=F64, sums=to_bits(20)), {"accumulator": "20 bits", "fma": True}),
    "a sum that rounds ties away": (
        CASE, Kernel(accumulator=F64, sums=away(24)), {"accumulator_rounding": "half-away", "output_rounding": "half-away", "fma": True},
    ),
    "a store that rounds to odd": (
        CASE, Kernel(accumulator=F64, store=to_odd(24)), {"accumulator": "float64", "output_rounding": "odd", "fma": None},
    ),
    "float16 sums that saturate": (
        HALF, Kernel(accumulator=F16, sums=lambda v: np.clip(v, F16(-65504), F16(65504))),
        {"accumulator": "float16", "overflow": "saturates"},
    ),
    "float16 of a float32 layer": (
        CASE, Kernel(inputs=lambda v: v.astype(np.float16).astype(v.dtype)), {"inputs": "float16", "flushes": None, "fma": None},
    ),
    "float64 sums of bfloat16": (
        BRAIN, Kernel(lanes(8), accumulator=F64), {"accumulator": "float64", "order": "lanes", "block": 8, "fma": None},
    ),
}  # fmt: skip

UNKNOWN: dict[str, tuple[str, Callable[..., Array], dict[str, Any]]] = {
    "an own sum of the tail": (ODD, Kernel(with_own_tail(8)), {"order": "unknown", "innermost": None}),
    "Kahan between blocks": (CASE, Kernel(kahan_of_blocks), NO_ORDER | {"accumulator": "unknown", "between_blocks": "float32"}),
    "Neumaier": (
        CASE, Kernel(neumaier),
        NO_ORDER | {"accumulator": "unknown", "accumulator_rounding": "unknown", "overflow": "unknown", "negative_zero": "lost"},
    ),
    "products of bfloat16": (CASE, Kernel(products=to_bits(8)), {"inputs": "unknown", "fma": None}),
    "products cut to TF32": (CASE, Kernel(products=cut(11)), {"inputs": "unknown", "fma": None}),
    "every other product fused": (CASE, fused_every_other, {"fma": None, "negative_zero": "lost"}),
    "sorted by magnitude": (CASE, Kernel(by_magnitude), NO_ORDER),
    "signs apart": (CASE, Kernel(signs_apart), NO_ORDER | {"negative_zero": "lost"}),
    "operands in two parts": (CASE, in_parts(2), NO_SUM_OF_PRODUCTS | {"negative_zero": "lost"}),
    "operands in three parts": (CASE, in_parts(3), NO_SUM_OF_PRODUCTS | {"negative_zero": "lost"}),
    "results rounded twice": (CASE, Kernel(accumulator=F64, store=to_bits(26)), NO_SUM_OF_PRODUCTS | {"accumulator": "float64"}),
    "fixed point": (
        CASE, in_fixed_point,
        dict.fromkeys(("order", "accumulator", "accumulator_rounding", "between_blocks", "inputs", "outputs", "output_rounding"), "unknown")
        | {"fma": None, "flushes": None, "innermost": None, "negative_zero": "lost"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TOLD)
def test_what_is_told_is_right(name: str) -> None:
    """Every field of such a kernel's sheet is what it was written with, and nothing was not understood."""
    case, kernel, differs = TOLD[name]
    wanted = {**PLAIN, **differs}
    assert fields_of(kernel, case, wanted) == (wanted, [])


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_cannot_be_told_is_unknown(name: str) -> None:
    """No field is wrong where the probes were made for another kind of sum: those in doubt are unknown, and the rest is right."""
    case, kernel, differs = UNKNOWN[name]
    wanted = {**PLAIN, **differs}
    assert fields_of(kernel, case, wanted)[0] == wanted


@pytest.mark.parametrize(
    ("accumulator", "told"), [(F64, "float64"), (np.longdouble, "more than 54 bits"), (np.float32, "float32"), (F16, "float16")]
)
def test_a_wide_accumulator_of_float16(accumulator: Any, told: str) -> None:
    """Products reach over so many binades that float64 shows in a layer of float16, and that anything wider is not taken for it."""
    if accumulator is np.longdouble and np.finfo(np.longdouble).nmant < 60:
        told = "float64"  # the platform has nothing wider
    sheet = reveal(backend(Kernel(lanes(4), accumulator=accumulator)), HALF, invariance=False, advice=False)
    assert sheet.accumulator == told


def test_a_narrow_view_is_no_claim() -> None:
    """Where results are flushed, the smallest products do not come out, and float64 is told as what was seen of it."""

    def flushes(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        y = Kernel(accumulator=F64)(x, w, b, config)
        return np.where(np.abs(y) < 2.0**-14, y.dtype.type(0), y)

    sheet = reveal(backend(flushes), HALF, invariance=False, advice=False)
    assert sheet.accumulator == "more than 44 bits"


def test_rounded_products_are_declared() -> None:
    """A sum in float64 of products that were rounded to float32 is declared as one in float32."""
    element = Element(backend(rounded_products(F64)), Case.parse(CASE).config)
    formats = measure_formats(element, Notes())
    assert formats.holds_products_of(FLOATS["float32"])
    given = {"transform": False, "bias": "last", "repeats": True}
    assert narrowest_numerics(formats, element.config, Numerics(), **given, rounded_products=True) == Numerics()  # type: ignore[arg-type]
    assert narrowest_numerics(formats, element.config, Numerics(), **given) == Numerics(accumulator="float64")  # type: ignore[arg-type]


def test_chance_is_told_from_a_rule() -> None:
    """A rounding is stochastic where like numbers go either way, and unknown where they all go one way that no rule has."""
    exact = [m + f for m in range(8) for f in (0.25, 0.5, 0.75)]
    assert rule_of({e: np.rint(e) for e in exact}) == "nearest-even"
    assert rule_of({e: float(np.ceil(e) if e % 1 == 0.25 else np.floor(e)) for e in exact}) == "unknown"
    assert rule_of({e: float(np.ceil(e) if e > 4 else np.floor(e)) for e in exact}) == "stochastic"
    assert rule_of({e: e for e in exact}) == "unknown"
