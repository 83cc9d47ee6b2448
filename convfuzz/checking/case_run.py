"""One case in progress: its tensors and its judge, and each backend that runs on it and is judged."""

from __future__ import annotations

import time
import traceback
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import numpy.typing as npt
import psutil

from convfuzz.backends import Backend, Guarded, Outputs
from convfuzz.backends.arrays import NotAnArrayError
from convfuzz.backends.compiling import seconds_compiled
from convfuzz.case import Case, DataRecipe, Pass
from convfuzz.case.dtypes import dtype_name
from convfuzz.checking.calls import called_again, judging
from convfuzz.checking.limits import GIB, tensor_nbytes
from convfuzz.errors import MemoryLimitExceeded, Unsupported
from convfuzz.judging.comparing import max_abs_between
from convfuzz.judging.judge import Judge
from convfuzz.judging.judgement import Judgement, settle
from convfuzz.judging.numerics import Numerics
from convfuzz.judging.sampled_judge import is_large
from convfuzz.record.events import BackendEnded
from convfuzz.system.json_records import Real
from convfuzz.tensors.generator import Tensors, make_tensors
from convfuzz.tensors.guards import GuardedMemory, Guards, Side
from convfuzz.tensors.poison import count_unwritten, fill_freed
from convfuzz.tensors.regimes import integer_draws
from convfuzz.tensors.stretches import stretches
from convfuzz.verdicts import Discrepancy, Verdict

REPEAT_ONE_IN = 8
"""One case in so many runs twice in a campaign."""
_LONGEST_REASON = 400
_AT_ONCE = 2**22
"""So many elements of a large operand are copied at a time."""


@dataclass
class _Attempt:
    """One call of a backend: the case it ran, its outputs by pass or what went wrong, and how long it took without compiling."""

    case: Case
    seconds: float = 0.0
    outputs: Outputs = field(default_factory=dict)
    failure: Judgement | None = None
    raised: bool = False


@dataclass(frozen=True)
class _Result:
    """The gravest judgement of a call, the pass that it is about, the discrepancy of each pass, and what else fails.

    ``seconds`` is how long the backend took where it was called again on integers.
    """

    judgement: Judgement
    in_pass: Pass = "forward"
    discrepancies: dict[Pass, Discrepancy] = field(default_factory=dict)
    also: dict[Pass, Verdict] = field(default_factory=dict)
    seconds: float = 0.0


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


