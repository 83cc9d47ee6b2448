"""Sums that are kept in 16 bits are held to what such sums lose on the very operands, in any order that does not depend on them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convfuzz import Case, Numerics, Verdict, assert_conv_close, assert_conv_grads_close
from convfuzz.case.dtypes import numpy_dtype
from convfuzz.judging.accumulation import lost, rounded
from convfuzz.judging.judge import Judge
from convfuzz.tensors import make_tensors

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from short_sums import KINDS, measure

torch = pytest.importorskip("torch", reason="PyTorch computes what is judged")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("taps", [64, 576])
def test_honest_sums_are_told_from_wrong_ones(kind: str, taps: int, dtype: str) -> None:
    """No honest order is beyond the tolerance; zeros, doubles and negatives are, wherever honest sums are not as bad themselves."""
    row = measure(kind, taps, dtype, layers=2, seed=7)
    assert row.accused == 0
    if (kind, dtype) != ("cancelling", "bfloat16"):
        assert all(refused for parts in row.wrong.values() for part, refused in parts if part > 1.5 * row.honest)


@pytest.mark.parametrize("channels", [64, 128])
def test_nonsense_is_not_imprecise(channels: int) -> None:
    """Zeros, doubles and negatives of 576 or 1,152 taps fail with sums in bfloat16 declared, and are wrong where they are not."""
    torch.manual_seed(channels)
    x, w = torch.randn(1, channels, 8, 8).bfloat16(), torch.randn(4, channels, 3, 3).bfloat16()
    y = torch.nn.functional.conv2d(x, w)
    for numerics in (None, Numerics(accumulator="bfloat16")):
        assert_conv_close(y, x, w, numerics=numerics)
        for nonsense in (0 * y, 2 * y, -y):
            with pytest.raises(AssertionError, match=r"^wrong: "):
                assert_conv_close(nonsense, x, w, numerics=numerics)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_wrong_gradients_are_not_imprecise(dtype: Any) -> None:
    """Zero and negated weight gradients of 1,024 terms, and gradients without their tail, are wrong."""
    torch.manual_seed(1)
    x, dy = torch.randn(4, 3, 16, 16).to(dtype), torch.randn(4, 8, 16, 16).to(dtype)
    w = torch.randn(8, 3, 3, 3).to(dtype)
    right = torch.nn.grad.conv2d_weight(x.float(), w.shape, dy.float(), padding=1).to(dtype)
    tailless = torch.nn.grad.conv2d_weight(x[:1].float(), w.shape, dy[:1].float(), padding=1).to(dtype)
    assert_conv_grads_close({"grad_weight": right}, x, w, dy, padding=1)
    for nonsense in (0 * right, -right, tailless):
        with pytest.raises(AssertionError, match=r"^grad_weight wrong: "):
            assert_conv_grads_close({"grad_weight": nonsense}, x, w, dy, padding=1)


def test_a_gradient_without_its_conjugate_is_wrong() -> None:
    """A complex gradient that forgets the conjugate is explained by no arithmetic."""
    torch.manual_seed(2)
    x, w = torch.randn(2, 3, 12, 12, dtype=torch.complex64), torch.randn(4, 3, 3, 3, dtype=torch.complex64, requires_grad=True)
    y = torch.nn.functional.conv2d(x, w)
    dy = torch.randn(y.shape, dtype=torch.complex64)
    (right,) = torch.autograd.grad(y, w, dy)
    (wrong,) = torch.autograd.grad(torch.nn.functional.conv2d(x.conj(), w), w, dy)
    assert_conv_grads_close({"grad_weight": right}, x, w.detach(), dy)
    with pytest.raises(AssertionError, match=r"^grad_weight wrong: "):
        assert_conv_grads_close({"grad_weight": wrong}, x, w.detach(), dy)


@pytest.mark.parametrize(("dtype", "precision"), [("float16", 11), ("bfloat16", 8)])
def test_rounding_is_that_of_the_format(dtype: str, precision: int) -> None:
    """Splitting rounds as the format's own conversion does, ties aside."""
    values = np.random.default_rng(1).standard_normal(10_000)
    assert np.array_equal(rounded(values, precision), values.astype(numpy_dtype(dtype)).astype(np.float64))


def test_a_sum_that_stagnates_may_be_too_small_and_not_too_large() -> None:
    """Of 4,096 equal products a running bfloat16 sum loses most, and gains little in any order."""
    below, above = lost(np.full((2, 4096, 1), 0.75), 8)
    assert below[0] > 0.8 * 3072
    assert above[0] < 0.5 * 3072


def test_round_numbers_lose_nothing() -> None:
    """Sums of halves that every order represents exactly are not allowed an error."""
    below, above = lost(np.full((2, 64, 3), 0.5), 8)
    assert not below.any()
    assert not above.any()


def test_a_sum_of_no_terms_loses_nothing() -> None:
    """A layer of no input channels whose output is not zero is wrong, whatever is declared of the accumulator."""
    case = Case.parse("conv1d_c0_o1_i8_k1_f32@normal.0")
    judge = Judge(case, make_tensors(case))
    for numerics in (Numerics(), Numerics(accumulator="bfloat16")):
        judgement = judge.judge(np.ones(case.config.output_shape, np.float32), numerics)
        assert judgement.verdict is Verdict.WRONG
