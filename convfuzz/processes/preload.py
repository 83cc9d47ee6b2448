"""Loads what every child process needs, once in the forkserver, so that a dead child is replaced at once.

The environment variable ``CONVFUZZ_PRELOAD`` holds the backends' names. A framework that does not import is left to the worker to report.
"""

from __future__ import annotations

import contextlib
import os
import traceback

from convfuzz.backends import preload
from convfuzz.case import Case
from convfuzz.errors import BackendError
from convfuzz.judging.judge import Judge
from convfuzz.processes.forkserver import PRELOAD
from convfuzz.tensors.generator import make_tensors


def load() -> None:
    """Import the frameworks and compile the reference; otherwise the first case of a campaign would look like a hang."""
    for name in os.environ.get(PRELOAD, "").split(","):
        with contextlib.suppress(ImportError, BackendError):
            preload(name)
    for dtype in ("f32", "f64"):
        for regime in ("normal", "integers"):
            case = Case.parse(f"conv2d_c1_o1_i3_k2_b_{dtype}_grad@{regime}.0")
            judge = Judge(case, make_tensors(case))
            for in_pass in case.passes:
                judge.of(in_pass)


try:
    load()
except Exception:  # noqa: BLE001 - it would end the forkserver; a worker that needs what failed says so itself
    traceback.print_exc()
