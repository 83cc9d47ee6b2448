"""Calling a backend on the operands of a case: what it returned or what went wrong, and whether its operands are as they were."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import numpy as np
import psutil

from convfuzz.backends import Backend, Outputs
from convfuzz.backends.arrays import NotAnArrayError
from convfuzz.backends.compiling import seconds_compiled
from convfuzz.case import Case, Pass
from convfuzz.checking.limits import GIB, tensor_nbytes
from convfuzz.errors import MemoryLimitExceeded, Unsupported
from convfuzz.judging.comparing import max_abs_between
from convfuzz.judging.judgement import Judgement
from convfuzz.tensors.generator import Tensors, make_tensors, redraw
from convfuzz.tensors.guards import GuardedMemory, Guards, Side
from convfuzz.tensors.poison import fill_freed
from convfuzz.tensors.stretches import contents
from convfuzz.verdicts import Verdict

_LONGEST_REASON = 400


@dataclass
class Attempt:
    """One call of a backend: the case it ran, its outputs by pass or what went wrong, and how long it took without compiling."""

    case: Case
    seconds: float = 0.0
    outputs: Outputs = field(default_factory=dict)
    failure: Judgement | None = None
    raised: bool = False


def fill_tensors(case: Case, most_bytes: int) -> Tensors:
    """Fill the tensors of a case that can be run at all.

    Raises:
        Unsupported: it cannot: no call can describe it, its tensors cannot be made, or tensors and results take more than
            ``most_bytes``, or more than the machine has.
    """
    config = case.config
    if config.contradiction:
        raise Unsupported(f"no call can express it: {config.contradiction}")
    if min((*config.input_shape, *config.weight_shape)) < 0:
        raise Unsupported("tensors of a negative size cannot be made")
    needed = tensor_nbytes(case)
    if needed > most_bytes:
        raise Unsupported(f"tensors and results take more than {most_bytes / GIB:g} GiB, which is all that --memory-limit allows")
    if needed > GIB and (free := psutil.virtual_memory().available) < needed + GIB:
        raise Unsupported(f"tensors and results take {needed / GIB:.1f} GiB, and this machine has {free / GIB:.1f} GiB left")
    return make_tensors(case)


class Caller:
    """Calls backends on the operands of one case.

    ``caught`` are the exceptions that are a backend's own failure. Operands of a large case are moved to where they are guarded, and
    back, so that they are nowhere twice.
    """

    def __init__(self, case: Case, tensors: Tensors, caught: tuple[type[BaseException], ...], guards: Guards, *, is_large: bool) -> None:
        self._case, self._tensors, self._caught, self._guards, self._is_large = case, tensors, caught, guards, is_large
        self._pristine = {name: contents(array) for name, array in tensors.named().items()}

    def call(self, backend: Backend, case: Case, guarded_side: Side = "end") -> Attempt:
        """Call a backend on ``case``, which is the whole case or its forward pass."""
        attempt = Attempt(case)
        try:
            tensors = handed = self._handed(backend, guarded_side)
        except OSError as error:  # such as of a kernel that keeps every operand that it has been handed
            attempt.failure = Judgement(verdict=Verdict.MEMORY, reason=f"no memory is left for its operands: {error.strerror}")
            if self._is_large:
                redraw(self._case, self._tensors)  # some of which may have been moved
            return attempt
        if not case.grad:
            tensors = replace(tensors, dy=None)
        self._poison_freed_memory()  # last: handing operands over takes memory too
        began, compiled = time.perf_counter(), seconds_compiled()
        try:
            attempt.outputs = backend.run(case, tensors)
        except Unsupported as error:
            attempt.failure = Judgement(verdict=Verdict.UNSUPPORTED, reason=one_short_line(error))
        except MemoryLimitExceeded as error:
            attempt.failure = Judgement(verdict=Verdict.MEMORY, reason=str(error))
        except self._caught as error:  # whatever a backend raises is its verdict
            attempt.failure, attempt.raised = raised_error(error), not isinstance(error, NotAnArrayError)
        attempt.seconds = time.perf_counter() - began - (seconds_compiled() - compiled)
        if attempt.failure is None and not isinstance(attempt.outputs.get("forward"), np.ndarray):
            attempt.failure = Judgement(verdict=Verdict.ERROR, reason="returned no array for the forward pass")
        overruns = handed.memory.overruns() if handed.memory else []
        if self._is_large and handed.memory is not None:
            attempt.outputs = _apart_from(handed, attempt.outputs)
        changed = self._changed_inputs(handed)
        if changed or overruns:
            reason = "; ".join([*([f"changed its input {', '.join(changed)}"] if changed else []), *overruns])
            attempt.failure = Judgement(verdict=Verdict.CORRUPTED_INPUT, reason=reason)
        return attempt

    def _handed(self, backend: Backend, side: Side) -> Tensors:
        """Return what the backend is handed: the operands themselves, or copies that are guarded."""
        needs = getattr(backend, "buffer_needs", None)  # of a Guarded one, likewise
        if needs is None:
            return self._tensors.views()
        return self._tensors.guarded(GuardedMemory(self._guards, needs, side), moved=self._is_large)

    def _changed_inputs(self, handed: Tensors) -> list[str]:
        """Return the names of the inputs that a backend has changed, and put them back."""
        if handed.memory is not None:
            changed = handed.memory.changed()
            handed.memory.give_back()
            if changed and self._is_large:
                redraw(self._case, self._tensors)
            return changed
        arrays = self._tensors.named()
        changed = [name for name, array in arrays.items() if contents(array) != self._pristine[name]]
        for name in changed:
            arrays[name].flags.writeable = True
            if isinstance(pristine := self._pristine[name], bytes):
                arrays[name][...] = np.frombuffer(pristine, dtype=arrays[name].dtype).reshape(arrays[name].shape)
        if any(not isinstance(self._pristine[name], bytes) for name in changed):
            redraw(self._case, self._tensors)
        return changed

    def _poison_freed_memory(self) -> None:
        """Mark freed memory of the size of the outputs, where one that is not written most likely comes from."""
        if self._case.config.is_valid:
            for in_pass in self._case.passes:
                fill_freed(self._case.shape_of(in_pass), self._tensors.x.dtype)


def _apart_from(handed: Tensors, outputs: Outputs) -> Outputs:
    """Copy the outputs that lie in operands which are about to be moved back: nothing is left there then."""
    operands = handed.named().values()

    def lies_there(output: object) -> bool:
        return isinstance(output, np.ndarray) and any(np.may_share_memory(output, operand) for operand in operands)

    return {name: output.copy() if lies_there(output) else output for name, output in outputs.items()}


def is_the_same(first: Attempt, again: Attempt) -> bool:
    """Whether two calls returned the same bits in every pass, so that the judgement of one is that of the other."""
    arrays = ((first.outputs[name], again.outputs.get(name)) for name in first.case.passes)
    return all(
        isinstance(other, np.ndarray) and (one.shape, one.dtype) == (other.shape, other.dtype) and one.tobytes() == other.tobytes()
        for one, other in arrays
    )


def differing(first: Attempt, again: Attempt) -> Pass | None:
    """Return the first pass in which two calls on the same data do not return the same numbers."""
    passes = first.case.passes
    return next((name for name in passes if max_abs_between(first.outputs[name], again.outputs[name]) != 0.0), None)


def raised_error(error: BaseException, what: str = "") -> Judgement:
    """Return an exception as the verdict ``error``; ``what`` says before it what has raised."""
    return Judgement(verdict=Verdict.ERROR, reason=f"{what}{type(error).__name__}: {one_short_line(error)}".rstrip(": "))


def one_short_line(told: object) -> str:
    """Return what a backend says, a reason or an exception, as one line that is not too long and that every encoding holds."""
    try:
        text = " ".join(str(told).encode(errors="backslashreplace").decode().split())
    except Exception:  # noqa: BLE001 - the message is the backend's code, which may raise anything
        return "its message cannot be shown"
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 1] + "…"
