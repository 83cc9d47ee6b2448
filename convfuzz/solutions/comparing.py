"""What came back from a trial beside what should have: whole where that is cheap, some members of the batch or some elements elsewhere."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import numpy.typing as npt

from convfuzz.backends.isolated.wire import Strided
from convfuzz.case import Case
from convfuzz.errors import NotCovered
from convfuzz.graphs.bounded import Bounded, Floats
from convfuzz.graphs.graph import Graph
from convfuzz.graphs.layers import ConvCall, describe
from convfuzz.graphs.parts import cost, is_by_member
from convfuzz.graphs.sampled import can_be_sampled, sample
from convfuzz.judging.judge import Judge
from convfuzz.judging.models import MODELS, ways_to_round
from convfuzz.judging.numerics import INPUT_ROUNDINGS, OUTPUT_ROUNDINGS, Numerics
from convfuzz.solutions.hiding import hidden, is_certain, spread
from convfuzz.solutions.problem import Inputs, Problem, State, arrays_of
from convfuzz.system.json_records import Real
from convfuzz.tensors.generator import Array, Tensors
from convfuzz.tensors.stretches import stretches
from convfuzz.verdicts import Verdict

MOST_PRODUCTS = 2**28
"""How many products are computed for one trial, about half a second's worth."""
MOST_ELEMENTS = 2**22
"""Of how many numbers the largest result on the way may be made: 32 MiB each for values, bounds and sums."""
_FAR_TOO_MANY = 4
_LEAST_PUT_ASIDE, _AT_ONCE = 2**20, 2**22
_MOST_SAMPLED_MEMBERS = 4


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One output beside what is right: how many of its elements were judged, which is worst, and what would explain it."""

    verdict: str
    elements: int = 0
    judged: int = 0
    undecided: int = 0
    hidden: int = 0
    """How many of the undecided are numbers where PyTorch's model has NaN or Inf."""
    spread: int = 0
    """How many elements, left out, are NaN or Inf, do not depend on one, and are of a member of the batch that has one."""
    over: int = 0
    ratio: Real = Real(0)
    index: tuple[int, ...] = ()
    expected: Real = Real(0)
    actual: Real = Real(0)
    reason: str = ""
    models: tuple[str, ...] = ()

    @property
    def failing(self) -> bool:
        """Whether it is wrong."""
        return self.verdict != Verdict.AGREE


@dataclass(frozen=True, eq=False)
class Kept:
    """What is kept of a call until it is judged: all of inputs and outputs, or those of some ``members`` of the batch.

    Large ones are in files. ``elements`` is how many the outputs have in all; ``refused`` is there where it needs no computing that they
    are wrong.
    """

    inputs: Inputs
    outputs: list[Array]
    elements: int
    members: np.ndarray | None = None
    is_sampled: bool = False
    refused: Compared | None = None


@dataclass(frozen=True, eq=False)
class Wanted:
    """What of a call is going to be judged, known before it is made: all of its ``inputs`` and outputs, or those of some ``members``."""

    graph: Graph
    inputs: Inputs
    members: np.ndarray | None = None
    is_sampled: bool = False

    def keep(self, headers: Sequence[Strided], outputs: list[Array], container: str) -> Kept:
        """Keep the outputs that came, which are those of the members that are wanted; ``headers`` say what they are of.

        ``container`` is what they came in, empty where that was one tensor.
        """
        elements = sum(math.prod(header.shape) for header in headers)
        refused = _misshapen(self.graph, headers, container)
        aside = [one if refused is not None else put_aside(one) for one in outputs]
        return Kept(self.inputs, aside, elements, self.members, self.is_sampled, refused)


