"""The gradients of a user's kernel: by a function of its own, by autograd, or none; and the operations and dtypes it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import convfuzz
from convfuzz import Case, ConvConfig, backend
from convfuzz.oracle import gradients as exact_gradients
from convfuzz.record.events import BackendEnded
from convfuzz.tensors.generator import Array, make_tensors

from .fakes import Spy

LINE = "conv2d_n2_c4_o6_g2_i7_k3_s2_p1_b_f32_grad@integers.1"
PASSES = {"forward", "grad_input", "grad_weight", "grad_bias"}


def right(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Return the exact sum in the dtype of the input."""
    return convfuzz.reference(config, x, w, b).y.astype(x.dtype)


def right_gradients(x: Array, w: Array, b: Array | None, dy: Array, config: ConvConfig) -> tuple[Array, ...]:
    """Return the exact gradients to input and weight, and to the bias where there is one."""
    found = exact_gradients(config, x, w, dy)
    names = ("grad_input", "grad_weight", *(() if b is None else ("grad_bias",)))
    return tuple(found[name].y.astype(x.dtype) for name in names)


def verdict_of(kernel: Callable[..., Any], line: str = LINE) -> BackendEnded:
    """Check one kernel on one case."""
    (result,) = convfuzz.check(line, [kernel]).results
    return result


# -- a function of its own --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", [LINE, LINE.replace("_b_", "_"), LINE.replace("f32", "bf16"), "conv1d_n-_c2_o3_i5_k3_b_f64_nc_grad@integers.2"]
)
def test_gradients_of_a_function_are_judged(line: str) -> None:
    """A kernel that declares a backward function has every gradient judged, with a bias and without one."""

    @backend(gradients=right_gradients)
    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        return right(x, w, b, config)

    result = verdict_of(kernel, line)
    assert (result.verdict, set(result.discrepancies)) == ("agree", set(Case.parse(line).passes))


def test_the_function_is_handed_the_case_s_operands() -> None:
    """The backward function sees the kernel's own operands and the output's gradient, in the case's dtype and layout."""
    seen: list[Any] = []

    def gradients(x: Array, w: Array, b: Array | None, dy: Array, config: ConvConfig) -> tuple[Array, ...]:
        seen.append(
            (
                config,
                {name: (a.dtype.name, a.strides, a.tobytes()) for name, a in (("x", x), ("w", w), ("b", b), ("dy", dy)) if a is not None},
            )
        )
        return right_gradients(x, w, b, dy, config)

    @backend(gradients=gradients)
    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        return right(x, w, b, config)

    case = Case.parse("conv2d_n2_c4_o6_g2_i7_k3_b_bf16_cl_wtr_grad@normal.1")
    convfuzz.check(case, [kernel])
    made = {name: (a.dtype.name, a.strides, a.tobytes()) for name, a in make_tensors(case).named().items()}
    assert seen[0] == (case.config, made)


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_a_wrong_gradient_of_a_function_is_wrong_in_its_pass(wrong: int) -> None:
    """Whichever gradient the function gets wrong is the pass that is reported."""

    def gradients(x: Array, w: Array, b: Array | None, dy: Array, config: ConvConfig) -> list[Array]:
        return [g + (i == wrong) for i, g in enumerate(right_gradients(x, w, b, dy, config))]

    @backend(gradients=gradients)
    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        return right(x, w, b, config)

    result = verdict_of(kernel)
    assert (result.verdict, result.in_pass, result.also) == ("wrong", ("grad_input", "grad_weight", "grad_bias")[wrong], {})


