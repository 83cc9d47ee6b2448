"""Other projects' samples of convolutions: the arguments of their functions and operators, each as a configuration.

Every function below takes what its original takes, by the original's names, so that an argument that it does not know
is a TypeError and no sample loses a part unnoticed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convfuzz.case.config import ConvConfig

Numbers = int | Sequence[int]


def torch_conv(
    x: Any, weight: Any, bias: Any = None, stride: Numbers = 1, padding: Numbers | str = 0, dilation: Numbers = 1, groups: int = 1
) -> ConvConfig:
    """Return the layer that ``torch.nn.functional.conv1d``, ``conv2d`` or ``conv3d`` computes."""
    return _layer("conv", x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)


def torch_conv_transpose(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Numbers = 1,
    padding: Numbers = 0,
    output_padding: Numbers = 0,
    groups: int = 1,
    dilation: Numbers = 1,
) -> ConvConfig:
    """Return the layer that ``torch.nn.functional.conv_transpose1d``, ``2d`` or ``3d`` computes."""
    return _layer(
        "conv_transpose",
        x,
        weight,
        bias,
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        groups=groups,
        dilation=dilation,
    )


def onnx_conv(
    x: Any,
    weight: Any,
    bias: Any = None,
    *,
    auto_pad: bytes = b"NOTSET",
    dilations: Numbers = 1,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Numbers = 1,
) -> ConvConfig:
    """Return the layer that ONNX's operator Conv computes; https://onnx.ai/onnx/operators/onnx__Conv.html."""
    layer = _layer("conv", x, weight, bias, kernel_size=kernel_shape, stride=strides, dilation=dilations, groups=group)
    if not auto_pad.startswith(b"SAME"):
        return layer.replace(padding=_sides(pads) or 0)
    padding = []
    for size, extent, stride in zip(layer.input_size, layer.effective_kernel, layer.stride, strict=True):
        outputs = -(-size // stride)
        padding.append(_split(max((outputs - 1) * stride + extent - size, 0), odd_at_end=auto_pad == b"SAME_UPPER"))
    return layer.replace(padding=tuple(padding))


def onnx_conv_transpose(
    x: Any,
    weight: Any,
    bias: Any = None,
    *,
    auto_pad: bytes = b"NOTSET",
    dilations: Numbers = 1,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    output_padding: Numbers = 0,
    output_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Numbers = 1,
) -> ConvConfig:
    """Return the layer that ONNX's operator ConvTranspose computes; https://onnx.ai/onnx/operators/onnx__ConvTranspose.html."""
    parameters: dict[str, Any] = {"stride": strides, "output_padding": output_padding, "dilation": dilations, "groups": group}
    layer = _layer("conv_transpose", x, weight, bias, kernel_size=kernel_shape, **parameters)
    if output_shape is None and auto_pad.startswith(b"SAME"):
        output_shape = [size * stride for size, stride in zip(layer.input_size, layer.stride, strict=True)]
    if output_shape is None:
        return layer.replace(padding=_sides(pads) or 0)
    # Without padding the output has its full size; what is more than asked for is cropped, what is less is added.
    totals = [full - wanted for full, wanted in zip(layer.output_size, output_shape, strict=True)]
    return layer.replace(padding=tuple(_split(total, odd_at_end=auto_pad == b"SAME_UPPER") for total in totals))


def _layer(op: Any, x: Any, weight: Any, bias: Any, *, groups: int, kernel_size: Any = None, **parameters: Any) -> ConvConfig:
    dims = weight.ndim - 2
    leading, size = x.shape[:-dims], x.shape[-dims:]
    return ConvConfig(
        op=op,
        dims=dims,
        batch=leading[0] if len(leading) > 1 else None,
        in_channels=leading[-1],
        out_channels=weight.shape[0] if op == "conv" else weight.shape[1] * groups,
        groups=groups,
        input_size=tuple(size),
        kernel_size=tuple(kernel_size or weight.shape[2:]),
        bias=bias is not None,
        dtype=str(x.dtype).removeprefix("torch."),
        **parameters,
    )


def _sides(pads: Sequence[int] | None) -> tuple[tuple[int, int], ...]:
    """Pair ONNX's list, which has the beginnings of all axes before their ends."""
    pads = pads or ()
    return tuple(zip(pads[: len(pads) // 2], pads[len(pads) // 2 :], strict=True))


def _split(total: int, *, odd_at_end: bool) -> tuple[int, int]:
    """Halve the padding of an axis; the half rounds down, also below zero, as ONNX's test_convtranspose_output_shape expects."""
    half = total // 2
    return (half, total - half) if odd_at_end else (total - half, half)
