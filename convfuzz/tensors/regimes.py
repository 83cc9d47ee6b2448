"""The regimes: how each fills the tensors of a layer before they are rounded to its dtype.

A regime is a function of a configuration and a seed. It needs NumPy only, so that a reproduction script can carry its
source.
"""

from __future__ import annotations

import math

import numpy as np

from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import INTEGER_LIMITS, component_format, is_complex, numpy_dtype
from convfuzz.tensors.counters import Floats
from convfuzz.tensors.drawing import nonzero_integers, normal, uniform, words
from convfuzz.tensors.layouts import Array, expands_gradient

Values = dict[str, Array]

DRAWS = 8


def _shapes(config: ConvConfig) -> dict[str, tuple[int, ...]]:
    output = tuple(max(size, 0) for size in config.output_shape) if config.is_valid else (0,)
    return {"x": config.input_shape, "w": config.weight_shape, "b": (config.out_channels,), "dy": output}


def integer_range(config: ConvConfig) -> tuple[int, int]:
    """Return the largest magnitude of an integer, and how many taps of that size certainly sum exactly with a bias."""
    limit = int(INTEGER_LIMITS[config.dtype])
    most = 8 if limit >= 2**24 else 4 if limit >= 2**11 else 2
    products = 2 if is_complex(config.dtype) else 1  # of real numbers, for each tap and part of the result
    return most, (limit - most) // (products * most * most)


