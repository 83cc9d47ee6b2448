"""The check of a test: a case on some backends, and an exception where one of them fails."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from convfuzz.backend_names import default_backends
from convfuzz.backends import Backend, resolve_all
from convfuzz.case import Case
from convfuzz.checking.checker import Checker, CheckResult, as_backend, fold_check
from convfuzz.errors import UsageError
from convfuzz.testing.disagreement import disagreement
from convfuzz.testing.options import chosen
from convfuzz.testing.recording import recorded

AnyBackend = str | Backend | Callable[..., Any]


class NothingComparedError(AssertionError):
    """A test has checked cases, and no backend computed any of them: it proves nothing."""


@dataclass
class Tally:
    """How many cases tests have checked in this process, on how many something was compared, and why not on the others."""

    checked: int = 0
    compared: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, result: CheckResult) -> None:
        """Count one more case."""
        self.checked += 1
        self.compared += result.compared > 0
        if not result.compared:
            self.reasons.update([result.skipped] if result.skipped else [f"{r.backend}: {r.reason}" for r in result.results])

    @property
    def proves_nothing(self) -> str:
        """Say that cases were checked of which no backend computed any, and why; empty where it is not so."""
        if self.compared or not self.checked:
            return ""
        why = "; ".join(f"{reason} ({count})" for reason, count in self.reasons.most_common(5))
        return f"nothing was compared: no backend computes any of the {self.checked} cases of this test: {why}"


_tallies: list[Tally] = []


@contextlib.contextmanager
def tallied() -> Iterator[Tally]:
    """Count the cases that the block checks."""
    tally = Tally()
    _tallies.append(tally)
    try:
        yield tally
    finally:
        _tallies.remove(tally)


def assert_agrees(case: Case | str, *backends: Any) -> CheckResult:
    """Run ``case`` on ``backends`` beside the reference; raise where one of them fails.

    Args:
        case: a case or its one-line form.
        backends: names, backends, or plain functions ``kernel(x, w, b, config)``, or lists of them. Without any those of
            the option ``--convfuzz-backends``, or else the default ones that are installed.

    Raises:
        Disagreement: a backend fails; the message is the table of discrepancies, the case and how to reproduce it. It is of
            another subclass for each kind of failure.
        BackendError: a name is unknown or its framework is missing.
    """
    __tracebackhide__ = True
    case = Case.parse(case) if isinstance(case, str) else case
    given = [one for some in backends for one in (some if isinstance(some, list | tuple) else [some])]
    checker = _checker(tuple(given or chosen("backends", None, None) or default_backends()))
    result = fold_check(case, recorded(case, checker.events(case)))
    for tally in _tallies:
        tally.add(result)
    if result.failures:
        raise disagreement(result)  # one line for all, and outside of any handler: the class alone tells bugs apart
    return result


@lru_cache(maxsize=64)
def _checker(backends: tuple[AnyBackend, ...]) -> Checker:
    loaded = resolve_all(backends) if all(isinstance(b, str) for b in backends) else [as_backend(b) for b in backends]  # type: ignore[arg-type]
    names = [backend.name for backend in loaded]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"backend {name!r} is given twice")
    return Checker(loaded)
