"""A failure that needs equal parameters: they are reduced together, and the companion says that the equality is the trigger."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings

from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.strategies import cases
from convfuzz.triage.reduction import MOST_NEIGHBOURS, companion_of, complexity, find_companion, reduce_case, simpler
from convfuzz.triage.reduction.equal_parameters import equal_parts, with_value

Rule = Callable[[ConvConfig], bool]


def numbers(c: ConvConfig) -> bool:
    """Whether the padding is numbers."""
    return not isinstance(c.padding, str)


RULES: dict[str, tuple[str, Rule, str, str]] = {
    "C = H = W": (
        "conv2d_c4_o2_i4_k3_p1_f32",
        lambda c: c.dims == 2 and c.input_size == (c.in_channels,) * 2 and c.in_channels > 1,
        "conv2d_c2_o1_i2_k1_f32",
        "fails where input channels = height = width, at 2 and 3 alike; with input channels 3 and the rest 2 it works",
    ),
    "C = H = W from 3 on": (
        "conv2d_n2_c8_o2_i8_k3_p1_f32",
        lambda c: c.dims == 2 and c.input_size == (c.in_channels,) * 2 and c.in_channels > 2,
        "conv2d_c3_o1_i3_k1_f32",
        "fails where input channels = height = width, at 3 and 4 alike; with input channels 4 and the rest 3 it works",
    ),
    "kernel = stride": (
        "conv2d_n2_c4_o2_i9_k3_s3_p1_b_f16",
        lambda c: c.kernel_size == c.stride and c.stride[0] > 1,
        "conv1d_c1_o1_i2_k2_s2_f32",
        "fails where kernel size = stride, at 2 and 3 alike; with kernel size 1 and the rest 2 it works",
    ),
    "in = out": (
        "conv2d_n2_c24_o24_g4_i9_k3_p1_f32",
        lambda c: c.in_channels == c.out_channels > 1,
        "conv1d_c2_o2_i1_k1_f32",
        "fails where input channels = output channels, at 2 and 3 alike; with input channels 3 and the rest 2 it works",
    ),
    "padding = dilation": (
        "conv2d_n2_c4_o3_i12_k3_p3_d3_f32",
        lambda c: numbers(c) and c.padding[0] == (c.dilation[0],) * 2 and c.dilation[0] > 1,
        "conv1d_c1_o1_i1_k1_p2_d2_f32",
        "fails where dilation = padding, at 2 and 3 alike; with dilation 3 and the rest 2 it works",
    ),
    "batch = channels": (
        "conv2d_n7_c7_o3_i6_k3_f32",
        lambda c: c.batch == c.in_channels > 1,
        "conv1d_n2_c2_o1_i1_k1_f32",
        "fails where batch = input channels, at 2 and 3 alike; with batch 3 and the rest 2 it works",
    ),
    "H = W": (
        "conv2d_n7_c7_o3_i6_k3_f32",
        lambda c: c.dims == 2 and c.input_size[0] == c.input_size[1] > 1,
        "conv2d_c1_o1_i2_k1_f32",
        "fails where height = width, at 2 and 3 alike; with height 3 and the rest 2 it works",
    ),
    "C = W": (
        "conv2d_n2_c6_o3_i6_k3_f32",
        lambda c: c.input_size[-1] == c.in_channels > 1,
        "conv1d_c2_o1_i2_k1_f32",
        "fails where input channels = input size, at 2 and 3 alike; with input channels 3 and the rest 2 it works",
    ),
    "kernel = input": (
        "conv2d_n2_c3_o4_i6_k6_f32",
        lambda c: c.kernel_size[0] == c.input_size[0] > 1,
        "conv1d_c1_o1_i2_k2_f32",
        "fails where input size = kernel size, at 2 and 3 alike; with input size 3 and the rest 2 it works",
    ),
    "out = output height = output width": (
        "conv2d_n2_c3_o4_i6_k3_f32",
        lambda c: c.dims == 2 and c.output_size == (c.out_channels,) * 2 and c.out_channels > 1,
        "conv2d_c1_o2_i2_k1_f32",
        "fails where output channels = height = width, at 2 and 3 alike; with output channels 3 and the rest 2 it works",
    ),
    "four at once": (
        "conv2d_n5_c5_o5_i5_k2_s2_f32",
        lambda c: c.batch == c.in_channels == c.out_channels == c.input_size[0] > 1,
        "conv1d_n2_c2_o2_i2_k1_f32",
        "fails where batch = input channels = output channels = input size, at 2 and 3 alike; with batch 3 and the rest 2 it works",
    ),
    "a threshold and no equality": (
        "conv2d_n2_c24_o24_i9_k3_p1_f32",
        lambda c: c.in_channels > 16 and c.out_channels > 16,
        "conv1d_c17_o17_i1_k1_f32",
        "fails at 17 input channels, works at 16",
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_equal_parameters_are_reduced_together(name: str) -> None:
    """The minimal case has the smallest values that are equal, no simplification of it fails, and the companion says what matters."""
    line, rule, minimal, boundary = RULES[name]

    def fails(case: Case) -> bool:
        return case.config.is_valid and rule(case.config)

    assert fails(Case.parse(line))
    found = reduce_case(Case.parse(f"{line}@normal.1"), fails)
    assert str(found.case) == f"{minimal}@zeros"
    assert found.outcome == "minimal"
    assert not any(fails(candidate) for candidate in simpler(found.case))
    companion = companion_of(found, fails, lambda case: not fails(case))
    assert companion.boundary == boundary
    assert companion.case is not None
    assert not fails(companion.case)


def test_what_a_kernel_declines_is_no_equality() -> None:
    """Where the next value does not fail in the same way, the equality is not said to be the trigger."""
    case = Case.parse("conv1d_c2_o2_i1_k1_f32@integers.0")

    def passes(candidate: Case) -> bool:
        return candidate.config.in_channels != candidate.config.out_channels

    boundary = find_companion(case, passes, fails=lambda candidate: candidate == case).boundary
    assert boundary in ("fails at 2 output channels, works at 1", "fails at 2 input channels, works at 1")


def test_the_budget_of_a_companion_holds_for_equalities_too() -> None:
    """However many parameters are equal, no more neighbours run than a companion may take."""
    tried: list[Case] = []

    def fails(case: Case) -> bool:
        tried.append(case)
        return True

    find_companion(Case.parse("conv3d_n5_c5_o5_g5_i5_k5_s5_p5_d5_f32"), lambda case: not fails(case))
    assert len(tried) <= MOST_NEIGHBOURS


@settings(deadline=None, max_examples=150)
@given(case=cases())
def test_candidates_are_few_and_smaller(case: Case) -> None:
    """Whatever is equal in a case, few candidates come of it, and each has the same value in fewer or smaller places."""
    c = case.config
    candidates = [with_value(c, parts, max(part.plain for part in parts)) for parts in equal_parts(c)]
    assert len(candidates) <= 100
    for parts, candidate in zip(equal_parts(c), candidates, strict=True):
        assert len({part.value for part in parts}) == 1
        assert candidate != c
        assert complexity(Case(candidate))[0] <= complexity(Case(c))[0] + (c.output_size != c.input_size)
