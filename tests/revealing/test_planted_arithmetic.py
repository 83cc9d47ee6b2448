"""Kernels whose arithmetic is known: every field of their sheet is right, or says that it is not known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from convfuzz import ConvConfig
from convfuzz.revealing.measurement import reveal

from .kernels import (
    Array,
    Kernel,
    away,
    backend,
    backwards,
    blocked,
    by,
    cut,
    flushed,
    halves,
    lanes,
    pairwise,
    ragged,
    sequential,
    shuffled,
    split,
    stochastic,
    to_bits,
    windows,
)  # fmt: skip

F64, F16, BF16 = np.float64, np.float16, ml_dtypes.bfloat16
CASE = "conv2d_n24_c16_o1_i3_k3_b_f32"
PLAIN: Mapping[str, Any] = {
    "order": "sequential", "block": None, "innermost": "column", "fma": False, "accumulator": "float32",
    "accumulator_rounding": "nearest-even", "between_blocks": "none seen", "inputs": "exact", "outputs": "exact",
    "output_rounding": "nearest-even", "bias": "last", "flushes": (), "overflow": "infinite", "negative_zero": "kept",
}  # fmt: skip
"""The sheet of ``Kernel()``; products of 16-bit types are exact in float32, so that nobody can tell whether they are rounded."""

ORDERS: dict[str, tuple[Kernel, dict[str, Any]]] = {
    "sequential": (Kernel(), {}),
    "sequential, bias first": (Kernel(bias="first"), {"bias": "first"}),
    "reversed": (Kernel(backwards), {"order": "reversed"}),
    "channel innermost": (Kernel(by((1, 2, 0), (16, 3, 3), sequential)), {"innermost": "channel"}),
    "row innermost": (Kernel(by((0, 2, 1), (16, 3, 3), sequential)), {"innermost": "row"}),
    "pairwise": (Kernel(pairwise), {"order": "pairwise"}),
    "halves": (Kernel(halves), {"order": "pairwise", "innermost": None}),
    "4 lanes": (Kernel(lanes(4)), {"order": "lanes", "block": 4}),
    "8 lanes, in sequence": (Kernel(lanes(8, sequential)), {"order": "lanes", "block": 8}),
    "16 lanes": (Kernel(lanes(16), bias="first"), {"order": "lanes", "block": 16, "bias": "first"}),
    "8 lanes of channels": (Kernel(by((1, 2, 0), (16, 3, 3), lanes(8))), {"order": "lanes", "block": 8, "innermost": "channel"}),
    "2 parts": (Kernel(split(2)), {"order": "split", "block": 2}),
    "4 parts": (Kernel(split(4)), {"order": "split", "block": 4}),
    "7 uneven parts": (Kernel(split(7)), {"order": "split", "block": 7}),
    "8 parts, in sequence": (Kernel(split(8, sequential)), {"order": "split", "block": 8}),
    "blocks of 8": (Kernel(blocked(8)), {"order": "blocked", "block": 8}),
    "blocks of 9, bias first": (Kernel(blocked(9), bias="first"), {"order": "blocked", "block": 9, "bias": "first"}),
    "shuffled": (Kernel(shuffled), {"innermost": None}),
    "no name": (Kernel(ragged), {"order": "unknown", "innermost": None}),
}  # fmt: skip

FORMATS: dict[str, tuple[Kernel, dict[str, Any]]] = {
    "fused": (Kernel(fma=True), {"fma": True, "negative_zero": "lost"}),
    "in float64": (Kernel(accumulator=F64), {"accumulator": "float64", "fma": None}),
    "in float16": (Kernel(accumulator=F16), {"accumulator": "float16", "fma": None, "inputs": "unknown", "flushes": None}),
    "in bfloat16": (Kernel(accumulator=BF16), {"accumulator": "bfloat16", "fma": None, "inputs": "unknown"}),
    "TF32": (Kernel(inputs=to_bits(11)), {"inputs": "tfloat32", "fma": None}),
    "TF32, truncated": (Kernel(inputs=cut(11)), {"inputs": "tfloat32-truncated", "fma": None}),
    "bfloat16 inputs": (Kernel(inputs=to_bits(8)), {"inputs": "bfloat16", "fma": None}),
    "bfloat16 inputs, truncated": (Kernel(inputs=cut(8)), {"inputs": "bfloat16-truncated", "fma": None}),
    "bfloat16 weights": (Kernel(inputs=to_bits(24), weights=to_bits(8)), {"inputs": "x exact, w bfloat16", "fma": None}),
    "truncating store": (Kernel(accumulator=F64, store=cut(24)), {"accumulator": "float64", "fma": None, "output_rounding": "truncation"}),
    "ties away": (Kernel(accumulator=F64, store=away(24)), {"accumulator": "float64", "fma": None, "output_rounding": "half-away"}),
    "truncating adder": (
        Kernel(accumulator=F64, sums=cut(24)),  # products are exact in it, as in a fused multiply-add
        {"fma": True, "accumulator_rounding": "truncation", "output_rounding": "truncation"},
    ),
    "stored in bfloat16": (Kernel(store=to_bits(8)), {"outputs": "bfloat16"}),
    "stored in bfloat16, truncated": (Kernel(store=cut(8)), {"outputs": "bfloat16", "output_rounding": "truncation"}),
    "flushed inputs": (Kernel(inputs=flushed(np.float32)), {"flushes": ("inputs",)}),
    "flushed products": (Kernel(products=flushed(np.float32)), {"flushes": ("products",)}),
    "flushed results": (Kernel(results=flushed(np.float32)), {"flushes": ("results",)}),
    "saturating": (Kernel(accumulator=F64, saturates=True), {"accumulator": "float64", "fma": None, "overflow": "saturates"}),
}  # fmt: skip

NARROW: dict[str, tuple[str, Kernel, dict[str, Any]]] = {
    "float64": ("f64", Kernel(lanes(8), accumulator=F64), {"accumulator": "float64", "order": "lanes", "block": 8, "fma": False}),
    "float16 in float32": ("f16", Kernel(lanes(8)), {"order": "lanes", "block": 8}),
    "float16, separate bias": ("f16", Kernel(bias="separate"), {"bias": "separate"}),
    "float16 in float16": ("f16", Kernel(accumulator=F16), {"accumulator": "float16", "fma": False}),
    "float16, fused": ("f16", Kernel(fma=True, accumulator=F16), {"accumulator": "float16", "fma": True, "negative_zero": "lost"}),
    "float16, truncating store": ("f16", Kernel(store=cut(11)), {"output_rounding": "truncation"}),
    "float16 in float64": (
        "f16", Kernel(accumulator=F64),
        {"accumulator": "float64", "order": "unknown", "bias": None, "innermost": None, "accumulator_rounding": "unknown"},
    ),
    "bfloat16 in float32": ("bf16", Kernel(pairwise), {"order": "pairwise"}),
    "bfloat16, separate bias": ("bf16", Kernel(bias="separate"), {"bias": "separate"}),
    "bfloat16 in bfloat16": ("bf16", Kernel(accumulator=BF16), {"accumulator": "bfloat16", "fma": False}),
    "bfloat16 in float64": ("bf16", Kernel(split(2), accumulator=F64), {"accumulator": "float64", "order": "split", "block": 2}),
}  # fmt: skip


def fields_of(kernel: Callable[..., Array], case: str, wanted: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of a kernel's sheet that are asked for, and what was not understood."""
    sheet = reveal(backend(kernel), case, invariance=False, advice=False)
    return {name: getattr(sheet, name) for name in wanted}, sheet.notes.not_understood


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_is_found(name: str) -> None:
    """The order of a sum, its k and its innermost axis are those that the kernel was written with, and so is everything else."""
    kernel, differs = ORDERS[name]
    wanted = {**PLAIN, **differs}
    assert fields_of(kernel, CASE, wanted) == (wanted, [])


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_found(name: str) -> None:
    """The accumulator, the roundings, what is flushed and what overflows are those that the kernel was written with."""
    kernel, differs = FORMATS[name]
    wanted = {**PLAIN, **differs}
    assert fields_of(kernel, CASE, wanted) == (wanted, [])


