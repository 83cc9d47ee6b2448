"""The walk of docs/ledger.md: two kernels, a night, a ledger of what it found, and the next night."""

from __future__ import annotations

from pathlib import Path

import msgspec

from convfuzz.record.finding import ReductionOutcome
from convfuzz.record.ledger_file import read_ledger
from convfuzz.record.run_directory import write_finding

from .launch import Finished, Place

KERNELS = """

import os


def swapped(x, w, b, config):
    y = correct(x, w, b, config)
    return y + 1 if len(set(config.stride)) > 1 else y


def dies(x, w, b, config):
    if config.dims == 3:
        os.abort()
    return correct(x, w, b, config)
"""
ACTIONS = {"swapped": "--tolerate", "dies": "--quarantine"}
NIGHT = ("--strategy", "smoke", "--max-cases", "40")


def ledger_of(place: Place, night: Finished) -> Path:
    """Add the findings of a night to a ledger, by the commands that the documentation has."""
    ledger = place.folder / "known.toml"
    for finding in night.run.findings:
        file = night.directory / "findings" / f"{finding.fingerprint}.json"
        action = ACTIONS[finding.backend.rpartition("::")[2]]
        why = ("--reason", "known", "--link", "https://example.org/issues/1")
        process = place.launch("ledger", "add", str(ledger), str(file), action, *why)
        stdout, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stdout + stderr
    return ledger


def test_the_next_night_exits_0(place: Place) -> None:
    """With both findings in the ledger the next night, of another seed, has nothing new; both entries are used."""
    first = place.run_warm(KERNELS, list(ACTIONS), *NIGHT, "--seed", "1")
    assert first.status == 1
    assert sorted(finding.verdict for finding in first.run.findings) == ["crash", "wrong"]
    second = place.run_warm(KERNELS, list(ACTIONS), *NIGHT, "--seed", "2", "--ledger", str(ledger_of(place, first)))
    assert second.status == 0, second.stdout
    assert "ledger: 2 of 2 entries about these backends were used" in second.stdout


def test_findings_that_were_not_reduced_are_reduced_for_the_ledger(place: Place) -> None:
    """Had there been no time to reduce them in the first night, ``ledger add`` does it, and the next night exits 0 all the same."""
    first = place.run_warm(KERNELS, list(ACTIONS), *NIGHT, "--seed", "1")
    for finding in first.run.findings:
        lost = msgspec.structs.replace(finding, case=finding.first_case, reduction=ReductionOutcome.BUDGET_SPENT, features=[])
        write_finding(first.directory, lost)
    ledger = ledger_of(place, first)
    assert {entry.fingerprint for entry in read_ledger(ledger).entries} == {finding.fingerprint for finding in first.run.findings}
    second = place.run_warm(KERNELS, list(ACTIONS), *NIGHT, "--seed", "2", "--ledger", str(ledger))
    assert second.status == 0, second.stdout
