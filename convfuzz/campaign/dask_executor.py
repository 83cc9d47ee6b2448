"""Dask as the executor of a campaign: an existing scheduler, or new processes of this machine."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

from convfuzz.errors import UsageError

LOCAL = "local"
ANSWER_SECONDS = 10.0
"""How long a scheduler may take to answer."""


@contextmanager
def dask_executor(address: str, backends: Sequence[str], workers: int | None) -> Iterator[tuple[Executor, int]]:
    """Connect to the scheduler at ``address``, such as ``tcp://host:8786``; ``local`` starts processes on this machine.

    Yields:
        The executor, and how many rounds it is to run at a time: ``workers``, or one for each of its threads. A round whose
        backends are on a GPU takes one unit of the cluster's resource ``GPU``.

    Raises:
        UsageError: Dask is not installed, or there is no scheduler at the address.
    """
    try:
        dask: Any = import_module("dask")  # an extra, and slow to import; without types
        distributed: Any = import_module("distributed")
    except ImportError as error:
        raise UsageError(f"--dask needs {error.name}: pip install 'convfuzz[dask]'") from None
    on_gpu = any(":cuda" in name for name in backends)
    resources = {"GPU": 1} if on_gpu else None
    with ExitStack() as stack:
        # A round starts processes, which a daemon may not.
        stack.enter_context(dask.config.set({"distributed.worker.daemon": False}))
        scheduler: Any = address
        try:
            if address == LOCAL:
                count = workers or 1
                scheduler = distributed.LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None, resources=resources)
                stack.enter_context(scheduler)
            client = stack.enter_context(distributed.Client(scheduler, timeout=ANSWER_SECONDS))
        except (OSError, ValueError) as error:
            raise UsageError(f"--dask {shlex.quote(address)}: no scheduler answers there: {error}") from None
        threads = sum(client.nthreads().values())
        if not threads:
            raise UsageError(f"--dask {address}: the scheduler has no workers yet")
        executor = client.get_executor(resources=resources) if resources else client.get_executor()
        stack.callback(executor.shutdown, wait=False)
        yield executor, workers or threads
