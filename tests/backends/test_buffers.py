"""The memory that a kernel is handed: overruns are found and named, outputs are filled whole, axes are in the kernel's own order."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import convfuzz
from convfuzz import Case, ConvConfig, InvalidConfig, backend
from convfuzz.backends.kernels.axes import axes_of
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.checking.checker import Checker
from convfuzz.record.events import BackendEnded
from convfuzz.tensors.generator import make_tensors
from convfuzz.tensors.guards import Guards

from .test_kernel_gradients import right_gradients

Array = npt.NDArray[Any]
LINE = "conv2d_n2_c4_o6_g2_i7x5_k3x2_b_f32@integers.1"
LAYOUTS = ("", "_cl", "_nc", "_of", "_tr", "_ex", "_ls")


def right(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Return the exact sum in the dtype of the input."""
    return convfuzz.reference(config, x, w, b).y.astype(x.dtype)


def verdict_of(kernel: Callable[..., Any], line: str = LINE) -> BackendEnded:
    """Check one kernel on one case."""
    (result,) = convfuzz.check(line, [kernel]).results
    return result


def poke(array: Array, offset: int) -> None:
    """Write a float at an offset in bytes from an array's first element."""
    ctypes.memmove(array.ctypes.data + offset, np.float32(1).tobytes(), 4)


# -- overruns -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "offset", "said"),
    [
        ("x", -4, "wrote 4 bytes before the beginning of x, at offset -4"),
        ("w", 6 * 2 * 3 * 2 * 4, "wrote 4 bytes beyond the end of w, at offset 0 behind it"),
        ("b", 6 * 4 + 8, "wrote 4 bytes beyond the end of b, at offset 8 behind it"),
        ("out", -12, "wrote 4 bytes before the beginning of out, at offset -12"),
        ("out", 2 * 6 * 5 * 4 * 4, "wrote 4 bytes beyond the end of out, at offset 0 behind it"),
    ],
)
def test_a_write_beside_an_array_is_named(name: str, offset: int, said: str) -> None:
    """The finding says which array, which side, how many bytes and where; the process lives."""

    @backend(out=True)
    def kernel(x: Array, w: Array, b: Array, config: ConvConfig, out: Array) -> None:
        out[...] = right(x, w, b, config)
        poke({"x": x, "w": w, "b": b, "out": out}[name], offset)

    result = verdict_of(kernel)
    assert (result.verdict, result.reason) == ("corrupted-input", said)


def test_a_changed_operand_and_a_write_beside_one_are_both_said() -> None:
    """Operands are compared as before, though they are copies."""

    @backend()
    def kernel(x: Array, w: Array, b: Array, config: ConvConfig) -> Array:
        y = right(x, w, b, config)
        x[0, 0, 0, 0] += 1
        poke(w, -4)
        return y

    result = verdict_of(kernel)
    assert result.reason == "changed its input x; wrote 4 bytes before the beginning of w, at offset -4"


def test_without_guards_a_kernel_is_handed_the_operands_themselves() -> None:
    """``guards=False`` makes no copies: two calls see the same memory."""
    seen = []

    @backend(guards=False)
    def kernel(x: Array, w: Array, b: Array, config: ConvConfig) -> Array:
        seen.append(x.ctypes.data)
        return right(x, w, b, config)

    tensors = make_tensors(Case.parse(LINE))
    for _ in range(2):
        KernelBackend("k", kernel).run(Case.parse(LINE), tensors)
    assert seen == [tensors.x.ctypes.data] * 2
    assert KernelBackend("k", kernel).buffer_needs is None


@pytest.mark.parametrize("layout", LAYOUTS)
def test_operands_keep_what_the_case_line_says(layout: str) -> None:
    """Guarded copies have the strides of the case's layout."""
    line = LINE.replace("@", f"{layout}@")
    strides = []

    @backend()
    def kernel(x: Array, w: Array, b: Array, config: ConvConfig) -> Array:
        strides.append([x.strides, w.strides, b.strides])
        return right(x, w, b, config)

    assert verdict_of(kernel, line).verdict == "agree"
    tensors = make_tensors(Case.parse(line))
    assert strides[0] == [array.strides for array in tensors.named().values()]


def test_alignment_is_given_and_a_layout_without_it_is_declined() -> None:
    """A kernel that asks for 64 bytes gets operands that begin at multiples of them."""

    @backend(alignment=64)
    def kernel(x: Array, w: Array, b: Array, config: ConvConfig) -> Array:
        assert all(array.ctypes.data % 64 == 0 for array in (x, w, b))
        return right(x, w, b, config)

    assert verdict_of(kernel).verdict == "agree"
    declined = verdict_of(kernel, LINE.replace("@", "_of@"))
    assert declined.verdict == "unsupported"
    assert declined.reason == "x is not aligned to 64 bytes in this memory layout, as alignment=64 asks"


