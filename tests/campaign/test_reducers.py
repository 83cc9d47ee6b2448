"""Examinations side by side: each in a thread of its own, handed back when it ends, stopped within a moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from convfuzz.campaign.reducers import Reducers
from convfuzz.case import Case
from convfuzz.processes.sandbox import Sandbox
from convfuzz.triage.examination import Examination

CASE = Case.parse("conv1d_c1_o1_i4_k2_f32@integers.1")


class FakeSandbox:
    """A sandbox that is only closed."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self.meanwhile, self.is_closed = meanwhile, False

    def close(self) -> None:
        """Note that it was closed."""
        self.is_closed = True


class Pool:
    """Reducers with fake sandboxes, and what they were told."""

    def __init__(self) -> None:
        self.made: list[FakeSandbox] = []
        self.reducers = Reducers(self._make, lambda _: None)

    def _make(self, number: int, meanwhile: Callable[[], None]) -> Sandbox:
        assert number == len(self.made) + 1
        self.made.append(FakeSandbox(meanwhile))
        return cast("Sandbox", self.made[-1])

    def begin(self, action: Callable[[Any, Callable[[Case], None]], None]) -> Examination:
        """Begin an examination that does this with its sandbox."""

        class Acting:
            def run(self, sandbox: Any, progress: Callable[[Case], None]) -> None:
                action(sandbox, progress)

        examination = cast("Examination", Acting())
        self.reducers.begin(examination)
        return examination

    def ended(self, count: int) -> list[Examination]:
        """Wait for so many examinations."""
        found: list[Examination] = []
        deadline = time.monotonic() + 60
        while len(found) < count:
            assert time.monotonic() < deadline, "waited in vain"
            found += self.reducers.ended()
        return found


def test_examinations_go_on_side_by_side() -> None:
    """Two examinations that wait for each other both end; a third one uses a sandbox that is there."""
    pool, meeting = Pool(), threading.Barrier(2)
    both = [pool.begin(lambda *_: cast("None", meeting.wait(60))) for _ in range(2)]
    assert pool.reducers.busy == 2
    assert set(pool.ended(2)) == set(both)
    third = pool.begin(lambda *_: None)
    assert pool.ended(1) == [third]
    assert len(pool.made) == 2


@pytest.mark.parametrize("where", ["meanwhile", "progress"])
def test_stopping_ends_what_goes_on(where: str) -> None:
    """An examination that would never end is stopped while its child works or at its next candidate, and is handed back."""
    pool = Pool()

    def endless(sandbox: Any, progress: Callable[[Case], None]) -> None:
        while True:
            sandbox.meanwhile() if where == "meanwhile" else progress(CASE)
            time.sleep(0.001)

    examination = pool.begin(endless)
    assert pool.reducers.ended() == []
    assert pool.reducers.stop() == [examination]
    assert pool.reducers.busy == 0
    assert pool.made[0].is_closed


def test_an_error_in_a_thread_is_raised_where_it_is_waited_for() -> None:
    """What goes wrong in an examination, such as a full disk, ends the campaign and not only a thread."""
    pool = Pool()

    def fails(*_: Any) -> None:
        raise OSError("no space left")

    pool.begin(fails)
    with pytest.raises(OSError, match="no space left"):
        pool.ended(1)
