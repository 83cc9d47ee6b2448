"""How a configuration is called in TensorFlow: the function, its arguments, and the padding and cropping that it has no argument for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from convfuzz.backends.source import keywords
from convfuzz.case.config import ConvConfig


@dataclass(frozen=True)
class _Chosen:
    """A function with its arguments, the padding of x before it, and the part of its output that is kept."""

    function: str
    arguments: dict[str, Any]
    pad: list[list[int]] | None = None
    crop: tuple[slice, ...] | None = None
    extends: bool = False


class TensorFlowCall:
    """A function of ``tf.nn``: ``lines`` compute y from x, w and b, and ``values`` are what their ``$`` names stand for.

    ``filters`` is the expression that reorders w, (out, in/groups, *kernel) or transposed (in, out, *kernel), to TensorFlow's
    (*kernel, in/groups, out), or to (*kernel, in, multiplier) of a depthwise filter; ``weights`` reorders a gradient back.
    ``extends`` says that a transposed convolution's output has sites that no input site of its stride reaches.
    """

    def __init__(self, config: ConvConfig, *, generic: bool) -> None:
        chosen = _transposed(config, generic=generic) if config.op == "conv_transpose" else _forward(config, generic=generic)
        self.function, self.arguments, self.extends = chosen.function, chosen.arguments, chosen.extends
        self.crops, self.is_depthwise = chosen.crop is not None, chosen.function == "depthwise_conv2d"
        pad_mode = "REFLECT" if config.padding_mode == "reflect" else "CONSTANT"
        self.values: dict[str, object] = {**chosen.arguments, "pad": chosen.pad, "pad_mode": pad_mode}
        if chosen.crop is not None:
            self.values["crop"] = (slice(None), *chosen.crop)
        self.filters, self.weights = "np.moveaxis(w, (0, 1), (-1, -2))", "np.moveaxis({}, (-1, -2), (0, 1))"
        if self.is_depthwise:
            self.values["split"] = (config.in_channels, config.out_channels // config.in_channels, *config.kernel_size)
            self.values["merged"] = config.weight_shape
            self.filters, self.weights = "w.reshape($split).transpose(2, 3, 0, 1)", "{}.transpose(2, 3, 0, 1).reshape($merged)"
        elif config.flaw == "weight-scalar":
            self.filters = "w"
        self.lines = [
            *(["x = tf.pad(x, $pad, mode=$pad_mode)"] if chosen.pad else []),
            f"y = tf.nn.{self.function}(x, w, {keywords(self.arguments)})",
            *(["y = y[$crop]"] if self.crops else []),
            *(["y = tf.nn.bias_add(y, b)"] if config.bias else []),
        ]


def _forward(config: ConvConfig, *, generic: bool) -> _Chosen:
    """Choose the function of a convolution; zeros that it has no argument for, and reflection, are padded before it."""
    strides, dilations = _as_called(config)
    pad: list[list[int]] | None = None
    padding: Any = "SAME" if config.padding == "same" else "VALID"
    padded = [[0, 0], *map(list, config.pads), [0, 0]]
    if any(map(any, padded)):
        if config.padding_mode != "zeros" or (padding == "VALID" and (config.dims != 2 or generic)):
            pad, padding = padded, "VALID"
        elif padding == "VALID":
            padding = [*padded, [0, 0]] if config.flaw == "padding-length" else padded
    if generic:
        function, arguments = "convolution", {"strides": strides, "padding": padding, "dilations": dilations}
    elif config.dims == 1:
        function, arguments = "conv1d", {"stride": _single(strides), "padding": padding, "dilations": _single(dilations)}
    elif config.dims == 2 and config.groups == config.in_channels > 1 and config.is_valid and _depthwise_strides(config):
        function, arguments = "depthwise_conv2d", {"strides": [1, *strides, 1], "padding": padding, "dilations": dilations}
    else:
        function = f"conv{config.dims}d"
        arguments = {"strides": [1, *strides, 1], "padding": padding, "dilations": [1, *dilations, 1]}
    return _Chosen(function, arguments, pad=pad)


def _transposed(config: ConvConfig, *, generic: bool) -> _Chosen:
    """Choose the function of a transposed convolution; padding that it has no argument for is cut off a VALID output."""
    strides, dilations = _as_called(config)
    size = list(config.output_size)
    crop: tuple[slice, ...] | None = None
    extends = any(op >= stride for op, stride in zip(config.output_padding, config.stride, strict=True))
    padding: Any = "VALID"
    explicit: Any = [[0, 0], *map(list, config.pads), [0, 0]]
    if config.padding == "same":
        padding, extends = "SAME", False
    elif any(map(any, config.pads)) and config.dims == 2 and min(map(min, config.pads)) >= 0 and not generic:
        padding = [*explicit, [0, 0]] if config.flaw == "padding-length" else explicit
    elif any(map(any, config.pads)):
        axes = list(zip(_full_size(config), config.output_padding, config.pads, config.stride, strict=True))
        size = [full + max(op - hi, 0) for full, op, (_, hi), _ in axes]
        crop = tuple(slice(lo, length - max(hi - op, 0)) for length, (_, op, (lo, hi), _) in zip(size, axes, strict=True))
        extends = any(max(op - hi, 0) >= stride for _, op, (_, hi), stride in axes)
    if config.flaw == "output-length":
        size = size[:-1]
    arguments = {
        "output_shape": [config.batch, *size, config.out_channels],
        "strides": strides if generic else _single(strides) if config.dims == 1 else [1, *strides, 1],
        "padding": padding,
        "dilations": dilations if generic else _single(dilations) if config.dims == 1 else [1, *dilations, 1],
    }
    return _Chosen("conv_transpose" if generic else f"conv{config.dims}d_transpose", arguments, crop=crop, extends=extends)


def _as_called(config: ConvConfig) -> tuple[list[int], list[int]]:
    return list(config.as_called("stride", config.stride)), list(config.as_called("dilation", config.dilation))


def _single(values: list[int]) -> int | list[int]:
    return values[0] if len(values) == 1 else values


def _full_size(config: ConvConfig) -> list[int]:
    return [(size - 1) * s + extent for size, s, extent in zip(config.input_size, config.stride, config.effective_kernel, strict=True)]


def _depthwise_strides(config: ConvConfig) -> bool:
    """Return whether ``depthwise_conv2d`` takes the strides: it documents equal ones, and stride 1 with a dilation."""
    return len(set(config.stride)) == 1 and (set(config.dilation) == {1} or set(config.stride) == {1})