@pytest.mark.parametrize("name", NARROW)
def test_another_dtype_is_measured(name: str) -> None:
    """So they are in float64, float16 and bfloat16; where the range hides what is asked, the field says that it is not known."""
    dtype, kernel, differs = NARROW[name]
    wanted = {**PLAIN, "fma": None, **differs}
    assert fields_of(kernel, CASE.replace("f32", dtype), wanted) == (wanted, [])


def fused_lanes(count: int) -> Callable[..., Array]:
    """Return a kernel of so many lanes, each a chain of fused multiply-adds, as a vector loop has them."""

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        read, weights = windows(x.astype(np.float64), w.astype(np.float64), config)
        sums = [np.zeros(np.broadcast_shapes(read[:, :, 0].shape, weights[:, :, 0].shape), np.float32) for _ in range(count)]
        for t in range(read.shape[2]):
            sums[t % count] = (read[:, :, t] * weights[:, :, t] + sums[t % count]).astype(np.float32)
        total = sequential(sums, np.add)
        return (total if b is None else total + b[None, :, None]).reshape(len(x), len(w), *config.output_size)

    return kernel


def at_once(count: int, bits: int) -> Callable[..., Array]:
    """Return a kernel that adds so many products to the sum so far at once, cut to the bits of the largest, as a tensor core does."""

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        read, weights = windows(x.astype(np.float64), w.astype(np.float64), config)
        products = read * weights
        total = np.zeros(products[:, :, 0].shape)
        for first in range(0, products.shape[2], count):
            terms = np.concatenate([total[:, :, None], products[:, :, first : first + count]], axis=2)
            _, exponent = np.frexp(np.abs(terms).max(axis=2))
            cut_off = np.trunc(np.ldexp(terms, bits - exponent[:, :, None]))
            total = np.ldexp(cut_off.sum(axis=2), exponent - bits).astype(np.float32).astype(np.float64)
        return (total if b is None else total + b[None, :, None]).astype(x.dtype).reshape(len(x), len(w), *config.output_size)

    return kernel


