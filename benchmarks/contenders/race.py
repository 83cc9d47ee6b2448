"""Kernels side by side over one contender's calls, each with a clock of its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.case import Case

from .calls import Call, Contender, Enough


@dataclass(frozen=True)
class Caught:
    """The first call on which a kernel failed: its number, its case, what was wrong, and the kernel's clock in seconds."""

    number: int
    case: Case
    wrong: str
    seconds: float


@dataclass
class Race:
    """What one contender makes of some kernels within ``seconds`` for each.

    Where ``correct`` is given, a failure counts only on a call that this kernel passes: a false alarm catches nobody.
    A kernel's clock runs while calls are made, oracles with them, and while it runs itself and is judged; it stands still
    while others do. Who fails leaves, and who is out of time.
    """

    contender: Contender
    kernels: Iterable[KernelBackend]
    seconds: float
    seed: int
    correct: KernelBackend | None = None
    caught: dict[str, Caught] = field(default_factory=dict)
    calls: int = 0
    made: float = 0.0
    """The seconds in which calls were made."""
    own: dict[str, float] = field(default_factory=dict)

    def run(self) -> Race:
        """Run it."""
        self._waiting = {kernel.name: kernel for kernel in self.kernels}
        self.own = dict.fromkeys(self._waiting, 0.0)
        self._left = time.perf_counter()
        with contextlib.suppress(Enough):
            self.contender.run(self.seed, self._visit)
        return self

    def _visit(self, call: Call) -> None:
        self.made += time.perf_counter() - self._left
        self.calls += 1
        is_false_alarm: bool | None = None
        for name, kernel in list(self._waiting.items()):
            began = time.perf_counter()
            wrong = call.judge(kernel)
            self.own[name] += time.perf_counter() - began
            clock = self.made + self.own[name]
            if wrong and self.correct is not None:
                is_false_alarm = bool(call.judge(self.correct)) if is_false_alarm is None else is_false_alarm
                wrong = "" if is_false_alarm else wrong
            if wrong:
                self.caught[name] = Caught(self.calls, call.case, wrong, clock)
            if wrong or clock > self.seconds:
                del self._waiting[name]
        if not self._waiting:
            raise Enough
        self._left = time.perf_counter()
