"""Whose time it is that a case takes: a backend's own calls are never counted as convfuzz's."""

from __future__ import annotations

import time

import numpy as np
import pytest

import convfuzz
from convfuzz import Case
from convfuzz.checking.checker import Checker, as_backend
from convfuzz.record.events import BackendEnded, CaseEnded
from convfuzz.tensors.generator import Array


def test_calls_on_integers_are_the_backends_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that is called again on integers, for its rounded results, has the time of both calls, and judging none of it."""
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)

    @convfuzz.backend(dtypes=("float32",))
    def of_half_precision(x: Array, w: Array, b: Array | None, config: convfuzz.ConvConfig) -> Array:
        nonlocal now
        now += 1.0
        return convfuzz.reference(config, x, w, b).y.astype(np.float16).astype(np.float32)

    checker = Checker([as_backend(of_half_precision)], repeat_one_in=2**32)
    *_, ended, case = checker.events(Case.parse("conv2d_c4_o6_i7_k3_f32@normal.1"))
    assert isinstance(ended, BackendEnded)
    assert isinstance(case, CaseEnded)
    assert (ended.verdict, ended.seconds, case.overhead_seconds) == ("imprecise", 2.0, 0.0)
