"""Conditions on the numbers of a configuration: what meets them, and how they are written."""

from __future__ import annotations

import pytest

from convfuzz.case import Case
from convfuzz.case.condition import Condition
from convfuzz.errors import InvalidConfig


@pytest.mark.parametrize(
    ("text", "met", "unmet"),
    [
        ("in_channels == 1", "conv1d_c1_o2_i5_k3", "conv1d_c2_o1_i5_k3"),
        ("groups != 1", "conv1d_c2_o2_g2_i5_k3", "conv1d_c2_o2_i5_k3"),
        ("output_size[-1] <= 1", "conv2d_c1_o1_i5x3_k3", "conv2d_c1_o1_i3x5_k3"),
        ("stride[0] > 1", "conv2d_c1_o1_i5_k3_s2x1", "conv2d_c1_o1_i5_k3_s1x2"),
        ("kernel_size[any] >= 4", "conv2d_c1_o1_i5_k1x4", "conv2d_c1_o1_i5_k3"),
        ("pads[any] < 0", "conv2d_c1_o1_i5_k1_p1x0:-1", "conv2d_c1_o1_i5_k1_p1x0:1"),
        ("batch*kernel_size >= 18", "conv2d_n2_c1_o1_i5_k3", "conv2d_c1_o1_i5_k3"),
        ("batch < 2", "conv1d_n-_c1_o1_i5_k3", "conv1d_n2_c1_o1_i5_k3"),
        ("stride[1] < 2", "conv2d_c1_o1_i5_k3", "conv1d_c1_o1_i5_k3"),
    ],
)
def test_numbers_meet_a_condition_or_do_not(text: str, met: str, unmet: str) -> None:
    """One axis, some axis, all axes multiplied and plain numbers are compared; an axis that is not there meets nothing."""
    condition = Condition.parse(text)
    assert condition.text == text
    assert condition.is_met_by(Case.parse(met).config)
    assert not condition.is_met_by(Case.parse(unmet).config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("output_size[-1]", "is not like"),
        ("output_size[-1] = 1", "is not like"),
        ("import os == 1", "is not like"),
        ("in_chanels == 1", "'in_chanels' is none of .*closest: 'in_channels'"),
        ("batch[0] == 1", "'batch' is none of"),
        ("__class__ == 1", "'__class__' is none of"),
        ("pads > 0", r"pads\[any\] stands alone"),
        ("batch*pads[any] > 0", r"pads\[any\] stands alone"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, message: str) -> None:
    """The message names it and what it could be; nothing but numbers of a configuration can be named."""
    with pytest.raises(InvalidConfig, match=message):
        Condition.parse(text)
