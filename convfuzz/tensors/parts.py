"""Inputs and output gradients of the regimes a stretch at a time: what is too large to be drawn as a whole.

Each function gives ``count`` elements from the flat index ``first`` on, which are those that :mod:`.regimes` gives of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import component_format
from convfuzz.tensors import regimes
from convfuzz.tensors.counters import Floats
from convfuzz.tensors.drawing import nonzero_integers, normal, uniform, words

Some = Callable[[ConvConfig, int, int, int], Floats]
_AT_ONCE = 2**22


def _normal(name: str) -> Some:
    return lambda _, seed, first, count: normal(seed, name, (count,), first)


def _uniform(name: str) -> Some:
    return lambda _, seed, first, count: uniform(seed, name, (count,), first)


def _tiny(name: str) -> Some:
    return lambda config, seed, first, count: normal(seed, name, (count,), first) * regimes.tiny_scale(config)


def _special(name: str) -> Some:
    def some(config: ConvConfig, seed: int, first: int, count: int) -> Floats:
        drawn = normal(seed, name, (count,), first)
        size = math.prod(config.input_shape if name == "x" else config.output_shape)
        for of, value, place in regimes.special_places(config, seed):
            at = place % size - first
            if of == name and 0 <= at < count:
                drawn[at] = value
        return drawn

    return some


# -- of the input ---------------------------------------------------------------------------------------------------------


def _subnormal_x(config: ConvConfig, seed: int, first: int, count: int) -> Floats:
    form = component_format(config.dtype)
    drawn: Floats = np.floor(uniform(seed, "x", (count,), first) * 2.0 ** (form.precision - 1)) * form.smallest_subnormal
    return drawn


def _one_hot_x(config: ConvConfig, seed: int, first: int, count: int) -> Floats:
    drawn = np.zeros(count)
    at = int(words(seed, "special", 1)[0] % np.uint64(math.prod(config.input_shape))) - first
    if 0 <= at < count:
        drawn[at] = 1.0
    return drawn


# -- of the output's gradient -----------------------------------------------------------------------------------------------


def _cancelling_dy(_: ConvConfig, seed: int, first: int, count: int) -> Floats:
    drawn = normal(seed, "dy", (count,), first)
    signed: Floats = np.copysign(1.0 + drawn * 2.0**-6, drawn)
    return signed


def _huge_dy(config: ConvConfig, seed: int, first: int, count: int) -> Floats:
    return normal(seed, "dy", (count,), first) * regimes.huge_scale(config) * regimes.huge_gradient(config, math.prod(config.output_shape))


def _subnormal_dy(_: ConvConfig, seed: int, first: int, count: int) -> Floats:
    sign = 1.0 - 2.0 * (words(seed, "kept", count, first) & np.uint64(1)).astype(np.float64)
    drawn: Floats = (uniform(seed, "dy", (count,), first) + 0.5) * sign
    return drawn


def _integers_dy(config: ConvConfig, seed: int, first: int, count: int) -> Floats:
    """Return integers, of which as many are kept in each group as certainly sum exactly: those whose ranks lie between two."""
    drawn = nonzero_integers(seed, "dy", (count,), regimes.integer_range(config)[0], first)
    of_group = math.prod(config.output_shape) // config.groups
    if of_group <= regimes.fitting_gradients(config):
        return drawn
    block = of_group // (config.batch or 1)  # of one group and one member, whose elements follow one another
    start = first
    while start < first + count:
        member, group = divmod(start // block, config.groups)
        stop = min((start // block + 1) * block, first + count)
        ranks = words(seed // regimes.DRAWS, "kept dy", stop - start, group * of_group + member * block + start % block)
        least, most = _ranks_kept(config, seed, group)
        drawn[start - first : stop - first][(ranks < np.uint64(least)) | (ranks > np.uint64(most))] = 0.0
        start = stop
    return drawn


@lru_cache(maxsize=1024)
def _ranks_kept(config: ConvConfig, seed: int, group: int) -> tuple[int, int]:
    """Return the least and the largest rank of the elements of a group that are kept."""
    count = math.prod(config.output_shape) // config.groups
    first, last = regimes.kept_places(count, regimes.fitting_gradients(config), seed)
    least = np.empty(0, np.uint64)
    for start in range(0, count, _AT_ONCE):
        ranks = words(seed // regimes.DRAWS, "kept dy", min(_AT_ONCE, count - start), group * count + start)
        if len(least) == last:
            ranks = ranks[ranks < least.max()]
        least = np.concatenate([least, ranks])
        if len(least) > last:
            least = np.partition(least, last - 1)[:last]
    least.sort()
    return int(least[first]), int(least[last - 1])


SOME_OF: dict[str, dict[str, Some]] = {
    "x": {
        "integers": lambda config, seed, first, count: nonzero_integers(seed, "x", (count,), regimes.integer_range(config)[0], first),
        "normal": _normal("x"),
        "positive": _uniform("x"),
        "cancellation": lambda _, seed, first, count: 1.0 + normal(seed, "x", (count,), first) * 2.0**-6,
        "tiny": _tiny("x"),
        "huge": lambda config, seed, first, count: normal(seed, "x", (count,), first) * regimes.huge_scale(config),
        "sparse": lambda _, seed, first, count: np.where(
            words(seed, "kept", count, first) % np.uint64(5) == 0, normal(seed, "x", (count,), first), 0.0
        ),
        "one-hot": _one_hot_x,
        "subnormal": _subnormal_x,
        "special": _special("x"),
    },
    "dy": {
        "integers": _integers_dy,
        "normal": _normal("dy"),
        "positive": _uniform("dy"),
        "cancellation": _cancelling_dy,
        "tiny": _tiny("dy"),
        "huge": _huge_dy,
        "sparse": _normal("dy"),
        "one-hot": _normal("dy"),
        "subnormal": _subnormal_dy,
        "special": _special("dy"),
    },
}
"""By operand and regime: (config, seed, first, count)."""
