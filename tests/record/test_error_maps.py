"""The map of where the errors of a result sit: what is off, counted along each axis and over the plane of the sites."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from convfuzz.backends import resolve_all
from convfuzz.case import Case
from convfuzz.checking.evidence import locate
from convfuzz.record.error_map import MOST_BINS, Axis, ErrorMap, map_errors
from convfuzz.system.json_records import decode, encode

CASE = "conv2d_n2_c3_o4_i5x6_k1_f32"


def mapped(off: np.ndarray, sites: int = 2) -> ErrorMap:
    """Return the map of ``off``, which has elements that are."""
    found = map_errors(CASE, off, sites=sites)
    assert found is not None
    return found


def test_nothing_off_has_no_map() -> None:
    """A result without an element off is not mapped, and neither is an empty one."""
    assert map_errors(CASE, np.zeros((1, 2, 3, 3), dtype=bool), sites=2) is None
    assert map_errors(CASE, np.zeros((1, 0, 3, 3), dtype=bool), sites=2) is None


def test_a_column_of_one_channel() -> None:
    """The last column of channel 2 of every sample: each axis says which of its indices, the plane which sites."""
    off = np.zeros((2, 4, 5, 6), dtype=bool)
    off[:, 2, :, -1] = True
    found = mapped(off)
    assert (found.over, found.elements) == (10, 240)
    assert found.axes == [Axis(2, "99", "all"), Axis(4, "..9.", "2"), Axis(5, "99999", "all"), Axis(6, ".....9", "5")]
    assert found.plane == [".....9"] * 5


def test_marks_are_ninths_of_the_most() -> None:
    """Where three elements are off in one place and one in another, the marks are 9 and a third of it; none is a dot."""
    off = np.zeros((1, 3, 1, 3), dtype=bool)
    off[0, :, 0, 0] = True
    off[0, 1, 0, 2] = True
    found = mapped(off)
    assert found.plane == ["9.3"]
    assert found.axes[3].marks == "9.3"


@pytest.mark.parametrize(
    ("indices", "words"),
    [
        ([3], "3"),
        ([0, 7], "0, 7"),
        ([1, 4, 5], "1, 4, 5"),
        (range(4, 9), "4 to 8"),
        (range(1, 20, 2), "1 to 19, every 2"),
        (range(20), "all"),
        ([0, 1, 3, 4, 6, 9, 13], "7 of 20, from 0 to 13"),
    ],
)
def test_indices_in_words(indices: list[int], words: str) -> None:
    """A few indices are listed, a stretch and a regular pattern are named, the rest is counted."""
    off = np.zeros((1, 20), dtype=bool)
    off[0, list(indices)] = True
    assert mapped(off, sites=1).axes[1].indices == words


def test_a_long_axis_is_shown_in_stretches() -> None:
    """An axis beyond the limit has a mark for each stretch of it, and a single element off in a thousand is still seen."""
    off = np.zeros((1, 1, 1000, 1000), dtype=bool)
    off[0, 0, 999, 0] = True
    found = mapped(off)
    assert max(len(found.plane), *(len(row) for row in found.plane)) <= MOST_BINS
    assert found.axes[2].indices == "999"
    assert found.plane[-1][0] == "9"
    assert sum(row.count(".") for row in found.plane) == sum(map(len, found.plane)) - 1


def test_a_gradient_of_the_bias_has_no_plane() -> None:
    """A result without sites is its axes alone."""
    found = mapped(np.array([True, False]), sites=0)
    assert (found.axes, found.plane) == ([Axis(2, "9.", "0")], [])


def test_a_map_from_elsewhere_is_validated() -> None:
    """What is no mark, and more marks than a map has, are refused when a file is read."""
    good = mapped(np.ones((1, 1, 2, 2), dtype=bool))
    assert decode(encode(good), ErrorMap) == good
    for marks in ("<b>", "9" * 65):
        with pytest.raises(msgspec.ValidationError):
            decode(encode(msgspec.structs.replace(good, plane=[marks])), ErrorMap)


KERNELS = """
import convfuzz


def last_column(x, w, b, config):
    y = convfuzz.reference(config, x, w, b).y
    y = (y[..., 0] + 1j * y[..., 1] if x.dtype.kind == "c" else y).astype(x.dtype)
    y[..., -1] += 1
    return y


def raises(x, w, b, config):
    raise RuntimeError("no")


def small(x, w, b, config):
    return convfuzz.reference(config, x, w, b).y.astype(x.dtype)[..., 1:]
"""


@pytest.mark.parametrize("dtype", ["f32", "f64", "c64", "i32"])
def test_a_backend_is_located(tmp_path_factory: pytest.TempPathFactory, dtype: str) -> None:
    """The column that a kernel gets wrong is where the map says, whatever the dtype; complex parts are one element."""
    path = tmp_path_factory.mktemp("kernel") / "located.py"
    path.write_text(
        KERNELS.replace("def last_column", "@convfuzz.backend(dtypes=('float32', 'float64', 'complex64', 'int32'))\ndef last_column")
    )
    (backend,) = resolve_all([f"{path}::last_column"])
    found = locate(Case.parse(f"conv2d_n2_c2_o3_i4x5_k2_{dtype}@normal.1"), backend, "forward")
    assert found is not None
    assert (found.over, found.elements) == (2 * 3 * 3, 2 * 3 * 3 * 4)
    assert [axis.indices for axis in found.axes] == ["all", "all", "all", "3"]


def test_a_backend_without_gradients_is_located_on_a_case_that_asks_for_them(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its forward pass is what was checked, and is what is mapped."""
    path = tmp_path_factory.mktemp("kernel") / "forward_only.py"
    path.write_text(KERNELS)
    (backend,) = resolve_all([f"{path}::last_column"])
    case = Case.parse("conv2d_n2_c2_o3_i4x5_k2_f32_grad@normal.1")
    assert not backend.supports(case)
    found = locate(case, backend, "forward")
    assert found is not None
    assert found.over == 2 * 3 * 3
    assert locate(case, backend, "grad_weight") is None


@pytest.mark.parametrize("name", ["raises", "small"])
def test_what_has_no_such_result_has_no_map(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """An exception and a result of another shape leave nothing to map."""
    path = tmp_path_factory.mktemp("kernel") / "unmapped.py"
    path.write_text(KERNELS)
    (backend,) = resolve_all([f"{path}::{name}"])
    assert locate(Case.parse("conv1d_c1_o1_i4_k2_f32"), backend, "forward") is None
