"""Asking a solution: the trials are made in a process of its own, and what comes back is kept until that process has ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path

from convfuzz.checking.limits import Limits
from convfuzz.errors import NotCovered
from convfuzz.solutions.comparing import Kept, Wanted, wanted
from convfuzz.solutions.least import laid_out
from convfuzz.solutions.messages import Returned
from convfuzz.solutions.problem import Problem
from convfuzz.solutions.process import Gone, SolutionProcess
from convfuzz.solutions.trials import Instance, Trial
from convfuzz.system.safe_text import one_line

_LOAD_SECONDS = 600.0


@dataclass(eq=False)
class Answer:
    """What came back from one trial: outputs with their inputs, an exception, or the end of the process."""

    instance: Instance
    trial: Trial
    kept: Kept | None = None
    uncovered: str = ""
    raised: str = ""
    gone: str = ""
    seconds: float = 0.0


class Asking:
    """Asks a solution, and takes down what it was seen to do.

    ``acts`` is what no solution has to do, ``notes`` what a reader may want to know, ``reasons`` why it could not be asked, ``missing``
    the parameters of the model that it does not have, ``not_made`` how many trials there was no time for.
    """

    def __init__(self, problem: Problem, solution: Path, seed: int, device: str, limits: Limits) -> None:
        self._problem, self._solution, self._seed, self._device, self._limits = problem, solution, seed, device, limits
        # What an import has compiled is the problem's file too, which then is not opened itself.
        self._problem_files = {problem.path, Path(cache_from_source(str(problem.path)))}
        self.acts: list[str] = []
        self.notes: list[str] = []
        self.reasons: list[str] = []
        self.missing: set[str] = set()
        self.not_made = 0

    def ask(self, instances: Sequence[Instance], until: float, *, last: bool = False) -> list[Answer]:
        """Call the solution in a process of its own, with all trials of the instances for which there is time, and return its answers.

        The ``last`` time it is also seen which of PyTorch's functions it calls.
        """
        answers: list[Answer] = []
        with SolutionProcess(self._limits.memory) as process:
            answers = self._answers(process, instances, until, last=last)
        if process.left:
            self.note(f"leaves {process.left} {'process' if process.left == 1 else 'processes'} behind, which the judge ended")
        return answers

    def _answers(self, process: SolutionProcess, instances: Sequence[Instance], until: float, *, last: bool) -> list[Answer]:
        answers: list[Answer] = []
        try:
            loaded = self._heard(process.load(self._solution, self._device, _LOAD_SECONDS))
            if loaded.raised:
                self.reasons.append(f"it cannot be loaded: {loaded.raised}: {one_line(loaded.message)}")
                return answers
            for instance in instances:
                answers += self._ask_instance(process, instance, until)
                if self.reasons or (answers and answers[-1].gone):
                    return answers
            if last and answers and not answers[-1].raised:
                self._see_operations(process, answers[-1].trial)
            self._heard(process.end())
        except Gone as error:
            self.reasons.append(f"its process ended while it was loaded: {error}")
        return answers

    def _ask_instance(self, process: SolutionProcess, instance: Instance, until: float) -> list[Answer]:
        """Make the trials of an instance, one of them in any case and the others as long as there is time."""
        answers: list[Answer] = []
        try:
            made = self._heard(process.construct(self._problem.packed_arguments, instance.seed, instance.state, _LOAD_SECONDS))
        except Gone as error:
            self.reasons.append(f"its process ended in the constructor: {error}")
            return answers
        if made.raised:
            self.reasons.append(f"its constructor raised {made.raised}: {one_line(made.message)}")
            return answers
        self.missing |= set(made.missing)
        if made.missing and instance.needs_state:
            return answers  # it keeps its parameters in its own way, and has them as the constructor makes them only
        for trial in instance.trials:
            if answers and time.monotonic() > until:
                self.not_made += 1
                continue
            answer = self._ask_one(process, Answer(instance, trial))
            answers += [answer] if answer is not None else []
            if answer is not None and answer.gone:
                break
        return answers

    def _ask_one(self, process: SolutionProcess, answer: Answer) -> Answer | None:
        """Make one trial; none where the model itself cannot be called so, such as at another size."""
        trial = answer.trial
        inputs, chosen = trial.make(), None
        try:
            chosen = wanted(self._problem, inputs, self._seed)
        except NotCovered as error:
            if trial.optional:
                return None
            answer.uncovered = str(error)
        arrays, plain = laid_out(inputs, trial.layout)
        del inputs  # of a large layer nothing stays here while the solution computes but what will be judged
        try:
            returned, outputs = process.call(arrays, plain, self._limits.case_timeout, kept=_members(chosen))
        except Gone as error:
            answer.gone = str(error)
            return answer
        self._heard(returned)
        answer.seconds = returned.seconds
        if returned.raised:
            answer.raised = f"{returned.raised}: {one_line(returned.message)}"
        elif chosen is not None:
            answer.kept = chosen.keep(returned.outputs, outputs, returned.container)
        return answer

    def _see_operations(self, process: SolutionProcess, trial: Trial) -> None:
        try:
            returned, _ = process.call(*laid_out(trial.make(), trial.layout), self._limits.case_timeout, kept=(0,), traced=True)
        except Gone:
            return
        for note in returned.noted:
            self.note(note)

    def _heard(self, returned: Returned) -> Returned:
        """Take down what the solution was seen to do."""
        acts = list(returned.acts)
        if any(Path(name).resolve() in self._problem_files for name in returned.opened):
            acts.append("reads the problem's file")
        self.acts.extend(act for act in acts if act not in self.acts)
        for note in returned.noted:
            self.note(note)
        return returned

    def note(self, note: str) -> None:
        """Take down what a reader may want to know, once."""
        if note not in self.notes:
            self.notes.append(note)


def _members(chosen: Wanted | None) -> Sequence[int] | None:
    """Return which members of the outputs will be looked at; the first one alone where the model cannot be judged."""
    if chosen is None:
        return (0,)
    return None if chosen.members is None else [int(member) for member in chosen.members]
