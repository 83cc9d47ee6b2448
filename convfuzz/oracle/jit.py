"""How the reference's kernels are compiled: one decorator, and the fused multiply-add that Numba lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from numba import njit, types
from numba.extending import intrinsic

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` to machine code on its first call; no fast-math, so every operation is IEEE 754's."""
    return cast("Callable[P, R]", njit(cache=True, nogil=True)(function))


def compiled_for_vectors(function: Callable[P, R]) -> Callable[P, R]:
    """Compile like :func:`compiled`, but divisions by zero give Inf and NaN as NumPy's do: loops that divide become vector code."""
    return cast("Callable[P, R]", njit(cache=True, nogil=True, error_model="numpy")(function))


def _fma(_typing_context: Any, a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.fma(*args)

    return types.float64(a, b, c), codegen


fma = cast("Callable[[float, float, float], float]", intrinsic(_fma))
"""a·b + c with one rounding. For use in compiled functions only."""
