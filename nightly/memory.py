"""Keeps what later nights need, within limits: findings to run again, and runs for the trends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gate
from plan import NIGHT, STATE, Keep, Shard

FINDINGS = STATE / "findings"
HISTORY = STATE / "history"


def runs() -> list[Path]:
    """Return the runs of earlier nights, the latest first."""
    found = {run: info for run in HISTORY.glob("*") if (info := gate.read_info(run))}
    return sorted(found, key=lambda run: (-found[run]["started"], run.name))


def keep_findings(limits: Keep) -> None:
    """Keep tonight's new findings that failed again when they were confirmed, and drop those that are fixed."""
    FINDINGS.mkdir(parents=True, exist_ok=True)
    replayed = gate.read_replay()
    for name, outcome in replayed["findings"].items() if replayed else ():
        if outcome == "fixed":
            (FINDINGS / Path(name).name).unlink(missing_ok=True)
    for file in (NIGHT / "findings").glob("*.convfuzz.json"):
        if _came_back(file) and not (FINDINGS / file.name).exists():
            shutil.copy2(file, FINDINGS)
    newest_first = sorted(FINDINGS.glob("*.convfuzz.json"), key=lambda file: (-file.stat().st_mtime, file.name))
    for file in newest_first[limits.findings :]:
        print(f"{file.name} is dropped: {limits.findings} newer findings are kept")
        file.unlink()


def keep_runs(shards: Sequence[Shard], limits: Keep) -> None:
    """Keep tonight's runs that ended; drop the journals of the oldest runs first, then the whole runs."""
    HISTORY.mkdir(parents=True, exist_ok=True)
    for shard in shards:
        info: dict[str, Any] | None = gate.read_run(shard)
        if info and info["exit_status"] in (0, 1):
            _copy_run(shard.directory, HISTORY / shard.directory.name)
    latest = list(dict.fromkeys(_night(run) for run in runs()))[: limits.nights]
    kept = [run for run in runs() if _night(run) in latest]
    for run in HISTORY.iterdir():
        if run not in kept:
            shutil.rmtree(run)
    left = limits.journal_mib * 2**20
    for run in runs():
        journals = [file for file in run.glob("journal-*.jsonl") if file.name != "journal-findings.jsonl"]
        left -= sum(file.stat().st_size for file in journals)
        for file in journals if left < 0 else ():
            file.unlink()


def _night(run: Path) -> str:
    return run.name.partition("-")[0]


def _came_back(file: Path) -> bool:
    """Whether a finding failed again when it was confirmed; one that never did would seem fixed when it is run again."""
    confirmation = json.loads(file.read_text(encoding="utf-8"))["confirmation"]
    return any(confirmation[times]["failed"] for times in ("alone", "after"))


def _copy_run(run: Path, target: Path) -> None:
    """Copy what trends need, without scripts, logs and pages."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(run / "findings", target / "findings")
    for file in (run / "run.json", *run.glob("replays.json"), *run.glob("journal-*.jsonl")):
        shutil.copy2(file, target)
