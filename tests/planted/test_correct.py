"""The correct kernels are correct, and their arithmetic is the one they name."""

from __future__ import annotations

import numpy as np
import pytest

from convfuzz import Case
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.tensors.generator import make_tensors

from .allowed import allowed, widened
from .correct import CORRECT, Correct, dense, in_float64, pairwise, permuted, reversed_order, sequential

CASES = (
    "conv1d_c1_o1_i1_k1_f32",
    "conv1d_n2_c3_o4_i17_k3_s2_p1_d2_b_f32",
    "conv1d_n-_c4_o6_g2_i12_k4_p3:1_f64",
    "conv1d_c2_o2_i5_k3_p4_b_f16",
    "conv1d_n2_c2_o3_i9_k3_p-2:1_bf16",
    "conv1d_n17_c40_o9_i11_k5_psame_b_f32@positive.1",
    "conv2d_n2_c8_o16_g2_i17x19_k3_s2x1_p1_b_f32@normal.42",
    "conv2d_n2_c6_o12_g6_i9_k3_p1_b_f32@cancellation.3",
    "conv2d_c3_o5_i7x6_k2x4_psame_s2x1_f32",
    "conv2d_c3_o5_i7x6_k3_p2x1_pmreflect_b_f32",
    "conv2d_c3_o5_i7x6_k3_p4_pmreplicate_d2_f64",
    "conv2d_n-_c3_o5_i7x6_k3_p3:1x0:2_pmcircular_s2_f16",
    "conv2d_c4_o4_i8_k3_p-1:2x1:-3_b_f32",
    "conv2d_c4_o4_i8_k3_p-1_f64",
    "conv2d_c4_o4_i8_k8_b_bf16",
    "conv2d_c4_o4_i3_k5_p1_f32",
    "conv2d_n2_c64_o3_i6_k3_p1_b_bf16@huge.1",
    "conv2d_n2_c64_o3_i6_k3_p1_b_f16@huge.1",
    "conv2d_n2_c5_o3_i6_k3_p1_b_f32@tiny.1",
    "conv2d_n2_c5_o3_i6_k3_p1_b_f32@subnormal.1",
    "conv2d_n2_c5_o3_i6_k3_p1_b_f16@subnormal.1",
    "conv2d_c5_o3_i6_k3_b_f32@special.1",
    "conv2d_n2_c5_o3_i6x7_k3_p1_b_f32_cl",
    "conv2d_n2_c5_o3_i6x7_k3_p1_b_f32_nc",
    "conv2d_n2_c5_o3_i6x7_k3_p1_b_bf16_nc",
    "conv3d_n2_c4_o6_g2_i5x6x7_k2x3x1_s2x1x3_p1x0x2_d1x2x1_b_f32",
    "conv3d_n-_c2_o2_i4x3x5_k3x2x2_p1_pmcircular_f64_cl",
    "conv2d_n0_c3_o4_i5_k3_b_f32",
    "conv2d_n2_c0_o4_i5_k3_b_f32",
    "conv2d_n2_c0_o4_i5_k3_f16",
    "conv2d_n2_c3_o0_i5_k3_b_f32",
    "conv2d_c3_o2_i0x4_k2_p2_b_f32",
    "convt1d_c1_o1_i1_k1_f32",
    "convt1d_n-_c3_o4_i5_k3_s2_p-1:2_d2_op1_b_f16",
    "convt2d_n2_c6_o9_g3_i5x4_k3x2_s2x1_p1x0_d1x2_op1_b_f32",
    "convt2d_n2_c6_o12_g6_i4_k2_s3_b_bf16",
    "convt2d_c4_o3_i5_k3_psame_s2_f64",
    "convt2d_n2_c8_o3_i6_k3_p1_b_f16@huge.1",
    "convt3d_n2_c2_o4_g2_i3x4x2_k2x3x1_s2x1x3_d1x2x1_op1x0x2_b_f32_cl",
    "convt2d_n0_c3_o4_i5_k3_b_f32",
    "convt2d_n2_c0_o4_i5_k3_b_f32",
    "conv1d_n2_c3_o4_i17_k3_s2_p1_d2_b_f32_grad",
    "conv2d_n17_c8_o16_g2_i9x7_k3_s2x1_p1_b_f32_grad@normal.42",
    "conv2d_n2_c3_o5_i7x6_k3_p3x2_pmreflect_b_f32_grad",
    "conv2d_c3_o5_i7x6_k3_p4_pmreplicate_d2_f64_grad",
    "conv2d_n-_c3_o5_i7x6_k3_p3:1x0:2_pmcircular_s2_f16_grad",
    "conv2d_c4_o4_i8_k3_p-1:2x1:-3_b_bf16_grad",
    "conv2d_n2_c5_o3_i6_k3_b_f32_ex_grad@cancellation.1",
    "conv2d_c5_o3_i6_k3_b_f32_grad@special.10",
    "conv3d_n2_c4_o6_g2_i5x6x7_k2x3x1_s2x1x3_p1x0x2_d1x2x1_b_f32_grad",
    "conv2d_n2_c3_o0_i5_k3_b_f32_grad",
    "conv2d_n0_c3_o4_i5_k3_b_f32_grad",
    "convt1d_n-_c3_o4_i5_k3_s2_p-1:2_d2_op1_b_f16_grad",
    "convt2d_n9_c6_o9_g3_i5x4_k3x2_s2x1_p1x0_d1x2_op1_b_f32_grad",
    "convt3d_n2_c2_o4_g2_i3x4x2_k2x3x1_s2x1x3_d1x2x1_op1x0x2_b_f64_tr_wcl_grad",
    "conv2d_n2_c4_o6_g2_i6x7_k3_s2x1_p1_b_c64_grad",
    "conv2d_n2_c4_o6_g2_i6x7_k3_p2_pmcircular_b_c128_grad@cancellation.1",
    "convt2d_n2_c4_o6_g2_i6x7_k3_s2x1_p1_b_c64_grad",
    "conv2d_n2_c4_o6_g2_i6x7_k3_s2x1_p1_b_i8@huge.1",
    "conv2d_n2_c4_o6_g2_i6x7_k3_p2_pmreflect_b_i32@huge.1",
    "convt2d_n2_c4_o6_g2_i6x7_k3_s2x1_p1_b_i64@huge.1",
)


