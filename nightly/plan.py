"""What a night consists of: nightly.toml, read strictly, and the shards with their seeds that follow from it."""

from __future__ import annotations

import os
import re
import tomllib
import typing
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from random import Random
from typing import Any, TypeVar

NIGHT = Path("night")
"""What this night makes; a CI server passes it from job to job."""
STATE = Path("nightly-state")
"""What the nights to come get to see of it: ``findings`` that are still there, and ``history``, the runs."""

_SEEDS = ("NIGHTLY_SEED", "GITHUB_RUN_ID", "CI_PIPELINE_ID")
_OURS = ("--backends", "--seed", "--ledger", "--out", "--resume")
T = TypeVar("T")


class PlanError(Exception):
    """The night cannot be planned; the message names the file or variable, the value and the rule."""


@dataclass(frozen=True)
class BackendSet:
    """Backends that are compared with each other: what `pip install` gets for them, and further options of `convfuzz run`."""

    backends: list[str]
    install: list[str]
    run: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Keep:
    """How much of earlier nights is kept: nights in the history, MiB of their journals, and findings to replay."""

    nights: int = 30
    journal_mib: int = 256
    findings: int = 50


@dataclass(frozen=True)
class Plan:
    """The content of nightly.toml; ``install`` is what rendering reports takes, ``run`` are options of `convfuzz run`."""

    sets: dict[str, BackendSet]
    install: list[str]
    run: list[str]
    shards: int = 1
    ledger: str = ""
    regressions: str = ""
    keep: Keep = Keep()

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read nightly.toml.

        Raises:
            PlanError: it is missing or no TOML, or a key is missing, unknown or of another type.
        """
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise PlanError(f"{path} cannot be read: {error}") from None
        sets = table.pop("sets", None)
        if not isinstance(sets, dict) or not sets:
            raise PlanError(f"{path}: there is no [sets.NAME] table, and nothing would be compared")
        for name in sets:
            if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
                raise PlanError(f"{path}: the set {name!r} has to be named by small letters, digits and single hyphens")
        plan = _record(
            cls,
            table
            | {"sets": {name: _record(BackendSet, one, f"{path}, sets.{name}") for name, one in sets.items()}}
            | {"keep": _record(Keep, table.get("keep", {}), f"{path}, keep")},
            str(path),
        )
        for option in (*plan.run, *(option for one in plan.sets.values() for option in one.run)):
            if option.partition("=")[0] in _OURS:
                raise PlanError(f"{path}: {option} cannot be in run, since it follows from the rest of the file")
        if plan.shards < 1 or not all(one.backends for one in plan.sets.values()):
            raise PlanError(f"{path}: each set needs at least one shard and one backend")
        return plan

    def of_night(self, night: int) -> list[Shard]:
        """Return the shards of a night: the same night has the same seeds, no two shards of any nights share one but by chance."""
        return [
            Shard(f"{name}-{number}", one, Random(f"{night}/{name}-{number}").getrandbits(32), NIGHT / "runs" / f"{night}-{name}-{number}")  # noqa: S311
            for name, one in self.sets.items()
            for number in range(1, self.shards + 1)
        ]


@dataclass(frozen=True)
class Shard:
    """One run of a night, on a machine of its own: its backends, its seed and its run directory."""

    name: str
    of: BackendSet
    seed: int
    directory: Path


def night_number() -> int:
    """Return the number that all seeds of the night follow from: ``NIGHTLY_SEED``, else that of the CI server's run.

    Raises:
        PlanError: no variable says it, or one says what is no number.
    """
    for name in _SEEDS:
        text = os.environ.get(name, "")
        if text and not (text.isascii() and text.isdigit() and len(text) <= 18):
            raise PlanError(f"{name}={text!r} is not a whole number of at most 18 digits")
        if text:
            return int(text)
    raise PlanError(f"which night is it? Outside of GitHub and GitLab {_SEEDS[0]} has to be a number, such as the date: 20261123")


def _record(kind: type[T], table: Any, where: str) -> T:
    """Make a ``kind`` of a TOML table.

    Raises:
        PlanError: as :meth:`Plan.read`.
    """
    if not isinstance(table, dict):
        raise PlanError(f"{where} is {table!r} and not a table")
    known = {one.name: one for one in fields(kind)}  # type: ignore[arg-type]
    types = typing.get_type_hints(kind)
    for name, value in table.items():
        if name not in known:
            raise PlanError(f"{where}: unknown key {name!r}; known are {', '.join(known)}")
        is_strings = types[name] == list[str]
        fits = isinstance(value, list) and all(isinstance(one, str) for one in value) if is_strings else _is_a(value, types[name])
        if not fits:
            raise PlanError(f"{where}: {name} = {value!r} is not {'a list of strings' if is_strings else types[name].__name__}")
    for name, one in known.items():
        if name not in table and one.default is MISSING and one.default_factory is MISSING:
            raise PlanError(f"{where}: {name} is missing")
    return kind(**table)


def _is_a(value: object, kind: Any) -> bool:
    return isinstance(value, typing.get_origin(kind) or kind) and not isinstance(value, bool)