def wanted(problem: Problem, inputs: Inputs, seed: int) -> Wanted:
    """Choose what will be judged: the whole where that is cheap, members of the batch where each is computed from itself alone.

    Calls of the same shapes have the same members chosen.

    Raises:
        NotCovered: the model cannot be judged at these shapes.
    """
    graph = problem.graph(inputs)
    products, largest = cost(graph)
    share = max(products / MOST_PRODUCTS, largest / MOST_ELEMENTS)
    if share <= 1.0:
        return Wanted(graph, _aside(inputs))
    batch = _batch(problem, graph, inputs)
    if batch is None:
        if largest > _FAR_TOO_MANY * MOST_ELEMENTS:
            raise NotCovered(f"a result of {largest:,} elements whose members depend on each other")
        return Wanted(graph, _aside(inputs))
    is_sampled = share > batch and can_be_sampled(graph)
    count = min(max(int(MOST_ELEMENTS * batch / largest), 1), _MOST_SAMPLED_MEMBERS) if is_sampled else max(int(batch / share), 1)
    draw = np.random.default_rng([seed, 2, batch])
    first = [0, batch - 1] if count > 1 and batch > 1 else [int(draw.integers(batch))]
    others = draw.permutation([member for member in range(batch) if member not in first])[: max(count - len(first), 0)]
    members = np.sort(np.array([*first, *others], np.int64))
    some = [one[members] if isinstance(one, np.ndarray) else one for one in inputs]
    return Wanted(graph, _aside(some), members, is_sampled)


def _aside(inputs: Inputs) -> Inputs:
    return [put_aside(one) if isinstance(one, np.ndarray) else one for one in inputs]


def put_aside(array: Array) -> Array:
    """Return a large array as one in a file without a name, so that what waits to be judged takes no memory."""
    if array.nbytes < _LEAST_PUT_ASIDE:
        return array
    with tempfile.TemporaryFile() as file:
        for part in stretches(array.shape, _AT_ONCE):
            file.write(np.ascontiguousarray(array[part]).tobytes())
        file.flush()
        return np.asarray(np.memmap(file, np.uint8, "c", shape=(array.nbytes,))).view(array.dtype).reshape(array.shape)


def _misshapen(graph: Graph, outputs: Sequence[Strided], container: str) -> Compared | None:
    if outputs and bool(container) != bool(graph.container):  # whose elements whoever calls it would take for the result's
        came, right = (f"a {kind} of {count}" if kind else "a tensor" for kind, count in
                       ((container, len(outputs)), (graph.container, len(graph.outputs))))  # fmt: skip
        return Compared(verdict=Verdict.WRONG_SHAPE, reason=f"{came}, expected {right}")
    if len(outputs) != len(graph.outputs):
        return Compared(verdict=Verdict.WRONG_SHAPE, reason=f"{len(outputs)} tensors, expected {len(graph.outputs)}")
    for output, name in zip(outputs, graph.outputs, strict=True):
        if output.shape != graph.shapes[name]:
            return Compared(verdict=Verdict.WRONG_SHAPE, reason=f"shape {output.shape}, expected {graph.shapes[name]}")
        if output.dtype != graph.dtypes[name]:
            return Compared(verdict=Verdict.WRONG_DTYPE, reason=f"dtype {output.dtype}, expected {graph.dtypes[name]}")
    return None


def _batch(problem: Problem, graph: Graph, inputs: Inputs) -> int | None:
    """Return the size of the batch of which each member is computed from itself alone; ``None`` where there is no such thing."""
    arrays = arrays_of(inputs)
    batch = arrays[0].shape[0] if arrays and arrays[0].ndim > 1 else 0
    if not batch or any(one.ndim < 2 or one.shape[0] != batch for one in arrays):
        return None
    try:
        one = problem.graph([array[:1] if isinstance(array, np.ndarray) else array for array in inputs])
    except NotCovered:  # such as of an input without a batch, whose first axis are channels
        return None
    return batch if is_by_member(graph, one, batch) else None


