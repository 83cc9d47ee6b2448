"""The high-precision reference: every convolution pass in float64, double-double or modulo 2^bits. It shares no code with backends."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from convfuzz.oracle.expectation import Expectation

if TYPE_CHECKING:
    from convfuzz.oracle.passes import gradients, reference

__all__ = ["Expectation", "gradients", "reference"]


def __getattr__(name: str) -> Any:
    """Look a function up when it is first used: it takes Numba, which whoever only reads or draws cases does without."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module("convfuzz.oracle.passes"), name)
    return found
