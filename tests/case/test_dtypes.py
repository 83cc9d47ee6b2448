"""Rounding into each floating-point format, against NumPy's and ml_dtypes' casts and against exact neighbours."""

from __future__ import annotations

import itertools
import struct
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from convfuzz.case.config import DTYPES, ITEMSIZE
from convfuzz.case.dtypes import FLOATS, dtype_name, numpy_dtype

Floats = npt.NDArray[np.float64]


def every_finite(name: str) -> Floats:
    """Return every finite non-negative number of a 16-bit format, in order."""
    bits = np.arange(0x7C00 if name == "float16" else 0x7F80, dtype=np.uint16)
    return bits.view(numpy_dtype(name)).astype(np.float64)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_every_midpoint_goes_to_the_even_neighbour(name: str) -> None:
    """Between any two neighbours of a 16-bit format the exact midpoint goes to the even one, and what is beside it to its own side."""
    values = every_finite(name)
    low, high = values[:-1], values[1:]
    middle = (low + high) / 2.0
    even = np.where(np.arange(low.size) % 2 == 0, low, high)
    form = FLOATS[name]
    for sign in (1.0, -1.0):
        np.testing.assert_array_equal(form.round(sign * middle), sign * even)
        np.testing.assert_array_equal(form.round(sign * np.nextafter(middle, -np.inf)), sign * low)
        np.testing.assert_array_equal(form.round(sign * np.nextafter(middle, np.inf)), sign * high)
        np.testing.assert_array_equal(form.round(sign * values), sign * values)


def test_float16_is_numpys_cast() -> None:
    """Rounding to float16 gives NumPy's bits on midpoints, their neighbours and random numbers, signed zeros included."""
    values = every_finite("float16")
    middle = (values[:-1] + values[1:]) / 2.0
    rng = np.random.default_rng(1)
    drawn = rng.standard_normal(100_000) * np.exp2(rng.integers(-30, 20, 100_000))
    hard = np.concatenate([middle, np.nextafter(middle, 0.0), np.nextafter(middle, np.inf), drawn, [65519.999, 65520.0, 1e5, 1e308]])
    hard = np.concatenate([hard, -hard, [0.0, -0.0, np.inf, -np.inf]])
    with np.errstate(over="ignore", under="ignore"):
        cast = hard.astype(np.float16)
    assert np.array_equal(FLOATS["float16"].round(hard).astype(np.float16).view(np.uint16), cast.view(np.uint16))


def test_bfloat16_is_the_cast_of_ml_dtypes() -> None:
    """Rounding numbers of float32 to bfloat16 gives the bits of ml_dtypes, which rounds those once."""
    rng = np.random.default_rng(2)
    bits = rng.integers(0, 2**32, 200_000, dtype=np.uint32)
    ties = (bits & np.uint32(0xFFFF0000)) | np.uint32(0x8000)
    single = np.concatenate([bits, ties]).view(np.float32)
    single = single[~np.isnan(single)]
    with np.errstate(over="ignore"):
        rounded = FLOATS["bfloat16"].round(single.astype(np.float64))
    assert np.array_equal(rounded, single.astype(ml_dtypes.bfloat16).astype(np.float64))


def test_bfloat16_is_rounded_once() -> None:
    """Just above a midpoint, where going through float32 loses the difference and rounds to even, rounding goes up."""
    value = np.array([1.0 + 2.0**-8 + 2.0**-40])
    assert float(np.float32(value[0])) == 1.0 + 2.0**-8
    assert FLOATS["bfloat16"].round(value)[0] == 1.0 + 2.0**-7


def test_float32_is_numpys_cast() -> None:
    """Rounding to float32 gives NumPy's bits on ties and random numbers, over the whole range and beyond both ends of it."""
    rng = np.random.default_rng(3)
    bits = rng.integers(0, 0x7F7FFFFF, 100_000, dtype=np.uint32)
    low, high = bits.view(np.float32).astype(np.float64), (bits + np.uint32(1)).view(np.float32).astype(np.float64)
    middle = (low + high) / 2.0
    drawn = rng.standard_normal(100_000) * np.exp2(rng.integers(-160, 140, 100_000))
    hard = np.concatenate([low, middle, np.nextafter(middle, 0.0), np.nextafter(middle, np.inf), drawn, -middle, -drawn])
    with np.errstate(over="ignore", under="ignore"):
        cast = hard.astype(np.float32).astype(np.float64)
    np.testing.assert_array_equal(FLOATS["float32"].round(hard), cast)


