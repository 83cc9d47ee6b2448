"""A failing configuration shrinks to one that a person would have written."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import Phase, find, settings

from convfuzz.case.config import ConvConfig
from convfuzz.strategies import boundary, configs, default, invalid

MINIMAL: dict[str, tuple[Callable[[ConvConfig], bool], str]] = {
    "anything": (lambda _: True, "conv1d_c1_o1_i1_k1_f32"),
    "2-D": (lambda c: c.dims == 2, "conv2d_c1_o1_i1_k1_f32"),
    "strided": (lambda c: c.stride[-1] > 1, "conv1d_c1_o1_i1_k1_s2_f32"),
    "strided and grouped": (lambda c: c.stride[-1] > 1 and c.groups > 1, "conv1d_c2_o2_g2_i1_k1_s2_f32"),
    "multiplier": (lambda c: c.out_channels > c.groups == c.in_channels > 1, "conv1d_c2_o4_g2_i1_k1_f32"),
    "3-D reflect": (lambda c: c.dims == 3 and c.padding_mode == "reflect", "conv3d_c1_o1_i2_k1_p1_pmreflect_f32"),
    "batch from 16, padded": (lambda c: (c.batch or 0) >= 16 and max(map(max, c.pads)) > 0, "conv1d_n16_c1_o1_i1_k1_p1_f32"),
    "channels last": (lambda c: c.layout == "channels_last", "conv1d_c1_o1_i1_k1_f32_cl"),
    "bfloat16 with bias": (lambda c: c.dtype == "bfloat16" and c.bias, "conv1d_c1_o1_i1_k1_b_bf16"),
    "33 columns": (lambda c: c.input_size[-1] >= 33, "conv1d_c1_o1_i33_k1_f32"),
    "33 channels, dense": (lambda c: c.in_channels >= 33 and c.groups == 1, "conv1d_c33_o1_i1_k1_f32"),
    "cropping": (lambda c: c.op == "conv" and min(map(min, c.pads)) < 0, "conv1d_c1_o1_i3_k1_p-1_f32"),
    "transposed": (lambda c: c.op == "conv_transpose", "convt1d_c1_o1_i1_k1_f32"),
    "transposed, strided, grouped": (
        lambda c: c.op == "conv_transpose" and c.stride[-1] > 1 and c.groups > 1,
        "convt1d_c2_o2_g2_i1_k1_s2_f32",
    ),
    "output padding": (lambda c: any(c.output_padding), "convt1d_c1_o1_i1_k1_s2_op1_f32"),
    "transposed, same": (lambda c: c.op == "conv_transpose" and c.padding == "same", "convt1d_c1_o1_i1_k1_psame_f32"),
    "complex": (lambda c: c.dtype.startswith("complex"), "conv1d_c1_o1_i1_k1_c64"),
    "expanded weight": (lambda c: c.weight_layout == "expanded", "conv1d_c1_o1_i1_k1_f32_wex"),
}
FAST = settings(max_examples=3000, phases=[Phase.generate, Phase.shrink], database=None, deadline=None, derandomize=True)


@pytest.mark.parametrize("name", MINIMAL)
def test_minimal_configuration(name: str) -> None:
    """The minimum has what the condition asks for, and the simplest of everything else."""
    condition, minimal = MINIMAL[name]
    assert str(find(configs(), condition, settings=FAST)) == minimal


@pytest.mark.parametrize("space", [default, boundary])
def test_minimal_batch(space: Callable[[], object]) -> None:
    """A batch shrinks to the smallest configuration, with seed 0."""
    batch = find(space(), lambda batch: len(batch) > 1, settings=FAST)  # type: ignore[arg-type]
    assert str(batch[0]) == "conv1d_c1_o1_i1_k1_f32@integers.0"


def test_combination_of_four() -> None:
    """A condition on stride, dilation, groups and dtype leaves a configuration of a few multiplications."""
    config = find(
        configs(),
        lambda c: max(c.stride) > 1 and max(c.dilation) > 1 and c.groups > 2 and c.dtype != "float32",
        settings=FAST,
    )
    assert config.flops <= 100
    assert (config.groups, config.batch, config.bias, config.layout) == (3, 1, False, "contiguous")


@pytest.mark.parametrize(
    ("rule", "minimal"),
    [
        ("is larger than the padded input", "conv1d_c1_o1_i1_k2_f32@integers.0"),
        ("is not less than max(stride", "convt1d_c1_o1_i1_k1_op1_f32@integers.0"),
        ("None", "conv1d_c1_o1_i1_k1_s2147483648_f32@integers.0"),
    ],
)
def test_minimal_flaw(rule: str, minimal: str) -> None:
    """A broken rule, and a number beyond 32 bits, shrink to a layer in which nothing else is particular."""
    (case,) = find(invalid(), lambda batch: rule in str(batch[0].config.invalid_reason), settings=FAST)
    assert str(case) == minimal
