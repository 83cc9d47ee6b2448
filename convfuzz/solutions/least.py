"""The least input on which a rejected solution is still wrong: fewer members, smaller maps, most elements zero."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np

from convfuzz.case.dtypes import dtype_name
from convfuzz.checking.limits import Limits
from convfuzz.errors import NotCovered
from convfuzz.judging.numerics import Numerics
from convfuzz.solutions.comparing import Compared, Kept, Right, wanted
from convfuzz.solutions.messages import packed
from convfuzz.solutions.problem import Inputs, Problem, arrays_of, is_float
from convfuzz.solutions.process import Gone, SolutionProcess
from convfuzz.solutions.trials import Instance, Trial
from convfuzz.system.json_records import Real
from convfuzz.tensors.generator import Array
from convfuzz.tensors.layouts import placement
from convfuzz.triage.ddmin import ddmin
from convfuzz.triage.reduction import Budget
from convfuzz.verdicts import VALUES, Verdict

_MOST_ELEMENTS = 16
"""So many elements are told one by one; an input with more of them is no small one."""
_MOST_PROCESSES = 4
"""How often a solution whose process ends on a candidate is started again."""


class LeastInput(msgspec.Struct, frozen=True, kw_only=True):
    """One input: zeros but for ``elements``, which are (index, value)."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    elements: tuple[tuple[tuple[int, ...], Real], ...] = ()

    def __str__(self) -> str:
        size = "×".join(map(str, self.shape))
        told = ", ".join(f"[{', '.join(map(str, index))}] = {float(value):.8g}" for index, value in self.elements)
        return f"{self.name} of {size} zeros" + (f", but {told}" if told else "")


class Least(msgspec.Struct, frozen=True, kw_only=True):
    """The least that fails: with which parameters, what the solution is called with, and the worst element of what it returns.

    ``seed`` is that of the constructor, after which the parameters are as they are unless ``instance`` says that others were drawn.
    """

    instance: str
    seed: int
    layout: str
    inputs: tuple[LeastInput, ...]
    verdict: str
    index: tuple[int, ...] = ()
    expected: Real = Real(0)
    actual: Real = Real(0)
    is_as_constructed: bool = False
    script: str = ""
    """What shows it without convfuzz, where the parameters are the constructor's."""

    def __str__(self) -> str:
        made = f"parameters after torch.manual_seed({self.seed})"
        parameters = made if self.is_as_constructed else f"the parameters of {self.instance!r}"
        layout = "" if self.layout == "contiguous" else f", {self.layout.replace('_', ' ')} in memory"
        worst = f"{float(self.actual):.8g} at {list(self.index)} instead of {float(self.expected):.8g}" if self.index else self.verdict
        return f"the least input found that fails: {'; '.join(map(str, self.inputs))}{layout}, with {parameters}: {worst}"


def laid_out(inputs: Inputs, layout: str) -> tuple[list[Array | None], list[Any]]:
    """Return tensors as they lie in memory, and the rest of the inputs."""
    arrays: list[Array | None] = []
    plain = []
    for one in inputs:
        if isinstance(one, np.ndarray):
            place = placement(layout, one.shape, channels=1 if one.ndim > 2 else -1, expanded=-1)
            is_so = one.ndim == 0 or (place.is_plain and one.flags.c_contiguous)
            arrays.append(one if is_so else place.place(one))
        else:
            arrays.append(None)
            plain.append(packed(one))
    return arrays, plain


