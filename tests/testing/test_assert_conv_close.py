"""The assertions for other people's test suites: what passes, what fails, and what a failure says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import convfuzz
from convfuzz import Numerics, assert_conv_close, assert_conv_grads_close
from convfuzz.backends import resolve
from convfuzz.case import PASSES, Case
from convfuzz.case.config import ConvConfig
from convfuzz.judging.element_products import products_in_two_orders
from convfuzz.judging.judge import Judge
from convfuzz.judging.models import MODELS
from convfuzz.oracle import reference
from convfuzz.tensors.generator import Tensors, make_tensors

torch = pytest.importorskip("torch", reason="PyTorch computes what is asserted")

FLOATING = ("float64", "float32", "bfloat16", "float16", "complex64", "complex128")
LAYERS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ((2, 3, 9, 8), (4, 3, 3, 3), {}),
    "one-dimensional": ((3, 4, 17), (6, 4, 5), {"stride": 2, "padding": 3}),
    "three-dimensional": ((2, 4, 5, 6, 7), (4, 2, 2, 3, 1), {"padding": (1, 0, 2), "groups": 2}),
    "per axis": ((2, 4, 11, 12), (8, 4, 3, 2), {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 3)}),
    "unbatched": ((6, 9, 9), (6, 1, 3, 3), {"groups": 6, "padding": 1}),
    "same": ((2, 3, 7, 7), (5, 3, 5, 3), {"padding": "same"}),
    "valid": ((2, 3, 7, 7), (5, 3, 4, 3), {"padding": "valid"}),
}
TRANSPOSED: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ((2, 3, 9, 8), (3, 4, 3, 3), {}),
    "strided": ((2, 4, 5, 6), (4, 3, 3, 2), {"stride": (2, 3), "padding": 1, "output_padding": (1, 2), "groups": 2}),
    "one-dimensional": ((4, 17), (4, 6, 5), {"stride": 2, "dilation": 2}),
}


def drawn(shape: tuple[int, ...], dtype: str, seed: int) -> Any:
    """Draw normal numbers, or small whole ones for an integer dtype."""
    generator = torch.Generator().manual_seed(seed)
    kind = getattr(torch, dtype)
    if kind.is_complex:
        return torch.complex(drawn(shape, "float64", seed), drawn(shape, "float64", seed + 100)).to(kind)
    if not kind.is_floating_point:
        return torch.randint(-9, 10, shape, generator=generator, dtype=kind)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(kind)


def convolved(x: Any, w: Any, b: Any = None, *, transposed: bool = False, **parameters: Any) -> Any:
    """Compute the layer with PyTorch."""
    name = f"conv{'_transpose' if transposed else ''}{w.ndim - 2}d"
    return getattr(torch.nn.functional, name)(x, w, b, **parameters)


def operands(layer: tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]], dtype: str = "float32") -> tuple[Any, Any, Any]:
    """Draw x, w and b."""
    x, w, parameters = layer
    transposed = layer in TRANSPOSED.values()
    return drawn(x, dtype, 1), drawn(w, dtype, 2), drawn((w[1] * parameters.get("groups", 1) if transposed else w[0],), dtype, 3)


def complaint(actual: Any, *given: Any, **parameters: Any) -> str:
    """Return the message of the failed assertion."""
    with pytest.raises(AssertionError) as raised:
        assert_conv_close(actual, *given, **parameters)
    return str(raised.value)


def rows(message: str) -> dict[str, str]:
    """Return the message's labelled lines by label."""
    labels = ("case", "over", "max-abs", "ULP", "e/(u·S)", "ratio", "would need", "tolerance", "NaN or Inf", "undecided")
    labels += ("explained by", "covered by", "or it is", "to allow it", "hint", "agree:")
    return {label: line.removeprefix(label).strip() for line in message.splitlines() for label in labels if line.startswith(f"{label} ")}


