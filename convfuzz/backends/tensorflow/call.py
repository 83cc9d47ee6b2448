"""The call of ``tf.nn`` that a configuration is: the function, its arguments, and what is done around it where they cannot say it."""

from __future__ import annotations

from typing import Any

from convfuzz.backends.source import keywords
from convfuzz.case.config import ConvConfig


class TensorFlowCall:
    """A function of ``tf.nn``: ``lines`` compute y from x, w and b, and ``values`` are what their ``$`` names stand for.

    ``filters`` is the expression that reorders w, (out, in/groups, *kernel) or transposed (in, out, *kernel), to TensorFlow's
    (*kernel, in/groups, out), or to (*kernel, in, multiplier) of a depthwise filter; ``weights`` reorders a gradient back.
    ``extends`` says that a transposed convolution's output has sites that no input site of its stride reaches.
    """

    def __init__(self, config: ConvConfig, *, generic: bool) -> None:
        self.pad: list[list[int]] | None = None
        self.crop: tuple[slice, ...] | None = None
        self.pad_mode = "REFLECT" if config.padding_mode == "reflect" else "CONSTANT"
        self.extends = False
        self.function = ""
        self.arguments: dict[str, Any] = {}
        strides = list(config.as_called("stride", config.stride))
        dilations = list(config.as_called("dilation", config.dilation))
        if config.op == "conv_transpose":
            self._transposed(config, strides, dilations, generic=generic)
        else:
            self._forward(config, strides, dilations, generic=generic)
        self.is_depthwise = self.function == "depthwise_conv2d"
        self.values: dict[str, object] = {**self.arguments, "pad": self.pad, "pad_mode": self.pad_mode}
        if self.crop is not None:
            self.values["crop"] = (slice(None), *self.crop)
        self.filters, self.weights = "np.moveaxis(w, (0, 1), (-1, -2))", "np.moveaxis({}, (-1, -2), (0, 1))"
        if self.is_depthwise:
            self.values["split"] = (config.in_channels, config.out_channels // config.in_channels, *config.kernel_size)
            self.values["merged"] = config.weight_shape
            self.filters, self.weights = "w.reshape($split).transpose(2, 3, 0, 1)", "{}.transpose(2, 3, 0, 1).reshape($merged)"
        elif config.flaw == "weight-scalar":
            self.filters = "w"
        self.lines = [
            *(["x = tf.pad(x, $pad, mode=$pad_mode)"] if self.pad else []),
            f"y = tf.nn.{self.function}(x, w, {keywords(self.arguments)})",
            *(["y = y[$crop]"] if self.crop is not None else []),
            *(["y = tf.nn.bias_add(y, b)"] if config.bias else []),
        ]

    def _forward(self, config: ConvConfig, strides: list[int], dilations: list[int], *, generic: bool) -> None:
        """Choose the function of a convolution; what it has no padding for is padded before."""
        padding: Any = "SAME" if config.padding == "same" else "VALID"
        padded = [[0, 0], *map(list, config.pads), [0, 0]]
        if any(map(any, padded)):
            if config.padding_mode != "zeros" or (padding == "VALID" and (config.dims != 2 or generic)):
                self.pad, padding = padded, "VALID"
            elif padding == "VALID":
                padding = [*padded, [0, 0]] if config.flaw == "padding-length" else padded
        if generic:
            self.function = "convolution"
            self.arguments = {"strides": strides, "padding": padding, "dilations": dilations}
        elif config.dims == 1:
            self.function = "conv1d"
            self.arguments = {"stride": _single(strides), "padding": padding, "dilations": _single(dilations)}
        elif config.dims == 2 and config.groups == config.in_channels > 1 and config.is_valid and _depthwise_strides(config):
            self.function = "depthwise_conv2d"
            self.arguments = {"strides": [1, *strides, 1], "padding": padding, "dilations": list(dilations)}
        else:
            self.function = f"conv{config.dims}d"
            self.arguments = {"strides": [1, *strides, 1], "padding": padding, "dilations": [1, *dilations, 1]}

    def _transposed(self, config: ConvConfig, strides: list[int], dilations: list[int], *, generic: bool) -> None:
        """Choose the function of a transposed convolution; padding that it has no argument for is cut off a VALID output."""
        self.function = "conv_transpose" if generic else f"conv{config.dims}d_transpose"
        size = list(config.output_size)
        padding: Any = "VALID"
        explicit: Any = [[0, 0], *map(list, config.pads), [0, 0]]
        if config.padding == "same":
            padding = "SAME"
        elif any(map(any, config.pads)) and config.dims == 2 and min(map(min, config.pads)) >= 0 and not generic:
            padding = [*explicit, [0, 0]] if config.flaw == "padding-length" else explicit
        elif any(map(any, config.pads)):
            size, crop = [], []
            for full, op, (lo, hi), stride in zip(_full_size(config), config.output_padding, config.pads, config.stride, strict=True):
                extra = max(op - hi, 0)
                self.extends |= extra >= stride
                size.append(full + extra)
                crop.append(slice(lo, full + extra - max(hi - op, 0)))
            self.crop = tuple(crop)
        if config.padding != "same" and self.crop is None:
            self.extends = any(op >= stride for op, stride in zip(config.output_padding, config.stride, strict=True))
        if config.flaw == "output-length":
            size = size[:-1]
        self.arguments = {
            "output_shape": [config.batch, *size, config.out_channels],
            "strides": strides if generic else _single(strides) if config.dims == 1 else [1, *strides, 1],
            "padding": padding,
            "dilations": dilations if generic else _single(dilations) if config.dims == 1 else [1, *dilations, 1],
        }


def _single(values: list[int]) -> int | list[int]:
    return values[0] if len(values) == 1 else values


def _full_size(config: ConvConfig) -> list[int]:
    return [(size - 1) * s + extent for size, s, extent in zip(config.input_size, config.stride, config.effective_kernel, strict=True)]


def _depthwise_strides(config: ConvConfig) -> bool:
    """``depthwise_conv2d`` documents equal strides, and stride 1 where it is dilated."""
    return len(set(config.stride)) == 1 and (set(config.dilation) == {1} or set(config.stride) == {1})
