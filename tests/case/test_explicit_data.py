"""Data that name the elements which are not zero: how a line has them, what they may be, and how they are judged."""

from __future__ import annotations

import math
import re
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convfuzz import Case, DataRecipe, check
from convfuzz.case.config import DTYPES
from convfuzz.case.dtypes import FLOATS, component_format, is_complex, is_integer, numpy_dtype
from convfuzz.case.explicit_data import MOST_ENTRIES, Entry, assignments
from convfuzz.errors import CaseSyntaxError, InvalidConfig
from convfuzz.judging.judge import Judge
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import make_tensors, nonzero
from convfuzz.verdicts import Verdict

LAYER = "conv2d_n2_c2_o3_i4x5_k3_b_f32_grad"
"""x has 80 elements, w 54, b 3 and dy 36."""


def entries(text: str, layer: str = LAYER) -> tuple[Entry, ...]:
    """Return the elements that a line with these data names."""
    return Case.parse(f"{layer}@{text}").recipe.entries


# -- the line ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("zeros", ()),
        ("x0=1", (("x", 0, 1),)),
        ("x79=1_w53=-2_b2=0.5_dy35=3", (("x", 79, 1), ("w", 53, -2), ("b", 2, 0.5), ("dy", 35, 3))),
        ("x0=1e-3", (("x", 0, 0.001),)),
        ("x0=1e20_x1=-1e-45", (("x", 0, 1e20), ("x", 1, -1e-45))),
        ("x0=inf_x1=-inf", (("x", 0, math.inf), ("x", 1, -math.inf))),
    ],
)
def test_tokens(text: str, expected: tuple[tuple[str, int, float], ...]) -> None:
    """Each token is a tensor, a flat index and a number; ``zeros`` has none."""
    assert entries(text) == expected
    assert str(Case.parse(f"{LAYER}@{text}").recipe) == text.replace("1e-3", "0.001")


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("w3=1_x9=1_x2=1", "x2=1_x9=1_w3=1"),
        ("dy0=1_b0=1_w0=1_x0=1", "x0=1_w0=1_b0=1_dy0=1"),
        ("x0=0_x1=1.0_x2=+2_x3=0.50", "x1=1_x2=2_x3=0.5"),
        ("x0=0", "zeros"),
        ("x007=01", "x7=1"),
        ("x0=-0.0_x1=-0", "x0=-0.0_x1=-0.0"),
        ("x0=340282350000000000000000000000000000000.0", "x0=3.4028235e38"),
        ("x0=0e999_x1=3.4028235e38_x2=1e-45", "x1=3.4028235e38_x2=1e-45"),
        ("x0=9007199254740992_x1=1e+30", "x0=9007199254740992.0_x1=1e30"),
    ],
)
def test_canonical_form(written: str, printed: str) -> None:
    """Equal data have one line: elements in order, no zeros but negative ones, each number in its shortest form."""
    case = Case.parse(f"{LAYER}@{written}")
    assert str(case) == f"{LAYER}@{printed}"
    assert Case.parse(str(case)) == case
    assert hash(Case.parse(str(case))) == hash(case)