# -- right ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*FLOATING, "int32", "int64"])
@pytest.mark.parametrize("name", LAYERS)
def test_convolutions_of_torch_pass(name: str, dtype: str) -> None:
    """PyTorch's convolutions pass in every dtype, with and without a bias."""
    parameters, (x, w, b) = LAYERS[name][2], operands(LAYERS[name], dtype)
    if dtype.startswith("int"):
        parameters = parameters | {"dilation": 1}  # PyTorch dilates no integers
    assert_conv_close(convolved(x, w, b, **parameters), x, w, b, **parameters)
    assert_conv_close(convolved(x, w, **parameters), x, w, **parameters)


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex64"])
@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_convolutions_of_torch_pass(name: str, dtype: str) -> None:
    """PyTorch's transposed convolutions pass."""
    layer, (x, w, b) = TRANSPOSED[name], operands(TRANSPOSED[name], dtype)
    assert_conv_close(convolved(x, w, b, transposed=True, **layer[2]), x, w, b, transposed=True, **layer[2])


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex64"])
@pytest.mark.parametrize("transposed", [False, True])
def test_gradients_of_torch_pass(dtype: str, transposed: bool) -> None:  # noqa: FBT001 - the case under test
    """PyTorch's gradients pass, all at once and one alone."""
    layer = TRANSPOSED["strided"] if transposed else LAYERS["per axis"]
    leaves = [tensor.requires_grad_() for tensor in operands(layer, dtype)]
    y = convolved(*leaves, transposed=transposed, **layer[2])
    dy = drawn(tuple(y.shape), dtype, 4)
    found = dict(zip(("grad_input", "grad_weight", "grad_bias"), torch.autograd.grad(y, leaves, dy), strict=True))
    assert_conv_grads_close(found, leaves[0], leaves[1], dy, transposed=transposed, **layer[2])
    assert_conv_grads_close({"grad_weight": found["grad_weight"]}, leaves[0], leaves[1], dy, transposed=transposed, **layer[2])


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_modes_and_sides(mode: str) -> None:
    """A padding mode, a pair of sides, and a negative side that crops are what padding by hand gives."""
    x, w, b = operands(LAYERS["plain"])
    padded = torch.nn.functional.pad(x, (1, 2, 0, 2), mode=mode)
    assert_conv_close(convolved(padded, w, b), x, w, b, padding=((0, 2), (1, 2)), padding_mode=mode)
    assert_conv_close(convolved(torch.nn.functional.pad(x, (-2, 1, 1, 0)), w), x, w, padding=[(1, 0), (-2, 1)])


@pytest.mark.parametrize(
    ("x", "w", "padding"),
    [
        pytest.param((1, 384, 13, 13), (256, 384, 3, 3), 1, id="pytorch-170016"),
        pytest.param((1, 1, 8160, 1), (1, 1, 8147, 1), 0, id="tensorflow-62485"),
        pytest.param((1, 2048, 7, 7), (16, 2048, 1, 1), 0, id="deep"),
    ],
)
@pytest.mark.parametrize("positive", [False, True])
def test_long_sums_pass(x: tuple[int, ...], w: tuple[int, ...], padding: int, positive: bool) -> None:  # noqa: FBT001 - data
    """What was reported as a bug and is rounding passes, where the largest error is far beyond a fixed tolerance."""
    x, w = (values.abs() if positive else values for values in (drawn(x, "float32", 1), drawn(w, "float32", 2)))
    assert_conv_close(convolved(x, w, padding=padding), x, w, padding=padding)


def test_many_kinds_of_arrays() -> None:
    """Operands and outputs may be NumPy arrays, tensors that need a gradient, lists, and whatever speaks DLPack."""
    x, w, b = operands(LAYERS["plain"], "float64")
    y = convolved(x, w, b)

    class Spoken:
        def __init__(self, array: Any) -> None:
            self.array = array

        def __dlpack__(self, **options: Any) -> Any:
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return self.array.__dlpack_device__()

    assert_conv_close(y.numpy(), x.requires_grad_(), w.tolist(), b.numpy())
    assert_conv_close(Spoken(y.numpy()), x, Spoken(w.numpy()), b)
    x, w, b = operands(LAYERS["plain"], "bfloat16")
    numpy = [tensor.float().numpy().astype(ml_dtypes.bfloat16) for tensor in (convolved(x, w, b), x, w, b)]
    assert_conv_close(*numpy)


def test_degenerate_shapes() -> None:
    """Empty batches, no channels and windows on padding alone are judged like any other layer."""
    w, b = drawn((4, 3, 3, 3), "float32", 2), drawn((4,), "float32", 3)
    for x in (torch.zeros(0, 3, 9, 9), drawn((1, 3, 1, 1), "float32", 1)):
        assert_conv_close(convolved(x, w, b, padding=4), x, w, b, padding=4)
    assert_conv_close(np.tile(b.numpy()[:, None], (1, 5)), np.zeros((0, 5), np.float32), np.zeros((4, 0, 1), np.float32), b)
    assert "wrong" in complaint(np.zeros((4, 5), np.float32), np.zeros((0, 5), np.float32), np.zeros((4, 0, 1), np.float32), b)


# -- channels last ------------------------------------------------------------------------------------------------------


def channels_last(values: Any) -> Any:
    """Move the channels of data to the end."""
    return values.movedim(-3, -1)


def test_channels_last_is_the_same_layer() -> None:
    """Data (N, *spatial, C) and weights (*kernel, in / groups, out), transposed (*kernel, out / groups, in), are understood."""
    for layer, transposed in ((LAYERS["per axis"], False), (LAYERS["unbatched"], False), (TRANSPOSED["strided"], True)):
        x, w, b = operands(layer)
        y, filters = convolved(x, w, b, transposed=transposed, **layer[2]), w.permute(2, 3, 1, 0)
        assert_conv_close(channels_last(y), channels_last(x), filters, b, transposed=transposed, data_format="channels_last", **layer[2])


