"""Running one case on several backends: the events of it, in order, and the result folded from them."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from convfuzz.backends import Backend, Outputs, Support, resolve
from convfuzz.backends.arrays import NotAnArrayError
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.backends.kernels.loading import kernel_name
from convfuzz.case import Case, DataRecipe
from convfuzz.case.dtypes import dtype_name
from convfuzz.checking.shares import Shares
from convfuzz.errors import MemoryLimitExceeded, Unsupported, UsageError
from convfuzz.judging.judge import Judge, Judgement, max_abs_between, settle
from convfuzz.judging.numerics import Numerics
from convfuzz.record.events import BackendEnded, BackendStarted, CaseEnded, CaseStarted, Event
from convfuzz.record.ledger import Ledger, Withheld
from convfuzz.system.json_records import Real
from convfuzz.tensors.generator import Tensors, make_tensors
from convfuzz.tensors.layouts import unwritten
from convfuzz.tensors.regimes import integer_draws
from convfuzz.verdicts import Discrepancy, Verdict

MOST_BYTES = 2 * 2**30
"""Cases whose tensors need more are not run; they are counted as skipped."""
REPEATED_SHARE = 8
"""One case in so many runs twice in a campaign."""
_LONGEST_REASON = 400


@dataclass(frozen=True)
class CheckResult:
    """What every backend made of one case.

    ``results`` has one entry per backend, in the order they were given; ``pairs`` the max-abs discrepancy of every two
    outputs. :attr:`failures` are the results that are findings.
    """

    case: Case
    results: tuple[BackendEnded, ...]
    pairs: tuple[tuple[str, str, Real], ...]
    skipped: str = ""

    @property
    def failures(self) -> tuple[BackendEnded, ...]:
        """The results whose verdict is a failure."""
        return tuple(result for result in self.results if result.verdict.failing)

    @property
    def compared(self) -> int:
        """How many backends were judged."""
        return sum(result.verdict is not Verdict.UNSUPPORTED for result in self.results)


def check(case: Case | str, backends: Iterable[str | Backend | Callable[..., Any]]) -> CheckResult:
    """Run ``case`` on ``backends`` beside the reference and judge each.

    Args:
        case: a case or its one-line form.
        backends: names, backends, or plain functions ``kernel(x, w, b, config)``.

    Raises:
        CaseSyntaxError: the line does not parse.
        BackendError: a name is unknown or its framework is missing.
        UsageError: there is no backend.
    """
    case = Case.parse(case) if isinstance(case, str) else case
    chosen = [as_backend(b) for b in backends]
    if not chosen:
        raise UsageError("no backend to compare with the reference")
    return fold_check(case, Checker(chosen).events(case))


def fold_check(case: Case, events: Iterable[Event]) -> CheckResult:
    """Gather the events of one case into a :class:`CheckResult`."""
    results: list[BackendEnded] = []
    ended = CaseEnded()
    for event in events:
        if isinstance(event, BackendEnded):
            results.append(event)
        elif isinstance(event, CaseEnded):
            ended = event
    return CheckResult(case, tuple(results), tuple(ended.pairs), ended.skipped)


def as_backend(given: str | Backend | Callable[..., Any]) -> Backend:
    """Return what is given by name, as a backend, or as a plain function ``kernel(x, w, b, config)`` as a backend.

    Raises:
        BackendError: the name is unknown or its framework is missing.
        UsageError: it is none of these.
    """
    if isinstance(given, str):
        return resolve(given)
    if isinstance(given, Backend):
        return given
    if callable(given):
        return KernelBackend(kernel_name(given), given)
    raise UsageError(f"{given!r} is neither a backend's name, a backend, nor a kernel")


class Checker:
    """Runs cases on a fixed set of backends, in this process.

    ``interruptible=False`` is for processes that the user cannot interrupt: a KeyboardInterrupt is the backend's then.
    One case in ``repeated_share`` runs twice, to see whether the result is the same. What the quarantine of ``ledger``
    keeps from a backend is not run on it, nor is the backend asked whether it would. ``shares`` leaves to each backend its
    share of the configurations, as in a campaign; without them every backend runs every case.
    """

    def __init__(
        self,
        backends: Sequence[Backend],
        *,
        interruptible: bool = True,
        repeated_share: int = REPEATED_SHARE,
        ledger: Ledger | None = None,
        shares: Shares | None = None,
    ) -> None:
        self.backends = tuple(backends)
        self._ledger = ledger or Ledger()
        self._shares = shares
        self._repeated_share = repeated_share
        self._caught = (Exception, SystemExit) if interruptible else (BaseException,)

    def events(self, case: Case, *, through: Collection[str] | None = None) -> Iterator[Event]:
        """Run ``case`` and yield what happens as it happens: each backend's start before it starts.

        ``through`` goes on with a case that has begun: the backends of these names are through with it, the others run.
        Unsupported cases, failures of a backend and invalid configurations all end in events; nothing is raised for
        them. The tensors are filled once and every backend sees the same bytes, whatever an earlier one did to them.
        """
        began = time.perf_counter()
        if through is None:
            yield CaseStarted(str(case), time.time())
        backends = [backend for backend in self.backends if backend.name not in (through or ())]
        chosen = [(backend, *self._choose(backend, case)) for backend in backends]
        if not any(support for *_, support in chosen):
            yield from (_declined(backend, support) for backend, _, support in chosen)
            yield CaseEnded(overhead_seconds=time.perf_counter() - began)
            return
        run = _CaseRun(case, self._caught, self._repeated_share)
        if run.skipped:
            yield CaseEnded(skipped=run.skipped, overhead_seconds=time.perf_counter() - began)
            return
        inside = 0.0
        for backend, runs, support in chosen:
            if support and not isinstance(support, Judgement):
                yield BackendStarted(backend.name)
                ended = run.run(backend, runs)
                inside += ended.seconds
                yield ended
            else:
                yield _declined(backend, support)
        pairs = run.pairs()
        overhead = time.perf_counter() - began - inside - run.reference_seconds
        yield CaseEnded(pairs=pairs, reference_seconds=run.reference_seconds, overhead_seconds=overhead)

    def _choose(self, backend: Backend, case: Case) -> tuple[Case, Support | Withheld | Judgement]:
        """Return what a backend runs of ``case``: the forward pass alone where it declines the gradients."""
        withheld = self._ledger.withheld(backend.name, case)
        if withheld is not None:
            return case, withheld
        if self._shares is not None and not (share := self._shares.of(backend, case)):
            return case, share
        support = self._supports(backend, case)
        if case.grad and isinstance(support, Support) and not support:
            forward = replace(case, grad=False)
            without = self._supports(backend, forward)
            if without:
                return forward, without
        return case, support

    def _supports(self, backend: Backend, case: Case) -> Support | Judgement:
        """Ask a backend whether it computes ``case``; a declaration that raises is the backend's error."""
        try:
            return backend.supports(case)
        except self._caught as error:
            return _raised(error, "its declaration of support raised ")