@pytest.mark.parametrize(
    ("returned", "verdict", "reason"),
    [
        (lambda g: g[:2], "error", "gradients returned tuple, expected a tuple of grad_input, grad_weight, grad_bias"),
        (lambda g: {"x": g[0]}, "error", "gradients returned dict, expected a tuple of grad_input, grad_weight, grad_bias"),
        (lambda g: g[0], "error", "gradients returned ndarray, expected a tuple of grad_input, grad_weight, grad_bias"),
        (lambda _: None, "error", "gradients returned NoneType, expected a tuple of grad_input, grad_weight, grad_bias"),
        (lambda g: (*g[:2], None), "error", "returned None instead of an array"),
        (lambda g: (g[1], g[0], g[2]), "wrong-shape", "shape (6, 2, 3, 3), expected (2, 4, 7, 7)"),
        (lambda g: (g[0].astype(np.float64), *g[1:]), "wrong-dtype", "dtype float64, expected float32"),
        (list, "agree", ""),
        (lambda g: (*g, "and more"), "agree", ""),
    ],
)
def test_what_a_backward_function_returns(returned: Callable[[Any], Any], verdict: str, reason: str) -> None:
    """Too few gradients, or no tuple, are an error that says what was expected; each gradient is judged as any output."""

    def gradients(x: Array, w: Array, b: Array | None, dy: Array, config: ConvConfig) -> Any:
        return returned(right_gradients(x, w, b, dy, config))

    @backend(gradients=gradients)
    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        return right(x, w, b, config)

    result = verdict_of(kernel)
    assert result.verdict == verdict
    assert reason in result.reason


def test_a_backward_function_that_raises_is_an_error() -> None:
    """An exception of the backward function is the kernel's."""

    def gradients(*operands: Any) -> Any:
        raise ZeroDivisionError("in the backward pass")

    @backend(gradients=gradients)
    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        return right(x, w, b, config)

    result = verdict_of(kernel)
    assert (result.verdict, result.reason) == ("error", "ZeroDivisionError: in the backward pass")


def test_a_backward_function_that_writes_the_output_s_gradient_is_caught() -> None:
    """The output's gradient is an input too."""

    def gradients(x: Array, w: Array, b: Array | None, dy: Array, config: ConvConfig) -> tuple[Array, ...]:
        found = right_gradients(x, w, b, dy, config)
        dy *= 2
        return found

    @backend(gradients=gradients)
    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        return right(x, w, b, config)

    result = verdict_of(kernel)
    assert (result.verdict, result.reason) == ("corrupted-input", "changed its input dy")


def test_a_kernel_with_an_output_array_may_have_gradients() -> None:
    """``out`` and a backward function go together."""

    @backend(out=True, gradients=right_gradients)
    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig, out: Array) -> None:
        out[...] = right(x, w, b, config)

    result = verdict_of(kernel)
    assert (result.verdict, set(result.discrepancies)) == ("agree", PASSES)


@pytest.mark.parametrize("tensors", ["torch", "tensorflow"])
def test_a_backward_function_is_handed_the_framework_s_tensors(tensors: Any) -> None:
    """The backward function of a kernel on a framework's tensors gets them too, and may return them."""
    framework = pytest.importorskip(tensors, reason="the kernel declares its tensors")

    def gradients(x: Any, w: Any, b: Any, dy: Any, config: ConvConfig) -> Any:
        assert isinstance(dy, framework.Tensor)
        found = right_gradients(x.numpy(), w.numpy(), b.numpy(), dy.numpy(), config)
        return [framework.as_tensor(g) if tensors == "torch" else framework.convert_to_tensor(g) for g in found]

    @backend(tensors=tensors, gradients=gradients)
    def kernel(x: Any, w: Any, b: Any, config: ConvConfig) -> Any:
        return right(x.numpy(), w.numpy(), b.numpy(), config)

    result = verdict_of(kernel)
    assert (result.verdict, set(result.discrepancies)) == ("agree", PASSES)


# -- autograd ---------------------------------------------------------------------------------------------------------


def convolution(x: Any, w: Any, b: Any, config: ConvConfig) -> Any:
    """Convolve by PyTorch."""
    functional = pytest.importorskip("torch", reason="autograd is PyTorch's").nn.functional
    name = f"conv{config.dims}d" if config.op == "conv" else f"conv_transpose{config.dims}d"
    padding = tuple(lo for lo, _ in config.pads)
    return getattr(functional, name)(x, w, b, stride=config.stride, padding=padding, dilation=config.dilation, groups=config.groups)


@pytest.mark.parametrize("dtype", ["f64", "f32", "c64", "c128"])
@pytest.mark.parametrize("layer", ["conv2d_n2_c4_o6_g2_i7_k3_s2_p1_b", "convt1d_n2_c4_o6_i7_k3_s2", "conv1d_n-_c2_o3_i5_k3_b"])
def test_gradients_of_a_torch_kernel_are_autograd_s(layer: str, dtype: str) -> None:
    """A kernel on torch tensors has its gradients from autograd, with nothing declared, and exact on integers."""

    @backend(tensors="torch", dtypes=("float64", "float32", "complex64", "complex128"))
    def kernel(x: Any, w: Any, b: Any, config: ConvConfig) -> Any:
        return convolution(x, w, b, config)

    case = Case.parse(f"{layer}_{dtype}_grad@integers.1")
    result = verdict_of(kernel, str(case))
    assert (result.verdict, set(result.discrepancies)) == ("agree", set(case.passes))
    assert {float(found.max_abs) for found in result.discrepancies.values()} == {0.0}