def test_places_are_in_the_callers_order() -> None:
    """Shapes, places and slices of the message have the axes of the caller."""
    x, w, b = operands(LAYERS["plain"])
    y = channels_last(convolved(x, w, b)).clone()
    y[1, 2:4, 3, 0] += 1.0
    given = (channels_last(x), w.permute(2, 3, 1, 0), b)
    message = complaint(y, *given, data_format="channels_last")
    assert rows(message)["over"] == "2 of 336 elements, all within [1, 2:4, 3, 0]"
    assert "\n[1, 2, 3, 0]  " in message
    assert "shape (2, 7, 6), expected (2, 7, 6, 4)" in complaint(y[..., 0], *given, data_format="channels_last")
    assert "shape (2, 4, 7, 6), expected (2, 7, 6, 4)" in complaint(convolved(x, w, b), *given, data_format="channels_last")
    y[1, 2, 3, 0] = torch.nan
    assert complaint(y, *given, data_format="channels_last").startswith("non-finite: 1 of 336 elements, at [1, 2, 3, 0]: expected ")


def test_layers_of_tensorflow_pass() -> None:
    """TensorFlow's convolutions, transposed and depthwise ones, their gradients and a separate bias pass in its own layouts."""
    tf = pytest.importorskip("tensorflow", reason="TensorFlow computes what is asserted")
    last: dict[str, Any] = {"data_format": "channels_last"}
    for dtype, token in (("float32", "f32"), ("float64", "f64"), ("bfloat16", "bf16")):
        x, w, b = (tf.random.stateless_normal(shape, (1, seed)) for seed, shape in enumerate(((2, 9, 10, 8), (3, 2, 8, 4), (4,))))
        x, w, b = (tf.cast(values, dtype) for values in (x, w, b))
        y = tf.nn.bias_add(tf.nn.conv2d(x, w, 2, "SAME"), b)
        assert_conv_close(y, x, w, b, stride=2, padding="same", **last)
        depthwise = tf.nn.depthwise_conv2d(x, tf.reshape(w, (3, 2, 8, 4)), [1, 1, 1, 1], "VALID")
        # In bfloat16 it hangs on the processor which kernel runs, and in what it adds up.
        declared = resolve("tensorflow").numerics(Case.parse(f"conv2d_c8_o32_g8_i9x10_k3x2_{token}"))
        assert_conv_close(depthwise, x, tf.reshape(w, (3, 2, 1, 32)), groups=8, numerics=declared, **last)
    x, w = tf.cast(x, tf.float32), tf.cast(w, tf.float32)
    kernel = tf.transpose(w, (0, 1, 3, 2))
    assert_conv_close(
        tf.nn.conv2d_transpose(x, kernel, (2, 18, 20, 4), 2, "SAME"), x, kernel, stride=2, padding="same", transposed=True, **last
    )
    with tf.GradientTape() as tape:
        tape.watch([x, w])
        y = tf.nn.conv2d(x, w, 2, "SAME")
    grad_x, grad_w = tape.gradient(y, [x, w], output_gradients=tf.ones_like(y))
    assert_conv_grads_close({"grad_input": grad_x, "grad_weight": grad_w}, x, w, tf.ones_like(y), stride=2, padding="same", **last)


# -- wrong ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_a_dropped_tap_fails_at_any_scale(dtype: str, scale: float) -> None:
    """A tap less in one kernel fails in every dtype, on data of any magnitude, and the message says which channel is off."""
    x, w, b = (scale * values for values in operands(LAYERS["plain"], dtype))
    less = w.clone()
    less[1, 2, 1, 1] = 0
    message = complaint(convolved(x, less, b), x, w, b)
    assert message.split(":")[0].split(" ")[0] in ("wrong", "imprecise")
    assert "all within [:, 1, :, :]" in message


def test_small_data_hide_a_dropped_tap_from_a_fixed_tolerance() -> None:
    """On small numbers a missing tap passes ``torch.testing.assert_close`` and fails here."""
    x, w = (1e-3 * drawn(shape, "float32", seed) for seed, shape in enumerate(((1, 16, 13, 13), (8, 16, 3, 3))))
    less = w.clone()
    less[:, 5, 1, 2] = 0
    torch.testing.assert_close(convolved(x, less), convolved(x, w))
    assert complaint(convolved(x, less), x, w).startswith("wrong: ")
    assert_conv_close(convolved(x, w), x, w)