@dataclass(frozen=True, eq=False)
class Right:
    """What a call should have given: computed when the solution's process has ended."""

    problem: Problem
    state: State
    integers: bool
    numerics: Numerics

    def compare(self, kept: Kept, draw: np.random.Generator, *, explain: bool = True) -> Compared:
        """Compare what was kept of all outputs, and return the worst of the comparisons, with the elements of all.

        ``explain`` asks which arithmetic would explain what is wrong.

        Raises:
            NotCovered: an operation has no rule for what it is given.
        """
        if kept.refused is not None:
            return kept.refused
        graph = self.problem.graph(kept.inputs)
        found = self._sampled(graph, kept, draw) if kept.is_sampled else self._whole(graph, kept.inputs, kept.outputs, explain=explain)
        index = found.index
        if kept.members is not None and index:
            index = (int(kept.members[index[0]]), *index[1:])
        return msgspec.structs.replace(found, elements=kept.elements, index=index)

    def _sampled(self, graph: Graph, kept: Kept, draw: np.random.Generator) -> Compared:
        """Compare some elements in every channel."""
        chosen = sample(graph, arrays_of(kept.inputs)[0], self.state, self.numerics, draw)
        output = chosen.of(kept.outputs[0]).astype(np.float64)
        beyond = spread(kept.inputs, output, chosen.right.value, chosen.places[None, ..., 0])
        found = beside(np.where(beyond, chosen.right.value, output), chosen.right)
        index = tuple(int(i) for i in chosen.places[found.index[1:]]) if found.index else ()
        return msgspec.structs.replace(found, index=index, spread=int(np.count_nonzero(beyond)))

    def _whole(self, graph: Graph, inputs: Inputs, outputs: Sequence[Array], *, explain: bool) -> Compared:
        convolution = graph.convolution()
        arrays = arrays_of(inputs)
        if convolution is not None:
            call = ConvCall(convolution.base, convolution.arguments, convolution.named)
            held = {name: self.state[parameter] for name, parameter in graph.held.items()}
            operands = [
                None if ref is None else arrays[0] if ref.name in graph.inputs else held[ref.name]
                for ref in (call.input, call.weight, call.bias)
            ]
            x, w, b = operands
            assert x is not None, "a convolution has an input"
            assert w is not None, "and a weight"
            dtype = graph.dtypes[convolution.name]
            config = describe(x.shape, w.shape, dtype=dtype, bias=b is not None, **call.parameters)
            judge = Judge(Case(config), Tensors(x, w, b), integers=self.integers)
            found = self._of_layer(judge, outputs[0])
            if found.verdict != Verdict.NON_FINITE:
                return found
            outputs, count = self._without_spread(graph, inputs, outputs, [judge.expected.y])
            return msgspec.structs.replace(self._of_layer(judge, outputs[0]), spread=count) if count else found
        right = graph.evaluate(arrays, self.state, self.numerics)
        outputs, beyond = self._without_spread(graph, inputs, outputs, [one.value for one in right])
        results = [beside(output.astype(np.float64), one) for output, one in zip(outputs, right, strict=True)]
        worst = max(results, key=lambda one: (one.failing, float(one.ratio)))
        numbers = hidden(self.problem, self.state, inputs, outputs, right)
        count = sum(int(np.count_nonzero(one)) for one in numbers)
        if count and not worst.failing and is_certain(graph):
            worst = _hiding(count, numbers, outputs)
        elif worst.failing and explain:
            worst = msgspec.structs.replace(worst, models=self._models(graph, arrays, outputs))
        return msgspec.structs.replace(
            worst, elements=sum(one.elements for one in results), judged=sum(one.judged for one in results),
            undecided=sum(one.undecided for one in results), hidden=count, spread=beyond,
        )  # fmt: skip

    def _without_spread(self, graph: Graph, inputs: Inputs, outputs: Sequence[Array], right: Sequence[Array]) -> tuple[list[Array], int]:
        """Return outputs with what is right in place of NaN and Inf that members of the batch have spread within themselves."""
        arrays = arrays_of(inputs)
        if all(np.isfinite(one.astype(np.float64)).all() for one in arrays) or _batch(self.problem, graph, inputs) is None:
            return list(outputs), 0
        beyond = [spread(inputs, output, value) for output, value in zip(outputs, right, strict=True)]
        filled = [np.where(there, value, output).astype(output.dtype) for there, value, output in zip(beyond, right, outputs, strict=True)]
        return filled, sum(int(np.count_nonzero(there)) for there in beyond)

    def _of_layer(self, judge: Judge, output: Array) -> Compared:
        """Judge a model that is a convolution and nothing else as any backend is judged."""
        found = judge.judge(output, self.numerics)
        seen = found.discrepancy
        if seen is None:
            return Compared(verdict=found.verdict, elements=output.size, judged=output.size, reason=found.reason)
        return Compared(
            verdict=found.verdict,
            elements=output.size,
            judged=output.size - seen.undecided,
            undecided=seen.undecided,
            over=seen.over,
            ratio=Real(0.0 if seen.ratio is None else seen.ratio),
            index=seen.index,
            expected=seen.expected,
            actual=seen.actual,
            reason=found.reason,
            models=(found.model,) if found.model else (),
        )

    def _models(self, graph: Graph, arrays: Sequence[Array], outputs: Sequence[Array]) -> tuple[str, ...]:
        """Return the arithmetics whose bounds hold these outputs, the narrowest kinds first."""
        covering = []
        declared = self.numerics.in_any_order()  # so that another order than a declared one is the narrowest kind
        for name, change in MODELS.items():
            if all(getattr(declared, field) == value for field, value in change.items()) and (change or self.numerics.order is None):
                continue
            if "accumulator" in change:
                continue  # whose bound without a closer look at the sums would explain nearly anything
            if "outputs" in change and not _are_stored(outputs, change["outputs"]):
                continue
            try:
                right = graph.evaluate(arrays, self.state, replace(declared, **change))
            except NotCovered:
                continue
            if _agree(outputs, right) and ("inputs" not in change or self._is_of_rounded(change["inputs"], graph, arrays, outputs)):
                covering.append(name)
        return tuple(covering)

    def _is_of_rounded(self, name: str, graph: Graph, arrays: Sequence[Array], outputs: Sequence[Array]) -> bool:
        """Whether inputs, weights or both that are rounded first give these outputs; where that cannot be tried the bound has to do."""
        multiplied = graph.multiplied()
        if multiplied is None:
            return True
        for rounded in ways_to_round(INPUT_ROUNDINGS[name]):
            inputs = [rounded(array) if of in multiplied else array for of, array in zip(graph.inputs, arrays, strict=True)]
            weights = {graph.held[of] for of in multiplied if of in graph.held}
            state = {of: rounded(array) if of in weights else array for of, array in self.state.items()}
            ways = ((inputs, state), (inputs, self.state), (arrays, state))
            if any(_agree(outputs, graph.evaluate(x, held, self.numerics)) for x, held in ways):
                return True
        return False