def _declined(backend: Backend, support: Support | Withheld | Judgement) -> BackendEnded:
    if isinstance(support, Judgement):
        return BackendEnded(backend=backend.name, verdict=support.verdict, seconds=0.0, reason=support.reason)
    if isinstance(support, Withheld):
        return support.ended(backend.name)
    return BackendEnded(backend=backend.name, verdict=Verdict.UNSUPPORTED, seconds=0.0, reason=_short(support.reason))


@dataclass
class _Attempt:
    """One call of a backend: the case it ran, its outputs by pass or what went wrong, and how long it took."""

    case: Case
    seconds: float = 0.0
    outputs: Outputs = field(default_factory=dict)
    failure: Judgement | None = None
    raised: bool = False


@dataclass(frozen=True)
class _Result:
    """The gravest judgement of a call, the pass that it is about, the discrepancy of each pass, and what else fails."""

    judgement: Judgement
    in_pass: str = "forward"
    discrepancies: dict[str, Discrepancy] = field(default_factory=dict)
    also: dict[str, Verdict] = field(default_factory=dict)


_GRAVITY = {verdict: rank for rank, verdict in enumerate(Verdict)}


def _rejected(failure: Judgement) -> Judgement:
    return Judgement(verdict=Verdict.AGREE, reason=f"rejected: {failure.reason}")


def _raised(error: BaseException, what: str = "") -> Judgement:
    return Judgement(verdict=Verdict.ERROR, reason=f"{what}{type(error).__name__}: {_short(error)}".rstrip(": "))