def test_wrong_layers_fail() -> None:
    """A shifted, flipped, unbiased, doubly biased, misgrouped or correlated-the-other-way layer fails."""
    x, w, b = operands(((2, 4, 8, 8), (4, 2, 3, 3), {}))
    y = convolved(x, w, b, groups=2, padding=1)
    for wrong in (
        y.roll(1, -1),
        y.flip(-1),
        y - b[:, None, None],
        y + b[:, None, None],
        y[:, [1, 0, 2, 3]],
        convolved(x, w.flip(-1), b, groups=2, padding=1),
        convolved(x, w.roll(1, 0), b, groups=2, padding=1),
        torch.zeros_like(y),
    ):
        message = complaint(wrong, x, w, b, groups=2, padding=1)
        assert message.startswith("wrong: ")
        assert rows(message)["explained by"].startswith("no arithmetic that convfuzz knows (flushed subnormals, ")


def test_wrong_gradients_fail() -> None:
    """A wrong gradient fails by its name, and the others are said to agree."""
    x, w, _ = operands(LAYERS["plain"])
    dy = drawn((2, 4, 7, 6), "float32", 4)
    right = {
        "grad_input": torch.nn.grad.conv2d_input(x.shape, w, dy),
        "grad_weight": torch.nn.grad.conv2d_weight(x, w.shape, dy),
        "grad_bias": dy.sum((0, 2, 3)),
    }
    for name, values in right.items():
        with pytest.raises(AssertionError) as raised:
            assert_conv_grads_close(right | {name: 2 * values}, x, w, dy)
        message = str(raised.value)
        assert message.startswith(f"{name} wrong: ")
        assert message.endswith(f"agree: {', '.join(other for other in right if other != name)}")
        assert rows(message)["case"] == "conv2d_n2_c3_o4_i9x8_k3_b_f32_grad"
    with pytest.raises(AssertionError, match=r"(?s)grad_input wrong: .*\n\ngrad_bias wrong: .*\nagree: grad_weight$"):
        assert_conv_grads_close(right | {"grad_bias": -right["grad_bias"], "grad_input": -right["grad_input"]}, x, w, dy)


def test_shape_and_dtype_are_judged() -> None:
    """Another shape or dtype fails whatever the values, and a wider dtype comes with what to do about it."""
    x, w, b = operands(LAYERS["plain"], "float16")
    y = convolved(x, w, b)
    assert complaint(y[0], x, w, b) == "wrong-shape: shape (4, 7, 6), expected (2, 4, 7, 6)\n\ncase  conv2d_n2_c3_o4_i9x8_k3_b_f16"
    message = complaint(y.float(), x, w, b)
    assert message.startswith("wrong-dtype: dtype float32, expected float16")
    assert rows(message)["hint"] == "where the layer is to widen float16, hand in its operands as float32 too"
    assert_conv_close(convolved(x.float(), w.float(), b.float()), x.float(), w.float(), b.float())
    assert "hint" not in rows(complaint(y.int(), x, w, b))


def test_nan_and_inf() -> None:
    """NaN in the output fails, NaN that the input puts there passes, and NaN that is lost fails."""
    x, w, b = operands(LAYERS["plain"])
    y = convolved(x, w, b)
    broken = y.clone()
    broken[0, 1, 2, 3] = torch.nan
    message = complaint(broken, x, w, b)
    assert message.startswith(f"non-finite: 1 of 336 elements, at [0, 1, 2, 3]: expected {float(y[0, 1, 2, 3]):.6g}"[:60])
    assert rows(message)["NaN or Inf"] == "wrong in 1 of 336 elements"
    x[0, 1, 4, 4] = torch.inf
    assert_conv_close(convolved(x, w, b), x, w, b)
    assert complaint(y, x, w, b).startswith("non-finite: 36 of 336 elements, ")


# -- whole numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex64"])
def test_whole_numbers_have_to_be_exact(dtype: str) -> None:
    """Where the operands are whole numbers whose sums are exact there is no tolerance, and a wrong tap is not taken for rounding."""
    x, w, b = (values.to(getattr(torch, dtype)) for values in operands(LAYERS["plain"], "int32"))
    y = convolved(x, w, b)
    assert_conv_close(y, x, w, b)
    for off, start in ((1.0, "wrong: integers off by 1: "), (2.0**-12, "imprecise (Winograd or FFT): integers off by 0.00024: ")):
        broken = y.clone()
        broken[1, 2, 3, 4] += off
        message = complaint(broken, x, w, b)
        assert message.startswith(start)
        assert rows(message)["tolerance"] == f"0: sums of these whole numbers are exact in {dtype}"
        assert "ratio" not in rows(message)


def test_a_transform_may_round_whole_numbers() -> None:
    """A declared Winograd or FFT may be off by less than one half on whole numbers, and the message proposes to declare it."""
    x, w, b = (values.float() for values in operands(LAYERS["plain"], "int32"))
    y = convolved(x, w, b) + 2.0**-12
    proposed = rows(complaint(y, x, w, b))["to allow it"]
    assert proposed == "numerics=convfuzz.Numerics(algorithm='transform')"
    assert_conv_close(y, x, w, b, numerics=Numerics(algorithm="transform"))
    assert complaint(y + 1, x, w, b, numerics=Numerics(algorithm="transform")).startswith("wrong: ")


