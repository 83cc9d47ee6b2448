"""Configurations read out in words."""

from __future__ import annotations

import re

import pytest
from convfuzz.reports.geometry import Reading, read

from convfuzz.case import Case


def reading(line: str, worst: tuple[int, ...] = ()) -> Reading:
    """Read a case's line out."""
    return read(Case.parse(line), worst)


def words(line: str, name: str) -> str:
    """Return what the reading says about one tensor."""
    return next(t.meaning for t in reading(line).tensors if t.name == name).replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("conv2d_c3_o10_i8_k3_f32", "10 kernels each over all 3 input channels, 3 × 3 taps: 27 products an element"),
        ("conv2d_c8_o16_g2_i8_k3x5_f32", "16 kernels each over 4 of 8 input channels (2 groups), 3 × 5 taps: 60 products an element"),
        ("conv1d_c1_o1_i4_k1_f32", "1 kernel over the one input channel, 1 tap: 1 product an element"),
        ("convt2d_c4_o6_g2_i3_k2_f32", "each of 4 input channels spreads over 3 output channels by 2 × 2 taps"),
    ],
)
def test_a_kernel_is_said_to_span_the_channels_of_its_group(line: str, meaning: str) -> None:
    """The weight's line says how many kernels there are and which channels each one sees."""
    assert words(line, "w") == meaning


@pytest.mark.parametrize(
    ("line", "axis", "arithmetic"),
    [
        ("conv2d_c1_o1_i17_k3_s2_p1_f32", "height and width", "⌊(17 + 1 + 1 − 3) / 2⌋ + 1 = 9"),
        ("conv1d_c1_o1_i9_k3_d2_f32", "length", "⌊(9 − (2·(3 − 1) + 1)) / 1⌋ + 1 = 5"),
        ("conv1d_c1_o1_i9_k3_p-2:1_f32", "length", "⌊(9 − 2 + 1 − 3) / 1⌋ + 1 = 6"),
        ("convt1d_c1_o1_i3_k3_s2_p1_op1_f32", "length", "(3 − 1)·2 − 1 − 1 + 3 + 1 = 6"),
    ],
)
def test_the_output_size_comes_with_its_arithmetic(line: str, axis: str, arithmetic: str) -> None:
    """Each axis has the formula with its numbers, and equal axes share one line."""
    assert reading(line).sizes[0] == (axis, arithmetic)


@pytest.mark.parametrize(
    "line", ["conv2d_c3_o2_g2_i4_k3_f32", "conv2d_c1_o1_i2_k5_f32", "conv1d_c1_o1_g0_i4_k3_f32", "conv1d_c1_o1_i4_k3_s0_f32"]
)
def test_an_invalid_configuration_says_which_rule_it_breaks(line: str) -> None:
    """What is no convolution has its reason and no picture."""
    said = reading(line)
    assert said.invalid == Case.parse(line).config.invalid_reason
    assert said.incidences == ()


def taps_in(svg: str) -> int:
    """Count the dots of a picture."""
    return sum(path.count("M") for path in re.findall(r'class="tap [a-z]+" d="([^"]*)"', svg))


@pytest.mark.parametrize(
    ("line", "taps"),
    [
        ("conv1d_c1_o1_i5_k3_f32", 9),
        ("conv1d_c1_o1_i5_k3_s2_p1_f32", 9),
        ("convt1d_c1_o1_i3_k3_s2_f32", 9),
        ("convt1d_c1_o1_i3_k2_s2_p1_f32", 4),
    ],
)
def test_the_picture_has_one_dot_per_tap(line: str, taps: int) -> None:
    """Every meeting of an output site, an input site and a tap is one dot, padding included, cropped outputs not."""
    (picture,) = reading(line).incidences
    assert taps_in(picture.svg) == taps


def test_inputs_that_no_output_reads_are_pointed_out() -> None:
    """A stride past the kernel leaves input sites unread, which the note counts."""
    (picture,) = reading("conv1d_c1_o1_i9_k1_s3_f32").incidences
    assert picture.note == "6 input sites never read"


def test_the_worst_element_is_marked_and_in_view() -> None:
    """The picture shows the output site of the worst element, however far out it is."""
    (near,) = reading("conv1d_c1_o1_i32_k3_f32", (0, 0, 2)).incidences
    (far,) = reading("conv1d_c1_o1_i32_k3_f32", (0, 0, 29)).incidences
    assert near.points
    assert far.points


def test_a_large_axis_has_no_picture() -> None:
    """An axis that does not fit is left to the arithmetic."""
    assert reading("conv1d_c1_o1_i1000000000_k3_f32").incidences == ()
