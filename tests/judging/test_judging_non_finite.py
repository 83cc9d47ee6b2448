"""Verdicts on NaN and Inf, element by element."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convfuzz.case import Case, DataRecipe
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import numpy_dtype
from convfuzz.judging.comparing import max_abs_between
from convfuzz.judging.judge import Judge
from convfuzz.judging.numerics import Numerics
from convfuzz.strategies import configs
from convfuzz.tensors.generator import Tensors, make_tensors
from convfuzz.verdicts import Verdict

NAN, INF = np.nan, np.inf
PLAIN = Numerics()
TRANSFORM = Numerics(algorithm="transform")


def layer(tokens: str, x: Sequence[float], w: Sequence[float], b: float | None = None) -> Judge:
    """Make the judge of a convolution with one channel and the given numbers."""
    op, *rest = tokens.split("_")
    case = Case.parse("_".join([op, "c1_o1", f"i{len(x)}", f"k{len(w)}", *rest, "" if b is None else "b"]).rstrip("_") + "@special.0")
    dtype = numpy_dtype(case.config.dtype)
    bias = None if b is None else np.array([b], dtype=dtype)
    return Judge(case, Tensors(np.array([[x]], dtype=dtype), np.array([[w]], dtype=dtype), bias))


def verdict(judge: Judge, output: Sequence[float], numerics: Numerics = PLAIN) -> Verdict:
    """Judge an output given as numbers."""
    return judge.judge(np.array([[output]], dtype=numpy_dtype(judge.case.config.dtype)), numerics).verdict


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ([2, NAN, NAN, 2, 2], Verdict.AGREE),
        ([2, NAN, 2, 2, 2], Verdict.NON_FINITE),  # one NaN lost
        ([2, 2, 2, 2, 2], Verdict.NON_FINITE),
        ([2, NAN, NAN, NAN, 2], Verdict.NON_FINITE),  # one NaN too many
        ([2, NAN, INF, 2, 2], Verdict.NON_FINITE),  # Inf is not NaN
        ([INF, NAN, NAN, 2, 2], Verdict.NON_FINITE),
        ([3, NAN, NAN, 2, 2], Verdict.WRONG),  # the finite elements are still judged
    ],
)
def test_nan_reaches_every_window_it_is_in(output: list[float], expected: Verdict) -> None:
    """A NaN input makes NaN of exactly those outputs whose window holds it."""
    judge = layer("conv1d_f32", [1, 1, NAN, 1, 1, 1], [1, 1])
    assert verdict(judge, output) is expected


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("value", "agrees"), [(INF, True), (-INF, False), (NAN, False), (3e38, False)])
def test_the_sign_of_infinity(sign: float, value: float, agrees: bool) -> None:  # noqa: FBT001 - a column of the table
    """An infinite product gives the infinity of its sign: not the other one, not NaN, not a large number."""
    judge = layer("conv1d_f32", [1, INF], [1, 2 * sign])
    assert (verdict(judge, [sign * value]) is Verdict.AGREE) == agrees


@pytest.mark.parametrize(("x", "w"), [([INF, INF], [1, -1]), ([INF, 1], [0, 1]), ([0, 1], [INF, 1]), ([-INF, INF], [1, 1])])
def test_invalid_operations_give_nan(x: list[float], w: list[float]) -> None:
    """Inf − Inf and 0 × Inf are NaN, and no number or infinity will do."""
    judge = layer("conv1d_f32", x, w)
    assert verdict(judge, [NAN]) is Verdict.AGREE
    for other in (INF, -INF, 0.0, 1.0):
        assert verdict(judge, [other]) is Verdict.NON_FINITE


def test_an_infinite_bias() -> None:
    """An infinite or NaN bias is every output's, and cancels to NaN against the opposite infinity."""
    assert verdict(layer("conv1d_f32", [1, 1], [1], INF), [INF, INF]) is Verdict.AGREE
    assert verdict(layer("conv1d_f32", [1, 1], [1], INF), [INF, 2]) is Verdict.NON_FINITE
    assert verdict(layer("conv1d_f32", [1, 1], [1], NAN), [NAN, NAN]) is Verdict.AGREE
    assert verdict(layer("conv1d_f32", [1, -INF], [1], INF), [INF, NAN]) is Verdict.AGREE