def test_whole_numbers_that_are_too_large_are_rounded() -> None:
    """Sums beyond 2^24 have float32's tolerance; so have whole numbers that the declared arithmetic rounds."""
    x, w, b = (values.float() * 4099.0 for values in operands(LAYERS["plain"], "int32"))
    y = convolved(x, w, b)
    assert not torch.equal(y.double(), convolved(x.double(), w.double(), b.double()))
    assert_conv_close(y, x, w, b)
    x, w, b = (values.float() * 4099.0 for values in operands(LAYERS["plain"], "int32"))
    coarse = [round_to(values, 11) for values in (x, w)]
    assert_conv_close(convolved(*coarse, b), x, w, b, numerics=Numerics(inputs="tfloat32"))


def test_the_integer_dtypes_have_no_tolerance() -> None:
    """An integer off by one fails; sums wrap around as the dtype does."""
    x, w, b = operands(LAYERS["plain"], "int32")
    y = convolved(x, w, b)
    y[0, 1, 2, 3] += 1
    message = complaint(y, x, w, b)
    assert message.startswith(f"wrong: 1 of 336 elements, at [0, 1, 2, 3]: expected {int(y[0, 1, 2, 3]) - 1}, got {int(y[0, 1, 2, 3])}")
    big = x * 2**24
    assert_conv_close(convolved(big, w, b), big, w, b)


# -- what explains it ---------------------------------------------------------------------------------------------------


def round_to(values: Any, precision: int) -> Any:
    """Round float32 to fewer significant bits, ties away from zero, as a conversion to TF32 does."""
    dropped = 24 - precision
    bits = values.contiguous().view(torch.int32) + (1 << (dropped - 1))
    return (bits & -(1 << dropped)).view(torch.float32)


@pytest.mark.parametrize(("inputs", "precision", "model"), [("tfloat32", 11, "TF32 inputs"), ("bfloat16", 8, "bfloat16 inputs")])
def test_coarse_inputs_are_recognised(inputs: Any, precision: int, model: str) -> None:
    """Silently rounded inputs are named, because rounding the operands first gives this very output, and pass when declared."""
    x, w = drawn((1, 64, 9, 9), "float32", 1), drawn((8, 64, 3, 3), "float32", 2)
    y = convolved(round_to(x, precision), round_to(w, precision), padding=1)
    message = complaint(y, x, w, padding=1)
    assert message.startswith(f"imprecise ({model}): ")
    assert rows(message)["explained by"] == f"{model}: from operands rounded like that, the output is within the tolerance"
    assert rows(message)["to allow it"] == f"numerics=convfuzz.Numerics(inputs={inputs!r})"
    assert_conv_close(y, x, w, padding=1, numerics=Numerics(inputs=inputs))


def test_a_wrong_tap_is_not_called_rounding() -> None:
    """A dropped tap that a coarse model's bound covers is not blamed on it: the message says that it may be either."""
    x, w = drawn((1, 384, 13, 13), "float32", 1), drawn((16, 384, 3, 3), "float32", 2)
    less = w.clone()
    less[7, 5, 1, 2] = 0
    message = complaint(convolved(x, less, padding=1), x, w, padding=1)
    assert message.startswith("imprecise: ")
    assert "explained by" not in rows(message)
    assert rows(message)["covered by"].endswith("but operands rounded like that do not give this output")
    assert "wrong tap" in rows(message)["or it is"]


def test_what_the_message_proposes_passes() -> None:
    """Declared as proposed, sums in the 16-bit type itself pass."""
    x, w, b = operands(((4, 64, 40), (8, 64, 3), {}), "float16")
    total = torch.zeros(4, 8, 38, dtype=torch.float16)
    for channel in range(64):
        for tap in range(3):
            total += w[None, :, channel, tap, None] * x[:, channel, None, tap : tap + 38]
    total += b[:, None]
    proposed = rows(complaint(total, x, w, b))["to allow it"]
    assert proposed == "numerics=convfuzz.Numerics(accumulator='float16', bias='separate')"
    assert_conv_close(total, x, w, b, numerics=Numerics(accumulator="float16", bias="separate"))


def test_a_bias_may_be_added_to_the_rounded_sum() -> None:
    """In the 16-bit types a second operation may add the bias, unless one operation is declared."""
    x, w, b = operands(LAYERS["plain"], "bfloat16")
    y = convolved(x, w) + b[:, None, None]
    assert_conv_close(y, x, w, b)
    assert complaint(y, x, w, b, numerics=Numerics()).startswith("imprecise: ")


# -- data that somebody made up -----------------------------------------------------------------------------------------