def integer_draws(config: ConvConfig, *, grad: bool = False) -> int:
    """Return how many seeds in a row, from a multiple of 8 on, show every tap in the ``integers`` regime; 8 at most."""
    _, fitting = integer_range(config)
    counts = [(config.taps, fitting)]
    if grad:
        counts.append((math.prod(_shapes(config)["dy"]) // max(config.groups, 1), fitting_gradients(config)))
    return max(min(-(-taps // max(fits, 1)), DRAWS) if taps > fits else 1 for taps, fits in counts)


def _integers(config: ConvConfig, seed: int) -> Values:
    """Integers for which S = Σ|p| ≤ 2^precision is certain, so that any order of summation is exact.

    Where dense weights would exceed that, each output kernel keeps only as many taps as fit: a share of them, in an order
    drawn for every eight seeds, so that neighbouring seeds keep different ones. The output's gradient likewise.
    """
    most, fitting = integer_range(config)
    values = {name: nonzero_integers(seed, name, shape, most) for name, shape in _shapes(config).items()}
    if not config.is_valid:  # there are no kernels, and nothing is summed
        return values
    w = values["w"]
    if config.taps > fitting and w.size:
        by_kernel = rows_per_output_kernel(np.arange(w.size).reshape(w.shape), config)
        _keep_some(w, by_kernel, fitting, seed, "kept")
    dy = values["dy"]
    if dy.size // max(config.groups, 1) > fitting_gradients(config):
        _keep_some(dy, rows_per_group(np.arange(dy.size).reshape(dy.shape), config), fitting_gradients(config), seed, "kept dy")
    return values


def fitting_gradients(config: ConvConfig) -> int:
    """Return how many elements of a group's output gradient certainly sum exactly: in a weight's, a bias's or an input's gradient."""
    repeats = config.out_channels // max(config.groups, 1) if expands_gradient(config) else 1
    return max(integer_range(config)[1] // padding_copies(config) // max(repeats, 1), 1)


def padding_copies(config: ConvConfig) -> int:
    """Return how often an output element meets an input element at most: once for each copy of it, and through one tap each."""
    if config.padding_mode == "zeros":
        return 1
    return math.prod(min(kernel, 1 + max(lo, 0) + max(hi, 0)) for kernel, (lo, hi) in zip(config.kernel_size, config.pads, strict=True))


def _keep_some(values: Array, rows: Array, fitting: int, seed: int, role: str) -> None:
    """Set all but ``fitting`` elements of each row to zero; ``rows`` (rows, elements) are indices into the flat ``values``."""
    count = rows.shape[1]
    first, last = kept_places(count, fitting, seed)
    ranks = words(seed // DRAWS, role, values.size).reshape(rows.shape)
    order = np.argpartition(ranks, [end for end in (first, last) if 0 < end < count], axis=1)
    dropped = np.concatenate([order[:, :first], order[:, last:]], axis=1)
    values.reshape(-1)[np.take_along_axis(rows, dropped, axis=1)] = 0


def kept_places(count: int, fitting: int, seed: int) -> tuple[int, int]:
    """Return from which place on and before which one elements of a row are kept, in the order of their ranks; ``fitting`` are not all."""
    draws = min(-(-count // fitting), DRAWS)
    first = min(seed % DRAWS % draws * fitting, count - fitting)
    return first, first + fitting


def rows_per_output_kernel(w: Array, config: ConvConfig) -> Array:
    """Return a weight-shaped array as (out, taps): one row per output channel."""
    if config.op == "conv":
        return w.reshape(config.out_channels, config.taps)
    per_group = w.reshape(config.groups, config.in_channels // config.groups, w.shape[1], math.prod(config.kernel_size))
    return per_group.transpose(0, 2, 1, 3).reshape(config.out_channels, config.taps)


def rows_per_group(dy: Array, config: ConvConfig) -> Array:
    """Return an output-shaped array as (groups, elements)."""
    samples = dy if config.batch is not None else dy[None]
    return np.moveaxis(samples.reshape(samples.shape[0], config.groups, -1), 1, 0).reshape(config.groups, -1)


def _normals(config: ConvConfig, seed: int) -> Values:
    return {name: normal(seed, name, shape) for name, shape in _shapes(config).items()}


def _positive(config: ConvConfig, seed: int) -> Values:
    return {name: uniform(seed, name, shape) for name, shape in _shapes(config).items()}


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


def tiny_scale(config: ConvConfig) -> float:
    """Return what the numbers of the regime are multiplied with."""
    return float(2.0 ** (component_format(config.dtype).emin // 5))


def _tiny(config: ConvConfig, seed: int) -> Values:
    return _scaled(config, seed, tiny_scale(config))


def huge_scale(config: ConvConfig) -> float:
    """Return what the numbers of the regime are multiplied with."""
    form = component_format(config.dtype)
    if form.name != "float16":
        return float(2.0 ** (form.emax // 5))  # a fifth: the squares of float64 products stay finite
    # |y| is about sqrt(taps)·scale²: bring that to half of the largest float16, so that some sums overflow it.
    return math.sqrt(form.max / 2.0 / math.sqrt(config.taps + 1))


def _huge(config: ConvConfig, seed: int) -> Values:
    values = _scaled(config, seed, huge_scale(config))
    if component_format(config.dtype).name != "float16":
        return values
    return values | {"dy": values["dy"] * huge_gradient(config, values["dy"].size)}


def huge_gradient(config: ConvConfig, size: int) -> float:
    """Return what scales an output's gradient of ``size`` elements further, so that the weight's is of the same magnitude."""
    sites = max(size // max(config.out_channels, 1), 1)
    return min(math.sqrt((config.taps + 1) / sites), 1.0) if component_format(config.dtype).name == "float16" else 1.0


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
    values = {name: uniform(seed, name, shape) for name, shape in _shapes(config).items()}
    for name in ("w", "dy"):
        sign = 1.0 - 2.0 * (words(seed, "kept", values[name].size).reshape(values[name].shape) & np.uint64(1)).astype(np.float64)
        values[name] = (values[name] + 0.5) * sign
    for name in ("x", "b"):
        values[name] = np.floor(values[name] * steps) * form.smallest_subnormal
    return values


def special_places(config: ConvConfig, seed: int) -> list[tuple[str, float, int]]:
    """Return the tensors that get a NaN or an Inf, which of these, and where: the index modulo the tensor's size."""
    draws, kinds = words(seed, "special", 12), (math.nan, math.inf, -math.inf)
    weighted = ["x"] * 6 + ["w"] * 3 + (["b"] if config.bias else [])
    found = []
    for i in range(1 + int(draws[0] % np.uint64(3))):
        target, kind, place = (int(v) for v in draws[1 + 3 * i : 4 + 3 * i])
        found.append((weighted[target % len(weighted)], kinds[kind % 3], place))
    kind, place = (int(v) for v in draws[10:])
    return [*found, ("dy", kinds[kind // 2 % 3], place)] if kind % 2 else found


def _special(config: ConvConfig, seed: int) -> Values:
    values = _normals(config, seed)
    for name, value, place in special_places(config, seed):
        array = values[name]
        if array.size:
            array.reshape(-1)[place % array.size] = value
    return values


VALUES = {
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


WHOLE_VALUES = {
    "integers": _whole_integers,
    "normal": lambda config, seed: _small(_normals(config, seed)),
    "positive": lambda config, seed: _small(_positive(config, seed)),
    "sparse": lambda config, seed: _small(_sparse(config, seed)),
    "one-hot": lambda config, seed: _full_range(config, seed) | {"x": _one(config, seed).astype(np.int64)},
    "huge": _full_range,
}