def _hiding(count: int, numbers: Sequence[npt.NDArray[np.bool_]], outputs: Sequence[Array]) -> Compared:
    """Say that numbers came back where every way to compute the model has NaN or Inf."""
    which = next(k for k, one in enumerate(numbers) if one.any())
    at = tuple(int(i) for i in np.argwhere(numbers[which])[0])
    return Compared(
        verdict=Verdict.NON_FINITE,
        over=count,
        index=at,
        expected=Real(float("nan")),
        actual=Real(outputs[which][at]),
        reason=f"{count:,} elements are numbers where a NaN or an Inf is read",
    )


def _agree(outputs: Sequence[Array], right: Sequence[Bounded]) -> bool:
    return not any(beside(output.astype(np.float64), one).failing for output, one in zip(outputs, right, strict=True))


def _are_stored(outputs: Sequence[Array], name: str) -> bool:
    """Whether results are numbers of another format, and more than zeros, which every format has."""
    values = [output.astype(np.float64) for output in outputs]
    return all(v.any() and np.array_equal(OUTPUT_ROUNDINGS[name].apply(v), v, equal_nan=True) for v in values)


def beside(actual: Floats, right: Bounded) -> Compared:
    """Compare an output with what is right, element by element."""
    if actual.size == 0:
        return Compared(verdict=Verdict.AGREE)
    with np.errstate(all="ignore"):
        is_open = np.isinf(right.error)
        off = np.abs(actual - right.value)
        off = np.where(is_open, 0.0, np.where(np.isfinite(actual), off, np.inf))
        over = off > right.error
        ratio = np.where(off == 0.0, 0.0, off / np.where(right.error > 0.0, right.error, 2.0**-1074))
    at = tuple(int(i) for i in np.unravel_index(int(np.argmax(ratio)), actual.shape))
    count, misplaced = int(np.count_nonzero(over)), int(np.count_nonzero(np.isinf(off)))
    verdict = Verdict.NON_FINITE if misplaced else Verdict.WRONG if count else Verdict.AGREE
    undecided = int(np.count_nonzero(is_open))
    by = (
        "NaN or Inf where there is none"
        if misplaced
        else f"worst {ratio[at]:.3g} times the tolerance"
        if right.error[at]
        else "where no error is allowed"
    )
    worst = f"{count:,} of {actual.size:,} elements are off, {by}" if count else ""
    return Compared(
        verdict=verdict, elements=actual.size, judged=actual.size - undecided, undecided=undecided, over=count, ratio=Real(ratio[at]),
        index=at, expected=Real(right.value[at]), actual=Real(actual[at]), reason=worst,
    )  # fmt: skip
