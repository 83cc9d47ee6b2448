"""The tensors of a case: regimes of values, drawn by counter so that the same recipe gives the same bytes everywhere.

Element ``i`` of a tensor is a function of (seed, tensor, i) alone: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) as a
counter-based generator in integer arithmetic, then exact or once-rounded float64 operations. No library's random
state, no transcendental function and no platform's ``libm`` has a part in it. The module needs NumPy only (and
ml_dtypes for bfloat16), so that a reproduction script can carry its source.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz.case import Case
from convfuzz.config import ConvConfig
from convfuzz.dtypes import FLOATS, FloatFormat, numpy_dtype
from convfuzz.errors import Unsupported

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]

_GOLDEN = 0x9E3779B97F4A7C15
_DRAWS = 8
_ROLES = {"x": 1, "w": 2, "b": 3, "dy": 4, "special": 5, "kept": 6}


@dataclass(frozen=True, slots=True)
class Tensors:
    """``x`` of the case's input shape, ``w`` of its weight shape and ``b`` of shape (out,) or ``None``, in its dtype and layout."""

    x: Array
    w: Array
    b: Array | None

    def views(self) -> Tensors:
        """Return views of the same memory, so that who changes their shape in place changes nobody else's."""
        return Tensors(self.x.view(), self.w.view(), None if self.b is None else self.b.view())

    def named(self) -> dict[str, Array]:
        """Return the tensors that exist, by name."""
        named = {"x": self.x, "w": self.w}
        return named if self.b is None else named | {"b": self.b}


def make_tensors(case: Case) -> Tensors:
    """Fill the tensors of ``case``.

    Raises:
        Unsupported: the regimes do not cover the dtype.
    """
    config = case.config
    if config.dtype not in FLOATS:
        raise Unsupported(f"dtype {config.dtype} has no data regimes")
    values = _VALUES[case.recipe.regime](config, case.recipe.seed)
    if not config.bias:
        values.pop("b", None)
    placed = {name: _place(_cast(v, config.dtype), config, name) for name, v in values.items()}
    return Tensors(placed["x"], placed["w"], placed.get("b"))


# -- numbers from counters ----------------------------------------------------------------------------------------


def _mix(z: Words) -> Words:
    """Mix each word of ``z`` in place."""
    shifted = z >> np.uint64(30)
    for multiplier, shift in ((0xBF58476D1CE4E5B9, 27), (0x94D049BB133111EB, 31)):
        z ^= shifted
        z *= np.uint64(multiplier)
        np.right_shift(z, np.uint64(shift), out=shifted)
    z ^= shifted
    return z


def words(seed: int, role: str, count: int) -> Words:
    """Return ``count`` 64-bit words that depend on ``seed``, ``role`` and their index only."""
    with np.errstate(over="ignore"):
        key = _mix(_mix(np.array([seed], dtype=np.uint64) + np.uint64(_GOLDEN)) + np.uint64(_ROLES[role]))
        counters = np.arange(1, count + 1, dtype=np.uint64)
        counters *= np.uint64(_GOLDEN)
        counters += key
        return _mix(counters)


def _normal(seed: int, role: str, shape: tuple[int, ...]) -> Floats:
    # Irwin-Hall: four 16-bit uniforms summed; integers, so exact. The range is ±2·sqrt(3) standard deviations.
    sums = words(seed, role, math.prod(shape))
    for bits, low in ((16, 0x0000FFFF0000FFFF), (32, 0x00000000FFFFFFFF)):  # two sums in each word, then the sum of both
        high = sums >> np.uint64(bits)
        high &= np.uint64(low)
        sums &= np.uint64(low)
        sums += high
    centred = sums.astype(np.float64)
    centred -= 2 * 65535
    centred *= math.sqrt(3.0) / 65536.0
    return centred.reshape(shape)


def _uniform(seed: int, role: str, shape: tuple[int, ...]) -> Floats:
    """Return values on (0, 1], multiples of 2^-32."""
    top = words(seed, role, math.prod(shape)) >> np.uint64(32)
    return ((top.astype(np.float64) + 1.0) * 2.0**-32).reshape(shape)


