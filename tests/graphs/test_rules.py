"""The rules of a model's operations: right values, and bounds that hold for every input within its own and are no wider than they need."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the rules are of PyTorch's operations")
from torch.nn import functional as F  # noqa: E402, N812 - as everybody calls it

from convfuzz.case.dtypes import FLOATS  # noqa: E402
from convfuzz.errors import NotCovered  # noqa: E402
from convfuzz.graphs.bounded import Bounded, Place  # noqa: E402
from convfuzz.graphs.graph import RULES  # noqa: E402
from convfuzz.judging.numerics import Numerics  # noqa: E402

Call = Callable[..., Any]
DRAW = np.random.default_rng(0)


def of_float32(values: np.ndarray) -> np.ndarray:
    """Return numbers that float32 has, so that both precisions mean the same."""
    return values.astype(np.float32).astype(np.float64)


WEIGHT, BIAS, MEAN, KERNELS, MATRIX = (of_float32(DRAW.normal(size=size)) for size in (6, 6, 6, (4, 3, 3, 2), (4, 6)))
VARIANCE = of_float32(0.5 + DRAW.uniform(size=6))
NORMS = BIAS.reshape(1, 6, 1, 1)
BATCH, LIKE = of_float32(DRAW.normal(size=(2, 3, 6, 4))), of_float32(DRAW.normal(size=(2, 6, 40)))
MAP, ROWS = of_float32(DRAW.normal(size=(7, 8))), of_float32(DRAW.normal(size=(2, 6)))


def of_arrays(call: Call, *arrays: np.ndarray) -> Call:
    """Return a call with further arrays in the dtype of the first."""
    return lambda x: call(x, *(torch.from_numpy(array).to(x.dtype) for array in arrays))


ONES = Bounded.exact(np.ones((2, 3)))
IMAGE, LONG = (2, 6, 7, 8), (2, 6, 40)
ONE_OPERAND: dict[str, tuple[tuple[int, ...], str, tuple[Any, ...], Call]] = {
    "relu": (LONG, "relu", (), F.relu),
    "relu6": (LONG, "relu6", (), F.relu6),
    "leaky_relu": (LONG, "leaky_relu", (0.2,), lambda x: F.leaky_relu(x, 0.2)),
    "leaky_relu falling": (LONG, "leaky_relu", (-0.5,), lambda x: F.leaky_relu(x, -0.5)),
    "abs": (LONG, "abs", (), torch.abs),
    "neg": (LONG, "neg", (), torch.neg),
    "square": (LONG, "square", (), torch.square),
    "pow 3": (LONG, "pow", (3,), lambda x: x**3),
    "exp": (LONG, "exp", (), torch.exp),
    "sigmoid": (LONG, "sigmoid", (), torch.sigmoid),
    "log_sigmoid": (LONG, "log_sigmoid", (), F.logsigmoid),
    "tanh": (LONG, "tanh", (), torch.tanh),
    "erf": (LONG, "erf", (), torch.erf),
    "gelu": (LONG, "gelu", (), F.gelu),
    "silu": (LONG, "silu", (), F.silu),
    "mish": (LONG, "mish", (), F.mish),
    "hardswish": (LONG, "hardswish", (), F.hardswish),
    "hardsigmoid": (LONG, "hardsigmoid", (), F.hardsigmoid),
    "hardtanh": (LONG, "hardtanh", (-0.5, 2.0), lambda x: F.hardtanh(x, -0.5, 2.0)),
    "clamp": (LONG, "clamp", (-0.25,), lambda x: torch.clamp(x, min=-0.25)),
    "softplus": (LONG, "softplus", (2.0,), lambda x: F.softplus(x, beta=2.0)),
    "elu": (LONG, "elu", (0.7,), lambda x: F.elu(x, 0.7)),
    "selu": (LONG, "selu", (), F.selu),
    "celu": (LONG, "celu", (0.6,), lambda x: F.celu(x, 0.6)),
    "softsign": (LONG, "softsign", (), F.softsign),
    "add a number": (LONG, "add", (0.1,), lambda x: x + 0.1),
    "rsub": (LONG, "rsub", (0.1,), lambda x: 0.1 - x),
    "mul by a number": (LONG, "mul", (0.1,), lambda x: x * 0.1),
    "div by a number": (LONG, "div", (3.0,), lambda x: x / 3.0),
    "sum": (LONG, "sum", ([2],), lambda x: x.sum(2)),
    "mean": (IMAGE, "mean", ([2, 3], True), lambda x: x.mean((2, 3), keepdim=True)),
    "amax": (IMAGE, "amax", ([1],), lambda x: x.amax(1)),
    "amin": (IMAGE, "amin", ([-1],), lambda x: x.amin(-1)),
    "softmax": (LONG, "softmax", (1,), lambda x: torch.softmax(x, 1)),
    "log_softmax": (LONG, "log_softmax", (2,), lambda x: torch.log_softmax(x, 2)),
    "logsumexp": (LONG, "logsumexp", ([1], True), lambda x: torch.logsumexp(x, 1, keepdim=True)),
    "max_pool": (IMAGE, "max_pool2d", ([3, 2], [2, 2], [1, 1], [2, 1]), lambda x: F.max_pool2d(x, (3, 2), 2, 1, (2, 1))),
    "max_pool ceil": (IMAGE, "max_pool2d", (3, 2, 1, 1, True), lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True)),
    "avg_pool": (IMAGE, "avg_pool2d", (3, 2, 1), lambda x: F.avg_pool2d(x, 3, 2, 1)),
    "avg_pool ceil": (IMAGE, "avg_pool2d", (3, 2, 1, True), lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True)),
    "avg_pool of what is there": (
        IMAGE, "avg_pool2d", (3, 2, 1, True, False), lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
    ),
    "avg_pool by 5": (IMAGE, "avg_pool2d", (3, 2, 0, False, True, 5), lambda x: F.avg_pool2d(x, 3, 2, divisor_override=5)),
    "adaptive_avg_pool": (IMAGE, "adaptive_avg_pool2d", ([3, 5],), lambda x: F.adaptive_avg_pool2d(x, (3, 5))),
    "adaptive_max_pool": (IMAGE, "adaptive_max_pool2d", ([3, 5],), lambda x: F.adaptive_max_pool2d(x, (3, 5))),
    "batch_norm": (
        IMAGE, "batch_norm", (WEIGHT, BIAS, MEAN, VARIANCE, False, 0.1, 1e-3),
        of_arrays(lambda x, w, b, m, v: F.batch_norm(x, m, v, w, b, eps=1e-3), WEIGHT, BIAS, MEAN, VARIANCE),
    ),
    "group_norm": (IMAGE, "group_norm", (3, WEIGHT, BIAS), of_arrays(lambda x, w, b: F.group_norm(x, 3, w, b), WEIGHT, BIAS)),
    "layer_norm": (IMAGE, "layer_norm", ([7, 8],), lambda x: F.layer_norm(x, (7, 8))),
    "instance_norm": (
        IMAGE, "instance_norm", (WEIGHT, BIAS, None, None, True, 0.1, 1e-5),
        of_arrays(lambda x, w, b: F.instance_norm(x, weight=w, bias=b), WEIGHT, BIAS),
    ),
    "pad": (IMAGE, "pad", ([1, -2, 0, 3], "constant", 0.5), lambda x: F.pad(x, (1, -2, 0, 3), value=0.5)),
    "pad by reflection": (IMAGE, "pad", ([1, 2, 3, 0], "reflect"), lambda x: F.pad(x, (1, 2, 3, 0), mode="reflect")),
    "pad around": (IMAGE, "pad", ([1, 2, 3, 0], "circular"), lambda x: F.pad(x, (1, 2, 3, 0), mode="circular")),
    "flip": (IMAGE, "flip", ([2],), lambda x: x.flip(2)),
    "permute": (IMAGE, "permute", ([0, 2, -1, 1],), lambda x: x.permute(0, 2, -1, 1)),
    "slice": (IMAGE, "slice", (2, 1, 9223372036854775807, 2), lambda x: x[:, :, 1::2]),
    "convolution": (
        IMAGE, "convolution", (KERNELS, BIAS[:4], [2, 1], [1, 0], [1, 2], False, [0, 0], 2),
        of_arrays(lambda x, w, b: F.conv2d(x, w, b, (2, 1), (1, 0), (1, 2), 2), KERNELS, BIAS[:4]),
    ),
    "linear": ((3, 5, 6), "linear", (MATRIX, BIAS[:4]), of_arrays(F.linear, MATRIX, BIAS[:4])),
    "matmul of batches": ((2, 1, 5, 6), "matmul", (BATCH,), of_arrays(torch.matmul, BATCH)),
    "batch_norm by the batch": (
        IMAGE, "batch_norm", (WEIGHT, BIAS, None, None, True, 0.1, 1e-3),
        of_arrays(lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, eps=1e-3), WEIGHT, BIAS),
    ),
    "prelu": (LONG, "prelu", (WEIGHT,), of_arrays(F.prelu, WEIGHT)),
    "hardshrink": (LONG, "hardshrink", (0.25,), lambda x: F.hardshrink(x, 0.25)),
    "softshrink": (LONG, "softshrink", (0.25,), lambda x: F.softshrink(x, 0.25)),
    "threshold": (LONG, "threshold", (0.125, 3.0), lambda x: F.threshold(x, 0.125, 3.0)),
    "sign": (LONG, "sign", (), torch.sign),
    "floor": (LONG, "floor", (), torch.floor),
    "atan": (LONG, "atan", (), torch.atan),
    "sin": (LONG, "sin", (), torch.sin),
    "cos": (LONG, "cos", (), torch.cos),
    "lerp": (LONG, "lerp", (LIKE, 0.3), of_arrays(lambda x, y: torch.lerp(x, y, 0.3), LIKE)),
    "addcmul": (LONG, "addcmul", (LIKE, LIKE), of_arrays(lambda x, y: torch.addcmul(x, y, y), LIKE)),
    "addcdiv": (LONG, "addcdiv", (LIKE, 2.0 + LIKE**2), of_arrays(torch.addcdiv, LIKE, 2.0 + LIKE**2)),
    "norm": (IMAGE, "linalg_vector_norm", (2, [1], True), lambda x: torch.linalg.vector_norm(x, dim=1, keepdim=True)),
    "norm 1": (IMAGE, "linalg_vector_norm", (1, [1, 2]), lambda x: torch.linalg.vector_norm(x, 1, dim=(1, 2))),
    "norm inf": (IMAGE, "linalg_vector_norm", (math.inf, [3]), lambda x: torch.linalg.vector_norm(x, math.inf, dim=3)),
    "weight_norm": (IMAGE, "_weight_norm", (NORMS, 1), of_arrays(lambda x, g: torch._weight_norm(x, g, 1), NORMS)),
    "var": (IMAGE, "var", ([2, 3], True, True), lambda x: x.var((2, 3), keepdim=True)),
    "std": (IMAGE, "std", ([1], False), lambda x: x.std(1, unbiased=False)),
    "var_mean": (IMAGE, "var_mean", ([1, 2, 3],), lambda x: torch.var_mean(x, (1, 2, 3))[0]),
    "cumsum": (LONG, "cumsum", (2,), lambda x: torch.cumsum(x, 2)),
    "sort": (LONG, "sort", (1, True), lambda x: torch.sort(x, 1, descending=True)[0]),
    "topk": (LONG, "topk", (3, 2), lambda x: torch.topk(x, 3, 2)[0]),
    "median": (LONG, "median.dim", (2,), lambda x: torch.median(x, 2)[0]),
    "glu": (LONG, "glu", (1,), lambda x: F.glu(x, 1)),
    "pixel_shuffle": ((2, 8, 3, 4), "pixel_shuffle", (2,), lambda x: F.pixel_shuffle(x, 2)),
    "pixel_unshuffle": ((*IMAGE[:2], 6, 8), "pixel_unshuffle", (2,), lambda x: F.pixel_unshuffle(x, 2)),
    "channel_shuffle": (IMAGE, "channel_shuffle", (3,), lambda x: F.channel_shuffle(x, 3)),
    "roll": (IMAGE, "roll", ([2, -1], [3, 2]), lambda x: torch.roll(x, (2, -1), (3, 2))),
    "movedim": (IMAGE, "movedim", (1, 3), lambda x: x.movedim(1, 3)),
    "repeat_interleave": (IMAGE, "repeat_interleave.self_int", (2, 1), lambda x: x.repeat_interleave(2, 1)),
    "nearest": (IMAGE, "upsample_nearest2d", ([12, 5],), lambda x: F.interpolate(x, (12, 5))),
    "nearest by a factor": (IMAGE, "upsample_nearest2d", (None, [2.0, 1.5]), lambda x: F.interpolate(x, scale_factor=(2.0, 1.5))),
    "linear between": (LONG, "upsample_linear1d", ([71], False), lambda x: F.interpolate(x, 71, mode="linear")),
    "bilinear": (
        IMAGE, "upsample_bilinear2d", (None, False, [2.0, 1.5]), lambda x: F.interpolate(x, scale_factor=(2.0, 1.5), mode="bilinear"),
    ),
    "bilinear at corners": (
        IMAGE, "upsample_bilinear2d", ([5, 17], True), lambda x: F.interpolate(x, (5, 17), mode="bilinear", align_corners=True),
    ),
    "bicubic": (IMAGE, "upsample_bicubic2d", ([13, 5], False), lambda x: F.interpolate(x, (13, 5), mode="bicubic")),
    "bicubic by a factor": (
        IMAGE, "upsample_bicubic2d", (None, False, [2.0, 1.5]), lambda x: F.interpolate(x, scale_factor=(2.0, 1.5), mode="bicubic"),
    ),
    "bicubic at corners": (
        IMAGE, "upsample_bicubic2d", ([5, 17], True), lambda x: F.interpolate(x, (5, 17), mode="bicubic", align_corners=True),
    ),
    "sinh": (LONG, "sinh", (), torch.sinh),
    "cosh": (LONG, "cosh", (), torch.cosh),
    "tan": (LONG, "tan", (), torch.tan),
    "asinh": (LONG, "asinh", (), torch.asinh),
    "erfc": (LONG, "erfc", (), torch.erfc),
    "a number to the power": (LONG, "pow.Scalar", (1.7,), lambda x: 1.7**x),
    "logaddexp": (LONG, "logaddexp", (LIKE,), of_arrays(torch.logaddexp, LIKE)),
    "prod": (IMAGE, "prod", (3, True), lambda x: x.prod(3, keepdim=True)),
    "prod of all": ((2, 3), "prod", (), torch.prod),
    "cumprod": (IMAGE, "cumprod", (2,), lambda x: torch.cumprod(x, 2)),
    "logcumsumexp": (LONG, "logcumsumexp", (2,), lambda x: torch.logcumsumexp(x, 2)),
    "einsum": (IMAGE, "einsum", ("nchw,dc->nhwd", MATRIX), of_arrays(lambda x, w: torch.einsum("nchw,dc->nhwd", x, w), MATRIX)),
    "einsum of one": (IMAGE, "einsum", ("nchw->cw",), lambda x: torch.einsum("nchw->cw", x)),
    "einsum with a sum": (IMAGE, "einsum", ("nchw,nc", ROWS), of_arrays(lambda x, y: torch.einsum("nchw,nc", x, y), ROWS)),
    "matmul by a vector": (LONG, "matmul", (LIKE[0, 0],), of_arrays(torch.matmul, LIKE[0, 0])),
    "baddbmm": (
        (2, 6, 4), "baddbmm", (LIKE[:, :, :3], LIKE[:, :3, :4]),
        of_arrays(torch.baddbmm, LIKE[:, :, :3], LIKE[:, :3, :4]),
    ),
    "attention": (
        (2, 3, 6, 4), "scaled_dot_product_attention", (BATCH, BATCH + 1.0), of_arrays(F.scaled_dot_product_attention, BATCH, BATCH + 1.0),
    ),
    "causal attention": (
        (2, 3, 6, 4), "scaled_dot_product_attention", (BATCH, BATCH, None, 0.0, True),
        of_arrays(lambda x, k: F.scaled_dot_product_attention(x, k, k, is_causal=True), BATCH),
    ),
    "unfold": (IMAGE, "im2col", ([3, 2], [1, 2], [1, 0], [2, 1]), lambda x: F.unfold(x, (3, 2), (1, 2), (1, 0), (2, 1))),
    "fold": (
        (2, 12, 15), "col2im", ([5, 8], [3, 2], [1, 2], [1, 0], [1, 2]), lambda x: F.fold(x, (5, 8), (3, 2), (1, 2), (1, 0), (1, 2)),
    ),
    "windows": (LONG, "unfold", (2, 5, 3), lambda x: x.unfold(2, 5, 3)),
    "triu": (IMAGE, "triu", (1,), lambda x: torch.triu(x, 1)),
    "rms_norm": (IMAGE, "rms_norm", ([7, 8], MAP, 1e-5), of_arrays(lambda x, w: F.rms_norm(x, (7, 8), w, 1e-5), MAP)),
    "mse_loss": (LONG, "mse_loss", (LIKE,), of_arrays(F.mse_loss, LIKE)),
    "l1_loss": (LONG, "l1_loss", (LIKE, 2), of_arrays(lambda x, y: F.l1_loss(x, y, reduction="sum"), LIKE)),
    "smooth_l1_loss": (
        LONG, "smooth_l1_loss", (LIKE, 0, 0.5), of_arrays(lambda x, y: F.smooth_l1_loss(x, y, reduction="none", beta=0.5), LIKE),
    ),
    "huber_loss": (LONG, "huber_loss", (LIKE, 1, 0.7), of_arrays(lambda x, y: F.huber_loss(x, y, delta=0.7), LIKE)),
    "trilinear": ((1, 2, 3, 4, 5), "upsample_trilinear3d", ([6, 8, 3], False), lambda x: F.interpolate(x, (6, 8, 3), mode="trilinear")),
}  # fmt: skip
"""What is called, by which rule with which arguments, and the same in PyTorch."""

SIZES = {"small": 1e-3, "of 1": 1.0, "large": 12.0, "nearly equal": 1.0}


def applied(name: str, x: Bounded) -> Bounded:
    """Return what a rule gives, with its shape from PyTorch."""
    _, rule, arguments, call = ONE_OPERAND[name]
    shape = tuple(call(torch.from_numpy(x.value)).shape)
    given = [x, *(Bounded.exact(one) if isinstance(one, np.ndarray) else one for one in arguments)]
    if rule == "einsum":  # which has its operands in a list, behind what is done with them
        given = [given[1], [given[0], *given[2:]]]
    elif rule == "pow.Scalar":
        given.reverse()
    with np.errstate(all="ignore"):
        found = RULES[rule](Place(shape, "float32", Numerics()), *given)
    return found[0] if isinstance(found, tuple) else found


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ONE_OPERAND)
def test_a_rule_is_right_and_its_bound_holds(name: str, size: str) -> None:
    """The value is float64's, float32's result is within the bound, and so is that of any inputs within theirs."""
    shape, _, _, call = ONE_OPERAND[name]
    draw = np.random.default_rng(1)
    spread = 2.0**-6 * draw.normal(size=shape) + 1.0 if size == "nearly equal" else draw.normal(size=shape)
    values = of_float32(spread * SIZES[size])
    exact = applied(name, Bounded.exact(values))
    right = call(torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(exact.value, right, rtol=1e-9, atol=1e-12 * SIZES[size])
    computed = call(torch.from_numpy(values).float()).numpy()
    assert (np.abs(computed - right) <= exact.error).all()
    error = np.abs(draw.normal(size=shape)) * SIZES[size] * 10.0 ** draw.uniform(-6, -1, size=shape)
    found = applied(name, Bounded(values, error))
    for share in (-1.0, 1.0, draw.uniform(-1, 1, size=shape), np.sign(draw.normal(size=shape))):
        other = call(torch.from_numpy(values + share * error)).numpy()
        assert (np.abs(other - right) <= found.error * (1.0 + 1e-9) + 1e-15 * np.abs(right)).all()


@pytest.mark.parametrize("name", ONE_OPERAND)
def test_a_rule_leaves_open_what_depends_on_what_is_open(name: str) -> None:
    """A NaN among the inputs leaves those results open that PyTorch has NaN for, and what does not depend on it stays as it is."""
    shape, _, _, call = ONE_OPERAND[name]
    values = of_float32(np.random.default_rng(3).normal(size=shape))
    clean = applied(name, Bounded.given(values))
    values.reshape(-1)[values.size // 2] = np.nan
    found = applied(name, Bounded.given(values))
    is_open = np.isinf(found.error)
    assert is_open[np.isnan(call(torch.from_numpy(values)).numpy())].all()
    reached = np.isinf(found.error) & ~np.isinf(clean.error)
    np.testing.assert_array_equal(found.value[~reached], clean.value[~reached])
    np.testing.assert_array_equal(found.error[~reached], clean.error[~reached])


WIDE = ("exp", "layer_norm", "instance_norm", "group_norm", "pow 3", "tan", "logcumsumexp", "attention")
BY_POSITION = (
    "nearest by a factor", "linear between", "bilinear", "bilinear at corners", "trilinear", "bicubic", "bicubic by a factor",
    "bicubic at corners",
)  # fmt: skip
"""Where they read from is rounded too."""
SHARP = [name for name in ONE_OPERAND if name not in (*WIDE, *BY_POSITION)]


@pytest.mark.parametrize("name", SHARP)
def test_a_bound_is_no_wider_than_a_few_roundings(name: str) -> None:
    """Of exact inputs a result may be off by some tens of roundings of what it is made of, so that an error of 1e-4 shows."""
    shape, _, _, call = ONE_OPERAND[name]
    values = of_float32(np.random.default_rng(2).normal(size=shape))
    found = applied(name, Bounded.exact(values))
    taps = 1 if found.value.size == values.size else values.size / max(found.value.size, 1)
    scale = max(np.abs(found.value).max(), 1.0) * max(math.sqrt(taps), 4.0)
    assert found.error.max() <= 16.0 * FLOATS["float32"].unit_roundoff * scale
    del call


@pytest.mark.parametrize("size", [1.0, 3000.0])
def test_a_softmax_may_be_an_exponential_of_a_difference(size: float) -> None:
    """e^(x - logsumexp) loses what logsumexp is rounded to, and e^x = 2^(x·log2 e) what the product is; both are ways to write it."""
    x = of_float32(np.random.default_rng(1).normal(size=(4, 9, 5)) * size)
    found = applied("softmax", Bounded.exact(x))
    given = torch.from_numpy(x).float()
    powers = torch.exp2(given * 1.4426950408889634 - (given * 1.4426950408889634).amax(1, keepdim=True))
    for y in (torch.exp(given - given.logsumexp(1, keepdim=True)), powers / powers.sum(1, keepdim=True)):
        assert (np.abs(y.double().numpy() - found.value) <= found.error).all()


@pytest.mark.parametrize("power", [0.75, -1.5, -2.0])
def test_a_power_is_right_where_there_is_one(power: float) -> None:
    """A power of positive numbers is within its bound, for any inputs within theirs; of what may be negative it is open."""
    values = of_float32(np.exp(np.random.default_rng(1).uniform(-9, 9, size=999)))
    place = Place(values.shape, "float32", Numerics())
    with np.errstate(all="ignore"):
        exact, moved = (RULES["pow"](place, Bounded(values, values * share), power) for share in (0.0, 1e-3))
        signed = RULES["pow"](place, Bounded(values, values * 2.0), power)
    assert (np.abs((torch.from_numpy(values).float() ** power).numpy() - values**power) <= exact.error).all()
    assert (exact.error <= 64.0 * FLOATS["float32"].unit_roundoff * exact.value + 2.0**-126).all()
    for side in (-1e-3, 1e-3):
        assert (np.abs((values * (1.0 + side)) ** power - values**power) <= moved.error).all()
    assert np.isinf(signed.error).all()


@pytest.mark.parametrize(
    ("name", "call", "low", "high"),
    [
        ("atanh", torch.atanh, -1.0, 1.0), ("erfinv", torch.erfinv, -1.0, 1.0), ("log2", torch.log2, 0.0, 9.0),
        ("log10", torch.log10, 0.0, 9.0),
    ],
)  # fmt: skip
def test_a_function_is_right_where_it_is_defined(name: str, call: Call, low: float, high: float) -> None:
    """Up to the ends of its domain a result is within its bound, for any inputs within theirs; beyond it is open."""
    ends = low + (high - low) * np.array([2.0**-20, 1.0 - 2.0**-20])
    values = of_float32(np.concatenate([np.random.default_rng(1).uniform(low, high, 499), ends]))
    place = Place(values.shape, "float32", Numerics())
    with np.errstate(all="ignore"):
        exact, moved = (RULES[name](place, Bounded(values, np.full(values.shape, error))) for error in (0.0, 1e-3))
        beyond = RULES[name](place, Bounded(values, np.full(values.shape, 20.0)))
    right = call(torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(exact.value, right, rtol=1e-8, atol=1e-9)
    assert (np.abs(call(torch.from_numpy(values).float()).numpy() - right) <= exact.error).all()
    assert (exact.error <= 32.0 * FLOATS["float32"].unit_roundoff * (1.0 + np.exp(right**2))).all() or name != "erfinv"
    for side in (-1e-3, 1e-3):
        other = call(torch.from_numpy(values + side)).numpy()
        assert (np.abs(other - right) <= moved.error)[np.isfinite(other)].all()
    assert np.isinf(beyond.error).all()


def masked(x: Bounded, *, limit: float = 0.125) -> tuple[Bounded, Bounded, Bounded]:
    """Return a choice, a product with a condition and a filling by the comparison of a tensor with a number."""
    place = Place(x.value.shape, "float32", Numerics())
    mask = RULES["gt"](Place(x.value.shape, "bool", Numerics()), x, limit)
    chosen = RULES["where"](place, mask, x, RULES["mul"](place, x, 0.25))
    return chosen, RULES["mul"](place, x, RULES["to"](place, mask)), RULES["masked_fill"](place, x, RULES["logical_not"](place, mask), -3.0)


def test_a_choice_is_open_only_where_its_condition_is() -> None:
    """Where an operand's bound does not reach the limit there is one right choice; where it does, either is right, and nothing beyond."""
    calls = (lambda x: np.where(x > 0.125, x, x * 0.25), lambda x: x * (x > 0.125), lambda x: np.where(x <= 0.125, -3.0, x))
    values = np.linspace(-1.0, 1.0, 2001)
    for found, exact, call in zip(masked(Bounded(values, np.full(2001, 0.01))), masked(Bounded.exact(values)), calls, strict=True):
        np.testing.assert_allclose(exact.value, call(values), atol=1e-15)
        assert exact.error.max() < 1e-6
        for side in (-0.00999, -0.004, 0.007, 0.00999):
            assert (np.abs(call(values + side) - call(values)) <= found.error + 1e-15).all()
        assert (found.error[np.abs(values - 0.125) > 0.0101] < 0.011).all()


