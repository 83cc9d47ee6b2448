"""What is particular about a configuration, in words: the axes along which coverage and findings are grouped."""

from __future__ import annotations

from convfuzz.config import ConvConfig

PLAIN = {
    "op": {"conv"},
    "dims": {"1"},
    "batch": {"1"},
    "channels": {"1-7"},
    "groups": {"1"},
    "kernel": {"other", "equal to the padded input"},
    "stride": {"1"},
    "dilation": {"1"},
    "padding": {"0"},
    "padding mode": {"zeros"},
    "bias": {"no"},
    "dtype": {"float32"},
    "layout": {"contiguous"},
    "output": {"other", "one site"},
    "validity": {"valid"},
}
"""The values of each axis that say nothing in a minimal case: they are where every reduction ends."""


def features(config: ConvConfig) -> dict[str, str]:
    """Return one word per axis of the search space, such as ``{"groups": "depthwise", "stride": "per-axis", …}``."""
    return {
        "op": config.op,
        "dims": str(config.dims),
        "dtype": config.dtype,
        "layout": config.layout,
        "batch": _batch(config.batch),
        "channels": _channels(config.in_channels),
        "groups": _groups(config),
        "kernel": _kernel(config),
        "stride": _per_axis(config.stride),
        "dilation": _per_axis(config.dilation),
        "padding": _padding(config),
        "padding mode": config.padding_mode,
        "bias": "yes" if config.bias else "no",
        "output": _output(config),
        "validity": "valid" if config.is_valid else "invalid",
    }


def particular(config: ConvConfig) -> list[str]:
    """Return the features of ``config`` that are not plain, as ``axis=value``, sorted."""
    return sorted(f"{axis}={value}" for axis, value in features(config).items() if value not in PLAIN[axis])


def _batch(batch: int | None) -> str:
    if batch is None:
        return "unbatched"
    return str(batch) if batch < 2 else "2-14" if batch < 15 else "15 and more"


def _channels(channels: int) -> str:
    return "0" if channels == 0 else "1-7" if channels < 8 else "8-31" if channels < 32 else "32 and more"


def _groups(config: ConvConfig) -> str:
    if config.groups == 1:
        return "1"
    if config.groups == config.in_channels:
        return "depthwise" if config.out_channels == config.in_channels else "depthwise with multiplier"
    return "several"


def _kernel(config: ConvConfig) -> str:
    if set(config.kernel_size) == {1}:
        return "1x1"
    padded = tuple(size + lo + hi for size, (lo, hi) in zip(config.input_size, config.pads, strict=True))
    if any(extent > size for extent, size in zip(config.effective_kernel, padded, strict=True)):
        return "larger than the padded input"
    if any(extent == size for extent, size in zip(config.effective_kernel, padded, strict=True)):
        return "equal to the padded input"
    return "even" if any(k % 2 == 0 for k in config.kernel_size) else "other"


def _per_axis(values: tuple[int, ...]) -> str:
    if set(values) == {1}:
        return "1"
    return "more than 1" if len(set(values)) == 1 else "per axis"


def _padding(config: ConvConfig) -> str:
    if isinstance(config.padding, str):
        return config.padding
    sides = [side for pads in config.pads for side in pads]
    if not any(sides):
        return "0"
    if min(sides) < 0:
        return "negative"
    if any(lo != hi for lo, hi in config.pads):
        return "asymmetric"
    if any(lo >= extent for (lo, _), extent in zip(config.pads, config.effective_kernel, strict=True)):
        return "kernel and more"
    return "symmetric"


def _output(config: ConvConfig) -> str:
    sites = 1
    for size in config.output_size:
        sites *= max(size, 0)
    return "empty" if sites == 0 else "one site" if sites == 1 else "other"
