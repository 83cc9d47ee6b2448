"""Every planted kernel is really one mistake: right outside its trigger, wrong inside it, and wrong in the way it says."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from convfuzz import Case
from convfuzz.backends.arrays import NotAnArrayError
from convfuzz.case.dtypes import is_integer, numpy_dtype
from convfuzz.tensors.generator import Tensors, make_tensors

from .allowed import Allowed, allowed, widened
from .bugs import PLANTED, Planted
from .receptive_field import Array
from .registry import MISREAD

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
    "reflect_repeats_the_edge": Pair("conv2d_c2_o3_i7_k3_p1_pmreplicate_f32", "conv2d_c2_o3_i7_k3_p1_pmreflect_f32@integers.1"),
    "circular_at_the_low_end_only": Pair("conv2d_c2_o3_i7_k3_p1:0_pmcircular_f32", "conv2d_c2_o3_i7_k3_p0:1_pmcircular_f32@integers.1"),
    "replicate_leaves_the_corners_zero": Pair(
        "conv2d_c2_o1_i7_k3_p1x0_pmreplicate_f32", "conv2d_c2_o1_i7_k3_p1_pmreplicate_f32@integers.1"
    ),
    "copies_as_far_as_the_low_padding": Pair("conv2d_c2_o3_i7_k3_p1_pmreplicate_f32", "conv2d_c2_o3_i7_k3_p0:1_pmreplicate_f32@integers.1"),
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
    # special values
    "nan_input_read_as_zero": Pair("conv2d_c2_o2_i6_k3_f32", "conv2d_c1_o1_i3_k3_p1_f32@special.6"),
    "infinity_clamped": Pair("conv2d_c8_o2_i6_k3_bf16@huge.1", "conv2d_c8_o2_i6_k3_f16@huge.1"),
    "banded_matrix_smears_nan": Pair("conv2d_c2_o2_i6_k3_f32", "conv2d_c2_o2_i9_k3_f32@special.6"),
    "nan_weight_pruned": Pair("conv2d_c2_o2_i6_k3_f32", "conv2d_c2_o2_i6_k3_f32@special.3"),
    "nan_lost_in_a_maximum": Pair("conv2d_c2_o2_i6_k3_f32", "conv2d_c2_o2_i6_k3_f32@special.6"),
    "infinite_input_clamped": Pair("conv2d_c2_o2_i6_k3_f32", "conv2d_c2_o2_i6_k3_f32@special.0"),
    "float16_overflow_saturates": Pair("conv2d_c8_o2_i6_k3_bf16@huge.1", "conv2d_c8_o2_i6_k3_f16@huge.1"),
    "compensation_of_infinity": Pair("conv2d_c8_o2_i6_k3_f16@huge.1", "conv2d_c2_o2_i6_k3_f32@special.0"),
    # dtypes
    "int8_result_saturates": Pair("conv2d_c2_o2_i6_k3_i8@integers.1", "conv2d_c2_o2_i6_k3_i8@huge.1"),
    "int8_accumulator_saturates": Pair("conv2d_c2_o2_i6_k3_i8@integers.1", "convt2d_c16_o2_i6_k3_i8@huge.1"),
    "int32_summed_in_float32": Pair("conv2d_c2_o2_i6_k3_i32@integers.1", "conv2d_c2_o2_i6_k3_i32@huge.1"),
    "int64_summed_in_float64": Pair("conv2d_c2_o2_i6_k3_i64@integers.1", "conv2d_c2_o2_i6_k3_i64@huge.1"),
    "weight_conjugated": Pair("conv2d_n0_c2_o2_i6_k3_c64", "conv2d_c2_o2_i6_k3_c64@integers.1"),
    "imaginary_bias_dropped": Pair("conv2d_c2_o2_i6_k3_c64", "convt2d_c2_o2_i6_k3_b_c64@integers.1"),
    "imaginary_product_added": Pair("conv2d_n0_c2_o2_i6_k3_c64", "conv2d_c2_o2_i6_k3_c64@integers.1"),
    "complex128_in_complex64": Pair("conv2d_c2_o2_i6_k3_c64", "convt2d_c2_o2_i6_k3_c128"),
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
    "weight_in_the_inputs_layout": Pair("conv2d_c2_o2_i6_k3_f32_cl", "conv2d_c2_o2_i6_k3_f32_wcl@integers.1"),
    "expanded_axis_copied_once": Pair("conv2d_n2_c2_o2_i6_k3_f32_cl", "conv2d_n2_c2_o2_i6_k3_f32_ex@integers.1"),
    "odd_stride_taken_for_channels_last": Pair("conv2d_c2_o2_i6_k3_f32_cl", "conv2d_c2_o2_i6_k3_f32_ls@integers.1"),
    "channels_last_guessed_from_the_shape": Pair("conv2d_c4_o2_i5_k3_f32", "conv2d_c5_o2_i5_k3_f32@integers.1"),
    "unaligned_start_rounded_down": Pair("conv2d_c2_o2_i6_k3_f32_nc", "conv2d_c2_o2_i6_k3_f32_of@integers.1"),
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
    # transposed
    "output_padding_left_zero": Pair("convt2d_c2_o3_i5_k3_s2_op1x0_b_f32", "convt2d_c2_o3_i5_k3_s2_op0x1_b_f32@integers.1"),
    "output_padding_lacks_the_bias": Pair("convt2d_c2_o3_i5_k3_s2_op0x1_b_f32", "convt2d_c2_o3_i5_k3_s2_op1x0_b_f32@integers.1"),
    "output_padding_at_the_low_end": Pair("convt2d_c2_o3_i5_k3_s2_f32", "convt2d_c2_o3_i5_k3_s2_op1x0_f32@integers.1"),
    "stride_and_dilation_exchanged": Pair("convt2d_c2_o3_i5_k3_s2_d2_f32", "convt2d_c2_o3_i5_k3_s2_f32@integers.1"),
    "crop_sides_swapped": Pair("convt2d_c2_o3_i5_k3_psame_s2_f32", "convt2d_c2_o3_i5_k3_s2_p1:0x1_f32@integers.1"),
    "same_crops_the_wrong_side": Pair("convt2d_c2_o3_i5_k4_psame_s2_f32", "convt2d_c2_o3_i5_k3_psame_s2_f32@integers.1"),
    "grouped_weight_axes_confused": Pair("convt2d_c4_o6_i4_k3_f32", "convt2d_c4_o6_g2_i4_k3_f32@integers.1"),
    "transposed_kernel_flipped": Pair("convt2d_c2_o3_i5_k1_f32", "convt2d_c2_o3_i5_k1x2_f32@integers.1"),
    "overlaps_overwritten": Pair("convt2d_c2_o3_i4_k2_s2_f32", "convt2d_c2_o3_i4_k3_s2_f32@integers.1"),
    "odd_column_left_over": Pair("convt2d_c2_o3_i5x4_k3_f32", "convt2d_c2_o3_i4x5_k3_f32@integers.1"),
    "last_dilation_ignored": Pair("convt2d_c2_o3_i4_k3_d2x1_f32", "convt2d_c2_o3_i4_k3_d1x2_f32@integers.1"),
    "gaps_lack_the_bias": Pair("convt2d_c2_o3_i4_k2_s2_b_f32", "convt2d_c2_o3_i4_k1_s2_b_f32@integers.1"),
    "bias_added_by_every_window": Pair("convt2d_c2_o3_i4_k2_s2_b_f32", "convt2d_c2_o3_i4_k3_s2_b_f32@integers.1"),
    "windows_rounded_before_they_are_added": Pair("convt2d_c8_o3_i6_k2_s2_f16", "convt2d_c8_o3_i6_k3_f16"),
    # gradients
    "stride_tail_of_the_input_unwritten": Pair("conv2d_c2_o3_i8x7_k3_s2_f32_grad", "conv2d_c2_o3_i7x8_k3_s2_f32_grad@integers.1"),
    "input_gradient_groups_interleaved": Pair("conv2d_c4_o4_g4_i5_k3_f32_grad", "conv2d_c4_o4_g2_i5_k3_f32_grad@integers.1"),
    "narrow_wide_channel_input_gradient": Pair("conv2d_c16_o2_i8_k3_s2_f32_grad", "conv2d_c17_o2_i8_k3_s2_f32_grad@integers.1"),
    "input_gradient_kernel_flipped": Pair("convt2d_c2_o3_i5_k1_f32_grad", "conv2d_c2_o3_i5_k1x2_f32_grad@integers.1"),
    "reflected_share_dropped": Pair("conv2d_c2_o3_i7_k3_p1_pmreplicate_f32_grad", "conv2d_c2_o3_i7_k3_p1_pmreflect_f32_grad@integers.1"),
    "circular_share_of_one_end": Pair(
        "conv1d_c2_o3_i7_k3_p1:0_pmcircular_f32_grad", "conv1d_c2_o3_i7_k3_p0:1_pmcircular_f32_grad@integers.1"
    ),
    "input_gradient_with_the_inputs_strides": Pair("conv2d_n2_c2_o3_i5_k3_f32_cl_grad", "conv2d_n2_c2_o3_i5_k3_f32_ex_grad@integers.1"),
    "weight_gradient_of_the_first_image": Pair("conv2d_n1_c2_o3_i5_k3_f32_grad", "conv2d_n2_c2_o3_i5_k3_f32_grad@integers.1"),
    "weight_gradient_averaged": Pair("conv2d_n1_c2_o3_i5_k3_f32_grad", "convt2d_n2_c2_o3_i5_k3_f32_grad@integers.1"),
    "last_groups_weight_gradient": Pair("conv2d_c3_o3_g3_i7_k2_s2_f32_grad", "conv2d_c3_o3_g3_i7_k2_s1x2_f32_grad@integers.1"),
    "depthwise_weight_gradient_half_block": Pair("conv2d_c23_o23_g23_i6_k3_f32_grad", "conv2d_c24_o24_g24_i6_k3_f32_grad@integers.1"),
    "weight_gradient_without_dilation": Pair("conv2d_c2_o3_i7_k3_f32_grad", "conv2d_c2_o3_i7_k3_d1x2_f32_grad@integers.1"),
    "pointwise_weight_gradient_ignores_stride": Pair("conv2d_c2_o3_i7_k1x2_s2_f32_grad", "conv2d_c2_o3_i7_k1_s2_f32_grad@integers.1"),
    "weight_gradient_into_uninitialised_memory": Pair("conv2d_c2_o0_i5_k3_f32_grad", "conv2d_c2_o3_i5_k3_f32_grad@integers.1"),
    "weight_gradient_summed_in_bfloat16": Pair("conv2d_c2_o3_i6_k3_f64_grad", "conv2d_c2_o3_i6_k3_f32_grad"),
    "transposed_weight_gradient_axes": Pair("convt2d_c1_o3_i4_k3_f32_grad", "convt2d_c2_o3_i4_k3_f32_grad@integers.1"),
    "output_padding_left_out_of_the_gradient": Pair(
        "convt2d_c2_o3_i5_k3_s2_p1_op1x0_f32_grad", "convt2d_c2_o3_i5_k3_s2_p1_op0x1_f32_grad@integers.1"
    ),
    "weight_gradient_not_conjugated": Pair("conv2d_n0_c2_o3_i5_k3_c64_grad", "convt2d_c2_o3_i5_k3_c64_grad@integers.1"),
    "nan_in_the_output_gradient_skipped": Pair("conv2d_c2_o2_i6_k3_f32_grad", "conv2d_c2_o2_i6_k3_f32_grad@special.4"),
    "bias_gradient_keeps_its_sites": Pair("conv2d_c2_o3_i5_k3_f32_grad", "conv2d_c2_o3_i5_k3_b_f32_grad"),
    "bias_gradient_summed_in_16_bits": Pair("conv2d_n2_c2_o2_i12_k3_b_f32_grad", "conv2d_n2_c2_o2_i12_k3_b_f16_grad"),
    # unchecked
    "groups_rounded_down": Pair("conv2d_c4_o4_g0_i5_k3_f32", "conv2d_c5_o4_g2_i5_k3_f32"),
    "no_groups_taken_for_one": Pair("conv2d_c4_o4_g3_i5_k3_f32", "conv2d_c4_o4_g0_i5_k3_f32"),
    "surplus_channels_ignored": Pair("conv2d_c4_o4_i5_k3_f32_bad-input-rank", "conv2d_c4_o4_i5_k3_f32_bad-input-channels"),
    "stride_zero_taken_for_one": Pair("conv2d_c2_o3_i5_k3_s-1_f32", "conv2d_c2_o3_i5_k3_s0_f32"),
    "sign_of_the_stride_ignored": Pair("conv2d_c2_o3_i5_k3_s0_f32", "conv2d_c2_o3_i5_k3_s-1_f32"),
    "dilation_zero_reads_one_site": Pair("conv2d_c2_o3_i5_k3_d-1_f32", "conv2d_c2_o3_i5_k3_d0_f32"),
    "output_of_at_least_one": Pair("convt2d_c2_o3_i2_k2_p2_f32", "conv2d_c2_o3_i5_k6_f32"),
    "reflection_without_limit": Pair("conv2d_c2_o3_i4_k3_p5_pmcircular_f32", "conv2d_c2_o3_i4_k3_p4_pmreflect_f32"),
    "output_padding_without_limit": Pair("convt2d_c2_o3_i5_k3_s2_op-1_f32", "convt2d_c2_o3_i5_k3_s2_op2_f32"),
    "negative_output_padding_crops": Pair("convt2d_c2_o3_i5_k3_s2_op2_f32", "convt2d_c2_o3_i5_k3_s2_op-1_f32"),
    "cropped_to_at_least_one": Pair("conv2d_c2_o3_i5_k6_f32", "convt2d_c2_o3_i2_k2_p2_f32"),
    "output_positions_in_32_bits": Pair("convt1d_c2_o3_i2_k3_s8_p4_f32", f"convt1d_c2_o3_i2_k3_s{2**61}_p{2**60}_f32@integers.1"),
    "bias_of_any_size": Pair("conv2d_c2_o3_i5_k3_b_f32_bad-bias-dtype", "conv2d_c2_o3_i5_k3_b_f32_bad-bias-size"),
    "weight_cast_to_the_inputs_dtype": Pair("conv2d_c2_o3_i5_k3_b_f32_bad-bias-dtype", "conv2d_c2_o3_i5_k3_f32_bad-weight-dtype"),
    "leading_axis_dropped": Pair("conv2d_c2_o3_i5_k3_f32_bad-weight-rank", "conv2d_c2_o3_i5_k3_f32_bad-input-rank"),
}

by_name = pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.name)


def failures(bug: Planted, line: str) -> set[str]:
    """Return how the kernel fails in a few calls on fresh tensors, in the words of verdicts.

    On integers an error of 0.5 or more is ``wrong``; on other data one beyond the rounding bound is ``deviation``,
    since only a tie-breaker on integers can tell ``wrong`` from ``imprecise``.
    """
    case = Case.parse(line)
    assert bug.backend.supports(case), bug.backend.supports(case).reason
    untouched = make_tensors(case)
    bounds = allowed(case, untouched) if case.config.is_valid else {}
    outputs: list[bytes] = []
    found: set[str] = set()
    for _ in range(CALLS):
        tensors = make_tensors(case)
        try:
            results = bug.backend.run(case, tensors)
        except (NotImplementedError, ValueError, NotAnArrayError):
            return {"error"} if case.config.is_valid else set()
        if _bytes(tensors) != _bytes(untouched):
            found.add("corrupted-input")
        if not case.config.is_valid:
            return found | {"accepted-invalid"}
        for in_pass, bound in bounds.items():
            found |= _pass_failures(case, results[in_pass], bound)
        outputs.append(b"".join(result.tobytes() for result in results.values()))
    return found | ({"nondeterministic"} if len(set(outputs)) > 1 else set())


def _pass_failures(case: Case, result: Array, bound: Allowed) -> set[str]:
    if result.shape != bound.value.shape:
        return {"wrong-shape"}
    if result.dtype != numpy_dtype(case.config.dtype):
        return {"wrong-dtype"}
    found = {"non-finite"} if bound.misplaces_non_finite(result) else set()
    if case.recipe.regime == "integers" or is_integer(case.config.dtype):
        with np.errstate(invalid="ignore"):
            error = np.abs(widened(result) - bound.value)
        found |= {"wrong"} if (error >= 0.5).any() else {"imprecise"} if (error > 0).any() else set()
    elif bound.deviates(result):
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