@pytest.mark.parametrize("line", CASES)
@pytest.mark.parametrize("kernel", [*CORRECT, dense], ids=lambda kernel: kernel.__name__)
def test_error_is_within_the_rounding_bound(kernel: Correct, line: str) -> None:
    """In every pass a correct kernel is as near to the value as γ_n·S and one rounding of the result allow."""
    case = Case.parse(line)
    assert case.config.is_valid, case.config.invalid_reason
    tensors = make_tensors(case)
    results = KernelBackend("kernel", kernel).run(case, tensors)
    bounds = allowed(case, tensors)
    assert tuple(bounds) == case.passes
    for in_pass, bound in bounds.items():
        result = results[in_pass]
        assert (result.shape, result.dtype) == (case.shape_of(in_pass), tensors.x.dtype)
        assert not bound.deviates(result)
        assert not bound.misplaces_non_finite(result)


@pytest.mark.parametrize("kernel", CORRECT, ids=lambda kernel: kernel.__name__)
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "f64", "c64", "c128"])
@pytest.mark.parametrize("op", ["conv", "convt"])
def test_integers_are_exact(kernel: Correct, dtype: str, op: str) -> None:
    """No correct kernel rounds in any pass where every partial sum is representable."""
    case = Case.parse(f"{op}2d_n2_c12_o8_g2_i9x10_k3_s1x2_p1_b_{dtype}_grad@integers.1")
    tensors = make_tensors(case)
    results = KernelBackend("kernel", kernel).run(case, tensors)
    for in_pass, bound in allowed(case, tensors).items():
        assert np.array_equal(widened(results[in_pass]), bound.value)


@pytest.mark.parametrize("op", ["conv", "convt"])
def test_orders_round_differently(op: str) -> None:
    """Each order of summation in float32 has rounding errors of its own in every pass, and float64 has none left."""
    case = Case.parse(f"{op}2d_n2_c32_o32_i12_k3_b_f32_grad")
    tensors = make_tensors(case)
    bounds = allowed(case, tensors)
    results = [KernelBackend("kernel", kernel).run(case, tensors) for kernel in CORRECT]
    for in_pass, bound in bounds.items():
        for i, of_kernel in enumerate(results):
            assert not any(np.array_equal(of_kernel[in_pass], other[in_pass]) for other in results[:i])
        assert np.array_equal(results[CORRECT.index(in_float64)][in_pass], bound.value.astype(np.float32))


@pytest.mark.parametrize("kernel", [sequential, reversed_order, permuted], ids=lambda kernel: kernel.__name__)
def test_float32_sum_stagnates_at_two_to_the_24(kernel: Correct) -> None:
    """A running float32 sum of 2^24 ones and one more does not move: nothing is kept in a wider type."""
    case = Case.parse("conv1d_c3_o1_i1_k1_f32")
    x = np.array([[[2.0**24], [1.0], [1.0]]], np.float32)
    x = x if kernel is not reversed_order else x[:, ::-1].copy()
    if kernel is permuted:
        x[0, np.random.default_rng(3).permutation(3), 0] = [2.0**24, 1.0, 1.0]
    assert kernel(x, np.ones((1, 3, 1), np.float32), None, case.config).item() == 2.0**24


def test_pairwise_adds_neighbours_first() -> None:
    """The pairwise kernel keeps the two ones that a running sum loses beside 2^24."""
    case = Case.parse("conv1d_c4_o1_i1_k1_f32")
    x = np.array([[[2.0**24], [0.0], [1.0], [1.0]]], np.float32)
    assert pairwise(x, np.ones((1, 4, 1), np.float32), None, case.config).item() == 2.0**24 + 2
