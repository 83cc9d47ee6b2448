"""What is particular about a configuration, in words: the axes along which coverage and findings are grouped."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from operator import eq

from convfuzz.case.config import ConvConfig

PLAIN = {
    "op": {"conv"},
    "dims": {"1"},
    "batch": {"1"},
    "channels": {"1-7"},
    "input": {"other"},
    "groups": {"1"},
    "kernel": {"other", "equal to the padded input"},
    "stride": {"1"},
    "dilation": {"1"},
    "padding": {"0"},
    "padding mode": {"zeros"},
    "output padding": {"0"},
    "bias": {"no"},
    "dtype": {"float32"},
    "layout": {"contiguous"},
    "weight layout": {"as the input"},
    "output": {"other", "one site"},
    "numbers": {"32 bits"},
    "call": {"well-formed"},
    "validity": {"valid"},
}
"""The values of each axis that say nothing in a minimal case: they are where every reduction ends."""

AXES = (
    "op", "dims", "dtype", "layout", "weight layout", "batch", "channels", "input", "groups", "kernel", "stride", "dilation", "padding",
    "padding mode", "output padding", "bias", "output", "numbers", "call", "validity",
)  # fmt: skip
"""The axes in the order of :func:`features`."""
OF_OPERANDS = frozenset({"dtype", "layout", "weight layout"})
"""Those axes that say what the operands of a layer are like, and nothing of the layer."""


@lru_cache(maxsize=8)
def features(config: ConvConfig) -> Mapping[str, str]:
    """Return one word per axis of the search space, such as ``{"groups": "depthwise", "stride": "per-axis", …}``."""
    return {
        "op": config.op,
        "dims": str(config.dims),
        "dtype": config.dtype,
        "layout": config.layout,
        "weight layout": config.weight_layout or "as the input",
        "batch": _batch(config.batch),
        "channels": _channels(config.in_channels),
        "input": "no site" if 0 in config.input_size else "other",
        "groups": _groups(config),
        "kernel": _kernel(config),
        "stride": _per_axis(config.stride),
        "dilation": _per_axis(config.dilation),
        "padding": _padding(config),
        "padding mode": config.padding_mode,
        "output padding": _output_padding(config),
        "bias": "yes" if config.bias else "no",
        "output": _output(config),
        "numbers": "more than 32 bits" if config.is_extreme else "32 bits",
        "call": config.flaw or "well-formed",
        "validity": "valid" if config.is_valid else "invalid",
    }


def named(config: ConvConfig) -> frozenset[str]:
    """Return all features of ``config`` as ``axis=value``."""
    return frozenset(f"{axis}={value}" for axis, value in features(config).items())


def particular(config: ConvConfig) -> list[str]:
    """Return the features of ``config`` that are not plain, as ``axis=value``, sorted."""
    return sorted(f"{axis}={value}" for axis, value in features(config).items() if value not in PLAIN[axis])


def needed(minimal: ConvConfig, first: ConvConfig) -> list[str]:
    """Return what is particular about ``minimal``, less what it got while it was reduced from ``first``.

    A reduction ends at a kernel of 1x1, say; where ``first`` failed with a plain one, that is not what it takes.
    """
    not_plain = {feature.partition("=")[0] for feature in particular(first)}
    return [feature for feature in particular(minimal) if feature.partition("=")[0] in not_plain]


def has_tap_in_padding(config: ConvConfig) -> bool:
    """Whether some column of the kernel meets nothing but padding, at each of its places along the last axis.

    A transposed layer moves its kernel along the output, and cuts its padding off.
    """
    if not config.is_valid:
        return False
    sites, size = config.output_size[-1], config.input_size[-1]
    if config.op == "conv_transpose":
        sites, size = size, sites
    low, stride, dilation = config.pads[-1][0], config.stride[-1], config.dilation[-1]
    begins = range(-low, sites * stride - low, stride)
    return any(all(not 0 <= begin + tap * dilation < size for begin in begins) for tap in range(config.kernel_size[-1]))


BROAD = ("op", "dtype", "call", "validity")
"""The axes by which cases are told apart that are not minimal: what else is particular about one may be by chance."""


def particular_on(axes: Collection[str], config: ConvConfig) -> list[str]:
    """Return the particular features of ``config`` on some axes only."""
    return [feature for feature in particular(config) if feature.partition("=")[0] in axes]


def _batch(batch: int | None) -> str:
    if batch is None:
        return "unbatched"
    return str(batch) if batch < 2 else "2-14" if batch < 15 else "15 and more"


def _channels(channels: int) -> str:
    return "0" if channels == 0 else "1-7" if channels < 8 else "8-31" if channels < 32 else "32 and more"


def _groups(config: ConvConfig) -> str:
    if config.groups == 1:
        return "1"
    if config.groups < 1:
        return "less than 1"
    if config.in_channels % config.groups or config.out_channels % config.groups:
        return "no divisor of the channels"
    if config.groups == config.in_channels:
        return "depthwise" if config.out_channels == config.in_channels else "depthwise with multiplier"
    return "several"


def _kernel(config: ConvConfig) -> str:
    if set(config.kernel_size) == {1}:
        return "1x1"
    if min(config.kernel_size) < 1:
        return "less than 1"
    return _fit(config) or ("even" if any(k % 2 == 0 for k in config.kernel_size) else "other")


def _fit(config: ConvConfig) -> str:
    """Say how the kernel lies beside what it moves along: the padded input, or, transposed, its own next place."""
    if config.op == "conv_transpose":
        apart = any(extent < stride for extent, stride in zip(config.effective_kernel, config.stride, strict=True))
        return "smaller than the stride" if apart else ""
    padded = tuple(size + lo + hi for size, (lo, hi) in zip(config.input_size, config.pads, strict=True))
    if any(extent > size for extent, size in zip(config.effective_kernel, padded, strict=True)):
        return "larger than the padded input"
    return "equal to the padded input" if any(map(eq, config.effective_kernel, padded)) else ""


def _per_axis(values: tuple[int, ...]) -> str:
    if set(values) == {1}:
        return "1"
    if min(values) < 1:
        return "less than 1"
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


def _output_padding(config: ConvConfig) -> str:
    if not any(config.output_padding):
        return "0"
    if min(config.output_padding) < 0:
        return "negative"
    if any(extra >= stride for extra, stride in zip(config.output_padding, config.stride, strict=True)):
        return "stride and more"
    return "less than the stride"


def _output(config: ConvConfig) -> str:
    sites = 1
    for size in config.output_size:
        sites *= max(size, 0)
    return "empty" if sites == 0 else "one site" if sites == 1 else "other"
