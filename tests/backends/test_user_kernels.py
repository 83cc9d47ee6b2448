"""A user's kernel through ``convfuzz.check``: what it is handed, what it may declare, and which verdict each mistake gets."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import convfuzz
from convfuzz import Case, ConvConfig, Numerics, Unsupported, backend
from convfuzz.errors import InvalidConfig
from convfuzz.record.events import BackendEnded
from convfuzz.tensors.generator import Array, make_tensors

from .fakes import Spy

LINE = "conv2d_n2_c2_o3_i5_k3_b_f32@integers.1"
INVALID = "conv2d_c2_o3_i2_k3_f32@integers.1"


def right(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Return the exact sum in the dtype of the input."""
    return convfuzz.reference(config, x, w, b).y.astype(x.dtype)


def verdict_of(kernel: Callable[..., Any], line: str = LINE) -> BackendEnded:
    """Check one kernel on one case."""
    (result,) = convfuzz.check(line, [kernel]).results
    return result


def test_numpy_does_not_warn_of_the_numbers_that_a_case_asks_for() -> None:
    """A kernel that adds Inf and −Inf as it should has no error where warnings are errors."""

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        return (x[:, :1] * w[0, 0] + x[:, 1:] * w[0, 1]).astype(x.dtype)

    assert verdict_of(kernel, "conv1d_c2_o1_i1_k1_f32@x0=inf_x1=-inf_w0=1_w1=1").verdict.value == "agree"


# -- what it is handed ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["", "_cl", "_nc"])
@pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "bf16"])
def test_numpy_kernel_is_handed_the_case_in_its_dtype_and_layout(dtype: str, layout: str) -> None:
    """A kernel sees NumPy arrays of the case's dtype, in its memory layout, and the configuration."""
    case = Case.parse(f"conv2d_n2_c2_o3_i5_k3_b_{dtype}{layout}@normal.1")
    seen: list[Any] = []

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        seen.append((x.dtype.name, x.shape, x.strides, w.strides, config))
        return right(x, w, b, config).astype(x.dtype)

    convfuzz.check(case, [kernel])
    made = make_tensors(case)
    assert seen[0] == (case.config.dtype, made.x.shape, made.x.strides, made.w.strides, case.config)


def test_bias_is_none_where_there_is_none() -> None:
    """A layer without bias hands over ``None``."""
    seen: list[object] = []

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        seen.append(b)
        return right(x, w, b, config)

    convfuzz.check("conv1d_c1_o1_i3_k1_f32", [kernel])
    assert seen[0] is None


@pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "bf16"])
def test_torch_kernel_is_handed_torch_tensors_on_the_same_memory(dtype: str) -> None:
    """A kernel that declares torch's tensors gets them in the case's dtype and layout, and may return one."""
    torch = pytest.importorskip("torch", reason="the kernel declares torch's tensors")
    seen: list[Any] = []

    @backend(tensors="torch")
    def kernel(x: Any, w: Any, b: Any, config: ConvConfig) -> Any:
        seen.append((x.dtype, tuple(x.stride())))
        return torch.nn.functional.conv2d(x.double(), w.double(), b.double(), stride=config.stride).to(x.dtype)

    case = Case.parse(f"conv2d_n2_c2_o3_i5_k3_b_{dtype}_cl@integers.1")
    assert verdict_of(kernel, str(case)).verdict == "agree"
    itemsize = make_tensors(case).x.itemsize
    assert seen[0] == (getattr(torch, case.config.dtype), tuple(s // itemsize for s in make_tensors(case).x.strides))


def test_torch_kernel_that_writes_its_input_is_caught() -> None:
    """Torch tensors share the arrays' memory, so that an in-place operation on them is seen."""
    pytest.importorskip("torch", reason="the kernel declares torch's tensors")

    @backend(tensors="torch")
    def kernel(x: Any, w: Any, b: Any, config: ConvConfig) -> Any:
        del b, config
        x.mul_(2)
        return w

    assert verdict_of(kernel).verdict == "corrupted-input"


@pytest.mark.parametrize("dtype", ["f64", "f32", "bf16"])
def test_tensorflow_kernel_is_handed_tensorflow_tensors(dtype: str) -> None:
    """A kernel that declares TensorFlow's tensors gets them, and may return one."""
    tf = pytest.importorskip("tensorflow", reason="the kernel declares TensorFlow's tensors")

    @backend(tensors="tensorflow")
    def kernel(x: Any, w: Any, b: Any, config: ConvConfig) -> Any:
        assert isinstance(x, tf.Tensor)
        y = convfuzz.reference(config, x.numpy(), w.numpy(), b.numpy()).y
        return tf.cast(tf.convert_to_tensor(y), x.dtype)

    assert verdict_of(kernel, f"conv2d_n2_c2_o3_i5_k3_b_{dtype}@integers.1").verdict == "agree"


def test_output_array_is_full_of_nan() -> None:
    """A kernel that declares ``out`` is handed an output array of NaN in the case's shape and dtype."""
    seen: list[Array] = []

    @backend(out=True)
    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig, out: Array) -> None:
        seen.append(out.copy())
        out[...] = right(x, w, b, config)

    assert verdict_of(kernel, "conv2d_c2_o3_i5_k3_bf16@integers.1").verdict == "agree"
    assert seen[0].shape == (1, 3, 3, 3)
    assert seen[0].dtype == ml_dtypes.bfloat16
    assert np.isnan(seen[0].astype(float)).all()


def test_element_left_out_of_the_output_array_is_non_finite() -> None:
    """A kernel that leaves one element of ``out`` unwritten shows NaN there."""

    @backend(out=True)
    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig, out: Array) -> None:
        out[..., 1:] = right(x, w, b, config)[..., 1:]

    result = verdict_of(kernel)
    assert result.verdict == "non-finite"
    assert result.discrepancies["forward"].non_finite == 2 * 3 * 3


