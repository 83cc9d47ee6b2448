"""A layer's gradient as the forward pass of another layer, which adds up the same products: what measures the one measures the other.

The gradient of a convolution's input is the transposed convolution of the output's gradient with the same weight, and the reverse.
That of its weight is a convolution of the input with the output's gradient as the kernel, samples as channels, and stride and
dilation exchanged (Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016, chapter 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from convfuzz.backends import Backend, Numerics, Outputs, Support
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.errors import InvalidConfig, UsageError
from convfuzz.tensors.generator import Array, Tensors

Measured = Literal["forward", "grad_input", "grad_weight"]
MEASURED: tuple[Measured, ...] = ("forward", "grad_input", "grad_weight")
"""The passes whose arithmetic can be measured; the gradient of a bias is a sum with no products."""


class GradientPass:
    """One gradient of a backend, as a backend for the layers whose forward pass has the same sums.

    Args:
        backend: computes the gradients.
        in_pass: which gradient.
        op: the operation whose gradient it is.
    """

    def __init__(self, backend: Backend, in_pass: Measured, op: str) -> None:
        self.name = backend.name
        self._backend, self._pass, self._op = backend, in_pass, op

    @property
    def versions(self) -> Mapping[str, str]:
        """Those of the backend."""
        return self._backend.versions

    def supports(self, case: Case) -> Support:
        """Whether the forward pass of ``case`` is the gradient of a layer that the backend computes with gradients."""
        layer = None if case.grad or not case.config.is_valid else self.layer_of(case.config)
        return Support.no("the gradient of no layer") if layer is None else self._backend.supports(Case(layer, grad=True))

    def numerics(self, case: Case) -> Numerics:
        """What the backend declares of the gradient."""
        layer = self.layer_of(case.config)
        assert layer is not None, "only supported cases are asked for"
        return self._backend.numerics(Case(layer, grad=True)).in_pass(self._pass)

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Return the gradient, where the forward pass of ``case`` would be."""
        layer = self.layer_of(case.config)
        assert layer is not None, "only supported cases are run"
        zeros = {"x": layer.input_shape, "w": layer.weight_shape, "dy": layer.output_shape}
        given: dict[str, Array] = {name: np.zeros(shape, tensors.x.dtype) for name, shape in zeros.items()}
        if self._pass == "grad_input":
            given["dy"], given["w"] = tensors.x, tensors.w
            return {"forward": self._gradient(layer, given)}
        images, kernels = np.ascontiguousarray(tensors.x.swapaxes(0, 1)), np.ascontiguousarray(tensors.w.swapaxes(0, 1))
        given["x"], given["dy"] = (images, kernels) if self._op == "conv" else (kernels, images)
        return {"forward": np.ascontiguousarray(self._gradient(layer, given).swapaxes(0, 1))}

    def _gradient(self, layer: ConvConfig, given: Mapping[str, Array]) -> Array:
        tensors = Tensors(given["x"], given["w"], None, given["dy"])
        return np.asarray(self._backend.run(Case(layer, grad=True), tensors)[self._pass])

    def layer_of(self, sums: ConvConfig) -> ConvConfig | None:
        """Return the layer whose gradient has the sums of the forward pass of ``sums``, ``None`` where there is none."""
        if sums.padding_mode != "zeros" or sums.bias or any(pad < 0 for pads in sums.pads for pad in pads):
            return None
        try:
            layer = _of_input(sums) if self._pass == "grad_input" else self._weight_layer(sums)
        except InvalidConfig:
            return None
        return layer if layer is not None and layer.op == self._op and layer.is_valid and self._is_of(layer, sums) else None

    def _is_of(self, layer: ConvConfig, sums: ConvConfig) -> bool:
        """Whether the sums of the layer's gradient are those, of the same sizes: a stride may leave some of an input out."""
        try:
            found = sums_of(layer, self._pass)
        except UsageError:
            return False
        return found == sums.replace(padding=sums.pads)

    def _weight_layer(self, sums: ConvConfig) -> ConvConfig | None:
        if sums.op != "conv" or sums.groups != 1 or sums.batch is None or sums.layout != "contiguous":
            return None
        is_conv = self._op == "conv"
        layer = sums.replace(
            op=self._op,
            batch=sums.in_channels,
            in_channels=sums.batch if is_conv else sums.out_channels,
            out_channels=sums.out_channels if is_conv else sums.batch,
            input_size=sums.input_size if is_conv else sums.kernel_size,
            kernel_size=sums.output_size,
            stride=sums.dilation,
            dilation=sums.stride,
            padding=sums.pads,
        )
        if is_conv:
            return layer
        rest = tuple(size - made for size, made in zip(sums.input_size, layer.output_size, strict=True))
        return layer.replace(output_padding=rest)


def sums_of(layer: ConvConfig, in_pass: str) -> ConvConfig:
    """Return the layer whose forward pass has the sums of a gradient of ``layer``.

    Raises:
        UsageError: there is none.
    """
    if layer.padding_mode != "zeros":
        raise UsageError(
            f"{Case(layer)}: gradients are measured where padding is zeros; padding_mode={layer.padding_mode!r} adds more terms"
        )
    try:
        found = _of_input(layer) if in_pass == "grad_input" else _of_weight(layer)
    except InvalidConfig as error:
        raise UsageError(f"{Case(layer)}: {in_pass} is not measured: {error}") from None
    if not found.is_valid:
        raise UsageError(f"{Case(layer)}: {in_pass} is not measured: as a forward pass, {found.invalid_reason}")
    return found


def _of_input(layer: ConvConfig) -> ConvConfig:
    """Return the other operation with the same weight, from the output to the input."""
    other = layer.replace(
        op="conv_transpose" if layer.op == "conv" else "conv",
        in_channels=layer.out_channels,
        out_channels=layer.in_channels,
        input_size=layer.output_size,
        padding=layer.pads,
        output_padding=(0,) * layer.dims,
        bias=False,
    )
    if other.op == "conv":
        return other
    # What a stride leaves over at the end of the input is the transposed layer's output padding.
    return other.replace(output_padding=tuple(size - made for size, made in zip(layer.input_size, other.output_size, strict=True)))


def _of_weight(layer: ConvConfig) -> ConvConfig:
    if layer.groups != 1 or layer.batch is None or layer.layout != "contiguous":
        raise InvalidConfig("a weight's gradient is measured of layers with a batch, without groups, in the usual layout")
    is_conv = layer.op == "conv"
    return layer.replace(
        op="conv",
        batch=layer.in_channels if is_conv else layer.out_channels,
        in_channels=layer.batch,
        out_channels=layer.out_channels if is_conv else layer.in_channels,
        input_size=layer.input_size if is_conv else layer.output_size,
        kernel_size=layer.output_size if is_conv else layer.input_size,
        stride=layer.dilation,
        dilation=layer.stride,
        padding=layer.pads,
        output_padding=(0,) * layer.dims,
        bias=False,
    )
