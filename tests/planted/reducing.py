"""Reducing a failing case of a planted kernel in this process, as a campaign does, and measuring what is left of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.checking.checker import Checker, fold_check
from convfuzz.record.confirmation import ProcessRuns, Step
from convfuzz.record.events import BackendEnded
from convfuzz.record.finding import Finding
from convfuzz.tensors.generator import make_tensors
from convfuzz.triage.triage import Triage
from convfuzz.verdicts import Verdict

from .registry import Planted

_PLAINEST = ConvConfig(dims=1, in_channels=1, out_channels=1, input_size=(1,), kernel_size=(1,))
_MOST_CALLS = 200


@dataclass(frozen=True)
class Reduced:
    """What a campaign keeps of one failing case of a kernel, how many candidates that took, and how long."""

    bug: Planted
    finding: Finding
    tried: int
    seconds: float

    @property
    def case(self) -> Case:
        """The minimal case."""
        return Case.parse(self.finding.case)

    @property
    def non_default(self) -> list[str]:
        """The minimal case's parameters as :func:`non_default` counts them."""
        return non_default(self.case)

    @property
    def non_zeros(self) -> dict[str, int]:
        """How many elements of each tensor are not zero."""
        return {name: int(np.count_nonzero(array)) for name, array in make_tensors(self.case).named().items()}


def non_default(case: Case) -> list[str]:
    """Return the parameters of a case that are not what a reduction ends with where everything fails.

    That is a convolution in one dimension with sizes and channels of 1, float32 and nothing else.
    """
    changed = [name for name, value in case.config.as_fields().items() if _values(value) != _values(getattr(_PLAINEST, name))]
    return [*changed, *(["grad"] if case.grad else [])]


def _values(parameter: object) -> object:
    """Return a per-axis parameter as the set of its values, since the number of axes is a parameter of its own."""
    return frozenset(parameter) if isinstance(parameter, tuple) else parameter


class _Here:
    """Runs cases in this process, and says that it was a fresh one."""

    def __init__(self, bug: Planted) -> None:
        self._checker = Checker([bug.backend], repeat_one_in=1)
        self.tried = 0

    def evaluate(self, case: Case, backend: str, *, hasty: bool = False) -> BackendEnded:
        del hasty
        self.tried += 1
        found = fold_check(case, self._checker.events(case))
        return found.results[0] if found.results else BackendEnded(backend=backend, verdict=Verdict.UNSUPPORTED, seconds=0.0)

    def rerun(self, case: Case, backend: str, history: Sequence[Step], seconds: float, *, hasty: bool = False) -> BackendEnded:
        del history, seconds, hasty
        return self.evaluate(case, backend)


def reduced(bug: Planted, case: Case, seconds: float) -> Reduced:
    """Reduce a ``case`` on which the kernel fails, for ``seconds`` at most."""
    here, runs, step = _Here(bug), ProcessRuns(), Step(bug.name, str(case))
    failure = next(result for result in (here.evaluate(case, bug.name) for _ in range(_MOST_CALLS)) if result.verdict.failing)
    runs.add(step)
    here.tried, began = 0, time.perf_counter()
    triage = Triage(here, seconds=2 * seconds, per_finding=seconds)
    finding, _, _ = triage.consider(case, failure, runs.until(step), lambda _: None)
    return Reduced(bug, finding, here.tried, time.perf_counter() - began)
