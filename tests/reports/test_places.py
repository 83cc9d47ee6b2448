"""Names of axes and places of elements."""

from __future__ import annotations

import pytest

from convfuzz.case import PASSES, Case
from convfuzz.reports import result_axes as places
from convfuzz.reports.result_axes import Place


@pytest.mark.parametrize(
    ("line", "in_pass", "axes"),
    [
        ("conv2d_c4_o6_i5_k3_f32", "forward", ("n", "c", "y", "x")),
        ("conv1d_n-_c4_o6_i5_k3_f32", "forward", ("c", "x")),
        ("conv3d_c4_o6_i5_k3_f32_grad", "grad_input", ("n", "c", "z", "y", "x")),
        ("conv2d_c4_o6_i5_k3_f32_grad", "grad_weight", ("out", "in", "ky", "kx")),
        ("conv1d_c4_o6_g2_i5_k3_f32_grad", "grad_weight", ("out", "in of the group", "kx")),
        ("convt1d_c4_o6_g2_i5_k3_f32_grad", "grad_weight", ("in", "out of the group", "kx")),
        ("conv2d_c4_o6_i5_k3_b_f32_grad", "grad_bias", ("out",)),
        ("conv2d_c4_o6_i5_k3_f32", "sideways", ()),
    ],
)
def test_each_pass_has_its_own_axes(line: str, in_pass: str, axes: tuple[str, ...]) -> None:
    """The axes are those of the pass's result: its batch, channels and sites, or a weight's channels and taps."""
    assert places.axes(Case.parse(line), in_pass) == axes


@pytest.mark.parametrize("line", ["convt3d_n-_c4_o6_g2_i5x4x3_k3_b_f32_grad", "conv1d_n2_c1_o1_i2_k1_b_c64_grad"])
@pytest.mark.parametrize("in_pass", PASSES)
def test_there_is_a_name_for_every_axis(line: str, in_pass: str) -> None:
    """As many names as the result has axes."""
    case = Case.parse(line)
    assert len(places.axes(case, in_pass)) == len(case.shape_of(in_pass))


def test_the_last_axis_of_a_complex_index_is_a_part() -> None:
    """0 is the real part and 1 the imaginary one, of complex dtypes only."""
    assert str(Place.of(Case.parse("conv1d_c1_o1_i2_k1_c64"), (0, 0, 1, 1))) == "[0, 0, 1].imag"
    assert str(Place.of(Case.parse("conv1d_c1_o1_i2_k1_c128"), (0, 0, 1, 0))) == "[0, 0, 1].real"
    assert str(Place.of(Case.parse("conv1d_c1_o1_i2_k1_f64"), (0, 0, 1))) == "[0, 0, 1]"


@pytest.mark.parametrize("index", [(), (0, 0), (0, 0, 5), (0, 0, -1), (0, 0, 1, 7)])
def test_what_is_no_index_of_the_result_has_no_sites(index: tuple[int, ...]) -> None:
    """An index of another length or beyond the shape points nowhere."""
    case = Case.parse("conv1d_c1_o1_i5_k2_c64")
    assert Place.of(case, index).sites(case, "forward") == ()


def test_sites_are_the_spatial_part_of_an_index() -> None:
    """Of a weight's index they are its tap; a bias has none."""
    case = Case.parse("conv2d_c4_o6_i5_k3_b_f32_grad")
    assert Place((0, 5, 1, 2)).sites(case, "forward") == (1, 2)
    assert Place((5, 3, 0, 2)).sites(case, "grad_weight") == (0, 2)
    assert Place((5,)).sites(case, "grad_bias") == ()
