"""From a configuration to the nearest one that a domain declares, and the repairs that keep a changed one valid."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Literal, TypeVar

from convfuzz.case.config import ConvConfig
from convfuzz.case.domain.declared import Domain, GroupKind, on_axes, padding_of

T = TypeVar("T")
PaddingRule = Callable[[Sequence[int]], tuple[tuple[int, int], ...] | Literal["same", "valid"]]


def fitted(config: ConvConfig, domain: Domain, random: Random) -> ConvConfig:
    """Return ``config`` with declared values in place of others, as large an input as it takes, and groups that divide the channels.

    What ``supports`` says is not asked. A configuration that cannot be made valid comes back invalid.
    """
    if config.is_valid and not domain.undeclared(config):
        return config
    config = _of_kind(config, domain, random)
    config = _windowed(config, domain, random)
    return repaired(_with_channels(config, domain, random))


def repaired(config: ConvConfig) -> ConvConfig:
    """Return ``config`` with an input that the kernel fits and a transposed output that is not empty."""
    if config.invalid_reason is None:
        return config
    if config.op == "conv_transpose":
        bound = zip(config.output_padding, config.stride, config.dilation, strict=True)
        config = config.replace(padding_mode="zeros", output_padding=tuple(min(o, max(s, d) - 1) for o, s, d in bound))
    elif any(config.output_padding):
        config = config.replace(output_padding=0)
    if config.padding == "same":
        config = config.replace(output_padding=0)
    sizes = list(config.input_size)
    spare = {"reflect": 1, "circular": 0}.get(config.padding_mode)
    for axis, ((lo, hi), extent, stride) in enumerate(zip(config.pads, config.effective_kernel, config.stride, strict=True)):
        if config.op == "conv":
            least = max(extent - lo - hi, -min(lo, 0) - min(hi, 0), 1, 0 if spare is None else max(lo, hi) + spare)
        else:
            least = 1 + max(-(-(lo + hi + 1 - extent) // max(stride, 1)), 0)
        sizes[axis] = max(sizes[axis], least)
    return config.replace(input_size=tuple(sizes))


def padding_rules(config: ConvConfig) -> list[PaddingRule]:
    """Return how the padding may depend on the dilated kernel: a causal one grows with it, say, and a plain number does not."""
    padding, extents = config.padding, config.effective_kernel
    if isinstance(padding, str):
        return [lambda _: padding]
    rules: list[PaddingRule] = [
        lambda extents: tuple((0, 0) for _ in extents),
        lambda extents: tuple((e // 2, e // 2) for e in extents),
        lambda extents: tuple((e - 1, 0) for e in extents),
        lambda extents: tuple((0, e - 1) for e in extents),
        lambda extents: tuple((e - 1, e - 1) for e in extents),
    ]
    return [rule for rule in rules if rule(extents) == padding] or [lambda _: padding]


def with_window(config: ConvConfig, random: Random, **changes: Any) -> ConvConfig:
    """Change kernel size or dilation, and the padding as it depends on them."""
    rule = random.choice(padding_rules(config))
    changed = config.replace(**changes)
    return repaired(changed.replace(padding=rule(changed.effective_kernel)))


def with_dims(config: ConvConfig, dims: int) -> ConvConfig:
    """Take axes away, or repeat the last one."""
    if dims == config.dims:
        return config
    names = ("input_size", "kernel_size", "stride", "dilation", "output_padding")
    values: dict[str, Any] = {name: _axes(getattr(config, name), dims) for name in names}
    if not isinstance(config.padding, str):
        values["padding"] = _axes(config.padding, dims)
    return config.replace(dims=dims, **values)


def with_groups(config: ConvConfig, kind: GroupKind, multiple: int = 1) -> ConvConfig:
    """Make it dense, depthwise, or of so many groups, with channels that these divide and that are multiples of ``multiple``."""
    channels = _up(max(config.in_channels, 1), multiple)
    if kind == "depthwise":
        return config.replace(in_channels=channels, groups=channels, out_channels=_up(max(config.out_channels, 1), channels))
    groups = 1 if kind == "none" else kind
    return config.replace(
        groups=groups, in_channels=_up(channels, groups, multiple), out_channels=_up(max(config.out_channels, 1), groups, multiple)
    )


def _of_kind(config: ConvConfig, domain: Domain, random: Random) -> ConvConfig:
    """Bring what has no geometry into the domain, and the number of axes."""
    ops = domain.ops
    if domain.padding_modes is not None and "zeros" not in domain.padding_modes:
        ops = ("conv",)  # a transposed convolution pads with zeros
    op = _among(ops, config.op, random)
    if op != config.op:
        config = config.replace(op=op, output_padding=0, padding_mode="zeros")
    dims = domain.dims
    if dims is None:  # a tuple is for as many axes as it has
        declared = [one for values in (domain.kernel_sizes, domain.strides, domain.dilations) if values for one in values]
        lengths = tuple(sorted({len(one) for one in declared if isinstance(one, tuple)}))
        dims = lengths if lengths and all(isinstance(one, tuple) for one in declared) else None
    config = with_dims(config, _among(dims, config.dims, random))
    layout = _among(domain.layouts, config.layout, random)
    return config.replace(
        dtype=_among(domain.dtypes, config.dtype, random),
        layout=layout,
        weight_layout=config.weight_layout if domain.layouts is None or config.weight_layout in domain.layouts else None,
        batch=_among(domain.batches, config.batch, random),
        bias=_among(domain.bias, config.bias, random),
        padding_mode=_among(domain.padding_modes, config.padding_mode, random),
    )


def _windowed(config: ConvConfig, domain: Domain, random: Random) -> ConvConfig:
    """Bring kernel, stride, dilation and padding into the domain."""
    dims = config.dims
    changes = {}
    for name, declared in (("kernel_size", domain.kernel_sizes), ("stride", domain.strides), ("dilation", domain.dilations)):
        if declared is not None:
            fitting = [values for one in declared if len(values := on_axes(one, dims)) == dims]
            if fitting and getattr(config, name) not in fitting:
                changes[name] = random.choice(fitting)
    config = with_window(config, random, **changes) if changes else config
    if domain.paddings is not None:
        allowed = [padding_of(one, config) for one in domain.paddings]
        config = config if config.padding in allowed else config.replace(padding=random.choice(allowed))
    return config


def _with_channels(config: ConvConfig, domain: Domain, random: Random) -> ConvConfig:
    """Bring groups and channels into the domain."""
    if domain.groups is None:
        kind: GroupKind = "depthwise" if 1 < config.groups == config.in_channels else config.groups
    else:
        kind = random.choice(domain.groups)
        for one in domain.groups:
            if config.groups == (config.in_channels if one == "depthwise" else 1 if one == "none" else one):
                kind = one
    return with_groups(config, kind, domain.channel_multiple)


def _among(values: Sequence[T] | None, value: T, random: Random) -> T:
    return value if values is None or value in values else random.choice(values)


def _axes(values: tuple[T, ...], dims: int) -> tuple[T, ...]:
    return values[-dims:] if len(values) >= dims else (values[-1],) * (dims - len(values)) + values


def _up(count: int, *factors: int) -> int:
    """Return the least number from ``count`` on that every factor divides."""
    factor = math.lcm(*factors)
    return -(-count // factor) * factor
