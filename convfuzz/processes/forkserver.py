"""The forkserver from which every child process starts, with the frameworks loaded once."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Sequence
from multiprocessing.context import ForkServerContext

from convfuzz.backends.isolated import MEMORY_LIMIT

_modules = ["convfuzz.processes.preload", "convfuzz.processes.evaluator"]
"""What the forkserver imports when it starts; it grows by what callers add."""


def prepare_forkserver(backends: Sequence[str], memory_limit: int, modules: Iterable[str] = ()) -> ForkServerContext:
    """Set this process's environment for children that run ``backends``, and return the context in which they start.

    The forkserver starts with the first child: it imports ``modules`` and what ``backends`` need, and hands its environment
    on. A later call with other backends does not make it load more.

    Args:
        backends: the names of the backends that the children run.
        memory_limit: resident bytes beyond which a backend in an environment of its own is stopped.
        modules: further modules that the children start from.
    """
    os.environ[MEMORY_LIMIT] = str(memory_limit)
    os.environ["CONVFUZZ_PRELOAD"] = ",".join(backends)
    for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(threads, "1")  # read when a library loads: one thread per worker unless the user says otherwise
    _modules.extend(module for module in modules if module not in _modules)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_modules))
    return context
