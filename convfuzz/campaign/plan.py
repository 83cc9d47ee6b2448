"""What a campaign is asked to do, and what a resumed one is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

import msgspec

from convfuzz.case import Case
from convfuzz.checking.limits import GIB, Limits
from convfuzz.errors import UnreadableFile, UsageError
from convfuzz.record.ledger import Ledger
from convfuzz.record.outcome import Known
from convfuzz.record.run_directory import RunInfo


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a campaign is asked to do; workers get it as JSON.

    The run ends after ``seconds`` or ``max_cases``, whichever comes first, counted over all its sittings; with neither it runs
    until it is interrupted. ``ledger`` holds the known findings: what it quarantines is not run, what it tolerates is reported
    and is no failure of the run. ``near`` are cases from which the search for those that a kernel computes starts.
    ``ledger_file`` is where the ledger was read from, and ``seed_is_given`` says that the user chose the seed; both are only kept.
    ``known`` says what is made of failures that are known upstream, ``arithmetic`` whether the backends' arithmetic is measured at
    the end of a run that is long enough.

    Raises:
        UsageError: a limit is not positive, the seed is negative, a case of ``near`` is invalid, or there is no backend.
        CaseSyntaxError: a case of ``near`` does not parse.
    """

    backends: Sequence[str]
    strategy: str
    seed: int
    seed_is_given: bool = True
    seconds: float | None = None
    max_cases: int | None = None
    workers: int = 1
    limits: Limits = Limits()
    ledger: Ledger = Ledger()
    ledger_file: str | None = None
    near: Sequence[str] = ()
    known: Known = "show"
    arithmetic: bool = True

    def __post_init__(self) -> None:
        if self.seconds is not None and not self.seconds > 0:
            raise UsageError(f"time={self.seconds:g} is not positive")
        for name, count in (("max_cases", self.max_cases), ("workers", self.workers)):
            if count is not None and count < 1:
                raise UsageError(f"{name}={count} is less than 1")
        if self.seed < 0:
            raise UsageError(f"seed={self.seed} is negative")
        for line in self.near:
            reason = Case.parse(line).config.invalid_reason
            if reason:
                raise UsageError(f"near={line!r} is no valid convolution: {reason}")
        if not self.backends:
            raise UsageError("no backend to compare with the reference; name some, such as torch,torch+split")

    @property
    def arguments(self) -> dict[str, Any]:
        """The plan as ``run.json`` keeps it under ``arguments``, and as :meth:`resuming` reads it; memory is in GiB there."""
        return (
            {
                "backends": list(self.backends),
                "strategy": self.strategy,
                "time": self.seconds,
                "max_cases": self.max_cases,
                "seed": self.seed if self.seed_is_given else None,
                "workers": self.workers,
                "case_timeout": self.limits.case_timeout,
                "memory_limit": self.limits.memory / GIB,
                "ledger": self.ledger_file,
                "known": self.known,
            }
            | ({"near": list(self.near)} if self.near else {})
            | ({} if self.arithmetic else {"arithmetic": False})
        )

    @classmethod
    def resuming(cls, info: RunInfo, *, further_seconds: float | None = None, max_cases: int | None = None) -> Self:
        """Return the plan that resumes the run of which ``info`` is the ``run.json``.

        Without a new limit the run's own limits hold. ``further_seconds`` from now, ``max_cases`` in all, or both replace them.

        Raises:
            UnreadableFile: its arguments are not those of a campaign.
            UsageError: no campaign can have them.
        """
        try:
            asked = msgspec.convert(info.arguments, _Arguments)
        except msgspec.ValidationError as error:
            raise UnreadableFile(f"run.json does not say how to resume the run: arguments: {error}") from None
        if further_seconds is None and max_cases is None:
            seconds, max_cases = asked.time, asked.max_cases
        else:
            seconds = None if further_seconds is None else info.elapsed_s + further_seconds
        return cls(
            backends=info.backends,
            strategy=info.strategy,
            seed=info.seed,
            seed_is_given=asked.seed is not None,
            seconds=seconds,
            max_cases=max_cases,
            workers=asked.workers,
            limits=Limits(case_timeout=asked.case_timeout, memory=int(asked.memory_limit * GIB)),
            ledger=Ledger(tuple(line.entry for line in info.ledger)),
            ledger_file=asked.ledger,
            near=asked.near,
            known=asked.known,
            arithmetic=asked.arithmetic,
        )


class _Arguments(msgspec.Struct, frozen=True):
    """What resuming a run needs of its ``arguments``."""

    workers: int
    case_timeout: float
    memory_limit: Annotated[float, msgspec.Meta(lt=2**33)]
    time: float | None = None
    max_cases: int | None = None
    seed: int | None = None
    ledger: str | None = None
    near: tuple[str, ...] = ()
    known: Known = "show"
    arithmetic: bool = True


def different_versions(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Say which versions have changed since an earlier sitting; empty where none has."""
    changed = [
        f"{name} was {before.get(name) or 'not there'} and is {now.get(name) or 'not there'}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    return ", ".join(changed)
