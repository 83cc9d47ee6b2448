"""Loads what every child process needs, once in the forkserver, so that a dead child is replaced at once.

The environment variables ``CONVFUZZ_PRELOAD`` and ``CONVFUZZ_PRELOAD_STRATEGY`` hold the backends' names and that of the search
space. A framework that does not import is left to the worker to report; a search space of the user's is left to the worker
altogether, since whatever ends this process ends the campaign.
"""

from __future__ import annotations

import contextlib
import os
import traceback

import numpy as np

from convfuzz.backends import Numerics, preload
from convfuzz.case import Case
from convfuzz.case.dtypes import numpy_dtype
from convfuzz.entry_points import is_own_strategy, load_strategy
from convfuzz.errors import BackendError, InvalidConfig, UsageError
from convfuzz.judging.judge import Judge
from convfuzz.processes.forkserver import PRELOAD, PRELOAD_STRATEGY
from convfuzz.system.die_with_parent import die_with_starter
from convfuzz.tensors.generator import make_tensors


def load() -> None:
    """Import the frameworks and compile the reference; otherwise the first case of a campaign would look like a hang."""
    for name in os.environ.get(PRELOAD, "").split(","):
        with contextlib.suppress(ImportError, BackendError, InvalidConfig):
            preload(name)
    _judge()
    strategy = os.environ.get(PRELOAD_STRATEGY)
    with contextlib.suppress(UsageError):  # it is not there any more, which a worker says
        if strategy and is_own_strategy(strategy):
            _draw(strategy)


def _judge() -> None:
    """Compile the reference and the judge, or load them from Numba's cache, with what a wrong result takes: many children see one."""
    for dtype in ("f32", "f64"):
        for regime in ("normal", "integers"):
            case = Case.parse(f"conv2d_c1_o1_i3_k2_b_{dtype}_grad@{regime}.0")
            judge = Judge(case, make_tensors(case))
            for in_pass in case.passes:
                y = np.asarray(judge.of(in_pass).expected.y, numpy_dtype(case.config.dtype))
                for output in (y, y + 1):
                    judge.judge(output, Numerics(), in_pass)


def _draw(strategy: str) -> None:
    """Build a search space and draw once from it: Hypothesis prepares itself with the first draw."""
    from hypothesis import HealthCheck, Phase, given, settings  # noqa: PLC0415 - for campaigns alone

    @settings(max_examples=1, phases=[Phase.generate], database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(load_strategy(strategy))
    def drawn(_: object) -> None:
        pass

    drawn()


try:
    load()
except Exception:  # noqa: BLE001 - it would end the forkserver; a worker that needs what failed says so itself
    traceback.print_exc()
finally:
    die_with_starter(on=False)  # which may be one thread of several