@dataclass
class _CaseRun:
    """One case in progress: its tensors, its judge, and the outputs so far."""

    case: Case
    caught: tuple[type[BaseException], ...]
    repeated_share: int = REPEATED_SHARE
    skipped: str = ""
    outputs: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config = self.case.config
        shapes = (*config.input_shape, *config.weight_shape)
        if config.contradiction:
            self.skipped = f"no call can be told of it: {config.contradiction}"
        elif min(shapes) < 0:
            self.skipped = "tensors of a negative size cannot be made"
        elif config.working_nbytes > MOST_BYTES:
            self.skipped = f"tensors, padding and reference need more than {MOST_BYTES // 2**30} GiB"
        else:
            try:
                self.tensors: Tensors = make_tensors(self.case)
            except Unsupported as error:
                self.skipped = str(error)
                return
            self._pristine = {name: array.tobytes() for name, array in self.tensors.named().items()}

    @cached_property
    def judge(self) -> Judge:
        """The judge of a valid case; made when the first output is there to be judged."""
        return Judge(self.case, self.tensors)

    @property
    def reference_seconds(self) -> float:
        """How long the reference took, the tie-breakers included."""
        runs: list[_CaseRun] = [self, *self.__dict__.get("integers", [])]
        return sum((run.judge.reference_seconds for run in runs if "judge" in run.__dict__), 0.0)

    @cached_property
    def integers(self) -> list[_CaseRun]:
        """The same configuration on integers, as often as it takes to see every tap: the tie-breaker."""
        config, first = self.case.config, self.case.recipe.seed // 8 * 8
        recipes = [DataRecipe("integers", first + draw) for draw in range(integer_draws(config, grad=self.case.grad))]
        return [_CaseRun(Case(config, recipe, self.case.grad), self.caught) for recipe in recipes]

    def run(self, backend: Backend, case: Case) -> BackendEnded:
        """Run one backend on ``case``, which is the whole case or its forward pass, and judge it."""
        attempt = self._attempt(backend, case)
        seconds = attempt.seconds
        if case.grad and attempt.failure is not None and attempt.failure.verdict is Verdict.UNSUPPORTED:
            attempt = self._attempt(backend, replace(case, grad=False))
            seconds += attempt.seconds
        result = self._judge(backend, attempt)
        if result.judgement.verdict is Verdict.AGREE and self.case.config.is_valid and self._is_repeated:
            again = self._attempt(backend, attempt.case)
            seconds += again.seconds
            result = self._compare_repeats(backend, attempt, again, result)
        return BackendEnded(
            backend=backend.name,
            verdict=result.judgement.verdict,
            seconds=seconds,
            reason=result.judgement.reason,
            model=result.judgement.model,
            in_pass=result.in_pass,
            discrepancies=result.discrepancies,
            also=result.also,
        )

    def pairs(self) -> list[tuple[str, str, Real]]:
        """Return the max-abs discrepancy of every two outputs of the right shape and dtype."""
        config = self.case.config
        shaped = [(name, y) for name, y in self.outputs.items() if y.shape == config.output_shape and dtype_name(y.dtype) == config.dtype]
        return [(a, b, Real(max_abs_between(x, y))) for i, (a, x) in enumerate(shaped) for b, y in shaped[i + 1 :]]

    # -- one call -----------------------------------------------------------------------------------------------------

    def _attempt(self, backend: Backend, case: Case) -> _Attempt:
        self._poison_freed_memory()
        attempt = _Attempt(case)
        tensors = self.tensors.views()
        if not case.grad:
            tensors = replace(tensors, dy=None)
        began = time.perf_counter()
        try:
            attempt.outputs = backend.run(case, tensors)
        except Unsupported as error:
            attempt.failure = Judgement(verdict=Verdict.UNSUPPORTED, reason=_short(error))
        except MemoryLimitExceeded as error:
            attempt.failure = Judgement(verdict=Verdict.MEMORY, reason=str(error))
        except self.caught as error:  # whatever a backend raises is its verdict
            attempt.failure, attempt.raised = _raised(error), not isinstance(error, NotAnArrayError)
        attempt.seconds = time.perf_counter() - began
        if attempt.failure is None and not isinstance(attempt.outputs.get("forward"), np.ndarray):
            attempt.failure = Judgement(verdict=Verdict.ERROR, reason="returned no array for the forward pass")
        changed = self._restore_inputs()
        if changed:
            attempt.failure = Judgement(verdict=Verdict.CORRUPTED_INPUT, reason=f"changed its input {', '.join(changed)}")
        return attempt

    def _judge(self, backend: Backend, attempt: _Attempt) -> _Result:
        config = self.case.config
        if not config.is_valid:
            return _Result(self._judge_invalid(attempt))
        if attempt.failure is not None:
            rejected = config.is_extreme and attempt.raised and attempt.failure.verdict is Verdict.ERROR
            return _Result(_rejected(attempt.failure) if rejected else attempt.failure)
        try:
            numerics = backend.numerics(attempt.case)
        except self.caught as error:
            return _Result(_raised(error, "its declaration of numerics raised "))
        if numerics.values:
            self.outputs[backend.name] = attempt.outputs["forward"]
        judged = {in_pass: self._judge_pass(backend, attempt, numerics, in_pass) for in_pass in attempt.case.passes}
        gravest = min(judged, key=lambda in_pass: _GRAVITY[judged[in_pass].verdict])
        found: dict[str, Discrepancy] = {p: judgement.discrepancy for p, judgement in judged.items() if judgement.discrepancy}
        also: dict[str, Verdict] = {p: judgement.verdict for p, judgement in judged.items() if p != gravest and judgement.verdict.failing}
        return _Result(judged[gravest], gravest, found, also)

    def _judge_pass(self, backend: Backend, attempt: _Attempt, numerics: Numerics, in_pass: str) -> Judgement:
        judgement = self._judge_output(attempt, numerics, in_pass)
        return settle(judgement, self._on_integers(backend, attempt.case, numerics, in_pass)) if judgement.suspect else judgement

    def _judge_output(self, attempt: _Attempt, numerics: Numerics, in_pass: str) -> Judgement:
        output = attempt.outputs.get(in_pass)
        if not isinstance(output, np.ndarray):
            return Judgement(verdict=Verdict.ERROR, reason=f"returned no array for {in_pass}")
        return self.judge.judge(output, numerics, in_pass)

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

    def _on_integers(self, backend: Backend, case: Case, numerics: Numerics, in_pass: str) -> Judgement:
        judgement = Judgement(verdict=Verdict.AGREE)
        for run in self.integers:
            attempt = run._attempt(backend, replace(case, recipe=run.case.recipe))  # noqa: SLF001 - the same class
            if attempt.failure is not None:
                return attempt.failure
            judgement = run._judge_output(attempt, numerics, in_pass)  # noqa: SLF001 - the same class
            if judgement.verdict not in (Verdict.AGREE, Verdict.IMPRECISE):
                break
        return judgement

    def _compare_repeats(self, backend: Backend, first: _Attempt, again: _Attempt, result: _Result) -> _Result:
        repeated = self._judge(backend, again)
        if repeated.judgement.verdict.failing:
            reason = f"on a second run: {repeated.judgement.reason}"
            return replace(repeated, judgement=msgspec.structs.replace(repeated.judgement, reason=reason))
        if again.failure is not None or backend.numerics(first.case).deterministic is False:
            return result
        for in_pass in first.case.passes:
            apart = max_abs_between(first.outputs[in_pass], again.outputs[in_pass])
            if apart != 0.0:
                differs = Judgement(verdict=Verdict.NONDETERMINISTIC, reason=f"two runs differ by {apart:g}")
                return replace(result, judgement=differs, in_pass=in_pass)
        return result

    @cached_property
    def _is_repeated(self) -> bool:
        """Whether the case runs twice: chosen by the case itself, so that a seed repeats the same ones."""
        return zlib.crc32(str(self.case).encode()) % self.repeated_share == 0

    # -- memory -------------------------------------------------------------------------------------------------------

    def _restore_inputs(self) -> list[str]:
        """Put changed inputs back; return their names."""
        changed = []
        for name, array in self.tensors.named().items():
            if array.tobytes() != self._pristine[name]:
                changed.append(name)
                array.flags.writeable = True
                array[...] = np.frombuffer(self._pristine[name], dtype=array.dtype).reshape(array.shape)
        return changed

    def _poison_freed_memory(self) -> None:
        """Leave NaN in freed memory of the output's size, where an unwritten output most likely comes from."""
        if self.case.config.is_valid:
            for in_pass in self.case.passes:
                unwritten(self.case.shape_of(in_pass), self.tensors.x.dtype)


def _short(told: object) -> str:
    """Return what a backend says, a reason or an exception, as one line that is not too long and that every encoding holds."""
    try:
        text = " ".join(str(told).encode(errors="backslashreplace").decode().split())
    except Exception:  # noqa: BLE001 - the message is the backend's code, which may raise anything
        return "its message cannot be shown"
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 1] + "…"


def parse_cases(lines: Iterable[str]) -> list[Case]:
    """Parse several case lines.

    Raises:
        CaseSyntaxError: one of them does not parse.
        UsageError: there is none.
    """
    cases = [Case.parse(line) for line in lines]
    if not cases:
        raise UsageError("no case given")
    return cases
