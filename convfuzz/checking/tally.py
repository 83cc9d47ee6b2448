"""How many cases a stretch of this process checks, such as a test, and on how many of them something was compared."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from convfuzz.system.counted import counted
from convfuzz.verdicts import Verdict

if TYPE_CHECKING:
    from convfuzz.checking.checker import CheckResult

_NEARLY_ALL = 9
"""A kernel declines nearly all cases where it declines more than nine for each that it computes."""


@dataclass(eq=False)
class Tally:
    """Counts of cases.

    ``checked`` were run, ``asserted`` by a check that raises, and ``compared`` judged on any backend. ``drawn`` were handed to a
    test, which compared something, on its own kernel where it has one, on ``covered`` of them. ``computed`` and ``declined`` are
    per backend, ``reasons`` why it declined. ``raised`` is the result of the latest check that has raised.
    """

    checked: int = 0
    asserted: int = 0
    compared: int = 0
    drawn: int = 0
    covered: int = 0
    computed: Counter[str] = field(default_factory=Counter)
    declined: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    raised: CheckResult | None = None

    def add(self, result: CheckResult, *, asserts: bool) -> None:
        """Count one more case that was checked."""
        self.checked += 1
        self.asserted += asserts
        self.compared += result.compared > 0
        self.reasons.update([result.skipped] if result.skipped else [])
        for one in result.results:
            if one.verdict is Verdict.UNSUPPORTED:
                self.declined[one.backend] += 1
                self.reasons[f"{one.backend}: {one.reason}"] += 1
            else:
                self.computed[one.backend] += 1
        if asserts and result.failures:
            self.raised = result

    @property
    def covers(self) -> bool:
        """Whether the test's own kernel computed anything; without one, whether anything was compared."""
        own = self._own_kernels()
        return any(self.computed[name] for name in own) if own else self.compared > 0

    def _own_kernels(self) -> list[str]:
        """Return the functions among the backends; what is derived from one, as by ``+split``, has a smaller domain by design."""
        return [name for name in self.computed | self.declined if "::" in name and "+" not in name.rpartition("::")[2]]

    @property
    def said(self) -> str:
        """How many of the cases were compared, such as ``13 of 100 cases compared``; empty where there were none."""
        count, of = (self.covered, self.drawn) if self.drawn else (self.compared, self.checked)
        return f"{count:,} of {of:,} cases compared" if of else ""

    @property
    def proves_nothing(self) -> str:
        """Say that checks that raise compared nothing, since no backend computed any of the cases, and why; else it is empty."""
        return self._nothing() if self.asserted and not self.compared else ""

    def _nothing(self) -> str:
        return f"nothing was compared: no backend computes any of the {counted(self.checked, 'case')} of this test: {self._why()}"

    def proves_too_little(self, asked: int) -> str:
        """Say why the drawn cases prove little where ``asked`` of them were to be compared; empty where enough were.

        More are drawn in place of those that a kernel declines, so that few are compared only where nearly all are declined.
        """
        if not self.checked:
            return (
                f"no case was checked: the test was given {self.drawn} and compared none of them with anything; "
                "call case.check(my_kernel), convfuzz.check(case, [my_kernel]) or convfuzz.assert_conv_close(…) in it, for each case"
            )
        if not self.compared:
            return self._nothing()
        remedy = (
            "Say what the kernel computes, so that its cases are drawn from that: by options of @convfuzz.backend, or by a strategy "
            "such as convfuzz.strategies.cases(ops=('conv',), dims=(2,), dtypes=('float16',))"
        )
        for name in self._own_kernels():
            computed, declined = self.computed[name], self.declined[name]
            if computed < asked and declined > _NEARLY_ALL * computed:
                few = f"{name} declined {declined:,} of {computed + declined:,} cases: {computed:,} were compared, {asked:,} were asked for"
                return f"{few} ({self._why(name)}). {remedy}"
        left_out = self.drawn - self.covered
        if self.covered < asked and left_out > _NEARLY_ALL * self.covered:
            return (
                f"the test compared something on {self.covered:,} of {self.drawn:,} cases only, and {asked:,} were asked for: it returns "
                f"before it checks the others, or what it checks declines them. {remedy}"
            )
        return ""

    def _why(self, backend: str = "") -> str:
        of = [(reason, count) for reason, count in self.reasons.most_common() if reason.startswith(backend)]
        return "; ".join(f"{reason} ({count})" for reason, count in of[:5])


_running: list[Tally] = []


@contextlib.contextmanager
def tallied() -> Iterator[Tally]:
    """Count the cases that the block checks."""
    tally = Tally()
    _running.append(tally)
    try:
        yield tally
    finally:
        _running.remove(tally)


def count(result: CheckResult, *, asserts: bool) -> None:
    """Count a case that was checked; ``asserts`` where a failure raises."""
    for tally in _running:
        tally.add(result, asserts=asserts)


def count_assertion() -> None:
    """Count a layer that an assertion has judged."""
    for tally in _running:
        tally.checked += 1
        tally.asserted += 1
        tally.compared += 1


def count_draw(*, covered: bool) -> None:
    """Count a case that a test was given, and whether it compared something on it."""
    for tally in _running:
        tally.drawn += 1
        tally.covered += covered
