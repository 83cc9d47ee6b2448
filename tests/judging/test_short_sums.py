"""Sums that are kept in 16 bits are held to what such sums lose on the very operands, in any order that does not depend on them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convfuzz import Case, Numerics, Verdict, assert_conv_close, assert_conv_grads_close
from convfuzz.case.dtypes import FLOATS, numpy_dtype
from convfuzz.judging import pass_sums
from convfuzz.judging.accumulation import in_blocks, in_lanes, lost, rounded, running
from convfuzz.judging.joint_errors import joint_limits
from convfuzz.judging.judge import Judge
from convfuzz.tensors import make_tensors
from convfuzz.tensors.generator import Tensors

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from short_sums import DTYPES, KINDS, WRONG, measure, operands
from short_sums import running as added_up

torch = pytest.importorskip("torch", reason="PyTorch computes what is judged")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("taps", [64, 1024])
def test_honest_sums_are_told_from_wrong_ones(kind: str, taps: int, dtype: str) -> None:
    """No honest order is beyond the tolerance; what is further off than honest sums of the layer is, nearly all cancelling ones of it."""
    row = measure(kind, taps, dtype, layers=3, seed=7)
    assert row.accused == 0
    hidden = ("y·0", "2·y") if (kind, dtype, taps) == ("cancelling", "bfloat16", 1024) else ()
    assert {what: row.counted(what, "layer").count(False) for what in WRONG if what not in hidden} == dict.fromkeys(
        [what for what in WRONG if what not in hidden], 0
    )


def test_a_layer_is_told_from_one_that_no_order_makes() -> None:
    """Sums of which each alone may be off as far as it is, all of them too small by what 16 of 1,024 taps add, are a finding."""
    draw = np.random.default_rng(5)
    x, w = operands("positive", 1024, DTYPES["float16"], draw, 8)
    judge = Judge(Case.parse("conv1d_c1024_o8_i8_k1_f16"), Tensors(x[None], w[:, :, None], None))
    products, declared = w.T[:, :, None] * x[:, None, :], Numerics(accumulator="float16")
    for first in range(0, 1024, 128):
        short = added_up(np.delete(products, slice(first, first + 16), axis=0))
        assert judge.judge(short[None], declared).verdict.failing
    assert judge.judge(added_up(products)[None], declared).verdict is Verdict.AGREE


@pytest.mark.parametrize("add", [added_up, lambda p: added_up(p[::-1])])
def test_the_negative_of_sums_of_which_little_is_left_is_told_from_them(add: Any) -> None:
    """Of 4,096 products that cancel a bfloat16 sum keeps a third, beside as much by chance; its negative is no order's sum."""
    x, w = operands("cancelling", 4096, DTYPES["bfloat16"], np.random.default_rng(7), 8)
    judge = Judge(Case.parse("conv1d_c4096_o8_i8_k1_bf16"), Tensors(x[None], w[:, :, None], None))
    sums, declared = add(w.T[:, :, None] * x[:, None, :]), Numerics(accumulator="bfloat16")
    assert judge.judge(sums[None], declared).verdict is Verdict.AGREE
    assert judge.judge(-sums[None], declared).verdict.failing


@pytest.mark.parametrize("same", ["sites", "kernels", "neither"])
@pytest.mark.parametrize("precision", [8, 11])
def test_elements_that_err_alike_are_not_counted_twice(same: str, precision: int) -> None:
    """Of a layer whose elements repeat, few are independent, and nothing is asked of fewer than sixteen."""
    draw = np.random.default_rng(3)
    x, w = draw.standard_normal((256, 8)), draw.standard_normal((256, 8))
    if same != "neither":
        (x if same == "sites" else w)[:] = (x if same == "sites" else w)[:, :1]
    products = (w[:, :, None] * x[:, None, :]).reshape(1, 256, 64)
    assert (joint_limits(products, precision, np.arange(64)) is None) == (same != "neither")


@pytest.mark.parametrize("kind", ["normal", "positive", "cancelling"])
@pytest.mark.parametrize("precision", [8, 11])
def test_orders_that_are_not_added_up_are_within_the_joint_limits(kind: str, precision: int) -> None:
    """Shuffled sums, three and 128 lanes, and blocks of 24 and 100 are never too far off together."""
    name = {8: "bfloat16", 11: "float16"}[precision]
    for layer in range(10):
        x, w = (a.astype(np.float64) for a in operands(kind, 576, DTYPES[name], np.random.default_rng(layer), 8))
        products = (w.T[:, :, None] * x[:, None, :]).reshape(1, 576, 64)
        joint, terms = joint_limits(products, precision, np.arange(64)), np.arange(576)
        assert joint is not None
        shuffled = np.random.default_rng(layer).permutation(terms)
        for order in (running(shuffled), in_lanes(terms, 3), in_lanes(terms, 128), in_blocks(terms, 24), in_blocks(shuffled, 100)):
            error = order.add_up(products[0][:, joint.elements], precision)[0] - joint.y
            assert np.isinf(joint.lowered(np.full(error.shape, np.inf), error, np.zeros(error.shape))).all()


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


def test_padding_that_copies_nothing_changes_no_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where few elements are looked at closely and the others by the wide bound, a mode of padding without padding is like none."""
    monkeypatch.setattr(pass_sums, "_MOST_PRODUCTS", 160)
    found = []
    for mode in ("", "_pmcircular"):
        case = Case.parse(f"conv2d_c30_o1_i53x21_k4{mode}_f16_grad@normal.1")  # from 256 KiB on, NumPy reuses memory as it is laid out
        sums = pass_sums.LayerSums(case.config, make_tensors(case), integers=False).of("grad_input")
        error = np.full(sums.expected.y.shape, 0.5)
        found.append(sums.tolerance(Numerics(accumulator="float16"), error, error > 0, wide=FLOATS["float32"]))
    assert np.array_equal(*found)
    assert len(np.unique(found[0])) > 20


def test_an_order_in_which_partial_sums_wander_off_is_no_finding() -> None:
    """Of products that cancel, the signs among thousands that an order meets most unluckily make sums that are still within the bound."""
    draw, order = np.random.default_rng(1), np.random.default_rng(256).permutation(256)
    signs = draw.permuted(np.tile(np.array([1, -1], np.int8), (20_000, 128)), axis=1)
    walks = np.cumsum(signs[:, order], axis=1, dtype=np.int16).astype(np.float64)
    unlucky = signs[np.argmax(np.sum(walks * walks, axis=1))]
    x, w = 1 + draw.standard_normal((256, 400)) / 64, unlucky * (1 + draw.standard_normal(256) / 64)
    products = rounded(x, 11) * rounded(w, 11)[:, None]
    below, above = lost(products[None], 11)
    error = running(order).add_up(rounded(products, 11), 11)[0] - products.sum(axis=0)
    assert np.all(error <= above)
    assert np.all(-error <= below)
    assert np.any(-error > above / 2)
