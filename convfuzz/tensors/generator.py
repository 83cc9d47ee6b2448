"""The tensors of a case: regimes of values, drawn by counter so that the same recipe gives the same bytes everywhere.

Element ``i`` of a tensor is a function of (seed, tensor, i) alone: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) as a
counter-based generator in integer arithmetic, then exact or once-rounded float64 operations. No library's random
state, no transcendental function and no platform's ``libm`` has a part in it. The module needs NumPy only (and
ml_dtypes for bfloat16), so that a reproduction script can carry its source.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from convfuzz.case import EXPLICIT, Case
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import FLOATS, INTEGER_LIMITS, component_format, is_complex, is_integer, numpy_dtype
from convfuzz.case.explicit_data import check_entries, tensor_shapes
from convfuzz.errors import Unsupported
from convfuzz.tensors.layouts import expands_gradient, placements

Array = npt.NDArray[Any]
Values = dict[str, Array]
Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]

_GOLDEN = 0x9E3779B97F4A7C15
_DRAWS = 8
_IMAGINARY = 2**63
"""What sets the seed of imaginary parts apart from every seed that a recipe can have."""
_ROLES = {"x": 1, "w": 2, "b": 3, "dy": 4, "special": 5, "kept": 6, "kept dy": 7}


@dataclass(frozen=True, slots=True)
class Tensors:
    """``x`` of the case's input shape, ``w`` of its weight shape and ``b`` of shape (out,) or ``None``, in its dtype and layout.

    ``dy``, the gradient of the output, has the output's shape; ``None`` where only the forward pass runs.
    """

    x: Array
    w: Array
    b: Array | None
    dy: Array | None = None

    def views(self) -> Tensors:
        """Return views of the same memory, so that who changes their shape in place changes nobody else's."""
        b, dy = (None if array is None else array.view() for array in (self.b, self.dy))
        return Tensors(self.x.view(), self.w.view(), b, dy)

    def named(self) -> dict[str, Array]:
        """Return the tensors that exist, by name."""
        every = {"x": self.x, "w": self.w, "b": self.b, "dy": self.dy}
        return {name: array for name, array in every.items() if array is not None}


def make_tensors(case: Case) -> Tensors:
    """Fill the tensors of ``case``.

    Raises:
        Unsupported: the regime has no values of the dtype.
        InvalidConfig: explicit data do not fit the case.
    """
    config = case.config
    placed = placements(config)
    made = {}
    for name, drawn in draw_values(case).items():
        other = _OTHER_DTYPE.get(config.flaw or "") == name
        made[name] = placed[name].place(_cast(drawn, _another(config.dtype) if other else config.dtype))
    if config.flaw in _FLAWED:
        name, change = _FLAWED[config.flaw]
        made[name] = np.array(change(made[name], config), order="C")
    return Tensors(made["x"], made["w"], made.get("b"), made.get("dy"))


def draw_values(case: Case) -> dict[str, Array]:
    """Draw the elements of every tensor of ``case`` before they are rounded to its dtype and laid out.

    They are float64; complex128 for a complex dtype and 64-bit integers for an integer one.
    """
    config, recipe = case.config, case.recipe
    if recipe.regime == EXPLICIT:
        return _explicit(case)
    table = _WHOLE_VALUES if is_integer(config.dtype) else _VALUES
    if recipe.regime not in table:
        raise Unsupported(f"regime {recipe.regime} has no values of dtype {config.dtype}")
    if recipe.regime == "special" and is_complex(config.dtype):
        raise Unsupported(f"regime special of dtype {config.dtype}: where a complex product of Inf is NaN is left to the implementation")
    has_gradients = case.grad and config.is_valid
    drawn_for = config if has_gradients else cast("ConvConfig", _WithoutOutput(config))
    values = table[recipe.regime](drawn_for, recipe.seed)
    if is_complex(config.dtype):
        imaginary = table[recipe.regime](drawn_for, recipe.seed + _IMAGINARY)
        values = {name: real + 1j * imaginary[name] for name, real in values.items()}
    if not has_gradients:
        values.pop("dy")
    if not config.bias:
        values.pop("b")
    return values


def nonzero(array: Array) -> npt.NDArray[np.bool_]:
    """Mark the elements that are not zero, which a negative zero is not either."""
    there: npt.NDArray[np.bool_] = array != 0
    return there if array.dtype.kind in "iuc" else there | np.signbit(array)