def test_nan_is_equal_to_itself() -> None:
    """Two readings of one line are one case, also where it has NaN, which is not equal to itself elsewhere."""
    line = f"{LAYER}@x0=nan_dy1=nan"
    assert Case.parse(line) == Case.parse(line)
    assert len({Case.parse(line), Case.parse(line.replace("nan", "+nan"))}) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("z0=1", "token 'z0=1' of the data: expected a tensor (x, w, b or dy), a flat index, '=' and a number"),
        ("x=1", "token 'x=1'"),
        ("x0=", "token 'x0='"),
        ("x-1=1", "token 'x-1=1'"),
        ("x0=1_", "token ''"),
        ("x0=1,w0=1", "token 'x0=1,w0=1'"),
        ("x0=one", "token 'x0=one'"),
        ("x0=0x1p3", "token 'x0=0x1p3'"),
        ("x0=1e9999", "token 'x0=1e9999'"),
        ("x0=1e999", "token 'x0=1e999' of the data: 1e999: no dtype goes beyond 1.79769e+308; infinity is written inf"),
        ("x0=-1e309", "no dtype goes beyond 1.79769e+308"),
        ("x0=1e-999", "1e-999: every dtype rounds it to 0; the smallest number of any is 4.94066e-324"),
        ("x0=-0.0001e-323", "every dtype rounds it to 0"),
        ("x0=1+1e999j", "1e999: no dtype goes beyond"),
        ("x0=1-1e-999j", "-1e-999: every dtype rounds it to 0"),
        ("x0=1_x1=1_x0=1", "x0 is given twice"),
        ("x0 =1", "token 'x0 =1'"),
        ("x0=1e", "token 'x0=1e'"),
        ("x0=--1", "token 'x0=--1'"),
        ("x0=\u0661", "token 'x0=\u0661'"),
        ("zeros_x0=1", "token 'zeros'"),
        ("x0=1_x0=2", "x0 is given twice"),
        ("x0=0_x00=0", "x0 is given twice"),
        ("x80=1", "x80=1: x has 80 elements, of shape (2, 2, 4, 5)"),
        ("dy36=1", "dy36=1: dy has 36 elements"),
        ("x0=1j", "token 'x0=1j'"),
        ("x0=1+2j", "x0=1+2j: float32 is not complex"),
        ("x0=1e39", "float32 ends at 3.40282e+38; infinity is written inf"),
        ("x0=1e-46", "float32 rounds it to 0; its smallest number is 1.4013e-45"),
        ("x0=1.zeros", "token 'x0=1.zeros'"),
    ],
)
def test_errors(text: str, said: str) -> None:
    """What does not parse, or does not fit the case's tensors, is named with the rule that it breaks."""
    with pytest.raises(CaseSyntaxError, match=re.escape(said)):
        Case.parse(f"{LAYER}@{text}")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("conv1d_c1_o1_i3_k1_f32@b0=1", "b0=1: there is no bias"),
        ("conv1d_c1_o1_i3_k1_f32@dy0=1", "belongs to a valid case with 'grad'"),
        ("conv1d_c1_o1_i3_k5_f32_grad@dy0=1", "belongs to a valid case with 'grad'"),
        ("conv1d_c1_o1_i3_k1_i8@x0=128", "x0=128: int8 holds -128 … 127"),
        ("conv1d_c1_o1_i3_k1_i8@x0=0.5", "int8 holds whole numbers only"),
        ("conv1d_c1_o1_i3_k1_i8@x0=nan", "int8 holds whole numbers only"),
        ("conv1d_c1_o1_i3_k1_i64@x0=9223372036854775808", "int64 holds -9223372036854775808 … 9223372036854775807"),
        ("conv1d_c1_o1_i3_k1_c64@x0=inf", "complex64 data are finite"),
        ("conv1d_c1_o1_i3_k1_c64@x0=1+nanj", "complex64 data are finite"),
        ("conv1d_c1_o1_i3_k1_c64@x0=1+1e39j", "complex64 ends at"),
        ("conv1d_c1_o1_i3_k1_bf16@x0=1e-42", "bfloat16 rounds it to 0"),
        ("conv1d_c1_o1_i3_k1_f64@x0=1e309", "no dtype goes beyond 1.79769e+308; infinity is written inf"),
        ("conv1d_c1_o1_i3_k1_f64@x0=2e-324", "every dtype rounds it to 0"),
        ("conv1d_c1_o1_i3_k1_c128@x0=1e309+1j", "no dtype goes beyond"),
        ("conv1d_c1_o1_i3_k1_f16@x0=1e6", "float16 ends at 65504; infinity is written inf"),
        ("conv1d_c1_o1_i3_k1_f16@x0=65520", "float16 ends at 65504"),
        ("conv1d_c1_o1_i3_k1_i8@x0=300", "x0=300: int8 holds -128 … 127"),
        ("conv1d_c1_o1_i3_k1_i8@x0=1e-999", "every dtype rounds it to 0"),
        ("conv1d_c1_o1_i3_k1_i64@x0=1e19", "int64 holds"),
        ("conv1d_c1_o1_i0_k1_p1_f32@x0=1", "x has 0 elements"),
    ],
)
def test_what_a_case_does_not_hold(line: str, said: str) -> None:
    """A tensor that the case has not, and a value that its dtype has not, are refused."""
    with pytest.raises(CaseSyntaxError, match=re.escape(said)):
        Case.parse(line)