def made_up(kind: str, shape: tuple[int, ...], dtype: str) -> Any:
    """Return what people fill test tensors with when they do not draw them."""
    count, to = int(np.prod(shape)), {"dtype": getattr(torch, dtype)}
    values = {
        "constant": torch.full((count,), 0.1, **to),
        "ramp": torch.linspace(-1, 1, count, **to),
        "falling": torch.linspace(1, -0.1, count, **to),
        "arange": torch.arange(count, **to),
        "wave": torch.sin(torch.linspace(0, 3, count, **to)),
    }
    return values[kind].reshape(shape)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "kinds", [("constant", "constant"), ("ramp", "ramp"), ("ramp", "falling"), ("arange", "arange"), ("wave", "falling")], ids="-".join
)
@pytest.mark.parametrize("channels", [64, 1024])
def test_ordered_data_pass(kinds: tuple[str, str], dtype: str, channels: int) -> None:
    """Constants and ramps, whose products come sorted or round all the same way, pass too."""
    x, w = (made_up(kind, shape, dtype) for kind, shape in zip(kinds, ((1, channels, 6, 6), (16, channels, 3, 3)), strict=True))
    assert_conv_close(convolved(x, w, padding=1), x, w, padding=1)


def test_ordered_data_defeat_the_statistical_bound() -> None:
    """A loop over the taps of ordered data is beyond the statistical bound, and passes; what no order explains fails."""
    x, w = (made_up(kind, shape, "float64").numpy() for kind, shape in (("ramp", (1, 1024, 8)), ("falling", (16, 1024, 3))))
    y = np.zeros((1, 16, 6))
    for channel in range(1024):
        for tap in range(3):
            y += w[None, :, channel, tap, None] * x[:, channel, None, tap : tap + 6]
    config = ConvConfig(dims=1, in_channels=1024, out_channels=16, input_size=(8,), kernel_size=(3,), dtype="float64")
    judgement = Judge(convfuzz.Case(config), Tensors(x, w, None)).judge(y, Numerics())
    assert (judgement.verdict.failing, judgement.proven) == (True, False)
    assert_conv_close(y, x, w)
    y[0, 0, 0] += 1e-6
    assert "no order of summation explains that" in complaint(y, x, w)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_ordered_data_pass_in_gradients(transposed: bool, batch: tuple[int, ...]) -> None:  # noqa: FBT001 - the case under test
    """Each gradient of ordered data passes, and wrong ones fail."""
    shapes = {"x": (*batch, 64, 16, 16), "w": (64, 64, 3, 3), "b": (64,)}
    x, w, b = (made_up("ramp" if name == "x" else "falling", shape, "float64").requires_grad_() for name, shape in shapes.items())
    y = convolved(x, w, b, transposed=transposed, padding=1)
    dy = made_up("falling", tuple(y.shape), "float64")
    found = dict(zip(("grad_input", "grad_weight", "grad_bias"), torch.autograd.grad(y, (x, w, b), dy), strict=True))
    assert_conv_close(y, x, w, b, transposed=transposed, padding=1)
    assert_conv_grads_close(found, x, w, dy, transposed=transposed, padding=1)
    for name, values in found.items():
        with pytest.raises(AssertionError, match=f"^{name} "):
            assert_conv_grads_close({name: values * 1.001}, x, w, dy, transposed=transposed, padding=1)


@pytest.mark.parametrize("in_pass", PASSES)
@pytest.mark.parametrize(
    "line",
    [
        "conv2d_n2_c4_o6_g2_i6x5_k3x2_s2x1_p1_d1x2_b_f64_grad",
        "conv2d_n-_c4_o6_g2_i6x5_k3_pmreflect_p1_b_f64_grad",
        "convt3d_n2_c2_o3_i3x4x2_k2_s2x1x3_op1x0x2_b_f64_grad",
    ],
)
def test_the_products_of_an_element_are_its_sum(line: str, in_pass: str) -> None:
    """What the plain loop adds up are the products of the element that it is for, in every pass."""
    case = convfuzz.Case.parse(line)
    tensors = make_tensors(case)
    expected = Judge(case, tensors).of(in_pass).expected
    places = np.array(list(np.ndindex(expected.y.shape)))[::7]
    for products in products_in_two_orders(case.config, tensors, in_pass, places):
        assert products.sum(axis=0) == pytest.approx(expected.y[tuple(places.T)], abs=1e-12)
        assert np.abs(products).sum(axis=0) == pytest.approx(expected.S[tuple(places.T)], abs=1e-12)


def test_drawn_data_keep_the_statistical_bound() -> None:
    """Coarse inputs of a long sum, which some order of summation would explain, fail on drawn data."""
    x, w = drawn((1, 384, 9, 9), "float32", 1), drawn((16, 384, 3, 3), "float32", 2)
    assert "beyond the statistical bound" in complaint(convolved(round_to(x, 11), round_to(w, 11)), x, w)


# -- the message --------------------------------------------------------------------------------------------------------


