"""How backends compute, measured at the end of a run: within its time, what is known first, and never twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from convfuzz.campaign import arithmetic
from convfuzz.campaign.arithmetic import measured
from convfuzz.record.arithmetic import Arithmetic, SheetCache

VERSIONS = {"torch": {"torch": "2.13.0"}, "jax": {"jax": "0.10.2"}}
NAMES = ["torch", "torch+split", "reference", "jax", "a+b.py::conv"]


class Revealing:
    """Takes note of who is asked, and lets the clock run on by as much as each takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, takes: float) -> None:
        self.asked: list[tuple[str, float]] = []
        self._now, self._takes = 100.0, takes
        monkeypatch.setattr(arithmetic.time, "monotonic", lambda: self._now)

    def __call__(self, name: str, seconds: float) -> Arithmetic:
        """Return a sheet."""
        self.asked.append((name, seconds))
        self._now += self._takes
        return Arithmetic(backend=name, line="sequential")


def test_kernels_come_first_and_variants_not_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Users' kernels are asked first, each gets ten seconds at most, and the sheets are in the order of the backends."""
    reveal = Revealing(monkeypatch, 4.0)
    found = measured(NAMES, VERSIONS, reveal, {}, 60.0, SheetCache(tmp_path))
    assert reveal.asked == [("a+b.py::conv", 10.0), ("torch", 10.0), ("jax", 10.0)]
    assert [one.backend for one in found] == ["torch", "jax", "a+b.py::conv"]


def test_the_time_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody is asked in less than three seconds, and who is not says so; a short run asks nobody and says nothing."""
    reveal = Revealing(monkeypatch, 4.0)
    found = measured(NAMES, VERSIONS, reveal, {}, 9.5, SheetCache(tmp_path))
    assert reveal.asked == [("a+b.py::conv", 9.5), ("torch", 5.5)]
    assert [one.backend for one in found if one.unmeasured] == ["jax"]
    assert measured(NAMES, VERSIONS, reveal, {}, 2.9, SheetCache(tmp_path)) == []
    assert len(reveal.asked) == 2


def test_what_is_known_is_not_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A second run asks for what the first did not measure, and for kernels in files; what an earlier sitting measured stays."""
    reveal = Revealing(monkeypatch, 1.0)
    measured(NAMES, VERSIONS, reveal, {}, 20.0, SheetCache(tmp_path))
    reveal.asked.clear()
    known = {"a+b.py::conv": Arithmetic(backend="a+b.py::conv", line="pairwise")}
    again = measured(NAMES, VERSIONS, reveal, known, 20.0, SheetCache(tmp_path))
    assert reveal.asked == []
    assert [bool(one.measured) for one in again] == [True, True, False]
    measured(NAMES, VERSIONS, reveal, {}, 20.0, SheetCache(tmp_path))
    assert [name for name, _ in reveal.asked] == ["a+b.py::conv"]
