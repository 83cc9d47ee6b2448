"""Hasty runs: a call hangs once it takes far longer than the others, and not only when its time is up."""

from __future__ import annotations

import math
from pathlib import Path

from convfuzz.case import Case
from convfuzz.checking.limits import Limits
from convfuzz.processes.pace import Pace
from convfuzz.processes.sandbox import Sandbox
from convfuzz.verdicts import Verdict

KERNEL = """
import time

import convfuzz


def hangs(x, w, b, config):
    while config.groups > 1:
        time.sleep(0.1)
    return convfuzz.reference(config, x, w, b).y.astype(x.dtype)


def eats(x, w, b, config):
    held = []
    while config.groups > 1:
        held.append(bytearray(b"x" * 2**26))
        time.sleep(0.1)
    return convfuzz.reference(config, x, w, b).y.astype(x.dtype)
"""


def test_patience_grows_with_what_the_others_take() -> None:
    """It is a hundred times the median and twice the slowest, at least a second, and some seconds where nothing has answered."""
    pace = Pace()
    assert not pace.is_known
    assert pace.patience == 5.0
    for seconds in (0.001, 0.002, 0.003):
        pace.add(seconds)
    assert pace.patience == 1.0
    pace.add(2.0)
    assert pace.patience == 4.0
    for _ in range(10):
        pace.add(0.5)
    assert pace.patience == 50.0


def test_hasty_run_waits_for_less_than_the_limit(tmp_path: Path) -> None:
    """The same call that a hasty run gives up in seconds would have had ten minutes; what returns is judged as ever."""
    (tmp_path / "k.py").write_text(KERNEL)
    name = f"{tmp_path / 'k.py'}::hangs"
    sandbox = Sandbox([name], None, tmp_path / "log", limits=Limits(case_timeout=600.0))
    try:
        fine = sandbox.evaluate(Case.parse("conv1d_c2_o2_i4_k2_f32@integers.1"), name, hasty=True)
        assert fine.verdict is Verdict.AGREE
        hung = sandbox.evaluate(Case.parse("conv1d_c2_o2_g2_i4_k2_f32@integers.1"), name, hasty=True)
        assert hung.verdict is Verdict.TIMEOUT
        assert hung.seconds < 600.0
    finally:
        sandbox.close()


def test_growth_is_plain_by_what_the_others_grow_by() -> None:
    """It is four times the largest, at least half a gibibyte, and has no limit where nothing has answered."""
    pace = Pace()
    assert pace.most_growth == math.inf
    pace.add(0.001, 2**20)
    assert pace.most_growth == 2**29
    pace.add(0.001, 2**28)
    assert pace.most_growth == 2**30


def test_hasty_run_fills_less_than_all_memory(tmp_path: Path) -> None:
    """A call that takes ever more ends by its size long before the limit of a terabyte, once another call has answered."""
    (tmp_path / "k.py").write_text(KERNEL)
    name = f"{tmp_path / 'k.py'}::eats"
    sandbox = Sandbox([name], None, tmp_path / "log", limits=Limits(memory=2**40))
    sandbox._paces[name].add(60.0)  # it is not to end by its time
    try:
        assert sandbox.evaluate(Case.parse("conv1d_c2_o2_i4_k2_f32@integers.1"), name, hasty=True).verdict is Verdict.AGREE
        eaten = sandbox.evaluate(Case.parse("conv1d_c2_o2_g2_i4_k2_f32@integers.1"), name, hasty=True)
        assert eaten.verdict is Verdict.MEMORY
    finally:
        sandbox.close()
