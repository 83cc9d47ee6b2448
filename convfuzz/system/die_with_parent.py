"""Ends a process together with its parent, even while it hangs in a backend."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
import threading
from multiprocessing.connection import wait

_PR_SET_PDEATHSIG = 1


def die_with(pipe: int) -> None:
    """Have this process killed when the last copy of the other end of ``pipe``, a file descriptor, is closed.

    While a backend hangs and holds the interpreter's lock, no thread of ours runs. Linux can send the signal by itself; on other
    systems such a process stays.
    """
    if sys.platform == "linux":
        fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    threading.Thread(target=_wait_for, args=(pipe,), daemon=True).start()


def die_with_starter(*, on: bool = True) -> None:
    """Have this process killed when the thread that has started it ends, or no longer: see prctl(2). Linux only.

    A process that it forks is not.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL if on else 0)


def _wait_for(pipe: int) -> None:
    wait([pipe])
    os.kill(os.getpid(), signal.SIGKILL)