def test_a_comparison_with_a_number_that_the_format_lacks_is_undecided_there() -> None:
    """An element that is equal to a rounded 0.1 is neither above nor below it for certain."""
    near = np.array([0.1, np.float32(0.1), np.float16(0.1), 0.2])
    mask = RULES["ge"](Place((4,), "bool", Numerics()), Bounded.exact(near), 0.1)
    assert mask.undecided.tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("rule", "call"), [("add", torch.add), ("sub", torch.sub), ("mul", torch.mul), ("div", torch.div), ("maximum", torch.maximum)]
)
def test_rules_of_two_operands_hold(rule: str, call: Call) -> None:
    """Both operands may be off, each within its bound, and broadcast."""
    draw = np.random.default_rng(3)
    x, y = draw.normal(size=(2, 3, 8)), draw.normal(size=(3, 1))
    off_x, off_y = np.abs(x) * 1e-3, np.full(y.shape, 1e-4)
    with np.errstate(all="ignore"):
        found = RULES[rule](Place((2, 3, 8), "float32", Numerics()), Bounded(x, off_x), Bounded(y, off_y))
    right = call(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        other = call(torch.from_numpy(x + a * off_x), torch.from_numpy(y + b * off_y)).numpy()
        assert (np.abs(other - right) <= found.error).all()
    assert np.median(found.error) < 1e-2


def test_a_divisor_that_may_be_zero_leaves_the_element_open() -> None:
    """Where the divisor's interval holds zero, any quotient is possible, and nothing is held against it."""
    place = Place((2,), "float32", Numerics())
    with np.errstate(all="ignore"):
        found = RULES["div"](place, Bounded.exact(np.ones(2)), Bounded(np.array([1e-3, 1.0]), np.array([2e-3, 1e-3])))
    assert np.isinf(found.error[0])
    assert found.error[1] < 2e-3


def test_a_layer_passes_the_errors_of_its_operands_on() -> None:
    """A convolution of inexact inputs is off by what its kernels' magnitudes make of their errors, and by no more."""
    draw = np.random.default_rng(4)
    x, w = draw.normal(size=(1, 2, 5, 5)), draw.normal(size=(3, 2, 3, 3))
    error = np.abs(draw.normal(size=x.shape)) * 1e-2
    place = Place((1, 3, 3, 3), "float32", Numerics())
    found = RULES["conv2d"](place, Bounded(x, error), Bounded.exact(w))
    most = F.conv2d(torch.from_numpy(error), torch.from_numpy(np.abs(w))).numpy()
    exact = RULES["conv2d"](place, Bounded.exact(x), Bounded.exact(w))
    np.testing.assert_allclose(found.error, exact.error + most, rtol=1e-9)


@pytest.mark.parametrize(
    ("rule", "arguments"),
    [
        ("pow", (9.5,)), ("softplus", (1.0, 5.0)), ("elu", (-1.0,)), ("dropout", (0.5, True)), ("argmax", ()),
        ("batch_norm", (None, None, None, None, False, 0.1, 1e-5)), ("pad", ([1, 1], "wrap")),
        ("linalg_vector_norm", (3,)), ("topk", (1, 0, True, False)), ("pow.Scalar", (2.0,)),
        ("scaled_dot_product_attention", (ONES, ONES, None, 0.5)), ("smooth_l1_loss", (ONES, 1, -1.0)),
    ],
)  # fmt: skip
def test_what_has_no_rule_is_not_covered(rule: str, arguments: tuple[Any, ...]) -> None:
    """Arguments that a rule was not derived for are refused instead of being guessed at."""
    with pytest.raises(NotCovered):
        RULES[rule](Place((2, 3), "float32", Numerics()), Bounded.exact(np.ones((2, 3))), *arguments)