@pytest.mark.parametrize("in_pass", ["grad_input", "grad_weight", "grad_bias"])
def test_a_wrong_backward_pass_of_autograd_is_found(in_pass: str) -> None:
    """A kernel whose forward pass is right and whose own backward is not is wrong in that gradient."""
    torch = pytest.importorskip("torch", reason="autograd is PyTorch's")

    class Layer(torch.autograd.Function):  # type: ignore[misc,name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any, w: Any, b: Any, stride: Any, groups: int) -> Any:
            ctx.save_for_backward(x, w)
            ctx.parameters = stride, groups
            return torch.nn.functional.conv2d(x, w, b, stride=stride, groups=groups)

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            x, w = ctx.saved_tensors
            stride, groups = ctx.parameters
            found = {
                "grad_input": torch.nn.grad.conv2d_input(x.shape, w, dy, stride=stride, groups=groups),
                "grad_weight": torch.nn.grad.conv2d_weight(x, w.shape, dy, stride=stride, groups=groups),
                "grad_bias": dy.sum((0, 2, 3)),
            }
            found[in_pass] = found[in_pass].flip(0)
            return (*found.values(), None, None)

    @backend(tensors="torch")
    def kernel(x: Any, w: Any, b: Any, config: ConvConfig) -> Any:
        return Layer.apply(x, w, b, config.stride, config.groups)

    result = verdict_of(kernel, "conv2d_n2_c4_o6_g2_i7_k3_s2_b_f32_grad@integers.1")
    assert (result.verdict, result.in_pass) == ("wrong", in_pass)
    assert result.discrepancies["forward"].max_abs == 0.0


def test_an_operand_that_autograd_never_saw_has_a_zero_gradient() -> None:
    """A kernel that uses an operand behind autograd's back is wrong in its gradient, not in error."""

    @backend(tensors="torch")
    def kernel(x: Any, w: Any, b: Any, config: ConvConfig) -> Any:
        return convolution(x, w, b.detach(), config)

    result = verdict_of(kernel)
    assert (result.verdict, result.in_pass) == ("wrong", "grad_bias")


def into_an_output(x: Any, w: Any, b: Any, config: ConvConfig) -> Any:
    """Convolve by an operation that writes to a tensor of its own, which autograd refuses to follow."""
    torch = pytest.importorskip("torch", reason="autograd is PyTorch's")
    y = convolution(x, w, b, config)
    return torch.add(y, 0, out=torch.empty_like(y, requires_grad=False))


@pytest.mark.parametrize(
    "kernel",
    [
        lambda x, w, b, config: convolution(x, w, b, config).detach(),
        lambda x, w, b, config: convolution(x, w, b, config).detach().numpy(),
        lambda x, w, b, config: convolution(x, w, b, config).numpy(),
        lambda x, w, b, config: right(x.numpy(), w.numpy(), b.numpy(), config),
        into_an_output,
    ],
    ids=["detached", "detached NumPy", "NumPy", "NumPy from the start", "out="],
)
def test_a_kernel_that_is_not_differentiable_is_judged_forward(kernel: Callable[..., Any]) -> None:
    """A torch kernel that autograd does not get through is judged on its forward pass alone."""
    found = verdict_of(backend(tensors="torch")(kernel))
    assert (found.verdict, set(found.discrepancies)) == ("agree", {"forward"})


def test_an_error_of_the_kernel_is_no_matter_of_its_gradients() -> None:
    """A kernel that raises with gradients and without them is in error."""

    @backend(tensors="torch")
    def kernel(x: Any, w: Any, b: Any, config: ConvConfig) -> Any:
        raise RuntimeError("out of luck")

    result = verdict_of(kernel)
    assert (result.verdict, result.reason) == ("error", "RuntimeError: out of luck")