@pytest.mark.parametrize("weight", [INF, -INF, NAN])
def test_padding_times_an_infinite_weight_is_open(weight: float) -> None:
    """Where a NaN or infinite weight meets padding, leaving the tap out and multiplying it by zero are both accepted, and counted."""
    judge = layer("conv1d_p1_f32", [3, 5], [weight, 1])  # windows: (pad, 3), (3, 5), (5, pad)
    rest = [weight, weight]
    for open_value in (3.0, NAN):
        output = np.array([[[open_value, *rest]]], dtype=np.float32)
        found = judge.judge(output, PLAIN)
        assert found.verdict is Verdict.AGREE
        assert found.discrepancy is not None
        assert found.discrepancy.undecided == 1
    assert verdict(judge, [3, 5, weight]) is Verdict.NON_FINITE  # inside, nothing is open
    assert verdict(judge, [3, weight, 5]) is Verdict.NON_FINITE  # there the finite weight meets the padding


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_that_copies_leaves_nothing_open(mode: str) -> None:
    """The other padding modes hold numbers, so that an infinite weight counts at the border too."""
    judge = layer(f"conv1d_p1_pm{mode}_f32", [3, 5], [INF, 1])
    assert verdict(judge, [INF, INF, INF]) is Verdict.AGREE
    assert verdict(judge, [NAN, INF, INF]) is Verdict.NON_FINITE


def test_padding_is_open_only_for_the_kernel_that_is_not_finite() -> None:
    """An infinite weight leaves the border of its own output channel open and no other, in grouped convolutions too."""
    case = Case.parse("conv1d_c2_o2_g2_i2_k2_p1_f32@special.0")
    x = np.array([[[3, 5], [7, 9]]], dtype=np.float32)
    w = np.array([[[1, 1]], [[INF, 1]]], dtype=np.float32)
    judge = Judge(case, Tensors(x, w, None))
    good = np.array([[[3, 8, 5], [7, INF, INF]]], dtype=np.float32)
    assert judge.judge(good, PLAIN).verdict is Verdict.AGREE
    for place, verdict_there in (((0, 1, 0), Verdict.AGREE), ((0, 0, 0), Verdict.NON_FINITE), ((0, 0, 2), Verdict.NON_FINITE)):
        output = good.copy()
        output[place] = NAN
        assert judge.judge(output, PLAIN).verdict is verdict_there


@pytest.mark.parametrize("line", ["convt2d_c3_o2_i3_k3_f32", "convt1d_c2_o6_g2_i4_k3_s2_f32", "convt1d_c4_o2_g2_i4_k3_b_f16"])
def test_transposed_convolutions_with_weights_that_are_not_finite(line: str) -> None:
    """A transposed convolution, whose weight has its input channels first, is judged with NaN and Inf in its weight."""
    config = Case.parse(line).config
    hits = 0
    for seed in range(40):
        case = Case(config, DataRecipe("special", seed))
        tensors = make_tensors(case)
        if np.isfinite(tensors.w).all():
            continue
        hits += 1
        judge = Judge(case, tensors)
        y = judge.expected.y
        with np.errstate(over="ignore"):
            assert judge.judge(y.astype(numpy_dtype(config.dtype)), PLAIN).verdict is Verdict.AGREE
        lost = np.where(np.isfinite(y), y, 0.0).astype(numpy_dtype(config.dtype))
        if np.isfinite(tensors.x).all() and (tensors.b is None or np.isfinite(tensors.b).all()):
            whole = judge.expected.n[0, 0] == judge.expected.n.max()
            if (~np.isfinite(y) & whole).any() and config.stride == (1,) * config.dims:
                assert judge.judge(lost, PLAIN).verdict is Verdict.NON_FINITE
    assert hits > 5


@settings(deadline=None, max_examples=150)
@given(
    config=configs(dtypes=("float32", "float64", "float16", "bfloat16")),
    seed=st.integers(0, 2**63 - 1),
    numerics=st.sampled_from([PLAIN, TRANSFORM]),
)
def test_the_reference_agrees_on_special_data(config: ConvConfig, seed: int, numerics: Numerics) -> None:
    """Whatever the configuration, the reference's own NaN and Inf agree, and NaN all over do where every element is undecided."""
    case = Case(config, DataRecipe("special", seed))
    judge = Judge(case, make_tensors(case))
    with np.errstate(all="ignore"):
        found = judge.judge(judge.expected.y.astype(numpy_dtype(config.dtype)), numerics)
    assert found.verdict is Verdict.AGREE


# -- overflow -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_float16_overflow(sign: float) -> None:
    """A sum beyond float16's largest number is the infinity of its sign; NaN, the largest number and the other infinity are not."""
    judge = layer("conv1d_f16", [300], [300 * sign])
    assert verdict(judge, [sign * INF]) is Verdict.AGREE
    for other in (NAN, 65504.0 * sign, -sign * INF, 0.0):
        assert verdict(judge, [other]) is Verdict.NON_FINITE