def _nonzero_integers(seed: int, role: str, shape: tuple[int, ...], most: int) -> Floats:
    """Return values of ±1 … ±most; ``most`` is a power of two."""
    bits = words(seed, role, math.prod(shape))
    magnitude = ((bits >> np.uint64(8)) & np.uint64(most - 1)).astype(np.float64) + 1.0
    return np.where(bits & np.uint64(1), magnitude, -magnitude).reshape(shape)


# -- regimes --------------------------------------------------------------------------------------------------------

Values = dict[str, Floats]


def _integer_range(config: ConvConfig) -> tuple[int, int]:
    """Return the largest magnitude of an integer, and how many taps of that size certainly sum exactly with a bias."""
    limit = int(FLOATS[config.dtype].exact_integers)
    most = 8 if limit >= 2**24 else 4 if limit >= 2**11 else 2
    return most, (limit - most) // (most * most)


def integer_draws(config: ConvConfig) -> int:
    """Return how many seeds in a row, from a multiple of 8 on, show every tap in the ``integers`` regime; 8 at most."""
    _, fitting = _integer_range(config)
    return min(-(-config.taps // fitting), _DRAWS) if config.taps > fitting else 1


def _integers(config: ConvConfig, seed: int) -> Values:
    """Integers for which S = Σ|p| ≤ 2^precision is certain, so that any order of summation is exact.

    Where dense weights would exceed that, each output kernel keeps only as many taps as fit: a share of them, in an order
    drawn for every eight seeds, so that neighbouring seeds keep different ones.
    """
    most, fitting = _integer_range(config)
    w = _nonzero_integers(seed, "w", config.weight_shape, most)
    if config.taps > fitting and w.size:
        by_kernel = rows_per_output_kernel(np.arange(w.size).reshape(w.shape), config)
        order = words(seed // _DRAWS, "kept", w.size).reshape(by_kernel.shape).argsort(axis=1, kind="stable")
        first = min(seed % _DRAWS % integer_draws(config) * fitting, config.taps - fitting)
        dropped = np.concatenate([order[:, :first], order[:, first + fitting :]], axis=1)
        w.reshape(-1)[np.take_along_axis(by_kernel, dropped, axis=1)] = 0.0
    return {
        "x": _nonzero_integers(seed, "x", config.input_shape, most),
        "w": w,
        "b": _nonzero_integers(seed, "b", (config.out_channels,), most),
    }


def rows_per_output_kernel(w: Array, config: ConvConfig) -> Array:
    """Return a weight-shaped array as (out, taps): one row per output channel."""
    if config.op == "conv":
        return w.reshape(config.out_channels, config.taps)
    per_group = w.reshape(config.groups, config.in_channels // config.groups, w.shape[1], math.prod(config.kernel_size))
    return per_group.transpose(0, 2, 1, 3).reshape(config.out_channels, config.taps)


def _normals(config: ConvConfig, seed: int) -> Values:
    return {
        "x": _normal(seed, "x", config.input_shape),
        "w": _normal(seed, "w", config.weight_shape),
        "b": _normal(seed, "b", (config.out_channels,)),
    }


def _positive(config: ConvConfig, seed: int) -> Values:
    return {
        "x": _uniform(seed, "x", config.input_shape),
        "w": _uniform(seed, "w", config.weight_shape),
        "b": _uniform(seed, "b", (config.out_channels,)),
    }


def _cancellation(config: ConvConfig, seed: int) -> Values:
    """Weights of ±1, half of each kernel's taps negative, so that sums nearly vanish.

    Which half is drawn: signs that follow the order of the taps would be data that depend on a kernel's order of
    summation, and then no order-free bound holds.
    """
    values = _normals(config, seed)
    sign = np.ones(values["w"].size)
    if sign.size:
        by_kernel = rows_per_output_kernel(np.arange(sign.size).reshape(config.weight_shape), config)
        rank = words(seed, "kept", sign.size).reshape(by_kernel.shape)
        sign[by_kernel[rank < np.partition(rank, config.taps // 2, axis=1)[:, [config.taps // 2]]]] = -1.0
    return {
        "x": 1.0 + values["x"] * 2.0**-6,
        "w": sign.reshape(config.weight_shape) * (1.0 + values["w"] * 2.0**-6),
        "b": values["b"] * 2.0**-6,
    }


def _scaled(config: ConvConfig, seed: int, scale: float) -> Values:
    values = _normals(config, seed)
    return {"x": values["x"] * scale, "w": values["w"] * scale, "b": values["b"] * scale**2}


def _tiny(config: ConvConfig, seed: int) -> Values:
    return _scaled(config, seed, 2.0 ** (FLOATS[config.dtype].emin // 5))


def _huge(config: ConvConfig, seed: int) -> Values:
    form = FLOATS[config.dtype]
    if form.name != "float16":
        return _scaled(config, seed, 2.0 ** (form.emax // 5))  # a fifth: the squares of float64 products stay finite
    # |y| is about sqrt(taps)·scale²: bring that to half of the largest float16, so that some sums overflow it.
    return _scaled(config, seed, math.sqrt(form.max / 2.0 / math.sqrt(config.taps + 1)))


def _sparse(config: ConvConfig, seed: int) -> Values:
    values = _normals(config, seed)
    kept = words(seed, "kept", values["x"].size).reshape(config.input_shape) % np.uint64(5) == 0
    values["x"] = np.where(kept, values["x"], 0.0)
    return values


def _one_hot(config: ConvConfig, seed: int) -> Values:
    values = _normals(config, seed)
    x = np.zeros(config.input_shape)
    if x.size:
        x.reshape(-1)[int(words(seed, "special", 1)[0] % np.uint64(x.size))] = 1.0
    return values | {"x": x}


def _subnormal(config: ConvConfig, seed: int) -> Values:
    form = FLOATS[config.dtype]
    steps = 2.0 ** (form.precision - 1)  # there are this many subnormal steps below the smallest normal number
    w = _uniform(seed, "w", config.weight_shape) + 0.5
    sign = 1.0 - 2.0 * (words(seed, "kept", w.size).reshape(w.shape) & np.uint64(1)).astype(np.float64)
    return {
        "x": np.floor(_uniform(seed, "x", config.input_shape) * steps) * form.smallest_subnormal,
        "w": w * sign,
        "b": np.floor(_uniform(seed, "b", (config.out_channels,)) * steps) * form.smallest_subnormal,
    }


def _special(config: ConvConfig, seed: int) -> Values:
    values = _normals(config, seed)
    draws = words(seed, "special", 10)
    weighted = ["x"] * 6 + ["w"] * 3 + (["b"] if config.bias else [])
    for i in range(1 + int(draws[0] % np.uint64(3))):
        target, kind, place = (int(v) for v in draws[1 + 3 * i : 4 + 3 * i])
        array = values[weighted[target % len(weighted)]]
        if array.size:
            array.reshape(-1)[place % array.size] = (math.nan, math.inf, -math.inf)[kind % 3]
    return values


_VALUES = {
    "integers": _integers,
    "normal": _normals,
    "positive": _positive,
    "cancellation": _cancellation,
    "tiny": _tiny,
    "huge": _huge,
    "sparse": _sparse,
    "one-hot": _one_hot,
    "subnormal": _subnormal,
    "special": _special,
}


# -- dtype and layout -------------------------------------------------------------------------------------------------


def _cast(values: Floats, dtype: str) -> Array:
    """Round once, to nearest even; ml_dtypes' own cast from float64 would round twice."""
    form: FloatFormat = FLOATS[dtype]
    with np.errstate(over="ignore", under="ignore"):
        return (form.round(values) if dtype == "bfloat16" else values).astype(numpy_dtype(dtype))


def _place(values: Array, config: ConvConfig, name: str) -> Array:
    """Lay ``values`` out in memory as the configuration asks; the values and the shape stay."""
    if config.layout == "contiguous" or (config.layout == "channels_last" and name == "b"):
        return np.ascontiguousarray(values)
    if config.layout == "channels_last":
        axis = 0 if name == "x" and config.batch is None else 1
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(values, axis, -1)), -1, axis)
    if name == "w":
        return np.ascontiguousarray(values.T).T
    # Every second element of a larger array whose gaps are NaN: whoever takes it for contiguous reads NaN.
    backing = np.full((*values.shape[:-1], 2 * values.shape[-1] + 1), math.nan, dtype=values.dtype)
    view = backing[..., 1::2]
    view[...] = values
    return view
