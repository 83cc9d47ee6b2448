"""Rounds on other machines: each is a task for an executor and returns its journal.

Inside its task a round has a worker process of its own, like any other: a backend that kills it gets a verdict, and the
executor's process survives. A round that never comes back is lost as a whole; the journal says so, and the next one begins.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from pathlib import Path

import msgspec

from convfuzz.backend_names import family_of
from convfuzz.campaign.assignment import WORKER_MODULE, Assignment
from convfuzz.campaign.local_slot import LocalSlot
from convfuzz.campaign.plan import Plan, different_versions
from convfuzz.campaign.slot import Slot
from convfuzz.errors import ConvfuzzError
from convfuzz.processes.forkserver import prepare_forkserver
from convfuzz.record.events import Event, RoundLost
from convfuzz.record.journal import append_events, append_lines
from convfuzz.record.versions import installed
from convfuzz.system.json_records import decode, encode

_POLL_SECONDS = 0.02
_MOST_LOSSES = 3
"""So many lost rounds in a row end the run: the cluster is at fault."""


class RoundTask(msgspec.Struct, frozen=True, kw_only=True):
    """One round that is to run elsewhere, and the versions of packages that it is to run with."""

    assignment: Assignment
    versions: dict[str, str]


class RoundDone(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a round: its journal, or why it could not run."""

    journal: str = ""
    refused: str = ""


def run_round(task: bytes) -> bytes:
    """Run a :class:`RoundTask` and return a :class:`RoundDone`, both as JSON: the function that the executor calls."""
    asked = decode(task, RoundTask)
    try:
        _refuse_what_cannot_run(asked)
        done = RoundDone(journal=_journal(asked))
    except ConvfuzzError as error:
        done = RoundDone(refused=str(error))
    return encode(done)


def _refuse_what_cannot_run(task: RoundTask) -> None:
    changed = different_versions(task.versions, installed(task.versions))
    if changed:
        raise ConvfuzzError(f"the campaign and the cluster have different versions: {changed}")
    if multiprocessing.current_process().daemon:
        raise ConvfuzzError(
            "the cluster's processes may not start others; Dask's may with DASK_DISTRIBUTED__WORKER__DAEMON=False in their environment"
        )


def _journal(task: RoundTask) -> str:
    asked, plan = task.assignment, task.assignment.plan
    with tempfile.TemporaryDirectory(prefix="convfuzz-") as folder:
        context = prepare_forkserver(plan.backends, plan.limits.memory, [WORKER_MODULE], plan.strategy)
        slot = LocalSlot(context, plan, Path(folder), asked.worker, asked.cases, only_round=asked.position)
        try:
            slot.open(asked.deadline)
            while slot.is_open:
                for _ in slot.poll():
                    pass
                time.sleep(_POLL_SECONDS)
        finally:
            slot.close()
        return Path(folder, slot.name).read_text(encoding="utf-8")


class RemoteSlot(Slot):
    """Rounds in an executor, one at a time; between two rounds its journal is like that of a local slot."""

    def __init__(self, executor: Executor, plan: Plan, directory: Path, index: int, cases: int | None) -> None:
        super().__init__(plan, directory, index, cases)
        self._executor = executor
        self._task: Future[bytes] | None = None
        self._losses = 0

    def poll(self) -> Iterator[Event]:
        """Yield the events of a round that has come back, and submit the next one.

        Raises:
            ConvfuzzError: the cluster cannot run rounds, or loses one after the other.
            OSError: the journal cannot be written any more.
        """
        if self._task is not None and self._task.done():
            task, self._task = self._task, None
            self._take(task)
            yield from self.read()
            self._resume()

    def close(self) -> None:
        """Give up the round in flight: whoever resumes the run does it again."""
        self.is_open = False
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    def _resume(self) -> None:
        self.is_open = not self._is_over()
        if self.is_open:
            frameworks = filter(None, map(family_of, self._plan.backends))
            task = RoundTask(assignment=self._assignment(), versions=installed(frameworks))
            try:
                self._task = self._executor.submit(run_round, encode(task))
            except RuntimeError as error:  # concurrent.futures: it is broken, or has been shut down
                raise ConvfuzzError(f"the executor takes no more rounds: {type(error).__name__}: {error}") from None

    def _take(self, task: Future[bytes]) -> None:
        try:
            done = decode(task.result(), RoundDone)
        except Exception as error:  # noqa: BLE001 - an executor may raise anything for a task that is gone
            self._losses += 1
            reason = f"{type(error).__name__}: {error}".rstrip(": ")
            if self._losses >= _MOST_LOSSES:
                raise ConvfuzzError(f"{self._losses} rounds in a row did not come back: {reason}") from None
            append_events(self._tail.path, [RoundLost(self._state.position.round, reason, time.time())])
            return
        if done.refused:
            raise ConvfuzzError(done.refused)
        self._losses = 0
        append_lines(self._tail.path, done.journal.encode())
