"""What a campaign is asked to do, and how a run that stopped is asked to go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec

from convfuzz.errors import UnreadableFile, UsageError
from convfuzz.record.ledger import Ledger
from convfuzz.record.run_directory import RunInfo


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a campaign is asked to do.

    The run ends after ``seconds`` or ``max_cases``, whichever comes first, all its sittings together; with neither it
    goes on until it is interrupted. ``case_timeout`` is in seconds and ``memory_limit`` in bytes of resident memory per
    worker. ``ledger`` holds the known findings: what it quarantines is not run, what it tolerates is reported and is no
    failure of the run.

    Raises:
        UsageError: a limit is not positive, the seed is negative, or there is no backend.
    """

    backends: Sequence[str]
    strategy: str
    seed: int
    seconds: float | None = None
    max_cases: int | None = None
    workers: int = 1
    case_timeout: float = 20.0
    memory_limit: int = 4 * 2**30
    ledger: Ledger = field(default_factory=Ledger)
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in (("time", self.seconds), ("case_timeout", self.case_timeout), ("memory_limit", self.memory_limit)):
            if value is not None and not value > 0:
                raise UsageError(f"{name}={value:g} is not positive")
        for name, count in (("max_cases", self.max_cases), ("workers", self.workers)):
            if count is not None and count < 1:
                raise UsageError(f"{name}={count} is less than 1")
        if self.seed < 0:
            raise UsageError(f"seed={self.seed} is negative")
        if not self.backends:
            raise UsageError("no backend to compare with the reference; name some, such as torch,torch+split")

    @classmethod
    def resuming(cls, info: RunInfo, *, further_seconds: float | None = None, max_cases: int | None = None) -> Self:
        """Return the plan of the run that ``info`` tells of, to be gone on with.

        Without a new limit its own ones hold. ``further_seconds`` from now or ``max_cases`` in all, or both, take their place.

        Raises:
            UnreadableFile: its arguments are not those of a campaign.
            UsageError: they are none that a campaign can have.
        """
        try:
            asked = msgspec.convert(info.arguments, _Arguments)
        except msgspec.ValidationError as error:
            raise UnreadableFile(f"run.json does not say how to go on: arguments: {error}") from None
        if further_seconds is None and max_cases is None:
            seconds, max_cases = asked.time, asked.max_cases
        else:
            seconds = None if further_seconds is None else info.elapsed_s + further_seconds
        return cls(
            backends=info.backends,
            strategy=info.strategy,
            seed=info.seed,
            seconds=seconds,
            max_cases=max_cases,
            workers=asked.workers,
            case_timeout=asked.case_timeout,
            memory_limit=int(asked.memory_limit * 2**30),
            ledger=Ledger(tuple(line.entry for line in info.ledger)),
            arguments=info.arguments | {"time": seconds, "max_cases": max_cases},
        )


class _Arguments(msgspec.Struct, frozen=True):
    """What of a run's ``arguments`` it needs to go on; ``memory_limit`` is in GiB as on the command line."""

    workers: int
    case_timeout: float
    memory_limit: float
    time: float | None = None
    max_cases: int | None = None


def different_versions(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Say what of the versions of an earlier sitting has changed; empty where nothing has."""
    changed = [
        f"{name} was {before.get(name) or 'not there'} and is {now.get(name) or 'not there'}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    return ", ".join(changed)