@pytest.mark.parametrize("depends_on", ["place", "call"])
def test_a_sum_that_depends_on_where_operands_lie_is_no_nondeterminism(depends_on: str) -> None:
    """The second call has its operands elsewhere; what differs from call to call at one place is nondeterministic all the same."""
    calls = []

    @backend()
    def kernel(x: Array, w: Array, b: Array, config: ConvConfig) -> Array:
        calls.append(x.ctypes.data % 4096)
        y = right(x, w, b, config)
        is_other = bool(calls[-1]) if depends_on == "place" else len(calls) % 2
        return np.nextafter(y, np.float32(np.inf)) if is_other else y

    results = Checker([KernelBackend("k", kernel)], repeat_one_in=1, guards=Guards()).events(Case.parse(LINE.replace("integers", "normal")))
    (ended,) = [event for event in results if isinstance(event, BackendEnded)]
    assert len({*calls}) > 1
    assert ended.verdict == ("agree" if depends_on == "place" else "nondeterministic")


# -- the output -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "f64", "i32"])
def test_elements_that_were_never_written_are_counted(dtype: str) -> None:
    """The reason says how many, of how many, and the first."""

    @backend(out=True, dtypes=("float32", "float16", "bfloat16", "float64", "int32"))
    def kernel(x: Array, w: Array, b: Array, config: ConvConfig, out: Array) -> None:
        out[:, 1:] = right(x, w, b, config)[:, 1:]
        out[0, 0, 0, 0] = right(x, w, b, config)[0, 0, 0, 0]

    result = verdict_of(kernel, LINE.replace("f32", dtype))
    assert result.verdict in ("non-finite", "wrong")
    assert "39 of 240 elements were never written, the first at (0, 0, 0, 1)" in result.reason


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_strided_output_lies_as_the_case_does(layout: str) -> None:
    """Its strides are those of the layout, and what lies in its gaps is looked at too."""
    line = LINE.replace("@", f"{layout}@")
    strides = []

    @backend(out="strided")
    def kernel(x: Array, w: Array, b: Array, config: ConvConfig, out: Array) -> None:
        strides.append(out.strides)
        out[...] = right(x, w, b, config)

    assert verdict_of(kernel, line).verdict == "agree"
    assert (strides[0] == right(*make_tensors(Case.parse(line)).named().values(), Case.parse(line).config).strides) == (
        layout in ("", "_of", "_ex", "_ls")
    )


def test_a_kernel_that_takes_a_strided_output_for_contiguous_is_found() -> None:
    """It writes into the gaps."""

    @backend(out="strided")
    def kernel(x: Array, w: Array, b: Array, config: ConvConfig, out: Array) -> None:
        y = np.ascontiguousarray(right(x, w, b, config))
        ctypes.memmove(out.ctypes.data, y.ctypes.data, y.nbytes)

    result = verdict_of(kernel, LINE.replace("@", "_nc@"))
    assert result.verdict == "corrupted-input"
    assert "between the elements of out" in result.reason


# -- axes -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "line",
    [
        "conv1d_n2_c2_o3_i5_k2_b_f32_grad@integers.1",
        LINE.replace("@", "_grad@"),
        "conv2d_n-_c2_o3_i5x4_k2x3_b_f32_grad@integers.1",
        "conv3d_n2_c2_o3_i5x4x3_k2x3x1_b_f32_grad@integers.1",
        "convt2d_n2_c4_o6_g2_i4x5_k2x3_s2_b_f32_grad@integers.1",
    ],
)
def test_a_kernel_gets_its_own_order_of_axes(line: str, layout: str) -> None:
    """Input, weight and output's gradient come in it, contiguous where the case is; the results go back."""
    line = line.replace("_grad", f"{layout}_grad")
    config = Case.parse(line).config
    axes = {"x": (0, *range(2, config.dims + 2), 1), "w": (*range(2, config.dims + 2), 1, 0)}
    if config.batch is None:
        axes["x"] = (*range(1, config.dims + 1), 0)
    if config.op == "conv_transpose":
        axes["w"] = (*range(2, config.dims + 2), 0, 1)
    back = {name: np.argsort(order) for name, order in axes.items()}

    def gradients(x: Array, w: Array, b: Array, dy: Array, config: ConvConfig) -> tuple[Array, ...]:
        operands = x.transpose(back["x"]), w.transpose(back["w"]), b, dy.transpose(back["x"])
        dx, dw, db = right_gradients(*operands, config)
        return dx.transpose(axes["x"]), dw.transpose(axes["w"]), db

    @backend(layout="N...C", weight_layout="...IO", ops=("conv", "conv_transpose"), gradients=gradients, out="strided")
    def kernel(x: Array, w: Array, b: Array, config: ConvConfig, out: Array) -> None:
        assert x.flags.c_contiguous or layout
        assert w.flags.c_contiguous or layout
        assert x.shape == tuple(config.input_shape[axis] for axis in axes["x"])
        out[...] = right(x.transpose(back["x"]), w.transpose(back["w"]), b, config).transpose(axes["x"])

    result = verdict_of(kernel, line)
    assert result.verdict == "agree", result.reason
    assert set(result.discrepancies) == {"forward", "grad_input", "grad_weight", "grad_bias"}


