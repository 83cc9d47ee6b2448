"""Kernels whose arithmetic of integers or of complex numbers is another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .dense import finish, layer, layer_total, plus_bias
from .registry import BOTH, COMPLEX, planted

if TYPE_CHECKING:
    from convfuzz import ConvConfig

    from .receptive_field import Array


def wrapped(values: Array, bits: int) -> Array:
    """Return whole numbers in float64 modulo 2^bits, as int64 from -2^(bits-1) to below 2^(bits-1)."""
    span = 2.0**bits
    whole = np.rint(values)
    whole -= span * np.rint(whole / span)
    words: Array = np.where(whole >= span / 2, whole - span, whole).astype(np.int64)
    return words


# -- integers -----------------------------------------------------------------------------------------------------


@planted("wrong", trigger="int8, results beyond int8", ops=BOTH, dtypes=("int8",))
def int8_result_saturates(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Ends at the largest or smallest int8 where the sum wraps around."""
    return finish(np.clip(plus_bias(layer_total(x, w, config), b), -128, 127), None, config, x.dtype)


@planted("wrong", trigger="int8, sums beyond 16 bits", ops=BOTH, dtypes=("int8",))
def int8_accumulator_saturates(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Keeps the sum of int8 products in 16 bits that saturate, and wraps only the result."""
    return finish(np.clip(layer_total(x, w, config), -(2**15), 2**15 - 1), b, config, x.dtype)


@planted("wrong", trigger="int32, sums beyond 2^24", ops=BOTH, dtypes=("int32",))
def int32_summed_in_float32(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Sums products of int32 in float32."""
    return finish(wrapped(layer_total(x, w, config, dtype=np.float32).astype(float), 32), b, config, x.dtype)


@planted("wrong", trigger="int64, sums beyond 2^53", ops=BOTH, dtypes=("int64",))
def int64_summed_in_float64(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Sums products of int64 in float64."""
    return finish(wrapped(layer_total(x, w, config, dtype=np.float64), 64), b, config, x.dtype)


# -- complex numbers ----------------------------------------------------------------------------------------------


@planted("wrong", trigger="complex", ops=BOTH, dtypes=COMPLEX)
def weight_conjugated(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Multiplies with the weight's conjugate, as correlation is defined in signal processing."""
    return layer(x, np.conj(w), b, config)


@planted("wrong", trigger="complex, bias", ops=BOTH, dtypes=COMPLEX)
def imaginary_bias_dropped(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Adds the real part of the bias only."""
    return layer(x, w, None if b is None else b.real, config)


@planted("wrong", trigger="complex", ops=BOTH, dtypes=COMPLEX)
def imaginary_product_added(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Adds the product of the imaginary parts where it has to be subtracted."""
    real = layer_total(x.real, w.real, config) + layer_total(x.imag, w.imag, config)
    imaginary = layer_total(x.real, w.imag, config) + layer_total(x.imag, w.real, config)
    return finish(real + 1j * imaginary, b, config, x.dtype)


@planted("imprecise", "wrong", "non-finite", trigger="complex128; data beyond float32's range overflow", ops=BOTH, dtypes=COMPLEX)
def complex128_in_complex64(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Computes a layer of complex128 in complex64."""
    return finish(layer_total(x, w, config, dtype=np.complex64), b, config, x.dtype)
