"""The value of each parameter of a configuration as one word, finer than its features: what was compared is counted by these.

There are some twenty words to a parameter at most, so that a long run counts no more of them than a short one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from convfuzz.case.config import ConvConfig

_EXACT = 16
"""Numbers up to this one are words of their own."""


@lru_cache(maxsize=8)
def parameters(config: ConvConfig) -> Mapping[str, str]:
    """Return one word per parameter, such as ``{"kernel size": "3", "padding": "low side only", "output": "one site", …}``."""
    return {
        "op": config.op,
        "dims": str(config.dims),
        "dtype": config.dtype,
        "layout": config.layout,
        "batch": "unbatched" if config.batch is None else _count(config.batch),
        "input channels": _count(config.in_channels),
        "output channels": _count(config.out_channels),
        "groups": _groups(config),
        "input size": _count(max(config.input_size)),
        "kernel size": _per_axis(config.kernel_size),
        "stride": _per_axis(config.stride),
        "dilation": _per_axis(config.dilation),
        "padding": _padding(config),
        "padding mode": config.padding_mode,
        "output padding": _per_axis(config.output_padding),
        "bias": "yes" if config.bias else "no",
        "output": "one site" if max(config.output_size) <= 1 else "several sites",
    }


def _count(number: int) -> str:
    """Name a number: itself where it is small, else the range between powers of two that it is in."""
    if number <= _EXACT:
        return str(number)
    least = 1 << (number - 1).bit_length() - 1
    return f"{least + 1}-{2 * least}" if number <= 1024 else "more than 1024"


def _per_axis(values: tuple[int, ...]) -> str:
    return _count(values[0]) if len(set(values)) == 1 else "per axis"


def _groups(config: ConvConfig) -> str:
    if config.groups == 1:
        return "none"
    if config.groups == config.in_channels:
        return "depthwise" if config.out_channels == config.in_channels else "depthwise with multiplier"
    return "grouped"


def _padding(config: ConvConfig) -> str:
    if isinstance(config.padding, str):
        return config.padding
    lows, highs = zip(*config.padding, strict=True)
    if min(lows + highs) < 0:
        return "negative"
    if lows == highs:
        return _per_axis(lows)
    return "low side only" if not any(highs) else "high side only" if not any(lows) else "unequal sides"