def test_autograd_s_gradients_go_back_too() -> None:
    """A kernel on torch tensors in NHWC and OHWI has its gradients by autograd."""
    torch = pytest.importorskip("torch", reason="the kernel declares torch's tensors")

    @backend(tensors="torch", layout="NHWC", weight_layout="OHWI")
    def kernel(x: Any, w: Any, b: Any, config: ConvConfig) -> Any:
        y = torch.nn.functional.conv2d(x.permute(0, 3, 1, 2), w.permute(0, 3, 1, 2), b, groups=config.groups)
        return y.permute(0, 2, 3, 1)

    result = verdict_of(kernel, LINE.replace("@", "_grad@"))
    assert result.verdict == "agree", result.reason
    assert set(result.discrepancies) == {"forward", "grad_input", "grad_weight", "grad_bias"}


def test_a_wrong_order_of_axes_is_found() -> None:
    """A result that is left in N, C, H, W has a wrong shape, or wrong elements where that does not tell."""

    @backend(layout="NHWC")
    def kernel(x: Array, w: Array, b: Array, config: ConvConfig) -> Array:
        return right(x.transpose(0, 3, 1, 2), w, b, config)

    assert verdict_of(kernel).verdict == "wrong-shape"
    assert verdict_of(kernel, "conv2d_c2_o3_i5_k3_f32@integers.1").verdict == "wrong"


@pytest.mark.parametrize(
    ("layout", "weight_layout", "line", "axes"),
    [
        ("NHWC", "OIHW", LINE, {"x": (0, 2, 3, 1), "dy": (0, 2, 3, 1)}),
        ("NCHW", "HWIO", LINE, {"w": (2, 3, 1, 0)}),
        ("N...C", "O...I", "conv1d_c2_o3_i5_k2_f32", {"x": (0, 2, 1), "dy": (0, 2, 1), "w": (0, 2, 1)}),
        (None, "HWOI", "convt2d_c2_o3_i5_k2_f32", {"w": (2, 3, 1, 0)}),
        (None, "IOHW", "convt2d_c2_o3_i5_k2_f32", {}),
        ("NHWC", None, "conv2d_n-_c2_o3_i5_k2_f32", {"x": (1, 2, 0), "dy": (1, 2, 0)}),
    ],
)
def test_orders_of_axes(layout: str | None, weight_layout: str | None, line: str, axes: dict[str, tuple[int, ...]]) -> None:
    """Letters name axes; in a transposed convolution the input channels come first in PyTorch's order."""
    assert axes_of(Case.parse(line).config, layout, weight_layout) == axes


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layout": "NHCW2"}, "layout='NHCW2' is no order of axes, such as 'NHWC'"),
        ({"layout": "channels_last"}, "how an operand lies in memory is layouts=('channels_last',)"),
        ({"layout": 2}, "layout=2 is no order of axes"),
        ({"weight_layout": "HWC"}, "weight_layout='HWC' is no order of axes, such as 'OHWI', 'HWIO', 'OIHW' or 'O...I'"),
        ({"layout": "NHWC", "dims": (1,)}, "layout='NHWC' is for dims=(2,), and the other options are for dims=(1,)"),
        ({"layout": "NHWC", "weight_layout": "OWI"}, "weight_layout='OWI' is for dims=(1,), and the other options are for dims=(2,)"),
        ({"out": "stride"}, "out='stride' is not True or False, nor 'strided'"),
        ({"alignment": 48}, "alignment=48 is not a power of two from 1 to 4096: bytes, such as 64"),
        ({"alignment": True}, "alignment=True is not a power of two"),
        ({"extra_bytes": -1}, "extra_bytes=-1 is not a number of bytes from 0 to 4096, such as 16"),
        ({"guards": 1}, "guards=1 is not True or False"),
    ],
)
def test_options_are_checked(options: dict[str, Any], said: str) -> None:
    """Each says its value and what is allowed, when it is given."""
    with pytest.raises(InvalidConfig) as raised:
        backend(**options)
    assert said in str(raised.value)