def test_torch_output_array_is_written_in_place() -> None:
    """``out`` and torch's tensors go together: the tensor that the kernel fills is the output."""
    torch = pytest.importorskip("torch", reason="the kernel declares torch's tensors")

    @backend(tensors="torch", out=True)
    def kernel(x: Any, w: Any, b: Any, config: ConvConfig, out: Any) -> None:
        out.copy_(torch.nn.functional.conv2d(x, w, b, stride=config.stride))

    assert verdict_of(kernel).verdict == "agree"


# -- what it may declare --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ({"dtypes": ("float64",)}, "dtype float32"),
        ({"dims": (1, 3)}, "2 spatial dimensions"),
        ({"supports": lambda _: False}, "declined by the kernel's declaration"),
        ({"supports": lambda config: f"bias={config.bias}"}, "bias=True"),
    ],
)
def test_declared_limits_are_unsupported_with_their_reason(declared: dict[str, Any], reason: str) -> None:
    """What a declaration excludes is not run, and the reason is kept."""

    @backend(**declared)
    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        raise AssertionError("it must not be called")

    result = verdict_of(kernel)
    assert (result.verdict, result.reason) == ("unsupported", reason)


@pytest.mark.parametrize("answer", [True, None])
def test_declared_limits_let_the_rest_through(*, answer: bool | None) -> None:
    """``True`` and ``None`` from ``supports`` accept, and so do a listed dtype and number of dimensions."""

    @backend(dtypes=("float32",), dims=(2,), supports=lambda _: answer)
    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        return right(x, w, b, config)

    assert verdict_of(kernel).verdict == "agree"


def test_declaration_leaves_the_function_as_it_is() -> None:
    """The decorated function is the function itself and can be called without convfuzz."""

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        return right(x, w, b, config)

    assert backend(dims=(2,))(kernel) is kernel


@pytest.mark.parametrize("declared", [{"tensors": "jax"}, {"tensors": "tensorflow", "out": True}])
def test_declaration_without_meaning_is_refused(declared: dict[str, Any]) -> None:
    """Unknown tensors, and an output array of a framework that has none, are refused when they are declared."""
    with pytest.raises(InvalidConfig, match=r"tensors='"):
        backend(**declared)


