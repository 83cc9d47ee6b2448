"""Quality: a failing case of a planted mistake ends as a case that a reader understands at once."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from statistics import median

import pytest

from convfuzz.case import Case
from convfuzz.record.finding import Finding

from .bugs import PLANTED
from .reducing import Reduced, reduced

BUSY = {
    "last_tap_dropped": "conv3d_n2_c6_o4_g2_i7x5x6_k3x2x3_s2x1x1_p1_b_f64_cl@normal.5",
    "kernel_flipped": "conv2d_n3_c4_o6_g2_i9x7_k3_s2_p1_b_f32@normal.7",
    "output_width_tail_missing": "conv2d_n2_c3_o2_i9x29_k3_p1_b_f16@positive.3",
    "first_stride_everywhere": "conv3d_c2_o3_i9_k3_s1x2x3_p1_b_f32@cancellation.1",
    "large_kernel_truncated": "conv2d_n2_c2_o2_i12x13_k9x3_p2_f64@normal.9",
    "padding_sides_swapped": "conv2d_n2_c3_o4_i7x9_k3_p1:0x2:1_d2_b_f32@normal.1",
    "circular_off_by_one": "conv2d_n2_c3_o2_i7_k3_p2:1_pmcircular_b_f64@normal.8",
    "reflect_as_replicate": "conv3d_n2_c2_o2_i5_k3_p1_pmreflect_b_f32@sparse.4",
    "empty_window_reads_the_edge": "conv2d_n2_c2_o3_i4x6_k3_p4_s2_b_f64@normal.5",
    "pointwise_ignores_stride": "conv2d_n2_c9_o8_i13x9_k1_s2x3_b_bf16@integers.2",
    "depth_stride_ignored": "conv3d_n2_c2_o3_i7x5x6_k2_s3x2x2_p1_b_f32@normal.1",
    "groups_interleaved": "conv2d_n2_c12_o9_g3_i5_k3_p1_b_f64@normal.6",
    "channel_tail_ignored": "conv2d_n2_c23_o5_i6_k3x2_p1_b_f32_nc@normal.6",
    "batch_tail_repeats_an_image": "conv2d_n19_c3_o2_i6_k3_s2_b_f32@normal.6",
    "bias_indexed_within_the_group": "conv2d_n2_c6_o9_g3_i5_k3_b_f32@normal.6",
    "nan_weight_pruned": "conv2d_n2_c3_o4_i6_k3_p1_b_f64@special.3",
    "silent_tf32": "conv2d_n2_c6_o4_g2_i9_k3_s2_b_f32@normal.5",
    "small_results_flushed": "conv2d_n2_c4_o3_i6_k3_p1_f32@tiny.1",
    "epsilon_added": "conv2d_n2_c1_o3_i6x7_k1_p1_s2_f32@positive.1",
    "int32_summed_in_float32": "conv2d_n2_c4_o3_i6_k3_p1_i32@huge.1",
    "weight_conjugated": "conv2d_n2_c4_o3_i6_k3_p1_b_c64@normal.1",
    "stale_output_buffer": "conv2d_n2_c4_o3_i6x13_k3_p1_f32@normal.1",
    "last_row_never_written": "conv2d_n2_c4_o3_i7_k3_p1_b_f32@normal.1",
    "input_scaled_in_place": "conv2d_n2_c4_o3_i7_k3_p1_b_f16@normal.1",
    "channels_last_read_as_channels_first": "conv2d_n2_c4_o3_i7x5_k3_p1_b_f32_cl@normal.1",
    "accumulator_returned": "conv2d_n2_c4_o3_i7_k3_p1_b_f16@normal.1",
    "overlaps_overwritten": "convt2d_n2_c4_o3_i5_k3_s2_p1_op1_b_f32@normal.1",
    "grouped_weight_axes_confused": "convt2d_n2_c8_o12_g4_i5_k3_s2_b_f32@normal.1",
    "input_gradient_kernel_flipped": "conv2d_n2_c4_o3_i7_k3_p1_b_f32_grad@normal.1",
    "weight_gradient_of_the_first_image": "conv2d_n3_c4_o3_i7_k3_p1_b_f32_grad@normal.1",
    "nan_in_the_output_gradient_skipped": "conv2d_n2_c2_o2_i6_k3_f32_grad@special.4",
    "groups_rounded_down": "conv2d_n2_c7_o6_g3_i7_k3_p1_b_f32@normal.1",
    "stride_zero_taken_for_one": "conv2d_n2_c4_o6_g2_i7_k3_s0_p1_b_f32@normal.1",
    "weight_cast_to_the_inputs_dtype": "conv2d_n2_c4_o6_g2_i7_k3_p1_b_f32_bad-weight-dtype@normal.1",
}
"""A failing case for one mistake in five, of every kind: as busy as a campaign draws them."""


@pytest.fixture(scope="module")
def rows() -> dict[str, Reduced]:
    """Reduce all of them, in a process of their own: what memory nobody writes to holds depends on all that ran before in one."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        outcomes = process.submit(_reduce_all).result()
    bugs = {bug.name: bug for bug in PLANTED}
    return {name: Reduced(bugs[name], *outcome) for name, outcome in outcomes.items()}