def begun_blocks(size: int) -> Callable[..., Array]:
    """Return a kernel whose sums begin with the bias, to which blocks of products are added."""

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        read, weights = windows(x, w, config)
        products = [read[:, :, t] * weights[:, :, t] for t in range(read.shape[2])]
        total = np.zeros_like(products[0]) + (np.float32(0) if b is None else b[None, :, None])
        for first in range(0, len(products), size):
            total = total + sequential(products[first : first + size], np.add)
        return total.reshape(len(x), len(w), *config.output_size)

    return kernel


@pytest.mark.parametrize(
    ("kernel", "case", "wanted"),
    [
        (fused_lanes(8), CASE, {"order": "lanes", "block": 8, "fma": True, "bias": "last"}),
        (fused_lanes(16), CASE.replace("c16", "c15"), {"order": "lanes", "block": 16, "fma": True, "bias": "last"}),
        (at_once(4, 24), CASE, {"order": "blocked", "block": 4, "fma": None, "accumulator_rounding": "truncation"}),
        (at_once(8, 24), CASE.replace("f32", "f16"), {"order": "blocked", "block": 8, "fma": None, "accumulator": "float32"}),
        (begun_blocks(9), CASE, {"order": "blocked", "block": 9, "fma": False, "bias": "first"}),
        (begun_blocks(36), CASE, {"order": "blocked", "block": 36, "fma": False, "bias": "first"}),
    ],
)
def test_arithmetic_of_hardware_is_found(kernel: Callable[..., Array], case: str, wanted: dict[str, Any]) -> None:
    """Lanes of fused multiply-adds, sums of many terms at once, and accumulators that begin with the bias are told as such."""
    assert fields_of(kernel, case, wanted) == (wanted, [])


def test_a_stochastic_store_is_told_as_such() -> None:
    """A store that rounds up with a probability is neither nearest nor truncation."""
    sheet = reveal(backend(Kernel(accumulator=F64, store=stochastic(24))), "conv1d_n2_c16_o1_i1_k1_f32", invariance=False, advice=False)
    assert (sheet.output_rounding, sheet.accumulator, sheet.inputs) == ("stochastic", "float64", "exact")


def test_blocks_that_round_are_seen() -> None:
    """Where blocks are summed in float32 and their sums in bfloat16, both are told."""
    narrow = to_bits(8)

    def order(terms: list[Any], add: Any) -> Any:
        blocks = [narrow(sequential(terms[at : at + 12], add)) for at in range(0, len(terms), 12)]
        return sequential(blocks, lambda one, other: narrow(add(one, other)))

    sheet = reveal(backend(Kernel(order)), "conv2d_n24_c16_o1_i3_k3_bf16", invariance=False, advice=False)
    assert (sheet.order, sheet.block, sheet.between_blocks, sheet.accumulator) == ("blocked", 12, "bfloat16", "float32")
    assert any("8 bits at some places and in 24 at others" in line for line in sheet.notes.inferred)
