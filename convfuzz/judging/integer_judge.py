"""Judging outputs of one pass in an integer dtype, which are exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz.judging.float_judge import index_of
from convfuzz.judging.judgement import Judgement, said_integers
from convfuzz.judging.numerics import Numerics
from convfuzz.judging.pass_sums import PassSums
from convfuzz.system.json_records import Real
from convfuzz.verdicts import Discrepancy, Verdict

Floats = npt.NDArray[np.float64]


class IntegerJudge:
    """Judges outputs in an integer dtype: they are exact, modulo 2^bits where a sum is beyond the dtype."""

    def __init__(self, sums: PassSums) -> None:
        self.expected = sums.expected

    def judge(self, actual: npt.NDArray[Any], numerics: Numerics) -> Judgement:
        """Compare without a tolerance."""
        y: npt.NDArray[Any] = self.expected.y
        if np.array_equal(actual, y):
            return Judgement(verdict=Verdict.AGREE, discrepancy=Discrepancy(elements=actual.size))
        error, _ = self.errors(actual, numerics)
        at = index_of(int(np.argmax(error)), error.shape)
        over = int(np.count_nonzero(actual != y))
        found = Discrepancy(
            elements=actual.size,
            max_abs=Real(error[at]),
            index=at,
            expected=Real(y[at]),
            actual=Real(actual[at]),
            over=over,
            required_rtol=Real(np.max(error / np.abs(y.astype(np.float64)), where=actual != y, initial=0.0)),
        )
        return Judgement(verdict=Verdict.WRONG, discrepancy=found, reason=said_integers(found, y[at], actual[at]))

    def errors(self, actual: npt.NDArray[Any], numerics: Numerics) -> tuple[Floats, Floats]:
        """Return |error|, at least 1 where two integers differ, and a tolerance of 0."""
        del numerics
        error = np.abs(actual.astype(np.float64) - self.expected.y.astype(np.float64))
        return np.maximum(error, actual != self.expected.y), np.zeros_like(error)
