"""Ctrl-C and its like: SIGTERM and SIGHUP end a program in the same orderly way, and all of them can be held back for a moment."""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals by which somebody asks a program to end."""


_SAME_SECONDS = 1.0
"""What comes within so many seconds is one signal: who starts a program for somebody passes on what the terminal has sent it already."""


class Ended(KeyboardInterrupt):
    """One of :data:`ENDING` asks this process to end; whatever puts things in order after Ctrl-C does so after the others."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal = signal.Signals(signal_number)


def signal_of(error: KeyboardInterrupt) -> signal.Signals:
    """Return the signal that an interruption stands for."""
    return error.signal if isinstance(error, Ended) else signal.SIGINT


def end_at_once() -> None:
    """Have each of :data:`ENDING` end this process with a line and its status; one that is ignored, as by ``nohup``, stays ignored.

    That is for the time in which a program loads its modules: some of them make something else of an exception. At the very end they
    are ignored: the interpreter, as it is taken apart, puts the system's handlers in the place of its own, which would end the process
    by the signal.
    """
    atexit.register(ignore_ending)  # the first, so that it runs last
    _handle(_end)


def raise_when_ended() -> None:
    """Have each of :data:`ENDING` that is not ignored raise :class:`Ended`, a ``KeyboardInterrupt``, in the main thread.

    One that comes in the same second as another is taken for the same.
    """
    latest = -math.inf

    def raise_once(number: int, _: FrameType | None) -> None:
        nonlocal latest
        if time.monotonic() - latest >= _SAME_SECONDS:
            latest = time.monotonic()
            raise Ended(number)

    _handle(raise_once)


def end_with(status: int) -> None:
    """Have each of :data:`ENDING` that is not ignored end this process at once with ``status``, which what it has done decides.

    That is for the time in which a program has done everything, and the interpreter ends.
    """
    _handle(lambda *_: os._exit(status))


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def leave_to_parent(seconds: float = 5.0) -> None:
    """Leave it to the parent to end this process when a signal is meant for both of them.

    Ctrl-C, a closed terminal and a service manager signal a whole group of processes. Ctrl-C is ignored here. SIGTERM and SIGHUP
    end this process after ``seconds``, in which the parent that ends in order has ended it; alone, it dies of them. A process that
    it forks, such as one of a pool, dies of them at once.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    own = os.getpid()

    def die_later(number: int, _: FrameType | None) -> None:
        if os.getpid() == own:
            time.sleep(seconds)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, die_later)
        signal.siginterrupt(number, False)  # noqa: FBT003 - positional only


def ignore_ending() -> None:
    """Ignore the signals of :data:`ENDING` in this process, which ends with its parent; they may be blocked until here."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP wait for the end of the block; only the main thread can be interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[tuple[int, FrameType | None]] = []
    handlers = {number: signal.getsignal(number) for number in ENDING}
    taken = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in taken:
        signal.signal(number, lambda number, frame: held.append((number, frame)))
    try:
        yield
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)
    if held:
        first, frame = held[0]
        taken[signal.Signals(first)](first, frame)  # raises, or is held back in its turn


def _end(number: int, _: FrameType | None) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"convfuzz: ended by {signal.Signals(number).name}\n".encode())
    os._exit(128 + number)