def _explicit(case: Case) -> Values:
    config = case.config
    # The forward pass of a case with gradients has no dy to fill.
    entries = [entry for entry in case.recipe.entries if case.grad or entry.tensor != "dy"]
    check_entries(entries, config, grad=case.grad)
    wide = np.int64 if is_integer(config.dtype) else np.complex128 if is_complex(config.dtype) else np.float64
    values: Values = {name: np.zeros(shape, wide) for name, shape in tensor_shapes(config, grad=case.grad).items()}
    for tensor, index, value in entries:
        values[tensor].reshape(-1)[index] = value
    return values


class _WithoutOutput:
    """A configuration whose output has no element, so that no time goes into a gradient that nobody asked for."""

    output_shape = (0,)

    def __init__(self, config: ConvConfig) -> None:
        self._config = config

    def __getattr__(self, name: str) -> Any:
        return getattr(self._config, name)


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


def _shapes(config: ConvConfig) -> dict[str, tuple[int, ...]]:
    output = tuple(max(size, 0) for size in config.output_shape) if config.is_valid else (0,)
    return {"x": config.input_shape, "w": config.weight_shape, "b": (config.out_channels,), "dy": output}


def _integer_range(config: ConvConfig) -> tuple[int, int]:
    """Return the largest magnitude of an integer, and how many taps of that size certainly sum exactly with a bias."""
    limit = int(INTEGER_LIMITS[config.dtype])
    most = 8 if limit >= 2**24 else 4 if limit >= 2**11 else 2
    products = 2 if is_complex(config.dtype) else 1  # of real numbers, for each tap and part of the result
    return most, (limit - most) // (products * most * most)


