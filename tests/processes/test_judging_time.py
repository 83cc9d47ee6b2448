"""What judging takes is not the backend's time: a limit of time is about calls of the backend, each of them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convfuzz.campaign.worker_state import Position, WorkerState
from convfuzz.case import Case
from convfuzz.case.config import ConvConfig
from convfuzz.checking import calls
from convfuzz.checking.checker import check
from convfuzz.checking.limits import Limits
from convfuzz.processes.sandbox import Sandbox
from convfuzz.record.events import BackendStarted, CaseStarted, JudgingEnded, JudgingStarted
from convfuzz.verdicts import Verdict

KERNEL = """
import time

import numpy as np

import convfuzz
from convfuzz.judging.judge import Judge

judge = Judge.judge


def slowly(self, *arguments):
    Judge.judge = judge
    time.sleep(2.5)
    return judge(self, *arguments)


def off(x, w, b, config):
    Judge.judge = slowly
    return (convfuzz.reference(config, x, w, b).y * 1.001).astype(x.dtype)


def hangs(x, w, b, config):
    while np.all(x == np.round(x)):
        time.sleep(0.1)
    return (convfuzz.reference(config, x, w, b).y * 1.001).astype(x.dtype)
"""
CASE = "conv1d_c1_o1_i4_k2_f32@normal.1"


@pytest.mark.parametrize(("kernel", "verdict"), [("off", Verdict.IMPRECISE), ("hangs", Verdict.TIMEOUT)])
def test_a_call_has_a_limit_and_judging_has_another(tmp_path: Path, kernel: str, verdict: Verdict) -> None:
    """A judge that takes longer than a call may makes no timeout; a call that hangs in the middle of judging, on integers, is one."""
    (tmp_path / "k.py").write_text(KERNEL)
    name = f"{tmp_path / 'k.py'}::{kernel}"
    sandbox = Sandbox([name], None, tmp_path / "log", limits=Limits(case_timeout=1.5))
    try:
        assert sandbox.evaluate(Case.parse(CASE), name).verdict is verdict
    finally:
        sandbox.close()


def nothing(x: Any, _w: Any, _b: Any, config: ConvConfig) -> Any:
    """Return zeros."""
    return np.zeros(config.output_shape, x.dtype)


def test_calls_and_judging_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A right output is judged once; where it is suspect, the backend is called again on integers while it is judged."""
    told: list[bool] = []
    monkeypatch.setattr(calls, "_watchers", [told.append])
    check(CASE, ["reference"])
    assert told == [True, False]
    told.clear()
    check(CASE, [nothing])
    assert told[:3] == [True, False, True]
    assert told[-1] is False
    assert all(one is not following for one, following in pairwise(told))


def test_a_journal_tells_who_is_at_work() -> None:
    """Between the events of judging the worker judges; a call in the middle of it, and the next backend, are the backend's time."""
    state = WorkerState(Position(round=0), 1)
    at_work = []
    for event in (CaseStarted(CASE, 0.0), BackendStarted("a"), JudgingStarted(), JudgingEnded(), JudgingStarted(), BackendStarted("b")):
        state.add(event)
        at_work.append(not state.is_judging)
    assert at_work == [True, True, False, True, False, True]