def test_float64_stays() -> None:
    """float64 is its own rounding: nothing changes, from the smallest subnormal to the largest number."""
    bits = np.random.default_rng(4).integers(0, 2**64, 200_000, dtype=np.uint64).view(np.float64)
    values = np.concatenate([bits[np.isfinite(bits)], [5e-324, -5e-324, np.finfo(np.float64).max, np.finfo(np.float64).tiny]])
    np.testing.assert_array_equal(FLOATS["float64"].round(values), values)


def test_tfloat32_keeps_ten_bits_of_a_float32() -> None:
    """TF32 is float32 without the low 13 bits of the significand, rounded to nearest even."""
    bits = np.random.default_rng(5).integers(0, 0x7F000000, 100_000, dtype=np.uint32)
    bits = np.concatenate([bits, (bits & np.uint32(0xFFFFE000)) | np.uint32(0x1000)])
    kept = (bits + np.uint32(0xFFF) + ((bits >> np.uint32(13)) & np.uint32(1))) & np.uint32(0xFFFFE000)
    rounded = FLOATS["tfloat32"].round(bits.view(np.float32).astype(np.float64))
    np.testing.assert_array_equal(rounded, kept.view(np.float32).astype(np.float64))


@pytest.mark.parametrize("name", FLOATS)
def test_overflow_and_specials(name: str) -> None:
    """The largest number stays; half a unit beyond it is ±Inf; NaN, ±Inf and the sign of zero stay."""
    form = FLOATS[name]
    assert form.round(np.array([form.max, -form.max])).tolist() == [form.max, -form.max]
    if name != "float64":
        half = (form.max - form.round(np.array([np.nextafter(form.max * (1.0 - form.unit_roundoff), 0.0)]))[0]) / 2.0
        assert form.round(np.array([form.max + half, -form.max - half])).tolist() == [np.inf, -np.inf]
        assert form.round(np.array([np.nextafter(form.max + half, 0.0)]))[0] == form.max
    assert form.round(np.array([np.inf, -np.inf])).tolist() == [np.inf, -np.inf]
    assert np.isnan(form.round(np.array([np.nan]))[0])
    assert struct.pack("<d", form.round(np.array([-0.0]))[0]) == struct.pack("<d", -0.0)
    below = form.round(np.array([-form.smallest_subnormal / 4.0]))[0]
    assert below == 0.0
    assert np.signbit(below)


@pytest.mark.parametrize("name", ["float64", "float32", "float16", "bfloat16"])
def test_constants(name: str) -> None:
    """The constants of a format are those of ml_dtypes' finfo, which knows NumPy's formats too."""
    form = FLOATS[name]
    finfo: Any = ml_dtypes.finfo(numpy_dtype(name))  # type: ignore[no-untyped-call]
    assert form.unit_roundoff == float(finfo.eps) / 2.0
    assert form.tiny == float(finfo.tiny)
    assert form.smallest_subnormal == float(finfo.smallest_subnormal)
    assert form.max == float(finfo.max)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_exact_integers(name: str) -> None:
    """Every integer up to the limit is representable, and the next one is not."""
    form = FLOATS[name]
    integers = np.arange(form.exact_integers + 1.0)
    np.testing.assert_array_equal(form.round(integers), integers)
    assert form.round(np.array([form.exact_integers + 1.0]))[0] != form.exact_integers + 1.0


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_spacing_is_the_distance_to_the_next_number(name: str) -> None:
    """At every number of a 16-bit format, and anywhere up to the next, a unit in the last place is the distance between the two."""
    values = every_finite(name)
    distance = np.diff(values)
    form = FLOATS[name]
    for between, sign in itertools.product((0.0, 0.25, 0.5, 0.75), (1.0, -1.0)):
        np.testing.assert_array_equal(form.spacing(sign * (values[:-1] + between * distance)), distance)


def test_spacing_of_float64() -> None:
    """float64's spacing is NumPy's, down to the smallest subnormal."""
    bits = np.random.default_rng(6).integers(0, 0x7FEFFFFFFFFFFFFF, 100_000, dtype=np.uint64).view(np.float64)
    values = np.concatenate([bits, [0.0, 5e-324, 1.0, 2.0**-1022]])
    np.testing.assert_array_equal(FLOATS["float64"].spacing(values), np.spacing(values))


@pytest.mark.parametrize("name", DTYPES)
def test_names(name: str) -> None:
    """A case's dtype has a NumPy dtype of that name and item size."""
    assert dtype_name(numpy_dtype(name)) == name
    assert numpy_dtype(name).itemsize == ITEMSIZE[name]
