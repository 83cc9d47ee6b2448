"""Ends this process together with another one, so that a hanging backend does not outlive the process that waits for it."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
from multiprocessing.connection import wait


def die_with(pipe: int) -> None:
    """Have this process killed when the last copy of the other end of ``pipe``, a file descriptor, is closed.

    If a backend hangs and holds the interpreter's lock, no other thread of this process can run. Linux can send the signal
    without one; on other systems such a process stays.
    """
    if sys.platform == "linux":
        fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    threading.Thread(target=_wait_for, args=(pipe,), daemon=True).start()


def _wait_for(pipe: int) -> None:
    wait([pipe])
    os.kill(os.getpid(), signal.SIGKILL)