def _reduce_all() -> dict[str, tuple[Finding, int, float]]:
    rows = [reduced(bug, Case.parse(BUSY[bug.name]), 30.0) for bug in PLANTED if bug.name in BUSY]
    return {row.bug.name: (row.finding, row.tried, row.seconds) for row in rows}


def test_every_reduction_ends(rows: dict[str, Reduced]) -> None:
    """Each is minimal, and fails with one of the verdicts that are right for its mistake."""
    assert rows.keys() == BUSY.keys()
    assert {row.bug.name: row.finding.reduction for row in rows.values() if row.finding.reduction != "minimal"} == {}
    assert {row.bug.name for row in rows.values() if row.finding.verdict not in row.bug.verdicts} == set()


def test_few_parameters_are_left(rows: dict[str, Reduced]) -> None:
    """Half of the minimal cases have at most 3 parameters that are not default, sizes counted; none has more than 5."""
    counts = {name: len(row.non_default) for name, row in rows.items()}
    assert median(counts.values()) <= 3
    assert {name: rows[name].finding.case for name, count in counts.items() if count > 5} == {}


def test_few_elements_are_left(rows: dict[str, Reduced]) -> None:
    """Half of the minimal cases have at most 2 elements of a tensor that are not zero, and of those with wrong taps every one."""
    counts = {name: max(row.non_zeros.values()) for name, row in rows.items()}
    assert median(counts.values()) <= 2
    assert {name: rows[name].finding.case for name, count in counts.items() if count > 2} == {}


@pytest.mark.parametrize(
    ("name", "minimal"),
    [
        ("last_tap_dropped", "conv1d_c1_o1_i2_k2_f32@x1=1_w1=1"),
        ("channel_tail_ignored", "conv1d_c17_o1_i1_k1_f32@x16=1_w16=1"),
        ("batch_tail_repeats_an_image", "conv1d_n17_c1_o1_i1_k1_f32@x16=1_w0=1"),
        ("bias_indexed_within_the_group", "conv1d_c2_o2_g2_i1_k1_b_f32@b1=1"),
        ("weight_gradient_of_the_first_image", "conv1d_n2_c1_o1_i1_k1_f32_grad@x1=1_dy1=1"),
        ("nan_in_the_output_gradient_skipped", "conv1d_c1_o1_i1_k1_f32_grad@dy0=nan"),
        ("accumulator_returned", "conv1d_c1_o1_i1_k1_f16@zeros"),
        ("stride_zero_taken_for_one", "conv1d_c1_o1_i1_k1_s0_f32@zeros"),
    ],
)
def test_what_a_reader_is_shown(rows: dict[str, Reduced], name: str, minimal: str) -> None:
    """A wrong tap ends as one non-zero input and one non-zero weight, and what is wrong whatever the data as zeros."""
    assert rows[name].finding.case == minimal