def test_no_line_names_more_than_can_be_tried() -> None:
    """A line names a bounded number of elements, whether they are zeros or not."""
    line = "conv1d_c1_o1_i9999_k1_f32@" + "_".join(f"x{i}=1" for i in range(MOST_ENTRIES))
    assert str(Case.parse(line)) == line
    with pytest.raises(CaseSyntaxError, match=f"names {MOST_ENTRIES + 1} elements; a case names {MOST_ENTRIES} at most"):
        Case.parse(line + "_w0=0")


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([("y", 0, 1)], "'y' is not one of the tensors x, w, b, dy"),
        ([("x", -1, 1)], "index -1 of x"),
        ([("x", True, 1)], "index True of x"),
        ([("x", 0, "1")], "value '1' of x0"),
        ([("x", 0, True)], "value True of x0"),
        ([("x", 0, np.True_)], "value True of x0"),
        ([("x", 0, 10**400)], "of x0: no dtype goes beyond 1.79769e+308"),
        ([("x", 0, np.array([1.0]))], "value array([1.]) of x0 is not a number"),
        ([("x", 0, 1), ("x", 0, 1)], "given twice"),
    ],
)
def test_recipes_made_in_python_are_held_to_the_same(entries: Any, said: str) -> None:
    """What no line can have no recipe has."""
    with pytest.raises(InvalidConfig, match=re.escape(said)):
        DataRecipe.explicit(entries)


def test_numbers_of_any_library_are_pythons() -> None:
    """Indices and values of NumPy, ml_dtypes and 0-d arrays make the recipe that Python's own numbers make."""
    theirs = [("x", np.int64(2), np.int8(3)), ("w", np.array(1), np.float32(0.5)), ("b", 0, ml_dtypes.bfloat16(2.5)), ("b", 1, np.array(4))]
    recipe = DataRecipe.explicit(theirs)
    assert str(recipe) == "x2=3_w1=0.5_b0=2.5_b1=4"
    assert recipe == DataRecipe.explicit([("x", 2, 3), ("w", 1, 0.5), ("b", 0, 2.5), ("b", 1, 4)])
    assert {type(part) for entry in recipe.entries for part in entry} == {str, int, float}
    assert repr(DataRecipe("normal", np.int64(7))) == repr(DataRecipe("normal", 7))


def test_a_recipe_is_drawn_or_explicit() -> None:
    """Drawn data have no elements, explicit ones no seed; what does not fit the case is refused when its tensors are made."""
    with pytest.raises(InvalidConfig, match="which draws every element"):
        DataRecipe("normal", 1, entries=(Entry("x", 0, 1),))
    with pytest.raises(InvalidConfig, match="seed=1 with explicit data"):
        DataRecipe("explicit", 1)
    with pytest.raises(InvalidConfig, match="x has 3 elements"):
        make_tensors(Case(Case.parse("conv1d_c1_o1_i3_k1_f32").config, DataRecipe.explicit([("x", 3, 1)])))


NUMBERS = {
    "float": st.floats(width=32),
    "int": st.integers(-128, 127),
    "complex": st.complex_numbers(allow_nan=False, allow_infinity=False, max_magnitude=1e30, min_magnitude=1e-30),
}


@st.composite
def explicit_cases(draw: st.DrawFn) -> Case:
    """Draw a case of explicit data of any dtype."""
    dtype = draw(st.sampled_from(DTYPES))
    config = Case.parse(LAYER).config.replace(dtype=dtype, bias=draw(st.booleans()))
    grad = draw(st.booleans()) and not is_integer(dtype)
    sizes = {"x": 80, "w": 54} | ({"b": 3} if config.bias else {}) | ({"dy": 36} if grad else {})
    places = st.sampled_from(sorted(sizes)).flatmap(lambda name: st.tuples(st.just(name), st.integers(0, sizes[name] - 1)))
    number = NUMBERS["int" if is_integer(dtype) else "complex" if is_complex(dtype) else "float"]
    drawn = draw(st.dictionaries(places, number, max_size=12))
    return Case(config, DataRecipe.explicit([(name, at, value) for (name, at), value in drawn.items() if _fits(value, dtype)]), grad)


def _fits(value: complex, dtype: str) -> bool:
    if is_integer(dtype):
        return True
    form = component_format(dtype)
    parts = (value.real, value.imag) if isinstance(value, complex) else (value,)
    return all(not math.isfinite(part) or part == 0 or form.smallest_subnormal <= abs(part) <= form.max for part in parts)


@settings(deadline=None, max_examples=300)
@given(case=explicit_cases())
def test_round_trip(case: Case) -> None:
    """Every case of explicit data is read back from its line, which no shell would change, and makes the same tensors."""
    line = str(case)
    assert re.fullmatch(r"[a-z0-9:@._=+-]+", line)
    assert Case.parse(line) == case
    assert str(Case.parse(line)) == line
    for a, b in zip(make_tensors(case).named().values(), make_tensors(Case.parse(line)).named().values(), strict=True):
        assert a.tobytes() == b.tobytes()


