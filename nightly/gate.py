"""The verdict on a night: checks everything that a green night needs, from the files that the night left."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from plan import NIGHT, Shard

JUNIT = NIGHT / "junit.xml"
REPLAY = NIGHT / "replay.json"
_MOST_CHARACTERS = 300

Replayed = dict[str, dict[str, str]]
"""For each corpus what became of its files: ``fixed`` (or known to the ledger), ``still failing``, or ``error``."""


def reasons(shards: Sequence[Shard]) -> list[str]:
    """Return why the night is not green, one line per reason; an empty list if it is green."""
    return [re.sub(r"\s+", " ", reason)[:_MOST_CHARACTERS] for reason in (*_of_replay(), *_of_shards(shards), *_of_report(shards))]


def _of_replay() -> Iterator[str]:
    replayed = read_replay()
    if replayed is None:
        yield f"the regression corpus was not replayed: there is no {REPLAY}"
        return
    for file, outcome in replayed["regressions"].items():
        if outcome != "fixed":
            yield f"regression {file}: {'cannot be run' if outcome == 'error' else outcome}"
    found_again = new_findings()
    for file, outcome in replayed["findings"].items():
        if outcome == "still failing" and Path(file).name.partition(".")[0] not in found_again:
            yield f"found on an earlier night and still failing: {Path(file).name}"


def _of_shards(shards: Sequence[Shard]) -> Iterator[str]:
    for shard in shards:
        info = read_run(shard)
        if info is None:
            yield f"shard {shard.name} is missing: there is no run in {shard.directory}"
        elif info["exit_status"] is None:
            yield f"shard {shard.name} did not end: it was killed, or its machine was"
        elif info["seed"] != shard.seed or info["backends"] != shard.of.backends:
            yield f"shard {shard.name} ran seed {info['seed']} on {', '.join(info['backends'])}: not what was planned"
        elif info["exit_status"] not in (0, 1, 2):
            yield f"shard {shard.name} was stopped: {info['stopped']}"
        elif info["exit_status"] == 1:
            yield f"shard {shard.name} has findings outside the ledger"
        elif info["exit_status"] == 2 or not info["comparisons"]:
            yield f"shard {shard.name} proves nothing: {info['comparisons']} comparisons, canary caught {_canary(info)} times"


def _of_report(shards: Sequence[Shard]) -> Iterator[str]:
    if not JUNIT.exists():
        yield f"there is no report: {JUNIT} is missing"
        return
    reported = {one.get("name") for one in ET.parse(JUNIT).iter("property")}  # noqa: S314 - we made it
    for shard in shards:
        if read_run(shard) and f"repeat {shard.directory.name}" not in reported:
            yield f"shard {shard.name} is not in the report: its files cannot be read"
    for test in _failing():
        if test.get("name") != "runs end":  # which the shards have said
            yield f"{test.get('classname')}: {_fingerprint(test) or test.get('name')}: {test[0].get('message')}"


def new_findings() -> list[str]:
    """Return the fingerprints of the findings outside the ledger."""
    return [_fingerprint(test) for test in _failing() if _fingerprint(test)] if JUNIT.exists() else []


def _fingerprint(test: ET.Element) -> str:
    """Return the finding that a test stands for; it is what the test's name begins with."""
    named = re.match(r"([0-9a-f]{8}):", test.get("name", ""))
    return named[1] if named else ""


def _failing() -> list[ET.Element]:
    return [test for test in ET.parse(JUNIT).iter("testcase") if len(test) and test[0].tag == "failure"]  # noqa: S314 - we made it


def _canary(info: dict[str, Any]) -> str:
    return f"{info['canary']['caught']} of {info['canary']['planted']}"


# -- the night's files ----------------------------------------------------------------------------------------------------


def read_run(shard: Shard) -> dict[str, Any] | None:
    """Return the ``run.json`` of a shard, or nothing if none came back."""
    return read_info(shard.directory)


def read_info(run: Path) -> dict[str, Any] | None:
    """Return the ``run.json`` of a run, or nothing if there is none that can be read."""
    wanted = {"seed", "backends", "comparisons", "exit_status", "stopped", "canary", "cases", "started"}
    try:
        info = json.loads((run / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return info if isinstance(info, dict) and wanted <= set(info) else None


def read_replay() -> Replayed | None:
    """Return what the replay of the regression corpus said, or nothing if the replay did not end."""
    try:
        replayed: Replayed = json.loads(REPLAY.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return replayed


def summary(shards: Sequence[Shard], night: int) -> str:
    """Return the head of the job's summary: the verdict, the reasons, and the shards with the seed that repeats each."""
    why = reasons(shards)
    parts = [f"# {'❌ Red' if why else '✅ Green'}: night {night}"]
    if why:
        fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", "\n".join(why)) or [""]))
        parts.append("\n".join([f"{fence}text", *why, fence]))
    lines = ["| shard | seed | cases | comparisons | canary | ended |", "|---|--:|--:|--:|--:|---|"]
    for shard in shards:
        info = read_run(shard)
        if info is None:
            lines.append(f"| {shard.name} | {shard.seed} | – | – | – | missing |")
        else:
            ended = "no" if info["exit_status"] is None else f"exit status {info['exit_status']}"
            lines.append(f"| {shard.name} | {info['seed']} | {info['cases']:,} | {info['comparisons']:,} | {_canary(info)} | {ended} |")
    parts.append("\n".join(lines))
    replayed = read_replay() or {}
    unclear = [Path(file).name for file, outcome in replayed.get("findings", {}).items() if outcome == "error"]
    if unclear:
        parts.append(f"Found earlier, and cannot be run any more: {', '.join(unclear)}.")
    parts.append(f"To repeat this night: set `NIGHTLY_SEED` to `{night}`.")
    return "\n\n".join(parts) + "\n"
