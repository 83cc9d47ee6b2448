"""The words for what is particular about a configuration, and the fingerprints that are made of them."""

from __future__ import annotations

import hashlib

import pytest

from convfuzz.case import Case
from convfuzz.case.features import AXES, PLAIN, features, needed, particular
from convfuzz.record.finding import fingerprint
from convfuzz.verdicts import Verdict

WORDS = [
    ("convt2d_c1_o1_i9_k3", "op", "conv_transpose"),
    ("conv3d_c1_o1_i9_k3", "dims", "3"),
    ("conv2d_c1_o1_i9_k3_bf16", "dtype", "bfloat16"),
    ("conv2d_c1_o1_i9_k3_nc", "layout", "non_contiguous"),
    ("conv2d_c1_o1_i9_k3_wtr", "weight layout", "transposed"),
    ("conv2d_c1_o1_i9_k3_cl_wcl", "weight layout", "as the input"),
    ("conv2d_n-_c1_o1_i9_k3", "batch", "unbatched"),
    ("conv2d_n0_c1_o1_i9_k3", "batch", "0"),
    ("conv2d_n14_c1_o1_i9_k3", "batch", "2-14"),
    ("conv2d_n15_c1_o1_i9_k3", "batch", "15 and more"),
    ("conv2d_c0_o1_i9_k3", "channels", "0"),
    ("conv2d_c7_o1_i9_k3", "channels", "1-7"),
    ("conv2d_c8_o1_i9_k3", "channels", "8-31"),
    ("conv2d_c32_o1_i9_k3", "channels", "32 and more"),
    ("conv2d_c1_o1_i0x9_k3_p2", "input", "no site"),
    ("conv2d_c4_o8_g2_i9_k3", "groups", "several"),
    ("conv2d_c4_o4_g4_i9_k3", "groups", "depthwise"),
    ("conv2d_c4_o8_g4_i9_k3", "groups", "depthwise with multiplier"),
    ("conv2d_c4_o8_g0_i9_k3", "groups", "less than 1"),
    ("conv2d_c4_o6_g4_i9_k3", "groups", "no divisor of the channels"),
    ("conv2d_c1_o1_i9_k1", "kernel", "1x1"),
    ("conv2d_c1_o1_i9_k4x3", "kernel", "even"),
    ("conv2d_c1_o1_i9_k3", "kernel", "other"),
    ("conv2d_c1_o1_i3x9_k3", "kernel", "equal to the padded input"),
    ("conv2d_c1_o1_i3_k3_p1", "kernel", "other"),
    ("conv2d_c1_o1_i3_k3_d2", "kernel", "larger than the padded input"),
    ("conv2d_c1_o1_i9_k0x3", "kernel", "less than 1"),
    ("convt2d_c1_o1_i2_k3", "kernel", "other"),
    ("convt2d_c1_o1_i2_k4", "kernel", "even"),
    ("convt2d_c1_o1_i2_k2_s3", "kernel", "smaller than the stride"),
    ("convt2d_c1_o1_i2_k2_s3_d2", "kernel", "even"),
    ("conv2d_c1_o1_i9_k3_s2", "stride", "more than 1"),
    ("conv2d_c1_o1_i9_k3_s2x1", "stride", "per axis"),
    ("conv2d_c1_o1_i9_k3_s0x2", "stride", "less than 1"),
    ("conv2d_c1_o1_i9_k3_d2", "dilation", "more than 1"),
    ("conv2d_c1_o1_i9_k3_d1x2", "dilation", "per axis"),
    ("conv2d_c1_o1_i9_k3_d-1", "dilation", "less than 1"),
    ("conv2d_c1_o1_i9_k3_psame", "padding", "same"),
    ("conv2d_c1_o1_i9_k3_pvalid", "padding", "valid"),
    ("conv2d_c1_o1_i9_k3_p1", "padding", "symmetric"),
    ("conv2d_c1_o1_i9_k3_p1:0", "padding", "asymmetric"),
    ("conv2d_c1_o1_i9_k3_p-1:2", "padding", "negative"),
    ("conv2d_c1_o1_i9_k3_p3", "padding", "kernel and more"),
    ("conv2d_c1_o1_i9_k3_p1_pmcircular", "padding mode", "circular"),
    ("convt2d_c1_o1_i9_k3_s2_op1", "output padding", "less than the stride"),
    ("convt2d_c1_o1_i9_k3_s1x2_d2_op1", "output padding", "stride and more"),
    ("convt2d_c1_o1_i9_k3_s2_op2", "output padding", "stride and more"),
    ("convt2d_c1_o1_i9_k3_op-1x0", "output padding", "negative"),
    ("conv2d_c1_o1_i9_k3_b", "bias", "yes"),
    ("conv2d_n0_c1_o1_i9_k3", "output", "other"),
    ("conv2d_c1_o1_i3_k3", "output", "one site"),
    ("conv2d_c1_o1_i3_k3_s2147483647", "numbers", "32 bits"),
    ("conv2d_c1_o1_i3_k3_s2147483648", "numbers", "more than 32 bits"),
    ("conv2d_c1_o1_i9_k3_bad-input-rank", "call", "input-rank"),
    ("conv2d_c3_o1_g2_i9_k3", "validity", "invalid"),
]


