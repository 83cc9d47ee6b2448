"""Changes of one parameter, or of two that go together, such as a kernel and the padding that depends on it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from convfuzz.case.config import DTYPES, LAYOUTS, ConvConfig
from convfuzz.case.domain.fitting import repaired, with_dims, with_groups, with_window
from convfuzz.case.domain.watched import Wish
from convfuzz.case.line import PADDING_MODES

Move = Callable[[ConvConfig, Random], ConvConfig]

_BATCHES = (1, 1, 2, 3, 4, 8, 15, 16, 17, None)
_CHANNELS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 96, 128)
_SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 14, 15, 16, 17, 20, 23, 28, 31, 32, 33, 56, 64, 65)
_KERNELS = (1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 11, 16)
_STRIDES = (1, 2, 2, 3, 4, 5, 8, 16)
_DILATIONS = (1, 2, 2, 3, 4, 8)
_PADDINGS = (0, 1, 1, 2, 3, 5)


def _batch(c: ConvConfig, random: Random) -> ConvConfig:
    return c.replace(batch=random.choice(_BATCHES))


def _in_channels(c: ConvConfig, random: Random) -> ConvConfig:
    """Take other input channels; a depthwise convolution stays one, and a square one square half of the time."""
    count = _stepped(c.in_channels, _CHANNELS, random)
    if 1 < c.groups == c.in_channels:
        return c.replace(in_channels=count, groups=count, out_channels=max(c.out_channels // c.groups, 1) * count)
    count = max(count // c.groups, 1) * c.groups
    return c.replace(in_channels=count, out_channels=count if random.random() < 0.5 and c.in_channels == c.out_channels else c.out_channels)


def _out_channels(c: ConvConfig, random: Random) -> ConvConfig:
    count = random.randint(1, 4) * c.groups if c.groups > 1 else _stepped(c.out_channels, _CHANNELS, random)
    return c.replace(out_channels=count)


def _groups(c: ConvConfig, random: Random) -> ConvConfig:
    return with_groups(c, random.choice(("none", "depthwise", "depthwise", 2, 3, 4, 8)))


def _input_size(c: ConvConfig, random: Random) -> ConvConfig:
    """Take another input; where a kernel is placed side by side, one place more keeps it filled."""
    if random.random() < 0.3:
        axis = random.randrange(c.dims)
        return repaired(c.replace(input_size=_at(c.input_size, (axis,), c.input_size[axis] + random.randint(1, 3) * c.stride[axis])))
    return repaired(c.replace(input_size=_moved(c.input_size, _SIZES, random)))


def _kernel(c: ConvConfig, random: Random) -> ConvConfig:
    return with_window(c, random, kernel_size=_moved(c.kernel_size, _KERNELS, random))


def _dilation(c: ConvConfig, random: Random) -> ConvConfig:
    return with_window(c, random, dilation=_moved(c.dilation, _DILATIONS, random))


def _stride(c: ConvConfig, random: Random) -> ConvConfig:
    return repaired(c.replace(stride=_moved(c.stride, _STRIDES, random)))


def _padding(c: ConvConfig, random: Random) -> ConvConfig:
    """Take other padding: a number, half of the kernel, all of it on one side or on both, ``"same"``, or one more somewhere."""
    extents = c.effective_kernel
    choices: list[Any] = [random.choice(_PADDINGS), "same", "valid", tuple((e // 2, e // 2) for e in extents)]
    choices += [tuple((e - 1, 0) for e in extents), tuple((0, e - 1) for e in extents), tuple((e - 1, e - 1) for e in extents)]
    choices.append(tuple((max(lo + random.randint(-1, 1), 0), max(hi + random.randint(-1, 1), 0)) for lo, hi in c.pads))
    return repaired(c.replace(padding=random.choice(choices)))


def _padding_mode(c: ConvConfig, random: Random) -> ConvConfig:
    return repaired(c.replace(padding_mode=random.choice(PADDING_MODES if c.op == "conv" else PADDING_MODES[:1])))


def _output_padding(c: ConvConfig, random: Random) -> ConvConfig:
    return repaired(c.replace(output_padding=_moved(c.output_padding, (0, 1, 1, 2), random))) if c.op == "conv_transpose" else c


def _bias(c: ConvConfig, random: Random) -> ConvConfig:
    del random
    return c.replace(bias=not c.bias)


def _dtype(c: ConvConfig, random: Random) -> ConvConfig:
    return c.replace(dtype=random.choice(DTYPES[:4] if random.random() < 0.9 else DTYPES))


def _layout(c: ConvConfig, random: Random) -> ConvConfig:
    weight = random.choice(LAYOUTS) if random.random() < 0.2 else None
    return c.replace(layout=random.choice(LAYOUTS), weight_layout=weight)


def _op(c: ConvConfig, random: Random) -> ConvConfig:
    del random
    if c.op == "conv":
        return repaired(c.replace(op="conv_transpose", padding_mode="zeros"))
    return repaired(c.replace(op="conv", output_padding=0))


def _dims(c: ConvConfig, random: Random) -> ConvConfig:
    return repaired(with_dims(c, random.choice((1, 2, 3))))


MOVES: dict[str, Move] = {
    "batch": _batch,
    "in_channels": _in_channels,
    "out_channels": _out_channels,
    "groups": _groups,
    "input_size": _input_size,
    "kernel_size": _kernel,
    "stride": _stride,
    "dilation": _dilation,
    "padding": _padding,
    "padding_mode": _padding_mode,
    "output_padding": _output_padding,
    "bias": _bias,
    "dtype": _dtype,
    "layout": _layout,
    "op": _op,
    "dims": _dims,
}
"""A move for each parameter."""
_NAMES = tuple(MOVES)
_BEHIND = {
    "pads": ("padding",),
    "effective_kernel": ("kernel_size", "dilation"),
    "output_size": ("input_size", "stride", "padding"),
    "input_shape": ("batch", "in_channels", "input_size"),
    "weight_shape": ("out_channels", "in_channels", "kernel_size"),
    "output_shape": ("batch", "out_channels", "input_size"),
    "weight_layout": ("layout",),
}
"""The parameters that a derived attribute follows from."""


def moved(config: ConvConfig, random: Random, about: str = "") -> ConvConfig:
    """Return ``config`` after a move of one parameter: of what the attribute ``about`` follows from, or of any."""
    name = random.choice(_BEHIND.get(about, (about,)) if about else _NAMES)
    return MOVES.get(name, MOVES["input_size"])(config, random)


def granted(config: ConvConfig, wish: Wish, random: Random) -> list[ConvConfig]:
    """Return ``config`` with the wish granted, alone and with the parameters that go with it; nothing where no parameter does it."""
    name, path, value = wish.name, wish.path, wish.value
    if name in ("input_shape", "output_shape", "weight_shape"):
        return _with_shape(config, wish, random)
    whole = getattr(config, name)
    if path and isinstance(whole, tuple):
        values = [_at(whole, path, value)]
        if len(path) == 1:
            values.append((value,) * config.dims)
        elif isinstance(value, int):
            values.append(((value, value),) * config.dims)
    else:
        values = [value]
    return [one for v in values for one in _with(config, name, v, random)]


def _with(config: ConvConfig, name: str, value: Any, random: Random) -> list[ConvConfig]:
    if name == "pads":
        return [repaired(config.replace(padding=value))]
    if name == "effective_kernel":
        return [with_window(config.replace(dilation=1), random, kernel_size=value)]
    if name == "output_size":
        return [_with_output(config, value)]
    if name in ("kernel_size", "dilation"):
        return [repaired(config.replace(**{name: value})), with_window(config, random, **{name: value})]
    if name == "groups":
        return [with_groups(config, value)] if value >= 1 else []
    if name == "dims":
        return [repaired(with_dims(config, value))]
    if name == "in_channels" and config.groups > 1:
        depthwise = config.replace(in_channels=value, groups=value, out_channels=max(config.out_channels // config.groups, 1) * value)
        return [config.replace(in_channels=value), depthwise, config.replace(in_channels=value, groups=1)]
    if name == "out_channels" and config.groups > 1:
        return [config.replace(out_channels=value), config.replace(out_channels=value, groups=1)]
    return [repaired(config.replace(**{name: value}))]


def _with_shape(config: ConvConfig, wish: Wish, random: Random) -> list[ConvConfig]:
    """Grant a wish about a shape by the parameters that it is made of."""
    values = {wish.path[0]: wish.value} if wish.path else dict(enumerate(wish.value))
    whole = list(getattr(config, wish.name))
    first = len(whole) - config.dims
    for axis, value in values.items():
        if axis < len(whole):
            whole[axis] = value
    size = tuple(whole[first:])
    if wish.name == "weight_shape":
        rows, columns = whole[0], whole[1] * config.groups
        inputs, outputs = (columns, rows) if config.op == "conv" else (rows, columns)
        return _with(config.replace(in_channels=inputs, out_channels=outputs), "kernel_size", size, random)
    if first == 2:
        config = config.replace(batch=whole[0])
    if wish.name == "input_shape":
        return [repaired(one.replace(input_size=size)) for one in _with(config, "in_channels", whole[first - 1], random)]
    return [_with_output(one, size) for one in _with(config, "out_channels", whole[first - 1], random)]


def _with_output(config: ConvConfig, size: tuple[int, ...]) -> ConvConfig:
    """Choose the smallest input that gives an output of ``size``, or as near as there is."""
    inputs = []
    for out, (lo, hi), extent, stride, extra in zip(
        size, config.pads, config.effective_kernel, config.stride, config.output_padding, strict=True
    ):
        if config.op == "conv":
            inputs.append((out - 1) * stride + (1 if config.padding == "same" else extent - lo - hi))
        else:
            inputs.append((out + lo + hi - extent - extra) // stride + 1)
    return repaired(config.replace(input_size=tuple(max(i, 1) for i in inputs)))


def _stepped(value: int, ladder: tuple[int, ...], random: Random) -> int:
    """Take a value of the ladder, or a neighbour of what is there, its double, its half, or half of it more."""
    near = (value + 1, max(value - 1, 1), 2 * value, max(value // 2, 1), value + max(value // 2, 1))
    return random.choice(ladder if random.random() < 0.4 else near)


def _moved(values: tuple[int, ...], ladder: tuple[int, ...], random: Random) -> tuple[int, ...]:
    """Change all axes alike, or a single one."""
    if len(values) == 1 or random.random() < 0.6:
        return (_stepped(values[0], ladder, random),) * len(values)
    axis = random.randrange(len(values))
    return _at(values, (axis,), _stepped(values[axis], ladder, random))


def _at(values: tuple[Any, ...], path: tuple[int, ...], value: Any) -> tuple[Any, ...]:
    index, *rest = path
    return (*values[:index], _at(values[index], tuple(rest), value) if rest else value, *values[index + 1 :])
