"""Tells whoever watches this process that a kernel is being compiled, how long that may take, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Watcher = Callable[[float | None], None]
"""Called with the seconds that a compilation may take when it begins, and with ``None`` when it has ended."""

_watchers: list[Watcher] = []
_spent = 0.0


def watch(watcher: Watcher) -> None:
    """Call ``watcher`` for each compilation in this process from now on."""
    _watchers.append(watcher)


def seconds_compiled() -> float:
    """Return for how many seconds this process has compiled so far."""
    return _spent


@contextmanager
def compiling(limit: float) -> Iterator[None]:
    """Have the block, which compiles, be known as that while it runs: it may take ``limit`` seconds."""
    global _spent  # noqa: PLW0603 - a clock of the process
    for watcher in _watchers:
        watcher(limit)
    began = time.perf_counter()
    try:
        yield
    finally:
        _spent += time.perf_counter() - began
        for watcher in _watchers:
            watcher(None)


def compiled_elsewhere(limit: float | None, seconds: float) -> None:
    """Take note of a compilation in another process: that it begins, or how many ``seconds`` it took."""
    global _spent  # noqa: PLW0603 - as above
    _spent += seconds
    for watcher in _watchers:
        watcher(limit)
