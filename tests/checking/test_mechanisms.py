"""Mistakes that explain every element of an output: each tells its own kernel, and no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import convfuzz
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.checking.mechanisms import MECHANISMS, explained, in_memory_order

Kernel = Callable[[Any, Any, Any, ConvConfig], Any]


def right(x: Any, w: Any, b: Any, config: ConvConfig) -> Any:
    """Compute the layer."""
    return convfuzz.reference(config, x, w, b).y.astype(x.dtype)


def gaps(x: Any, w: Any, b: Any, config: ConvConfig) -> Any:
    """Leave zeros where no window is."""
    y = right(x, w, b, config)
    reached = convfuzz.reference(config, np.ones_like(x), np.ones_like(w)).y != 0
    return np.where(reached, y, 0).astype(y.dtype)


def crops_the_other_side(x: Any, w: Any, b: Any, config: ConvConfig) -> Any:
    """Take (lo, hi) for (hi, lo)."""
    return right(x, w, b, config.replace(padding=tuple((hi, lo) for lo, hi in config.pads)))


def strides_in_reverse(x: Any, w: Any, b: Any, config: ConvConfig) -> Any:
    """Take the strides of the axes in reverse order, where that gives as many sites."""
    y = right(x, w, b, config.replace(stride=config.stride[::-1]))
    return y if y.shape == config.output_shape else right(x, w, b, config)


def weight_as_it_lies(x: Any, w: Any, b: Any, config: ConvConfig) -> Any:
    """Read the weight's memory in order."""
    read = in_memory_order(w)
    return right(x, w if read is None else read, b, config)


def bias_when_strided(x: Any, w: Any, b: Any, config: ConvConfig) -> Any:
    """Leave the bias out at a stride, wherever a window is."""
    return right(x, w, None if max(config.stride) > 1 else b, config)


GAPS = "elements that no tap reaches lack the bias"
SIDES = "the two sides of the padding exchanged"
WEIGHT = "the weight's memory read as if it were contiguous"


@pytest.mark.parametrize(
    ("kernel", "line", "mistake"),
    [
        (gaps, "convt1d_c1_o1_i2_k1_s2_b_f32", GAPS),
        (gaps, "convt1d_c1_o1_i1_k2_d2_b_f32", GAPS),
        (gaps, "convt1d_c1_o1_i1_k1_s2_op1_b_f32", GAPS),
        (gaps, "convt3d_n2_c4_o6_g2_i3x4x5_k2x1x2_s3x2x3_b_f16", GAPS),
        (crops_the_other_side, "convt1d_c1_o1_i2_k1_p1:0_f32", SIDES),
        (crops_the_other_side, "conv2d_n2_c3_o2_i6x5_k3_p1:0x2:1_b_bf16", SIDES),
        (weight_as_it_lies, "conv1d_c2_o2_i1_k1_f32_wtr", WEIGHT),
        (weight_as_it_lies, "conv1d_c1_o1_i2_k2_f32_wnc", WEIGHT),
        (strides_in_reverse, "conv2d_c2_o2_i6_k2_s2x3_f32", ""),
        (right, "convt2d_c2_o2_i3_k2_s3x2_p1:0_b_f32_wtr", ""),
        (bias_when_strided, "convt1d_c1_o1_i2_k3_s2_b_f32", ""),
        (gaps, "convt1d_c1_o1_i2_k2_s2_b_f32", ""),
        (gaps, "convt1d_c1_o1_i2_k1_s2_b_i32", ""),
    ],
)
def test_mistake_explains_its_kernel_and_no_other(kernel: Kernel, line: str, mistake: str) -> None:
    """What is right has no explanation, nor has what no mistake predicts in every element, or integers."""
    assert explained(Case.parse(line), KernelBackend("k", kernel)) == ([mistake] if mistake else [])


def test_axes_that_are_taken_for_each_other_are_told() -> None:
    """A kernel that takes the padding of the axes in reverse order gets that explanation."""

    def reverses(x: Any, w: Any, b: Any, config: ConvConfig) -> Any:
        return right(x, w, b, config.replace(padding=config.pads[::-1]))

    assert explained(Case.parse("conv2d_c2_o2_i6_k3_p2:0x1:1_f32"), KernelBackend("k", reverses)) == [
        "the padding of the axes in reverse order"
    ]


def test_two_mistakes_at_once_are_explained_by_neither() -> None:
    """Where another bug has a part in the output, no mistake fits it."""

    def both(x: Any, w: Any, b: Any, config: ConvConfig) -> Any:
        return gaps(x, w, b, config.replace(padding=tuple((hi, lo) for lo, hi in config.pads)))

    assert explained(Case.parse("convt1d_c1_o1_i3_k1_s2_p1:0_b_f32"), KernelBackend("k", both)) == []


def test_kernel_that_raises_or_returns_something_else_is_not_explained() -> None:
    """An exception, another shape and another dtype are explained by nothing."""

    def raises(x: Any, w: Any, b: Any, config: ConvConfig) -> Any:
        raise ValueError("no")

    for kernel in (raises, lambda *given: right(*given)[..., :1], lambda *given: right(*given).astype(np.float64)):
        assert explained(Case.parse("convt1d_c1_o1_i2_k1_s2_b_f32"), KernelBackend("k", kernel)) == []


def test_every_mistake_changes_nothing_in_a_plain_layer() -> None:
    """One that needed a trigger besides what it misreads would say nothing of the trigger; a square plain layer has none of them."""
    from convfuzz.checking.mechanisms import _Layer  # noqa: PLC0415 - what they compute is no public thing
    from convfuzz.tensors.generator import make_tensors  # noqa: PLC0415

    case = Case.parse("conv2d_n2_c4_o6_g2_i7_k3_s2_p1_d2_b_f32@integers.1")
    layer = _Layer(case.config, make_tensors(case))
    for name, mechanism in MECHANISMS.items():
        y = mechanism(layer)
        assert y is None or (y == layer.right.y).all(), name
