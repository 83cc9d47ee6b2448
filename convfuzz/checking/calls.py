"""Tells whoever watches this process whether a backend is at work or is being judged, which takes time that is not the backend's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

JUDGING_SECONDS = 300.0
"""How long judging may take: the reference, on integers too, and what explains an error."""

Watcher = Callable[[bool], None]
"""Called with true when judging begins, and with false when the backend is called again, or when judging has ended."""

_watchers: list[Watcher] = []


def watch(watcher: Watcher) -> None:
    """Call ``watcher`` whenever judging begins or ends in this process from now on."""
    _watchers.append(watcher)


def judging() -> AbstractContextManager[None]:
    """Have the block, which judges what a backend has returned, be known as that while it runs."""
    return _during(is_judging=True)


def called_again() -> AbstractContextManager[None]:
    """Have the block, which calls the backend in the middle of judging, be known as that while it runs."""
    return _during(is_judging=False)


@contextmanager
def _during(*, is_judging: bool) -> Iterator[None]:
    _tell(is_judging=is_judging)
    try:
        yield
    finally:
        _tell(is_judging=not is_judging)


def _tell(*, is_judging: bool) -> None:
    for watcher in _watchers:
        watcher(is_judging)