def test_the_message_is_complete() -> None:
    """A failure says verdict and reason, the layer as a line, every measure of the discrepancy, and the worst elements first."""
    # Of [0, 0, 1] and [0, 0, 3]: n = 2; S = 2.0625 and 2.625; Q = 2.1445 and 4.3906; so λ·u·√(…) is 1.083e-6 and 1.154e-6,
    # to which the output's rounding adds u·|y|: 1.23e-7 and 8.2e-8.
    x = np.array([[[1.5, 2.25, -0.75, 4.0, 0.5]]], dtype=np.float32)
    w = np.array([[[0.5, -1.25]]], dtype=np.float32)
    y = reference(ConvConfig(dims=1, in_channels=1, out_channels=1, input_size=(5,), kernel_size=(2,)), x, w).y.astype(np.float32)
    y[0, 0, 1] += 0.5
    y[0, 0, 3] += 0.25
    assert complaint(y, x, w).splitlines() == [
        "wrong: 2 of 4 elements are off, worst 4.14e+05 times the tolerance; no order of summation explains that",
        "",
        "case        conv1d_c1_o1_i5_k2_f32",
        "over        2 of 4 elements, all within [0, 0, 1:4]",
        "max-abs     0.5 at [0, 0, 1]: expected 2.0625, got 2.5625",
        "ULP         2.1e+06",
        "e/(u·S)     4.07e+06",
        "ratio       4.14e+05 times the tolerance, at [0, 0, 1]",
        "would need  atol=0.5 or rtol=0.243",
        "",
        "worst      expected  actual  |error|  tolerance  ratio",
        "[0, 0, 1]  2.0625    2.5625  0.5      1.21e-06   4.14e+05",
        "[0, 0, 3]  1.375     1.625   0.25     1.24e-06   2.02e+05",
        "",
        f"explained by  no arithmetic that convfuzz knows ({', '.join(name for name, change in MODELS.items() if change)})",
    ]


def test_the_case_can_be_pasted() -> None:
    """The line is that of the layer, with everything that the operands and the parameters say."""
    for name, layer in LAYERS.items():
        x, w, b = operands(layer)
        line = rows(complaint(convolved(x, w, b, **layer[2]) + 1, x, w, b, **layer[2]))["case"]
        config = convfuzz.Case.parse(line).config
        assert (config.input_shape, config.weight_shape, config.bias) == (tuple(x.shape), tuple(w.shape), True), name
        assert config.output_shape == tuple(convolved(x, w, b, **layer[2]).shape)


def test_what_would_be_needed_is_enough() -> None:
    """Either of the tolerances in the message, pasted, lets a fixed-tolerance test pass."""
    x, w, b = operands(LAYERS["plain"], "float64")
    y = convolved(x, w, b)
    for seed in range(5):
        off = y + 1e-3 * drawn(tuple(y.shape), "float64", 50 + seed)
        tolerances = dict(part.split("=") for part in rows(complaint(off, x, w, b))["would need"].split(" or "))
        np.testing.assert_allclose(off, y, atol=float(tolerances["atol"]), rtol=1e-15)
        np.testing.assert_allclose(off, y, atol=1e-15, rtol=float(tolerances["rtol"]))


def test_complex_parts_are_told_apart() -> None:
    """A place in a complex output names the part that is off."""
    x, w, b = operands(LAYERS["plain"], "complex64")
    y = convolved(x, w, b)
    y[1, 2, 3, 4] += 1j
    message = complaint(y, x, w, b)
    assert rows(message)["over"] == "1 of 672 elements"
    assert "\n[1, 2, 3, 4].imag  " in message


# -- what cannot be judged ----------------------------------------------------------------------------------------------

