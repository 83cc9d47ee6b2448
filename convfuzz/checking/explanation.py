"""The founding questions, answered for any configuration: kernels, what each one sees, how results combine, sizes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz.backends import Backend
from convfuzz.backends.variants import Split, kernels
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.errors import UsageError
from convfuzz.tensors.generator import Tensors, make_tensors

_AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


def explanation(config: ConvConfig) -> list[tuple[str, list[str]]]:
    """Return sections of plain text on ``config``: (title, lines)."""
    if config.invalid_reason:
        return [("Not a valid convolution", [config.invalid_reason]), ("Shapes", _shapes(config))]
    return [
        ("Kernels", _kernels(config)),
        ("What each kernel sees", _seen(config)),
        ("How the results combine", _combined(config)),
        ("Output size", _sizes(config) if config.op == "conv" else _transposed_sizes(config)),
        ("Shapes", _shapes(config)),
    ]


def split_check(case: Case, backend: Backend) -> list[float]:
    """Return, for each output kernel, the max-abs difference between its map in the layer and on its own.

    Raises:
        UsageError: the backend raises, or returns another shape.
    """
    tensors = make_tensors(case)
    whole = _output(backend, case, tensors)
    if case.config.out_channels == 0:
        return []
    alone = _output(Split(backend), case, tensors)
    axis = 0 if case.config.batch is None else 1
    apart = []
    with np.errstate(invalid="ignore"):
        for kernel in range(case.config.out_channels):
            a, b = np.take(whole, kernel, axis), np.take(alone, kernel, axis)
            same = (a == b) | (np.isnan(a) & np.isnan(b))
            apart.append(float(np.where(same, 0.0, np.abs(a - b)).max(initial=0.0)))
    return apart


def _output(backend: Backend, case: Case, tensors: Tensors) -> npt.NDArray[np.float64]:
    try:
        y: npt.NDArray[Any] = backend.run(case, tensors)["forward"]
    except Exception as error:
        raise UsageError(f"{backend.name} raised {type(error).__name__} on {case}: {error}") from error
    if y.shape != case.config.output_shape:
        raise UsageError(f"{backend.name} returned shape {y.shape} on {case}, expected {case.config.output_shape}")
    return y.astype(np.float64)


def _times(values: tuple[int, ...]) -> str:
    return "×".join(map(str, values))


def _kernels(c: ConvConfig) -> list[str]:
    width = c.in_channels // c.groups
    each = f"{width} input channel{'s'[: width != 1]} × {_times(c.kernel_size)} taps = {c.taps} weights"
    lines = [f"{c.out_channels} kernels, one per output channel, each of shape {(width, *c.kernel_size)}: {each}"]
    total = c.out_channels * c.taps
    bias = f" and {c.out_channels} biases, one per kernel" if c.bias else ""
    lines.append(f"all kernels together: weight of shape {c.weight_shape}, {total} numbers{bias}")
    if c.op == "conv_transpose":
        lines.append("(transposed: the weight's first axis is the input channel, so that a kernel is a slice along its second)")
    return lines


def _seen(c: ConvConfig) -> list[str]:
    if c.groups == 1:
        return [f"every kernel sees all {c.in_channels} input channels"]
    width, per_group = c.in_channels // c.groups, c.out_channels // c.groups
    kind = (
        "depthwise: each kernel sees one input channel"
        if width == 1
        else f"{c.groups} groups: each kernel sees the {width} channels of its group"
    )
    lines = [kind, "(an exception to the rule that a kernel spans all input channels)"]
    seen = list(kernels(c))
    for group in range(c.groups):
        if group == 8 and c.groups > 10:
            lines.append(f"… {c.groups - 9} more groups …")
        if 8 <= group < c.groups - 1 and c.groups > 10:
            continue
        if per_group == 0:
            continue
        first, channels = seen[group * per_group]
        last = first + per_group - 1
        lines.append(f"{_range('kernel', first, last)}: input {_range('channel', channels.start, channels.stop - 1)}")
    return lines


def _range(what: str, first: int, last: int) -> str:
    if last < first:
        return f"no {what}"
    return f"{what} {first}" if first == last else f"{what}s {first} to {last}"


def _combined(c: ConvConfig) -> list[str]:
    width = c.in_channels // c.groups
    lines = []
    if c.op == "conv_transpose":
        lines.append(
            "each input site lays the kernel, times its own value, down on the output, stride apart; where they overlap they add up"
        )
        lines.append(f"each kernel does so for {width} input channel{'s'[: width != 1]}, all on one activation map")
    elif width == 1:
        lines.append("each kernel slides over its one channel: one activation map per kernel, nothing to sum across channels")
    else:
        lines.append(f"each kernel gives {width} per-channel results, which are summed into one activation map (not concatenated)")
    if c.bias:
        lines.append("the kernel's bias is added to every element of its map")
    lines.append(f"the {c.out_channels} maps are concatenated along the channel axis: they are the output channels")
    return lines


def _sizes(c: ConvConfig) -> list[str]:
    lines = []
    for axis, name in enumerate(_AXES[c.dims]):
        size, (lo, hi), k, d, s = c.input_size[axis], c.pads[axis], c.kernel_size[axis], c.dilation[axis], c.stride[axis]
        how = f", padding {c.padding!r}" if isinstance(c.padding, str) else ""
        lines.append(
            f"{name}: floor(({size} + {_signed(lo)} + {_signed(hi)} − {d}·({k} − 1) − 1) / {s}) + 1 = {c.output_size[axis]}"
            f"    (input {size}, padded {lo} and {hi}{how}, kernel {k}, dilation {d}, stride {s})"
        )
        rest = (size + lo + hi - c.effective_kernel[axis]) % s
        if rest:
            lines.append(
                f"{' ' * len(name)}  the last {rest} padded input site{'s'[: rest != 1]} are a stride's tail that no window reaches"
            )
    return lines


def _transposed_sizes(c: ConvConfig) -> list[str]:
    return [
        f"{name}: ({c.input_size[a]} − 1)·{c.stride[a]} − {_signed(c.pads[a][0])} − {_signed(c.pads[a][1])}"
        f" + {c.dilation[a]}·({c.kernel_size[a]} − 1) + {c.output_padding[a]} + 1 = {c.output_size[a]}"
        f"    (input {c.input_size[a]}, cropped {c.pads[a][0]} and {c.pads[a][1]}, kernel {c.kernel_size[a]},"
        f" dilation {c.dilation[a]}, stride {c.stride[a]}, output padding {c.output_padding[a]})"
        for a, name in enumerate(_AXES[c.dims])
    ]


def _signed(value: int) -> str:
    return str(value) if value >= 0 else f"({value})"


def _shapes(c: ConvConfig) -> list[str]:
    layout = c.layout if c.weight_layout is None else f"{c.layout}, weight {c.weight_layout}"
    lines = [
        f"x {c.input_shape}   w {c.weight_shape}   b {(c.out_channels,) if c.bias else 'none'}   y {c.output_shape}   {c.dtype}, {layout}"
    ]
    if c.is_valid:
        products = (c.flops - (math.prod(c.output_shape) if c.bias else 0)) // 2
        lines.append(f"{products:,} products, {c.flops:,} floating-point operations, {c.nbytes:,} bytes")
    return lines
