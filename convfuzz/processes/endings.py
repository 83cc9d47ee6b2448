"""How a child process ends: killed with what it has started, or by itself, in words, and whether it has grown beyond its memory."""

from __future__ import annotations

import contextlib
import signal
from multiprocessing.process import BaseProcess

import psutil

from convfuzz.errors import MemoryLimitExceeded
from convfuzz.processes.child_setup import LOST


def kill_with_children(process: BaseProcess) -> None:
    """Kill a process and those that it has started, such as compilers, which would go on without it."""
    started: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        started = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in started:
        with contextlib.suppress(psutil.Error):
            child.kill()


def resident(pid: int | None) -> int:
    """Return the resident memory of the process ``pid`` in bytes; 0 where it is gone."""
    if pid is None:
        return 0
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def beyond_memory(pid: int | None, limit: int) -> str | None:
    """Say by how much the process ``pid`` exceeds ``limit`` bytes of resident memory; ``None`` where it does not or is gone."""
    taken = resident(pid)
    return str(MemoryLimitExceeded(taken, limit)) if taken > limit else None


def overdue(seconds: float, *, is_compiling: bool) -> str:
    """Say that a backend has taken longer than it may, and over what."""
    return f"not compiled after {seconds:.3g} s, its compile_timeout" if is_compiling else f"no result after {seconds:.3g} s"


def death(exitcode: int | None) -> str:
    """Say in words how a process ended."""
    if exitcode is None:
        return "it stopped answering"
    if exitcode == LOST:
        return "it closed or replaced file descriptors of its process, or returned in a second process"
    if exitcode >= 0:
        return f"the process ended with exit status {exitcode}"
    try:
        return f"the process was killed by {signal.Signals(-exitcode).name}"
    except ValueError:
        return f"the process was killed by signal {-exitcode}"
