"""The walk of docs/ledger.md: two kernels, a night, a ledger of what it found, and the next night."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

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


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The folder of all nights."""
    return Place(tmp_path_factory.mktemp("nights"))


@pytest.fixture(scope="module")
def first(nights: Place) -> Finished:
    """The first night."""
    done = nights.run_warm(KERNELS, list(ACTIONS), *NIGHT, "--seed", "1")
    assert done.status == 1
    return done


def ledger_of(nights: Place, night: Finished, name: str) -> Path:
    """Add the findings of a night to a ledger, by the commands that the documentation has."""
    ledger = nights.folder / name
    for finding in night.run.findings:
        file = night.directory / "findings" / f"{finding.fingerprint}.json"
        action = ACTIONS[finding.backend.rpartition("::")[2]]
        why = ("--reason", "known", "--link", "https://example.org/issues/1")
        called = nights.call_warm("ledger", "add", str(ledger), str(file), action, *why)
        assert called.status == 0, called.stdout + called.stderr
    return ledger


def test_the_next_night_exits_0(nights: Place, first: Finished) -> None:
    """With both findings in the ledger the next night, of another seed, has nothing new; both entries are used."""
    assert sorted(finding.verdict for finding in first.run.findings) == ["crash", "wrong"]
    ledger = ledger_of(nights, first, "known.toml")
    second = nights.run_warm(KERNELS, list(ACTIONS), *NIGHT, "--seed", "2", "--ledger", str(ledger))
    assert second.status == 0, second.stdout
    assert "ledger: 2 of 2 entries about these backends were used" in second.stdout


def test_findings_that_were_not_reduced_are_reduced_for_the_ledger(nights: Place, first: Finished) -> None:
    """Had there been no time to reduce them in the first night, ``ledger add`` does it: the entries are those of what it had found."""
    hasty = Finished(first.status, first.stdout, first.stderr, shutil.copytree(first.directory, nights.folder / "hasty"))
    for finding in first.run.findings:
        lost = msgspec.structs.replace(finding, case=finding.first_case, reduction=ReductionOutcome.BUDGET_SPENT, features=[])
        write_finding(hasty.directory, lost)
    assert {finding.is_unreduced for finding in hasty.run.findings} == {True}
    as_found, as_reduced = (
        {entry.fingerprint: msgspec.structs.asdict(entry) | {"case": None} for entry in read_ledger(ledger).entries}
        for ledger in (ledger_of(nights, first, "as-found.toml"), ledger_of(nights, hasty, "as-reduced.toml"))
    )
    assert as_found.keys() == {finding.fingerprint for finding in first.run.findings}
    assert as_reduced == as_found
