"""What an assertion says of the likely cause: another dtype, other axes, something that was applied to the output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import convfuzz
from convfuzz import assert_conv_close, assert_conv_grads_close

torch = pytest.importorskip("torch", reason="PyTorch computes what is asserted")
F = torch.nn.functional


def drawn(*shape: int, seed: int = 0, dtype: Any = torch.float32) -> Any:
    """Draw normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


X, W, B = drawn(2, 6, 8, 6), drawn(6, 6, 3, 3, seed=1), drawn(6, seed=2)
Y = F.conv2d(X, W, B, padding=1)


def complaint(actual: Any, x: Any = X, w: Any = W, b: Any = B, **parameters: Any) -> str:
    """Return what a failing assertion says."""
    with pytest.raises((AssertionError, TypeError, convfuzz.InvalidConfig)) as raised:
        assert_conv_close(actual, x, w, b, **({"padding": 1} | parameters))
    return str(raised.value)


def seeming(actual: Any, *operands: Any, **parameters: Any) -> str:
    """Return the likely cause; empty where none is said."""
    lines = complaint(actual, *operands, **parameters).splitlines()
    return next((line.removeprefix("it seems").strip() for line in lines if line.startswith("it seems ")), "")


RELU = "every wrong element is 0 where the expected value is negative: a ReLU was applied; judge the output before it"
DONE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "ReLU": (F.relu, RELU),
    "ReLU6": (F.relu6, "every wrong element is 0 where the expected value is negative, or 6 where it is larger: a ReLU6 was applied"),
    "clamp": (lambda y: y.clamp(-2, 3), "every wrong element is -2 where a smaller one is expected or 3 where a larger one is expected"),
    "clamp above": (lambda y: y.clamp(max=2.0), "every wrong element is 2 where a larger one is expected: the output was clamped"),
    "tanh": (torch.tanh, "every element is tanh of the expected value"),
    "sigmoid": (torch.sigmoid, "every element is sigmoid of the expected value"),
    "SiLU": (F.silu, "every element is SiLU of the expected value"),
    "GELU": (F.gelu, "every element is GELU of the expected value"),
    "GELU by tanh": (lambda y: F.gelu(y, approximate="tanh"), "every element is GELU (tanh) of the expected value"),
    "hardswish": (F.hardswish, "every element is hardswish of the expected value"),
    "ELU": (F.elu, "every element is ELU of the expected value"),
    "leaky ReLU": (F.leaky_relu, "every element is leaky ReLU (0.01) of the expected value"),
    "softplus": (F.softplus, "every element is softplus of the expected value"),
    "no bias": (lambda y: y - B[:, None, None], "the difference is the same for each output channel: the bias is missing"),
    "bias twice": (lambda y: y + B[:, None, None], "the difference is the same for each output channel: the bias is added twice"),
    "mean": (lambda y: y / 54, "every element is 1/54 (there are 54 taps) times the expected one"),
    "scaled": (lambda y: y * 2.5, "every element is 2.5 times the expected one"),
    "negated": (lambda y: -y, "every element has the wrong sign"),
    "scales": (
        lambda y: y * torch.linspace(0.5, 2, 6)[:, None, None],
        "every output channel is a multiple of the expected one, by 0.5 to 2",
    ),
    "zeros": (lambda y: 0 * y, "every element is 0: nothing was written, or nothing was added up"),
    "NHWC": (lambda y: y.permute(0, 2, 3, 1), "its axes are in another order: numpy.transpose(actual, (0, 3, 1, 2)) agrees"),
    "transposed": (lambda y: y.transpose(1, 3), "the expected values are at other places: numpy.transpose(actual, (0, 3, 2, 1)) agrees"),
    "flipped": (lambda y: y.flip(-1), "the expected values are at other places: numpy.flip(actual, 3) agrees"),
}


@pytest.mark.parametrize("name", DONE)
def test_what_was_done_to_the_output(name: str) -> None:
    """An output that is a known function of the right one, element by element, or the right one elsewhere, is told as that."""
    change, said = DONE[name]
    assert seeming(change(Y)).startswith(said)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "int32"])
