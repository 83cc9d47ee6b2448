"""Kernels much larger than their input: taps that lie in the padding are left out, which changes no bit of a sum and saves much time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sampling import sample

from convfuzz import Case
from convfuzz.case.dtypes import FLOATING
from convfuzz.oracle import cpu, gradients, reference
from convfuzz.oracle.contraction import Plans
from convfuzz.strategies import cases
from convfuzz.tensors.generator import make_tensors

FAR = 2**62
LAYERS = [
    "conv1d_n2_c64_o48_i1_k31_p40_b_f32",
    "conv2d_n2_c64_o32_g2_i2x3_k9_s2x1_p16_d2_b_f32",
    "conv2d_c48_o32_i3_k15x1_p20x1_f16",
    "conv3d_n2_c12_o8_i2x1x2_k5_p6_f64",
    "convt1d_n2_c80_o32_i2_k40_s3_p2_op2_f32",
    "convt2d_n2_c32_o6_i2x1_k9x7_s1x2_d2_op1_b_f32",
    "convt3d_n2_c8_o4_i3x1x2_k7_d1x2x3_op0x1x1_f64",
    "conv2d_n2_c16_o8_i2_k9_p8_c64",
    f"conv1d_c4000_o32_i5_k3_s{FAR}_p{FAR}_d{FAR}_f32",
]
LINES_ALIKE = [
    f"{line}_grad@normal.1"
    for line in (
        # Lines of the packed source are as long as the output's.
        "conv3d_c18_o2_i7x7x3_k1x3x2_s1x1x2_p1x1x2:1_f32",
        "conv2d_n2_c3_o4_i5x5_k3_p1_f32",
        "conv2d_c2_o2_i9x3_k3x2_s1x2_p1x2:1_f64",
        "convt2d_n2_c3_o4_i5x3_k3_p1_f32",
        "convt3d_c2_o3_i4x3x3_k3_s1x1x2_p1_op0x0x1_f32",
    )
]


def _words(line: str) -> list[np.ndarray]:
    """Return all that the reference says of every pass."""
    case = Case.parse(line)
    tensors = make_tensors(case)
    x, w = tensors.x, tensors.w
    with np.errstate(all="ignore"):
        passes = [reference(case.config, x, w, tensors.b)]
        passes += gradients(case.config, x, w, tensors.dy).values() if case.grad else []
    found = [getattr(one, field.name) for one in passes for field in dataclasses.fields(one)]
    return [np.asarray(values) for values in found if values is not None]


@pytest.mark.parametrize("regime", ["normal", "integers", "cancellation", "special"])
@pytest.mark.parametrize("line", LAYERS)
def test_what_is_left_out_changes_no_bit(line: str, regime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sum of every pass is the same without the taps in the padding; NaN and Inf too, which zeros would spread."""
    recipe = "huge" if regime == "special" and line.endswith("_c64") else regime  # which complex numbers have not
    cut, choose = [], cpu._without_waste

    def noted(plans: Plans, times: int) -> Plans:
        chosen = choose(plans, times)
        cut.append(chosen is not plans)
        return chosen

    monkeypatch.setattr(cpu, "_without_waste", noted)
    quick = _words(f"{line}_grad@{recipe}.3")
    assert any(cut)
    monkeypatch.setattr(cpu, "_without_waste", lambda plans, _: plans)
    whole = _words(f"{line}_grad@{recipe}.3")
    assert [one.tobytes() for one in quick] == [one.tobytes() for one in whole]


def test_no_drawn_layer_changes_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut wherever something lies outside, worth it or not, layers as campaigns draw them keep every bit of every pass."""

    def cut_always(plans: Plans, _: int) -> Plans:
        return tuple(plan.inside for plan in plans)

    lines = [str(case) for case in sample(cases(), 400) if case.config.is_valid and case.config.dtype in FLOATING]
    lines += LINES_ALIKE
    changed = []
    for line in lines:
        monkeypatch.setattr(cpu, "_without_waste", lambda plans, _: plans)
        whole = _words(line)
        monkeypatch.setattr(cpu, "_without_waste", cut_always)
        if [one.tobytes() for one in _words(line)] != [one.tobytes() for one in whole]:
            changed.append(line)
    assert changed == []
    assert len(lines) > 200


@pytest.mark.parametrize("line", ["convt3d_n2_c65_o2_i6x1x3_k11_d1x2x3_f64", "conv2d_n8_c64_o64_i14_k3_p1_f32"])
def test_nothing_is_added_in_vain_where_that_is_much(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a kernel of eleven sites around one, of many channels, only what there is is added; a usual layer stays whole."""
    seen: list[Plans] = []
    choose = cpu._without_waste

    def noted(plans: Plans, times: int) -> Plans:
        seen.append(choose(plans, times))
        return seen[-1]

    monkeypatch.setattr(cpu, "_without_waste", noted)
    case = Case.parse(line)
    tensors = make_tensors(case)
    reference(case.config, tensors.x, tensors.w)
    (plans,) = seen
    assert all(plan.visits == plan.meetings for plan in plans) == line.startswith("convt3d")
