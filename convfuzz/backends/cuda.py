"""What backends on a CUDA device share: a process whose device context is lost ends, so that another takes its place.

After an error such as an illegal address, "any further CUDA work will return the same error. To continue using CUDA, the
process must be terminated and relaunched" (CUDA Runtime API, ``cudaErrorIllegalAddress``). Everything judged in that
process from then on would be an error of its own. In a worker or the sandbox, to end is enough: the supervisor finds
that the process died inside the backend, writes the verdict ``crash``, and starts another that goes on behind it.

A context does not survive a fork either. No process forks one: backends are loaded, and with them the driver, in workers
and the sandbox only, which fork nothing. What their forkserver imports must not touch the driver: ``Family.preload`` of a
backend on a GPU imports its framework and asks it for no device, nor whether there is one, which already loads the driver.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

Synchronize = Callable[[], object]
"""Waits for the device and raises what its work ended in, as ``numba.cuda.synchronize`` and ``torch.cuda.synchronize``."""


@contextmanager
def device_work(synchronize: Synchronize) -> Iterator[None]:
    """Run work on a CUDA device and wait for it; an error that costs the device's context ends a worker process.

    In a process that nobody replaces, a test or a notebook, the error is raised like any other, with a note.
    """
    try:
        yield
        synchronize()
    except Exception as error:
        if context_lost(synchronize):
            error.add_note("The CUDA context of this process is lost: nothing more can be computed on the device before a restart.")
            if multiprocessing.parent_process() is not None:
                _end(error)
        raise


def context_lost(synchronize: Synchronize) -> bool:
    """Say, after an error, whether the device answers no more: what a context survives, it does not report again."""
    try:
        synchronize()
    except Exception:  # noqa: BLE001 - any error is the answer
        return True
    return False


def _end(error: Exception) -> NoReturn:
    # The first words are faulthandler's, which the supervisor looks for in the log of a process that died.
    sys.stderr.write(f"Fatal Python error: CUDA context lost: {type(error).__name__}: {error}\n")
    traceback.print_exception(error)
    sys.stderr.flush()
    os._exit(1)
