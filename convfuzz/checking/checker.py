"""Runs one case on several backends: yields its events in order, and folds them into a result."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from convfuzz.backends import Backend, Support, resolve
from convfuzz.backends.kernels.loading import backend_of
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.checking.attempts import fill_tensors, one_short_line, raised_error
from convfuzz.checking.case_run import REPEAT_ONE_IN, CaseRun
from convfuzz.checking.limits import Limits
from convfuzz.checking.shares import Shares
from convfuzz.checking.tally import count
from convfuzz.errors import Unsupported, UsageError
from convfuzz.judging.judgement import Judgement
from convfuzz.record.events import BackendEnded, BackendStarted, CaseEnded, CaseStarted, Event
from convfuzz.record.ledger import Ledger, Withheld
from convfuzz.system.json_records import Real
from convfuzz.tensors.guards import Guards
from convfuzz.verdicts import Verdict


@dataclass(frozen=True)
class CheckResult:
    """The results of every backend on one case.

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
        UsageError: there is no backend, one is given twice, or something is neither a backend nor a case.
    """
    case = as_case(case)
    if isinstance(backends, str | Backend) or not isinstance(backends, Iterable):
        raise UsageError(f"backends={backends!r} is one backend, or none: write a list of them, such as ['torch'] or [my_kernel]")
    chosen = distinct([as_backend(b) for b in backends])
    if not chosen:
        raise UsageError("no backend to compare with the reference")
    result = fold_check(case, Checker(chosen).events(case))
    count(result, asserts=False)
    return result


def fold_check(case: Case, events: Iterable[Event]) -> CheckResult:
    """Fold the events of one case into a :class:`CheckResult`."""
    results: list[BackendEnded] = []
    ended = CaseEnded()
    for event in events:
        if isinstance(event, BackendEnded):
            results.append(event)
        elif isinstance(event, CaseEnded):
            ended = event
    return CheckResult(case, tuple(results), tuple(ended.pairs), ended.skipped)


def as_case(given: Case | str) -> Case:
    """Return a case, or the one that a line is.

    Raises:
        CaseSyntaxError: the line does not parse.
        UsageError: it is neither.
    """
    if isinstance(given, str):
        return Case.parse(given)
    anything: object = given
    if not isinstance(anything, Case):
        of_config = ": Case(config) makes one of a configuration" if isinstance(anything, ConvConfig) else ""
        raise UsageError(f"{given!r} is neither a case nor the line of one, such as 'conv2d_c8_o16_i9_k3_f32'{of_config}")
    return anything


def distinct(backends: Sequence[Backend]) -> Sequence[Backend]:
    """Return backends that all have names of their own.

    Raises:
        UsageError: one is given twice.
    """
    names = [backend.name for backend in backends]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"backend {name!r} is given twice")
    return backends


def as_backend(given: str | Backend | Callable[..., Any]) -> Backend:
    """Return the backend that is given by its name, as it is, or as a plain function ``kernel(x, w, b, config)``.

    Raises:
        BackendError: the name is unknown, its framework is missing, or a kernel runs in a process of its own that cannot find it.
        UsageError: it is none of these.
    """
    if isinstance(given, str):
        return resolve(given)
    if isinstance(given, Backend):
        return given
    if callable(given):
        return backend_of(given)
    raise UsageError(f"{given!r} is neither a backend's name, a backend, nor a kernel")


class Checker:
    """Runs cases on a fixed set of backends, in this process.

    Args:
        backends: what every case runs on, in this order.
        interruptible: false in a process that the user cannot interrupt, where a KeyboardInterrupt is the backend's own.
        repeat_one_in: one case in so many runs twice, to see whether the result is the same.
        ledger: a case that it quarantines for a backend is not run on it, nor is the backend asked whether it supports it.
        shares: which part of the configurations each backend runs in a campaign, where one that takes many calls for a case is
            sampled first; without it every backend runs every case, with all its calls.
        spares: says why a backend does not run a case that it computes; empty where it does. By default it runs all of them.
        limits: what a case may take; time and memory are watched from outside of this process.
        guards: how the operands of kernels are guarded; by default with guard pages only where this process may die of one, which
            is not so where it is ``interruptible``.
    """

    def __init__(
        self,
        backends: Sequence[Backend],
        *,
        interruptible: bool = True,
        repeat_one_in: int = REPEAT_ONE_IN,
        ledger: Ledger | None = None,
        shares: Shares | None = None,
        spares: Callable[[str, Case], str] = lambda *_: "",
        limits: Limits | None = None,
        guards: Guards | None = None,
    ) -> None:
        self.backends = tuple(backends)
        self._ledger = ledger or Ledger()
        self._shares, self._spares = shares, spares
        self._repeat_one_in = repeat_one_in
        self._most_bytes = (limits or Limits()).memory
        self._guards = Guards(pages=not interruptible) if guards is None else guards
        self._caught = (Exception, SystemExit) if interruptible else (BaseException,)

    def events(self, case: Case, *, already_ended: Collection[str] | None = None) -> Iterator[Event]:
        """Run ``case`` and yield what happens as it happens: each backend's start before it starts.

        ``already_ended`` resumes a case that has begun: the backends of these names have run it, only the others run now.
        Unsupported cases, failures of a backend and invalid configurations all end in events; nothing is raised for
        them. The tensors are filled once and every backend sees the same bytes, whatever an earlier one did to them.
        """
        began = time.perf_counter()
        if already_ended is None:
            yield CaseStarted(str(case), time.time())
        backends = [backend for backend in self.backends if backend.name not in (already_ended or ())]
        chosen = [(backend, *self._choose(backend, case)) for backend in backends]
        if not any(support for *_, support in chosen):
            yield from (_declined(backend, support) for backend, _, support in chosen)
            yield CaseEnded(overhead_seconds=time.perf_counter() - began)
            return
        try:
            tensors = fill_tensors(case, self._most_bytes)
        except Unsupported as error:
            yield CaseEnded(skipped=str(error), overhead_seconds=time.perf_counter() - began)
            return
        run = CaseRun(case, tensors, self._caught, self._repeat_one_in, guards=self._guards, samples=self._shares is not None)
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
        """Return what a backend runs of ``case``, which is the forward pass alone where it declines the gradients, and whether it does."""
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
                case, support = forward, without
        if isinstance(support, Support) and support and (why := self._spares(backend.name, case)):
            return case, Support.no(why)
        return case, support

    def _supports(self, backend: Backend, case: Case) -> Support | Judgement:
        """Ask a backend whether it computes ``case``; a declaration that raises is the backend's error."""
        try:
            return backend.supports(case)
        except self._caught as error:
            return raised_error(error, "its declaration of support raised ")


def _declined(backend: Backend, support: Support | Withheld | Judgement) -> BackendEnded:
    if isinstance(support, Judgement):
        return BackendEnded(backend=backend.name, verdict=support.verdict, seconds=0.0, reason=support.reason)
    if isinstance(support, Withheld):
        return support.ended(backend.name)
    return BackendEnded(backend=backend.name, verdict=Verdict.UNSUPPORTED, seconds=0.0, reason=one_short_line(support.reason))


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
