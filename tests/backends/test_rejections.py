"""Configurations that are extreme, too large or no convolution: who may reject what, and what is not run at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import convfuzz
from convfuzz import Case
from convfuzz.backends import Backend, Outputs
from convfuzz.record.events import BackendEnded
from convfuzz.tensors.generator import Array, Tensors

from .fakes import Spy

EXTREME = "conv1d_n2_c2_o3_i5_k1_s4294967296_b_f32@integers.1"


@dataclass
class Raises(Spy):
    """Rejects whatever it is given."""

    error: Exception = field(default_factory=lambda: OverflowError("the stride does not fit into 32 bits"))

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Raise."""
        del case, tensors
        raise self.error


@dataclass
class Returns(Spy):
    """Computes correctly and returns something else."""

    change: Callable[[Array], Any] = np.copy

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Compute and change."""
        return {in_pass: self.change(y) for in_pass, y in super().run(case, tensors).items()}


@dataclass
class Shaped(Spy):
    """Returns zeros of a shape, whatever it is asked."""

    shape: tuple[int, ...] = ()

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Return them."""
        del case, tensors
        return {"forward": np.zeros(self.shape, np.float32)}


def ended(backend: Backend, line: str) -> BackendEnded:
    """Check one backend on one case."""
    (result,) = convfuzz.check(line, [backend]).results
    return result


def test_an_extreme_configuration_may_be_rejected() -> None:
    """A valid layer with a number beyond 32 bits may be rejected with a clean error; a layer with ordinary ones may not."""
    result = ended(Raises(), EXTREME)
    assert (result.verdict, result.reason) == ("agree", "rejected: OverflowError: the stride does not fit into 32 bits")
    assert ended(Raises(), EXTREME.replace("4294967296", "2147483647")).verdict == "error"


def test_an_extreme_configuration_that_is_computed_has_to_be_right() -> None:
    """Who accepts such a layer owes its result: the stride is never taken, so that it is the first site's."""
    assert ended(Spy(), EXTREME).verdict == "agree"
    assert ended(Returns(change=lambda y: y + 1), EXTREME).verdict == "wrong"
    assert ended(Returns(change=lambda y: np.repeat(y, 2, axis=-1)), EXTREME).verdict == "wrong-shape"
    assert ended(Returns(change=lambda _: None), EXTREME).verdict == "error"  # nothing was raised


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("conv1d_c1_o1_i3_k1_p1000000000_f32", "tensors and results take more than 4 GiB, which is all that --memory-limit allows"),
        ("conv3d_n9_c512_o512_i99_k3_f32", "tensors and results take more than 4 GiB, which is all that --memory-limit allows"),
        ("convt1d_c1_o1_i3_k3_s1000000000_f32", "tensors and results take more than 4 GiB, which is all that --memory-limit allows"),
        ("conv1d_c1_o1_i3_k4611686018427387904_f32", "tensors and results take more than 4 GiB, which is all that --memory-limit allows"),
        ("conv1d_c1_o1_i-3_k1_f32", "tensors of a negative size cannot be made"),
        ("conv1d_c-1_o1_i3_k1_f32", "tensors of a negative size cannot be made"),
        ("conv1d_c1_o1_i3_k-1_f32", "tensors of a negative size cannot be made"),
        ("conv1d_c1_o1_i3_k1_op2_f32", "no call can express it: output_padding=2 without conv_transpose"),
        (
            "convt1d_c1_o1_i3_k3_s2_psame_op1_f32",
            "no call can express it: output_padding=1 with padding='same', which gives the output size by itself",
        ),
        ("conv1d_c1_o1_i3_k1_i8@special.1", "regime special has no values of dtype int8"),
    ],
)
def test_what_cannot_be_made_is_skipped_with_a_reason(line: str, reason: str) -> None:
    """A case that no memory holds, that has no data, or that says what no call can, runs on nobody and says why."""
    spy = Spy()
    result = convfuzz.check(line, [spy])
    assert (result.skipped, result.results, spy.seen) == (reason, (), [])


@pytest.mark.parametrize("line", ["conv1d_n2_c3_o4_i2_k3_f32", "conv2d_n2_c3_o4_i5x2_k3_f32", "conv1d_n-_c3_o4_i1_k3_d2_f32"])
def test_an_empty_output_where_the_kernel_does_not_fit(line: str) -> None:
    """A kernel larger than the input has no site: an output without elements is accepted where its batch and channels are right."""
    config = Case.parse(line).config
    leading = config.output_shape[: -config.dims]
    assert ended(Shaped(shape=(*leading, *[0] * config.dims)), line).verdict == "agree"
    assert ended(Shaped(shape=(*leading[:-1], 7, *[0] * config.dims)), line).verdict == "wrong-shape"
    assert ended(Shaped(shape=(*leading, *[1] * config.dims)), line).verdict == "accepted-invalid"


@pytest.mark.parametrize(
    "line", ["conv2d_c3_o4_g2_i5_k3_f32_grad", "convt2d_c2_o4_i5_k3_op1_b_f32_grad", "conv2d_c2_o2_i5_k3_b_f32_bad-bias-size_grad"]
)
def test_invalid_configurations_with_gradients(line: str) -> None:
    """Asked for gradients of what is no convolution, rejecting it is right and returning something is not; no output gradient is made."""
    rejecting = Raises(error=ValueError("no such layer"))
    assert ended(rejecting, line).verdict == "agree"

    class Accepts(Spy):
        def run(self, case: Case, tensors: Tensors) -> Outputs:
            del case
            assert tensors.dy is None
            return {"forward": np.zeros((1, 1, 1, 1), np.float32)}

    result = ended(Accepts(), line)
    assert result.verdict == "accepted-invalid"
    assert str(Case.parse(line).config.invalid_reason) in result.reason
