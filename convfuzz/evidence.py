"""What a finding shows beyond its verdict: where in a result the errors sit."""

from __future__ import annotations

import numpy as np

from convfuzz.backends import Backend
from convfuzz.case import Case
from convfuzz.dtypes import is_complex
from convfuzz.error_map import ErrorMap, map_errors
from convfuzz.judging import Judge
from convfuzz.tensors import make_tensors


def locate(case: Case, backend: Backend, in_pass: str) -> ErrorMap | None:
    """Run ``backend`` on ``case`` and map the errors of one pass; ``None`` where it has no such result, or none is off."""
    tensors = make_tensors(case)
    try:
        output, numerics = backend.run(case, tensors)[in_pass], backend.numerics(case)
    except Exception:  # noqa: BLE001 - it is known to fail; without a result there is nothing to map
        return None
    if output.shape != case.shape_of(in_pass) or output.ndim == 0:
        return None
    error, tolerance = Judge(case, tensors).errors(output, numerics, in_pass)
    off = np.asarray(error > tolerance)
    if is_complex(case.config.dtype):
        off = np.asarray(off.any(axis=-1))
    return map_errors(str(case), off, sites=0 if in_pass == "grad_bias" else case.config.dims)
