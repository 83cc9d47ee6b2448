"""What a discrepancy says, computed by hand on outputs small enough for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from convfuzz.case import Case
from convfuzz.case.dtypes import numpy_dtype
from convfuzz.judging.float_judge import FloatJudge
from convfuzz.judging.judge import Judge
from convfuzz.judging.numerics import Numerics
from convfuzz.tensors.generator import Tensors, make_tensors
from convfuzz.verdicts import Discrepancy


def measure(
    dtype: str, x: Sequence[float], w: Sequence[float], output: Sequence[float], numerics: Numerics | None = None, regime: str = "normal"
) -> Discrepancy:
    """Judge an output of a one-dimensional, one-channel convolution and return its discrepancy."""
    case = Case.parse(f"conv1d_c1_o1_i{len(x)}_k{len(w)}_{dtype}@{regime}.0")
    kind = numpy_dtype(case.config.dtype)
    judge = Judge(case, Tensors(np.array([[x]], dtype=kind), np.array([[w]], dtype=kind), None))
    found = judge.judge(np.array([[output]], dtype=kind), numerics or Numerics()).discrepancy
    assert found is not None
    return found


def test_one_wrong_element() -> None:
    """Where, how much, in units in the last place, in units of u·S, and what tolerance would pass: all of the one element."""
    off = 2.0**-18
    found = measure("f32", [1, 3], [1], [1, 3 + off])
    assert (found.elements, found.over, found.non_finite, found.undecided) == (2, 1, 0, 0)
    assert (found.index, found.expected, found.actual) == ((0, 0, 1), 3.0, 3.0 + off)
    assert found.max_abs == off
    assert found.ulps == off / 2.0**-22  # float32 has steps of 2^-22 between 2 and 4
    assert found.u_s == pytest.approx(off / (2.0**-24 * 3.0))  # one product: S = 3
    assert found.required_atol == off
    assert found.required_rtol == off / 3.0


def test_the_ratio_by_hand() -> None:
    """The ratio is the error over the tolerance: the statistical bound of one product plus the output's rounding."""
    off = 2.0**-18
    found = measure("f32", [1, 3], [1], [1, 3 + off])
    # n = 1: no variance, mean² = Q = 9: λ·u·sqrt(1·2/6 · 3 · 9 + 9) = λ·u·sqrt(18), and u·3 for the result.
    bound = 6.65 * 2.0**-24 * np.sqrt(18.0) + 2.0**-24 * 3.0
    assert found.ratio == pytest.approx(off / bound, rel=1e-5)
    assert found.ratio_index == (0, 0, 1)


def test_the_worst_ratio_may_be_elsewhere() -> None:
    """The largest error and the largest ratio are told apart: a small error in a small sum can be the worse one."""
    found = measure("f32", [1e-3, 1e3], [1], [1e-3 + 1e-6, 1e3 + 1e-3])
    assert found.index == (0, 0, 1)
    assert found.max_abs == pytest.approx(1e-3, rel=0.1)
    assert found.ratio_index == (0, 0, 0)
    assert found.required_rtol == pytest.approx(1e-3, rel=0.1)


def test_required_tolerances_pass_and_no_smaller_ones() -> None:
    """NumPy's allclose passes with either required tolerance alone, and fails with a thousandth less."""
    x = [0.5, -3.0, 40.0, 7.0]
    output = [0.5 + 2.0**-10, -3.0, 40.0 + 2.0**-8, 7.0 - 2.0**-12]
    found = measure("f64", x, [1], output)
    for rtol, atol in ((found.required_rtol, 0.0), (0.0, found.required_atol)):
        assert np.allclose(output, x, rtol=float(rtol), atol=float(atol))
        assert not np.allclose(output, x, rtol=0.999 * float(rtol), atol=0.999 * float(atol))
    assert found.required_rtol == 2.0**-10 / 0.5
    assert found.required_atol == 2.0**-8


def test_no_relative_tolerance_passes_at_zero() -> None:
    """Where zero is expected and something else came, only an absolute tolerance passes."""
    found = measure("f32", [0, 1], [1], [2.0**-10, 1])
    assert found.required_rtol == np.inf
    assert found.required_atol == 2.0**-10


def test_units_in_the_last_place_at_zero() -> None:
    """At zero the unit in the last place is the smallest subnormal number."""
    found = measure("f32", [0, 1], [1], [3 * 2.0**-149, 1])
    assert found.max_abs == 3 * 2.0**-149
    assert found.ulps == 3.0


def test_output_rounding_is_no_accumulation_error() -> None:
    """In units of u·S a correctly rounded 16-bit output has no error beyond that of its own dtype."""
    exact = 1.0 + 2.0**-11 + 2.0**-12  # a float32 sum of two float16 numbers
    found = measure("f16", [1, 2.0**-11 + 2.0**-12], [1, 1], [1.0 + 2.0**-10])
    assert found.max_abs == 2.0**-10 - (exact - 1.0)
    assert found.ulps == 0.25
    assert found.u_s == 0.0


def test_not_finite_is_shown_first() -> None:
    """The element shown is the first that is wrong in being finite or not, even if others are far off."""
    found = measure("f32", [1, 2, 3, 4], [1], [1, np.nan, 3, 400])
    assert (found.index, found.expected, found.non_finite) == ((0, 0, 1), 2.0, 1)
    assert np.isnan(found.actual)
    assert found.max_abs == 396.0
    assert found.over == 1


def test_not_finite_elements_enter_no_sum() -> None:
    """NaN and Inf where they are due count neither as errors nor as infinite tolerances."""
    found = measure("f32", [np.nan, 2, np.inf], [1], [np.nan, 2, np.inf])
    assert (found.max_abs, found.over, found.non_finite, found.required_rtol) == (0.0, 0, 0, 0.0)
    assert found.ratio == 0.0


def test_integers_by_hand() -> None:
    """In the exact regime every error counts as over, and there is no tolerance to relate it to."""
    found = measure("f32", [1, 2, 3], [2, 1], [4, 7.25], regime="integers")
    assert (found.elements, found.over, found.max_abs, found.index) == (2, 1, 0.25, (0, 0, 1))
    assert (found.ratio, found.u_s, found.ratio_index) == (None, None, ())
    assert found.required_rtol == 0.25 / 7.0


def test_the_same_bits_are_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What several backends return alike is measured once; other bits, a zero's sign among them, and other numerics are judged anew."""
    case = Case.parse("conv1d_c2_o2_i5_k3_f32@zeros")
    judge, measured = Judge(case, make_tensors(case)), []
    original = FloatJudge.judge

    def counted(self: FloatJudge, output: np.ndarray, numerics: Numerics) -> object:
        measured.append(numerics)
        return original(self, output, numerics)

    monkeypatch.setattr(FloatJudge, "judge", counted)
    zeros, off = np.zeros((1, 2, 3), np.float32), np.ones((1, 2, 3), np.float32)
    first = judge.judge(zeros, Numerics())
    assert judge.judge(np.asfortranarray(zeros), Numerics()) is first
    assert len(measured) == 1
    assert [judge.judge(other, Numerics()).verdict.failing for other in (off, -zeros, zeros)] == [True, False, False]
    judge.judge(zeros, Numerics(bias="separate"))
    assert measured == [Numerics()] * 3 + [Numerics(bias="separate")]
