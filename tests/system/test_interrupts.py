"""Signals that ask a program to end: one at a time, whoever else passes them on.

Each program is a process of its own: in one that other tests share, in which many frameworks have run, SIGTERM has ended in SIGSEGV.
"""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

BEFORE = """
import signal
import time

now = [100.0]
time.monotonic = lambda: now[0]

from convfuzz.system.interrupts import Ended, interrupts_held, raise_when_ended

raise_when_ended()


def raised(number):
    try:
        signal.raise_signal(number)
    except Ended as ended:
        return str(ended)
    return "nothing"
"""


def told(program: str) -> list[str]:
    """Run a program and return what it prints, line by line."""
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + dedent(program)], capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_same_signal_twice_is_one() -> None:
    """A signal that comes at once again, as from a terminal and from the program that started this one, ends nothing twice."""
    program = """
        print(raised(signal.SIGTERM), raised(signal.SIGTERM), raised(signal.SIGHUP))
        now[0] += 2
        print(raised(signal.SIGHUP))
    """
    assert told(program) == ["SIGTERM", "nothing", "nothing", "SIGHUP"]


def test_held_signal_comes_at_the_end() -> None:
    """What comes while signals are held is raised once they are not, however many came."""
    program = """
        try:
            with interrupts_held():
                print(*(raised(signal.SIGTERM) for _ in range(3)))
                print("work")
        except Ended as ended:
            print(ended)
    """
    assert told(program) == ["nothing", "nothing", "nothing", "work", "SIGTERM"]


def test_status_stands_while_the_interpreter_is_taken_apart() -> None:
    """The interpreter forgets the program's handlers at its end; a signal that comes even then does not end the process by itself."""
    program = """
        import os

        from convfuzz.system.interrupts import end_at_once, end_with

        class Late:
            def __del__(self, kill=os.kill, own=os.getpid()):
                kill(own, 2)

        end_at_once()
        kept = Late()  # which goes with its module
        end_with(0)
        print("done", flush=True)
    """
    assert told(program) == ["done"]


def test_status_stands_once_all_is_done() -> None:
    """A signal that comes while the interpreter ends leaves the status as it is, and prints nothing."""
    program = """
        import atexit
        import sys

        from convfuzz.system.interrupts import end_with

        def never():
            print("not reached")

        def late():
            signal.raise_signal(signal.SIGHUP)

        atexit.register(never)
        atexit.register(late)  # runs first
        end_with(0)
        print("done", flush=True)
        sys.exit(3)
    """
    assert told(program) == ["done"]
