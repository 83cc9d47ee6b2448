"""What a finding shows beyond its verdict: where in a result the errors sit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convfuzz.backends import Backend, Outputs
from convfuzz.case import Case
from convfuzz.case.dtypes import is_complex
from convfuzz.errors import Unsupported
from convfuzz.judging.comparing import comparable
from convfuzz.judging.judge import Judge
from convfuzz.judging.sampled_judge import is_large
from convfuzz.record.error_map import ErrorMap, map_errors
from convfuzz.record.finding import Element
from convfuzz.system.json_records import Real
from convfuzz.tensors.generator import Tensors, make_tensors


def locate(case: Case, backend: Backend, in_pass: str) -> ErrorMap | None:
    """Run ``backend`` on ``case`` and map the errors of one pass.

    ``None`` where it has no such result, where none is off, or where the case is large, of which a sample is judged.
    """
    if is_large(case):
        return None
    tensors = make_tensors(case)
    try:
        output, numerics = _outputs(case, tensors, backend)[in_pass], backend.numerics(case)
    except Exception:  # noqa: BLE001 - it is known to fail; without a result there is nothing to map
        return None
    if output.shape != case.shape_of(in_pass) or output.ndim == 0:
        return None
    error, tolerance = Judge(case, tensors).errors(output, numerics, in_pass)
    off = np.asarray(error > tolerance)
    if is_complex(case.config.dtype):
        off = np.asarray(off.any(axis=-1))
    return map_errors(str(case), off, sites=0 if in_pass == "grad_bias" else case.config.dims)


_WORST_ELEMENTS = 8


def worst_elements(case: Case, backend: Backend, in_pass: str) -> list[Element]:
    """Run ``case`` once more and return the elements of one pass that are furthest off."""
    tensors = make_tensors(case)
    try:
        output = _outputs(case, tensors, backend)[in_pass]
    except Exception:  # noqa: BLE001 - it computed a moment ago; without its output there are no elements to show
        return []
    if output.shape != case.shape_of(in_pass):
        return []
    judge = Judge(case, tensors, sampled=is_large(case))
    if judge.is_sampled:
        found = judge.sample(in_pass).worst(output, _WORST_ELEMENTS)
        return [Element(index, Real(expected), Real(actual)) for index, expected, actual in found]
    y, values = judge.of(in_pass).expected.y, comparable(output)
    with np.errstate(all="ignore"):
        same = (values == y) | (np.isnan(values) & np.isnan(y))
        error = np.where(same, 0.0, np.nan_to_num(np.abs(values.astype(np.float64) - y), nan=np.inf)).reshape(-1)
    order = np.argsort(-error, kind="stable")[:_WORST_ELEMENTS]
    return [
        Element(tuple(int(i) for i in np.unravel_index(k, y.shape)), Real(y.reshape(-1)[k]), Real(values.reshape(-1)[k]))
        for k in order
        if error[k] > 0.0
    ]


def _outputs(case: Case, tensors: Tensors, backend: Backend) -> Outputs:
    """Run ``backend`` as a check does: the forward pass alone where it declines the gradients, beforehand or when it is called."""
    forward = replace(case, grad=False), replace(tensors, dy=None)
    if not case.grad or not backend.supports(case):
        return backend.run(*forward)
    try:
        return backend.run(case, tensors)
    except Unsupported:
        return backend.run(*forward)
