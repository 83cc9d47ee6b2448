"""Judging the outputs of one case against the reference: which elements are off, by how much, and what that means."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from convfuzz.case import Case
from convfuzz.case.dtypes import dtype_name, is_integer
from convfuzz.judging.comparing import comparable
from convfuzz.judging.float_judge import FloatJudge
from convfuzz.judging.integer_judge import IntegerJudge
from convfuzz.judging.judgement import Judgement
from convfuzz.judging.numerics import Numerics
from convfuzz.judging.pass_sums import LayerSums
from convfuzz.judging.sampled_judge import SampledPass
from convfuzz.oracle import Expectation
from convfuzz.tensors.generator import Tensors
from convfuzz.verdicts import Verdict

Floats = npt.NDArray[np.float64]


class Judge:
    """Judges outputs of one case, pass by pass: holds the reference's expectations and each tolerance once.

    Backends that return the same bits under the same numerics get the same judgement, which is made once.

    ``integers`` says that the tensors hold integers, whose sums can be exact; by default the case's recipe says so. ``sampled`` says
    that a sample of each result is judged, as :mod:`.sampled_judge` does of large layers.
    """

    def __init__(self, case: Case, tensors: Tensors, *, integers: bool | None = None, sampled: bool = False) -> None:
        self.case = case
        self.is_sampled = sampled
        self._tensors, self._integers = tensors, case.recipe.has_integers if integers is None else integers
        self._sums = LayerSums(case.config, tensors, integers=self._integers)
        self._passes: dict[str, FloatJudge | IntegerJudge] = {}
        self._samples: dict[str, SampledPass] = {}
        self._judged: dict[tuple[str, Numerics, bytes], Judgement] = {}

    @property
    def reference_seconds(self) -> float:
        """How long the reference took for what was judged so far."""
        return self._sums.seconds + sum(sample.seconds for sample in self._samples.values())

    @property
    def expected(self) -> Expectation:
        """What the reference says of the forward pass."""
        return self.of("forward").expected

    def judge(self, output: npt.NDArray[Any], numerics: Numerics, in_pass: str = "forward") -> Judgement:
        """Judge a backend's ``output`` of one pass under the ``numerics`` that it declares for the case."""
        shape, dtype = self.case.shape_of(in_pass), self.case.config.dtype
        if output.shape != shape:
            return Judgement(verdict=Verdict.WRONG_SHAPE, reason=f"shape {output.shape}, expected {shape}")
        if dtype_name(output.dtype) != dtype:
            return Judgement(verdict=Verdict.WRONG_DTYPE, reason=f"dtype {output.dtype}, expected {dtype}")
        if not numerics.values:
            return Judgement(verdict=Verdict.AGREE, reason="shape and dtype only")
        with np.errstate(all="ignore"):  # unwritten memory may hold signalling NaN, and Inf − Inf is a result here
            if self.is_sampled:
                return self.sample(in_pass).judge(output, numerics.in_pass(in_pass))
            of_pass = numerics.in_pass(in_pass)
            same_bits = in_pass, of_pass, output.tobytes()
            if same_bits not in self._judged:
                self._judged[same_bits] = self.of(in_pass).judge(comparable(output), of_pass)
            return self._judged[same_bits]

    def errors(self, output: npt.NDArray[Any], numerics: Numerics, in_pass: str = "forward") -> tuple[Floats, Floats]:
        """Return |error| and tolerance of every element of an ``output`` that has the right shape and dtype.

        The error is Inf where NaN or Inf is wrong, and 0 where they are left open; the tolerance is 0 where sums are exact.
        """
        with np.errstate(all="ignore"):
            return self.of(in_pass).errors(comparable(output), numerics.in_pass(in_pass))

    def sample(self, in_pass: str) -> SampledPass:
        """Return the judge of a sample of one pass of a large case."""
        if in_pass not in self._samples:
            self._samples[in_pass] = SampledPass(self.case, self._tensors, in_pass, integers=self._integers)
        return self._samples[in_pass]

    def compared(self, output: npt.NDArray[Any], in_pass: str) -> npt.NDArray[Any]:
        """Return the elements of an output of the right shape that are judged: itself, or of a large case a sample, in a row."""
        return self.sample(in_pass).sampled(output) if self.is_sampled and output.shape == self.case.shape_of(in_pass) else output

    def of(self, in_pass: str) -> FloatJudge | IntegerJudge:
        """Return the judge of one pass; the reference computes when the first output of it is there."""
        if in_pass not in self._passes:
            judge = IntegerJudge if is_integer(self.case.config.dtype) else FloatJudge
            self._passes[in_pass] = judge(self._sums.of(in_pass))
        return self._passes[in_pass]
