"""The canary: a deliberately wrong backend that every campaign plants, so that a blind judge cannot look green."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from convfuzz import oracle
from convfuzz.backends import Outputs, Support
from convfuzz.case import Case
from convfuzz.case.dtypes import FLOATS, numpy_dtype
from convfuzz.judging.judge import Judge
from convfuzz.judging.numerics import Numerics
from convfuzz.judging.sampled_judge import is_large
from convfuzz.record.events import CanaryEnded
from convfuzz.tensors.generator import Tensors, make_tensors


class Canary:
    """Computes the convolution without its last non-zero tap of the first output kernel."""

    name = "canary"
    versions: Mapping[str, str] = {}

    def supports(self, case: Case) -> Support:
        """Only the exact regime: there a missing tap must be seen, whatever its size."""
        seen = case.recipe.regime == "integers" and case.config.is_valid and case.config.dtype in FLOATS
        return Support.YES if seen else Support.no("integers in a float dtype only")

    def numerics(self, case: Case) -> Numerics:
        """Nothing to declare."""
        del case
        return Numerics()

    def run(self, case: Case, tensors: Tensors) -> Outputs:
        """Drop the tap and sum the rest exactly."""
        w = tensors.w.copy()
        nonzero = np.argwhere(w[:1])
        if nonzero.size:
            w[tuple(nonzero[-1])] = 0
        y = oracle.reference(case.config, tensors.x, w, tensors.b, moments=False).y
        return {"forward": FLOATS[case.config.dtype].round(y).astype(numpy_dtype(case.config.dtype))}


def plant(case: Case) -> CanaryEnded | None:
    """Run the canary on ``case``; ``None`` where its mistake does not show, or would take long to, so that it says nothing."""
    canary = Canary()
    if not canary.supports(case) or is_large(case):
        return None
    tensors = make_tensors(case)
    judge = Judge(case, tensors)
    output = canary.run(case, tensors)["forward"]
    if np.array_equal(output.astype(np.float64), judge.expected.y):
        return None
    verdict = judge.judge(output, canary.numerics(case)).verdict
    return CanaryEnded(verdict.failing, verdict)