def low_precision(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Round the inputs to bfloat16 first."""
    x, w = x.astype(ml_dtypes.bfloat16), w.astype(ml_dtypes.bfloat16)
    return convfuzz.reference(config, x, w, b).y.astype(np.float32)


def test_declared_numerics_decide_what_is_imprecise() -> None:
    """The same rounding is a finding when nothing is declared and none when it is."""
    line = "conv2d_c1_o3_i5_k1_f32@normal.1"
    silent = verdict_of(low_precision, line)
    assert (silent.verdict, silent.model) == ("imprecise", "bfloat16 inputs")

    @backend(numerics=Numerics(inputs="bfloat16"))
    def declared(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        return low_precision(x, w, b, config)

    assert verdict_of(declared, line).verdict == "agree"


def test_numerics_may_depend_on_the_configuration() -> None:
    """A function declares other numerics for other configurations."""

    @backend(numerics=lambda config: Numerics(inputs="bfloat16" if config.in_channels == 8 else "exact"))
    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        return low_precision(x, w, b, config)

    assert verdict_of(kernel, "conv2d_c8_o3_i5_k3_f32@normal.1").verdict == "agree"
    assert verdict_of(kernel, "conv2d_c9_o3_i5_k3_f32@normal.1").verdict == "imprecise"


def test_case_may_be_declined_while_it_runs() -> None:
    """``convfuzz.Unsupported`` from the kernel is no failure, and its message is the reason."""

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        raise Unsupported("needs stride 1")

    result = verdict_of(kernel)
    assert (result.verdict, result.reason) == ("unsupported", "needs stride 1")


@pytest.mark.parametrize("option", ["supports", "numerics"])
def test_declaration_that_raises_is_an_error_of_the_kernel(option: str) -> None:
    """A ``supports`` or ``numerics`` that raises is the kernel's ``error``, and the next backend is judged as ever."""

    def broken(config: ConvConfig) -> Any:
        raise KeyError(config.dtype)

    options: dict[str, Any] = {option: broken}

    @backend(**options)
    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        return right(x, w, b, config)

    result = convfuzz.check(LINE, [kernel, Spy()])
    assert [r.verdict for r in result.results] == ["error", "agree"]
    assert "KeyError" in result.results[0].reason


# -- what it returns ------------------------------------------------------------------------------------------------------


def torch_bfloat16(y: Array) -> Any:
    """Return ``y`` as a torch tensor of bfloat16."""
    torch = pytest.importorskip("torch", reason="the kernel returns torch's bfloat16")
    return torch.from_numpy(y).to(torch.bfloat16)


def masked(y: Array) -> Any:
    """Return ``y`` with one element wrong and masked."""
    wrong = y.copy()
    wrong.flat[0] += 1
    mask = np.zeros(y.shape, bool)
    mask.flat[0] = True
    return np.ma.array(wrong, mask=mask)


@pytest.mark.parametrize(
    ("returned", "verdict", "reason"),
    [
        pytest.param(lambda _: None, "error", "returned None instead of an array", id="None"),
        pytest.param(lambda _: object(), "error", "returned object, which is not array-like", id="object"),
        pytest.param(lambda _: np.array([object()]), "error", "objects, not of numbers", id="array of objects"),
        pytest.param(lambda y: {"y": y}, "error", "returned dict, which is not array-like", id="dictionary"),
        pytest.param(lambda _: [[1.0], [1.0, 2.0]], "error", "returned list, which is not array-like", id="ragged list"),
        pytest.param(lambda y: (y, None), "error", "returned a tuple of 2 things, not one array: hand over the output alone", id="a pair"),
        pytest.param(lambda y: lambda: y, "error", "returned function, which is not array-like: call it, or await it", id="a function"),
        pytest.param(lambda y: y.tolist(), "wrong-dtype", "dtype float64, expected float32", id="list"),
        pytest.param(lambda _: 1.5, "wrong-shape", "shape (), expected (2, 3, 3, 3)", id="number"),
        pytest.param(lambda y: y[0], "wrong-shape", "shape (3, 3, 3), expected (2, 3, 3, 3)", id="no batch axis"),
        pytest.param(lambda y: y.astype(np.float64), "wrong-dtype", "dtype float64, expected float32", id="float64"),
        pytest.param(lambda y: y.astype(np.int32), "wrong-dtype", "dtype int32", id="integers"),
        pytest.param(lambda y: y.astype(np.complex64), "wrong-dtype", "dtype complex64", id="complex"),
        pytest.param(lambda y: np.full(y.shape, "one"), "wrong-dtype", "expected float32", id="strings"),
        pytest.param(torch_bfloat16, "wrong-dtype", "dtype bfloat16, expected float32", id="torch bfloat16"),
        pytest.param(masked, "wrong", "integers off by 1", id="masked array"),
        pytest.param(lambda y: y.astype(">f4"), "agree", "", id="big-endian"),
        pytest.param(np.asfortranarray, "agree", "", id="Fortran order"),
        pytest.param(lambda y: np.broadcast_to(y, y.shape), "agree", "", id="read-only"),
        pytest.param(lambda y: y + 1, "wrong", "integers off by 1", id="one too many"),
        pytest.param(lambda y: y + 0.25, "imprecise", "a direct algorithm would be exact", id="a quarter too many"),
        pytest.param(lambda y: np.where(y == y.max(), np.inf, y), "non-finite", "got inf", id="Inf"),
    ],
)
def test_what_a_kernel_returns_has_one_right_verdict(returned: Callable[[Array], Any], verdict: str, reason: str) -> None:
    """Each wrong return value gets its own verdict and reason, and the backend beside it agrees."""

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Any:
        return returned(right(x, w, b, config))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = convfuzz.check(LINE, [kernel, Spy()])
    assert result.results[0].verdict == verdict
    assert reason in result.results[0].reason
    assert result.results[1].verdict == "agree"


def test_bfloat16_of_torch_is_the_case_s_bfloat16() -> None:
    """A torch tensor of bfloat16 is taken bit for bit, without a detour over another type."""
    torch = pytest.importorskip("torch", reason="the kernel returns torch's bfloat16")

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Any:
        return torch.from_numpy(right(x, w, b, config).astype(np.float32)).to(torch.bfloat16)

    assert verdict_of(kernel, "conv2d_c2_o3_i5_k3_bf16@integers.1").verdict == "agree"


def test_dlpack_is_taken() -> None:
    """An object that offers nothing but DLPack is an array."""

    class Exported:
        def __init__(self, y: Array) -> None:
            self._y = y

        def __dlpack__(self, **options: Any) -> Any:
            return self._y.__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return self._y.__dlpack_device__()

    assert verdict_of(lambda x, w, b, config: Exported(right(x, w, b, config))).verdict == "agree"


# -- what it does -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("first line\n   second line"), "ValueError: first line second line"),
        (NotImplementedError(), "NotImplementedError"),
        (SystemExit(0), "SystemExit: 0"),
        (MemoryError(), "MemoryError"),
        (RuntimeError("x" * 5000), "RuntimeError: xxx"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_exception_on_a_valid_configuration_is_an_error(error: BaseException, reason: str) -> None:
    """Whatever a kernel raises is its ``error``, with the exception in one bounded line; an exit ends nothing."""

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        raise error

    result = verdict_of(kernel)
    assert result.verdict == "error"
    assert result.reason.startswith(reason)
    assert "\n" not in result.reason
    assert len(result.reason) < 500


def test_user_can_interrupt_a_check() -> None:
    """Ctrl-C in a check goes through to the user, not into a verdict."""

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verdict_of(kernel)


def write_x(x: Array, w: Array, b: Array | None) -> None:
    """Write to the input."""
    x.flat[0] += 1


def write_w(x: Array, w: Array, b: Array | None) -> None:
    """Write to the weight."""
    w *= 2


def write_b(x: Array, w: Array, b: Array | None) -> None:
    """Write to the bias."""
    assert b is not None
    b[...] = 0


def flip_the_sign_of_a_zero(x: Array, w: Array, b: Array | None) -> None:
    """Write a negative zero over a zero, which compares equal."""
    x[x == 0] = -0.0


def make_read_only(x: Array, w: Array, b: Array | None) -> None:
    """Write to the input and lock it."""
    x.flat[0] += 1
    x.flags.writeable = False


@pytest.mark.parametrize("layout", ["", "_nc", "_cl"])
@pytest.mark.parametrize(
    ("write", "line", "names"),
    [
        (write_x, LINE, "x"),
        (write_w, LINE, "w"),
        (write_b, LINE, "b"),
        (make_read_only, LINE, "x"),
        (flip_the_sign_of_a_zero, "conv2d_n2_c2_o3_i5_k3_b_f32@one-hot.1", "x"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_changed_input_is_corrupted_and_restored(write: Callable[..., None], line: str, names: str, layout: str) -> None:
    """A kernel that changes an input is found out by the bits, and the next backend sees them as they were."""
    case = Case.parse(line.replace("@", f"{layout}@"))

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        y = right(x, w, b, config)
        write(x, w, b)
        return y

    spy = Spy()
    result = convfuzz.check(case, [kernel, spy])
    assert (result.results[0].verdict, result.results[0].reason) == ("corrupted-input", f"changed its input {names}")
    assert result.results[1].verdict == "agree"
    seen, pristine = spy.seen[0][1].named(), make_tensors(case).named()
    assert {name: a.tobytes() for name, a in seen.items()} == {name: a.tobytes() for name, a in pristine.items()}


def test_input_reshaped_in_place_harms_nobody_else() -> None:
    """A kernel that assigns to ``x.shape`` or ``x.dtype`` changes its own view at most, never what the next one sees."""

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        y = right(x, w, b, config)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            x.shape = (x.size,)
            w.dtype = np.dtype(np.int32)  # type: ignore[misc]
        return y

    result = convfuzz.check(LINE, [kernel, Spy()])
    assert result.results[0].verdict in ("agree", "corrupted-input")
    assert result.results[1].verdict == "agree"


def test_corruption_outweighs_an_exception() -> None:
    """A kernel that changes its input and then raises is reported for the change, the graver of the two."""

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        x[...] = 0
        raise ValueError

    assert verdict_of(kernel).verdict == "corrupted-input"


def repeated_line() -> str:
    """Return a case that is among the eighth that run twice."""
    seen: list[int] = []

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        seen.append(1)
        return right(x, w, b, config)

    for seed in range(100):
        seen.clear()
        line = f"conv2d_c2_o3_i5_k3_f32@normal.{seed}"
        convfuzz.check(line, [kernel])
        if len(seen) == 2:
            return line
    raise AssertionError("one case in eight runs twice, and none of a hundred did")


def wobbling(numerics: Numerics) -> Callable[..., Array]:
    """Return a kernel whose results differ in the last place from call to call."""
    calls: list[int] = []

    @backend(numerics=numerics)
    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        calls.append(1)
        y = right(x, w, b, config)
        wobbled: Array = np.nextafter(y, y + len(calls) % 2)
        return wobbled

    return kernel


def test_results_that_differ_between_runs_are_nondeterministic() -> None:
    """Two runs within the tolerance that differ are ``nondeterministic``."""
    assert verdict_of(wobbling(Numerics()), repeated_line()).verdict == "nondeterministic"


def test_declared_nondeterminism_is_no_finding() -> None:
    """A kernel that declares that its runs may differ may differ within the tolerance."""
    assert verdict_of(wobbling(Numerics(deterministic=False)), repeated_line()).verdict == "agree"


def test_a_second_run_that_fails_is_judged_as_such() -> None:
    """A kernel that is right once and wrong the next time is ``wrong``, on the second run."""
    calls: list[int] = []

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        calls.append(1)
        return right(x, w, b, config) + (len(calls) > 1)

    result = verdict_of(kernel, repeated_line())
    assert result.verdict == "wrong"
    assert result.reason.startswith("on a second run: ")


@pytest.mark.parametrize("size", [3, 40, 300])
def test_unwritten_output_shows_nan(size: int) -> None:
    """A kernel that returns ``np.empty`` as it is shows the NaN that was left in freed memory."""

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        return np.empty(config.output_shape, x.dtype)

    assert verdict_of(kernel, f"conv2d_c1_o3_i{size}_k1_f32@integers.1").verdict in ("non-finite", "wrong")


# -- invalid configurations -------------------------------------------------------------------------------------------------


def test_invalid_configuration_is_kept_from_a_kernel() -> None:
    """A kernel that does not ask for invalid configurations does not see them."""
    assert verdict_of(right, INVALID).verdict == "unsupported"


def test_rejecting_an_invalid_configuration_agrees() -> None:
    """A kernel that raises on an invalid configuration does what it should."""

    @backend(rejects_invalid=True)
    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        raise ValueError("the kernel does not fit")

    result = verdict_of(kernel, INVALID)
    assert (result.verdict, result.reason) == ("agree", "rejected: ValueError: the kernel does not fit")


@pytest.mark.parametrize("line", [INVALID, "conv2d_c3_o2_g2_i5_k3_f32@integers.0", "conv2d_c2_o3_i5_k3_s0_f32@integers.0"])
def test_accepting_an_invalid_configuration_is_a_finding(line: str) -> None:
    """A kernel that returns something for an invalid configuration is told which rule it broke."""

    @backend(rejects_invalid=True)
    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        return np.zeros((1, 1, 1, 1), np.float32)

    result = verdict_of(kernel, line)
    assert result.verdict == "accepted-invalid"
    assert str(Case.parse(line).config.invalid_reason) in result.reason


def test_corrupting_the_input_of_an_invalid_configuration_is_a_finding() -> None:
    """A rejection that has changed the input before is ``corrupted-input``."""

    @backend(rejects_invalid=True)
    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        x[...] = 0
        raise ValueError

    assert verdict_of(kernel, INVALID).verdict == "corrupted-input"


def test_returning_none_does_not_reject() -> None:
    """A kernel that returns ``None`` for an invalid configuration has not raised, so it has not rejected it."""

    @backend(rejects_invalid=True)
    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> None:
        return None

    assert verdict_of(kernel, INVALID).verdict == "accepted-invalid"


def test_frameworks_are_not_imported_for_a_numpy_kernel() -> None:
    """Checking a NumPy kernel imports no framework that was not there."""
    before = {"torch", "tensorflow"} & set(sys.modules)
    verdict_of(right)
    assert {"torch", "tensorflow"} & set(sys.modules) == before
