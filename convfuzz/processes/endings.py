"""How a child process ended, in words, and whether it has grown beyond its memory."""

from __future__ import annotations

import signal

import psutil

from convfuzz.errors import MemoryLimitExceeded
from convfuzz.processes.child_setup import LOST


def beyond_memory(pid: int | None, limit: int) -> str | None:
    """Say by how much the process ``pid`` exceeds ``limit`` bytes of resident memory; ``None`` where it does not or is gone."""
    if pid is None:
        return None
    try:
        resident = psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return None
    return str(MemoryLimitExceeded(resident, limit)) if resident > limit else None


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