class CaseRun:
    """One case in progress: its tensors, its judge, and the outputs so far.

    ``caught`` are the exceptions that are a backend's own failure; one case in ``repeat_one_in`` runs twice. With ``samples``,
    and of a large layer, a backend that takes many calls is run by a sample of them first, and by all only where that fails.
    ``guards`` says how the operands of backends that may overrun them are guarded: their ends in a first call, their beginnings
    in a second.
    """

    def __init__(
        self,
        case: Case,
        tensors: Tensors,
        caught: tuple[type[BaseException], ...],
        repeat_one_in: int,
        *,
        guards: Guards,
        samples: bool = False,
    ) -> None:
        self.case = case
        self._tensors, self._caught, self._guards, self._samples = tensors, caught, guards, samples
        self._repeat_one_in = repeat_one_in
        self._judge_of_outputs = Judge(case, tensors, sampled=is_large(case))
        self._pristine = {name: self._kept(array) for name, array in tensors.named().items()}
        self._outputs: dict[str, npt.NDArray[Any]] = {}
        self._runs_on_integers: list[CaseRun] = []

    @cached_property
    def _is_repeated(self) -> bool:
        """Whether it runs twice: by the case itself, so that a seed repeats the same ones."""
        return zlib.crc32(str(self.case).encode()) % self._repeat_one_in == 0

    @property
    def reference_seconds(self) -> float:
        """How long the reference took, the tie-breakers included."""
        return sum(run._judge_of_outputs.reference_seconds for run in (self, *self._runs_on_integers))  # noqa: SLF001 - the same class

    def run(self, backend: Backend, case: Case) -> BackendEnded:
        """Run one backend on ``case``, which is the whole case or its forward pass, and judge it."""
        sampled = getattr(backend, "sampled", None)  # of a Sampled one: isinstance searches a protocol each time
        is_wanted = self._samples or self._judge_of_outputs.is_sampled
        sample = sampled(case) if is_wanted and sampled is not None else None
        if sample is None:
            return self._run(backend, case)
        ended = self._run(sample, case)
        if ended.verdict is Verdict.AGREE:
            return ended
        every = self._run(backend, case)
        return msgspec.structs.replace(every, seconds=ended.seconds + every.seconds)

    def _run(self, backend: Backend, case: Case) -> BackendEnded:
        compiled = seconds_compiled()
        attempt = self._attempt(backend, case)
        seconds = attempt.seconds
        if case.grad and attempt.failure is not None and attempt.failure.verdict is Verdict.UNSUPPORTED:
            attempt = self._attempt(backend, replace(case, grad=False))
            seconds += attempt.seconds
        with judging():
            result = self._judge(backend, attempt)
        if result.judgement.verdict is Verdict.AGREE and self.case.config.is_valid and self._is_repeated:
            again = self._attempt(backend, attempt.case, guarded_side="beginning")
            seconds += again.seconds
            result = self._compare_repeats(backend, attempt, again, result)
        return BackendEnded(
            backend=backend.name,
            verdict=result.judgement.verdict,
            seconds=seconds + result.seconds,
            compile_seconds=seconds_compiled() - compiled,
            reason=result.judgement.reason,
            model=result.judgement.model,
            in_pass=result.in_pass,
            discrepancies=result.discrepancies,
            also=result.also,
        )

    def pairs(self) -> list[tuple[str, str, Real]]:
        """Return the max-abs discrepancy of every two outputs of the right shape and dtype."""
        outputs = list(self._outputs.items())
        return [(a, b, Real(max_abs_between(x, y))) for i, (a, x) in enumerate(outputs) for b, y in outputs[i + 1 :]]

    # -- one call -----------------------------------------------------------------------------------------------------

    def _attempt(self, backend: Backend, case: Case, guarded_side: Side = "end") -> _Attempt:
        attempt = _Attempt(case)
        try:
            tensors = handed = self._handed(backend, guarded_side)
        except OSError as error:  # such as of a kernel that keeps every operand that it has been handed
            attempt.failure = Judgement(verdict=Verdict.MEMORY, reason=f"no memory is left for its operands: {error.strerror}")
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
        changed = self._changed_inputs(handed)
        overruns = handed.memory.overruns() if handed.memory else []
        if changed or overruns:
            reason = "; ".join([*([f"changed its input {', '.join(changed)}"] if changed else []), *overruns])
            attempt.failure = Judgement(verdict=Verdict.CORRUPTED_INPUT, reason=reason)
        return attempt

    def _handed(self, backend: Backend, side: Side) -> Tensors:
        """Return what the backend is handed: the operands themselves, or copies that are guarded."""
        needs = getattr(backend, "buffer_needs", None)  # of a Guarded one, likewise
        return self._tensors.views() if needs is None else self._tensors.guarded(GuardedMemory(self._guards, needs, side))

    def _judge(self, backend: Backend, attempt: _Attempt) -> _Result:
        config = self.case.config
        if not config.is_valid:
            return _Result(self._judge_invalid(attempt))
        if attempt.failure is not None:
            rejected = config.is_extreme and attempt.raised and attempt.failure.verdict is Verdict.ERROR
            return _Result(_rejected(attempt.failure) if rejected else attempt.failure)
        try:
            numerics = backend.numerics(attempt.case)
        except self._caught as error:
            return _Result(raised_error(error, "its declaration of numerics raised "))
        forward = attempt.outputs["forward"]
        if numerics.values and forward.shape == config.output_shape and dtype_name(forward.dtype) == config.dtype:
            self._outputs[backend.name] = self._judge_of_outputs.compared(forward, "forward")
        on_integers: list[_Attempt] = []
        try:
            judged = {in_pass: self._judge_pass(backend, attempt, numerics, in_pass, on_integers) for in_pass in attempt.case.passes}
        except Exception as error:  # noqa: BLE001 - a process that ended here would look like a crash of the backend's
            return _Result(_own_fault(error))
        if self._judge_of_outputs.is_sampled:  # which is all that is compared of a large output from here on
            attempt.outputs = {p: self._judge_of_outputs.compared(output, p) for p, output in attempt.outputs.items() if p in judged}
        gravest = min(judged, key=lambda in_pass: judged[in_pass].verdict.gravity)
        found: dict[Pass, Discrepancy] = {p: judgement.discrepancy for p, judgement in judged.items() if judgement.discrepancy}
        also: dict[Pass, Verdict] = {p: judgement.verdict for p, judgement in judged.items() if p != gravest and judgement.verdict.failing}
        return _Result(judged[gravest], gravest, found, also, sum(attempt.seconds for attempt in on_integers))

    def _judge_pass(self, backend: Backend, attempt: _Attempt, numerics: Numerics, in_pass: Pass, on_integers: list[_Attempt]) -> Judgement:
        judgement = self._judge_output(attempt, numerics, in_pass)
        if not judgement.suspect:
            return judgement
        return settle(judgement, self._on_integers(backend, attempt.case, numerics, in_pass, on_integers))

    def _judge_output(self, attempt: _Attempt, numerics: Numerics, in_pass: Pass) -> Judgement:
        output = attempt.outputs.get(in_pass)
        if not isinstance(output, np.ndarray):
            return Judgement(verdict=Verdict.ERROR, reason=f"returned no array for {in_pass}")
        judgement = self._judge_of_outputs.judge(output, numerics, in_pass)
        never, first = count_unwritten(output) if judgement.verdict in (Verdict.NON_FINITE, Verdict.WRONG) else (0, ())
        if not never:
            return judgement
        what = f"{never:,} of {output.size:,} elements were never written, the first at {first}"
        return msgspec.structs.replace(judgement, reason="; ".join(filter(None, [judgement.reason, what])))

    def _judge_invalid(self, attempt: _Attempt) -> Judgement:
        """An invalid configuration has to be rejected by raising, or, as some frameworks document, by an empty output."""
        rule = self.case.config.invalid_reason
        if attempt.failure is None:
            output = attempt.outputs["forward"]
            if output.size == 0:
                config, leading = self.case.config, output.shape[: -self.case.config.dims]
                if config.has_no_site and leading != config.output_shape[: -config.dims]:
                    reason = f"{rule}; empty output of shape {output.shape}, expected {config.output_shape[: -config.dims]} first"
                    return Judgement(verdict=Verdict.WRONG_SHAPE, reason=reason)
                return Judgement(verdict=Verdict.AGREE, reason=f"empty output of shape {output.shape}")
            return Judgement(verdict=Verdict.ACCEPTED_INVALID, reason=f"{rule}; returned shape {output.shape}")
        if attempt.failure.verdict is not Verdict.ERROR:
            return attempt.failure
        if attempt.raised:
            return _rejected(attempt.failure)
        return Judgement(verdict=Verdict.ACCEPTED_INVALID, reason=f"{rule}; {attempt.failure.reason}")

    def _on_integers(self, backend: Backend, case: Case, numerics: Numerics, in_pass: Pass, attempts: list[_Attempt]) -> Judgement:
        """Judge a pass on integers; ``attempts`` are those made so far, which serve every pass."""
        judgement = Judgement(verdict=Verdict.AGREE)
        for draw, run in enumerate(self._on_integer_data(in_pass)):
            if draw >= len(attempts) or self._judge_of_outputs.is_sampled:
                with called_again():
                    attempts.append(run._attempt(backend, replace(case, recipe=run.case.recipe)))  # noqa: SLF001 - the same class
                attempt = attempts[-1]
            else:
                attempt = attempts[draw]
            if attempt.failure is not None:
                return attempt.failure
            judgement = run._judge_output(attempt, numerics, in_pass)  # noqa: SLF001 - the same class
            if self._judge_of_outputs.is_sampled:
                attempt.outputs = {}  # too large to be kept for another pass, which calls again
            if judgement.verdict not in (Verdict.AGREE, Verdict.IMPRECISE):
                break
        return judgement

    def _on_integer_data(self, in_pass: Pass) -> Iterator[CaseRun]:
        """Yield the same configuration on integers, as often as a pass takes to see every tap: the tie-breaker. All backends share them."""
        config, first = self.case.config, self.case.recipe.seed // 8 * 8
        for draw in range(integer_draws(config, grad=in_pass != "forward")):
            kept = self._runs_on_integers
            if draw < len(kept):
                yield kept[draw]
                continue
            case = Case(config, DataRecipe("integers", first + draw), self.case.grad)
            run = CaseRun(case, make_tensors(case), self._caught, REPEAT_ONE_IN, guards=self._guards)
            if not self._judge_of_outputs.is_sampled:
                kept.append(run)
            yield run

    def _compare_repeats(self, backend: Backend, first: _Attempt, again: _Attempt, result: _Result) -> _Result:
        if again.failure is None and _is_the_same(first, again):
            return result
        with judging():
            repeated = self._judge(backend, again)
        if repeated.judgement.verdict.failing:
            reason = f"on a second run: {repeated.judgement.reason}"
            return replace(repeated, judgement=msgspec.structs.replace(repeated.judgement, reason=reason))
        if again.failure is not None or backend.numerics(first.case).deterministic is False:
            return result
        in_pass = _differing(first, again)
        if in_pass is not None and isinstance(backend, Guarded) and backend.buffer_needs is not None:
            in_pass = self._differing_in_place(backend, first, again)
        if in_pass is None:
            return result
        apart = max_abs_between(first.outputs[in_pass], again.outputs[in_pass])
        differs = Judgement(verdict=Verdict.NONDETERMINISTIC, reason=f"two runs differ by {apart:g}" if apart else "two runs differ")
        return replace(result, judgement=differs, in_pass=in_pass)

    def _differing_in_place(self, backend: Backend, first: _Attempt, again: _Attempt) -> Pass | None:
        """Run both calls once more where their operands lay: sums may depend on where that is, which is no nondeterminism.

        The later one comes first, so that what every second call returns differs, and what the first one does.
        """
        for earlier, side in ((again, "beginning"), (first, "end")):
            repeated = self._attempt(backend, first.case, cast("Side", side))
            if repeated.failure is None and (in_pass := _differing(earlier, repeated)) is not None:
                return in_pass
        return None

    # -- memory -------------------------------------------------------------------------------------------------------

    def _changed_inputs(self, handed: Tensors) -> list[str]:
        """Return the names of the inputs that a backend has changed, and put them back."""
        changed = []
        if handed.memory is not None:
            return handed.memory.changed()
        for name, array in self._tensors.named().items():
            pristine = self._pristine[name]
            if self._kept(array) != pristine:
                changed.append(name)
                array.flags.writeable = True
                if isinstance(pristine, bytes):
                    array[...] = np.frombuffer(pristine, dtype=array.dtype).reshape(array.shape)
                else:
                    array[...] = make_tensors(self.case).named()[name]
        return changed

    def _kept(self, array: npt.NDArray[Any]) -> bytes | int:
        """Return what shows whether an operand has changed: its bytes, or of a large case, which is drawn anew then, a checksum."""
        if not self._judge_of_outputs.is_sampled:
            return array.tobytes()
        checksum = 0
        for place in stretches(array.shape, _AT_ONCE):
            checksum = zlib.crc32(array[place].tobytes(), checksum)
        return checksum

    def _poison_freed_memory(self) -> None:
        """Mark freed memory of the size of the outputs, where one that is not written most likely comes from."""
        if self.case.config.is_valid:
            for in_pass in self.case.passes:
                fill_freed(self.case.shape_of(in_pass), self._tensors.x.dtype)


