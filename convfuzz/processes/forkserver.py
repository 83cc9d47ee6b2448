"""The forkserver from which every child process starts, with the frameworks loaded once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Sequence
from multiprocessing import forkserver, popen_forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

from convfuzz.backends.isolated import MEMORY_LIMIT
from convfuzz.system.interrupts import ENDING
from convfuzz.system.safe_path import safe_path

PRELOAD = "CONVFUZZ_PRELOAD"
"""The environment variable that names the backends whose frameworks the forkserver imports."""
STARTING = threading.RLock()
"""Held while children are started, asked for their ends or reaped: ``multiprocessing`` looks after all of them whenever it starts one,
and two threads that do so at once lose an exit status."""
PRELOAD_STRATEGY = "CONVFUZZ_PRELOAD_STRATEGY"
"""The environment variable that names the search space that the forkserver builds, where there is one."""
_modules = ["convfuzz.processes.deaf", "convfuzz.processes.preload", "convfuzz.processes.evaluator"]
"""What the forkserver imports when it starts; callers add to it."""


def prepare_forkserver(
    backends: Sequence[str], memory_limit: int, modules: Iterable[str] = (), strategy: str | None = None
) -> ForkServerContext:
    """Write this process's ``os.environ`` for children that run ``backends``, and return the context in which they start.

    Written are the memory limit, the backends to preload, and one thread for each numerical library, unless the user's
    environment says otherwise. They stay written, since whatever this process starts later is to run in the same environment.
    The forkserver starts with the first child: it takes the environment of that moment, imports ``modules`` and what
    ``backends`` need, and hands both on. Once it runs, a later call changes nothing for its children.

    Args:
        backends: the names of the backends that the children run.
        memory_limit: bytes of resident memory beyond which a backend in an environment of its own is stopped.
        modules: further modules that the children start from.
        strategy: the search space that the children draw from, if they draw.
    """
    os.environ[MEMORY_LIMIT] = str(memory_limit)
    os.environ[PRELOAD] = ",".join(backends)
    if strategy is not None:
        os.environ[PRELOAD_STRATEGY] = strategy
    for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(threads, "1")  # libraries read it when they are loaded
    _modules.extend(module for module in modules if module not in _modules)
    context = _Context()
    context.set_forkserver_preload(list(_modules))
    return context


class _Popen(popen_forkserver.Popen):
    def terminate(self) -> None:
        """Kill the child, which leaves SIGTERM to its parent: ``multiprocessing`` calls this when the parent ends, and waits."""
        self.kill()


class _Process(ForkServerProcess):
    """A child of a forkserver that no signal reaches before it ignores them, as :mod:`convfuzz.processes.deaf` has it do."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - where multiprocessing starts a child
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            with safe_path():
                resource_tracker.ensure_running()
                signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # again: starting the tracker unblocks some
                forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return _Popen(process_obj)


class _Context(ForkServerContext):
    Process = _Process
