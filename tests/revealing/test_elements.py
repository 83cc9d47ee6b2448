"""One output element of any layer as a sum of its products: each tap is put where the layer reads it."""

from __future__ import annotations

import numpy as np
import pytest

from convfuzz import Case, ConvConfig
from convfuzz.backends import resolve
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.errors import UsageError
from convfuzz.oracle import reference
from convfuzz.revealing.element import Element

LAYERS = (
    "conv1d_c4_o2_i9_k3_f64",
    "conv1d_n-_c4_o2_i9_k3_s2_p2:1_d2_b_f32",
    "conv2d_n3_c8_o6_g2_i7x6_k3x2_s2x1_p1_b_f32",
    "conv2d_c6_o6_g6_i5_k3_psame_b_bf16",
    "conv2d_n2_c2_o2_i6_k3_p1_pmcircular_f32",
    "conv2d_n2_c2_o2_i2_k5_p2_f32",
    "conv3d_n2_c2_o2_i4_k2_f16_cl",
    "convt1d_n2_c4_o4_g2_i6_k4_s2_p1_b_f32",
    "convt2d_n2_c3_o2_i5x4_k3x4_s2x3_p1_op1_d1_b_f64",
    "convt3d_n1_c2_o2_i3_k2_nc_f32",
)


@pytest.mark.parametrize("line", LAYERS)
def test_the_element_is_the_sum_of_its_products(line: str) -> None:
    """Small integers on every tap give Σ x·w + b exactly, in each member of the batch."""
    element = Element(resolve("reference"), Case.parse(line).config)
    draws = np.random.default_rng(0)
    w = draws.integers(-3, 4, element.taps).astype(float)
    rows = draws.integers(-3, 4, (5, element.taps)).astype(float)
    bias = 3.0 if element.has_bias else 0.0
    assert element.pack() in (True, None)
    assert np.array_equal(element.values(rows, w, bias), rows @ w + bias)


def test_taps_are_in_the_order_of_the_weight() -> None:
    """Coordinates are the channel within the group and the kernel's axes, the last one fastest."""
    element = Element(resolve("reference"), Case.parse("conv2d_c4_o2_g2_i5_k3x2_f32").config)
    assert element.axes == ("channel", "row", "column")
    assert element.coordinates.tolist() == [[c, i, j] for c in range(2) for i in range(3) for j in range(2)]


def test_a_batch_that_changes_results_is_not_packed() -> None:
    """Where a sample's result depends on its place, every probe is a call of its own."""

    class Placed:
        name, versions = "placed", {}

        def __getattr__(self, name: str) -> object:
            return getattr(resolve("reference"), name)

        def run(self, case: Case, tensors: object) -> dict[str, np.ndarray]:
            y = resolve("reference").run(case, tensors)["forward"].copy()  # type: ignore[arg-type]
            y[1:] *= 1.0 + 1e-6
            return {"forward": y}

    element = Element(Placed(), Case.parse("conv1d_n4_c4_o1_i4_k2_f32").config)  # type: ignore[arg-type]
    assert element.pack() is False
    assert element.members == 1


def test_an_element_without_all_taps_needs_zeros_for_padding() -> None:
    """Copied padding would put one input on two taps: a layer without an element clear of it is refused."""
    with pytest.raises(UsageError, match="no output element has all its taps inside"):
        Element(resolve("reference"), Case.parse("conv1d_c4_o1_i2_k5_p2_pmreplicate_f32").config)


@pytest.mark.parametrize("factor", [0.0, -1.0, 2.0])
@pytest.mark.parametrize("tap", range(8))
def test_one_tap_that_is_wrong_is_enough(tap: int, factor: float) -> None:
    """A kernel that drops, negates or doubles a single tap, whichever, is refused before anything is measured of it."""
    config = Case.parse("conv1d_c4_o2_i5_k2_b_bf16").config

    def wrong(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, config: ConvConfig) -> np.ndarray:
        changed = np.array(w, np.float64)
        changed.reshape(len(w), -1)[:, tap] *= factor
        return reference(config, x, changed, b).y.astype(x.dtype)

    with pytest.raises(UsageError, match="it is wrong, and its arithmetic is not measured"):
        Element(KernelBackend("wrong", wrong), config).require_right()
