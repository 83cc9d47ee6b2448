"""Every planted kernel is really one mistake: right outside its trigger, wrong inside it, and wrong in the way it says."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from convfuzz import Case
from convfuzz.tensors import Tensors, make_tensors

from .bugs import PLANTED, Planted
from .registry import MISREAD
from .torch_float64 import allowed, widened

CALLS = 6


class Pair(NamedTuple):
    """Two neighbouring cases, outside and inside a trigger."""

    outside: str
    inside: str


PAIRS = {
    # taps
    "last_tap_dropped": Pair("conv2d_c1_o3_i5_k1_f32", "conv2d_c2_o3_i5_k2_f32@integers.1"),
    "first_tap_doubled": Pair("conv2d_c1_o3_i5_k1_f32", "conv1d_c1_o1_i5_k2_f64@integers.1"),
    "kernel_axes_transposed": Pair("conv2d_c2_o3_i7_k3x2_f32", "conv2d_c2_o3_i7_k3_f32@integers.1"),
    "kernel_flipped": Pair("conv2d_c2_o3_i7_k1_f32", "conv2d_c2_o3_i7_k1x2_f32@integers.1"),
    "output_width_tail_missing": Pair("conv2d_c2_o3_i5x18_k3_f32", "conv2d_c2_o3_i5x19_k3_f32@integers.1"),
    "tail_row_repeated": Pair("conv2d_c2_o3_i7_k3_s2_f32", "conv2d_c2_o3_i8x7_k3_s2_f32@integers.1"),
    "first_stride_everywhere": Pair("conv2d_c2_o3_i9_k3_s2_f32", "conv2d_c2_o3_i9_k3_s1x2_f32@integers.1"),
    "first_dilation_everywhere": Pair("conv2d_c2_o3_i9_k3_d2_f32", "conv2d_c2_o3_i9_k3_d1x2_f32@integers.1"),
    "dilation_ignored_when_strided": Pair("conv2d_c2_o3_i9_k3_d2_f32", "conv2d_c2_o3_i9_k3_s2_d2_f32@integers.1"),
    "halo_one_column_short": Pair("conv2d_c2_o3_i5x18_k3_f32", "conv2d_c2_o3_i5x19_k3_f32@integers.1"),
    "large_kernel_truncated": Pair("conv2d_c2_o3_i9_k7_f32", "conv2d_c2_o3_i9_k3x8_f32@integers.1"),
    # padding
    "padding_sides_swapped": Pair("conv2d_c2_o3_i7_k2_psame_f32", "conv2d_c2_o3_i7_k3_p1:0x1_f32@integers.1"),
    "same_pads_the_wrong_side": Pair("conv2d_c2_o3_i7_k3_psame_f32", "conv2d_c2_o3_i7_k3x2_psame_f32@integers.1"),
    "same_subsampled_from_stride_one": Pair("conv2d_c2_o3_i7_k3_psame_s2_f32", "conv2d_c2_o3_i8_k3_psame_s2_f32@integers.1"),
    "reflect_as_replicate": Pair("conv2d_c2_o3_i7_k3_p1_pmreplicate_f32", "conv2d_c2_o3_i7_k3_p1_pmreflect_f32@integers.1"),
    "circular_off_by_one": Pair("conv2d_c2_o3_i7_k3_pmcircular_f32", "conv2d_c2_o3_i7_k3_p0:1_pmcircular_f32@integers.1"),
    "circular_axes_swapped": Pair("conv2d_c2_o3_i7_k3_p1_pmcircular_f32", "conv2d_c2_o3_i7_k3_p0x1_pmcircular_f32@integers.1"),
    "replicate_is_zero_in_3d": Pair("conv2d_c2_o3_i5_k3_p1_pmreplicate_f32", "conv3d_c2_o3_i5_k3_p1_pmreplicate_f32@integers.1"),
    "negative_padding_ignored": Pair("conv2d_c2_o3_i7_k3_p1:-1_f32", "conv2d_c2_o3_i7_k3_p-1:1_f32@integers.1"),
    "empty_window_reads_the_edge": Pair("conv2d_c2_o3_i4_k3_p2_b_f32", "conv2d_c2_o3_i4_k3_p3_b_f32@integers.1"),
    "overhang_on_both_sides": Pair("conv2d_c2_o3_i2_k3_p1_f32", "conv2d_c2_o3_i2_k4_p1_f32@integers.1"),
    # shortcuts
    "pointwise_ignores_stride": Pair("conv2d_c1_o3_i7_k1x2_s2_f32", "conv2d_c1_o3_i7_k1_s2_f32@integers.1"),
    "pointwise_ignores_padding": Pair("conv2d_c2_o3_i5_k1x2_p1_f32", "conv2d_c2_o3_i5_k1_p1_f32@integers.1"),
    "strided_pointwise_drops_a_channel": Pair("conv2d_c1_o3_i2_k1_s2_f32", "conv2d_c2_o1_i2_k1_s2_f32@integers.1"),
    "whole_input_flattened_channels_last": Pair("conv2d_c2_o3_i3x4_k3_f32", "conv2d_c2_o3_i3_k3_f32@integers.1"),
    "single_output_ignores_padding": Pair("conv2d_c2_o3_i3_k4_p1_f32", "conv2d_c2_o3_i3_k5_p1_f32@integers.1"),
    "single_column_reads_at_stride": Pair("conv2d_c2_o3_i7x6_k3_s3_bf16", "conv2d_c2_o3_i7x5_k3_s3_bf16@integers.1"),
    "patches_ignore_padding": Pair("conv2d_c3_o4_i12_k4_s4_f32", "conv2d_c3_o4_i10_k4_s4_p1_f32@integers.1"),
    "depth_stride_ignored": Pair("conv3d_c2_o3_i5_k2_s1x2x2_f32", "conv3d_c2_o3_i5_k2_s2_f32@integers.1"),
    "dilated_phases_not_interleaved": Pair("conv2d_c2_o3_i9_k3_d2_f32", "conv1d_c2_o3_i9_k3_d2_f32@integers.1"),
    "depthwise_stride_two_skips_the_last_row": Pair("conv2d_c4_o4_g4_i6_k3_s2_p1_f32", "conv2d_c4_o4_g4_i7x6_k3_s2_p1_f32@integers.1"),
    "unbatched_output_transposed": Pair("conv2d_c2_o3_i5_k3_f32", "conv2d_n-_c2_o3_i5_k3_f32@integers.1"),
    # channels
    "groups_interleaved": Pair("conv2d_c4_o4_g4_i5_k3_f32", "conv2d_c4_o4_g2_i5_k3_f32@integers.1"),
    "last_group_reads_its_neighbour": Pair("conv2d_c4_o4_i5_k3_f32", "conv2d_c4_o4_g4_i5_k3_f32@integers.1"),
    "depthwise_multiplier_order": Pair("conv2d_c4_o4_g4_i5_k3_f32", "conv2d_c4_o8_g4_i5_k3_f32@integers.1"),
    "depthwise_half_block_repeated": Pair("conv2d_c23_o23_g23_i6_k3_f32", "conv2d_c24_o24_g24_i6_k3_f32@integers.1"),
    "channel_tail_ignored": Pair("conv2d_c32_o2_i4_k2_f32", "conv2d_c17_o2_i4_k2_f32@integers.1"),
    "output_block_repeated": Pair("conv2d_c2_o16_i4_k2_f32", "conv2d_n-_c2_o9_i4_k2_f32@integers.1"),
    "batch_tail_repeats_an_image": Pair("conv2d_n16_c2_o2_i4_k2_f32", "conv2d_n17_c2_o2_i4_k2_f32@integers.1"),
    "odd_group_left_over": Pair("conv2d_c4_o4_g2_i4_k2_f32", "conv2d_c3_o3_g3_i4_k2_b_f32@integers.1"),
    "bias_on_first_image_only": Pair("conv2d_n1_c2_o2_i4_k2_b_f32", "conv2d_n2_c2_o2_i4_k2_b_f32@integers.1"),
    "bias_missing_when_grouped": Pair("conv2d_c2_o2_g2_i4_k2_f32", "conv2d_c2_o2_g2_i4_k2_b_f32@integers.1"),
    "bias_added_per_channel_block": Pair("conv2d_c32_o2_i4_k2_b_f32", "conv2d_c33_o2_i4_k2_b_f32@integers.1"),
    "bias_indexed_within_the_group": Pair("conv2d_c2_o4_i4_k2_b_f32", "conv2d_c2_o4_g2_i4_k2_b_f32@integers.1"),
    "zero_channels_forget_the_bias": Pair("conv2d_c1_o2_i4_k2_b_f32", "conv2d_c0_o2_i4_k2_b_f32@integers.1"),
    # numerics
    "accumulates_in_float16": Pair("conv2d_c16_o2_i6_k3_bf16", "conv2d_c16_o2_i6_k3_f16"),
    "accumulates_in_bfloat16": Pair("conv2d_c16_o2_i6_k3_f16", "conv2d_c16_o2_i6_k3_bf16"),
    "rounds_between_channel_blocks": Pair("conv2d_c32_o2_i6_k3_bf16", "conv2d_c128_o2_i6_k3_bf16"),
    "silent_tf32": Pair("conv2d_c4_o2_i6_k3_f64", "conv2d_c4_o2_i6_k3_f32"),
    "silent_bfloat16": Pair("conv2d_c4_o2_i6_k3_f64", "conv2d_c4_o2_i6_k3_f32"),
    "tf32_for_whole_channel_blocks": Pair("conv2d_c31_o2_i6_k3_f32", "conv2d_c32_o2_i6_k3_f32"),
    "large_batch_loses_precision": Pair("conv2d_n15_c2_o2_i6_k3_f32", "conv2d_n16_c2_o2_i6_k3_f32"),
    "float64_in_float32": Pair("conv2d_c2_o2_i6_k3_f32", "conv2d_c2_o2_i6_k3_f64"),
    "result_through_float16": Pair("conv2d_c2_o2_i6_k3_f64", "conv2d_c2_o2_i6_k3_f32"),
    "bfloat16_result_truncated": Pair("conv2d_c2_o2_i6_k3_bf16@integers.1", "conv2d_c2_o2_i6_k3_bf16"),
    "undeclared_winograd": Pair("conv2d_c2_o4_i20_k3_s2_f32", "conv2d_c2_o4_i20_k3_p1_f32"),
    "epsilon_added": Pair("conv2d_c2_o2_i6_k3_f32@huge.1", "conv2d_c1_o2_i6_k1_f32@positive.1"),
    "small_results_flushed": Pair("conv2d_c2_o2_i6_k3_f32", "conv2d_c2_o2_i6_k3_f32@tiny.1"),
    "subnormal_inputs_flushed": Pair("conv2d_c2_o2_i6_k3_f32@tiny.1", "conv2d_c2_o2_i6_k3_f32@subnormal.1"),
    "nan_input_read_as_zero": Pair("conv2d_c2_o2_i6_k3_f32", "conv2d_c1_o1_i3_k3_p1_f32@special.6"),
    "infinity_clamped": Pair("conv2d_c8_o2_i6_k3_bf16@huge.1", "conv2d_c8_o2_i6_k3_f16@huge.1"),
    "banded_matrix_smears_nan": Pair("conv2d_c2_o2_i6_k3_f32", "conv2d_c2_o2_i9_k3_f32@special.6"),
    # memory
    "sliced_input_read_as_contiguous": Pair("conv2d_c2_o2_i6_k3_f32_cl", "conv2d_c2_o2_i6_k3_f32_nc@integers.1"),
    "channels_last_read_as_channels_first": Pair("conv2d_c2_o2_i6_k3_f32_nc", "conv2d_c2_o2_i6_k3_f32_cl@integers.1"),
    "weight_read_as_contiguous": Pair("conv2d_c2_o2_i6_k3_f32", "conv2d_c2_o2_i6_k3_f32_nc@integers.1"),
    "channels_last_path_reorders_the_weight": Pair("conv2d_c1_o2_i6_k3_f32_cl", "conv2d_c2_o2_i6_k3_f32_cl@integers.1"),
    "stale_output_buffer": Pair("conv2d_c2_o2_i6x10_k3_f32", "conv2d_c2_o2_i6x9_k3_f32@integers.1"),
    "last_row_never_written": Pair("conv2d_c2_o2_i6_k3_f32", "conv2d_c2_o2_i7_k3_f32@integers.1"),
    "weight_flipped_in_place": Pair("conv2d_c2_o2_i6_k1_f32", "conv2d_c2_o2_i6_k1x2_f32"),
    "input_scaled_in_place": Pair("conv2d_c2_o2_i6_k3_bf16", "conv2d_c2_o2_i6_k3_f16"),
    "input_restored_badly": Pair("conv2d_c2_o2_i6_k3_f32@integers.1", "conv2d_c2_o2_i6_k3_f32_nc"),
    "bias_zeroed_in_place": Pair("conv2d_c2_o2_g2_i6_k3_b_f32", "conv2d_c3_o3_g3_i6_k3_b_f32"),
    # contract
    "bias_promotes_to_float64": Pair("conv2d_c2_o2_i6_k3_f32", "conv2d_c2_o2_i6_k3_b_f32"),
    "accumulator_returned": Pair("conv2d_c2_o2_i6_k3_f64", "conv2d_c2_o2_i6_k3_f16"),
    "unbatched_keeps_its_batch_axis": Pair("conv2d_c2_o2_i6_k3_f32", "conv2d_n-_c2_o2_i6_k3_f32"),
    "output_size_rounded_up": Pair("conv2d_c2_o2_i7_k3_s2_b_f32", "conv2d_c2_o2_i8_k3_s2_b_f32"),
    "output_left_channels_last": Pair("conv2d_c2_o2_i6_k3_f32_nc", "conv2d_c2_o2_i6_k3_f32_cl"),
    "nothing_for_an_empty_batch": Pair("conv2d_n1_c2_o2_i6_k3_f32", "conv2d_n0_c2_o2_i6_k3_f32"),
    "refuses_grouped_dilation": Pair("conv2d_c2_o2_i6_k3_d2_f32", "conv2d_c2_o2_g2_i6_k3_d2_f32"),
    "refuses_kernel_larger_than_input": Pair("conv2d_c2_o2_i3_k3_p1_f32", "conv2d_c2_o2_i2_k3_p1_f32"),
    "order_varies_between_calls": Pair("conv2d_c8_o2_i6_k3_f32@integers.1", "conv2d_c8_o2_i6_k3_f32"),
    "rarely_doubles_an_element": Pair("conv2d_n0_c2_o2_i6_k3_f32", "conv2d_c2_o2_i6_k3_f32@integers.1"),
}

by_name = pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.name)


def failures(bug: Planted, line: str) -> set[str]:
    """Return how the kernel fails in a few calls on fresh tensors, in the words of verdicts.

    On integers an error of 0.5 or more is ``wrong``; on other data one beyond the rounding bound is ``deviation``,
    since only a tie-breaker on integers can tell ``wrong`` from ``imprecise``.
    """
    case = Case.parse(line)
    assert case.config.is_valid, case.config.invalid_reason
    untouched = make_tensors(case)
    outputs: list[bytes] = []
    found: set[str] = set()
    for _ in range(CALLS):
        tensors = make_tensors(case)
        try:
            y = bug.function(tensors.x, tensors.w, tensors.b, case.config)
        except (NotImplementedError, ValueError):
            return {"error"}
        if _bytes(tensors) != _bytes(untouched):
            found.add("corrupted-input")
        if not isinstance(y, np.ndarray):
            found.add("error")
        elif y.shape != case.config.output_shape:
            found.add("wrong-shape")
        elif y.dtype != tensors.x.dtype:
            found.add("wrong-dtype")
        else:
            found |= _numeric_failures(case, untouched, y)
            outputs.append(y.tobytes())
    return found | ({"nondeterministic"} if len(set(outputs)) > 1 else set())


def _numeric_failures(case: Case, tensors: Tensors, y: np.typing.NDArray[np.generic]) -> set[str]:
    bound = allowed(case.config, tensors)
    found = {"non-finite"} if bound.misplaces_non_finite(y) else set()
    if case.recipe.regime == "integers":
        with np.errstate(invalid="ignore"):
            error = np.abs(widened(y) - bound.value)
        found |= {"wrong"} if (error >= 0.5).any() else {"imprecise"} if (error > 0).any() else set()
    elif bound.deviates(y):
        found.add("deviation")
    return found


def _bytes(tensors: Tensors) -> dict[str, bytes]:
    return {name: tensor.tobytes() for name, tensor in tensors.named().items()}


def test_every_kernel_has_its_cases() -> None:
    """The table of cases and the list of planted kernels name the same kernels, each once."""
    assert sorted(bug.name for bug in PLANTED) == sorted(PAIRS)


@by_name
def test_kernel_is_correct_outside_its_trigger(bug: Planted) -> None:
    """A neighbouring configuration, or other data, gives what a correct kernel gives."""
    assert failures(bug, PAIRS[bug.name].outside) == set()


@by_name
def test_kernel_fails_inside_its_trigger(bug: Planted) -> None:
    """Inside its trigger the kernel fails, and in no other way than its verdicts say."""
    found = failures(bug, PAIRS[bug.name].inside)
    verdicts = bug.verdicts | ({"deviation"} if bug.verdicts & {"wrong", "imprecise"} else set())
    assert found
    assert found <= verdicts


@by_name
def test_kernel_says_what_is_wrong_with_it(bug: Planted) -> None:
    """Each kernel has a docstring for its mistake and a trigger for where it shows."""
    assert bug.function.__doc__
    assert bug.trigger
    assert bug.verdicts


@pytest.mark.parametrize("bug", [bug for bug in PLANTED if bug.verdicts == set(MISREAD)], ids=lambda bug: bug.name)
def test_misreading_is_wrong_by_more_than_rounding(bug: Planted) -> None:
    """A kernel that adds the wrong numbers is off by whole units, or reads NaN, on integers."""
    assert failures(bug, PAIRS[bug.name].inside) & {"wrong", "non-finite"}
