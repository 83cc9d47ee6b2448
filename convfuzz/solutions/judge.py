"""Judging a solution of a problem: run the trials, end the process, compute what is right, and say what came of it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from convfuzz.checking.limits import Limits
from convfuzz.errors import NotCovered, UsageError
from convfuzz.judging.numerics import Numerics
from convfuzz.record.versions import environment
from convfuzz.solutions.asking import Answer, Asking
from convfuzz.solutions.comparing import Compared, Right
from convfuzz.solutions.judged import ACCEPTED, EXPLAINED, NOT_COVERED, REJECTED, Judged, TrialResult, looks_like, told
from convfuzz.solutions.least import Asked, Least, least_input
from convfuzz.solutions.problem import Problem, problem_of
from convfuzz.solutions.process import get_ready
from convfuzz.solutions.trials import plan
from convfuzz.triage.reduction import Budget
from convfuzz.verdicts import VALUES, Verdict

__all__ = ["ACCEPTED", "NOT_COVERED", "REJECTED", "Judged", "TrialResult", "judge"]

_CALL_SECONDS = 60.0
_LEAST_SECONDS = 10.0
"""How long the least input that fails is looked for."""


def judge(
    problem: str | Path,
    solution: str | Path,
    *,
    seed: int | None = None,
    seconds: float = 60.0,
    device: str = "cpu",
    numerics: Numerics | None = None,
    limits: Limits | None = None,
) -> Judged:
    """Judge a solution of a problem: does its ``ModelNew`` compute what the problem's ``Model`` does?

    Args:
        problem: a Python file with a class ``Model``, an ``nn.Module``, and the functions ``get_inputs()`` and ``get_init_inputs()``.
        solution: a Python file with a class ``ModelNew``, constructed and called like ``Model``. It runs in a process of its own.
        seed: what the trials are drawn from; by default nobody knows it before.
        seconds: how long to go on computing what is right; what was not judged by then is said.
        device: ``"cpu"`` or ``"cuda"``: where the solution gets its inputs and parameters.
        numerics: the arithmetic that is allowed in convolutions and linear layers; direct sums in the dtype by default.
        limits: time of a call, and memory of the solution's process.

    Raises:
        UsageError: a file is none, or lacks what it has to have.
    """
    began = time.monotonic()
    drawn = secrets.randbits(31) if seed is None else seed
    if device not in ("cpu", "cuda"):
        raise UsageError(f"device={device!r} is not one of cpu, cuda")
    if device == "cuda":
        _require_device()
    given = problem_of(Path(problem).resolve())
    path = Path(solution).resolve()
    if not path.is_file() or path.suffix != ".py":
        raise UsageError(f"{solution} is no Python file")
    case = _Proceeding(given, path, drawn, device, numerics or Numerics(), limits or Limits(case_timeout=_CALL_SECONDS))
    found = case.judged(seconds)
    return msgspec.structs.replace(found, problem=str(problem), solution=str(solution), seconds=round(time.monotonic() - began, 3))


def _require_device() -> None:
    """Refuse to judge on a device that is not there, which is not the solution's fault. The solution's process is no fork of this one.

    Raises:
        UsageError: PyTorch sees none.
    """
    import torch  # noqa: PLC0415 - the problem's model needs it too

    if not torch.cuda.is_available():
        raise UsageError(f"--device cuda: PyTorch {torch.__version__} sees no CUDA device here")


class _Proceeding:
    """One judgement, from the trials to the verdict."""

    def __init__(self, problem: Problem, solution: Path, seed: int, device: str, numerics: Numerics, limits: Limits) -> None:
        self._solution, self._seed, self._device, self._numerics, self._limits = solution, seed, device, numerics, limits
        self._problem = problem
        self._asking = Asking(problem, solution, seed, device, limits)
        self._wrong = 0

    def judged(self, seconds: float) -> Judged:
        """Run the trials and judge them, for so long from when PyTorch is loaded here and there, and the model traced."""
        try:
            self._problem.graph(self._problem.inputs(self._seed))
        except NotCovered as error:
            return self._verdict(NOT_COVERED, [str(error)], [])
        get_ready()
        deadline = time.monotonic() + seconds
        required, optional = plan(self._problem, self._seed)
        half = (time.monotonic() + deadline) / 2
        answers = self._asking.ask(required, half)
        if not any(answer.gone for answer in answers) and not self._asking.reasons:
            answers += self._asking.ask(optional, half, last=True)
        # Only now that no process of the solution is left is anything computed that it could have returned.
        compared = self._compare(answers, deadline)
        return self._weigh([result for _, result in compared], self._least(answers, compared, deadline))

    # -- comparing ----------------------------------------------------------------------------------------------------

    def _compare(self, answers: Sequence[Answer], deadline: float) -> list[tuple[Answer, TrialResult]]:
        """Return each answer that there is time to judge, and what it is."""
        compared: list[tuple[Answer, TrialResult]] = []
        draw = np.random.default_rng([self._seed, 2])
        not_judged = 0
        for number, answer in enumerate(answers):
            if answer.gone or answer.raised:
                compared.append((answer, self._unanswered(answer)))
            elif number > 0 and time.monotonic() > deadline and compared:
                not_judged += 1
            else:
                compared.append((answer, self._compared(answer, answers[:number], draw)))
        left, made = not_judged + self._asking.not_made, len(answers)
        if left:
            self._asking.note(f"{left} of {made + self._asking.not_made} trials were not judged in the time that was given")
        return compared

    @staticmethod
    def _unanswered(answer: Answer) -> TrialResult:
        why = answer.gone or f"raised {answer.raised}"
        verdict = "refused" if answer.trial.optional else Verdict.CRASH if answer.gone else Verdict.ERROR
        if answer.gone == "no answer in time":
            verdict = Verdict.TIMEOUT
        return TrialResult(name=answer.trial.name, instance=answer.instance.name, verdict=verdict, reason=why, seconds=answer.seconds)

    def _compared(self, answer: Answer, before: Sequence[Answer], draw: np.random.Generator) -> TrialResult:
        trial = answer.trial
        right = Right(self._problem, answer.instance.state, trial.integers, self._numerics)
        found = Compared(verdict="not-covered", reason=answer.uncovered)
        if answer.kept is not None:
            try:
                found = right.compare(answer.kept, draw, explain=self._wrong < EXPLAINED)
            except NotCovered as error:
                found = Compared(verdict="not-covered", reason=str(error))
        if found.hidden and not found.failing:
            self._asking.note(f"returns {found.hidden} numbers where PyTorch's model has NaN or Inf ({trial.name})")
        if found.spread and not found.failing:
            self._asking.note(f"returns NaN or Inf in {found.spread} elements that depend on none, beside those that do ({trial.name})")
        reason = found.reason
        if found.failing and found.verdict != "not-covered":
            self._wrong += 1
            reason = "; ".join([*looks_like(answer, before), reason])
        return TrialResult(
            name=trial.name,
            instance=answer.instance.name,
            verdict=found.verdict,
            reason=reason,
            elements_judged=found.judged,
            elements=found.elements,
            ratio=found.ratio,
            index=found.index,
            expected=found.expected,
            actual=found.actual,
            models=found.models,
            seconds=answer.seconds,
        )

    def _least(self, answers: Sequence[Answer], compared: Sequence[tuple[Answer, TrialResult]], deadline: float) -> Least | None:
        """Return the least input on which wrong numbers come back, with the constructor's parameters where these will do.

        The verdict is settled, so that the solution may run again beside what is right.
        """
        wrong = [(answer, one) for answer, one in compared if one.index and one.verdict in VALUES]
        seconds = min(deadline - time.monotonic(), _LEAST_SECONDS)
        if not wrong or seconds <= 0.0:
            return None

        def plainness(pair: tuple[Answer, TrialResult]) -> tuple[bool, ...]:
            trial = pair[0].trial
            return trial.layout != "contiguous", pair[0].instance.needs_state, trial.optional

        answer, one = min(wrong, key=plainness)
        own = answer.instance
        plain = next((answer.instance for answer in answers if not answer.instance.needs_state), own)
        budget = Budget(seconds=seconds)
        limits = msgspec.structs.replace(self._limits, case_timeout=min(self._limits.case_timeout, seconds))
        for instance in dict.fromkeys([plain, own]):
            trial = replace(answer.trial, integers=answer.trial.integers and instance is own)
            with Asked(self._problem, self._solution, self._device, self._numerics, limits, instance, trial, Verdict(one.verdict)) as asked:
                found = least_input(asked, budget)
            if found is not None:
                return found
        return None

    # -- the verdict --------------------------------------------------------------------------------------------------

    def _weigh(self, results: Sequence[TrialResult], least: Least | None) -> Judged:
        wrong = [one for one in results if one.verdict not in (Verdict.AGREE, "refused", "not-covered")]
        reasons = list(self._asking.reasons)
        missing = ", ".join(sorted(self._asking.missing)[:4])
        if wrong:
            reasons += told(wrong, results)
            reasons += [str(least)] if least is not None else []
            if self._asking.missing:
                reasons.append(f"it has no {missing} of the model's shape, and got what its own constructor makes")
        elif self._asking.missing:
            self._asking.note(f"it has no {missing} of the model's shape: judged with what its constructor makes only")
        refused = [one for one in results if one.verdict == "refused"]
        if refused:
            self._asking.note(f"it refuses: {', '.join(one.name for one in refused)}")
        if self._asking.acts or wrong or reasons:
            return self._verdict(REJECTED, [*(f"it {act}" for act in self._asking.acts), *reasons], results, least)
        judged = sum(one.elements_judged for one in results)
        uncovered = [one for one in results if one.verdict == "not-covered"]
        if not judged or len(uncovered) == len(results):
            why = uncovered[0].reason if uncovered else "no element of any trial could be decided"
            return self._verdict(NOT_COVERED, [why], results)
        return self._verdict(ACCEPTED, [f"{len(results) - len(refused)} trials agree with the model"], results)

    def _verdict(self, verdict: str, reasons: Sequence[str], results: Sequence[TrialResult], least: Least | None = None) -> Judged:
        return Judged(
            verdict=verdict,
            problem="",
            solution="",
            seed=self._seed,
            reasons=tuple(reasons),
            cheating=tuple(self._asking.acts),
            notes=tuple(self._asking.notes),
            trials=tuple(results),
            least=least,
            elements_judged=sum(one.elements_judged for one in results),
            elements=sum(one.elements for one in results),
            versions=environment(),
        )
