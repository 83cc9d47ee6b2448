"""Signals that ask a program to end: one at a time, whoever else passes them on."""

from __future__ import annotations

import os
import signal

import pytest

from convfuzz.system import interrupts
from convfuzz.system.interrupts import Ended, interrupts_held, raise_when_ended


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test sets."""
    now = [100.0]
    monkeypatch.setattr(interrupts.time, "monotonic", lambda: now[0])
    return now


def test_same_signal_twice_is_one(clock: list[float]) -> None:
    """A signal that comes at once again, as from a terminal and from the program that started this one, ends nothing twice."""
    raise_when_ended()
    with pytest.raises(Ended, match="SIGTERM"):
        os.kill(os.getpid(), signal.SIGTERM)
    for number in (signal.SIGTERM, signal.SIGHUP):
        os.kill(os.getpid(), number)
    clock[0] += 2
    with pytest.raises(Ended, match="SIGHUP"):
        os.kill(os.getpid(), signal.SIGHUP)


def test_held_signal_comes_at_the_end(clock: list[float]) -> None:
    """What comes while signals are held is raised once they are not, however many came."""
    del clock
    raise_when_ended()
    done = []

    def work() -> None:
        with interrupts_held():
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGTERM)
            done.append("work")

    with pytest.raises(Ended, match="SIGTERM"):
        work()
    assert done == ["work"]
