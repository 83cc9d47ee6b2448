"""Pictures of what meets what."""

from __future__ import annotations

import re

import pytest

from convfuzz.case import PASSES, Case
from convfuzz.reports.pictures.incidence import Incidence, Picture, draw
from convfuzz.reports.result_axes import Place


def drawn(line: str, in_pass: str = "forward", index: tuple[int, ...] | None = None) -> Incidence:
    """Draw a case's line, which must have a picture."""
    incidence = draw(Case.parse(line), in_pass, None if index is None else Place(index))
    assert incidence is not None
    return incidence


def picture(line: str, in_pass: str = "forward", index: tuple[int, ...] | None = None) -> Picture:
    """Draw the one axis of a case's line."""
    (only,) = drawn(line, in_pass, index).pictures
    return only


def dots(svg: str, kind: str = "[a-z]+") -> set[tuple[int, int]]:
    """Return the dots of a picture as (column, line), both from 0."""
    paths = "".join(re.findall(rf'class="tap {kind}" d="([^"]*)"', svg))
    return {(int(x) // 12, (int(y) - 3) // 12 - 1) for x, y in re.findall(r"M(\d+) (\d+)h0", paths)}


def bands(svg: str) -> set[tuple[int, int]]:
    """Return the stripes of a picture as (column, line): those over a line begin at column 0, those over a column above line 0."""
    found = re.findall(r'class="at" x="(\d+)" y="(\d+)"', svg)
    return {(int(x) // 12, int(y) // 12 - 1) for x, y in found}


@pytest.mark.parametrize(
    ("line", "taps"),
    [
        ("conv1d_c1_o1_i5_k3_f32", 9),
        ("conv1d_c1_o1_i5_k3_s2_p1_f32", 9),
        ("convt1d_c1_o1_i3_k3_s2_f32", 9),
        ("convt1d_c1_o1_i3_k2_s2_p1_f32", 6),
    ],
)
def test_the_picture_has_one_dot_per_tap(line: str, taps: int) -> None:
    """Every meeting of an output site, an input site and a tap is one dot, what falls on padding or is cropped included."""
    assert len(dots(picture(line).svg)) == taps


def test_a_transposed_convolution_lays_each_input_down_on_the_output() -> None:
    """Input sites are lines, stride apart on the output; what padding crops is outside it."""
    found = picture("convt1d_c1_o1_i3_k2_s3_p1_f32")
    assert dots(found.svg) == {(0, 0), (1, 0), (3, 1), (4, 1), (6, 2), (7, 2)}
    assert dots(found.svg, "pad") == {(0, 0), (7, 2)}
    assert "6 output sites across, 3 input sites down" in found.svg
    assert found.has_border
    assert found.note == "2 output sites never reached"


def test_output_padding_is_more_output() -> None:
    """It brings back what padding would crop, then adds sites that nothing reaches."""
    assert len(dots(picture("convt1d_c1_o1_i3_k3_s2_p0:1_f32").svg, "pad")) == 1
    assert dots(picture("convt1d_c1_o1_i3_k3_s2_p0:1_op1_f32").svg, "pad") == set()
    assert picture("convt1d_c1_o1_i3_k3_s2_op1_f32").note == "1 output site never reached"


def test_negative_padding_crops_or_extends() -> None:
    """A convolution leaves cropped input unread; a transposed one has output before the first tap."""
    assert picture("conv1d_c1_o1_i5_k2_p-2:0_f32").note == "2 input sites never read"
    extended = picture("convt1d_c1_o1_i2_k2_p-2:0_f32")
    assert dots(extended.svg) == {(2, 0), (3, 0), (3, 1), (4, 1)}
    assert extended.note == "2 output sites never reached"


def test_inputs_that_no_output_reads_are_pointed_out() -> None:
    """A stride past the kernel leaves input sites unread, which the note counts."""
    assert picture("conv1d_c1_o1_i9_k1_s3_f32").note == "6 input sites never read"


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
def test_an_input_that_only_padding_copies_is_read(mode: str) -> None:
    """The kernel meets two input sites and one of padding, which is nothing or the copy of a third."""
    assert picture("conv1d_c1_o1_i7_k1_s3_p1_f32").note == "5 input sites never read"
    assert picture(f"conv1d_c1_o1_i7_k1_s3_p1_pm{mode}_f32").note == "4 input sites never read"


@pytest.mark.parametrize(
    ("line", "in_pass", "index", "band"),
    [
        ("conv1d_c1_o1_i5_k3_p1_f32", "forward", (0, 0, 2), (0, 2)),
        ("conv1d_c1_o1_i5_k3_p1_f32_grad", "grad_input", (0, 0, 2), (3, -1)),
        ("convt1d_c1_o1_i3_k3_s2_p1_f32", "forward", (0, 0, 2), (3, -1)),
        ("convt1d_c1_o1_i3_k3_s2_p1_f32_grad", "grad_input", (0, 0, 2), (0, 2)),
    ],
)
def test_the_worst_element_is_where_the_pass_has_it(line: str, in_pass: str, index: tuple[int, ...], band: tuple[int, int]) -> None:
    """The element of a result is a line or a column: the output of one operation is the input of the other's gradient."""
    assert bands(picture(line, in_pass, index).svg) == {band}
    assert drawn(line, in_pass, index).mark == ("at", "the worst element")


def test_copies_of_the_worst_input_are_pointed_at_too() -> None:
    """The gradient of an input that padding copies comes from every place where it is seen."""
    found = picture("conv1d_c1_o1_i4_k2_p1_pmreplicate_f32_grad", "grad_input", (0, 0, 0))
    assert bands(found.svg) == {(0, -1), (1, -1)}


@pytest.mark.parametrize("op", ["conv", "convt"])
def test_the_worst_tap_of_a_weight_is_picked_out(op: str) -> None:
    """An element of the weight's gradient is a tap: its products, one a line, are what it sums."""
    found = drawn(f"{op}1d_c2_o2_i4_k3_f32_grad", "grad_weight", (1, 0, 2))
    (only,) = found.pictures
    lines = 2 if op == "conv" else 4
    assert dots(only.svg, "worst") == {(line + 2, line) for line in range(lines)}
    assert found.mark == ("dot", "the worst tap")


def test_products_with_padding_are_none() -> None:
    """A tap on padding has no part in a gradient, so that it is not picked out."""
    assert dots(picture("conv1d_c1_o1_i2_k2_p1_f32_grad", "grad_weight", (0, 0, 0)).svg, "worst") == {(1, 1), (2, 2)}


def test_a_bias_has_no_taps() -> None:
    """The bias's gradient sums dy alone, so that there is no picture of it."""
    assert draw(Case.parse("conv1d_c1_o1_i5_k3_b_f32_grad"), "grad_bias", Place((0,))) is None


@pytest.mark.parametrize("index", [(0, 0, 2), (0, 0, 27)])
@pytest.mark.parametrize("in_pass", ["forward", "grad_input"])
@pytest.mark.parametrize("op", ["conv", "convt"])
def test_the_worst_element_is_in_view(op: str, in_pass: str, index: tuple[int, ...]) -> None:
    """The picture shows the site of the worst element and what meets it, however far out it is."""
    found = picture(f"{op}1d_c1_o1_i30_k3_f32_grad", in_pass, index)
    assert found.points
    ((column, line),) = bands(found.svg)
    assert any(column in (0, x) and line in (-1, y) for x, y in dots(found.svg))


def test_each_pass_says_how_to_read_it() -> None:
    """No two passes of the two operations read a picture the same way, and all name what is across."""
    incidences = [
        drawn(f"{op}1d_c1_o1_i5_k3_s4_p1_f32_grad", in_pass) for op in ("conv", "convt") for in_pass in PASSES if in_pass != "grad_bias"
    ]
    assert len({found.lines for found in incidences}) == 6
    assert [dict(found.keys)["in"] for found in incidences] == ["input", "grad_input", "input", "output", "dy", "dy"]


@pytest.mark.parametrize(
    "line",
    [
        "conv2d_c3_o2_g2_i4_k3_f32",
        "conv2d_c1_o1_i2_k5_f32",
        "conv1d_c1_o1_i4_k3_s0_f32",
        "convt1d_c1_o1_i4_k3_op5_f32",
        "conv2d_c3_o2_i4_k3_f32_bad-input-rank",
        "conv1d_n0_c1_o1_i4_k3_f32",
        "conv1d_c0_o1_i4_k3_f32",
        "conv1d_c1_o1_i0_k3_p2_f32",
        "conv1d_c1_o1_i1000000000_k3_f32",
        "convt1d_c1_o1_i2_k3_s4611686018427387904_f32",
        "conv1d_c1_o1_i4_k1_f32",
    ],
)
def test_what_cannot_be_drawn_is_not(line: str) -> None:
    """Invalid, empty, long and trivial axes have no picture."""
    assert draw(Case.parse(line)) is None


def test_equal_axes_share_a_picture() -> None:
    """One picture stands for all axes that look the same, under all their names."""
    found = drawn("conv3d_c1_o1_i4_k2_f32")
    assert [one.axis for one in found.pictures] == ["depth, height and width"]
    assert [one.axis for one in drawn("conv3d_c1_o1_i4_k2_f32", "forward", (0, 0, 1, 0, 1)).pictures] == ["depth and width", "height"]