def test_next_to_float16_overflow() -> None:
    """Just below the point where rounding gives Inf, the largest number and Inf are both within the tolerance, NaN is not."""
    judge = layer("conv1d_f16", [255.875, 39], [256, 0.375])  # 65504 + 14.625, below 65520
    assert float(judge.expected.y[0, 0, 0]) == 65518.625
    assert verdict(judge, [65504]) is Verdict.AGREE
    assert verdict(judge, [INF]) is Verdict.AGREE
    assert verdict(judge, [NAN]) is Verdict.NON_FINITE
    assert verdict(judge, [-INF]) is Verdict.NON_FINITE


def test_far_below_overflow_infinity_is_wrong() -> None:
    """Inf where the sum fits comfortably is a failure."""
    assert verdict(layer("conv1d_f16", [200], [300]), [INF]) is Verdict.NON_FINITE


@pytest.mark.parametrize("value", [0.0, INF, -INF, NAN])
def test_overflow_of_the_accumulator_is_open(value: float) -> None:
    """A partial sum that overflows in one order and not in another leaves the element open, for that accumulator only."""
    judge = layer("conv1d_f16", [300, 300], [300, -300])
    found = judge.judge(np.array([[[value]]], dtype=np.float16), Numerics(accumulator="float16"))
    assert found.verdict is Verdict.AGREE
    assert found.discrepancy is not None
    assert found.discrepancy.undecided == 1
    assert (verdict(judge, [value]) is Verdict.AGREE) == (value == 0.0)  # float32 holds both products


# -- transforms -----------------------------------------------------------------------------------------------------


def test_a_transform_smears() -> None:
    """Winograd and FFT may spread NaN over finite elements, but none may be lost, and a map without NaN stays without."""
    judge = layer("conv1d_f32", [1, 1, NAN, 1, 1, 1], [1, 1])
    assert verdict(judge, [NAN] * 5, TRANSFORM) is Verdict.AGREE
    assert verdict(judge, [2, NAN, INF, NAN, 2], TRANSFORM) is Verdict.AGREE
    assert verdict(judge, [NAN, NAN, 2, NAN, NAN], TRANSFORM) is Verdict.NON_FINITE
    assert verdict(judge, [20, NAN, NAN, 2, 2], TRANSFORM) is Verdict.WRONG
    assert verdict(layer("conv1d_f32", [1, 1, 1], [1, 1]), [2, NAN], TRANSFORM) is Verdict.NON_FINITE


# -- unwritten memory -------------------------------------------------------------------------------------------------


def signalling(dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return an array of signalling NaN, as unwritten memory may hold them."""
    bits = {"float16": 0x7D00, "float32": 0x7FA00000, "float64": 0x7FF4000000000000, "bfloat16": 0x7FA0}[dtype]
    size = numpy_dtype(dtype).itemsize
    return np.full(shape, bits, dtype=f"u{size}").view(numpy_dtype(dtype))


@pytest.mark.parametrize("regime", ["integers", "normal"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_signalling_nan_is_judged_in_silence(dtype: str, regime: str) -> None:
    """Signalling NaN in an output is a verdict and raises no warning."""
    config = ConvConfig(dims=1, in_channels=1, out_channels=2, input_size=(5,), kernel_size=(3,), dtype=dtype)
    case = Case(config, DataRecipe(regime, 1))
    judge = Judge(case, make_tensors(case))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = judge.judge(signalling(dtype, config.output_shape), PLAIN)
    assert found.verdict is Verdict.NON_FINITE


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_signalling_nan_is_compared_in_silence(dtype: str) -> None:
    """Signalling NaN in an output can be compared with another backend's output without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert max_abs_between(signalling(dtype, (3,)), signalling(dtype, (3,))) == 0.0
        assert max_abs_between(signalling(dtype, (3,)), np.ones(3, dtype=numpy_dtype(dtype))) == INF


@pytest.mark.parametrize(
    ("a", "b", "apart"),
    [
        ([1, 2, 3], [1, 2.5, 3], 0.5),
        ([NAN, INF, -INF, 1], [NAN, INF, -INF, 1], 0.0),
        ([NAN, 1], [NAN, 3], 2.0),
        ([NAN, 1], [1, 1], INF),
        ([INF, 1], [-INF, 1], INF),
        ([INF, 1], [NAN, 1], INF),
        ([INF, 1], [1, 1], INF),
        ([], [], 0.0),
    ],
)
def test_max_abs_between(a: list[float], b: list[float], apart: float) -> None:
    """Two outputs are as far apart as their worst element; the same NaN or infinity is no distance, any other is infinite."""
    left, right = np.array(a, dtype=np.float32), np.array(b, dtype=np.float32)
    assert max_abs_between(left, right) == apart
    assert max_abs_between(right, left) == apart


def test_max_abs_between_shapes() -> None:
    """Outputs of different shapes are infinitely far apart, even where they would broadcast."""
    assert max_abs_between(np.zeros((1, 2)), np.zeros((2, 2))) == INF