def test_a_relu_is_told_in_every_dtype(dtype: str) -> None:
    """Tolerances and exact sums of the dtype are what a ReLU'd output is held against, on whole numbers too."""
    x, w = (values.mul(4).round().to(getattr(torch, dtype)) for values in (X, W))
    assert seeming(F.conv2d(x, w, padding=1).relu(), x, w, None) == RELU
    if dtype != "int32":
        x, w = X.to(getattr(torch, dtype)), W.to(getattr(torch, dtype))
        assert seeming(F.conv2d(x, w, padding=1).relu(), x, w, None) == RELU


def test_axes_are_the_callers() -> None:
    """With channels last, a transposition and a flip are said in the order of axes that the caller has."""
    given: dict[str, Any] = {"x": X.permute(0, 2, 3, 1), "w": W.permute(2, 3, 1, 0), "data_format": "channels_last"}
    assert seeming(Y, **given) == "its axes are in another order: numpy.transpose(actual, (0, 2, 3, 1)) agrees"
    assert seeming(Y.flip(-1).permute(0, 2, 3, 1), **given) == "the expected values are at other places: numpy.flip(actual, 2) agrees"


def test_nothing_is_made_up() -> None:
    """What is wrong in another way, or in one element, has no likely cause."""
    assert seeming(Y + torch.randn_like(Y)) == ""
    one = Y.clone()
    one[0, 0, 0, 0] += 1
    assert seeming(one) == ""
    one[0, 0, 0, 0] = torch.nan
    assert seeming(one.relu()) == ""


SQUARE_X, SQUARE_W = drawn(2, 3, 7, 7), drawn(3, 3, 3, 3, seed=1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.flip(2, 3), "numpy.flip(w, (2, 3)), as in the convolution of mathematics"),
        (lambda w: w.permute(0, 3, 1, 2), "numpy.transpose(w, (0, 3, 1, 2))"),
        (lambda w: w.permute(3, 2, 0, 1), "numpy.transpose(w, (3, 2, 0, 1))"),
        (lambda w: w.permute(1, 0, 2, 3), "numpy.transpose(w, (1, 0, 2, 3))"),
    ],
)
@pytest.mark.parametrize("whole", [False, True])
def test_which_weight_was_used(change: Callable[[Any], Any], said: str, *, whole: bool) -> None:
    """Where the shape does not tell the order of a weight's axes, the output does."""
    x, w = ((4 * values).round() if whole else values for values in (SQUARE_X, SQUARE_W))
    assert seeming(F.conv2d(x, change(w)), x, w, None, padding=0) == f"the weight is another: the output is that of {said}"


def test_which_weight_was_used_with_channels_last() -> None:
    """The transposition is one of the caller's weight."""
    x, w = SQUARE_X.permute(0, 2, 3, 1), SQUARE_W.permute(2, 3, 1, 0)
    said = seeming(F.conv2d(SQUARE_X, SQUARE_W.transpose(2, 3)).permute(0, 2, 3, 1), x, w, None, padding=0, data_format="channels_last")
    assert said == "the weight is another: the output is that of numpy.transpose(w, (1, 0, 2, 3))"


