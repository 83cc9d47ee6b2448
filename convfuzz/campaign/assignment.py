"""What one process of a worker is to do, and its entry point, which loads what a worker needs only there."""

from __future__ import annotations

import msgspec

from convfuzz.campaign.deaths import Deadly
from convfuzz.campaign.plan import Plan
from convfuzz.campaign.worker_state import Position

WORKER_MODULE = "convfuzz.campaign.worker"
"""What the forkserver imports for the workers: Hypothesis and the checker, which the supervisor does without."""


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """What one process of worker number ``worker`` is to do: its part of ``plan``, from ``position`` on.

    With *n* workers, worker *i* runs rounds *i*, *i* + *n*, … Cases of its first round that earlier processes have run are
    drawn again and not run. ``deadly`` says which cases are known to end the process. It ends after ``cases`` cases, the one in
    flight included, at ``deadline`` (seconds since the epoch), or after one round where ``one_round`` says so; it gives way to
    another process when its memory is almost full.
    """

    plan: Plan
    directory: str
    worker: int
    position: Position
    cases: int | None = None
    deadline: float | None = None
    one_round: bool = False
    deadly: list[Deadly] = []


def carry_out(assignment: bytes) -> None:
    """Carry out an :class:`Assignment`, given as JSON; the entry point of a worker process, which it ends."""
    from convfuzz.campaign.worker import work  # noqa: PLC0415 - for workers alone

    work(assignment)
