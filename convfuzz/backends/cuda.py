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

from convfuzz.errors import Unsupported

Synchronize = Callable[[], object]
"""Waits for the device and raises the error of its work, as ``numba.cuda.synchronize`` and ``torch.cuda.synchronize`` do."""


class _Context:
    """What became of this process's context."""

    lost = ""
    """The error that it was lost to, or nothing."""
    is_replaced = False
    """Whether somebody starts another process in the place of this one, beside those that ``multiprocessing`` has started."""


def is_replaced() -> None:
    """Say that whoever has started this process starts another when it ends."""
    _Context.is_replaced = True


@contextmanager
def device_work(synchronize: Synchronize) -> Iterator[None]:
    """Run work on a CUDA device and wait for it; an error that destroys the device's context ends a worker process.

    In a process that nobody replaces, such as a test or a notebook, the error is raised as usual, with a note.

    Raises:
        Unsupported: the context of such a process was lost before; that was not this work's doing.
    """
    if _Context.lost:
        raise Unsupported(f"the CUDA context of this process was lost before, to {_Context.lost}: start another process")
    try:
        yield
        synchronize()
    except Exception as error:
        if context_lost(synchronize):
            error.add_note("The CUDA context of this process is lost: nothing more can be computed on the device until a restart.")
            if _Context.is_replaced or multiprocessing.parent_process() is not None:
                _end(error)
            _Context.lost = type(error).__name__
        raise


@contextmanager
def kernel_work(device: str) -> Iterator[None]:
    """Run a user's kernel, which may use a device in ways that it does not declare, and wait for what it has left running there.

    Whatever it was that started a driver in this process, an error shows before the next backend runs. A kernel that declares
    no device computes in a process without a context, too.

    Raises:
        Unsupported: as :func:`device_work`, for a kernel that declares a CUDA device.
    """
    if _Context.lost and not device.startswith("cuda"):
        yield
        return
    with device_work(lambda: _wait(device)):
        yield


def _wait(device: str) -> None:
    """Wait for the devices of every library that is loaded and has started a driver."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize(device if device.startswith("cuda") else None)
    numba_driver = getattr(sys.modules.get("numba.cuda.cudadrv.driver"), "driver", None)
    # A driver that is asked for and not there counts as initialized, with an error.
    if getattr(numba_driver, "is_initialized", False) and getattr(numba_driver, "initialization_error", None) is None:
        sys.modules["numba.cuda"].synchronize()


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