# -- shapes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "w", "parameters", "said"),
    [
        ((1, 8, 9, 9), (16, 3, 3, 8), {}, "numpy.transpose(w, (0, 3, 1, 2)) if w is (out, *kernel, in / groups)"),
        ((1, 8, 9, 9), (3, 3, 8, 16), {}, "numpy.transpose(w, (3, 2, 0, 1)) if w is (*kernel, in / groups, out)"),
        ((1, 8, 5, 5), (16, 3, 3, 8), {}, "numpy.transpose(w, (0, 3, 1, 2)) if w is (out, *kernel, in / groups)"),
        ((8, 9), (16, 3, 8), {}, "numpy.transpose(w, (0, 2, 1)) if w is (out, *kernel, in / groups)"),
        ((1, 8, 9, 9), (16, 3, 3, 2), {"groups": 4}, "numpy.transpose(w, (0, 3, 1, 2)) if w is (out, *kernel, in / groups)"),
        ((1, 9, 9, 8), (16, 8, 3, 3), {}, "numpy.transpose(x, (0, 3, 1, 2)) if x is (N, *spatial, C)"),
        (
            (1, 9, 9, 8),
            (3, 3, 8, 16),
            {},
            (
                "numpy.transpose(x, (0, 3, 1, 2)) if x is (N, *spatial, C) "
                "and numpy.transpose(w, (3, 2, 0, 1)) if w is (*kernel, in / groups, out)"
            ),
        ),
        ((1, 8, 9, 9), (16, 8, 3, 3), {"transposed": True}, "numpy.transpose(w, (1, 0, 2, 3)) if w is (out / groups, in, *kernel)"),
        (
            (1, 9, 9, 8),
            (16, 8, 3, 3),
            {"data_format": "channels_last"},
            "numpy.transpose(w, (2, 3, 1, 0)) if w is (out, in / groups, *kernel)",
        ),
        (
            (1, 9, 9, 8),
            (16, 3, 3, 8),
            {"data_format": "channels_last"},
            "numpy.transpose(w, (1, 2, 3, 0)) if w is (out, *kernel, in / groups)",
        ),
        ((1, 8, 9, 9), (3, 3, 8, 16), {"data_format": "channels_last"}, "numpy.transpose(x, (0, 2, 3, 1)) if x is (N, C, *spatial)"),
    ],
)
def test_which_order_of_axes_fits(x: tuple[int, ...], w: tuple[int, ...], parameters: dict[str, Any], said: str) -> None:
    """Operands in another usual order of axes are refused with the transposition with which they make a layer."""
    assert complaint(
        np.zeros(1, np.float32), np.zeros(x, np.float32), np.zeros(w, np.float32), None, **({"padding": 0} | parameters)
    ).endswith(f"; the shapes fit with {said}")


def test_no_order_of_axes_is_made_up() -> None:
    """Where no usual order fits, none is said."""
    said = complaint(np.zeros(1, np.float32), np.zeros((1, 8, 9, 9), np.float32), np.zeros((16, 5, 3, 3), np.float32), None)
    assert "fit" not in said


# -- dtypes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "b", "said"),
    [
        ("int8", "int32", "hand in x and w as int32 too, which changes no value, with an output that is int32"),
        ("float16", "float32", "hand in x and w as float32 too, which changes no value, with an output that is float32"),
        ("float32", "float64", "hand in x and w as float64 too, which changes no value, with an output that is float64"),
        ("float32", "float16", "hand in b as float32 too, which changes no value"),
        ("float32", "int64", "neither holds all values of the other: convert b to float32 as the layer does"),
        ("uint8", "uint8", "int32 holds all its values: hand in every operand as that"),
    ],
)
def test_which_widening_is_right(x: str, b: str, said: str) -> None:
    """Operands of two dtypes, or of one that no case has, are refused with the dtype that holds all of their values."""
    arrays = np.zeros((1, 8, 9, 9), x), np.zeros((4, 8, 3, 3), x), np.zeros(4, b)
    assert complaint(np.zeros((1, 4, 9, 9), b), *arrays).endswith(said)