# -- the tensors ------------------------------------------------------------------------------------------------------


def test_elements_count_in_c_order_whatever_the_layout() -> None:
    """The index counts the tensor's own elements, so that a layout changes where they lie in memory alone."""
    for layout in ("", "_cl", "_nc", "_tr", "_of", "_ls"):
        tensors = make_tensors(Case.parse(f"conv2d_n2_c2_o3_i4x5_k3_b_f32{layout}_grad@x47=5_w53=7_b1=-1_dy4=inf"))
        assert tensors.x[1, 0, 1, 2] == 5
        assert tensors.w[2, 1, 2, 2] == 7
        assert tensors.b is not None
        assert tensors.dy is not None
        assert tensors.b.tolist() == [0, -1, 0]
        assert np.argwhere(tensors.dy == np.inf).tolist() == [[0, 0, 1, 1]]
        assert [np.count_nonzero(array) for array in tensors.named().values()] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("conv1d_c1_o1_i1_k1_f32@x0=0.1", np.float32(0.1)),
        ("conv1d_c1_o1_i1_k1_f64@x0=0.1", np.float64(0.1)),
        ("conv1d_c1_o1_i1_k1_bf16@x0=1.00390625000000000001", numpy_dtype("bfloat16").type(1.0)),
        ("conv1d_c1_o1_i1_k1_i64@x0=9223372036854775807", np.int64(2**63 - 1)),
        ("conv1d_c1_o1_i1_k1_i64@x0=-9223372036854775808", np.int64(-(2**63))),
        ("conv1d_c1_o1_i1_k1_f64@x0=9007199254740993", np.float64(2**53)),
        ("conv1d_c1_o1_i1_k1_i64@x0=9007199254740993.0", np.int64(2**53 + 1)),
        ("conv1d_c1_o1_i1_k1_i64@x0=90071992547409930e-1", np.int64(2**53 + 1)),
        ("conv1d_c1_o1_i1_k1_f64@x0=1.797693134862315e308", np.float64(1.797693134862315e308)),
        ("conv1d_c1_o1_i1_k1_f64@x0=5e-324", np.float64(5e-324)),
        ("conv1d_c1_o1_i1_k1_f32@x0=3.4028235e38", np.finfo(np.float32).max),
        ("conv1d_c1_o1_i1_k1_f16@x0=65519", np.float16(65504)),
        ("conv1d_c1_o1_i1_k1_bf16@x0=3.3961775e38", numpy_dtype("bfloat16").type(3.3895314e38)),
        ("conv1d_c1_o1_i1_k1_c64@x0=-0.5+2j", np.complex64(-0.5 + 2j)),
        ("conv1d_c1_o1_i1_k1_f32@x0=1e-45", np.float32(1e-45)),
        ("conv1d_c1_o1_i1_k1_f16@x0=-0.0", np.float16(-0.0)),
    ],
)
def test_each_number_is_rounded_once_to_the_dtype(line: str, value: np.generic) -> None:
    """A value is the nearest of the dtype; the integers keep all their digits, and a negative zero its sign."""
    x = make_tensors(Case.parse(line)).x
    assert x.tobytes() == np.asarray(value).tobytes()


def test_a_negative_zero_is_no_zero() -> None:
    """The mask of what is not zero marks NaN and negative zeros too, in every dtype."""
    for dtype in FLOATS.keys() - {"tfloat32"}:
        assert nonzero(np.array([0.0, -0.0, 1.0, math.nan]).astype(numpy_dtype(dtype))).tolist() == [False, True, True, True]
    assert nonzero(np.array([0, 1j, 2])).tolist() == [False, True, True]
    assert nonzero(np.array([0, -3], np.int8)).tolist() == [False, True]


def test_the_forward_pass_alone_has_no_output_gradient() -> None:
    """The elements of dy are left aside where a backend without gradients runs the forward pass only."""
    case = Case.parse(f"{LAYER}@x0=1_dy0=1")
    forward = Case(case.config, case.recipe, grad=False)
    assert make_tensors(forward).dy is None
    assert make_tensors(forward).x[0, 0, 0, 0] == 1


def test_elements_with_their_coordinates() -> None:
    """A reader is shown where in a tensor an element lies."""
    case = Case.parse(f"{LAYER}@x47=5_w53=0.5_b1=nan_dy4=1")
    written = assignments(case.recipe.entries, case.config, grad=True)
    assert written == ["x[1, 0, 1, 2] = 5", "w[2, 1, 2, 2] = 0.5", "b[1] = nan", "dy[0, 0, 1, 1] = 1"]


