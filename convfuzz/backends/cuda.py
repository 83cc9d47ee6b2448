"""What CUDA backends share: a process that has lost its device context ends, so that another can take its place.

After an error such as an illegal address, "any further CUDA work will return the same error. To continue using CUDA, the
process must be terminated and relaunched" (CUDA Runtime API, ``cudaErrorIllegalAddress``). Everything judged in that
process from then on would fail for the same reason. A worker or the sandbox therefore just ends: the supervisor finds
that the process died inside the backend, records the verdict ``crash``, and starts a new process that continues.

A context does not survive a fork either. Backends, and with them the driver, are loaded only in workers and the sandbox,
which never fork. What their forkserver imports must not touch the driver: ``Family.preload`` of a GPU backend imports its
framework and must not even ask whether there is a device, because that already loads the driver.
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
"""Waits for the device and raises the error of its work, as ``numba.cuda.synchronize`` and ``torch.cuda.synchronize`` do."""


@contextmanager
def device_work(synchronize: Synchronize) -> Iterator[None]:
    """Run work on a CUDA device and wait for it; an error that destroys the device's context ends a worker process.

    In a process that nobody replaces, such as a test or a notebook, the error is raised as usual, with a note.
    """
    try:
        yield
        synchronize()
    except Exception as error:
        if context_lost(synchronize):
            error.add_note("The CUDA context of this process is lost: nothing more can be computed on the device until a restart.")
            if multiprocessing.parent_process() is not None:
                _end(error)
        raise


def context_lost(synchronize: Synchronize) -> bool:
    """Return, after an error, whether the context is lost: an error that the context survives is not reported a second time."""
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
