"""The reference as a backend: the exact sum, rounded once to the case's dtype."""

from __future__ import annotations

from collections.abc import Mapping

import numba
import numpy as np

from convfuzz.backends.protocol import Outputs, Support
from convfuzz.backends.registry import Family
from convfuzz.case import Case
from convfuzz.dtypes import FLOATS, numpy_dtype
from convfuzz.numerics import Numerics
from convfuzz.oracle import reference
from convfuzz.tensors import Tensors


class ReferenceBackend:
    """The Numba reference on the CPU, as one more voice; it must agree with itself."""

    name = "reference"
    versions: Mapping[str, str] = {"numba": numba.__version__}

    def supports(self, case: Case) -> Support:
        """Decline dtypes without data regimes, and gradients."""
        if case.grad:
            return Support.no("gradients are not wired up yet")
        return Support.YES if case.config.dtype in FLOATS else Support.no(f"dtype {case.config.dtype}")

    def numerics(self, case: Case) -> Numerics:
        """One rounding at the end."""
        del case
        return Numerics()

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Compute in float64 or double-double and round once."""
        if case.config.invalid_reason:
            raise ValueError(case.config.invalid_reason)
        y = reference(case.config, tensors.x, tensors.w, tensors.b, moments=False).y
        with np.errstate(over="ignore", invalid="ignore"):
            return {"forward": FLOATS[case.config.dtype].round(y).astype(numpy_dtype(case.config.dtype))}


def _load(mode: str) -> ReferenceBackend:
    del mode
    return ReferenceBackend()


FAMILY = Family(summary="convfuzz's own reference", modes={"": "Numba on the CPU, float64 or double-double, rounded once"}, load=_load)