def test_an_int8_layer_with_an_int32_bias() -> None:
    """The hint is right: with operands widened as it says, the layer's int32 output passes."""
    draw = np.random.default_rng(0)
    x, w = (draw.integers(-128, 128, shape).astype(np.int8) for shape in ((1, 8, 9, 9), (4, 8, 3, 3)))
    b = draw.integers(-1000, 1000, 4).astype(np.int32)
    y = F.conv2d(*(torch.from_numpy(array.astype(np.int32)) for array in (x, w, b)), padding=1)
    assert "hand in x and w as int32 too" in complaint(y, x, w, b)
    assert_conv_close(y, x.astype(np.int32), w.astype(np.int32), b, padding=1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_autocast(dtype: str) -> None:
    """An output that is narrower than the operands comes with what to do about it, and that is right."""
    kind = getattr(torch, dtype)
    with torch.autocast("cpu", dtype=kind):
        y = F.conv2d(X, W, B, padding=1)
    assert y.dtype is kind
    rounded = f"where the layer computes in {dtype}, as under autocast, hand in its operands rounded to {dtype}; "
    assert rounded in complaint(y)
    assert_conv_close(y, X.to(kind), W.to(kind), B.to(kind), padding=1)


# -- numbers and arrays ---------------------------------------------------------------------------------------------------


def test_parameters_of_any_library() -> None:
    """Numbers and arrays of NumPy, tensors and ``torch.Size`` are parameters like Python's numbers."""
    x, w = drawn(2, 8, 9, 9), drawn(8, 2, 3, 3, seed=1)
    y = F.conv2d(x, w, stride=2, padding=(1, 2), groups=4)
    strides = (np.int64(2), np.array(2), np.array([2, 2]), [np.int8(2), 2], torch.Size([2, 2]), torch.tensor([2, 2]), torch.tensor(2))
    for stride in strides:
        for padding in (np.array([1, 2]), np.array([[1, 1], [2, 2]]), [np.int64(1), 2]):
            assert_conv_close(y, x, w, stride=stride, padding=padding, groups=np.int64(4), dilation=np.array(1))
    dy = torch.ones_like(y)
    gradient = torch.nn.grad.conv2d_weight(x, w.shape, dy, stride=2, padding=(1, 2), groups=4)
    assert_conv_grads_close({"grad_weight": gradient}, x, w, dy, stride=np.int64(2), padding=np.array([1, 2]), groups=np.int64(4))
    x, w = drawn(1, 8, 5, 5), drawn(8, 2, 3, 3, seed=1)
    y = F.conv_transpose2d(x, w, stride=2, output_padding=1, groups=4)
    assert_conv_close(y, x, w, stride=np.int64(2), output_padding=np.int64(1), groups=np.int64(4), transposed=True)


@pytest.mark.filterwarnings("ignore")  # PyTorch's of its own kinds of tensors
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: torch.quantize_per_tensor(Y, 0.1, 0, torch.quint8), "a quantised tensor (torch.quint8): y.dequantize() has its values"),
        (Y.to_sparse, "a sparse tensor (torch.sparse_coo): y.to_dense() has its values"),
        (lambda: torch.eye(3).to_sparse_csr(), "a sparse tensor (torch.sparse_csr): y.to_dense() has its values"),
        (lambda: Y.to("meta"), "a tensor on the meta device, which has a shape and no values: compute it on a real device"),
        (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "a nested tensor: hand over its parts one by one"),
        (lambda: Y.to(torch.float8_e4m3fn), "a tensor of torch.float8_e4m3fn, which NumPy has not: convert it, as y.float() does"),
        (lambda: (Y, None), "a tuple of 2 things, not one array: hand over the output alone"),
        (lambda: (Y, Y), "a tuple of 2 things, not one array: hand over the output alone"),
        (lambda: [Y, Y[:, :2]], "a list of 2 things, not one array: hand over the output alone"),
        (lambda: [[1.0], [1.0, 2.0]], "list, which is not array-like: setting an array element"),
        (lambda: "abc", "of type str, not an array of numbers"),
        (lambda: np.array(["a"]), "an array of dtype <U1, not of numbers"),
        (lambda: np.array([None]), "ndarray of objects, not an array of numbers"),
        (lambda: np.zeros(3, "M8[s]"), "an array of dtype datetime64[s], not of numbers"),
        (lambda: np.zeros(3, [("a", "f4")]), "an array of dtype [('a', '<f4')], not of numbers"),
        (lambda: np.ma.masked_array(np.zeros(3), [True, False, True]), "an array of which 2 elements are masked: say what they are"),
        (lambda: torch.nn.Conv2d(1, 1, 1), "Conv2d, which is not array-like: call it, or await it"),
    ],
)
@pytest.mark.parametrize("name", ["actual", "x", "w", "b"])
def test_what_is_no_array_of_numbers(make: Callable[[], Any], said: str, name: str) -> None:
    """Tensors without plain values, pairs, texts and hidden elements are refused by name, with what to do."""
    given = {"actual": Y, "x": X, "w": W, "b": B} | {name: make()}
    assert complaint(*given.values()).startswith(f"{name} is {said}")


def test_complex_where_the_layer_is_real() -> None:
    """A complex operand or output of a real layer is told by its dtype, and no widening is proposed."""
    said = complaint(Y.to(torch.complex64))
    assert said.startswith("wrong-dtype: dtype complex64, expected float32")
    assert "hint" not in said
    assert "w is complex64 and x is float32" in complaint(Y, X, W.to(torch.complex64))
    assert "b is bfloat16 and x is float32" in complaint(Y, X.numpy(), W.numpy(), np.zeros(6, ml_dtypes.bfloat16))
