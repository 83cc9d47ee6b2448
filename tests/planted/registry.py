"""The list that every planted kernel enters, with what may be said about it and when it goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import convfuzz
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.case.config import DTYPES
from convfuzz.case.dtypes import FLOATING

from .backward import grad_bias, grad_input, grad_weight
from .dense import layer

if TYPE_CHECKING:
    from convfuzz import ConvConfig

    from .receptive_field import Array

Kernel = Callable[..., "Array | None"]
Backward = Callable[..., "Array"]
Gradient = Literal["grad_input", "grad_weight", "grad_bias"]
Shows = Literal["forward", "gradients", "invalid"]

MISREAD = ("wrong", "non-finite")
"""Verdicts for a kernel that adds the wrong numbers: wrong, or non-finite when NaN or Inf is among those it takes or misses."""

CONV, TRANSPOSED, BOTH = ("conv",), ("conv_transpose",), ("conv", "conv_transpose")
COMPLEX = ("complex64", "complex128")

_entered: list[Planted] = []


@dataclass(frozen=True)
class Planted:
    """One deliberately wrong kernel: the verdicts that are right for it, and the configurations and data it fails on.

    ``function`` is where the mistake is, the kernel itself or its backward function; ``shows`` says on which cases.
    """

    name: str
    function: Callable[..., object]
    backend: KernelBackend
    verdicts: frozenset[str]
    trigger: str
    shows: Shows


def planted(*verdicts: str, trigger: str, ops: tuple[str, ...] = CONV, dtypes: tuple[str, ...] = FLOATING) -> Callable[[Kernel], Kernel]:
    """Enter the decorated kernel in the list: it computes the output of ``ops`` and ``dtypes``, and declines other cases."""
    declare = convfuzz.backend(ops=ops, dtypes=dtypes)

    def enter(function: Kernel) -> Kernel:
        _enter(function, declare(function), verdicts, trigger, "forward")
        return function

    return enter


def planted_gradient(
    *verdicts: str, of: Gradient, trigger: str, ops: tuple[str, ...] = CONV, dtypes: tuple[str, ...] = FLOATING
) -> Callable[[Backward], Backward]:
    """Enter the decorated function ``(x, w, dy, config)`` in the list: it computes one gradient of a layer that is otherwise correct."""

    def enter(function: Backward) -> Backward:
        def gradients(x: Array, w: Array, b: Array | None, dy: Array, config: ConvConfig) -> list[Array]:
            computed = {"grad_input": grad_input, "grad_weight": grad_weight, "grad_bias": grad_bias, of: function}
            return [compute(x, w, dy, config) for compute in computed.values()]

        @convfuzz.backend(ops=ops, dtypes=dtypes, gradients=gradients)
        def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
            return layer(x, w, b, config)

        _enter(function, kernel, verdicts, trigger, "gradients")
        return function

    return enter


def planted_unchecked(*verdicts: str, trigger: str) -> Callable[[Kernel], Kernel]:
    """Enter the decorated kernel in the list: one that says it rejects invalid calls."""
    declare = convfuzz.backend(ops=BOTH, dtypes=DTYPES, rejects_invalid=True)

    def enter(function: Kernel) -> Kernel:
        _enter(function, declare(function), verdicts, trigger, "invalid")
        return function

    return enter


def entered() -> tuple[Planted, ...]:
    """Return every kernel entered so far, in the order of its definition."""
    return tuple(_entered)


def _enter(mistake: Callable[..., object], kernel: Kernel, verdicts: tuple[str, ...], trigger: str, shows: Shows) -> None:
    name = mistake.__name__
    _entered.append(Planted(name, mistake, KernelBackend(name, kernel), frozenset(verdicts), trigger, shows))