def test_autograd_leaves_nothing_behind() -> None:
    """The next backend is handed tensors that no graph knows of, and the arrays are as they were."""
    torch = pytest.importorskip("torch", reason="autograd is PyTorch's")
    seen: list[bool] = []

    @backend(tensors="torch")
    def kernel(x: Any, w: Any, b: Any, config: ConvConfig) -> Any:
        seen.append(x.requires_grad)
        return convolution(x, w, b, config)

    spy = Spy()
    assert [r.verdict for r in convfuzz.check(LINE, [kernel, spy]).results] == ["agree", "agree"]
    assert verdict_of(kernel, LINE.replace("_grad", "")).verdict == "agree"
    assert seen[0]
    assert not seen[-1]
    pristine = make_tensors(Case.parse(LINE)).named()
    assert {n: a.tobytes() for n, a in spy.seen[0][1].named().items()} == {n: a.tobytes() for n, a in pristine.items()}
    assert torch.is_grad_enabled()


# -- none -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ({}, "no gradients are declared"),
        ({"gradients": False}, "gradients=False is declared"),
        ({"tensors": "torch", "gradients": False}, "gradients=False is declared"),
        ({"tensors": "torch", "out": True}, "no gradients are declared"),
        ({"tensors": "tensorflow"}, "no gradients are declared"),
    ],
)
def test_a_kernel_without_gradients_declines_them(declared: dict[str, Any], reason: str) -> None:
    """Where no gradients can be had, they are declined for a reason, and the forward pass is not."""

    @backend(**declared)
    def kernel(x: Any, w: Any, b: Any, config: ConvConfig) -> Any:
        return right(x, w, b, config)

    wrapped = convfuzz.backends.kernels.backend.KernelBackend("kernel", kernel)
    assert wrapped.supports(Case.parse(LINE)).reason == reason
    assert wrapped.supports(Case.parse(LINE.replace("_grad", "")))


def test_a_numpy_kernel_is_judged_on_its_forward_pass() -> None:
    """A plain function is asked for its forward pass when a case wants gradients."""
    result = verdict_of(right)
    assert (result.verdict, set(result.discrepancies)) == ("agree", {"forward"})


# -- operations and dtypes --------------------------------------------------------------------------------------------


def test_a_kernel_that_never_asks_for_the_operation_is_not_blamed_for_it() -> None:
    """A kernel written for forward convolutions is not judged on transposed ones, unless it says that it computes them."""

    def forward_only(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        return np.zeros(config.output_shape, x.dtype)

    line = "convt2d_n2_c3_o4_i5_k3_f32@integers.1"
    result = verdict_of(forward_only, line)
    assert (result.verdict, result.reason) == ("unsupported", "the kernel never asks for config.op: it computes forward convolutions only")
    assert verdict_of(backend(ops=("conv",))(forward_only), line).reason == "operation conv_transpose"
    declared = backend(ops=("conv", "conv_transpose"))(forward_only)
    assert verdict_of(declared, line).verdict == "wrong"
    assert verdict_of(declared, "conv2d_n2_c3_o4_i5_k3_f32@integers.1").verdict == "wrong"


def test_a_kernel_that_asks_for_the_operation_is_judged_on_both() -> None:
    """A kernel that looks at ``config.op`` computes transposed layers too."""

    def both(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        assert config.op in ("conv", "conv_transpose")
        return right(x, w, b, config)

    for op in ("conv", "convt"):
        assert verdict_of(both, f"{op}2d_n2_c3_o4_i5_k3_f32@integers.1").verdict == "agree"


@pytest.mark.parametrize("dtype", ["c64", "c128", "i8", "i32", "i64"])
def test_dtypes_beyond_floating_point_are_asked_for(dtype: str) -> None:
    """A kernel computes the floating-point dtypes unless it declares others, complex and integer ones among them."""
    name = Case.parse(f"conv1d_c1_o1_i1_k1_{dtype}").config.dtype
    line = f"conv2d_n2_c3_o4_i5_k3_b_{dtype}@integers.1"
    assert verdict_of(right, line).reason == f"dtype {name}"

    @backend(dtypes=(name,))
    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        y = convfuzz.reference(config, x, w, b).y
        return y.astype(x.dtype) if x.dtype.kind == "i" else (y[..., 0] + 1j * y[..., 1]).astype(x.dtype)

    assert verdict_of(kernel, line).verdict == "agree"