# -- changes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"batch": 1}, "x7=5_w53=7_b1=-1_dy4=3"),  # the second sample's element moves into the first
        ({"batch": None}, "x7=5_w53=7_b1=-1_dy4=3"),
        ({"input_size": (2, 3), "kernel_size": (1, 1)}, "x17=5_w5=7_b1=-1_dy4=3"),
        ({"in_channels": 1}, "x27=5_w26=7_b1=-1_dy4=3"),
        ({"bias": False}, "x47=5_w53=7_dy4=3"),
        ({"dims": 1, "input_size": (4,), "kernel_size": (3,), "stride": 1, "dilation": 1, "padding": 0, "output_padding": 0},
         "x9=5_w17=7_b1=-1_dy1=3"),
    ],
)  # fmt: skip
def test_another_configuration_keeps_the_coordinates(change: dict[str, Any], kept: str) -> None:
    """When a tensor changes its shape its elements keep their coordinates, as far as the new shape reaches."""
    case = Case.parse(f"{LAYER}@x47=5_w53=7_b1=-1_dy4=3")
    changed = case.changed(config=case.config.replace(**change))
    assert str(changed.recipe) == kept
    assert Case.parse(str(changed)) == changed


def test_other_passes_and_dtypes_drop_what_they_do_not_hold() -> None:
    """Without gradients there is no dy, and a value that the other dtype has not is left out."""
    case = Case.parse(f"{LAYER}@x0=0.5_x1=2_w0=1e-40_dy0=1")
    assert str(case.changed(grad=False).recipe) == "x0=0.5_x1=2_w0=1e-40"
    assert str(case.changed(config=case.config.replace(dtype="int8"), grad=False).recipe) == "x1=2"
    assert str(case.changed(config=case.config.replace(dtype="float16")).recipe) == "x0=0.5_x1=2_dy0=1"


# -- judging ----------------------------------------------------------------------------------------------------------


def judged(line: str, change: float, numerics: Numerics | None = None) -> tuple[Verdict, float | None]:
    """Judge the right output, off by ``change`` where it is not all zeros: the verdict, and the ratio, ``None`` for exact sums."""
    case = Case.parse(line)
    judge = Judge(case, make_tensors(case))
    changed = judge.expected.y + change
    if judge.expected.y.any():
        changed = np.where(judge.expected.y == 0.0, 0.0, changed)
    output: npt.NDArray[Any] = changed.astype(numpy_dtype(case.config.dtype))
    judgement = judge.judge(output, numerics or Numerics())
    assert judgement.discrepancy is not None
    return judgement.verdict, judgement.discrepancy.ratio


def test_whole_numbers_are_judged_exactly() -> None:
    """Sums of small whole numbers are exact in any order, so that the smallest error is one too many."""
    assert judged("conv1d_c2_o1_i3_k2_f32@x0=3_w0=5", 0.0) == (Verdict.AGREE, None)
    assert judged("conv1d_c2_o1_i3_k2_f32@x0=3_w0=5", 1e-6) == (Verdict.IMPRECISE, None)
    assert judged("conv1d_c2_o1_i3_k2_f32@x0=3_w0=5", 1.0) == (Verdict.WRONG, None)
    assert judged("conv1d_c2_o1_i3_k2_f32@zeros", 1e-20) == (Verdict.IMPRECISE, None)


def test_other_numbers_are_judged_within_rounding() -> None:
    """A broken number rounds, and so does a sum of whole numbers that is beyond the dtype's exact ones."""
    verdict, ratio = judged("conv1d_c2_o1_i3_k2_f32@x0=0.1_w0=5", 1e-9)
    assert (verdict, ratio is not None) == (Verdict.AGREE, True)
    verdict, ratio = judged("conv1d_c1_o1_i2_k2_f32@x0=16777216_x1=16777215_w0=1_w1=3", 2.0)
    assert (verdict, ratio is not None) == (Verdict.AGREE, True)


@pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "bf16", "c64", "c128", "i8", "i32", "i64"])
def test_every_dtype_runs(dtype: str) -> None:
    """A case of explicit data goes through a check like any other, gradients included."""
    grad = "" if dtype.startswith("i") else "_grad"
    data = "x4=2_w1=-3_b0=1" + ("_dy1=4" if grad else "")
    result = check(f"conv2d_c2_o2_i3_k2_b_{dtype}{grad}@{data}", ["reference"])
    assert [r.verdict for r in result.results] == [Verdict.AGREE], result
