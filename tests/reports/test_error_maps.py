"""The map of a finding's errors on the page: which samples, channels and sites, and never more than fits."""

from __future__ import annotations

import re
from types import ModuleType

import msgspec
import numpy as np
import pytest

from convfuzz.record.error_map import Axis, map_errors
from convfuzz.record.finding import Finding
from convfuzz.record.run_directory import Run
from convfuzz.reports import render_html
from convfuzz.reports.pictures.error_maps import view

ROOM = 10_000


@pytest.fixture
def mapped(synthetic: ModuleType) -> Finding:
    """The made-up finding that has a map."""
    (one,) = [finding for finding in synthetic.findings() if finding.error_map]
    return one


def test_axes_are_named_by_what_they_count(mapped: Finding) -> None:
    """Samples, channels, rows and columns, each with the indices that are off."""
    found = view(mapped, ROOM)
    assert found is not None
    assert [(axis.name, axis.indices) for axis in found.axes] == [
        ("sample", "all 4"),
        ("channel", "at 1 to 19, every 6, of 24"),
        ("row", "at 29, 30, of 31"),
        ("column", "all 7"),
    ]
    assert found.said == "224 of 20,832 elements are off"
    assert found.plane_label == "rows down, columns across"


def test_a_single_index_is_said_to_be_alone(mapped: Finding) -> None:
    """One channel of several reads as that one, not as a number of them."""
    off = np.zeros((1, 8, 3, 3), dtype=bool)
    off[0, 2] = True
    one = msgspec.structs.replace(mapped, error_map=map_errors("conv2d_c1_o8_i3_k1_f32", off, sites=2))
    found = view(one, ROOM)
    assert found is not None
    assert found.axes[0].indices == "at 2 alone, of 8"


def test_a_gradient_of_the_weight_has_taps(mapped: Finding) -> None:
    """The axes of a weight are its channels and its taps."""
    off = np.ones((6, 2, 3, 2), dtype=bool)
    case = "conv2d_n2_c4_o6_g2_i4x5_k3x2_s2_p1_f32_grad@integers.5"
    found = view(msgspec.structs.replace(mapped, in_pass="grad_weight", error_map=map_errors(case, off, sites=2)), ROOM)
    assert found is not None
    assert [axis.name for axis in found.axes] == ["output channel", "input channel", "tap row", "tap column"]


def test_a_map_with_other_axes_than_its_case_is_numbered(mapped: Finding) -> None:
    """A file from elsewhere whose map does not fit its case has axes without names."""
    assert mapped.error_map is not None
    odd = msgspec.structs.replace(mapped.error_map, axes=[Axis(3, "9..", "0"), Axis(2, "99", "all")])
    found = view(msgspec.structs.replace(mapped, error_map=odd), ROOM)
    assert found is not None
    assert [axis.name for axis in found.axes] == ["axis 0", "axis 1"]


def test_words_from_a_file_are_escaped(mapped: Finding, synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a map says in words is text, whatever it holds."""
    assert mapped.error_map is not None
    odd = msgspec.structs.replace(mapped.error_map, axes=[Axis(3, "9..", "<img src=x>"), *mapped.error_map.axes[1:]])
    directory = synthetic.write_campaign(tmp_path_factory.mktemp("odd"), cases=2, found=[msgspec.structs.replace(mapped, error_map=odd)])
    page = render_html([Run.load(directory)])
    assert "<img" not in page
    assert "&lt;img src=x&gt;" in page


def test_a_plane_that_does_not_fit_is_left_out(mapped: Finding) -> None:
    """Without room the axes remain, which are small."""
    found = view(mapped, 10)
    assert found is not None
    assert found.plane is None
    assert len(found.axes) == 4


def test_nothing_to_map(mapped: Finding) -> None:
    """No map, and a result of one element, have no picture."""
    assert view(msgspec.structs.replace(mapped, error_map=None), ROOM) is None
    one = map_errors("conv1d_c1_o1_i1_k1_f32", np.ones((1, 1, 1), dtype=bool), sites=1)
    assert view(msgspec.structs.replace(mapped, error_map=one), ROOM) is None


def test_the_picture_covers_what_the_marks_say(mapped: Finding) -> None:
    """Every cell that is off is under a stroke, and no other: the cells of all strokes add up to the marks."""
    found = view(mapped, ROOM)
    assert found is not None
    assert found.plane is not None
    assert mapped.error_map is not None
    strokes = [tuple(map(int, stroke)) for stroke in re.findall(r"M(\d+) (\d+)h(\d+)", found.plane)]
    drawn = {(x + i, y) for x, y, run in strokes for i in range(run)}
    assert drawn == {(x, y) for y, row in enumerate(mapped.error_map.plane) for x, mark in enumerate(row) if mark != "."}
