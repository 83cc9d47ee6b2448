"""What a kernel refuses in its call narrows what is drawn for it, and nothing is computed to find that out."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import convfuzz
from convfuzz import Case, Unsupported
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.backends.kernels.declaration import Declaration
from convfuzz.backends.kernels.refusals import MOST_QUESTIONS, names_unsupported, refusal
from convfuzz.case.domain import explore

POINTWISE = Case.parse("conv2d_n2_c4_o6_i5_k1_b_f32").config
WIDE = Case.parse("conv2d_n2_c4_o6_i5_k3_b_f32").config
COMPUTED: list[object] = []


def require_pointwise(config: Any) -> None:
    """Refuse more than one tap."""
    if max(config.kernel_size) > 1:
        raise Unsupported("one tap only")


def plain(x: Any, w: Any, b: Any, config: Any) -> Any:
    """Say so first."""
    require_pointwise(config)
    COMPUTED.append(x + w + b)


def by_shape(x: Any, w: Any, b: Any, config: Any) -> Any:
    """Go by what the operands are, converted."""
    del b, config
    if not isinstance(x, np.ndarray) or x.ndim != 4 or x.size == 0 or x.dtype != np.float32 or len(w) != 6:
        raise Unsupported("batched images only")
    if w.astype(np.float64).shape[-1] != 1:
        raise Unsupported("one tap only")
    COMPUTED.append(np.asarray(x))


def late(x: Any, w: Any, b: Any, config: Any) -> Any:
    """Read the operands first."""
    COMPUTED.append(np.ascontiguousarray(x))
    require_pointwise(config)


def swallowing(x: Any, w: Any, b: Any, config: Any) -> Any:
    """Catch all that goes wrong where it computes."""
    require_pointwise(config)
    try:
        COMPUTED.append(x[0] * w[0])
    except Exception as error:  # that is what it does
        raise Unsupported("something went wrong") from error


class Layer:
    """A kernel that is an object."""

    def __call__(self, x: Any, w: Any, b: Any, config: Any) -> Any:
        """Say so first."""
        plain(x, w, b, config)


@functools.wraps(plain)
def wrapped(*operands: Any) -> Any:
    """Call what is wrapped."""
    return plain(*operands)


@pytest.mark.parametrize(
    "kernel", [plain, by_shape, swallowing, Layer(), wrapped], ids=["plain", "shape", "swallowing", "object", "wrapped"]
)
def test_a_refusal_is_learnt_without_computing(kernel: Any) -> None:
    """The reason is the kernel's own; a layer that it computes ends its call where an operand is read, whatever it catches."""
    assert names_unsupported(kernel)
    COMPUTED.clear()
    assert refusal(kernel, Declaration(), WIDE) == "one tap only"
    assert refusal(kernel, Declaration(), POINTWISE) == ""
    assert COMPUTED == []


def test_what_is_refused_later_is_left_to_the_cases() -> None:
    """A kernel that reads its operands first has not refused, and neither has one that fails."""
    assert refusal(late, Declaration(), WIDE) == ""
    assert refusal(lambda *_: 1 // 0, Declaration(), WIDE) == ""
    assert COMPUTED == []


def test_operands_have_the_axes_and_the_arguments_that_are_declared() -> None:
    """A kernel that takes NHWC, an output to fill and something compiled is asked as it is called."""
    seen = []

    def kernel(x: Any, w: Any, b: Any, config: Any, out: Any, compiled: Any) -> None:
        del config, compiled
        seen.extend([x.shape, w.shape, b.shape, out.ndim])
        raise Unsupported

    declared = Declaration(layout="NHWC", weight_layout="HWIO", out=True, compile=lambda _: None)
    assert refusal(kernel, declared, POINTWISE)
    assert seen == [(2, 5, 5, 4), (1, 1, 4, 6), (6,), 4]


def test_tensors_of_pytorch_have_its_methods() -> None:
    """A kernel on torch tensors goes by their sizes and dtype."""
    torch = pytest.importorskip("torch", reason="its dtypes")

    def kernel(x: Any, w: Any, b: Any, config: Any) -> None:
        del b, config
        if x.dtype is torch.float32 and x.dim() == 4 and x.size(1) == 4 and x.size() == x.shape and w.contiguous().size(-1) == 3:
            raise Unsupported("one tap only")

    assert refusal(kernel, Declaration(tensors="torch"), WIDE) == "one tap only"


def test_what_is_refused_is_a_domain() -> None:
    """The search finds what is left, the same each time and within its limit of calls; what is declared goes before."""
    calls = []

    @convfuzz.backend(dims=(2,))
    def kernel(x: Any, w: Any, b: Any, config: Any) -> Any:
        calls.append(config)
        if config.kernel_size != (7, 7) or config.stride != (2, 2) or config.in_channels != 3:
            raise Unsupported("the stem only")
        return x @ w

    domain = KernelBackend("kernel", kernel).domain
    assert domain is not None
    found = explore(domain)
    assert len(calls) <= MOST_QUESTIONS + 1
    assert len(found.configs) > 50
    assert {(c.kernel_size, c.stride, c.in_channels) for c in found.configs} == {((7, 7), (2, 2), 3)}
    again = KernelBackend("kernel", kernel).domain
    assert again is not None
    assert explore(again).configs == found.configs


def test_who_refuses_nothing_is_not_asked() -> None:
    """A kernel whose code never names Unsupported is not called, and one that refuses no layer as networks have them has no domain."""
    COMPUTED.clear()

    def silent(x: Any, w: Any, b: Any, config: Any) -> Any:
        COMPUTED.append((x, w, b, config))

    def exotic(x: Any, w: Any, b: Any, config: Any) -> Any:
        if max(config.dilation) > 1000:
            raise Unsupported("too far apart")
        return x @ w @ b

    assert not names_unsupported(silent)
    assert KernelBackend("silent", silent).domain is None
    assert KernelBackend("exotic", exotic).domain is None
    assert COMPUTED == []


def test_a_kernel_that_exits_ends_no_search() -> None:
    """``sys.exit`` in a call is no refusal, and a failure that a case shows; the process that asks goes on."""

    def exits(x: Any, w: Any, b: Any, config: Any) -> Any:
        require_pointwise(config)
        raise SystemExit(3)

    assert refusal(exits, Declaration(), POINTWISE) == ""
    assert refusal(exits, Declaration(), WIDE) == "one tap only"
