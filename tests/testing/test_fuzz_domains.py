"""``@convfuzz.fuzz`` on kernels of narrow domains: it sees what a test checks and draws for that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convfuzz
from convfuzz.testing.looking import domains_in


def _is_causal(c: convfuzz.ConvConfig) -> bool:
    k = c.kernel_size[0]
    return c.op == "conv" and c.dims == 1 and c.groups == c.in_channels == c.out_channels and 2 <= k <= 4 and c.padding == ((k - 1, 0),)


CAUSAL = convfuzz.backend(
    dtypes=("float32", "float64"),
    supports=lambda c: _is_causal(c) and max(c.stride + c.dilation) == 1 and c.padding_mode == "zeros" and c.batch is not None,
)
MET: list[tuple[int, ...]] = []


def _convolved(x: Any, w: Any, b: Any, config: convfuzz.ConvConfig) -> Any:
    k = config.kernel_size[0]
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (k - 1, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, k, axis=-1)
    with np.errstate(all="ignore"):
        y = (windows * w.astype(np.float64)[:, 0, None, :]).sum(-1)
        return (y if b is None else y + b[:, None]).astype(w.dtype)


@CAUSAL
def right(x: Any, w: Any, b: Any, config: convfuzz.ConvConfig) -> Any:
    """Compute it."""
    MET.append(config.kernel_size)
    return _convolved(x, w, b, config)


@CAUSAL
def wrong(x: Any, w: Any, b: Any, config: convfuzz.ConvConfig) -> Any:
    """Run through three taps in the wrong order."""
    return _convolved(x, w[..., ::-1] if config.kernel_size == (3,) else w, b, config)


def test_a_test_draws_for_the_kernel_that_it_checks() -> None:
    """Every case is one that the kernel computes, and all kernel sizes come up, though the test says nothing of them."""
    cases: list[convfuzz.Case] = []

    @convfuzz.fuzz("default", cases=60, seed=1)
    def checks(case: convfuzz.Case) -> None:
        case.check(right)
        cases.append(case)

    MET.clear()
    checks()
    assert len(cases) >= 60
    assert all(_is_causal(case.config) for case in cases)
    assert {(2,), (3,), (4,)} == set(MET)


def refusing(x: Any, w: Any, b: Any, config: convfuzz.ConvConfig) -> Any:
    """Say nothing of it, refuse the rest in the call, and run through three taps in the wrong order."""
    if not _is_causal(config) or max(config.stride + config.dilation) != 1 or config.padding_mode != "zeros" or config.batch is None:
        raise convfuzz.Unsupported("depthwise causal layers only")
    return _convolved(x, w[..., ::-1] if config.kernel_size == (3,) else w, b, config)


@pytest.mark.parametrize("form", ["kernel", "test"])
def test_a_wrong_kernel_that_refuses_in_its_call_fails(form: str) -> None:
    """What a kernel refuses where it is called is drawn around as what it declares."""

    def checks(case: convfuzz.Case) -> None:
        case.check(refusing)

    subject = refusing if form == "kernel" else checks
    with pytest.raises((convfuzz.Disagreement, ExceptionGroup)) as failed:
        convfuzz.fuzz("default", cases=60, seed=1)(subject)()
    assert "_k3_" in str(getattr(failed.value, "exceptions", [failed.value])[0])


@pytest.mark.parametrize("form", ["kernel", "test"])
def test_a_wrong_kernel_of_a_narrow_domain_fails(form: str) -> None:
    """It fails as a kernel that is made a test, and in a test of its own, and the failing case has the wrong kernel size."""

    def checks(case: convfuzz.Case) -> None:
        case.check(wrong)

    subject = wrong if form == "kernel" else checks
    with pytest.raises((convfuzz.Disagreement, ExceptionGroup)) as failed:
        convfuzz.fuzz("default", cases=60, seed=1)(subject)()
    assert "_k3_" in str(getattr(failed.value, "exceptions", [failed.value])[0])


def test_a_look_computes_nothing() -> None:
    """To see what a test checks it runs up to its check: no kernel is called, and an earlier return is passed over."""

    def checks(case: convfuzz.Case) -> None:
        if case.config.op == "conv":
            return
        case.check(right)
        raise AssertionError

    MET.clear()
    assert domains_in(checks, (), {})[0].supports is not None
    assert MET == []
    assert domains_in(lambda case: case, (), {}) == ()
