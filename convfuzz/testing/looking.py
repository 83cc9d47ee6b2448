"""What a test checks, seen before its cases are drawn, so that they are drawn for it."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from convfuzz.backends import Backend
from convfuzz.backends.domains import domains_of, drawn_from
from convfuzz.case import Case
from convfuzz.case.domain import Domain
from convfuzz.case.domain.layers import layers

_MOST_LOOKS = 12
"""A test may return before its check where a case is not for it; it is shown so many layers at most."""


class _Seen(BaseException):
    """Ends a test where it checks its first case; no handler of a test's own takes it."""

    def __init__(self, backends: Sequence[Backend]) -> None:
        super().__init__()
        self.backends = backends


_is_looking = False


def is_seen(backends: Sequence[Backend]) -> None:
    """Take note of what a test compares where somebody looks, and end it there; nothing happens otherwise."""
    if _is_looking:
        raise _Seen(backends)


@contextlib.contextmanager
def _looking() -> Iterator[None]:
    global _is_looking  # noqa: PLW0603 - tests of one process run one after another
    _is_looking = True
    try:
        yield
    finally:
        _is_looking = False


def domains_in(test: Callable[..., Any], args: Sequence[Any], fixtures: Mapping[str, Any]) -> tuple[Domain, ...]:
    """Return the domains of the backends that ``test`` checks first: it is run up to there, and nothing is computed.

    What it raises before is left to its cases. Nothing is found in a test that checks nothing of a few layers.
    """
    with _looking():
        for layer in layers()[:: len(layers()) // _MOST_LOOKS]:
            try:
                returned = test(*args, case=Case(layer), **fixtures)
            except _Seen as seen:
                return drawn_from(domains_of(seen.backends).values())
            except Exception:  # noqa: BLE001, S112 - it comes again with the cases
                continue
            if inspect.iscoroutine(returned):
                returned.close()  # nobody awaits it: the first case says so
    return ()
