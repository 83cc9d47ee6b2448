"""What ``@convfuzz.fuzz`` is put on: a plain test or a kernel, and nothing that would pass because it never runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from convfuzz.errors import UsageError

MADE = "__convfuzz_fuzzed__"
"""The mark of a test that ``@convfuzz.fuzz`` has made."""
_DRAWS = "convfuzz.fuzz draws the cases"


def require_test_or_kernel(subject: object) -> bool:
    """Say whether ``subject`` is a test, with a parameter ``case``, and not a kernel or a backend's name.

    Raises:
        UsageError: it is neither, or a test that nobody would run: an async function, a generator, a class.
    """
    if isinstance(subject, str):
        return False
    name = getattr(subject, "__qualname__", None) or repr(subject)
    reason = _why_never_run(subject)
    if reason:
        raise UsageError(f"@convfuzz.fuzz on {name}: {reason}")
    try:
        signature = inspect.signature(subject)  # type: ignore[arg-type]
    except ValueError:  # written in C: a kernel, since no test is
        return False
    if "case" in signature.parameters:
        if signature.parameters["case"].kind is inspect.Parameter.POSITIONAL_ONLY:
            raise UsageError(f"@convfuzz.fuzz on {name}: its parameter 'case' cannot be given by name; remove the '/' behind it")
        return True
    if not any(_takes(signature, count) for count in (4, 5)):
        raise UsageError(
            f"@convfuzz.fuzz on {name}{signature}: a test has a parameter 'case', which is the drawn case, "
            "and a kernel takes (x, w, b, config)"
        )
    return False


def _why_never_run(subject: object) -> str:
    if isinstance(subject, type):
        return "a class is no test: put it on the methods"
    if isinstance(subject, staticmethod | classmethod):
        kind = type(subject).__name__
        return f"put @{kind} above @convfuzz.fuzz, not below"
    if not callable(subject):
        return "it is neither a test, a kernel, nor a backend's name"
    if getattr(subject, MADE, False):
        return "it is a test of @convfuzz.fuzz already: leave one of them out"
    if getattr(subject, "is_hypothesis_test", False):
        return f"it is a test of hypothesis.given already: {_DRAWS}; leave one of them out"
    return _why_not_plain(subject) or (_why_not_plain(type(subject).__call__) if not inspect.isroutine(subject) else "")


def _why_not_plain(function: Callable[..., Any]) -> str:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return "nobody would await an async function; make it 'def', and run what it awaits with asyncio.run(…)"
    if inspect.isgeneratorfunction(function):
        return "nobody would iterate over a generator, so that its body would never run; leave 'yield' out"
    return ""


def _takes(signature: inspect.Signature, count: int) -> bool:
    signature = signature.replace(parameters=[one for name, one in signature.parameters.items() if name != "compiled"])  # given by name
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def require_nothing_returned(name: str, returned: object) -> None:
    """Refuse what a test has returned where it says that something did not run, or was to be the verdict.

    Raises:
        UsageError: it is a coroutine, a generator, or a value that nobody looks at.
    """
    if inspect.iscoroutine(returned):
        returned.close()  # so that nothing is said of it later
    what = "a coroutine, which nobody awaits" if inspect.isawaitable(returned) else "a generator" if inspect.isgenerator(returned) else ""
    if what:
        raise UsageError(f"{name} returned {what}: nothing of it has run; a test of @convfuzz.fuzz is a plain function")
    raise UsageError(
        f"{name} returned {returned!r}, which nobody looks at: a test says by raising that something is wrong, as 'assert' does"
    )
