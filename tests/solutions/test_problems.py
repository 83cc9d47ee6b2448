"""On ten problems every right solution is accepted and every wrong one rejected."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="a problem's model is PyTorch's")

from convfuzz.judging.numerics import Numerics
from convfuzz.solutions import judge as judging
from convfuzz.solutions.judge import ACCEPTED, REJECTED, judge

from .problems import DECLARED, PROBLEMS


@pytest.mark.parametrize("name", PROBLEMS)
def test_right_solutions_are_accepted_and_wrong_ones_rejected(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way of writing a problem's model is judged by what it computes: eager, split, unfolded, folded, by FFT, or wrongly.

    The least input on which a wrong one fails, which does not change the verdict, is looked for briefly.
    """
    monkeypatch.setattr(judging, "_LEAST_SECONDS", 0.1)
    problem = PROBLEMS[name]
    (tmp_path / "problem.py").write_text(problem.source())
    verdicts, reasons = {}, {}
    for wanted, solutions in ((ACCEPTED, {"eager": problem.forward, **problem.right}), (REJECTED, problem.wrong)):
        for way, forward in solutions.items():
            path = tmp_path / f"{way.replace('-', '_').replace('.', '_')}_{wanted}.py"
            path.write_text(problem.solution(forward))
            found = judge(tmp_path / "problem.py", path, seed=1, numerics=Numerics(algorithm="transform") if way in DECLARED else None)
            verdicts[way, wanted], reasons[way] = found.verdict, found.reasons
    assert {way: reasons[way] for (way, wanted), verdict in verdicts.items() if verdict != wanted} == {}


def test_there_are_forty_wrong_ones() -> None:
    """The set is as large as it is said to be."""
    assert len(PROBLEMS) == 10
    assert sum(len(problem.wrong) for problem in PROBLEMS.values()) >= 40
