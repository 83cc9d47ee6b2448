"""Sizes, padding and validity against PyTorch, which knows nothing of ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from convfuzz.strategies import configs
from hypothesis import given, settings

from convfuzz.case import Case
from convfuzz.config import ConvConfig
from convfuzz.oracle import reference
from convfuzz.tensors import make_tensors

torch = pytest.importorskip("torch", reason="PyTorch is the other implementation here")

SAME = [
    "conv1d_c1_o1_i5_k4_psame_f32",
    "conv1d_c1_o1_i2_k5_psame_f32",
    "conv1d_c1_o1_i9_k2_d3_psame_f32",
    "conv2d_n2_c4_o6_g2_i5x7_k3x4_d2x1_psame_b_f32",
    "conv3d_c1_o2_i4x5x3_k2x3x4_psame_f32",
]


def torch_sizes(config: ConvConfig, device: str = "meta") -> tuple[int, ...]:
    """Return the spatial size of PyTorch's output; the meta device infers shapes without data."""
    functional = torch.nn.functional
    x = torch.zeros(config.input_shape if config.batch is not None else (1, *config.input_shape), device=device)
    w = torch.zeros(config.weight_shape, device=device)
    parameters: dict[str, Any] = {"stride": config.stride, "dilation": config.dilation, "groups": config.groups}
    if config.op == "conv":
        sides = [side for pair in reversed(config.pads) for side in pair]
        mode = {"zeros": "constant"}.get(config.padding_mode, config.padding_mode)
        y = getattr(functional, f"conv{config.dims}d")(functional.pad(x, sides, mode=mode), w, **parameters)
        return tuple(y.shape[2:])
    symmetric = all(lo == hi >= 0 for lo, hi in config.pads)
    if symmetric:
        parameters |= {"padding": tuple(lo for lo, _ in config.pads), "output_padding": config.output_padding}
    y = getattr(functional, f"conv_transpose{config.dims}d")(x, w, **parameters)
    if symmetric:
        return tuple(y.shape[2:])
    crops = [side for (lo, hi), extra in reversed(list(zip(config.pads, config.output_padding, strict=True))) for side in (-lo, extra - hi)]
    return tuple(functional.pad(y, crops).shape[2:])


@settings(deadline=None, max_examples=300)
@given(config=configs(empty=False))
def test_output_size(config: ConvConfig) -> None:
    """PyTorch's output has the size that the configuration says, for every kind of padding, crop and transposition."""
    assert torch_sizes(config) == config.output_size


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # it copies the input, no more
@pytest.mark.parametrize("line", SAME)
def test_same_at_stride_one_is_pytorchs(line: str) -> None:
    """The sides that "same" pads are those that PyTorch pads: the outputs agree, also where the kernel is even."""
    case = Case.parse(line)
    config, tensors = case.config, make_tensors(case)
    bias = None if tensors.b is None else torch.from_numpy(tensors.b)
    y = getattr(torch.nn.functional, f"conv{config.dims}d")(
        torch.from_numpy(tensors.x),
        torch.from_numpy(tensors.w),
        bias,
        padding="same",
        dilation=config.dilation,
        groups=config.groups,
    )
    expected = reference(config, tensors.x, tensors.w, tensors.b)
    assert expected.S is not None
    assert y.shape == config.output_shape
    assert np.all(np.abs(y.numpy() - expected.y) <= expected.n * 2.0**-23 * expected.S)


@pytest.mark.parametrize(
    "line",
    [
        "conv2d_c3_o4_g2_i5_k3",
        "conv2d_c4_o3_g2_i5_k3",
        "conv2d_c4_o4_i3_k5_p0",
        "conv2d_c4_o4_i5_k3_s0",
        "conv2d_c4_o4_i5_k3_d0",
        "conv2d_c4_o4_i5_k3_p5_pmreflect",
        "conv2d_c4_o4_i5_k3_p6_pmcircular",
        "convt2d_c4_o4_i5_k3_s2_op2",
        "convt2d_c4_o4_i1_k1_p1",
    ],
)
def test_pytorch_refuses_what_is_invalid(line: str) -> None:
    """What breaks one of the rules raises in PyTorch too."""
    config = Case.parse(line).config
    assert config.invalid_reason
    with pytest.raises((RuntimeError, ValueError)):
        torch_sizes(config, "cpu")
