"""What the reference accepts as operands, what it returns, and what it refuses."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from convfuzz.case.config import ConvConfig
from convfuzz.oracle import gradients, reference
from convfuzz.oracle.kernels import sum_phases
from convfuzz.oracle.packing import pack

from .layers import normal


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.int8, np.float32, np.float64, np.int32])
def test_any_element_type_is_taken_as_it_is(dtype: type) -> None:
    """Operands of each element type give the sums of their values."""
    config = ConvConfig.parse("conv2d_c3_o2_i5_k3_p1_f32")
    x, w = (np.rint(4 * a).astype(dtype) for a in normal(config, 0)[:2])
    expected = reference(config, x.astype(np.float64), w.astype(np.float64))
    np.testing.assert_array_equal(reference(config, x, w).y, expected.y)


def test_any_memory_layout_is_taken() -> None:
    """Channels-last, strided, reversed, read-only and big-endian operands give the same bits, and stay unchanged."""
    config = ConvConfig.parse("conv2d_n2_c3_o2_i5x6_k3_p1_f32")
    x, w, _ = normal(config, 0)
    expected = reference(config, x, w).y
    strided = np.zeros((2, 3, 10, 12), np.float32)[:, :, ::2, ::-2]
    strided[...] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    for view in (np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2), strided, read_only, x.astype(">f4")):
        np.testing.assert_array_equal(reference(config, view, np.asfortranarray(w)).y, expected)
        np.testing.assert_array_equal(view, x)


def test_no_operand_is_changed_or_aliased() -> None:
    """Contiguous float64 operands, which need no conversion, are left as they were and not returned."""
    config = ConvConfig.parse("conv1d_c1_o1_i4_k1_b_f64")
    x, w, dy = normal(config, 0, np.float64)
    b = np.ones(1)
    before = [a.copy() for a in (x, w, b, dy)]
    found = [reference(config, x, w, b), *gradients(config, x, w, dy).values()]
    for a, old in zip((x, w, b, dy), before, strict=True):
        np.testing.assert_array_equal(a, old)
        assert not any(np.shares_memory(a, expectation.y) for expectation in found)


@pytest.mark.parametrize(
    "line",
    [
        "conv2d_n0_c3_o2_i5_k3_f32",
        "conv2d_c3_o0_i5_k3_f32",
        "conv1d_n-_c0_o2_i4_k2_f32",
        "conv2d_c0_o2_i5_k3_p1_b_f64",
        "convt2d_c0_o2_i5_k3_f32",
    ],
)
def test_empty_operands_work(line: str) -> None:
    """Batches, outputs and inputs of size zero give arrays of the right shape, zero without and b with a bias."""
    config = ConvConfig.parse(line)
    x, w, dy = normal(config, 0)
    b = np.arange(1.0, config.out_channels + 1.0)
    found = reference(config, x, w, b)
    assert found.y.shape == found.n.shape == config.output_shape
    np.testing.assert_array_equal(found.y, np.broadcast_to(b.reshape(-1, *(1,) * config.dims), config.output_shape))
    assert (found.n == 1).all()
    grads = gradients(config, x, w, dy)
    assert grads["grad_input"].y.shape == config.input_shape
    assert grads["grad_weight"].y.shape == config.weight_shape
    assert grads["grad_bias"].y.shape == (config.out_channels,)


def test_an_element_without_taps_is_zero() -> None:
    """Output padding beyond the last tap and windows wholly inside the padding have the value 0 and no taps."""
    found = reference(ConvConfig.parse("convt1d_c1_o1_i2_k1_s3_op2_f64"), np.ones((1, 1, 2)), np.ones((1, 1, 1)))
    np.testing.assert_array_equal(found.y[0, 0], [1, 0, 0, 1, 0, 0])
    np.testing.assert_array_equal(found.n[0, 0], [1, 0, 0, 1, 0, 0])
    found = reference(ConvConfig.parse("conv1d_c1_o1_i2_k1_p2_f32"), np.ones((1, 1, 2)), np.ones((1, 1, 1)))
    np.testing.assert_array_equal(found.n[0, 0], [0, 0, 1, 1, 0, 0])


def test_the_bias_gradient_sums_its_channel() -> None:
    """The bias gradient of a channel is the sum of dy over batch and sites, each of them one tap."""
    config = ConvConfig.parse("conv2d_n2_c1_o3_i4x5_k2_b_f32")
    x, w, dy = normal(config, 0)
    found = gradients(config, x, w, dy)["grad_bias"]
    np.testing.assert_allclose(found.y, dy.sum(axis=(0, 2, 3), dtype=np.float64))
    assert found.S is not None
    np.testing.assert_allclose(found.S, abs(dy).sum(axis=(0, 2, 3), dtype=np.float64))
    assert (found.n == 2 * 3 * 4).all()


def test_a_wrong_shape_is_refused() -> None:
    """An operand of another shape than the configuration's is named with both shapes."""
    config = ConvConfig.parse("conv2d_c3_o2_i5_k3_f32")
    x, w, dy = normal(config, 0)
    with pytest.raises(ValueError, match=r"x has shape \(3, 5, 5\), the configuration says \(1, 3, 5, 5\)"):
        reference(config, x[0], w)
    with pytest.raises(ValueError, match="b has shape"):
        reference(config, x, w, np.ones(3))
    with pytest.raises(ValueError, match="dy has shape"):
        gradients(config, x, w, dy[..., :-1])


def test_the_sums_are_compiled_once_whoever_may_write_to_the_operands() -> None:
    """Numba compiles anew for arrays that are read only, which takes ten seconds: here all are, and the caller's stay as they were."""
    config = ConvConfig.parse("conv1d_c1_o1_i3_k2_f64")
    for x_is_writable in (True, False):
        for w_is_writable in (True, False):
            x, w = np.ones((1, 1, 3)), np.ones((1, 1, 2))
            x.flags.writeable, w.flags.writeable = x_is_writable, w_is_writable
            assert reference(config, x, w).y.tolist() == [[[2.0, 2.0]]]
            assert (x.flags.writeable, w.flags.writeable) == (x_is_writable, w_is_writable)
    assert [len(function.signatures) for function in (pack, sum_phases)] == [1, 1]  # type: ignore[attr-defined]


def test_integers_beyond_float64_are_refused() -> None:
    """An operand of a floating-point layer that float64 would round is no operand."""
    config = ConvConfig.parse("conv1d_c1_o1_i1_k1_f64")
    with pytest.raises(ValueError, match=r"x holds 9007199254740993, beyond 2\^53"):
        reference(config, np.full((1, 1, 1), 2**53 + 1), np.ones((1, 1, 1), np.int64))


@pytest.mark.parametrize("name", ["grad_input", "grad_weight", "grad_bias"])
@pytest.mark.parametrize("line", ["conv2d_c4_o6_g2_i5_k3_p1_pmreflect_f32", "convt1d_n-_c2_o3_i4_k2_s2_f64", "conv1d_c2_o2_i5_k3_c64"])
def test_a_gradient_may_be_asked_for_alone(line: str, name: str) -> None:
    """One gradient that is asked for by its name has the bits that it has beside the others, and these are not there."""
    config = ConvConfig.parse(line)
    x, w, dy = (np.random.default_rng(1).normal(size=shape) for shape in (config.input_shape, config.weight_shape, config.output_shape))
    alone = gradients(config, x, w, dy, passes=(name,))
    assert alone.keys() == {name}
    np.testing.assert_array_equal(alone[name].y, gradients(config, x, w, dy)[name].y)
