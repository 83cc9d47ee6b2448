"""Strides, dilations and paddings far beyond any array, where the output stays small."""

from __future__ import annotations

import numpy as np
import pytest

from convfuzz.case.config import ConvConfig
from convfuzz.errors import Unsupported
from convfuzz.oracle import reference

from .definition import computed, elements, products
from .layers import integers, normal

FAR, FARTHER = 2**31, 2**62


@pytest.mark.parametrize(
    "line",
    [
        # A stride of one output, a dilation of one tap: however long.
        f"conv1d_c1_o1_i5_k3_s{FARTHER}_f32",
        f"conv3d_c2_o1_i5_k3_s{2**80}_f64",
        f"conv2d_c1_o1_i5_k1_d{FARTHER}_f32",
        f"convt2d_c1_o2_i1_k3_s{2**70}_f32",
        f"convt1d_c1_o1_i5_k1_s2_d{2**70}_op5_f32",
        # As far into the padding.
        f"conv1d_c1_o1_i5_k3_s{FAR}_p{FAR}_f32",
        f"conv2d_c2_o1_i5_k3_s{FAR - 1}_p{FAR}_f64",
        f"conv3d_c1_o1_i5_k3_s{FARTHER}_p{FARTHER}_f32",
        f"conv2d_c1_o1_i5_k3_d{FAR}_p{FAR}_f32",
        f"conv1d_c1_o2_i5_k3_d{FARTHER}_p{FARTHER}_f64",
        f"conv3d_c1_o1_i5_k3_s{FARTHER}_p{FARTHER}_d{FARTHER}_f32",
        f"conv1d_c1_o1_i9_k3_s{FARTHER - 1}_p{FARTHER + 3}_d{FARTHER}_f32",
        f"conv1d_c1_o1_i5_k3_s{2**63 - 2**49}_p{2**63 - 2**49}_f32",
        f"conv1d_c1_o1_i5_k3_psame_d{FAR}_f32",
        # Copies, of which only those that a window meets are ever made.
        f"conv2d_c1_o1_i5_k3_s{FAR}_p{FAR}_pmreplicate_f32",
        f"conv1d_c1_o2_i5_k3_s{FARTHER}_p{FARTHER}_pmreplicate_f64",
        f"conv1d_c1_o1_i5_k3_psame_d{FAR}_pmreplicate_f32",
        f"conv1d_c1_o1_i5_k3_s{FAR}_p5_pmcircular_f32",
        "conv2d_c1_o2_i5_k2_s4_p4_pmreflect_f32",
        # Almost all of a transposed convolution's output cropped.
        f"convt1d_c1_o1_i2_k3_s{FARTHER}_p{FARTHER - 2}:0_f32",
        f"convt2d_c1_o1_i3_k3_s{FARTHER // 2}_p{FARTHER - 2}:0_f64",
        f"convt3d_c1_o1_i2_k2_s{FAR}_p{2 * FAR - 3}:-2_d{FAR}_f32",
    ],
)
def test_far_taps_are_computed(line: str) -> None:
    """Every pass equals the definition's sums exactly."""
    config = ConvConfig.parse(line)
    assert config.is_valid, config.invalid_reason
    x, w, dy = integers(config, seed=0)
    wanted = products(config, x, w, dy)
    for name, expectation in computed(config, x, w, dy).items():
        for index, element in elements(config, name, expectation):
            taps = [float(a) * float(b) for a, b in wanted[name].get(index, [])]
            found = (element.y, element.S, element.Q, element.n)
            assert found == (sum(taps), sum(map(abs, taps)), sum(p * p for p in taps), len(taps)), (name, index)


@pytest.mark.parametrize("line", ["convt1d_c1_o1_i2_k1_s1000000_f32", "conv1d_c1_o1_i1000001_k1_s1000000_f32"])
def test_a_long_stride_takes_no_longer_than_its_taps(line: str) -> None:
    """Of a million sites, those that no tap meets are not visited one by one."""
    config = ConvConfig.parse(line)
    found = computed(config, *normal(config, seed=0), moments=False)
    wide = found["forward" if config.op == "conv_transpose" else "grad_input"]
    assert np.flatnonzero(wide.n).tolist() == [0, 1_000_000]


def test_a_long_kernel_needs_no_table_of_taps_by_sites() -> None:
    """Two hundred thousand taps meet as many sites: a table of the pairs would have 4·10^10 entries."""
    config = ConvConfig.parse("convt1d_c1_o1_i1_k200000_p100000:0_f32")
    x, w, _ = normal(config, seed=0)
    np.testing.assert_array_equal(reference(config, x, w, moments=False).y, np.float64(x) * w[..., 100_000:])


@pytest.mark.parametrize(
    "line",
    [f"conv1d_c1_o1_i5_k3_p{2**63}_d{2**63}_f32", f"conv1d_c1_o1_i5_k1_s{2**63}_p{2**63}_f32", f"conv1d_c1_o1_i5_k1_s{2**62}_p{2**64}_f32"],
)
def test_what_int64_does_not_hold_is_declined(line: str) -> None:
    """A stride, dilation or padding that reaches beyond int64 is declined by name."""
    config = ConvConfig.parse(line)
    assert config.is_valid, config.invalid_reason
    with pytest.raises(Unsupported, match=f"padding={config.pads[0][0]} reach .*, too far for int64"):
        reference(config, *normal(config, seed=0)[:2])