X, W, B = np.zeros((2, 8, 9, 9), np.float32), np.zeros((6, 4, 3, 3), np.float32), np.zeros(6, np.float32)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"groups": 3}, "groups=3 does not divide in_channels=8"),
        ({"groups": 0}, "groups=0 is less than 1"),
        ({"stride": (2, 0)}, "stride=(2, 0) is less than 1"),
        ({"stride": (2, 2, 2)}, "stride=(2, 2, 2) is not one whole number or 2 of them"),
        ({"dilation": 5}, "kernel extent 11 on axis 0 is larger than the padded input 9 (input 9, padding 0+0)"),
        ({"padding": "SAME"}, "padding='SAME' is not 'same', 'valid', a number, or 2 numbers or (lo, hi) pairs"),
        ({"padding_mode": "wrap"}, "padding_mode='wrap' is not one of zeros, reflect, replicate, circular"),
        ({"output_padding": 1}, "output_padding=1 without conv_transpose"),
        ({"groups": np.True_}, "groups=np.True_ is not a whole number"),
        ({"padding_mode": "zeors"}, "padding_mode='zeors' is not one of zeros, reflect, replicate, circular (closest: 'zeros')"),
        ({"data_format": "NHWC"}, "data_format='NHWC' is not one of channels_first, channels_last"),
        (
            {"groups": 1},
            "w has shape (6, 4, 3, 3), expected (6, 8, 3, 3): (out, in / groups, *kernel) for the 8 channels of x and groups=1",
        ),
        (
            {"transposed": True},
            "w has shape (6, 4, 3, 3), expected (8, 4, 3, 3): (in, out / groups, *kernel) for the 8 channels of x and groups=2",
        ),
        ({"b": B[:5]}, "b has shape (5,), expected (6,): one number for each output channel"),
        ({"x": X[0, 0]}, "x has shape (9, 9), and w of shape (6, 4, 3, 3) makes the layer 2-D: expected (N, C, *spatial) or unbatched"),
        ({"w": W[0, 0]}, "w has shape (3, 3): a weight has one, two or three spatial axes and two of channels"),
        ({"w": W.astype(np.float64)}, "w is float64 and x is float32: an operand has the dtype of x"),
        ({"b": [0, 0, 0, 0, 0, 0]}, "b is int64 and x is float32: an operand has the dtype of x"),
        ({"x": X.astype(np.uint8)}, "x is uint8: expected one of float64, float32, "),
    ],
)
def test_no_convolution(changed: dict[str, Any], said: str) -> None:
    """What is no convolution is refused as a ValueError that names the value and the rule."""
    given: dict[str, Any] = {"x": X, "w": W, "b": B, "groups": 2} | changed
    with pytest.raises(convfuzz.InvalidConfig) as raised:
        assert_conv_close(np.zeros((2, 6, 7, 7), np.float32), given.pop("x"), given.pop("w"), given.pop("b"), **given)
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize("name", ["actual", "x", "w"])
@pytest.mark.parametrize(("value", "said"), [(None, "None"), (object(), "of type object"), ({"y": 1}, "of type dict")])
def test_no_array(name: str, value: Any, said: str) -> None:
    """What is no array is refused by name; ``None`` is never taken for an array that need not be compared."""
    given = {"actual": np.zeros((2, 6, 7, 7), np.float32), "x": X, "w": W} | {name: value}
    with pytest.raises(TypeError, match=rf"^{name} is {said}, not an array of numbers$"):
        assert_conv_close(**given, groups=2)


@pytest.mark.parametrize(
    ("actual", "kind", "said"),
    [
        ({}, convfuzz.InvalidConfig, "actual holds nothing: expected any of grad_input, grad_weight, grad_bias"),
        ({"weight": W}, convfuzz.InvalidConfig, "actual holds 'weight': expected any of grad_input, grad_weight, grad_bias"),
        ({"grad_weight": None}, TypeError, "actual['grad_weight'] is None, not an array of numbers"),
        (W, TypeError, "actual is of type ndarray, not a mapping such as {'grad_weight': w.grad}"),
    ],
)
def test_no_gradients(actual: Any, kind: type[Exception], said: str) -> None:
    """An assertion about gradients that compares nothing, or something else, is refused."""
    with pytest.raises(kind) as raised:
        assert_conv_grads_close(actual, X, W, np.zeros((2, 6, 7, 7), np.float32), groups=2)
    assert str(raised.value) == said


def test_gradients_need_the_outputs() -> None:
    """The output's gradient has the output's shape, and integers have no gradients."""
    with pytest.raises(convfuzz.InvalidConfig, match=r"^dy has shape \(2, 6, 9, 9\), expected \(2, 6, 7, 7\): as the output has$"):
        assert_conv_grads_close({"grad_weight": W}, X, W, np.zeros((2, 6, 9, 9), np.float32), groups=2)
    x, w, dy = (values.astype(np.int32) for values in (X, W, np.zeros((2, 6, 7, 7))))
    with pytest.raises(convfuzz.InvalidConfig, match=r"^x is int32: a convolution of integers has no gradients$"):
        assert_conv_grads_close({"grad_weight": w}, x, w, dy, groups=2)


def test_pytest_shows_the_callers_line(tmp_path: Path) -> None:
    """A failure in pytest is the caller's line and the message, without a frame of this library."""
    suite = tmp_path / "test_layer.py"
    suite.write_text(
        "import numpy as np\nimport convfuzz\n\n"
        "def test_layer():\n"
        "    x, w = np.ones((1, 1, 5, 5), np.float32), np.ones((1, 1, 3, 3), np.float32)\n"
        "    convfuzz.assert_conv_close(np.zeros((1, 1, 3, 3), np.float32), x, w)\n"
    )
    run = subprocess.run([sys.executable, "-m", "pytest", suite.name], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert ">       convfuzz.assert_conv_close(np.zeros((1, 1, 3, 3), np.float32), x, w)" in run.stdout
    assert "E       AssertionError: wrong: integers off by 9: a tap is missing, doubled or misplaced" in run.stdout
    assert "asserting.py" not in run.stdout
