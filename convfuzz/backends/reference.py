"""The reference as a backend: the exact sums, rounded once to the case's dtype."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz import oracle
from convfuzz.backends.cuda import device_work
from convfuzz.backends.protocol import Outputs, Support
from convfuzz.backends.registry import Family
from convfuzz.case import Case
from convfuzz.case.dtypes import COMPONENTS, component_format, is_integer, numpy_dtype
from convfuzz.errors import BackendError
from convfuzz.judging.numerics import Numerics
from convfuzz.oracle import Expectation
from convfuzz.tensors.generator import Tensors

MODES = {
    "": "Numba on the CPU, float64 or double-double, rounded once",
    "cuda": "the same sums on a CUDA device, by Numba too; NUMBA_ENABLE_CUDASIM=1 simulates one",
}


class ReferenceBackend:
    """The Numba reference on the CPU as one more backend; it must agree with itself."""

    name = "reference"

    def __init__(self) -> None:
        self.versions: Mapping[str, str] = {"numba": version("numba")}
        self._oracle: ModuleType = oracle

    def supports(self, case: Case) -> Support:
        """Decline what has no derivative."""
        return Support.no("integers have no gradients") if case.grad and is_integer(case.config.dtype) else Support.YES

    def numerics(self, case: Case) -> Numerics:
        """One rounding at the end."""
        del case
        return Numerics()

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Compute in float64 or double-double and round once."""
        config = case.config
        if config.invalid_reason:
            raise ValueError(config.invalid_reason)
        found: dict[str, Expectation] = {"forward": self._oracle.reference(config, tensors.x, tensors.w, tensors.b, moments=False)}
        if case.grad:
            found |= self._oracle.gradients(config, tensors.x, tensors.w, tensors.dy, moments=False)
        return {name: _rounded(found[name].y, config.dtype) for name in case.passes}


class CudaReferenceBackend(ReferenceBackend):
    """The Numba reference on the current CUDA device.

    Raises:
        BackendError: there is no device and no simulator.
    """

    name = "reference:cuda"

    def __init__(self) -> None:
        from convfuzz.oracle import cuda  # noqa: PLC0415 - what this module imports is imported before processes are forked

        device = cuda.device_name()
        if device is None:
            raise BackendError(
                f"backend {self.name!r} needs a CUDA device and the compiler's libNVVM (pip install 'convfuzz[cuda]'), "
                "or Numba's simulator (NUMBA_ENABLE_CUDASIM=1)"
            )
        super().__init__()
        self.versions = {**self.versions, **_numba_cuda(), "CUDA device": device}
        self._oracle = cuda

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Compute on the device and round on the host."""
        with device_work(self._oracle.synchronize):
            return super().run(case, tensors)


def _rounded(y: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    if is_integer(dtype):
        return y.astype(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = component_format(dtype).round(y).astype(numpy_dtype(COMPONENTS.get(dtype, dtype)))
    return np.ascontiguousarray(rounded).view(dtype)[..., 0] if dtype in COMPONENTS else rounded


def _numba_cuda() -> dict[str, str]:
    """Return the version of the package that replaces Numba's own CUDA target, if it is installed."""
    try:
        return {"numba-cuda": version("numba-cuda")}
    except PackageNotFoundError:
        return {}


def _load(mode: str) -> ReferenceBackend:
    return CudaReferenceBackend() if mode == "cuda" else ReferenceBackend()


FAMILY = Family(summary="convfuzz's own reference", modes=MODES, load=_load)