def integer_draws(config: ConvConfig, *, grad: bool = False) -> int:
    """Return how many seeds in a row, from a multiple of 8 on, show every tap in the ``integers`` regime; 8 at most."""
    _, fitting = _integer_range(config)
    counts = [(config.taps, fitting)]
    if grad:
        counts.append((math.prod(_shapes(config)["dy"]) // max(config.groups, 1), _fitting_gradients(config)))
    return max(min(-(-taps // max(fits, 1)), _DRAWS) if taps > fits else 1 for taps, fits in counts)


def _integers(config: ConvConfig, seed: int) -> Values:
    """Integers for which S = Σ|p| ≤ 2^precision is certain, so that any order of summation is exact.

    Where dense weights would exceed that, each output kernel keeps only as many taps as fit: a share of them, in an order
    drawn for every eight seeds, so that neighbouring seeds keep different ones. The output's gradient likewise.
    """
    most, fitting = _integer_range(config)
    values = {name: _nonzero_integers(seed, name, shape, most) for name, shape in _shapes(config).items()}
    if not config.is_valid:  # there are no kernels, and nothing is summed
        return values
    w = values["w"]
    if config.taps > fitting and w.size:
        by_kernel = rows_per_output_kernel(np.arange(w.size).reshape(w.shape), config)
        _keep_some(w, by_kernel, fitting, seed, "kept")
    dy = values["dy"]
    if dy.size // max(config.groups, 1) > _fitting_gradients(config):
        _keep_some(dy, _rows_per_group(np.arange(dy.size).reshape(dy.shape), config), _fitting_gradients(config), seed, "kept dy")
    return values


def _fitting_gradients(config: ConvConfig) -> int:
    """Return how many elements of a group's output gradient certainly sum exactly: in a weight's, a bias's or an input's gradient.

    An input element that padding copies meets an output element once for each copy, and through one tap each.
    """
    copies = 1
    if config.padding_mode != "zeros":
        for kernel, (lo, hi) in zip(config.kernel_size, config.pads, strict=True):
            copies *= min(kernel, 1 + max(lo, 0) + max(hi, 0))
    repeats = config.out_channels // max(config.groups, 1) if expands_gradient(config) else 1
    return max(_integer_range(config)[1] // copies // max(repeats, 1), 1)


def _keep_some(values: Array, rows: Array, fitting: int, seed: int, role: str) -> None:
    """Set all but ``fitting`` elements of each row to zero; ``rows`` (rows, elements) are indices into the flat ``values``."""
    count = rows.shape[1]
    order = words(seed // _DRAWS, role, values.size).reshape(rows.shape).argsort(axis=1, kind="stable")
    draws = min(-(-count // fitting), _DRAWS)
    first = min(seed % _DRAWS % draws * fitting, count - fitting)
    dropped = np.concatenate([order[:, :first], order[:, first + fitting :]], axis=1)
    values.reshape(-1)[np.take_along_axis(rows, dropped, axis=1)] = 0


def rows_per_output_kernel(w: Array, config: ConvConfig) -> Array:
    """Return a weight-shaped array as (out, taps): one row per output channel."""
    if config.op == "conv":
        return w.reshape(config.out_channels, config.taps)
    per_group = w.reshape(config.groups, config.in_channels // config.groups, w.shape[1], math.prod(config.kernel_size))
    return per_group.transpose(0, 2, 1, 3).reshape(config.out_channels, config.taps)


def _rows_per_group(dy: Array, config: ConvConfig) -> Array:
    """Return an output-shaped array as (groups, elements)."""
    samples = dy if config.batch is not None else dy[None]
    return np.moveaxis(samples.reshape(samples.shape[0], config.groups, -1), 1, 0).reshape(config.groups, -1)


def _normals(config: ConvConfig, seed: int) -> Values:
    return {name: _normal(seed, name, shape) for name, shape in _shapes(config).items()}


def _positive(config: ConvConfig, seed: int) -> Values:
    return {name: _uniform(seed, name, shape) for name, shape in _shapes(config).items()}


def _cancellation(config: ConvConfig, seed: int) -> Values:
    """Weights of ±1, half of each kernel's taps negative, so that sums nearly vanish; the output's gradient has random signs.

    Which half is drawn: signs that follow the order of the taps would be data that depend on a kernel's order of
    summation, and then no order-free bound holds.
    """
    values = _normals(config, seed)
    sign = np.ones(values["w"].size)
    if sign.size and config.is_valid:
        by_kernel = rows_per_output_kernel(np.arange(sign.size).reshape(config.weight_shape), config)
        rank = words(seed, "kept", sign.size).reshape(by_kernel.shape)
        sign[by_kernel[rank < np.partition(rank, config.taps // 2, axis=1)[:, [config.taps // 2]]]] = -1.0
    return {
        "x": 1.0 + values["x"] * 2.0**-6,
        "w": sign.reshape(config.weight_shape) * (1.0 + values["w"] * 2.0**-6),
        "b": values["b"] * 2.0**-6,
        "dy": np.copysign(1.0 + values["dy"] * 2.0**-6, values["dy"]),
    }


def _scaled(config: ConvConfig, seed: int, scale: float) -> Values:
    values = _normals(config, seed)
    return {name: drawn * (scale**2 if name == "b" else scale) for name, drawn in values.items()}


def _tiny(config: ConvConfig, seed: int) -> Values:
    return _scaled(config, seed, 2.0 ** (component_format(config.dtype).emin // 5))


def _huge(config: ConvConfig, seed: int) -> Values:
    form = component_format(config.dtype)
    if form.name != "float16":
        return _scaled(config, seed, 2.0 ** (form.emax // 5))  # a fifth: the squares of float64 products stay finite
    # |y| is about sqrt(taps)·scale²: bring that to half of the largest float16, so that some sums overflow it.
    values = _scaled(config, seed, math.sqrt(form.max / 2.0 / math.sqrt(config.taps + 1)))
    sites = max(values["dy"].size // max(config.out_channels, 1), 1)
    return values | {"dy": values["dy"] * min(math.sqrt((config.taps + 1) / sites), 1.0)}  # the weight's gradient likewise


def _sparse(config: ConvConfig, seed: int) -> Values:
    values = _normals(config, seed)
    kept = words(seed, "kept", values["x"].size).reshape(config.input_shape) % np.uint64(5) == 0
    values["x"] = np.where(kept, values["x"], 0.0)
    return values


def _one_hot(config: ConvConfig, seed: int) -> Values:
    return _normals(config, seed) | {"x": _one(config, seed)}


def _one(config: ConvConfig, seed: int) -> Floats:
    x = np.zeros(config.input_shape)
    if x.size:
        x.reshape(-1)[int(words(seed, "special", 1)[0] % np.uint64(x.size))] = 1.0
    return x


def _subnormal(config: ConvConfig, seed: int) -> Values:
    form = component_format(config.dtype)
    steps = 2.0 ** (form.precision - 1)  # there are this many subnormal steps below the smallest normal number
    values = {name: _uniform(seed, name, shape) for name, shape in _shapes(config).items()}
    for name in ("w", "dy"):
        sign = 1.0 - 2.0 * (words(seed, "kept", values[name].size).reshape(values[name].shape) & np.uint64(1)).astype(np.float64)
        values[name] = (values[name] + 0.5) * sign
    for name in ("x", "b"):
        values[name] = np.floor(values[name] * steps) * form.smallest_subnormal
    return values


def _special(config: ConvConfig, seed: int) -> Values:
    values = _normals(config, seed)
    draws = words(seed, "special", 12)
    weighted = ["x"] * 6 + ["w"] * 3 + (["b"] if config.bias else [])
    for i in range(1 + int(draws[0] % np.uint64(3))):
        target, kind, place = (int(v) for v in draws[1 + 3 * i : 4 + 3 * i])
        array = values[weighted[target % len(weighted)]]
        if array.size:
            array.reshape(-1)[place % array.size] = (math.nan, math.inf, -math.inf)[kind % 3]
    kind, place = (int(v) for v in draws[10:])
    if values["dy"].size and kind % 2:
        values["dy"].reshape(-1)[place % values["dy"].size] = (math.nan, math.inf, -math.inf)[kind // 2 % 3]
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


# -- regimes of the integer dtypes ------------------------------------------------------------------------------------


def _whole_integers(config: ConvConfig, seed: int) -> Values:
    return {name: drawn.astype(np.int64) for name, drawn in _integers(config, seed).items()}


def _full_range(config: ConvConfig, seed: int) -> Values:
    """Every value of the dtype, so that the sums wrap around."""
    unused = 64 - 8 * numpy_dtype(config.dtype).itemsize
    shapes = _shapes(config).items()
    return {name: words(seed, name, math.prod(shape)).view(np.int64).reshape(shape) >> unused for name, shape in shapes}


def _small(values: Values) -> Values:
    return {name: np.rint(4.0 * drawn).astype(np.int64) for name, drawn in values.items()}


_WHOLE_VALUES = {
    "integers": _whole_integers,
    "normal": lambda config, seed: _small(_normals(config, seed)),
    "positive": lambda config, seed: _small(_positive(config, seed)),
    "sparse": lambda config, seed: _small(_sparse(config, seed)),
    "one-hot": lambda config, seed: _full_range(config, seed) | {"x": _one(config, seed).astype(np.int64)},
    "huge": _full_range,
}


# -- dtype and flaws --------------------------------------------------------------------------------------------------


def _cast(values: Array, dtype: str) -> Array:
    """Round once, to nearest even; ml_dtypes' own cast from float64 would round twice."""
    with np.errstate(over="ignore", under="ignore"):
        return (FLOATS[dtype].round(values) if dtype == "bfloat16" else values).astype(numpy_dtype(dtype))


def _another(dtype: str) -> str:
    """Return a dtype that an operand may have by mistake: of the same kind where there is one."""
    return {"float64": "float32", "complex64": "complex128", "complex128": "complex64"}.get(dtype, "float64")


def _one_more(values: Array, axis: int) -> Array:
    """Lengthen an axis by one: its last slice comes again, or a zero where there is none."""
    more = [(0, int(a == axis)) for a in range(values.ndim)]
    return np.pad(values, more, mode="edge" if values.size else "constant")


_FLAWED: dict[str, tuple[str, Callable[[Array, ConvConfig], Array]]] = {
    "input-channels": ("x", lambda x, config: _one_more(x, x.ndim - config.dims - 1)),
    "input-rank": ("x", lambda x, _: x[None]),
    "input-flat": ("x", lambda x, _: x.reshape(-1)),
    "weight-scalar": ("w", lambda w, _: w.reshape(-1)[0] if w.size else w.reshape(-1)),
    "weight-rank": ("w", lambda w, _: w[..., 0] if w.shape[-1] else w.reshape(w.shape[:-1])),
    "bias-size": ("b", lambda b, _: _one_more(b, 0)),
    "bias-rank": ("b", lambda b, _: b[None]),
}
_OTHER_DTYPE = {"weight-dtype": "w", "bias-dtype": "b"}
