"""Setup and self-checks of child processes, which share their process with the backends under test."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from convfuzz.record.events import BackendEnded, BackendStarted, Event
from convfuzz.system.die_with_parent import die_with
from convfuzz.system.interrupts import leave_to_parent
from convfuzz.verdicts import Verdict

CANNOT_WRITE, FULL, LOST = 74, 75, 76
"""Exit statuses: the journal cannot be written, the memory is full of what was left behind, file descriptors are lost."""
_OUTPUTS = (1, 2)
_PAGE = os.sysconf("SC_PAGE_SIZE")


def detach(log: Path) -> None:
    """Detach this process from the terminal: it prints to ``log``, leaves a trace of a crash, and its parent ends it."""
    leave_to_parent()
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
    except FileNotFoundError:  # the parent has ended meanwhile, and has taken back the folder of a run that never ran
        os._exit(CANNOT_WRITE)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    faulthandler.enable(file=sys.__stderr__ or 2, all_threads=False)
    parent = multiprocessing.parent_process()
    if parent is not None:
        die_with(parent.sentinel)


def leave(status: int) -> NoReturn:
    """End this process without waiting for threads and exit handlers that a backend has left; what it printed is in the log."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # a backend may have closed it, or put anything in its place
            stream.flush()
    os._exit(status)


def end(status: int, why: str) -> NoReturn:
    """End this process at once, and say why in its log."""
    with contextlib.suppress(OSError):
        os.write(2, f"convfuzz: {why}\n".encode())
    os._exit(status)


class Descriptors:
    """The file descriptors that a backend must leave alone: standard output and error, and ``ours``, a file or pipe."""

    def __init__(self, ours: int) -> None:
        self._process = os.getpid()
        self._ours, self._file = ours, os.fstat(ours)

    def require(self) -> None:
        """End this process where one of them is closed or replaced, or where it is a copy that a backend has forked.

        What it wrote then would be lost, or would land in another file.
        """
        try:
            for number in _OUTPUTS:
                os.fstat(number)
            is_there = os.path.samestat(os.fstat(self._ours), self._file)
        except OSError:
            is_there = False
        if not is_there or os.getpid() != self._process:
            os._exit(LOST)


class Memory:
    """Resident memory that backends leave behind in this process, call after call.

    The supervisor stops a backend that exceeds ``limit`` bytes within one call. Here it is about what stays afterwards: close
    to the limit the process :attr:`is_full` and gives way to another. Where the backend that has just ended has left most of
    that, the verdict is its own, and not that of the next one, which needs only a little more.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit * 7 // 8
        self._left_by: Counter[str] = Counter()
        self.is_full = False

    def watch(self, events: Iterator[Event]) -> Iterator[Event]:
        """Pass the events of a case on; a backend that has filled the memory gets the verdict ``memory``."""
        before = 0
        for event in events:
            if isinstance(event, BackendStarted):
                before = _resident()
            elif before and isinstance(event, BackendEnded):
                now = _resident()
                self._left_by[event.backend] += now - before
                before, left = 0, self._left_by[event.backend]
                if now > self._limit:
                    self.is_full = True
                    if left > now // 2:
                        reason = f"left {left / 2**30:.1f} GiB behind in one process, whose resident memory is {now / 2**30:.1f} GiB"
                        event = BackendEnded(backend=event.backend, verdict=Verdict.MEMORY, seconds=event.seconds, reason=reason)  # noqa: PLW2901
            yield event


def _resident() -> int:
    """Return the resident memory of this process in bytes; 0 where the system does not say."""
    try:
        file = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)  # without a file object: it is read twice for each result
        try:
            return int(os.read(file, 256).split()[1]) * _PAGE
        finally:
            os.close(file)
    except (OSError, IndexError, ValueError):
        return 0
