"""Solutions that cheat are refused, for what they did where that can be told; honest ones that look like it are accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="a problem's model is PyTorch's")

from convfuzz.solutions import judge as judging
from convfuzz.solutions.judge import ACCEPTED, REJECTED, Judged, judge

from .cheats import CHEATS, LOOK_ALIKES, PROBLEM, Made


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The problem's file, which all of them share, so that it is traced once."""
    path = tmp_path_factory.mktemp("problem") / "problem.py"
    path.write_text(PROBLEM)
    return path


@pytest.fixture(autouse=True)
def _brief_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look briefly for the least input on which a cheat fails, which does not change the verdict."""
    monkeypatch.setattr(judging, "_LEAST_SECONDS", 0.1)


def judged(problem: Path, made: Made, name: str) -> Judged:
    """Judge a solution that lies beside its problem."""
    path = problem.with_name(f"{name.replace('-', '_')}.py")
    path.write_text(made.source)
    return judge(problem, path, seed=1, seconds=600.0)


@pytest.mark.parametrize("name", CHEATS)
def test_cheats_are_refused(problem: Path, name: str) -> None:
    """A solution that does anything but compute is rejected, and the reason names what it did where that shows."""
    found = judged(problem, CHEATS[name], name)
    assert found.verdict == REJECTED
    assert CHEATS[name].said in " | ".join((*found.reasons, *(one.reason for one in found.trials))), found.reasons


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_look_alikes_are_accepted(problem: Path, name: str) -> None:
    """A solution that caches, reuses, refuses other sizes, prints or has threads is accepted if it computes; what is odd is noted."""
    found = judged(problem, LOOK_ALIKES[name], name)
    assert (found.verdict, found.cheating) == (ACCEPTED, ()), found.reasons
    assert LOOK_ALIKES[name].said in " | ".join(found.notes), found.notes