@pytest.mark.parametrize(("line", "axis", "word"), WORDS)
def test_word(line: str, axis: str, word: str) -> None:
    """One parameter changed gives the word for it on its axis."""
    assert features(Case.parse(line).config)[axis] == word


def test_every_axis_has_a_plain_word() -> None:
    """The plain configuration at which reductions end has a word on every axis, and nothing particular."""
    config = Case.parse("conv1d_c1_o1_i9_k3_f32").config
    assert set(features(config)) == set(PLAIN)
    assert tuple(features(config)) == AXES
    assert particular(config) == []


def test_particular_names_what_is_left() -> None:
    """The particular features of a minimal case are what the failure needs, sorted."""
    found = particular(Case.parse("conv2d_c2_o4_g2_i3_k2_s2_b_f32@integers.0").config)
    assert found == ["bias=yes", "dims=2", "groups=depthwise with multiplier", "kernel=even", "stride=more than 1"]


def test_a_broken_call_says_what_is_broken() -> None:
    """The particular features of a minimal invalid case name the flaw, so that each rule is a finding of its own."""
    assert particular(Case.parse("conv1d_c1_o1_i1_k1_s0").config) == ["kernel=1x1", "stride=less than 1", "validity=invalid"]
    assert particular(Case.parse("conv1d_c1_o1_i1_k1_bad-weight-rank").config) == ["call=weight-rank", "kernel=1x1", "validity=invalid"]


def test_fingerprint_is_stable() -> None:
    """A fingerprint is eight hex digits of a SHA-256 over words, so that other runs, versions and machines find the same one."""
    case = Case.parse("conv1d_c2_o2_g2_i1_k1_s2_bf16@integers.0")
    words = b"torch:native|wrong|forward||dtype=bfloat16|groups=depthwise|kernel=1x1|stride=more than 1"
    assert fingerprint(case, "torch:native", Verdict.WRONG) == hashlib.sha256(words).hexdigest()[:8] == "14599414"


def test_fingerprint_keeps_apart_what_differs() -> None:
    """Backend, verdict, pass, model and particular features each make another finding; sizes, seeds and data do not."""
    case = Case.parse("conv1d_c1_o1_i5_k3_s2_f32@integers.0")
    base = fingerprint(case, "torch", Verdict.WRONG)
    others = [
        fingerprint(case, "tensorflow", Verdict.WRONG),
        fingerprint(case, "torch", Verdict.IMPRECISE),
        fingerprint(case, "torch", Verdict.WRONG, "grad_input"),
        fingerprint(case, "torch", Verdict.WRONG, model="TF32 inputs"),
        fingerprint(Case.parse("conv1d_c1_o1_i5_k3_f32@integers.0"), "torch", Verdict.WRONG),
        fingerprint(Case.parse("conv1d_c1_o1_i5_k3_s2_b_f32@integers.0"), "torch", Verdict.WRONG),
    ]
    assert len({base, *others}) == 1 + len(others)
    for same in ("conv1d_c3_o2_i7_k3_s3_f32@normal.5", "conv1d_c1_o1_i5_k5_s2_f32@special.1"):
        assert fingerprint(Case.parse(same), "torch", Verdict.WRONG) == base


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ("conv2d_c1_o1_i9_k3_s1x2_f32", ["dims=2", "stride=per axis"]),  # it failed with an odd kernel
        ("conv3d_c1_o1_i9_k1_s2_f32", ["dims=2", "kernel=even", "stride=per axis"]),  # neither plain nor the same: who knows
        ("conv1d_c1_o1_i9_k3_f32", []),
    ],
)
def test_what_the_first_case_failed_without_is_not_needed(first: str, expected: list[str]) -> None:
    """A reduction adds features of its own, such as a 1x1 kernel; what a finding is told by has to fit the case it was found on."""
    assert needed(Case.parse("conv2d_c1_o1_i9_k2_s1x2_f32").config, Case.parse(first).config) == expected
