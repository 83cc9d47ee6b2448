"""Sizes, padding and validity against PyTorch, which knows nothing of ours."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.oracle import reference
from convfuzz.strategies import configs
from convfuzz.tensors.generator import make_tensors

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


def accepted_size(config: ConvConfig) -> tuple[int, ...] | None:
    """Return the size that PyTorch's own function gives for exactly these arguments, padding included; ``None`` where it raises."""
    call = torch.nn.functional.conv1d if config.op == "conv" else torch.nn.functional.conv_transpose1d
    parameters: dict[str, Any] = {"padding": [lo for lo, _ in config.pads], "groups": config.groups}
    if config.op == "conv_transpose":
        parameters["output_padding"] = config.output_padding
    try:
        y = call(
            torch.zeros(config.input_shape), torch.zeros(config.weight_shape), None, config.stride, dilation=config.dilation, **parameters
        )
    except (RuntimeError, ValueError, TypeError):
        return None
    return tuple(y.shape[2:])


@pytest.mark.parametrize("op", ["conv", "conv_transpose"])
def test_pytorch_accepts_exactly_what_is_valid(op: Any) -> None:
    """Over a grid of small and of forbidden values PyTorch accepts a layer where it is valid, and gives the size it says."""
    sizes, extras = range(1, 4), range(-1, 4) if op == "conv_transpose" else (0,)
    valid = invalid = 0
    for size, kernel, stride, padding, dilation, extra in itertools.product(sizes, range(4), range(-1, 4), range(4), range(-1, 3), extras):
        config = ConvConfig(
            op=op, dims=1, in_channels=2, out_channels=2, input_size=(size,), kernel_size=(kernel,),
            stride=(stride,), padding=((padding, padding),), dilation=(dilation,), output_padding=(extra,),
        )  # fmt: skip
        assert accepted_size(config) == (config.output_size if config.is_valid else None), config
        valid, invalid = valid + config.is_valid, invalid + (not config.is_valid)
    assert min(valid, invalid) > 100


@pytest.mark.parametrize("op", ["conv", "conv_transpose"])
def test_pytorch_divides_channels_by_the_same_rule(op: Any) -> None:
    """Groups have to divide the channels; a transposed weight, which holds outputs / groups, cannot even say other outputs."""
    for channels, outputs, groups in itertools.product(range(1, 7), range(1, 7), range(5)):
        config = ConvConfig(op=op, dims=1, in_channels=channels, out_channels=outputs, groups=groups, input_size=(3,), kernel_size=(2,))
        if op == "conv" or outputs % max(groups, 1) == 0:
            assert (accepted_size(config) is not None) == config.is_valid, config
