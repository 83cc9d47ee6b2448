"""What each regime promises of the output's gradient, of integer dtypes and of complex numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convfuzz.case import REGIMES, Case, DataRecipe
from convfuzz.case.config import ConvConfig
from convfuzz.case.dtypes import FLOATS, component_format
from convfuzz.case.line import DTYPE_TOKENS
from convfuzz.oracle import gradients, reference
from convfuzz.tensors.generator import Array, Tensors, make_tensors

from .drawn import seeds

every_float = pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "bf16"])
every_integer = pytest.mark.parametrize("dtype", ["i8", "i32", "i64"])


def fill(line: str) -> Tensors:
    """Fill the tensors of a case."""
    return make_tensors(Case.parse(line))


def output_gradient(line: str) -> Array:
    """Return the output's gradient of a case, as float64."""
    dy = fill(line).dy
    assert dy is not None
    values: Array = dy.astype(np.float64)
    return values


# -- the output's gradient --------------------------------------------------------------------------------------------


@every_float
def test_the_output_s_gradient_follows_the_regime(dtype: str) -> None:
    """Positive data have a positive output gradient, tiny ones a tiny one, sparse and one-hot ones a normal one."""
    line = f"conv2d_n4_c2_o8_i20_k3_{dtype}_grad"
    positive = output_gradient(f"{line}@positive.1")
    assert positive.min() > 0.0
    assert positive.max() <= 1.0
    tiny = np.abs(output_gradient(f"{line}@tiny.1"))
    assert tiny.max() < 2.0 * np.sqrt(3.0) * 2.0 ** (FLOATS[DTYPE_TOKENS[dtype]].emin // 5)
    for regime in ("normal", "sparse", "one-hot"):
        normal = output_gradient(f"{line}@{regime}.1")
        assert abs(normal.mean()) < 0.1
        assert abs(normal.var() - 1.0) < 0.1


@every_float
def test_gradients_of_cancellation_cancel(dtype: str) -> None:
    """Output gradients of magnitude near one and of random signs: the weight's and the bias's gradients nearly vanish."""
    line = f"conv2d_n4_c2_o8_i20_k3_{dtype}_grad@cancellation.1"
    dy = output_gradient(line)
    assert 0.9 < np.abs(dy).min() <= np.abs(dy).max() < 1.1
    assert abs(np.sign(dy).mean()) < 0.05
    tensors = fill(line)
    found = gradients(Case.parse(line).config, tensors.x, tensors.w, dy)
    for in_pass in ("grad_weight", "grad_bias"):
        magnitude = found[in_pass].S
        assert magnitude is not None
        assert np.median(np.abs(found[in_pass].y) / magnitude) < 0.1


def test_gradients_of_huge_float16_overflow_sometimes() -> None:
    """In float16 few elements of any gradient overflow, whatever the number of sites, and no output gradient does."""
    overflowed = set()
    for line in ("conv2d_c1_o8_i20_k1_b_f16", "conv2d_n8_c8_o8_i20_k3_b_f16", "conv1d_c8_o64_i200_k3_b_f16", "convt2d_c8_o8_i20_k3_b_f16"):
        case = Case.parse(f"{line}_grad@huge.1")
        tensors = make_tensors(case)
        assert tensors.dy is not None
        assert np.isfinite(tensors.dy).all()
        for in_pass, expected in gradients(case.config, tensors.x, tensors.w, tensors.dy).items():
            share = float(np.mean(np.isinf(FLOATS["float16"].round(expected.y))))
            assert share < 0.35, (line, in_pass)
            overflowed |= {in_pass} if share else set()
    assert {"grad_weight", "grad_input"} <= overflowed


@pytest.mark.parametrize("dtype", ["f64", "f32", "bf16"])
def test_gradients_of_huge_numbers_are_finite_elsewhere(dtype: str) -> None:
    """In the other dtypes the gradients of huge data, and the squares that their bounds need, are finite."""
    case = Case.parse(f"conv1d_n9_c64_o64_i90_k3_b_{dtype}_grad@huge.1")
    tensors = make_tensors(case)
    assert tensors.dy is not None
    for expected in gradients(case.config, tensors.x, tensors.w, tensors.dy).values():
        assert expected.Q is not None
        assert np.isfinite(FLOATS[case.config.dtype].round(expected.y)).all()
        assert np.isfinite(expected.Q).all()


@every_float
def test_subnormal_data_have_an_ordinary_output_gradient(dtype: str) -> None:
    """Beside subnormal inputs the output's gradient is of ordinary size and either sign, so that products stay in range."""
    dy = output_gradient(f"conv2d_n4_c2_o8_i20_k3_{dtype}_grad@subnormal.1")
    assert 0.5 <= np.abs(dy).min() <= np.abs(dy).max() <= 1.5
    assert set(np.sign(dy).ravel()) == {-1.0, 1.0}


@settings(deadline=None, max_examples=200)
@given(seed=seeds)
def test_special_output_gradients(seed: int) -> None:
    """At most one element of the output's gradient is NaN or ±Inf, beside those of the other tensors; the rest is normal data."""
    config = ConvConfig.parse("conv2d_c2_o2_i5_k3_b")
    special, normal = (make_tensors(Case(config, DataRecipe(regime, seed), grad=True)).dy for regime in ("special", "normal"))
    assert special is not None
    assert normal is not None
    kept = np.isfinite(special)
    assert np.count_nonzero(~kept) <= 1
    np.testing.assert_array_equal(special[kept], normal[kept])


def test_special_output_gradients_are_of_every_kind() -> None:
    """Half of the seeds leave the output's gradient finite, and among the others are NaN, Inf and −Inf."""
    kinds = [
        str(v) for seed in range(200) for v in output_gradient(f"conv1d_c1_o1_i9_k3_grad@special.{seed}").ravel() if not np.isfinite(v)
    ]
    assert set(kinds) == {"nan", "inf", "-inf"}
    assert 60 < len(kinds) < 140


def test_no_output_gradient_where_none_is_needed() -> None:
    """The forward pass, and a layer that is no convolution, have no output gradient."""
    assert fill("conv2d_c1_o1_i5_k3_f32").dy is None
    assert fill("conv2d_c3_o1_g2_i5_k3_f32_grad").dy is None
    assert fill("conv2d_c1_o1_i5_k3_f32_grad_bad-input-rank").dy is None


# -- integer dtypes ---------------------------------------------------------------------------------------------------


@every_integer
def test_small_integers(dtype: str) -> None:
    """Normal, positive and sparse data are small integers whose sums are far from wrapping around."""
    line = f"conv2d_n2_c2_o3_i20_k2_b_{dtype}"
    normal = fill(f"{line}@normal.1").x.astype(np.int64)
    assert -14 <= normal.min() < -8
    assert 8 < normal.max() <= 14
    assert abs(normal.mean()) < 0.5
    assert set(np.unique(fill(f"{line}@positive.1").x)) == {0, 1, 2, 3, 4}
    sparse = fill(f"{line}@sparse.1")
    assert abs(np.mean(sparse.x == 0) - 0.8) < 0.05
    assert np.count_nonzero(sparse.w) > sparse.w.size / 2


@every_integer
def test_huge_integers_wrap_around(dtype: str) -> None:
    """Huge data are numbers of the whole range, so that sums wrap around."""
    case = Case.parse(f"conv2d_n8_c8_o8_i20_k3_b_{dtype}@huge.1")
    tensors, limits = make_tensors(case), np.iinfo(DTYPE_TOKENS[dtype])
    x = tensors.x.astype(np.float64)
    assert x.min() < 0.99 * limits.min
    assert x.max() > 0.99 * limits.max
    assert abs(x.mean()) < 0.02 * limits.max
    if dtype == "i8":
        assert np.unique(tensors.x).size == 256
    expected = reference(case.config, tensors.x, tensors.w, tensors.b)
    assert expected.S is not None
    assert expected.S.min() > limits.max


@every_integer
def test_one_hot_integers_show_the_kernel(dtype: str) -> None:
    """A single input is one: the output is a kernel of numbers of the whole range, exactly."""
    case = Case.parse(f"conv2d_c3_o2_i7_k3_p2_{dtype}@one-hot.1")
    tensors = make_tensors(case)
    assert np.count_nonzero(tensors.x) == tensors.x.max() == 1
    _, channel, row, column = (int(i[0]) for i in np.nonzero(tensors.x))
    y = reference(case.config, tensors.x, tensors.w).y
    np.testing.assert_array_equal(y[0, :, row : row + 3, column : column + 3], tensors.w[:, channel, ::-1, ::-1])


# -- complex dtypes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("regime", [regime for regime in REGIMES if regime != "special"])
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_both_parts_of_a_complex_number_follow_the_regime(dtype: str, regime: str) -> None:
    """The real parts are those of the real dtype, and the imaginary ones other numbers of the same regime."""
    config = ConvConfig.parse("conv2d_n2_c3_o4_i9_k3_b").replace(dtype=dtype)
    whole = make_tensors(Case(config, DataRecipe(regime, 5), grad=True)).named()
    form = component_format(dtype)
    real = make_tensors(Case(config.replace(dtype=form.name), DataRecipe(regime, 5), grad=True)).named()
    for name, array in whole.items():
        assert array.dtype.name == dtype
        if regime != "integers":  # of which there are more products in a complex sum, and so smaller ones
            np.testing.assert_array_equal(array.real, real[name])
        spread = np.std(array.real.astype(np.float64)), np.std(array.imag.astype(np.float64))
        assert spread[0] / 2.0 <= spread[1] <= spread[0] * 2.0, name
        assert not np.array_equal(array.real, array.imag)


# -- any configuration ------------------------------------------------------------------------------------------------


@st.composite
def impossible_layers(draw: st.DrawFn) -> ConvConfig:
    """Draw small layers of which nearly none is a convolution: channels that groups do not divide, sizes and steps of zero."""
    dims = draw(st.sampled_from([1, 2]))
    small = st.integers(0, 4)
    return ConvConfig(
        op=draw(st.sampled_from(["conv", "conv_transpose"])),
        dims=dims,
        batch=draw(st.sampled_from([None, 0, 1, 2])),
        in_channels=draw(st.sampled_from([0, 1, 3, 301])),
        out_channels=draw(st.sampled_from([0, 1, 3, 8])),
        groups=draw(st.sampled_from([-1, 0, 1, 2, 7])),
        input_size=draw(st.tuples(*[small] * dims)),
        kernel_size=draw(st.tuples(*[small] * dims)),
        stride=draw(st.tuples(*[small] * dims)),
        padding=draw(st.tuples(*[st.tuples(st.integers(-2, 4), small)] * dims)),
        padding_mode=draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"])),
        dilation=draw(st.tuples(*[small] * dims)),
        output_padding=draw(st.tuples(*[small] * dims)),
        bias=draw(st.booleans()),
        dtype=draw(st.sampled_from(["bfloat16", "int8", "float32", "complex64", "float16"])),
        layout=draw(st.sampled_from(["contiguous", "channels_last", "expanded", "non_contiguous"])),
    )


@settings(deadline=None, max_examples=400)
@given(config=impossible_layers(), regime=st.sampled_from(["integers", "normal", "huge", "positive", "sparse", "one-hot"]), seed=seeds)
def test_tensors_of_what_is_no_convolution(config: ConvConfig, regime: str, seed: int) -> None:
    """A configuration that no convolution has gets its tensors all the same: a framework is to see and to reject them."""
    tensors = make_tensors(Case(config, DataRecipe(regime, seed), grad=True))
    assert (tensors.x.shape, tensors.w.shape) == (config.input_shape, config.weight_shape)


@pytest.mark.parametrize("regime", ["cancellation", "tiny", "subnormal", "special"])
@pytest.mark.parametrize(
    "line", ["convt1d_c301_o8_g2_i4_k3_bf16", "conv1d_c3_o2_g2_i4_k3_f32", "conv2d_c2_o2_i3_k0_f16", "convt2d_c2_o3_g2_i3_k2_f32"]
)
def test_floating_point_regimes_of_what_is_no_convolution(line: str, regime: str) -> None:
    """The regimes that look at whole kernels leave those alone that are none."""
    config = Case.parse(line).config
    assert not config.is_valid
    tensors = make_tensors(Case(config, DataRecipe(regime, 1)))
    assert tensors.w.shape == config.weight_shape
