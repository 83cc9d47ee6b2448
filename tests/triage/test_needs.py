"""What a failure takes by its minimal case: features in the values that were seen, and sizes."""

from __future__ import annotations

import pytest

from convfuzz.case import Case
from convfuzz.case.features import needed
from convfuzz.record.confirmation import Confirmation, Tally
from convfuzz.record.finding import Finding, fingerprint
from convfuzz.triage.needs import has_all
from convfuzz.verdicts import Verdict


def found(line: str, first: str = "", verdict: Verdict = Verdict.WRONG) -> Finding:
    """Return the finding of a minimal case."""
    case, first_case = Case.parse(line), Case.parse(first or line)
    features = needed(case.config, first_case.config)
    return Finding(
        fingerprint=fingerprint(case, "k.py::f", verdict, features=features),
        verdict=verdict,
        backend="k.py::f",
        case=line,
        first_case=first or line,
        features=features,
        confirmation=Confirmation(alone=Tally(5, 5)),
    )


@pytest.mark.parametrize(
    ("minimal", "larger", "smaller"),
    [
        ("conv1d_c1_o9_i1_k1_f32", "conv2d_c4_o10_g2_i5_k1_f32", "conv2d_c4_o8_g2_i5_k1_f32"),
        ("conv1d_c17_o1_i1_k1_f32", "conv2d_c20_o3_i5_k1_f32", "conv2d_c16_o3_i5_k1_f32"),
        ("conv1d_n17_c1_o1_i1_k1_f32", "conv3d_n20_c1_o1_i2_k1_f32", "conv3d_n16_c1_o1_i2_k1_f32"),
        ("conv1d_c1_o1_i3_k3_f32", "conv2d_c1_o1_i1x9_k1x3_f32", "conv2d_c1_o1_i1x9_k1x2_f32"),
        ("conv1d_c1_o1_i3_k3_f32", "conv1d_c1_o1_i1_k3_p1_f32", "conv1d_c1_o1_i1_k2_p1_f32"),
        ("conv1d_c1_o1_i33_k1_f32", "conv2d_c1_o1_i1x40_k1_f32", "conv2d_c1_o1_i32_k1_f32"),
        ("conv1d_c1_o1_i1_k1_s3_f32", "conv2d_c1_o1_i9_k1_s1x4_f32", "conv2d_c1_o1_i9_k1_s2_f32"),
    ],
)
def test_a_smaller_layer_lacks_what_it_takes(minimal: str, larger: str, smaller: str) -> None:
    """A layer with fewer channels, images, taps or sites than the minimal one fails of something else."""
    finding = found(f"{minimal}@zeros", f"{larger}@normal.1")
    assert has_all(Case.parse(larger).config, finding)
    assert not has_all(Case.parse(smaller).config, finding)


def test_a_feature_may_have_each_value_that_was_seen() -> None:
    """A minimal padding of one side came of one on both, which has what it takes; a stride, or another dtype, does not come into it."""
    finding = found("conv1d_c1_o1_i2_k1_p1:0_pmreflect_f16@zeros", "conv2d_c1_o1_i9_k3_p1_pmreflect_f16@normal.1")
    asymmetric, symmetric, same, other = (
        Case.parse(f"conv1d_c1_o1_i9_k3_{padding}_pmreflect_{dtype}").config
        for padding, dtype in (("p2:1", "f16"), ("p1", "f16"), ("psame", "f16"), ("p1", "bf16"))
    )
    assert [has_all(config, finding) for config in (asymmetric, symmetric, same, other)] == [True, True, False, False]
    seen = [Case.parse("conv1d_c1_o1_i9_k3_psame_pmreflect_f16@normal.2"), Case.parse("conv1d_c1_o1_i9_k3_p1_pmreflect_bf16@normal.2")]
    assert [has_all(config, finding, seen) for config in (asymmetric, symmetric, same, other)] == [True] * 4


def test_the_other_size_of_complex_numbers_is_roughly_the_same() -> None:
    """A hint may come of it, but it is no instance by that alone."""
    finding = found("conv1d_c1_o1_i1_k1_c64@zeros")
    config = Case.parse("conv2d_c1_o1_i9_k1_c128").config
    assert has_all(config, finding, roughly=True)
    assert not has_all(config, finding)


def test_a_kernel_of_1x1_that_was_larger_is_not_needed() -> None:
    """A kernel ends at 1x1 where it does not matter; where all that was seen had one, it may."""
    line, larger = "conv1d_c1_o1_i1_k1_s2_f32@zeros", Case.parse("conv2d_c1_o1_i9_k3_s2_f32").config
    assert has_all(larger, found(line, "conv2d_c1_o1_i9_k2_s2_f32@normal.1"))
    pointwise = found(line, "conv2d_c1_o1_i9_k1_s2_f32@normal.1")
    assert not has_all(larger, pointwise)
    assert has_all(larger, pointwise, [Case.parse("conv2d_c1_o1_i9_k2_s2_f32@normal.1")])


def test_the_weight_may_have_its_layout_from_the_input() -> None:
    """What takes a weight with gaps takes it in whichever way a case says so."""
    finding = found("conv1d_c1_o1_i2_k2_f32_wnc@zeros")
    assert has_all(Case.parse("conv2d_c2_o1_i9_k3_f32_nc").config, finding)
    assert not has_all(Case.parse("conv2d_c2_o1_i9_k3_f32_nc_wco").config, finding)


def test_rounding_takes_no_size() -> None:
    """An error of rounding depends on every size a little, so that a smaller layer may show it as well."""
    finding = found("conv1d_c1_o1_i33_k1_f16@normal.1", verdict=Verdict.IMPRECISE)
    assert has_all(Case.parse("conv1d_c1_o1_i9_k1_f16").config, finding)
