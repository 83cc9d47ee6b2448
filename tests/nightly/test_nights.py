"""Whole nights: what the scripts leave, what the gate says, and what the next night gets of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import psutil
import pytest

from .conftest import NIGHT, Repository, Step


def statuses(steps: list[Step]) -> list[int]:
    """Return the exit status of each step."""
    return [step.status for step in steps]


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> tuple[Repository, list[Step]]:
    """The first night of a repository with a wrong kernel."""
    repository = Repository(tmp_path_factory.mktemp("red"))
    repository.plan("right", "wrong")
    return repository, repository.night()


@pytest.fixture(scope="module")
def green(tmp_path_factory: pytest.TempPathFactory) -> tuple[Repository, list[Step]]:
    """The first night of a repository with a correct kernel, in two shards."""
    repository = Repository(tmp_path_factory.mktemp("green"))
    repository.plan("right", shards=2)
    return repository, repository.night(shards=("mine-1", "mine-2"))


def test_a_clean_night_is_green_and_leaves_its_reports(green: tuple[Repository, list[Step]]) -> None:
    """Two shards of different seeds are merged; every step and the gate succeed; the history has both."""
    repository, steps = green
    assert statuses(steps) == [0] * 6, steps
    assert steps[-1].output == "green: mine-1, mine-2\n"
    assert repository.info("mine-1")["seed"] != repository.info("mine-2")["seed"]
    assert repository.files("night/site") == ["index.html"]
    assert "24 cases" in repository.read("night/site/index.html")
    assert ET.fromstring(repository.read("night/junit.xml").encode()).attrib["failures"] == "0"  # noqa: S314 - ours
    summary = repository.read("night/summary.md")
    assert summary.startswith(f"# ✅ Green: night {NIGHT}\n")
    assert f"`NIGHTLY_SEED` to `{NIGHT}`" in summary
    assert "## ✅ No findings in 1 backend" in summary
    assert repository.files("nightly-state/history") == [f"{NIGHT}-mine-1", f"{NIGHT}-mine-2"]
    assert repository.files("nightly-state/findings") == []


def test_only_the_gate_fails_for_a_finding(red: tuple[Repository, list[Step]]) -> None:
    """The shard and the reports are done as on any night; the gate, last, exits 1 and names each finding with its minimal case."""
    repository, steps = red
    assert statuses(steps) == [0, 0, 0, 0, 1], steps
    found = repository.info("mine-1")["findings"]
    assert found
    for finding in found:
        assert f"- kernels.py::wrong: {finding['fingerprint']}: {finding['verdict']} on {finding['case']} · " in steps[-1].output
    assert "- shard mine-1 has findings outside the ledger\n" in steps[-1].output
    assert "kernels.py::right" not in steps[-1].output
    assert repository.read("night/summary.md").startswith(f"# ❌ Red: night {NIGHT}\n")


def test_a_new_findings_files_are_together(red: tuple[Repository, list[Step]]) -> None:
    """Each new finding has its file, named as pytest collects it, and what the run wrote about it in ``repro/``."""
    repository, _ = red
    for finding in repository.info("mine-1")["findings"]:
        name = finding["fingerprint"]
        assert json.loads(repository.read(f"night/findings/{name}.convfuzz.json"))["fingerprint"] == name
        written = Path(repository.path, "night", "runs", f"{NIGHT}-mine-1", "repro").glob(f"{name}.*")
        assert {file.name for file in written} == {n for n in repository.files("night/findings") if n.startswith(f"{name}.")} - {
            f"{name}.convfuzz.json"
        }
        assert f"{name}.py" in repository.files("night/findings")


def test_what_a_night_found_is_run_first_in_the_next(red: tuple[Repository, list[Step]], tmp_path: Path) -> None:
    """Still failing, it is red though the night finds nothing; known to the ledger or fixed, it is green and forgotten."""
    repository = Repository(tmp_path / "still").after(red[0])
    (name,) = repository.files("nightly-state/findings")
    steps = repository.night("20261124")
    assert statuses(steps) == [0, 0, 0, 0, 1]
    assert "STILL FAILING" in steps[0].output
    assert steps[-1].output == f"- found on an earlier night and still failing: {name}\nred\n"
    assert repository.files("nightly-state/findings") == [name]

    known = Repository(tmp_path / "known").after(red[0])
    why = ("--reason", "known", "--link", "https://example.org/issues/1")
    assert known.convfuzz("ledger", "add", "ledger.toml", f"nightly-state/findings/{name}", "--tolerate", *why).status == 0
    assert statuses(known.night("20261124")) == [0] * 5
    assert known.files("nightly-state/findings") == []

    fixed = Repository(tmp_path / "fixed").after(red[0])
    fixed.write("kernels.py", fixed.read("kernels.py").replace("config) + 1", "config)"))
    steps = fixed.night("20261124")
    assert statuses(steps) == [0] * 5
    assert "FIXED" in steps[0].output
    assert fixed.files("nightly-state/findings") == []
    assert fixed.files("nightly-state/history") == [f"{NIGHT}-mine-1", "20261124-mine-1"]
    trends = fixed.read("night/site/index.html")
    assert "2 nights" in trends
    assert re.search(r"1\s+fixed", trends), "the replay that passed is a part of the trends"


def test_a_missing_shard_is_not_green(green: tuple[Repository, list[Step]], tmp_path: Path) -> None:
    """Of two shards one is there and clean: the report is of that one, and the gate names the other."""
    repository = green[0].copied(tmp_path)
    for later in (f"night/runs/{NIGHT}-mine-2", "night/site", "nightly-state"):
        shutil.rmtree(repository.path / later)
    for report in ("junit.xml", "summary.md"):
        (repository.path / "night" / report).unlink()
    steps = [repository.step(name) for name in ("report", "keep", "gate")]
    assert statuses(steps) == [0, 0, 1]
    assert steps[-1].output.startswith("- shard mine-2 is missing: there is no run in night/runs/")
    assert "| mine-2 |" in repository.read("night/summary.md")


def started(repository: Repository) -> subprocess.Popen[str]:
    """Start the shard of a kernel that hangs, and wait until it does."""
    repository.plan("slow")
    process = repository.start("nightly/nightly.py", "shard", "mine-1")
    deadline = time.monotonic() + 120
    while not (repository.path / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def test_a_killed_shard_is_not_green(repository: Repository) -> None:
    """What a killed campaign leaves is reported, its step fails, and so does the gate; the history does not take it."""
    process = started(repository)
    campaign = next(child for child in psutil.Process(process.pid).children() if "run" in child.cmdline())
    campaign.send_signal(signal.SIGKILL)
    process.communicate(timeout=300)
    assert process.returncode not in (0, 1, 2)
    assert statuses([repository.step(name) for name in ("replay", "report", "keep")]) == [0, 0, 0]
    gate = repository.step("gate")
    assert gate.status == 1
    assert gate.output.startswith("- shard mine-1 did not end: it was killed")
    assert (repository.path / "night/site/index.html").exists()
    assert repository.files("nightly-state/history") == []


def test_a_cancelled_shard_saves_what_there_is(repository: Repository) -> None:
    """A server interrupts all processes of a step: the campaign ends in order, its step says so, and the gate is red."""
    process = started(repository)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=300)
    assert process.returncode == 130
    assert repository.info("mine-1")["stopped"] == "interrupted"
    assert repository.step("report").status == 0
    gate = repository.step("gate")
    assert gate.status == 1
    assert "- shard mine-1 was stopped: interrupted\n" in gate.output


def test_nothing_compared_is_not_green(repository: Repository) -> None:
    """A backend that declines all cases gives a run that proves nothing."""
    repository.plan("picky")
    steps = repository.night()
    assert statuses(steps) == [0, 0, 0, 0, 1]
    assert "- shard mine-1 proves nothing: 0 comparisons" in steps[-1].output
    assert "- convfuzz: cases are compared: nothing was compared" in steps[-1].output


def test_a_shard_that_cannot_run_fails_and_is_missing(repository: Repository) -> None:
    """A backend that there is not fails its step with convfuzz's own status; without any run there is no report either."""
    repository.plan("absent")
    steps = repository.night()
    assert statuses(steps) == [0, 2, 1, 0, 1]
    assert "kernels.py has no 'absent'" in steps[1].output
    assert "- shard mine-1 is missing" in steps[-1].output
    assert "- there is no report: night/junit.xml is missing" in steps[-1].output
    assert "No run came back." in repository.read("night/summary.md")


