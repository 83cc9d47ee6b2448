"""The check of a test: a case on some backends, and an exception where one of them fails."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from convfuzz.backend_names import default_backends
from convfuzz.backends import Backend, resolve_all
from convfuzz.case import Case
from convfuzz.checking.checker import Checker, CheckResult, as_backend, as_case, distinct, fold_check
from convfuzz.checking.tally import count, tallied
from convfuzz.testing.disagreement import disagreement
from convfuzz.testing.looking import is_seen
from convfuzz.testing.options import chosen
from convfuzz.testing.recording import recorded

__all__ = ["AnyBackend", "NothingComparedError", "assert_agrees", "tallied"]

AnyBackend = str | Backend | Callable[..., Any]


class NothingComparedError(AssertionError):
    """A test has compared nothing, or next to nothing, of the cases that it was given: it proves nothing."""


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
        UsageError: one is given twice, or something is neither a backend nor a case.
    """
    __tracebackhide__ = True
    case = as_case(case)
    given = [one for some in backends for one in (some if isinstance(some, list | tuple) else [some])]
    checker = _checker(tuple(given or chosen("backends", None, None) or default_backends()))
    is_seen(checker.backends)
    result = fold_check(case, recorded(case, checker.events(case)))
    count(result, asserts=True)
    if result.failures:
        raise disagreement(result)  # one line for all, and outside of any handler: the class alone tells bugs apart
    return result


@lru_cache(maxsize=64)
def _checker(backends: tuple[AnyBackend, ...]) -> Checker:
    loaded = resolve_all(backends) if all(isinstance(b, str) for b in backends) else [as_backend(b) for b in backends]  # type: ignore[arg-type]
    return Checker(distinct(loaded))
