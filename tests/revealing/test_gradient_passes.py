"""The arithmetic of gradients, measured as that of the forward pass that has the same sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convfuzz
from convfuzz import Case, ConvConfig, Numerics
from convfuzz.backends import resolve
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.errors import UsageError
from convfuzz.revealing.element import Element
from convfuzz.revealing.gradient_passes import GradientPass, Measured, sums_of
from convfuzz.revealing.measurement import reveal

from .kernels import Array, Kernel, backwards, lanes, split

LAYERS = (
    "conv1d_n4_c4_o2_i9_k3_f64",
    "conv1d_n-_c4_o2_i9_k3_s2_p2:1_d2_b_f32",
    "conv2d_n3_c8_o6_g2_i7x6_k3x2_s2x1_p1_b_f32",
    "conv2d_n2_c3_o4_i6x8_k3_s2_f32",
    "conv2d_n2_c4_o4_i6_k3_psame_f32_cl",
    "convt1d_n2_c4_o4_g2_i6_k4_s2_p1_b_f32",
    "convt2d_n2_c3_o2_i5x4_k3x4_s2x3_p1_op1_d1_b_f64",
)


@pytest.mark.parametrize("line", LAYERS)
@pytest.mark.parametrize("in_pass", ["grad_input", "grad_weight"])
def test_a_gradient_is_the_forward_pass_that_is_named(line: str, in_pass: Measured) -> None:
    """On small integers the gradient of the reference is exactly the sum that its forward layer has, at every element's taps."""
    layer = Case.parse(line).config
    if in_pass == "grad_weight" and (layer.groups > 1 or layer.batch is None or layer.layout != "contiguous"):
        with pytest.raises(UsageError, match="a weight's gradient is measured of layers with a batch, without groups"):
            sums_of(layer, in_pass)
        return
    gradient, sums = GradientPass(resolve("reference"), in_pass, layer.op), sums_of(layer, in_pass)
    assert gradient.supports(Case(sums)), gradient.supports(Case(sums)).reason
    case = Case.parse(f"{Case(sums)}@integers.3")
    assert not convfuzz.check(case, [gradient]).failures
    Element(gradient, sums).require_right()


@pytest.mark.parametrize(
    ("line", "in_pass", "said"),
    [
        ("conv2d_c4_o4_i6_k3_p1_pmreflect_f32", "grad_input", "padding_mode='reflect'"),
        ("conv2d_n4_c4_o4_g2_i6_k3_f32", "grad_weight", "without groups"),
        ("conv2d_n4_c4_o4_i6_k3_p1_f32", "grad_bias", "is not one of forward, grad_input, grad_weight"),
    ],
)
def test_what_has_no_such_sums_is_refused(line: str, in_pass: Any, said: str) -> None:
    """Where a gradient is no single sum of products of that form, a message says so."""
    with pytest.raises(UsageError, match=said):
        reveal("reference", line, in_pass=in_pass)


def with_gradients(forward: Kernel, to_input: Kernel, to_weight: Kernel, numerics: Numerics | None = None) -> KernelBackend:
    """Return a kernel of either op that adds up forward and backward in different ways."""

    def gradients(x: Array, w: Array, b: Array | None, dy: Array, config: ConvConfig) -> tuple[Array, Array]:
        dx, dw = np.zeros_like(x), np.zeros_like(w)
        if config.op == "conv_transpose":
            dx = to_input(dy, w, None, sums_of(config, "grad_input"))
        else:
            dw = to_weight(x.swapaxes(0, 1), dy.swapaxes(0, 1), None, sums_of(config, "grad_weight")).swapaxes(0, 1)
        return dx, np.ascontiguousarray(dw)

    @convfuzz.backend(
        ops=("conv", "conv_transpose"),
        gradients=gradients,
        numerics=numerics or Numerics(),
        supports=lambda c: c.groups == 1 and c.batch is not None and c.padding_mode == "zeros" and max(c.dilation) == max(c.stride) == 1,
        bias=(False,),
    )
    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        return forward(x, w, b, config) if config.op == "conv" else np.zeros(config.output_shape, x.dtype)

    return KernelBackend("planted", kernel)


def test_the_gradient_of_an_input_has_its_own_sheet() -> None:
    """The order and the formats of the gradient are told, not those of the forward pass; the case is the layer's own, with gradients."""
    backend = with_gradients(Kernel(), Kernel(lanes(8), accumulator=np.float64), Kernel())
    sheet = reveal(backend, "convt2d_n4_c2_o16_i5_k3_p1_f32", in_pass="grad_input", invariance=False, advice=False)
    assert (sheet.order, sheet.block, sheet.accumulator, sheet.in_pass) == ("lanes", 8, "float64", "grad_input")
    assert sheet.case == "convt2d_n4_c2_o16_i5_k3_p1_f32_grad"
    assert sheet.notes.not_understood == []


def test_the_gradient_of_a_weight_goes_over_samples() -> None:
    """So are those of a weight, whose sums go over samples and sites."""
    backend = with_gradients(Kernel(), Kernel(), Kernel(backwards))
    sheet = reveal(backend, "conv1d_n8_c4_o2_i8_k3_p1_f32", in_pass="grad_weight", invariance=False, advice=False)
    assert (sheet.order, sheet.accumulator, sheet.taps) == ("reversed", "float32", 64)
    assert "sample ▸ column" in sheet.order_in_words


def test_a_gradient_has_its_own_declaration() -> None:
    """What is advised of a gradient is declared as that of the gradients, beside what is declared of the forward pass today."""
    backend = with_gradients(Kernel(), Kernel(split(2), accumulator=np.float64), Kernel())
    sheet = reveal(backend, "convt1d_n4_c2_o16_i6_k3_p1_f32", in_pass="grad_input", invariance=False)
    assert sheet.declare == "Numerics(gradients=Numerics(accumulator='float64'))"
    assert sheet.declared == "Numerics()"
    assert sheet.sharper is not None
    assert sheet.sharper > 2.0
