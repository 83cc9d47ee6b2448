"""Judging a solution of a problem: run the trials, end the process, compute what is right, and say what came of it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import cache_from_source
from pathlib import Path

import msgspec
import numpy as np

from convfuzz.checking.limits import Limits
from convfuzz.errors import NotCovered, UsageError
from convfuzz.judging.models import MODELS
from convfuzz.judging.numerics import Numerics
from convfuzz.record.versions import environment
from convfuzz.solutions.comparing import Compared, Kept, Right, keep
from convfuzz.solutions.least import Asked, Least, laid_out, least_input
from convfuzz.solutions.messages import Returned
from convfuzz.solutions.problem import Problem, problem_of
from convfuzz.solutions.process import Gone, SolutionProcess
from convfuzz.solutions.trials import Instance, Trial, plan
from convfuzz.system.json_records import Real
from convfuzz.system.safe_text import one_line
from convfuzz.triage.reduction import Budget
from convfuzz.verdicts import VALUES, Verdict

ACCEPTED, REJECTED, NOT_COVERED = "accepted", "rejected", "not-covered"
STATUS = {ACCEPTED: 0, REJECTED: 1, NOT_COVERED: 2}
_CALL_SECONDS, _LOAD_SECONDS = 60.0, 600.0
_EXPLAINED = 3
"""Of how many wrong outputs it is asked which arithmetic would explain them."""
_UNWRITTEN = b"\xff"
_LEAST_SECONDS = 10.0
"""How long the least input that fails is looked for."""


class TrialResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one trial. ``verdict`` is one of a backend's verdicts, or ``refused`` where a solution may refuse."""

    name: str
    instance: str
    verdict: str
    reason: str = ""
    elements_judged: int = 0
    elements: int = 0
    ratio: Real = Real(0)
    index: tuple[int, ...] = ()
    expected: Real = Real(0)
    actual: Real = Real(0)
    models: tuple[str, ...] = ()
    seconds: float = 0.0


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on a solution: ``accepted``, ``rejected`` or ``not-covered``, why, and on what evidence."""

    verdict: str
    problem: str
    solution: str
    seed: int
    reasons: tuple[str, ...] = ()
    cheating: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    trials: tuple[TrialResult, ...] = ()
    least: Least | None = None
    elements_judged: int = 0
    elements: int = 0
    versions: dict[str, str] = {}
    seconds: float = 0.0

    @property
    def status(self) -> int:
        """The exit status: 0 accepted, 1 rejected, 2 not covered."""
        return STATUS[self.verdict]


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
    found = case.judged(began + seconds)
    return msgspec.structs.replace(found, problem=str(problem), solution=str(solution), seconds=round(time.monotonic() - began, 3))


def _require_device() -> None:
    """Refuse to judge on a device that is not there, which is not the solution's fault. The solution's process is no fork of this one.

    Raises:
        UsageError: PyTorch sees none.
    """
    import torch  # noqa: PLC0415 - the problem's model needs it too

    if not torch.cuda.is_available():
        raise UsageError(f"--device cuda: PyTorch {torch.__version__} sees no CUDA device here")


@dataclass(eq=False)
class _Answer:
    """What came back from one trial: outputs with their inputs, an exception, or the end of the process."""

    instance: Instance
    trial: Trial
    kept: Kept | None = None
    uncovered: str = ""
    raised: str = ""
    gone: str = ""
    seconds: float = 0.0


class _Proceeding:
    """One judgement, from the trials to the verdict."""

    def __init__(self, problem: Problem, solution: Path, seed: int, device: str, numerics: Numerics, limits: Limits) -> None:
        self._solution, self._seed, self._device, self._numerics, self._limits = solution, seed, device, numerics, limits
        self._problem = problem
        # What an import has compiled is the problem's file too, which then is not opened itself.
        self._problem_files = {problem.path, Path(cache_from_source(str(problem.path)))}
        self._acts: list[str] = []
        self._notes: list[str] = []
        self._reasons: list[str] = []
        self._missing: set[str] = set()
        self._not_made = self._wrong = 0

    def judged(self, deadline: float) -> Judged:
        """Run the trials and judge them until the deadline."""
        try:
            self._problem.graph(self._problem.inputs(self._seed))
        except NotCovered as error:
            return self._verdict(NOT_COVERED, [str(error)], [])
        required, optional = plan(self._problem, self._seed)
        half = (time.monotonic() + deadline) / 2
        answers = self._ask(required, half)
        if not any(answer.gone for answer in answers) and not self._reasons:
            answers += self._ask(optional, half, last=True)
        # Only now that no process of the solution is left is anything computed that it could have returned.
        compared = self._compare(answers, deadline)
        return self._weigh([result for _, result in compared], self._least(answers, compared, deadline))

    # -- asking -------------------------------------------------------------------------------------------------------

    def _ask(self, instances: Sequence[Instance], until: float, *, last: bool = False) -> list[_Answer]:
        answers: list[_Answer] = []
        with SolutionProcess(self._limits.memory) as process:
            try:
                loaded = self._heard(process.load(self._solution, self._device, _LOAD_SECONDS))
                if loaded.raised:
                    self._reasons.append(f"it cannot be loaded: {loaded.raised}: {one_line(loaded.message)}")
                    return answers
                for instance in instances:
                    answers += self._ask_instance(process, instance, until)
                    if self._reasons or (answers and answers[-1].gone):
                        return answers
                if last and answers and not answers[-1].raised:
                    self._see_operations(process, answers[-1].trial)
                self._heard(Returned(acts=process.end()))
            except Gone as error:
                self._reasons.append(f"its process ended while it was loaded: {error}")
        return answers

    def _ask_instance(self, process: SolutionProcess, instance: Instance, until: float) -> list[_Answer]:
        """Make the trials of an instance, one of them in any case and the others as long as there is time."""
        answers: list[_Answer] = []
        try:
            made = self._heard(process.construct(self._problem.packed_arguments, instance.seed, instance.state, _LOAD_SECONDS))
        except Gone as error:
            self._reasons.append(f"its process ended in the constructor: {error}")
            return answers
        if made.raised:
            self._reasons.append(f"its constructor raised {made.raised}: {one_line(made.message)}")
            return answers
        self._missing |= set(made.missing)
        if made.missing and instance.needs_state:
            return answers  # it keeps its parameters in its own way, and has them as the constructor makes them only
        for trial in instance.trials:
            if answers and time.monotonic() > until:
                self._not_made += 1
                continue
            answer = _Answer(instance, trial)
            answers.append(answer)
            inputs = trial.make()
            try:
                returned, outputs = process.call(*laid_out(inputs, trial.layout), self._limits.case_timeout)
            except Gone as error:
                answer.gone = str(error)
                return answers
            self._heard(returned)
            answer.seconds = returned.seconds
            if returned.raised:
                answer.raised = f"{returned.raised}: {one_line(returned.message)}"
                continue
            try:
                answer.kept = keep(self._problem, inputs, outputs, self._seed)
            except NotCovered as error:
                answer.uncovered = str(error)
        return answers

    def _see_operations(self, process: SolutionProcess, trial: Trial) -> None:
        try:
            returned, _ = process.call(*laid_out(trial.make(), trial.layout), self._limits.case_timeout, traced=True)
        except Gone:
            return
        self._notes.extend(note for note in returned.noted if note not in self._notes)

    def _heard(self, returned: Returned) -> Returned:
        """Take down what the solution was seen to do."""
        acts = list(returned.acts)
        if any(Path(name).resolve() in self._problem_files for name in returned.opened):
            acts.append("reads the problem's file")
        self._acts.extend(act for act in acts if act not in self._acts)
        self._notes.extend(note for note in returned.noted if note not in self._notes)
        return returned

    # -- comparing ----------------------------------------------------------------------------------------------------

    def _compare(self, answers: Sequence[_Answer], deadline: float) -> list[tuple[_Answer, TrialResult]]:
        """Return each answer that there is time to judge, and what it is."""
        compared: list[tuple[_Answer, TrialResult]] = []
        draw = np.random.default_rng([self._seed, 2])
        not_judged = 0
        for number, answer in enumerate(answers):
            if answer.gone or answer.raised:
                compared.append((answer, self._unanswered(answer)))
            elif number > 0 and time.monotonic() > deadline and compared:
                not_judged += 1
            else:
                compared.append((answer, self._compared(answer, answers[:number], draw)))
        if not_judged or self._not_made:
            self._notes.append(
                f"{not_judged + self._not_made} of {len(answers) + self._not_made} trials were not judged in the time that was given"
            )
        return compared

    @staticmethod
    def _unanswered(answer: _Answer) -> TrialResult:
        why = answer.gone or f"raised {answer.raised}"
        verdict = "refused" if answer.trial.optional else Verdict.CRASH if answer.gone else Verdict.ERROR
        if answer.gone == "no answer in time":
            verdict = Verdict.TIMEOUT
        return TrialResult(name=answer.trial.name, instance=answer.instance.name, verdict=verdict, reason=why, seconds=answer.seconds)

    def _compared(self, answer: _Answer, before: Sequence[_Answer], draw: np.random.Generator) -> TrialResult:
        trial = answer.trial
        right = Right(self._problem, answer.instance.state, trial.integers, self._numerics)
        found = Compared(verdict="not-covered", reason=answer.uncovered)
        if answer.kept is not None:
            try:
                found = right.compare(answer.kept, draw, explain=self._wrong < _EXPLAINED)
            except NotCovered as error:
                found = Compared(verdict="not-covered", reason=str(error))
        reason = found.reason
        if found.failing and found.verdict != "not-covered":
            self._wrong += 1
            reason = "; ".join([*_looks_like(answer, before), reason])
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

    def _least(self, answers: Sequence[_Answer], compared: Sequence[tuple[_Answer, TrialResult]], deadline: float) -> Least | None:
        """Return the least input on which wrong numbers come back, with the constructor's parameters where these will do.

        The verdict is settled, so that the solution may run again beside what is right.
        """
        wrong = [(answer, one) for answer, one in compared if one.index and one.verdict in VALUES]
        seconds = min(deadline - time.monotonic(), _LEAST_SECONDS)
        if not wrong or seconds <= 0.0:
            return None

        def plainness(pair: tuple[_Answer, TrialResult]) -> tuple[bool, ...]:
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
        reasons = list(self._reasons)
        missing = ", ".join(sorted(self._missing)[:4])
        if wrong:
            reasons += _said(wrong, results)
            reasons += [str(least)] if least is not None else []
            if self._missing:
                reasons.append(f"it has no {missing} of the model's shape, and got what its own constructor makes")
        elif self._missing:
            self._notes.append(f"it has no {missing} of the model's shape: judged with what its constructor makes only")
        refused = [one for one in results if one.verdict == "refused"]
        if refused:
            self._notes.append(f"it refuses: {', '.join(one.name for one in refused)}")
        if self._acts or wrong or reasons:
            return self._verdict(REJECTED, [*(f"it {act}" for act in self._acts), *reasons], results, least)
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
            cheating=tuple(self._acts),
            notes=tuple(self._notes),
            trials=tuple(results),
            least=least,
            elements_judged=sum(one.elements_judged for one in results),
            elements=sum(one.elements for one in results),
            versions=environment(),
        )


def _said(wrong: Sequence[TrialResult], results: Sequence[TrialResult]) -> list[str]:
    """Say which trials are wrong, the worst first, and which arithmetic would explain all of them."""
    worst = min(wrong, key=lambda one: (Verdict(one.verdict).gravity, -float(one.ratio)))
    said = [f"{worst.name}: {worst.verdict}: {worst.reason}"]
    if worst.index:
        said[0] += f"; at {list(worst.index)} {float(worst.actual):.8g} instead of {float(worst.expected):.8g}"
    if len(wrong) > 1:
        said.append(f"{len(wrong)} of {len(results)} trials are wrong: {', '.join(dict.fromkeys(one.name for one in wrong))}")
    shared = set.intersection(*(set(one.models) for one in wrong[:_EXPLAINED]))
    explained = next((name for name in MODELS if name in shared), None)
    if explained == "direct":
        said.append("another order of adding up would explain it: --numerics without order=… allows that")
    elif explained is not None:
        declared = ",".join(f"{name}={str(value).lower()}" for name, value in MODELS[explained].items())
        said.append(f"{explained} would explain it: --numerics {declared} allows that")
    return said


def _looks_like(answer: _Answer, before: Sequence[_Answer]) -> list[str]:
    """Say what a wrong output looks like: an earlier one, memory that was never written, an input, zeros."""
    output = answer.kept.outputs[0] if answer.kept is not None and answer.kept.outputs else None
    if answer.kept is None or output is None or output.size < 2:
        return []
    data, found = output.tobytes(), []
    if any(earlier.kept is not None and earlier.kept.outputs and earlier.kept.outputs[0].tobytes() == data for earlier in before):
        found.append("it is the output of an earlier call")
    unwritten = np.all(np.frombuffer(data, np.uint8).reshape(output.size, -1) == _UNWRITTEN[0], axis=1)
    if unwritten.any():
        found.append(f"{int(np.count_nonzero(unwritten)):,} elements were never written")
    if any(isinstance(one, np.ndarray) and one.tobytes() == data for one in answer.kept.inputs):
        found.append("it is an input")
    if not output.any():
        found.append("it is all zeros")
    return found
