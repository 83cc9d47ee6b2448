"""The rules that the workflows keep: what they may do, what they run, and what runs after a failure."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
GITLAB = ROOT / "docs" / "examples" / "gitlab-ci.yml"
SURVIVES = "!cancelled()"
SCRIPTS = (".ci/run", "python nightly/nightly.py")
PUBLISHERS = {"actions/deploy-pages", "actions/download-artifact", "pypa/gh-action-pypi-publish"}
workflows = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def load(path: Path) -> dict[Any, Any]:
    """Read a YAML file; ``on`` is a truth value to YAML 1.1."""
    read: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return read


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    """Return the jobs of a workflow."""
    found: dict[str, dict[str, Any]] = load(path)["jobs"]
    return found


def steps(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the steps of all jobs of a workflow."""
    for job in jobs(path).values():
        yield from job["steps"]


def gitlab_jobs() -> dict[str, dict[str, Any]]:
    """Return the jobs of the example for GitLab, without what they inherit."""
    return {name: job for name, job in load(GITLAB).items() if isinstance(job, dict) and "script" in job}


def nightly_steps() -> set[str]:
    """Return the steps that the script says it has."""
    printed = subprocess.run(
        [sys.executable, str(ROOT / "nightly" / "nightly.py"), "-h"], capture_output=True, text=True, check=True
    ).stdout
    return set(re.findall(r"^    (\w+) ", printed, re.MULTILINE))


def test_there_are_workflows() -> None:
    """Pushes, nights, releases and new versions of others have one each."""
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "nightly.yml", "release.yml", "versions.yml"]