@dataclass(eq=False)
class Asked:
    """A solution that is called again and again with candidates; what its process does to itself is no candidate's failure."""

    problem: Problem
    solution: Path
    device: str
    numerics: Numerics
    limits: Limits
    instance: Instance
    trial: Trial
    verdict: Verdict
    """Of what came of the trial; another failure that is less grave, or of another kind, is none."""

    def __post_init__(self) -> None:
        self._process: SolutionProcess | None = None
        self._started = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.forget()

    def forget(self) -> None:
        """End the process, so that the next call is the first of a new one."""
        if self._process is not None:
            self._process.close()
        self._process = None

    def compared(self, inputs: Inputs) -> Compared | None:
        """Return what is wrong with the numbers that come back; ``None`` where nothing is, or none come."""
        right = Right(self.problem, self.instance.state, self.trial.integers, self.numerics)
        try:
            came = self._kept(inputs)
            if came is None:
                return None
            found = right.compare(came, np.random.default_rng(0), explain=False)
        except Gone:
            self.forget()
            return None
        except NotCovered:
            return None
        return found if self._is_such(found) else None

    def _is_such(self, found: Compared) -> bool:
        if not found.failing or found.verdict == "not-covered":
            return False
        verdict = Verdict(found.verdict)
        return verdict == self.verdict or ({verdict, self.verdict} <= VALUES and verdict.gravity <= self.verdict.gravity)

    def _kept(self, inputs: Inputs) -> Kept | None:
        process = self._open()
        if process is None:
            return None
        chosen = wanted(self.problem, inputs, 0)
        members = None if chosen.members is None else [int(member) for member in chosen.members]
        returned, outputs = process.call(*laid_out(inputs, self.trial.layout), self.limits.case_timeout, kept=members)
        return None if returned.raised else chosen.keep(returned.outputs, outputs, returned.container)

    def _open(self) -> SolutionProcess | None:
        if self._process is None and self._started < _MOST_PROCESSES:
            self._started += 1
            self._process = SolutionProcess(self.limits.memory)
            self._process.load(self.solution, self.device, self.limits.case_timeout)
            self._process.construct(self.problem.packed_arguments, self.instance.seed, self.instance.state, self.limits.case_timeout)
        return self._process


def least_input(asked: Asked, budget: Budget) -> Least | None:
    """Reduce the inputs of a trial that fails, as long as the budget lasts.

    Only what fails in the first call of a process, too, is returned, and what is small: ``None`` where there is nothing such.
    """
    inputs = asked.trial.make()
    if asked.compared(inputs) is None:
        return None
    search = _Search(asked, inputs, budget)
    search.members()
    search.sizes()
    search.elements()
    search.values()
    asked.forget()
    found = asked.compared(search.inputs)
    if found is None or sum(np.count_nonzero(one) for one in arrays_of(search.inputs)) > _MOST_ELEMENTS:
        return None
    names = asked.problem.graph(search.inputs).inputs
    least = Least(
        instance=asked.instance.name,
        seed=asked.instance.seed,
        is_as_constructed=not asked.instance.needs_state,
        layout=asked.trial.layout,
        inputs=tuple(_described(name, one) for name, one in zip(names, arrays_of(search.inputs), strict=True)),
        verdict=found.verdict,
        index=found.index,
        expected=found.expected,
        actual=found.actual,
    )
    is_shown = least.is_as_constructed and least.layout == "contiguous" and len(least.inputs) == len(search.inputs)
    return (
        msgspec.structs.replace(least, script=script_of(least, asked.problem.path, asked.solution)) if is_shown and least.index else least
    )


def _described(name: str, array: Array) -> LeastInput:
    places = [tuple(int(i) for i in place) for place in np.argwhere(array)]
    elements = tuple((place, Real(float(str(array[place])))) for place in places)  # the shortest that is read as the same number
    return LeastInput(name=name, shape=array.shape, dtype=dtype_name(array.dtype), elements=elements)