def test_one_damaged_run_costs_no_other(green: tuple[Repository, list[Step]], tmp_path: Path) -> None:
    """A shard whose journal is damaged is left out of the report, of which the gate says so; the other one is in it."""
    repository = green[0].copied(tmp_path)
    (journal,) = (repository.path / f"night/runs/{NIGHT}-mine-2").glob("journal-0.jsonl")
    journal.write_text("{}\n" + journal.read_text())
    (repository.path / "night/junit.xml").unlink()
    assert repository.step("report").status == 0
    assert "12 cases" in repository.read("night/summary.md")
    gate = repository.step("gate")
    assert gate.status == 1
    assert "- shard mine-2 is not in the report: its files cannot be read" in gate.output


def test_the_repositorys_regressions_have_to_be_fixed(red: tuple[Repository, list[Step]], tmp_path: Path) -> None:
    """A finding file below the tests that fails again is red, and so is one of which nothing can be said."""
    repository = Repository(tmp_path / "own")
    (source,) = (red[0].path / "nightly-state/findings").glob("*.json")
    there, gone = repository.path / "tests/there.convfuzz.json", repository.path / "tests/gone.convfuzz.json"
    there.write_text(source.read_text())
    gone.write_text(source.read_text().replace("kernels.py", "nowhere.py"))
    steps = repository.night()
    assert statuses(steps) == [0, 0, 0, 0, 1]
    assert steps[-1].output == (
        "- regression tests/gone.convfuzz.json: cannot be run\n- regression tests/there.convfuzz.json: still failing\nred\n"
    )
    assert repository.files("tests") == [".gitkeep", "gone.convfuzz.json", "there.convfuzz.json"]


def test_a_night_without_replay_is_not_green(green: tuple[Repository, list[Step]], tmp_path: Path) -> None:
    """The gate wants to know what became of the regression corpus."""
    repository = green[0].copied(tmp_path)
    (repository.path / "night/replay.json").unlink()
    gate = repository.step("gate")
    assert gate.status == 1
    assert gate.output.startswith("- the regression corpus was not replayed")