@workflows
def test_actions_are_pinned_by_commit(path: Path) -> None:
    """A tag can be moved; a commit cannot. The version stands behind it for people and bots, the same for the same action."""
    lines = [line.split("uses:")[1].strip() for line in path.read_text().splitlines() if "uses:" in line]
    assert len(lines) == sum("uses" in step for step in steps(path)) > 0
    for line in lines:
        assert re.fullmatch(r"(actions/[a-z-]+(/[a-z]+)?|pypa/gh-action-pypi-publish)@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)


def test_an_action_has_one_pin_in_all_workflows() -> None:
    """No two versions of one action are about."""
    pins = {re.split("[/@]", step["uses"])[1]: set() for path in WORKFLOWS for step in steps(path) if "uses" in step}
    for path in WORKFLOWS:
        for step in steps(path):
            if "uses" in step:
                pins[re.split("[/@]", step["uses"])[1]].add(step["uses"].partition("@")[2])
    assert {action for action, found in pins.items() if len(found) > 1} == set()


@workflows
def test_permissions_are_the_least(path: Path) -> None:
    """All may read; what publishes may publish, and it checks nothing out and runs nothing."""
    assert load(path)["permissions"] == {"contents": "read"}
    for job in jobs(path).values():
        if "permissions" in job:
            assert job["permissions"] in ({"pages": "write", "id-token": "write"}, {"id-token": "write"})
            assert job["environment"]
            assert {step.get("uses", "").partition("@")[0] for step in job["steps"]} <= PUBLISHERS
    assert "secrets." not in path.read_text()


@workflows
def test_no_expression_is_pasted_into_a_script(path: Path) -> None:
    """Text of whoever opens a pull request or names a branch must not become a command; an environment variable cannot."""
    for step in steps(path):
        assert "${{" not in step.get("run", "")


@workflows
def test_every_command_is_a_tested_script(path: Path) -> None:
    """Each ``run:`` is one line that calls a script, with a step that there is."""
    known = nightly_steps()
    assert known >= {"plan", "install", "replay", "shard", "report", "keep", "gate"}
    for step in steps(path):
        if "run" in step:
            assert step["run"].startswith(SCRIPTS)
            assert "\n" not in step["run"]
            assert not set(step["run"]) & set(";&|<>`")
            if "nightly" in step["run"]:
                assert step["run"].split()[2] in known


@workflows
def test_nothing_runs_for_ever_or_twice_at_a_time(path: Path) -> None:
    """Every job has a timeout, and so has a step whose results are handed on by a later one; runs exclude each other."""
    assert load(path)["concurrency"]["group"]
    for job in jobs(path).values():
        assert job["timeout-minutes"] <= 120
        for step in job["steps"]:
            if re.search(r"nightly\.py (replay|shard)", step.get("run", "")):
                assert step["timeout-minutes"] < job["timeout-minutes"]


@workflows
def test_no_credential_is_left_in_the_checkout(path: Path) -> None:
    """What is fuzzed has no use for the token."""
    for step in steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_pull_requests_neither_write_a_cache_nor_run_the_nightly() -> None:
    """What strangers propose must not come into the corpus that later nights load kernels for."""
    nightly, ci = ROOT / ".github/workflows/nightly.yml", ROOT / ".github/workflows/ci.yml"
    assert set(load(nightly)[True]) == {"schedule", "workflow_dispatch"}
    assert set(load(ci)[True]) == {"push", "pull_request"}
    assert "cache" not in {re.split("[/@]", step["uses"])[1] for step in steps(ci) if "uses" in step}
    assert all("cache" not in step.get("with", {}) for step in steps(ci))


def test_reports_survive_what_they_report() -> None:
    """A bare condition means "if all went well": whatever comes behind fuzzing in its job or a later one runs unless cancelled."""
    nightly = jobs(ROOT / ".github/workflows/nightly.yml")
    for name in ("fuzz", "report", "pages"):
        assert SURVIVES in nightly[name]["if"]
    assert all(SURVIVES in step["if"] for step in nightly["report"]["steps"][3:])
    for name in ("replay", "fuzz"):
        assert SURVIVES in nightly[name]["steps"][-1]["if"]
        assert nightly[name]["steps"][-1]["uses"].startswith("actions/upload-artifact@")
    assert nightly["fuzz"]["strategy"]["fail-fast"] is False
    assert not any("continue-on-error" in step for job in nightly.values() for step in job["steps"])


def test_the_gate_is_the_last_step() -> None:
    """Nothing that a reader needs comes behind it."""
    report = jobs(ROOT / ".github/workflows/nightly.yml")["report"]
    assert report["steps"][-1]["run"] == "python nightly/nightly.py gate"
    assert report["needs"] == ["replay", "fuzz"]


def test_caches_are_new_every_night() -> None:
    """A cache is never changed, so that a fixed key would keep the first night's for ever; a re-run has a key too."""
    nightly = ROOT / ".github/workflows/nightly.yml"
    caches = [step for step in steps(nightly) if "actions/cache" in step.get("uses", "")]
    assert [re.split("[/@]", step["uses"])[2] for step in caches] == ["restore", "restore", "save"]
    assert {step["with"]["key"] for step in caches} == {"nightly-${{ github.run_id }}-${{ github.run_attempt }}"}
    assert {step["with"]["path"] for step in caches} == {"nightly-state"}
    assert {step["with"].get("restore-keys") for step in caches} == {"nightly-", None}
    assert "steps.keep.outcome == 'success'" in caches[-1]["if"]


def test_artifacts_of_shards_are_collected_by_their_names() -> None:
    """What jobs hand on is what the report asks for, and a re-run may replace it."""
    nightly = jobs(ROOT / ".github/workflows/nightly.yml")
    handed_on = [step["with"] for job in nightly.values() for step in job["steps"] if "upload-artifact@" in step.get("uses", "")]
    assert [one["name"] for one in handed_on] == ["night-replay", "night-${{ matrix.shard }}", "nightly-report"]
    assert all(one["overwrite"] for one in handed_on)
    assert [one["retention-days"] for one in handed_on] == [7, 7, 90], "journals are long"
    (collected,) = [step["with"] for step in nightly["report"]["steps"] if "download-artifact@" in step.get("uses", "")]
    assert collected == {"pattern": "night-*", "path": "night", "merge-multiple": True}


def test_gitlab_runs_the_same_steps_in_the_same_order() -> None:
    """The example has the steps of the workflow, for schedules only, keeps what jobs leave, and the gate is last."""
    found = gitlab_jobs()
    assert list(found) == ["replay", "fuzz", "report", "pages"]
    called = [line.split(" #")[0] for job in found.values() for line in job["script"] if "nightly.py" in line]
    assert [re.sub(r" \|\| true$", "", line).split()[2] for line in called] == [
        "install", "replay", "install", "shard", "install", "report", "keep", "gate",
    ]  # fmt: skip
    assert all(line.startswith("python nightly/nightly.py ") for line in called)
    for name in ("replay", "fuzz", "report"):
        assert found[name]["artifacts"]["when"] == "always"
        assert found[name]["timeout"]
    assert found["report"]["artifacts"]["reports"]["junit"] == "night/junit.xml"
    assert "allow_failure" not in found["report"]
    base = load(GITLAB)[".night"]["rules"]
    assert base == [{"if": '$CI_PIPELINE_SOURCE == "schedule"'}]
    assert found["pages"]["rules"] == [base[0] | {"when": "always"}]
    assert {job.get("extends") for job in found.values()} == {".night"}


def test_scripts_of_gitlab_use_variables_only_quoted() -> None:
    """A shard's name is one word to the shell."""
    for job in gitlab_jobs().values():
        for line in job["script"]:
            assert not re.search(r'(?<!")\$', line)
