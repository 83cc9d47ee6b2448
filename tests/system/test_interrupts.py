"""Signals that ask a program to end: one at a time, whoever else passes them on.

They are raised in this thread: one that is sent to the process may be taken by another thread, and raise what it raises too late.
"""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest

from convfuzz.system import interrupts
from convfuzz.system.interrupts import Ended, interrupts_held, raise_when_ended


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test sets."""
    now = [100.0]
    monkeypatch.setattr(interrupts, "time", SimpleNamespace(monotonic=lambda: now[0]))  # the module's alone, not the whole process's
    return now


def test_same_signal_twice_is_one(clock: list[float]) -> None:
    """A signal that comes at once again, as from a terminal and from the program that started this one, ends nothing twice."""
    raise_when_ended()
    with pytest.raises(Ended, match="SIGTERM"):
        signal.raise_signal(signal.SIGTERM)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.raise_signal(number)
    clock[0] += 2
    with pytest.raises(Ended, match="SIGHUP"):
        signal.raise_signal(signal.SIGHUP)


def test_held_signal_comes_at_the_end(clock: list[float]) -> None:
    """What comes while signals are held is raised once they are not, however many came."""
    del clock
    raise_when_ended()
    done = []

    def work() -> None:
        with interrupts_held():
            for _ in range(3):
                signal.raise_signal(signal.SIGTERM)
            done.append("work")

    with pytest.raises(Ended, match="SIGTERM"):
        work()
    assert done == ["work"]
