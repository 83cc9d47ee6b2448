"""The protocol's own example, and the line between a backend and something else."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pytest

import convfuzz
from convfuzz.backends import Backend, Numerics, Scripted, Support, protocol, resolve
from convfuzz.errors import UsageError
from convfuzz.tensors.generator import Array

from .fakes import Spy


def documented_class() -> Any:
    """Execute the class in the docstring of ``convfuzz.backends.protocol`` beside a correct ``my_conv`` halved."""
    source = textwrap.dedent((protocol.__doc__ or "").partition("::\n")[2])

    def my_conv(x: Array, w: Array, b: Array | None, config: convfuzz.ConvConfig) -> Array:
        return (convfuzz.reference(config, x, w, b).y / 2).astype(x.dtype)

    scope: dict[str, Any] = {"Support": Support, "Numerics": Numerics, "my_conv": my_conv}
    exec(source, scope)  # noqa: S102 - the documentation's own example
    return scope["Doubled"]


def test_smallest_class_of_the_documentation_is_a_backend() -> None:
    """The class in the protocol's docstring is complete: it runs and agrees where it supports the case."""
    doubled = documented_class()()
    assert isinstance(doubled, Backend)
    assert convfuzz.check("conv2d_c2_o3_i5_k3_b_f32@integers.1", [doubled]).results[0].verdict == "agree"


def test_smallest_class_of_the_documentation_declines_with_its_reason() -> None:
    """A refusal of the documented class is an ``unsupported`` with the reason it gave."""
    (result,) = convfuzz.check("conv2d_c2_o3_i5_k3_f64", [documented_class()()]).results
    assert (result.verdict, result.reason) == ("unsupported", "float32 only")


@pytest.mark.parametrize("name", ["reference", "reference+split"])
def test_built_ins_are_backends_by_structure(name: str) -> None:
    """A built-in and a variant satisfy the protocol that third parties see."""
    assert isinstance(resolve(name), Backend)


def test_backend_without_script_is_no_scripted() -> None:
    """What can be written down is a protocol of its own, which a backend need not satisfy."""
    assert not isinstance(Spy(), Scripted)


def test_check_takes_names_backends_and_functions_side_by_side() -> None:
    """A name, a backend and a plain function are judged in the order in which they were given."""

    def my_conv(x: Array, w: Array, b: Array | None, config: convfuzz.ConvConfig) -> Array:
        return convfuzz.reference(config, x, w, b).y.astype(x.dtype)

    result = convfuzz.check("conv1d_c1_o1_i4_k2_f32@integers.0", [Spy(), my_conv, "reference"])
    names = [r.backend for r in result.results]
    assert names[::2] == ["spy", "reference"]
    assert names[1].endswith("my_conv")
    assert [r.verdict for r in result.results] == ["agree"] * 3


def test_check_refuses_what_is_no_backend() -> None:
    """A value that is neither name, backend nor function is refused by its value."""
    with pytest.raises(UsageError, match=r"neither a backend's name, a backend, nor a kernel"):
        convfuzz.check("conv1d_c1_o1_i4_k2_f32", [3])  # type: ignore[list-item]


def test_check_refuses_to_compare_with_nothing() -> None:
    """A check without a backend is refused."""
    with pytest.raises(UsageError, match="no backend"):
        convfuzz.check("conv1d_c1_o1_i4_k2_f32", [])


def test_backend_may_return_no_forward_pass() -> None:
    """Outputs without an array for the forward pass are an ``error``, not a crash of the checker."""

    class Silent(Spy):
        def run(self, case: convfuzz.Case, tensors: convfuzz.tensors.Tensors) -> dict[str, np.ndarray[Any, Any]]:
            del case, tensors
            return {}

    (result,) = convfuzz.check("conv1d_c1_o1_i4_k2_f32", [Silent()]).results
    assert (result.verdict, result.reason) == ("error", "returned no array for the forward pass")
