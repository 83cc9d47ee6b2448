"""One case in progress: its tensors and its judge, and each backend that runs on it and is judged."""

from __future__ import annotations

import traceback
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import numpy.typing as npt

from convfuzz.backends import Backend, Guarded
from convfuzz.backends.compiling import seconds_compiled
from convfuzz.case import Case, DataRecipe, Pass
from convfuzz.case.dtypes import dtype_name
from convfuzz.checking.attempts import Attempt, Caller, differing, is_the_same, raised_error
from convfuzz.checking.calls import called_again, judging
from convfuzz.judging.comparing import max_abs_between
from convfuzz.judging.judge import Judge
from convfuzz.judging.judgement import Judgement, settle
from convfuzz.judging.numerics import Numerics
from convfuzz.judging.sampled_judge import is_large
from convfuzz.record.events import BackendEnded
from convfuzz.system.json_records import Real
from convfuzz.tensors.generator import Tensors, make_tensors, redraw
from convfuzz.tensors.guards import Guards, Side
from convfuzz.tensors.poison import count_unwritten
from convfuzz.tensors.regimes import integer_draws
from convfuzz.verdicts import Discrepancy, Verdict

REPEAT_ONE_IN = 8
"""One case in so many runs twice in a campaign."""


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
        self._caller = Caller(case, tensors, caught, guards, is_large=self._judge_of_outputs.is_sampled)
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
        attempt = self._caller.call(backend, case)
        seconds = attempt.seconds
        if case.grad and attempt.failure is not None and attempt.failure.verdict is Verdict.UNSUPPORTED:
            attempt = self._caller.call(backend, replace(case, grad=False))
            seconds += attempt.seconds
        with judging():
            result = self._judge(backend, attempt)
        if result.judgement.verdict is Verdict.AGREE and self.case.config.is_valid and self._is_repeated:
            again = self._caller.call(backend, attempt.case, guarded_side="beginning")
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
        """Return the max-abs discrepancy of every two outputs of the right shape and dtype; each two of other bits are compared once."""
        bits = {name: blake2b(output.tobytes()).digest() for name, output in self._outputs.items()}
        of_bits = {bits[name]: output for name, output in self._outputs.items()}
        apart = {(a, a): Real(0.0) for a in of_bits}
        for a, b in combinations(of_bits, 2):
            apart[a, b] = apart[b, a] = Real(max_abs_between(of_bits[a], of_bits[b]))
        return [(one, other, apart[bits[one], bits[other]]) for one, other in combinations(bits, 2)]

    # -- judging a call -----------------------------------------------------------------------------------------------

    def _judge(self, backend: Backend, attempt: Attempt) -> _Result:
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
        on_integers: list[Attempt] = []
        try:
            judged = {in_pass: self._judge_output(attempt, numerics, in_pass) for in_pass in attempt.case.passes}
            is_comparable = attempt.outputs["forward"].shape == config.output_shape
            if self._judge_of_outputs.is_sampled:  # which is all that is compared of a large output from here on
                there = {p: output for p, output in attempt.outputs.items() if p in judged and isinstance(output, np.ndarray)}
                attempt.outputs = {p: self._judge_of_outputs.compared(output, p) for p, output in there.items()}
                del there
            forward = attempt.outputs["forward"]
            if numerics.values and is_comparable and dtype_name(forward.dtype) == config.dtype:
                self._outputs[backend.name] = forward
            for in_pass in [in_pass for in_pass, judgement in judged.items() if judgement.suspect]:
                settled = self._on_integers(backend, attempt.case, numerics, in_pass, on_integers)
                judged[in_pass] = settle(judged[in_pass], settled)
        except Exception as error:  # noqa: BLE001 - a process that ended here would look like a crash of the backend's
            return _Result(_own_fault(error))
        gravest = min(judged, key=lambda in_pass: judged[in_pass].verdict.gravity)
        found: dict[Pass, Discrepancy] = {p: judgement.discrepancy for p, judgement in judged.items() if judgement.discrepancy}
        also: dict[Pass, Verdict] = {p: judgement.verdict for p, judgement in judged.items() if p != gravest and judgement.verdict.failing}
        return _Result(judged[gravest], gravest, found, also, sum(attempt.seconds for attempt in on_integers))

    def _judge_output(self, attempt: Attempt, numerics: Numerics, in_pass: Pass) -> Judgement:
        output = attempt.outputs.get(in_pass)
        if not isinstance(output, np.ndarray):
            return Judgement(verdict=Verdict.ERROR, reason=f"returned no array for {in_pass}")
        judgement = self._judge_of_outputs.judge(output, numerics, in_pass)
        never, first = count_unwritten(output) if judgement.verdict in (Verdict.NON_FINITE, Verdict.WRONG) else (0, ())
        if not never:
            return judgement
        what = f"{never:,} of {output.size:,} elements were never written, the first at {first}"
        return msgspec.structs.replace(judgement, reason="; ".join(filter(None, [judgement.reason, what])))

    def _judge_invalid(self, attempt: Attempt) -> Judgement:
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

    def _on_integers(self, backend: Backend, case: Case, numerics: Numerics, in_pass: Pass, attempts: list[Attempt]) -> Judgement:
        """Judge a pass on integers, as often as it takes to see every tap; ``attempts`` are those made so far, which serve every pass.

        A large case has one set of tensors at a time, and every pass is called anew.
        """
        draws = integer_draws(self.case.config, grad=in_pass != "forward")
        if not self._judge_of_outputs.is_sampled:
            return self._gravest_of(self._on_draw(backend, case, numerics, in_pass, draw, attempts) for draw in range(draws))
        self._tensors.let_go()
        try:
            return self._gravest_of(self._on_draw(backend, case, numerics, in_pass, draw, attempts) for draw in range(draws))
        finally:
            redraw(self.case, self._tensors)

    @staticmethod
    def _gravest_of(judgements: Iterator[Judgement]) -> Judgement:
        judgement = Judgement(verdict=Verdict.AGREE)
        for judgement in judgements:
            if judgement.verdict not in (Verdict.AGREE, Verdict.IMPRECISE):
                break
        return judgement

    def _on_draw(self, backend: Backend, case: Case, numerics: Numerics, in_pass: Pass, draw: int, attempts: list[Attempt]) -> Judgement:
        is_large = self._judge_of_outputs.is_sampled
        run = self._run_on_integers(draw)
        if draw >= len(attempts) or is_large:
            with called_again():
                attempts.append(run._caller.call(backend, replace(case, recipe=run.case.recipe)))  # noqa: SLF001 - the same class
        attempt = attempts[-1 if is_large else draw]
        judgement = attempt.failure or run._judge_output(attempt, numerics, in_pass)  # noqa: SLF001 - the same class
        if is_large:
            attempt.outputs = {}  # too large to be kept for another pass
        return judgement

    def _run_on_integers(self, draw: int) -> CaseRun:
        """Return the same configuration on integers, the tie-breaker. All backends share those of a case that is not large."""
        kept = self._runs_on_integers
        if draw < len(kept):
            return kept[draw]
        first = self.case.recipe.seed // 8 * 8
        case = Case(self.case.config, DataRecipe("integers", first + draw), self.case.grad)
        run = CaseRun(case, make_tensors(case), self._caught, REPEAT_ONE_IN, guards=self._guards)
        if not self._judge_of_outputs.is_sampled:
            kept.append(run)
        return run

    def _compare_repeats(self, backend: Backend, first: Attempt, again: Attempt, result: _Result) -> _Result:
        if again.failure is None and is_the_same(first, again):
            return result
        with judging():
            repeated = self._judge(backend, again)
        if repeated.judgement.verdict.failing:
            reason = f"on a second run: {repeated.judgement.reason}"
            return replace(repeated, judgement=msgspec.structs.replace(repeated.judgement, reason=reason))
        if again.failure is not None or backend.numerics(first.case).deterministic is False:
            return result
        in_pass = differing(first, again)
        if in_pass is not None and isinstance(backend, Guarded) and backend.buffer_needs is not None:
            in_pass = self._differing_in_place(backend, first, again)
        if in_pass is None:
            return result
        apart = max_abs_between(first.outputs[in_pass], again.outputs[in_pass])
        differs = Judgement(verdict=Verdict.NONDETERMINISTIC, reason=f"two runs differ by {apart:g}" if apart else "two runs differ")
        return replace(result, judgement=differs, in_pass=in_pass)

    def _differing_in_place(self, backend: Backend, first: Attempt, again: Attempt) -> Pass | None:
        """Run both calls once more where their operands lay: sums may depend on where that is, which is no nondeterminism.

        The later one comes first, so that what every second call returns differs, and what the first one does.
        """
        for earlier, side in ((again, "beginning"), (first, "end")):
            repeated = self._caller.call(backend, first.case, cast("Side", side))
            if repeated.failure is None and (in_pass := differing(earlier, repeated)) is not None:
                return in_pass
        return None


def _rejected(failure: Judgement) -> Judgement:
    return Judgement(verdict=Verdict.AGREE, reason=f"rejected: {failure.reason}")


def _own_fault(error: Exception) -> Judgement:
    """Return an exception of the judge's as the verdict ``error``, which says whose it is and where."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    what = f"no fault of the backend's: convfuzz failed to judge it, at {Path(where.filename).name}:{where.lineno}: please report "
    return raised_error(error, what)