class _Search:
    """The least inputs so far that fail."""

    def __init__(self, asked: Asked, inputs: Inputs, budget: Budget) -> None:
        self.inputs = inputs
        self._asked, self._budget = asked, budget

    def _attempt(self, inputs: Inputs) -> bool:
        if not self._budget.spend() or self._asked.compared(inputs) is None:
            return False
        self.inputs = inputs
        return True

    def _attempt_each(self, candidates: Iterator[Inputs]) -> bool:
        return any(self._attempt(candidate) for candidate in candidates)

    def members(self) -> None:
        """Leave the first member of the batch, or halves of it."""
        batch = self._batch()
        if batch > 1 and not self._attempt(_changed(self.inputs, lambda v: v[:1].copy())):
            while self._batch() > 1 and self._attempt_each(self._cropped(0, self._batch() // 2)):
                pass

    def _batch(self) -> int:
        arrays = arrays_of(self.inputs)
        sizes = {one.shape[0] if one.ndim > 1 else 0 for one in arrays}
        return sizes.pop() if len(sizes) == 1 else 0

    def sizes(self) -> None:
        """Crop each spatial axis of a model's only input, at either end: by halves, then by one."""
        if len(arrays_of(self.inputs)) != 1:
            return
        for axis in range(2, arrays_of(self.inputs)[0].ndim):
            for by_halves in (True, False):
                while self._attempt_each(self._cropped(axis, self._less(axis, by_halves=by_halves))):
                    pass

    def _less(self, axis: int, *, by_halves: bool) -> int:
        size = int(arrays_of(self.inputs)[0].shape[axis])
        return size // 2 if by_halves else size - 1

    def _cropped(self, axis: int, kept: int) -> Iterator[Inputs]:
        """Yield what is left of an axis at its beginning and at its end."""
        for part in (slice(None, kept), slice(-kept, None)) if kept > 0 else ():
            cut = (*[slice(None)] * axis, part)
            yield _changed(self.inputs, partial(_part, cut=cut))

    def elements(self) -> None:
        """Set as many elements to zero as possible, by delta debugging."""
        if self._attempt(_changed(self.inputs, np.zeros_like)):
            return
        for number, given in enumerate(self.inputs):
            if isinstance(given, np.ndarray) and is_float(given):
                if self._attempt(self._with(number, np.zeros_like(given))):
                    continue
                ddmin(np.flatnonzero(given).tolist(), partial(self._keeps, number, given), self._budget)

    def _keeps(self, number: int, given: Array, kept: list[int]) -> bool:
        left = np.zeros_like(given)
        left.reshape(-1)[kept] = given.reshape(-1)[kept]
        found = self._asked.compared(self._with(number, left))
        if found is not None:
            self.inputs = self._with(number, left)
        return found is not None

    def values(self) -> None:
        """Set what is left to 1, or to fewer digits."""
        for number, given in enumerate(self.inputs):
            if not isinstance(given, np.ndarray) or not is_float(given):
                continue
            places = np.flatnonzero(given)
            for place in places if len(places) <= _MOST_ELEMENTS else ():
                self._attempt_each(self._simpler(number, int(place)))

    def _simpler(self, number: int, place: int) -> Iterator[Inputs]:
        value = float(self.inputs[number].reshape(-1)[place])
        for simple in dict.fromkeys((1.0, *(float(f"{value:.{digits}g}") for digits in (1, 2, 3)))):
            if simple != value and np.isfinite(value):
                changed = self.inputs[number].copy()
                changed.reshape(-1)[place] = simple
                yield self._with(number, changed)

    def _with(self, number: int, array: Array) -> Inputs:
        return [array if i == number else one for i, one in enumerate(self.inputs)]


def _part(array: Array, cut: tuple[slice, ...]) -> Array:
    return array[cut].copy()


def _changed(inputs: Inputs, change: Callable[[Array], Array]) -> Inputs:
    return [change(one) if isinstance(one, np.ndarray) and is_float(one) else one for one in inputs]


def script_of(least: Least, problem: Path, solution: Path) -> str:
    """Return what shows the least input that fails without convfuzz, in the folder of both files.

    What the problem calls its inputs are keys, so that no name of the script's own can be one of them.
    """
    made = [
        f"torch.manual_seed({least.seed})\n{name} = {of}(*get_init_inputs()).eval()"
        for name, of in (("model", "Model"), ("new", "ModelNew"))
    ]
    given = []
    for one in least.inputs:
        given.append(f"inputs[{one.name!r}] = torch.zeros({one.shape}, dtype=torch.{one.dtype})")
        given += [f"inputs[{one.name!r}][{', '.join(map(str, index))}] = {_literal(float(value))}" for index, value in one.elements]
    call = f"(*inputs.values())[{', '.join(map(str, least.index))}].item()"
    return "\n".join(
        [
            "import torch",
            f"from {problem.stem} import Model, get_init_inputs",
            f"from {solution.stem} import ModelNew",
            "",
            *made,
            "new.load_state_dict(model.state_dict(), strict=False)",
            "inputs = {}",
            *given,
            "with torch.no_grad():",
            f'    print(new{call}, "instead of", model{call})',
            "",
        ]
    )


def _literal(value: float) -> str:
    return repr(value) if np.isfinite(value) else f'float("{value}")'