def _is_the_same(first: _Attempt, again: _Attempt) -> bool:
    """Whether two calls returned the same bits in every pass, so that the judgement of one is that of the other."""
    arrays = ((first.outputs[name], again.outputs.get(name)) for name in first.case.passes)
    return all(
        isinstance(other, np.ndarray) and (one.shape, one.dtype) == (other.shape, other.dtype) and one.tobytes() == other.tobytes()
        for one, other in arrays
    )


def _differing(first: _Attempt, again: _Attempt) -> Pass | None:
    """Return the first pass in which two calls on the same data do not return the same numbers."""
    passes = first.case.passes
    return next((name for name in passes if max_abs_between(first.outputs[name], again.outputs[name]) != 0.0), None)


def _rejected(failure: Judgement) -> Judgement:
    return Judgement(verdict=Verdict.AGREE, reason=f"rejected: {failure.reason}")


def raised_error(error: BaseException, what: str = "") -> Judgement:
    """Return an exception as the verdict ``error``; ``what`` says before it what has raised."""
    return Judgement(verdict=Verdict.ERROR, reason=f"{what}{type(error).__name__}: {one_short_line(error)}".rstrip(": "))


def _own_fault(error: Exception) -> Judgement:
    """Return an exception of the judge's as the verdict ``error``, which says whose it is and where."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    what = f"no fault of the backend's: convfuzz failed to judge it, at {Path(where.filename).name}:{where.lineno}: please report "
    return raised_error(error, what)


def one_short_line(told: object) -> str:
    """Return what a backend says, a reason or an exception, as one line that is not too long and that every encoding holds."""
    try:
        text = " ".join(str(told).encode(errors="backslashreplace").decode().split())
    except Exception:  # noqa: BLE001 - the message is the backend's code, which may raise anything
        return "its message cannot be shown"
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 1] + "…"
